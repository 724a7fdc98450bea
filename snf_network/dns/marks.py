"""Owner marks and stamps: records at a name that identify its owner, and when each of its addresses was
registered. Pure.

A mark is the same on each node: a DHCID record (RFC 4701, 3.3 to 3.5) with identifier type 2 and digest type
1, the SHA-256 of a DUID and the name, where the DUID is one of type UUID (RFC 6355) made of cluster and
instance. Or, if configured, a TXT record.

There is a stamp for each address: when the node was told to register it. It looks like the mark, a DHCID
record of 35 bytes, but the second half of the digest is 8 bytes of the address's SHA-256 and the time in
microseconds. A node that was told earlier to remove the address finds a younger stamp and leaves it: the
later request wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from struct import pack, unpack
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdatatype import DHCID
from dns.rdtypes.ANY.TXT import TXT

Rdata = dns.rdata.Rdata
SPACE = uuid5(NAMESPACE_DNS, "snf-network")
NOTE = b"snf-network="
"""Prefix of the text of a TXT mark."""
STRING = 255
"""Maximum bytes in one string of a TXT record (RFC 1035, 3.3)."""
COMMON = 19
"""Bytes of a DHCID mark that its stamps share: types, and half of the digest."""
SIZE = 35
"""Bytes of a DHCID mark or stamp."""


def mark(name: dns.name.Name, owner: str, kind: str = "dhcid") -> Rdata:
    """The mark of `owner`, a cluster and an instance, for a name."""
    if kind == "txt":
        return _txt(NOTE + owner.encode())
    duid = pack("!H", 4) + uuid5(SPACE, owner).bytes
    return _dhcid(pack("!HB", 2, 1) + sha256(duid + (name.canonicalize().to_wire() or b"")).digest())


def stamp(mark: Rdata, record: Rdata, when: int) -> Rdata:
    """The stamp of an address record at the name of a mark. `when`: microseconds since the epoch."""
    if mark.rdtype == DHCID:
        return _dhcid(_key(mark, record) + pack("!Q", when))
    return _txt(_key(mark, record) + str(when).encode())


def stamps(mark: Rdata, record: Rdata, others: Iterable[Rdata]) -> dict[Rdata, int]:
    """The stamps of an address record among `others`, each with its time."""
    key = _key(mark, record)
    found = {other: _data(other).removeprefix(key) for other in others if _data(other).startswith(key)}
    if mark.rdtype == DHCID:
        return {other: unpack("!Q", rest)[0] for other, rest in found.items() if len(rest) == 8}
    return {other: int(rest) for other, rest in found.items() if rest.isdigit() and len(rest) < 20}


def is_ours(mark: Rdata, other: Rdata) -> bool:
    """True for the mark itself and for its stamps."""
    if other == mark:
        return True
    if mark.rdtype == DHCID:
        return len(_data(other)) == SIZE and _data(other).startswith(_data(mark)[:COMMON])
    return _data(other).startswith(_data(mark) + b" ")


def is_mark(record: Rdata) -> bool:
    """True if a record is an owner mark, whoever the owner is."""
    return record.rdtype == DHCID or _data(record).startswith(NOTE)


def _key(mark: Rdata, record: Rdata) -> bytes:
    """The prefix of all stamps of one address."""
    if mark.rdtype == DHCID:
        return _data(mark)[:COMMON] + sha256(record.to_wire() or b"").digest()[:8]
    return _data(mark) + b" " + record.to_text().encode() + b" "


def _data(record: Any) -> bytes:
    if record.rdtype == DHCID:
        return bytes(record.data)
    return b"".join(record.strings) if record.rdtype == dns.rdatatype.TXT else b""


def _dhcid(data: bytes) -> Rdata:
    return dns.rdata.from_wire(dns.rdataclass.IN, DHCID, data, 0, len(data))


def _txt(text: bytes) -> Rdata:
    strings = [text[start : start + STRING] for start in range(0, len(text), STRING)]
    return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings)
