"""The changes that bring a name from its current state to the desired one, and the UPDATE message that makes
them. Pure.

Each change carries prerequisites (RFC 2136, 2.4), so the server makes it only if the name is still as it was
seen. An owner mark tells whose a name is: a DHCID record (RFC 4701) of cluster and instance, or a TXT record.
A name without a mark is ours only if all it has is what we would put there. Only single records are deleted,
never a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from struct import pack
from uuid import NAMESPACE_DNS, uuid5

import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
from dns.rdatatype import AAAA, DHCID, PTR, TXT, A, RdataType
from dns.rdtypes.ANY.TXT import TXT as TXTRecord

Name = dns.name.Name
Rdata = dns.rdata.Rdata
SPACE = uuid5(NAMESPACE_DNS, "snf-network")
NOTE = "snf-network="
"""How a TXT mark begins."""
STRING = 255
"""Bytes of one string of a TXT record (RFC 1035, 3.3)."""


@dataclass(frozen=True)
class Endpoint:
    """A name, and what we want of it."""

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
    """Of what is added, in seconds."""
    kept: frozenset[Rdata] = frozenset()
    """Records that are neither added nor deleted."""

    @property
    def types(self) -> tuple[RdataType, ...]:
        """The types to ask the server for."""
        return (A, AAAA, self.mark.rdtype) if self.mark else (PTR,)


@dataclass(frozen=True)
class Current:
    """What the server has at a name."""

    records: frozenset[Rdata] = frozenset()
    marks: frozenset[Rdata] = frozenset()
    """All records of the mark's type."""


@dataclass(frozen=True)
class Change:
    """What to do at one name, and on which conditions."""

    endpoint: Endpoint
    conditions: tuple[tuple[RdataType, frozenset[Rdata]], ...] = ()
    """Types with the exact records that the name must have of each. Empty: the name must not be in use."""
    deletes: frozenset[Rdata] = frozenset()
    adds: frozenset[Rdata] = frozenset()
    doubtful: bool = False
    """The answer may have come from a wildcard; if not, the name is somebody else's, and the server refuses
    the change.
    """


def decide(endpoint: Endpoint, current: Current, ours: bool = False) -> Change | None:
    """The change that brings a name to its desired state; None if it is there, or if nothing of it is ours to
    take back.

    `ours`: the PTRs that are there lead to names of this cluster, so the address has changed hands.
    """
    return _forward(endpoint, current) if endpoint.mark else _pointer(endpoint, current, ours)


def is_of_wildcard(left: Change) -> bool:
    """True if what is left to be deleted after a deletion has succeeded can only be what a wildcard
    answers.
    """
    endpoint = left.endpoint
    return bool(
        endpoint.mark and not endpoint.desired and not dict(left.conditions).get(endpoint.mark.rdtype)
    )


def taking(change: Change) -> Change | None:
    """The change that takes a free name instead of adopting one without a mark; None if `change` is of
    another kind.
    """
    endpoint = change.endpoint
    adopts = endpoint.mark and change.conditions and not dict(change.conditions)[endpoint.mark.rdtype]
    if not adopts or not endpoint.mark or not endpoint.desired:
        return None
    return Change(endpoint, adds=endpoint.desired | {endpoint.mark}, doubtful=True)


def is_foreign(endpoint: Endpoint, current: Current) -> bool:
    """True if a forward name seems to be somebody else's: it has another mark, or no mark and more than what
    we would put there.
    """
    if not endpoint.mark or endpoint.mark in current.marks:
        return False
    marked = any(endpoint.mark.rdtype == DHCID or _text(other).startswith(NOTE) for other in current.marks)
    return marked or not current.records <= endpoint.desired | endpoint.had


def _forward(endpoint: Endpoint, current: Current) -> Change | None:
    assert endpoint.mark
    mark, desired, records = endpoint.mark, endpoint.desired, current.records
    if mark not in current.marks:
        if is_foreign(endpoint, current):
            return Change(endpoint, adds=desired | {mark}, doubtful=True) if desired else None
        if not records:
            return Change(endpoint, adds=desired | {mark}) if desired else None
        left = desired
    else:
        removable = (records if endpoint.whole else records & endpoint.had) - endpoint.kept
        left = desired | (records - removable)
    marks = frozenset({mark}) if left else frozenset()
    deletes = (records - left) | ({mark} & current.marks - marks)
    adds = (left - records) | (marks - current.marks)
    if not deletes and not adds:
        return None
    conditions = [(mark.rdtype, current.marks)]
    if mark not in current.marks:
        conditions += [(kind, _of(records, kind)) for kind in (A, AAAA)]
    return Change(endpoint, tuple(conditions), deletes, adds)


def _pointer(endpoint: Endpoint, current: Current, ours: bool) -> Change | None:
    desired, records = endpoint.desired, current.records
    removable = records if ours else records & endpoint.had - endpoint.kept
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


# --- owner marks


def mark(name: Name, owner: str, kind: str = "dhcid") -> Rdata:
    """The mark of `owner`, a cluster and an instance, for a name.

    DHCID (RFC 4701, 3.3 to 3.5): identifier type 2, digest type 1, SHA-256 over a DUID and the name; the DUID
    is one of type UUID (RFC 6355) made of the owner.
    """
    if kind == "txt":
        text = f"{NOTE}{owner}".encode()
        return TXTRecord(
            dns.rdataclass.IN, TXT, [text[start : start + STRING] for start in range(0, len(text), STRING)]
        )
    duid = pack("!H", 4) + uuid5(SPACE, owner).bytes
    data = pack("!HB", 2, 1) + sha256(duid + (name.canonicalize().to_wire() or b"")).digest()
    return dns.rdata.from_wire(dns.rdataclass.IN, DHCID, data, 0, len(data))


def _text(record: Rdata) -> str:
    return record.to_text().strip('"')


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
    """The same changes as lines for nsupdate(1)."""
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
    """A record as nsupdate and people write it."""
    return f"{dns.rdatatype.to_text(record.rdtype)} {record.to_text()}"
