"""The changes that bring a name from its current state to the desired one, and the UPDATE for them. Pure.

Each change carries prerequisites (RFC 2136, 2.4), so the server applies it only if the name is as it was
read. An owner mark tells who owns a name, a stamp which node registered an address last (marks). A name
without a mark is ours only if it has just the records that we would add. Only single records are deleted,
never a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
from dns.rdatatype import AAAA, PTR, A, RdataType

from snf_network.dns import marks

Name = dns.name.Name
Rdata = dns.rdata.Rdata


@dataclass(frozen=True)
class Endpoint:
    """A name and its desired state."""

    name: Name
    desired: frozenset[Rdata]
    """The records that it should have."""
    had: frozenset[Rdata] = frozenset()
    """Records that may be there because of us, even without a mark."""
    mark: Rdata | None = None
    """Our owner mark; None for reverse names, which have none (RFC 4703, 5.4)."""
    whole: bool = False
    """True if all records at a name with our mark are ours, and go unless they are desired."""
    ttl: int = 300
    """TTL of added records, in seconds."""
    kept: frozenset[Rdata] = frozenset()
    """Records to leave alone: neither added nor deleted."""
    implied: frozenset[Rdata] = frozenset()
    """PTRs to forward names that have the address, whoever registered it: restored if there is no PTR."""
    mine: frozenset[Rdata] = frozenset()
    """The stamps that this node has made."""
    stamp: int = 0
    """The time of new stamps, in microseconds since the epoch: when this node got the request."""
    before: int = 0
    """Addresses with another node's stamp are removed only if the stamp is older than this time."""

    @property
    def types(self) -> tuple[RdataType, ...]:
        """The types to ask the server for."""
        return (A, AAAA, self.mark.rdtype) if self.mark else (PTR,)


@dataclass(frozen=True)
class Current:
    """The current records of a name on the server."""

    records: frozenset[Rdata] = frozenset()
    marks: frozenset[Rdata] = frozenset()
    """All records of the mark's type."""


@dataclass(frozen=True)
class Change:
    """The records to add and delete at one name, and the conditions."""

    endpoint: Endpoint
    conditions: tuple[tuple[RdataType, frozenset[Rdata]], ...] = ()
    """For each type, the exact records that the name must have. Empty: the name must not be in use."""
    deletes: frozenset[Rdata] = frozenset()
    adds: frozenset[Rdata] = frozenset()
    doubtful: bool = False
    """The records read may have come from a wildcard; if not, the name has another owner, and the server
    refuses the change.
    """


def decide(endpoint: Endpoint, current: Current, ours: bool = False) -> Change | None:
    """The change that brings a name to its desired state; None if it is there already, or if there is nothing
    of ours to remove.

    `ours`: the current PTRs lead to names of this cluster, so the address has changed hands.
    """
    return _forward(endpoint, current) if endpoint.mark else _pointer(endpoint, current, ours)


def is_of_wildcard(left: Change) -> bool:
    """True if the deletions left after a successful one can only be answers of a wildcard."""
    endpoint = left.endpoint
    return bool(
        endpoint.mark and not endpoint.desired and not dict(left.conditions).get(endpoint.mark.rdtype)
    )


def taking(change: Change) -> Change | None:
    """A change that creates the name instead of adopting an unmarked one; None if `change` adopts no name."""
    endpoint = change.endpoint
    adopts = endpoint.mark and change.conditions and not dict(change.conditions)[endpoint.mark.rdtype]
    if not adopts or not endpoint.desired:
        return None
    return Change(endpoint, adds=endpoint.desired | change.adds, doubtful=True)


def marked(change: Change) -> Change | None:
    """The same change, but without deleting the owner mark; None if nothing is left of it."""
    if change.endpoint.mark not in change.deletes:
        return change
    less = replace(change, deletes=change.deletes - {change.endpoint.mark})
    return less if less.deletes or less.adds else None


def made(change: Change) -> frozenset[Rdata]:
    """The stamps that a change adds."""
    mark = change.endpoint.mark
    return frozenset(one for one in change.adds if mark and one.rdtype == mark.rdtype and one != mark)


def after(current: Current, change: Change | None) -> Current:
    """The state of a name after a change."""
    if not change:
        return current
    mark = change.endpoint.mark
    left = (current.records | current.marks) - change.deletes | change.adds
    own = frozenset(one for one in left if mark and one.rdtype == mark.rdtype)
    return Current(left - own, own)


def is_foreign(endpoint: Endpoint, current: Current) -> bool:
    """True if a forward name seems to have another owner: it has another mark, or no mark and records that we
    would not add.
    """
    if not endpoint.mark or _ours(endpoint, current):
        return False
    return any(map(marks.is_mark, current.marks)) or not current.records <= endpoint.desired | endpoint.had


def _ours(endpoint: Endpoint, current: Current) -> frozenset[Rdata]:
    """The marks and stamps of our instance at the name."""
    mark = endpoint.mark
    return frozenset(one for one in current.marks if mark and marks.is_ours(mark, one))


def _forward(endpoint: Endpoint, current: Current) -> Change | None:
    mark, desired, records = endpoint.mark, endpoint.desired, current.records
    assert mark
    ours = _ours(endpoint, current)
    stamped, replaced = _stamps(endpoint, current)
    if not ours and (is_foreign(endpoint, current) or not records):
        doubtful = is_foreign(endpoint, current)
        return Change(endpoint, adds=desired | {mark} | stamped, doubtful=doubtful) if desired else None
    removed = _removable(endpoint, current) - desired
    left = desired | (records - removed)
    stale = {one for data in removed for one in marks.stamps(mark, data, current.marks)}
    deletes = removed | (replaced | stale if left else ours)
    adds = (desired - records) | stamped | (frozenset({mark}) - current.marks if left else frozenset())
    if not deletes and not adds:
        return None
    conditions = [(mark.rdtype, current.marks)]
    if not ours:
        conditions += [(kind, _of(records, kind)) for kind in (A, AAAA)]
    return Change(endpoint, tuple(conditions), deletes, adds)


def _removable(endpoint: Endpoint, current: Current) -> frozenset[Rdata]:
    """Records that this node may remove, except those that another node was told to register since."""
    assert endpoint.mark
    if not _ours(endpoint, current):
        return current.records - endpoint.kept
    claimed = current.records if endpoint.whole else current.records & endpoint.had
    found = {data: marks.stamps(endpoint.mark, data, current.marks) for data in claimed - endpoint.kept}
    return frozenset(
        data
        for data, stamped in found.items()
        if not stamped or stamped.keys() & endpoint.mine or max(stamped.values()) < endpoint.before
    )


def _stamps(endpoint: Endpoint, current: Current) -> tuple[frozenset[Rdata], frozenset[Rdata]]:
    """The stamps to add for the desired addresses, and those they replace. A stamp by this node is kept."""
    assert endpoint.mark
    added, replaced = set(), set[Rdata]()
    for data in endpoint.desired:
        found = marks.stamps(endpoint.mark, data, current.marks)
        if not found.keys() & endpoint.mine:
            last = max(found.values(), default=-1)
            added.add(marks.stamp(endpoint.mark, data, max(endpoint.stamp, last + 1)))
            replaced |= found.keys()
    return frozenset(added), frozenset(replaced)


def _pointer(endpoint: Endpoint, current: Current, ours: bool) -> Change | None:
    desired, records, implied = endpoint.desired, current.records, endpoint.implied
    if not desired and not records and len(implied) == 1:
        return Change(endpoint, ((PTR, records),), adds=implied)
    removable = records if ours else records & endpoint.had - endpoint.kept - implied
    if not desired:
        return Change(endpoint, ((PTR, records),), removable) if removable and not ours else None
    if desired == records:
        return None
    if records - removable - desired:
        return Change(endpoint, ((PTR, frozenset()),), adds=desired, doubtful=True)
    return Change(endpoint, ((PTR, records),), records - desired, desired - records)


def _of(records: Iterable[Rdata], kind: RdataType) -> frozenset[Rdata]:
    return frozenset(record for record in records if record.rdtype == kind)


def _sorted(records: Iterable[Rdata]) -> list[Rdata]:
    return sorted(records, key=lambda record: (record.rdtype, record.to_text()))


# --- messages


def message(
    zone: Name, changes: Iterable[Change], key: dns.tsig.Key | None = None
) -> dns.update.UpdateMessage:
    """One UPDATE that makes all the changes, or none."""
    update = dns.update.UpdateMessage(zone, keyring=key)
    for change in changes:
        name, ttl = change.endpoint.name, change.endpoint.ttl
        if not change.conditions:
            update.absent(name)
        for kind, records in change.conditions:
            if records:
                update.present(name, *records)
            else:
                update.absent(name, kind)
        for record in _sorted(change.deletes):
            update.delete(name, record)
        for record in _sorted(change.adds):
            update.add(name, ttl, record)
    return update


def script(zone: Name, changes: Iterable[Change]) -> Iterator[str]:
    """The same changes as lines of nsupdate(1)."""
    yield f"zone {zone}"
    for change in changes:
        name = change.endpoint.name
        if not change.conditions:
            yield f"prereq nxdomain {name}"
        for kind, records in change.conditions:
            word = dns.rdatatype.to_text(kind)
            yield from [f"prereq yxrrset {name} {typed(record)}" for record in _sorted(records)] or [
                f"prereq nxrrset {name} {word}"
            ]
        yield from (f"update delete {name} {typed(record)}" for record in _sorted(change.deletes))
        yield from (
            f"update add {name} {change.endpoint.ttl} {typed(record)}" for record in _sorted(change.adds)
        )


def typed(record: Rdata) -> str:
    """A record in the notation of nsupdate."""
    return f"{dns.rdatatype.to_text(record.rdtype)} {record.to_text()}"
