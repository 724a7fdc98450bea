"""The networks of a node as they are: compared with what they shall have, and with their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snf_network.host.kernel import boot
from snf_network.model.networks.change import Change, vanishes
from snf_network.model.networks.stanza import is_stanza
from snf_network.model.resources import BridgeVlan, Element, Port, Resource, Route, Sysctl
from snf_network.model.resources.devices import GROUP, Device
from snf_network.model.resources.frr import ByFrr, FrrBlock, has_block
from snf_network.model.resources.hosts import HostAddress, IifEnd
from snf_network.model.resources.nft import VTEPS
from snf_network.model.resources.tunnel import Seen, TunnelPeer, Unreachable
from snf_network.model.resources.underlay import Flood, IifRule, Learned
from snf_network.observe.held import View
from snf_network.observe.obstacles import guests, obstacles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

    from snf_network.host.record import Record


def ups(
    wanted: Mapping[str, Sequence[Resource]], known: Mapping[str, Record], given: Set[Resource] = frozenset()
) -> list[Change]:
    """What `net up` has to do for these networks. What is `given` is another's by now: it goes off the
    records and stays where it is.
    """
    view = _view(wanted.values(), known.values())
    found = [_up(name, tuple(resources), known.get(name), view, given) for name, resources in wanted.items()]
    taken = {kind: _taken(known.values(), not kind) for kind in set(map(is_stanza, wanted))}
    return [_unless_taken(one, taken[is_stanza(one.name)]) for one in found]


def _taken(known: Iterable[Record], stanzas: bool) -> dict[tuple[str, ...], str]:
    """Whose the slots are that stanzas have, or those of networks.yaml. Settings are everybody's."""
    records = (record for record in known if is_stanza(record.interface) == stanzas)
    return {
        one.slot: record.interface
        for record in records
        for one in record.resources
        if not isinstance(one, Sysctl)
    }


def _unless_taken(change: Change, taken: Mapping[tuple[str, ...], str]) -> Change:
    """Refuse what ifupdown's stanzas and networks.yaml would take from each other."""
    for one in change.wanted if taken and not change.refused else ():
        if one.slot in taken:
            hint = "say it in /etc/network/interfaces or in networks.yaml, not in both"
            words = f"{one.tool} {one.add()}: {taken[one.slot]} has this already ({hint})"
            return Change(change.name, change.wanted, refused=(words,))
    return change


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
    refused = tuple(obstacles(name, wanted, ours, view))
    if refused:
        return Change(name, wanted, refused=refused)
    before = (*old.resources, *old.stale) if old else ()
    said = {one.slot: one.endpoint for one in before if isinstance(one, TunnelPeer)}
    gone = (one for one in _without(before, wanted) if one not in given)
    left = [one for one in gone if _is_there(one, view, ours)]
    renamed = {one.interface for one in left if isinstance(one, HostAddress)}
    missing = tuple(
        one for one in wanted if not one.is_in(view) or _is_elsewhere(one, said) or _goes_along(one, renamed)
    )
    left += [*_foreign_entries(wanted, before, view), *_foreign_peers(wanted, before, view)]
    removed = (*dict.fromkeys(left), *_learned(left, view))
    lines = tuple(_undo(removed, wanted)), tuple(_do(missing, view))
    return Change(name, wanted, missing, removed, *lines, tuple(one for one in before if one in given))


def _without(before: tuple[Resource, ...], wanted: tuple[Resource, ...]) -> Iterator[Resource]:
    """What is not wanted any longer; of 500 overlays that stay, without a look at each."""
    if before == wanted:
        return iter(())
    kept = set(wanted)
    return (one for one in before if one not in kept)


def _down(record: Record, view: View) -> Change:
    ours = _ours(record, view)
    known = dict.fromkeys((*record.resources, *record.stale))
    refused = tuple(guests(known, view))
    if refused:
        return Change(record.interface, refused=refused)
    removed = tuple(one for one in known if one.delete() and _is_there(one, view, ours))
    return Change(record.interface, removed=removed, undo=tuple(_undo(removed)))


def _ours(record: Record | None, view: View) -> set[str]:
    """The devices that are ours: those in our group, and those that we made since the node has started."""
    if record is None or record.boot != boot():
        return view.grouped
    made = {one.interface for one in record.resources if isinstance(one, Device)}
    return view.grouped | (made & view.links.keys())


def _is_there(resource: Resource, view: View, ours: set[str]) -> bool:
    """True if there is something to take away. Of devices only ours are, and what is on them."""
    if isinstance(resource, Device):
        return resource.interface in ours and not resource.obstacle(view)
    if isinstance(resource, (Element, Flood, HostAddress, IifEnd, IifRule, Route, Unreachable)):
        return resource in view.found
    if isinstance(resource, TunnelPeer):
        tunnel = view.tunnels.get(resource.interface)
        return tunnel is not None and resource.public in tunnel.peers
    if isinstance(resource, BridgeVlan):
        return _is_unused(resource, view)
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
    known = {one for some in (wanted, before) for one in some if isinstance(one, (Flood, Element))}
    others = {one.interface for one in wanted if isinstance(one, ByFrr)}
    vxlans = (one.interface for one in wanted if isinstance(one, Device) and one.type == "vxlan")
    devices = [name for name in vxlans if name not in others]
    sets = dict.fromkeys(one.set for one in wanted if isinstance(one, Element) and one.set in VTEPS)
    for place in (*devices, *sets):
        yield from (one for one in view.places.get(place, ()) if one not in known)


def _foreign_peers(
    wanted: Iterable[Resource], before: Iterable[Resource], view: View
) -> Iterator[TunnelPeer]:
    """Peers of this network's devices that nobody has on record."""
    devices = [one.interface for one in wanted if isinstance(one, Device) and one.type == "wireguard"]
    known = {one.slot for one in (*wanted, *before)} if devices else set()
    for device in devices:
        tunnel = view.tunnels.get(device, Seen("", 0, {}))
        every = (
            TunnelPeer(device, public, (*seen.prefixes, "0.0.0.0/0")[0], str(seen.keepalive))
            for public, seen in tunnel.peers.items()
        )
        yield from (one for one in every if one.slot not in known)


def _goes_along(resource: Resource, renamed: set[str]) -> bool:
    """True for a route that the kernel deletes with the last address of its device (fib_disable_ip)."""
    return isinstance(resource, Route) and resource.interface in renamed


def _is_elsewhere(resource: Resource, said: Mapping[tuple[str, ...], str]) -> bool:
    """True for a peer that was said to be at another place before. Where it is now, it has told itself."""
    if not isinstance(resource, TunnelPeer) or not resource.endpoint:
        return False
    return said.get(resource.slot, resource.endpoint) != resource.endpoint


def _is_unused(vlan: BridgeVlan, view: View) -> bool:
    """True if a port is in this VLAN, and of the other ports of its bridge none is: no guest needs it."""
    bridge = view.links.get(vlan.interface, {}).get("master")
    others = [port for port in view.ports.get(bridge, ()) if port not in view.uplinks] if bridge else []
    used = any((port, int(vlan.vid)) in view.vlans for port in others)
    return (vlan.interface, int(vlan.vid)) in view.vlans and not used


def _learned(removed: Iterable[Resource], view: View) -> Iterator[Learned]:
    """What was learned from nodes that go."""
    gone = {(one.interface, one.address) for one in removed if isinstance(one, Flood)}
    return (
        one for one in Learned.listed(view.entries if gone else []) if (one.interface, one.address) in gone
    )


def _undo(removed: Sequence[Resource], wanted: Iterable[Resource] = ()) -> Iterator[str]:
    """Lines that take these away, in the order in which it is done."""
    taken = {one.slot for one in wanted} if removed else set()
    devices = {one.interface for one in removed if isinstance(one, Device) and one.slot not in taken}
    for one in sorted(removed, key=lambda one: one.rank):
        if one.delete() and one.slot not in taken and not vanishes(one, devices):
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
    for name in view.links:
        if name in view.grouped and name not in ours:
            yield f"{name} is in group {GROUP} and of no network (ip link del {name}, if nobody needs it)"
