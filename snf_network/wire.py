"""Bytes that more than one room reads or writes: netlink messages, the Internet checksum, capture files. Pure.

Netlink numbers are in the order of this machine (netlink(7)), a packet's in network order. What is read comes
from the kernel or from a guest: no length in it is believed beyond the end of the data.
"""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# --- netlink (linux/netlink.h)

NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = (
    0x1,
    0x4,
    0x100,
    0x200,
    0x400,
    0x300,
)
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_NESTED, NLA_TYPE = 0x8000, 0x3FFF
"""A flag of an attribute that has others in it, and the bits of its number that name the kind."""
HEADER = Struct("=IHHII")
"""nlmsghdr: length, kind, flags, sequence, port."""
ATTRIBUTE = Struct("=HH")
"""nlattr: length, kind."""


def message(kind: int, flags: int, body: bytes, sequence: int = 1) -> bytes:
    """One request."""
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


def messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, sequence and body of each message in a datagram."""
    at = 0
    while at + HEADER.size <= len(datagram):
        length, kind, _, sequence, _ = HEADER.unpack_from(datagram, at)
        yield kind, sequence, datagram[at + HEADER.size : at + length]
        at += aligned(length) or len(datagram)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, filled up to four bytes."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The values of attributes, by their kinds."""
    found, at = {}, 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        found[kind & NLA_TYPE] = data[at + ATTRIBUTE.size : at + length]
        at += aligned(length) or len(data)
    return found


def aligned(length: int) -> int:
    """Where the next message or attribute begins."""
    return length + 3 & ~3


# --- the Internet checksum (RFC 1071)


def checksum(data: bytes) -> int:
    """The number to put into a header; never 0, which UDP takes for "none".

    A sum of 16-bit words with end-around carry is the number modulo 65535, and Python divides long numbers
    faster than it loops.
    """
    number = int.from_bytes(data, "big")
    return 0xFFFF - (number << 8 if len(data) & 1 else number) % 0xFFFF


# --- capture files (pcap, as tcpdump and Wireshark read them)

PCAP_MAGIC, PCAP_MAGIC_NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
LINKTYPE_ETHERNET = 1
LONGEST_FRAME = 65535
PCAP_HEADER = Struct("=IHHiIII").pack(PCAP_MAGIC, 2, 4, 0, 0, LONGEST_FRAME, LINKTYPE_ETHERNET)
"""What a file begins with; `pcap_record` makes the rest."""
PCAP_RECORD = Struct("=IIII")
"""What each frame begins with: seconds, microseconds, bytes that are kept, bytes that there were."""


def pcap_record(frame: bytes, microseconds: int) -> bytes:
    """One frame, seen so long after the epoch."""
    seconds, rest = divmod(microseconds, 1000000)
    return PCAP_RECORD.pack(seconds, rest, len(frame), len(frame)) + frame
