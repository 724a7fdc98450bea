"""What has to change at a name, given what is wanted and what the server has; and the UPDATE message that
does it. Pure.

Each change carries prerequisites (RFC 2136, 2.4), so the server does it only if the name is still as it was
seen. Whose a name is, an owner mark says: a DHCID record (RFC 4701) of the cluster and the instance, or a TXT
record. A name without one is ours only if all it has is what we would put there. Only single records are
deleted, never a name.
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
class Target:
    """A name, and what shall be there."""

    name: Name
    wanted: frozenset[Rdata]
    had: frozenset[Rdata] = frozenset()
    """What may be there because of us, even without a mark."""
    mark: Rdata | None = None
    """Ours; reverse names have none (RFC 4703, 5.4)."""
    whole: bool = False
    """Nothing but `wanted` is ours to keep."""
    ttl: int = 300

    @property
    def types(self) -> tuple[RdataType, ...]:
        """What to ask the server for."""
        return (A, AAAA, self.mark.rdtype) if self.mark else (PTR,)


@dataclass(frozen=True)
class Present:
    """What the server has at a name."""

    records: frozenset[Rdata] = frozenset()
    marks: frozenset[Rdata] = frozenset()
    """All records of the mark's type."""


@dataclass(frozen=True)
class Change:
    """What to do at one name, and on which conditions."""

    target: Target
    conditions: tuple[tuple[RdataType, frozenset[Rdata]], ...] = ()
    """Types with the records that there must be of each, no more and no less. Empty: the name must not be in
    use.
    """
    deletes: frozenset[Rdata] = frozenset()
    adds: frozenset[Rdata] = frozenset()
    doubtful: bool = False
    """The server may have been answering for a wildcard; if not, the name is another's, and the change will
    be refused.
    """


def decide(target: Target, present: Present, ours: bool = False) -> Change | None:
    """The change that makes `target` so; None if it is so, or if there is nothing of ours to take back.

    `ours`: a PTR that is not `had` belongs to another instance of this cluster, which no longer has the
    address.
    """
    return _forward(target, present) if target.mark else _pointer(target, present, ours)


def anew(change: Change) -> Change | None:
    """The change that takes a name which is free, instead of one that would adopt it without a mark; None if
    `change` is another kind.
    """
    target = change.target
    if (
        not target.mark
        or not target.wanted
        or not change.conditions
        or target.mark in dict(change.conditions)[target.mark.rdtype]
    ):
        return None
    return Change(target, adds=target.wanted | {target.mark}, doubtful=True)


def satisfied(target: Target, present: Present) -> bool:
    """True if an update that was to make `target` so has done it."""
    return decide(target, present) is None


def is_foreign(target: Target, present: Present) -> bool:
    """True if a forward name seems to be another's: by its mark, or for want of one by what it has beside
    ours.
    """
    if not target.mark or target.mark in present.marks:
        return False
    marked = any(target.mark.rdtype == DHCID or _text(other).startswith(NOTE) for other in present.marks)
    return marked or not present.records <= target.wanted | target.had


def _forward(target: Target, present: Present) -> Change | None:
    assert target.mark
    mark, wanted, records = target.mark, target.wanted, present.records
    if mark not in present.marks:
        if is_foreign(target, present):
            return Change(target, adds=wanted | {mark}, doubtful=True) if wanted else None
        if not records:
            return Change(target, adds=wanted | {mark}) if wanted else None
        left = wanted
    else:
        left = wanted if target.whole else wanted | (records - target.had)
    marks = frozenset({mark}) if left else frozenset()
    deletes, adds = (
        (records - left) | ({mark} & present.marks - marks),
        (left - records) | (marks - present.marks),
    )
    if not deletes and not adds:
        return None
    conditions = [(mark.rdtype, present.marks)]
    if mark not in present.marks:
        conditions += [(kind, _of(records, kind)) for kind in (A, AAAA)]
    return Change(target, tuple(conditions), deletes, adds)


def _pointer(target: Target, present: Present, ours: bool) -> Change | None:
    wanted, records = target.wanted, present.records
    removable = records if ours else records & target.had
    if not wanted:
        return Change(target, ((PTR, records),), removable) if removable and not ours else None
    if wanted == records:
        return None
    if records - removable - wanted:
        return Change(target, ((PTR, frozenset()),), adds=wanted, doubtful=True)
    return Change(target, ((PTR, records),), records - wanted, wanted - records)


def _of(records: Iterable[Rdata], kind: RdataType) -> frozenset[Rdata]:
    return frozenset(record for record in records if record.rdtype == kind)


def _sorted(records: Iterable[Rdata]) -> list[Rdata]:
    return sorted(records, key=lambda record: (record.rdtype, record.to_text()))


# --- owner marks


def mark(name: Name, owner: str, kind: str = "dhcid") -> Rdata:
    """The owner mark of `owner`, a cluster and an instance, for a name.

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
    """One UPDATE that does all the changes, or none."""
    update = dns.update.UpdateMessage(zone, keyring=key)
    for change in changes:
        name, ttl = change.target.name, change.target.ttl
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
    """The same as lines for nsupdate(1)."""
    yield f"zone {zone}"
    for change in changes:
        name = change.target.name
        if not change.conditions:
            yield f"prereq nxdomain {name}"
        for kind, records in change.conditions:
            word = dns.rdatatype.to_text(kind)
            yield from [f"prereq yxrrset {name} {typed(record)}" for record in _sorted(records)] or [
                f"prereq nxrrset {name} {word}"
            ]
        yield from (f"update delete {name} {typed(record)}" for record in _sorted(change.deletes))
        yield from (
            f"update add {name} {change.target.ttl} {typed(record)}" for record in _sorted(change.adds)
        )


def typed(record: Rdata) -> str:
    """A record as nsupdate and people know it."""
    return f"{dns.rdatatype.to_text(record.rdtype)} {record.to_text()}"
