"""The networks of this node, for subcommands: read from the file, compared with records and kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os.path import lexists

from snf_network.apply.networks import Networks, records
from snf_network.errors import BadConfig, BadEnvironment, KernelError, SnfNetworkError, shown
from snf_network.host.kernel import boot, read_file
from snf_network.host.record import Record
from snf_network.model.config import Config
from snf_network.model.networks.change import Change
from snf_network.model.networks.file import PATH, File, parse
from snf_network.model.resources import Resource
from snf_network.model.resources.devices import Device
from snf_network.model.resources.frr import ByFrr
from snf_network.networks import EVPN, UNDERLAY, wanted
from snf_network.observe.networks import downs, strangers
from snf_network.observe.nodes import SSCONF, Here, here

from . import evpn


def text_of(path: str) -> str:
    """The text of a file of networks. Raises BadConfig if it cannot be read."""
    text = read_file(path)
    if text is None:
        hint = "a regular file, and no link to one" if lexists(path) else "docs/networks.md has examples"
        raise BadConfig(f"{path} {'cannot be read' if lexists(path) else 'is not there'}", hint)
    return text


def load(path: str = PATH, directory: str = SSCONF) -> tuple[File, Here]:
    """The file, and this node in it. Raises BadConfig and KernelError."""
    file = parse(text_of(path), path)
    return file, here(file, directory)


def selected(place: Here, names: Sequence[str], path: str) -> dict[str, tuple[Resource, ...]]:
    """What these networks, or all, put on the node, what overlays share, and our block in frr.conf if one
    needs it. Raises BadEnvironment for a name that the file has not, KernelError for an overlay if the node's
    place is not known.
    """
    known = wanted(place.networks, place.site)
    for name in names:
        if name in place.left_out:
            raise KernelError(place.problem)
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
    return [*changes, *downs([name for name in needed if name in known and not needed[name]], known)]


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
    try:
        _, place = load(path, directory)
        said = wanted(place.networks, place.site)
        told = list(evpn.complaints(place.networks, place.site, known))
        kept = (*said, *place.left_out, *((UNDERLAY, EVPN) if place.left_out else ()))
        gone = [name for name in known if name not in kept]
        yield from ((name, place.problem) for name in place.left_out)
    except SnfNetworkError as error:
        yield "-", str(error)
        gone = []
    for name in gone:
        how = "up" if name == EVPN else f"down {name}"
        yield name, f"is not in {path} any more: snf-network net {how}"
    every = {name: record.resources for name, record in known.items()} | said
    yield from _told(evpn.ups({name: every[name] for name in _sorted(every)}, known), known)
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
