"""The networks of this node, for subcommands: read from the file, compared with records and kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os.path import lexists

from snf_network.apply.networks import Networks, records
from snf_network.errors import BadConfig, BadEnvironment, KernelError, SnfNetworkError, shown
from snf_network.host.kernel import boot, read_file
from snf_network.host.record import Record
from snf_network.model.config import Config
from snf_network.model.networks import Site, WireGuard
from snf_network.model.networks.change import Change
from snf_network.model.networks.file import PATH, File, parse
from snf_network.model.networks.stanza import is_stanza, name_of
from snf_network.model.networks.stanza import parse as parse_stanza
from snf_network.model.resources import Element, Resource, Route
from snf_network.model.resources.devices import Device
from snf_network.model.resources.frr import ByFrr
from snf_network.model.resources.routes import MAIN
from snf_network.networks import EVPN, UNDERLAY, wanted
from snf_network.networks.routed import resources as routed
from snf_network.observe.facts import kernel_has_ipv6, rt_tables
from snf_network.observe.networks import downs, strangers, ups
from snf_network.observe.nodes import SSCONF, Here, here, myself
from snf_network.observe.obstacles import foreign_routes
from snf_network.observe.tunnels import member

from . import evpn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.apply.networks import Look


def text_of(path: str) -> str:
    """The text of a file of networks. Raises BadConfig if it cannot be read."""
    text = read_file(path)
    if text is None:
        hint = "a regular file, and no link to one" if lexists(path) else "docs/networks.md has examples"
        raise BadConfig(f"{path} {'cannot be read' if lexists(path) else 'is not there'}", hint)
    return text


def load(path: str = PATH, directory: str = SSCONF, known: Iterable[str] = ()) -> tuple[File, Here]:
    """The file, and this node in it; where all `known` networks are ifupdown's, it needs none. Raises
    BadConfig and KernelError.
    """
    names = list(known)
    without = names and all(map(is_stanza, names)) and not lexists(path)
    file = parse("" if without else text_of(path), path)
    return file, here(file, directory)


def of_stanza(env: Mapping[str, str]) -> tuple[str, tuple[Resource, ...]]:
    """The name of an iface stanza's network, and what it puts on the node: nothing without a routing table,
    and no route of the node's own table that a connected one stands for. Raises BadEnvironment.
    """
    network = parse_stanza(env, dict(rt_tables()))
    site = Site(ipv6=kernel_has_ipv6())
    return name_of(env), tuple(routed(network, site)) if network else ()


def stanza_change(name: str, wanted: Iterable[Resource]) -> Look:
    """What `net ifup` has to do for it."""
    lines = list(wanted)

    def look(known: Mapping[str, Record]) -> list[Change]:
        free = tuple(one for one in lines if not _is_connected(one))
        if free:
            return ups({name: free}, known)
        return removal({name} & known.keys(), known)

    return look


def _is_connected(resource: Resource) -> bool:
    """True for a route that the device has by an address in that prefix."""
    if not isinstance(resource, Route) or resource.table != MAIN:
        return False
    return resource.interface in foreign_routes(resource)


def selected(place: Here, names: Sequence[str], path: str) -> dict[str, tuple[Resource, ...]]:
    """What these networks, or all, put on the node, what overlays share, and our block in frr.conf if one
    needs it. Raises BadEnvironment for a name that the file has not, KernelError for an overlay if the node's
    place is not known.
    """
    known = wanted(place.networks, place.site)
    left_out = dict(place.left_out)
    for name in names:
        if name in left_out:
            raise KernelError(left_out[name])
        if name not in known:
            raise BadEnvironment(f"{shown(name)} is no network of {path}", "snf-network net list")
    chosen = {name: known[name] for name in known if not names or name in names}
    parts = [one for some in chosen.values() for one in some]
    shared = UNDERLAY in known and any(isinstance(one, Device) and one.type == "vxlan" for one in parts)
    block = EVPN in known and any(isinstance(one, ByFrr) for one in parts)
    last = {EVPN: known[EVPN]} if block else {}
    return ({UNDERLAY: known[UNDERLAY]} if shared else {}) | chosen | last


def bring_up(
    place: Here, chosen: Mapping[str, Sequence[Resource]], known: Mapping[str, Record]
) -> list[Change]:
    """What `net up` has to do; our block in frr.conf goes with the last network that needs it."""
    said = wanted(place.networks, place.site)
    done = EVPN in known and EVPN not in said and not place.left_out
    return [*evpn.ups(chosen, known), *(downs([EVPN], known) if done else ())]


def removal(names: Iterable[str], known: Mapping[str, Record]) -> list[Change]:
    """What `net down` has to do; what overlays share goes with the last of them."""
    changes = downs([name for name in names if name not in (UNDERLAY, EVPN)], known)
    going = {one.name for one in changes if not one.refused}
    left = [one for name, one in known.items() if name not in {*going, UNDERLAY, EVPN}]
    rest = [one for record in left for one in record.resources]
    needed = {
        UNDERLAY: any(isinstance(one, Device) and one.type == "vxlan" for one in rest),
        EVPN: any(isinstance(one, ByFrr) for one in rest),
    }
    if needed[UNDERLAY] and UNDERLAY in known:
        changes = [_carrying(one, known) for one in changes]
    return [*changes, *downs([name for name in needed if name in known and not needed[name]], known)]


def _carrying(change: Change, known: Mapping[str, Record]) -> Change:
    """Refuse to take away the tunnel that overlays go through: they would go in the clear."""
    below = {one.interface for one in known[UNDERLAY].resources if isinstance(one, Element)} - {""}
    devices = {one.interface for one in change.removed if isinstance(one, Device)}
    if not below & devices:
        return change
    return Change(change.name, refused=("overlays go through it (take them away first, or all: --all)",))


def restore(config: Config, fallback: bool = False) -> list[tuple[Change, list[str]]]:
    """Put back what networks have lost that have come up since the node has started: at boot that is up to
    `net up`, when the uplinks are there. Files of others are left to `net up`, too. With `fallback`, overlays
    get an entry for each node that FRR does not have. Raises KernelError.
    """
    engine = Networks(config)
    if not any(engine.records):
        return []

    def look(known: Mapping[str, Record]) -> list[Change]:
        names = [name for name in _sorted(known) if known[name].boot == boot() and name != EVPN]
        return evpn.ups({name: known[name].resources for name in names}, known, fallback)

    return engine.change(look)


def _sorted(names: Iterable[str]) -> list[str]:
    """What overlays share comes first."""
    return sorted(names, key=lambda name: (name != UNDERLAY, name))


def differences(config: Config, path: str = PATH, directory: str = SSCONF) -> Iterator[tuple[str, str]]:
    """Network and description of each difference between the file, the records and the kernel; nothing on a
    node without networks. Raises KernelError.
    """
    found, unreadable = records(config).all()
    known = {record.interface: record for record in found}
    for name in unreadable:
        yield name, f"its record cannot be read: snf-network net up {name}"
    if not known and not lexists(path):
        return
    said: dict[str, tuple[Resource, ...]] = {}
    told: list[tuple[str, str]] = []
    frr = evpn.Asking()
    try:
        _, place = load(path, directory, known)
        said = wanted(place.networks, place.site)
        told = list(evpn.complaints(place.networks, place.site, known, frr))
        left_out = dict(place.left_out)
        kept = (*said, *left_out, *((UNDERLAY, EVPN) if left_out else ()))
        gone = [name for name in known if name not in kept and not is_stanza(name)]
        yield from left_out.items()
    except SnfNetworkError as error:
        yield "-", str(error)
        gone = []
    for name in gone:
        how = "up" if name == EVPN else f"down {name}"
        yield name, f"is not in {path} any more: snf-network net {how}"
    every = {name: record.resources for name, record in known.items()} | said
    yield from _told(evpn.ups({name: every[name] for name in _sorted(every)}, known, frr=frr), known)
    yield from told
    yield from (("-", words) for words in strangers(known.values(), said.values()))


def _told(changes: Iterable[Change], known: Mapping[str, Record]) -> Iterator[tuple[str, str]]:
    for change in changes:
        yield from ((change.name, words) for words in change.refused)
        if change.name in known:
            yield from ((change.name, f"missing: {line}") for line in change.do)
            yield from ((change.name, f"left over: {line}") for line in change.undo)
            yield from ((change.name, f"lacking: {words}") for words in known[change.name].lacking)
        elif change.wanted and change.name not in (UNDERLAY, EVPN):  # an overlay says it then
            yield change.name, f"is not up: snf-network net up {change.name}"


def tunnels(path: str = PATH) -> dict[str, WireGuard]:
    """The networks of kind wireguard in a file, by name. Raises BadConfig."""
    networks = parse(text_of(path), path).common.networks
    return {one.name: one for one in networks if isinstance(one, WireGuard)}


def own_member(tunnel: WireGuard, directory: str = SSCONF) -> tuple[str, str, str]:
    """Name, inner address and endpoint of this node in a tunnel, as far as they are known. Raises
    KernelError.
    """
    names, address = myself(directory)
    me = member(tunnel.nodes, names)
    for one in (one for one in tunnel.nodes if one.name == me):
        return one.name, one.address, one.endpoint
    where = f"[{address}]" if ":" in address else address
    return names[0], "ADDRESS", f"{where}:{tunnel.port}" if address else ""
