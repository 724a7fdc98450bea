"""Wire formats that more than one folder uses: netlink messages, the Internet checksum, capture files. Pure.

Netlink integers are in host byte order (netlink(7)), those of packets in network byte order. Input comes from
the kernel or from a guest: no length field in it is trusted beyond the end of the data.
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
NLA_F_NESTED, NLA_TYPE = 0x8000, 0x3FFF
"""A flag of the attribute type, and the mask of all but flags."""
HEADER = Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence number, port ID."""
ATTRIBUTE = Struct("=HH")
"""nlattr: length, type."""


def message(kind: int, flags: int, body: bytes, sequence: int = 1) -> bytes:
    """A netlink request."""
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


def messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, sequence number and body of each message in a datagram."""
    at = 0
    while at + HEADER.size <= len(datagram):
        length, kind, _, sequence, _ = HEADER.unpack_from(datagram, at)
        yield kind, sequence, datagram[at + HEADER.size : at + length]
        at += aligned(length) or len(datagram)


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute, padded to a multiple of four bytes."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, value: bytes) -> bytes:
    """An attribute that contains attributes."""
    return attribute(kind | NLA_F_NESTED, value)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attribute values by type; of several with one type, the last."""
    return dict(attribute_list(data))


def attribute_list(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute."""
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        yield kind & NLA_TYPE, data[at + ATTRIBUTE.size : at + length]
        at += aligned(length) or len(data)


def aligned(length: int) -> int:
    """A length rounded up to a multiple of four, where the next message or attribute begins."""
    return length + 3 & ~3


# --- the Internet checksum (RFC 1071)


def checksum(data: bytes) -> int:
    """The Internet checksum for a header; never 0, which in UDP means "no checksum".

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
"""The file header; `pcap_record` makes the records that follow."""
PCAP_RECORD = Struct("=IIII")
"""The record header: seconds, microseconds, captured length, original length."""


def pcap_record(frame: bytes, microseconds: int) -> bytes:
    """The record of one frame; `microseconds` since the epoch."""
    seconds, rest = divmod(microseconds, 1000000)
    return PCAP_RECORD.pack(seconds, rest, len(frame), len(frame)) + frame


# --- rtnetlink: numbers of linux/rtnetlink.h, if_link.h, if_bridge.h, neighbour.h and fib_rules.h

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWADDR, RTM_DELADDR, IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 20, 21, 1, 2, 8
RTM_NEWQDISC, RTM_DELQDISC, TCA_KIND, TCA_OPTIONS = 36, 37, 1, 2
IFF_UP = 1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_AF_SPEC = 1, 3, 4, 10, 18, 26
IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_ISOLATED = 4, 5, 33
IFLA_IFALIAS = 20
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_BR_VLAN_FILTERING, IFLA_BR_VLAN_DEFAULT_PVID, IFLA_BR_MULTI_BOOLOPT = 7, 39, 46
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_TABLE, RTA_MARK = 1, 4, 5, 6, 9, 15, 16
NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_IFINDEX, NDA_PROTOCOL = 1, 2, 3, 8, 12
NUD_LEARNED, NUD_PERMANENT, NTF_PROXY = 0x02 | 0x04 | 0x08 | 0x10, 0x80, 0x08
"""NUD_REACHABLE, STALE, DELAY, PROBE: the neighbour has told its link-layer address."""
FRA_PRIORITY, FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL = 6, 10, 14, 15, 16, 21
IFINFOMSG = Struct("=BxHiII")
"""Family, hardware type, index, flags, change mask."""
RTMSG = Struct("=BBBBBBBBI")
"""Family, destination and source prefix length, TOS, table, protocol, scope, type, flags."""
IFADDRMSG = Struct("=BBBBI")
"""Family, prefix length, flags, scope, index (linux/if_addr.h)."""
NDMSG = Struct("=BxxxiHBB")
"""Family, index, state, flags, type."""
NDA_CACHE = Struct("=III")
"""Beginning of nda_cacheinfo: clock ticks since the entry was confirmed, used, updated."""
TCMSG = Struct("=BxxxiIII")
"""Family, index, handle, parent, info."""
FIB_RULE_HDR = Struct("=BBBBBxxBI")
"""Family, destination and source prefix length, TOS, table, action, flags."""
U32 = Struct("=I")
