"""Compare the records with the kernel: set arithmetic finds what is missing and what is left over. Also
compare them with the node's current facts: a plan that was made for another uplink is outdated.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from snf_network.errors import BadEnvironment, SnfNetworkError
from snf_network.host.kernel import ifindex
from snf_network.host.record import NETWORKS, Records, is_live
from snf_network.lean import dataclass, replace
from snf_network.model.nic import Nic
from snf_network.model.resources import (
    KINDS,
    BirdFile,
    Element,
    File,
    FloatingRoute,
    FrrFile,
    Link,
    Port,
    Resource,
    Route,
    SharedElement,
)
from snf_network.model.resources.nft import VTEPS
from snf_network.observe.facts import Facts, is_tap
from snf_network.observe.readback import View, bindings
from snf_network.rules.ruleset import PROFILES, Ruleset, gone_profiles

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator

    from snf_network.host.record import Record
    from snf_network.model.config import Config


@dataclass(frozen=True)
class Difference:
    """The differences between a node and its records."""

    missing: tuple[tuple[Record, Resource], ...] = ()
    """Resources that live NICs should have but lack."""
    orphans: tuple[Resource, ...] = ()
    """Our Resources that belong to no existing NIC."""
    gone: tuple[Record, ...] = ()
    """Records of NICs that no longer exist."""
    lacking: tuple[tuple[Record, str], ...] = ()
    """What could not be done when the NIC came up."""
    outdated: tuple[tuple[Record, str], ...] = ()
    """Facts of the node that changed since the plan was made."""
    rules: tuple[str, ...] = ()
    """Lines of the ruleset that differ from those loaded."""
    profiles: tuple[str, ...] = ()
    """Why firewall profiles do not load: their NICs receive nothing."""
    unreadable: tuple[str, ...] = ()
    """Files in STATE_DIR that should be records but cannot be read."""
    unrecorded: tuple[tuple[str, tuple[Resource, ...]], ...] = ()
    """Taps that are up without a record, and their Resources: left alone, as a guest may use them."""
    live: tuple[Record, ...] = ()
    """The existing NICs; not a difference."""

    def __bool__(self) -> bool:
        """True if there is any difference."""
        return any(value for name, value in self.__dict__.items() if name != "live")


def compare(config: Config) -> Difference:
    """Read the records and the kernel, and compare them. Raises KernelError."""
    view = View()  # before the records: a NIC that comes up in between has a record, so it has no orphans
    records = Records(config.state_dir)
    known, unreadable = records.all(view.found)
    live: list[Record] = []
    other: list[Record] = []
    for record in known:
        (live if is_live(record) else other).append(record)
    impostors = {record.interface for record in other if _looks_alike(record, view)}
    gone = [record for record in other if record.interface not in impostors]
    networks, unknown = Records(f"{config.state_dir}/{NETWORKS}").all()
    wanted = {one for record in (*live, *gone, *networks) for one in as_listed(record.resources)}
    unwanted = view.found - wanted
    left = [
        one
        for one in unwanted
        if not (one.shared and records.held(one)) and not _is_of_networks(one, bool(unknown))
    ]
    orphans, unrecorded = _sorted_out(
        left, view, {record.interface for record in live}, unreadable, impostors
    )
    ruleset = Ruleset(config)
    return Difference(
        missing=tuple(_missing(live, view, records, _complete(wanted, view.found, unwanted))),
        orphans=(*sorted(orphans, key=repr), *_bindings(config, (*live, *gone), view)),
        gone=tuple(gone),
        lacking=tuple((record, words) for record in live for words in record.lacking),
        outdated=tuple(outdated(live, config)),
        rules=tuple(map(_printable, rules_changed(ruleset, live))),
        profiles=tuple(_closed_profiles(ruleset, live)),
        unreadable=tuple(map(_printable, unreadable)),
        unrecorded=tuple((*unrecorded.items(), *_open_taps(view, known, unreadable, unrecorded))),
        live=tuple(live),
    )


def _is_of_networks(resource: Resource, unreadable: bool) -> bool:
    """True for what no NIC has, only a network of the node: `net check` judges the overlays' members. A
    route that is not to one host, and a member of a VXLAN device, may be that of a network whose record is
    unreadable.
    """
    if isinstance(resource, Element):
        return resource.set in (*VTEPS, "overlays") or (unreadable and resource.interface.startswith("vx"))
    return unreadable and isinstance(resource, Route) and not resource.prefix.endswith(("/32", "/128"))


def confirmed(one: Difference, other: Difference) -> Difference:
    """What two comparisons in a row have found: neither has seen a call at work on a NIC alone. The rest is
    that of the second.
    """
    missing = {(record.interface, record.ifindex, resource) for record, resource in one.missing}
    outdated = {(record.interface, words) for record, words in one.outdated}
    orphans, rules = set(one.orphans), set(one.rules)
    return replace(
        other,
        missing=tuple(
            (record, resource)
            for record, resource in other.missing
            if (record.interface, record.ifindex, resource) in missing
        ),
        outdated=tuple(
            (record, words) for record, words in other.outdated if (record.interface, words) in outdated
        ),
        orphans=tuple(resource for resource in other.orphans if resource in orphans),
        rules=tuple(words for words in other.rules if words in rules),
    )


def _printable(text: str) -> str:
    """The name of a file, or a line of one, may hold anything."""
    return text if text.isprintable() else ascii(text)[1:-1]


LISTED = frozenset(kind for kind in KINDS.values() if kind.is_in in (Resource.is_in, Element.is_in))
"""The kinds that are in place if they are among those that the kernel lists."""


def as_listed(resources: Iterable[Resource]) -> Iterator[Resource]:
    """Resources of these kinds as the kernel lists them: what several NICs share looks like any other."""
    for one in resources:
        kind = type(one)
        if kind is SharedElement:
            yield Element(*one.fields())
        elif kind is FloatingRoute:
            yield Route(*one.fields())
        elif kind in LISTED:
            yield one


def _complete(
    wanted: set[Resource], found: set[Resource], unwanted: set[Resource]
) -> Collection[type[Resource]]:
    """The kinds of which nothing is missing: whoever compares thousands of NICs need not ask for each."""
    if len(found) - len(unwanted) == len(wanted):
        return LISTED
    absent = tuple({type(one) for one in wanted - found})
    return [kind for kind in LISTED if not issubclass(kind, absent)]


def _missing(
    live: list[Record], view: View, records: Records, complete: Container[type[Resource]]
) -> Iterator[tuple[Record, Resource]]:
    """Resources not in place, or shared but not registered: the next NIC to go would remove those. What
    floats is in place if any NIC that may have it has it; if none has, the first lacks it.
    """
    floating = [one for record in live for one in record.resources if one.floats]
    held = {one.slot for one in floating if one.is_in(view)}
    for record in live:
        for resource in record.resources:
            if resource.floats:
                there = resource.slot in held
            else:
                there = type(resource) in complete or resource.is_in(view)
            if not there or (resource.shared and not records.holds(resource, record.interface)):
                yield record, resource
            if resource.floats:
                held.add(resource.slot)


def _looks_alike(record: Record, view: View) -> bool:
    """True if a device is up just as a record of another boot or ifindex describes it: then the record is
    from a backup, and the name was not reused by a foreign tap.
    """
    devices = [one for one in record.resources if isinstance(one, (Link, Port))]
    return bool(devices) and all(one.is_in(view) for one in devices)


def _sorted_out(
    left: list[Resource], view: View, live: Collection[str], unreadable: Collection[str], impostors: set[str]
) -> tuple[list[Resource], dict[str, tuple[Resource, ...]]]:
    """Split leftovers into orphans to remove and those of taps that may have a guest and so stay pinned."""
    spared = {
        one.device
        for one in left
        if one.device not in live and (one.device in impostors or _may_be_open(one, view))
    }
    kept = spared | set(unreadable)
    orphans = [one for one in left if not (one.device in kept or (kept and not one.owner and one.shared))]
    unrecorded = {
        name: tuple(sorted((one for one in left if one.device == name), key=repr))
        for name in sorted(spared - set(unreadable))
    }
    return orphans, unrecorded


def _may_be_open(resource: Resource, view: View) -> bool:
    """True if it concerns a tap that is up."""
    tap = isinstance(resource, Element) or is_tap(resource.device)
    return tap and not resource.shared and _is_up(resource.device, view)


def _is_up(interface: str, view: View) -> bool:
    return "UP" in view.links.get(interface, {}).get("flags", ())


def _open_taps(
    view: View, known: list[Record], unreadable: Collection[str], unrecorded: Collection[str]
) -> Iterator[tuple[str, tuple[Resource, ...]]]:
    """Taps that are up in our bridges, without a record or any Resource."""
    ours = {
        one.bridge for record in known for one in record.resources if isinstance(one, Port) and one.bridge
    }
    told = {*(record.interface for record in known), *unreadable, *unrecorded}
    for name, link in view.links.items():
        if link.get("master") in ours and name not in told and _is_up(name, view) and is_tap(name):
            yield name, ()


def outdated(live: Iterable[Record], config: Config) -> Iterator[tuple[Record, str]]:
    """NICs whose plan was made for other facts of the node, and what changed."""
    facts, known = Facts(config), dict[int, tuple[tuple[str, str], ...]]()
    for record in live:
        try:
            node = facts.of(Nic.from_env(dict(record.variables))) if record.node else None
        except BadEnvironment as error:
            yield record, error.message
            continue
        except SnfNetworkError:
            continue
        now = known.get(id(node)) or known.setdefault(id(node), node.facts() if node else ())
        if now == record.node:
            continue
        before = dict(record.node)  # that of another version may have other facts
        for name, value in now:
            if value != before.get(name, value):
                yield record, _change(name, before[name], value)


def _change(name: str, before: str, now: str) -> str:
    if now:
        return f"{name} is {now}, was {before or 'none'}"
    gone = "is gone" if not ifindex(before) else "has no default route any more"
    return f"{name} {before} {gone}"


def _bindings(config: Config, known: Iterable[Record], view: View) -> list[Resource]:
    """Files of taps that are gone; a foreign file for an existing tap is not ours to judge."""
    ours = {one.slot for record in known for one in record.resources if isinstance(one, File)}
    found = (
        *bindings(config.nfdhcpd_state_dir, read=view.content),
        *bindings(config.bird_dir, BirdFile, view.content),
        *bindings(config.frr_dir, FrrFile, view.content),
    )
    return [one for one in found if one.slot not in ours and not ifindex(one.device)]


def _closed_profiles(ruleset: Ruleset, live: list[Record]) -> Iterator[str]:
    """Why profiles drop everything: each one that does not load, and those of live NICs that have no file."""
    if live:
        yield from ruleset.refused_profiles()[0].values()
        members = (one for record in live for one in record.resources if isinstance(one, Element))
        yield from (f"{PROFILES[-1]}/{name}.nft is gone" for name in sorted(gone_profiles(members)))


def rules_changed(ruleset: Ruleset, live: list[Record]) -> list[str]:
    """Lines missing from the loaded ruleset, and lines added to it."""
    if not any(isinstance(resource, Element) for record in live for resource in record.resources):
        return []
    then, now = ruleset.then_and_now()
    if then == now:
        return []
    lost = [line.split()[1:3] for line in then if line.startswith("table ") and line not in now]
    if lost or not now:
        return [f"missing: table {' '.join(words)}" for words in lost] or ["missing: all tables"]
    if not then:
        return [f"{ruleset.note} does not say which rules were loaded"]
    words = {"-": "missing: ", "+": "not ours: "}
    changes = list(difflib.unified_diff(then, now, n=0, lineterm=""))[2:]
    return [words[line[0]] + line[1:].strip() for line in changes if line[0] in words]
