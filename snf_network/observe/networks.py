"""The networks of a node as they are: compared with what they shall have, and with their records."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from snf_network.host.kernel import boot
from snf_network.model.networks.change import Change
from snf_network.model.resources import Element, Port, Resource, Route
from snf_network.model.resources.devices import GROUP, Device, pairs
from snf_network.model.resources.frr import ByFrr, FrrBlock, has_block
from snf_network.model.resources.nft import VTEPS
from snf_network.model.resources.underlay import Flood, IifRule, Learned
from snf_network.observe import readback
from snf_network.observe.readback import OnDemand, members_of, policy_rules, routes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

    from snf_network.host.record import Record

NO_FRR = "is not there, or is no regular file (apt install frr)"
HINT = "give the network another name or bridge, or remove what is there"


class View(OnDemand):
    """What the kernel has of networks; each part is read if a Resource asks for it."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.asked = list(resources)

    @cached_property
    def links(self) -> dict[str, dict[str, Any]]:
        """Every device by name, with its options."""
        return {link["ifname"]: link for link in readback.ip("-N", "-d", "link", "show")}

    @cached_property
    def entries(self) -> list[dict[str, Any]]:
        """The forwarding entries of our VXLAN devices."""
        ours = {name for name, link in self.links.items() if _is_vxlan(link)}
        return [one for one in readback.bridge("fdb", "show") if one["ifname"] in ours] if ours else []

    @cached_property
    def ports(self) -> dict[str, list[str]]:
        """The ports of each bridge."""
        ports: dict[str, list[str]] = {}
        for name, link in self.links.items():
            ports.setdefault(link.get("master", ""), []).append(name)
        return ports

    @cached_property
    def places(self) -> dict[str, list[Resource]]:
        """The entries of each device, and the members of each set, in an order."""
        places: dict[str, list[Resource]] = {}
        for one in self.found:
            if isinstance(one, (Flood, Element)):
                places.setdefault(_place(one), []).append(one)
        return {place: sorted(some, key=repr) for place, some in places.items()}

    @cached_property
    def vnis(self) -> dict[tuple[str, str], str]:
        """The device of each VNI and port, whoever made it."""
        infos = ((name, link.get("linkinfo", {})) for name, link in self.links.items())
        said = ((name, info.get("info_data", {})) for name, info in infos if info.get("info_kind") == "vxlan")
        return {(str(data.get("id")), str(data.get("port"))): name for name, data in said}

    @cached_property
    def found(self) -> set[Resource]:
        """Our Resources of the kinds that are asked for."""
        kinds = {type(one) for one in self.asked}
        members = (one for one in self.asked if isinstance(one, Element))
        sets = {(one.family, "map" if one.value else "set", one.set) for one in members}
        found: set[Resource] = {one for words in sets for one in members_of(*words)}
        found |= set(Flood.listed(self.entries))
        if IifRule in kinds:
            found |= set(IifRule.listed(policy_rules()))
        if Route in kinds:
            found |= set(routes({link["ifindex"]: name for name, link in self.links.items()}))
        return found


def _place(resource: Resource) -> str:
    return resource.set if isinstance(resource, Element) else resource.device


def _is_vxlan(link: dict[str, Any]) -> bool:
    return str(link.get("group")) == str(GROUP) and link.get("linkinfo", {}).get("info_kind") == "vxlan"


def ups(
    wanted: Mapping[str, Sequence[Resource]], known: Mapping[str, Record], given: Set[Resource] = frozenset()
) -> list[Change]:
    """What `net up` has to do for these networks. What is `given` is another's by now: it goes off the
    records and stays where it is.
    """
    view = _view(wanted.values(), known.values())
    return [_up(name, tuple(resources), known.get(name), view, given) for name, resources in wanted.items()]


def downs(names: Iterable[str], known: Mapping[str, Record]) -> list[Change]:
    """What `net down` has to do for these networks, of which there are records."""
    view = _view((), known.values())
    return [_down(known[name], view) for name in names]


def _view(wanted: Iterable[Sequence[Resource]], known: Iterable[Record]) -> View:
    recorded = (one for record in known for one in (*record.resources, *record.stale))
    return View([*(one for some in wanted for one in some), *recorded])


def _up(
    name: str, wanted: tuple[Resource, ...], old: Record | None, view: View, given: Set[Resource]
) -> Change:
    ours = _ours(old, view)
    refused = tuple(_obstacles(name, wanted, ours, view))
    if refused:
        return Change(name, wanted, refused=refused)
    missing = tuple(one for one in wanted if not one.is_in(view))
    kept = {*wanted, *given}
    before = (*old.resources, *old.stale) if old else ()
    left = [one for one in before if one not in kept and _is_there(one, view, ours)]
    left += _foreign_entries(wanted, before, view)
    removed = (*dict.fromkeys(left), *_learned(left, view))
    lines = tuple(_undo(removed, wanted)), tuple(_do(missing, view))
    return Change(name, wanted, missing, removed, *lines, tuple(one for one in before if one in given))


def _down(record: Record, view: View) -> Change:
    ours = _ours(record, view)
    known = dict.fromkeys((*record.resources, *record.stale))
    refused = tuple(_guests(known, view))
    if refused:
        return Change(record.interface, refused=refused)
    removed = tuple(one for one in known if one.delete() and _is_there(one, view, ours))
    return Change(record.interface, removed=removed, undo=tuple(_undo(removed)))


def _ours(record: Record | None, view: View) -> set[str]:
    """The devices that are ours: those in our group, and those that we made since the node has started."""
    if record is None or record.boot != boot():
        return {name for name, link in view.links.items() if str(link.get("group")) == str(GROUP)}
    made = {one.interface for one in record.resources if isinstance(one, Device)}
    return {name for name, link in view.links.items() if str(link.get("group")) == str(GROUP) or name in made}


def _is_there(resource: Resource, view: View, ours: set[str]) -> bool:
    """True if there is something to take away. Of devices only ours are, and what is on them."""
    if isinstance(resource, Device):
        return resource.interface in ours and not resource.obstacle(view)
    if isinstance(resource, (Element, Flood, IifRule, Route)):
        return resource in view.found
    if isinstance(resource, FrrBlock):
        return has_block(view.content(resource.path) or "")
    if isinstance(resource, Port):
        return (
            bool(resource.bridge) and view.links.get(resource.interface, {}).get("master") == resource.bridge
        )
    return False


def _foreign_entries(
    wanted: Iterable[Resource], before: Iterable[Resource], view: View
) -> Iterator[Resource]:
    """What nobody has on record: entries of nodes on a device of this network, unless they are FRR's, and
    members of its sets.
    """
    known = {*wanted, *before}
    others = {one.interface for one in wanted if isinstance(one, ByFrr)}
    vxlans = (one.interface for one in wanted if isinstance(one, Device) and one.type == "vxlan")
    devices = [name for name in vxlans if name not in others]
    sets = dict.fromkeys(one.set for one in wanted if isinstance(one, Element) and one.set in VTEPS)
    for place in (*devices, *sets):
        yield from (one for one in view.places.get(place, ()) if one not in known)


def _learned(removed: Iterable[Resource], view: View) -> Iterator[Learned]:
    """What was learned from nodes that go."""
    gone = {(one.interface, one.address) for one in removed if isinstance(one, Flood)}
    return (
        one for one in Learned.listed(view.entries if gone else []) if (one.interface, one.address) in gone
    )


def _undo(removed: Sequence[Resource], wanted: Iterable[Resource] = ()) -> Iterator[str]:
    """Lines that take these away, in the order in which it is done."""
    taken = {one.slot for one in wanted}
    devices = {one.interface for one in removed if isinstance(one, Device) and one.slot not in taken}
    for one in sorted(removed, key=lambda one: one.rank):
        on_it = one.device in devices and not isinstance(one, Device)
        if one.delete() and one.slot not in taken and not on_it:
            yield f"{one.tool} {one.delete()}"


def _do(missing: Iterable[Resource], view: View) -> Iterator[str]:
    """Lines that put these in place."""
    for one in missing:
        there = isinstance(one, Device) and one.interface in view.links
        yield f"{one.tool} {one.amend()}" if there and isinstance(one, Device) else one.command


def strangers(known: Iterable[Record], wanted: Iterable[Sequence[Resource]]) -> Iterator[str]:
    """Devices in our group that no network has: the record is lost, or somebody else took the group."""
    view = _view((), ())
    resources = [one for record in known for one in record.resources] + [
        one for some in wanted for one in some
    ]
    ours = {one.interface for one in resources if isinstance(one, Device)}
    for name, link in view.links.items():
        if str(link.get("group")) == str(GROUP) and name not in ours:
            yield f"{name} is in group {GROUP} and of no network (ip link del {name}, if nobody needs it)"


# --- what may not be touched


def _obstacles(name: str, wanted: Iterable[Resource], ours: set[str], view: View) -> Iterator[str]:
    """Why a network cannot come up without touching what is another's."""
    tables = {}
    for one in wanted:
        if isinstance(one, Device):
            yield from _device(name, one, ours, view)
        elif isinstance(one, Port) and one.interface in view.links:
            master = view.links[one.interface].get("master", one.bridge)
            if master != one.bridge:
                yield f"{one.interface} is in {master} already (take it out there, or from the file)"
        elif isinstance(one, Route) and one not in view.found:
            tables[one.prefix] = one
        elif isinstance(one, FrrBlock):
            text = view.content(one.path)
            yield from filter(None, [f"{one.path} {NO_FRR}" if text is None else one.trouble(text)])
    for route in tables.values():
        yield from _default(route)


def _device(name: str, device: Device, ours: set[str], view: View) -> Iterator[str]:
    wrong = device.obstacle(view)
    if device.interface in view.links and device.interface not in ours:
        yield f"{device.interface} is there, and not ours ({HINT})"
    elif wrong:
        yield f"{device.interface} {wrong}, which cannot be changed (snf-network net down {name}, then up)"
    elif device.type == "vxlan" and device.interface not in view.links:
        options = dict(pairs(device.fixed))
        other = view.vnis.get((options["id"], options["dstport"]))
        if other:
            yield f"{other} has VNI {options['id']} already, and is not ours ({HINT})"


def _default(route: Route) -> Iterator[str]:
    family = "-6" if ":" in route.prefix else "-4"
    for found in readback.ip("-N", family, "route", "show", "table", "all", "exact", route.prefix):
        foreign = str(found.get("protocol")) != str(GROUP) and found.get("type", "unicast") == "unicast"
        if foreign and str(found.get("table")) == route.table:
            yield (
                f"table {route.table} has a default route by {found.get('dev', 'no device')} that is not ours"
                " (take it from the node's own files and delete it, or gateways from networks.yaml)"
            )


def _guests(resources: Iterable[Resource], view: View) -> Iterator[str]:
    """Ports of a network's bridges that it did not put there: guests."""
    ports = {one.interface for one in resources if isinstance(one, Port)}
    bridges = {one.interface for one in resources if isinstance(one, Device) and one.type == "bridge"}
    for bridge in sorted(bridges & view.links.keys()):
        guests = [
            name for name, link in view.links.items() if link.get("master") == bridge and name not in ports
        ]
        if guests:
            more = f" and {len(guests) - 3} more" if len(guests) > 3 else ""
            yield f"{bridge} has {', '.join(guests[:3])}{more} (move or stop these guests first)"
