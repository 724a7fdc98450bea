"""rtnetlink(7), used directly: one socket queries routes, rules and links, and takes batches of changes.

`ip` would cost a process, dump all links first, stop at the first EEXIST and report errors as text
(docs/design.md). Each message here has an equivalent line of ip(8) or bridge(8), which a plan prints.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, SO_RCVTIMEO, SOL_SOCKET, inet_ntop, inet_pton, socket
from _struct import error as struct_error  # type: ignore[attr-defined]
from _struct import pack, unpack_from
from posix import strerror

from snf_network.addresses import family_of
from snf_network.errors import KernelError
from snf_network.lean import dataclass
from snf_network.model.resources import PROTOCOL, RULE_PRIORITY, Rule
from snf_network.wire import (
    FIB_RULE_HDR,
    FRA_FWMARK,
    FRA_FWMASK,
    FRA_PRIORITY,
    FRA_PROTOCOL,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    HEADER,
    IFF_UP,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_BR_VLAN_DEFAULT_PVID,
    IFLA_BR_VLAN_FILTERING,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    NDA_DST,
    NDA_IFINDEX,
    NDMSG,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    NTF_PROXY,
    RTA_DST,
    RTA_MARK,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_TABLE,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTMSG,
    attribute,
    attributes,
    message,
    messages,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from snf_network.model.resources import Resource
    from snf_network.model.resources.base import Index

AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, SOL_NETLINK = 16, 3, 0, 270
PATIENCE = pack("ll", 4, 0)
"""A struct timeval: 4 seconds."""
OPTIONS = (10, 11, 12)
"""NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK: short replies, error texts, exact dumps."""
NLMSGERR_ATTR_MSG = 1
# RTM_F_FIB_MATCH; IPv4 reports the table only with RTM_F_LOOKUP_TABLE, which IPv6 refuses
FIB_MATCH = {AF_INET: 0x3000, AF_INET6: 0x2000}
UNICAST = 1
DAEMONS = frozenset((11, 12, 186, 187, 188, 189, 192))
"""RTPROT_ZEBRA, BIRD, BGP, ISIS, OSPF, RIP, EIGRP (linux/rtnetlink.h)."""
# a rule that matches on nothing but its mark has only these attributes
MARK_ONLY = frozenset((FRA_PRIORITY, FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL))
TO_TABLE, UNREACHABLE, INVERT = 1, 7, 2
ABSENT = frozenset((2, 3, 19, 95, 99))
"""ENOENT, ESRCH, ENODEV, EOPNOTSUPP (of what is no port), EADDRNOTAVAIL: deleting something absent counts as
success.
"""
NO_QDISC = "Invalid handle"
"""The kernel's words for a queueing discipline that is not there; its code is that of any invalid message."""
EEXIST = 17
REFUSALS = (KernelError, OSError, ValueError, KeyError, struct_error)
"""Errors of a Resource that has no valid message: a device does not exist, or a value is malformed."""
LONGEST_ANSWER = 1 << 14
"""Bytes of one acknowledgement, with room for the kernel's words; a larger buffer would be mapped anew for
each.
"""
BATCH = 64
"""Number of messages sent before their replies are read: both fit into the socket's buffers."""
# addresses that only a default route leads to: class E, and 2000::
ANYWHERE = {AF_INET: "240.0.0.1", AF_INET6: "2000::"}


@dataclass(frozen=True)
class Found:
    """A route from the kernel."""

    table: int
    length: int
    """Prefix length; 0 is a default route."""
    device: int
    """ifindex of the (first) next hop; 0 if the route has no device."""
    devices: tuple[int, ...] = ()
    """Those of all next hops, in ascending order."""
    protocol: int = 0
    """Who made it (RTPROT_*)."""


@dataclass(frozen=True)
class Device:
    """A network device from the kernel."""

    name: str
    kind: str
    """bridge, tun, veth ...; empty for hardware."""
    mac: str
    mtu: int
    master: int
    """ifindex of its bridge, or 0."""
    vlan_aware: bool
    default_pvid: int
    up: bool
    """Administratively."""
    alias: str


class Netlink:
    """One socket for the queries of one call. Closed when it is garbage-collected."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW, protocol)
        self.socket.setsockopt(
            SOL_SOCKET, SO_RCVTIMEO, PATIENCE
        )  # settimeout() would poll before each answer
        for option in OPTIONS:
            self.socket.setsockopt(SOL_NETLINK, option, 1)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def default(self, family: int, table: int) -> int:
        """ifindex of the default route's device in `table`, the lowest of several; 0 if there is none."""
        return next(iter(self.defaults(family, table)), 0)

    def defaults(self, family: int, table: int) -> tuple[int, ...]:
        """The ifindex of each device that the default route in `table` leads to; empty if there is none.

        A lookup finds it if a rule leads packets with that mark to the table, or if it is `main`. The whole
        table is read only if it does not: it may hold a route for each guest, or all of the internet's.
        """
        found = self.route(family, table, ANYWHERE[family])
        if found and found.table == table:
            return found.devices if not found.length else ()
        routes = self.routes(family, table)
        return next((route.devices for route in routes if not route.length and route.device), ())

    def route(self, family: int, mark: int, address: str) -> Found | None:
        """The route of a packet with `mark` to `address`; None if there is none. Like `ip route get
        fibmatch`.
        """
        packed = inet_pton(family, address)
        body = (
            _rtmsg(family, FIB_MATCH[family], len(packed) * 8)
            + attribute(RTA_DST, packed)
            + attribute(RTA_MARK, pack("=I", mark))
        )
        return next(
            (_found(reply) for kind, reply in self.ask(RTM_GETROUTE, 0, body) if kind == RTM_NEWROUTE), None
        )

    def holder(self, prefix: str, table: int) -> int:
        """ifindex that a route of exactly `prefix` in `table` leads to; 0 if there is no such route, or if a
        routing daemon made it: that says where the address is elsewhere, and goes once it is here.
        """
        address, _, length = prefix.partition("/")
        found = self.route(family_of(address), table, address)
        exact = found and (found.table, found.length) == (table, int(length))
        return found.device if found and exact and found.protocol not in DAEMONS else 0

    def routes(self, family: int, table: int) -> Iterator[Found]:
        """Every route of `table`; the cost grows with their number. Like `ip route show table`."""
        body = _rtmsg(family, 0, 0) + attribute(RTA_TABLE, pack("=I", table))
        return (
            _found(reply) for kind, reply in self.ask(RTM_GETROUTE, NLM_F_DUMP, body) if kind == RTM_NEWROUTE
        )

    def has_table(self, table: int) -> bool:
        """True if the kernel has this table with a route in it."""
        return any(True for family in (AF_INET, AF_INET6) for _ in self.routes(family, table))

    def device(self, name: str) -> Device | None:
        """The device of that name; None if there is none. Like `ip -d link show dev NAME`."""
        body = bytes(IFINFOMSG.size) + attribute(IFLA_IFNAME, name.encode() + b"\0")
        return next(
            (_device(reply) for kind, reply in self.ask(RTM_GETLINK, 0, body) if kind == RTM_NEWLINK), None
        )

    def proxies(self, device: int, family: int) -> Iterator[str]:
        """The addresses that the node answers for on a device, given its ifindex. Like `ip neigh show proxy
        dev NAME`, without the entries of other devices.
        """
        body = NDMSG.pack(family, 0, 0, NTF_PROXY, 0) + attribute(NDA_IFINDEX, pack("=I", device))
        for kind, reply in self.ask(RTM_GETNEIGH, NLM_F_DUMP, body):
            found = attributes(reply[NDMSG.size :])
            if kind == RTM_NEWNEIGH and NDMSG.unpack_from(reply)[1] == device and NDA_DST in found:
                yield inet_ntop(family, found[NDA_DST])

    def ports(self, bridge: int) -> Iterator[Device]:
        """The ports of a bridge, given its ifindex. Like `ip link show master NAME`."""
        body = bytes(IFINFOMSG.size) + attribute(IFLA_MASTER, pack("=I", bridge))
        return (
            _device(reply) for kind, reply in self.ask(RTM_GETLINK, NLM_F_DUMP, body) if kind == RTM_NEWLINK
        )

    def rules(self) -> set[Rule]:
        """Our policy rules that are in the kernel now."""
        replies = self.ask(RTM_GETRULE, NLM_F_DUMP, bytes(FIB_RULE_HDR.size))
        return {rule for _, reply in replies for rule in _rule(reply)}

    def send(self, resources: Sequence[Resource], add: bool, index: Index) -> list[str]:
        """Add or delete each with a message of its own, in batches; returns the kernel's error for each,
        empty on success. One failure does not stop the others. Deleting something absent succeeds.
        """
        said: list[str] = []
        for start in range(0, len(resources), BATCH):
            requests: list[bytes] = []
            refused: dict[int, str] = {}
            for number, resource in enumerate(resources[start : start + BATCH]):
                try:
                    kind, flags, body = resource.message(add, index)
                    requests.append(message(kind, flags | NLM_F_ACK, body, number))
                except REFUSALS as error:  # a record may contain anything
                    refused[number] = getattr(error, "strerror", None) or str(error)
            refused |= {number: words for number, words in self._acknowledged(requests, add) if words}
            said += [refused.get(number, "") for number in range(len(resources[start : start + BATCH]))]
        return said

    def _acknowledged(self, requests: list[bytes], add: bool) -> Iterator[tuple[int, str]]:
        """Send requests; yields the index of each, and its error, empty on success."""
        if requests:
            self.socket.send(b"".join(requests))
        left = len(requests)
        while left:
            for kind, number, body in messages(self.socket.recv(LONGEST_ANSWER)):
                if kind == NLMSG_ERROR:
                    left -= 1
                    yield number, _refusal(body, add)

    def ask(self, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        """Send one request; returns the type and body of each reply. Reads all of them: any left over would
        be taken for the next query's.
        """
        replies: list[tuple[int, bytes]] = []
        self.socket.send(message(kind, flags, body))
        while True:
            for reply, _, answer in messages(self.socket.recv(65536)):
                if reply == NLMSG_DONE:
                    return replies
                replies.append((reply, answer))
                if reply == NLMSG_ERROR or flags & NLM_F_DUMP != NLM_F_DUMP:
                    return replies


def _refusal(body: bytes, add: bool) -> str:
    """Why a request failed (nlmsgerr): errno, and the kernel's text if any. Empty if a rule to add exists or
    an object to delete is absent.
    """
    code = -unpack_from("=i", body)[0]
    if not code or (code == EEXIST if add else code in ABSENT):
        return ""
    words = (
        attributes(body[4 + HEADER.size :])
        .get(NLMSGERR_ATTR_MSG, b"")
        .rstrip(b"\0")
        .decode("ascii", "replace")
    )
    if not add and words == NO_QDISC:
        return ""
    return f"{strerror(code)}{f' ({words})' if words else ''}"


def _rtmsg(family: int, flags: int, length: int) -> bytes:
    return RTMSG.pack(family, length, 0, 0, 0, 0, 0, 0, flags)


def _found(message: bytes) -> Found:
    """Parse rtmsg: RTA_TABLE, and RTA_OIF or the lowest device of RTA_MULTIPATH, whose order of hops varies.

    Only a unicast route leads to a device: an unreachable one of IPv6 is on lo.
    """
    fields = attributes(message[12:])
    devices = (
        [unpack_from("=i", fields[RTA_OIF])[0]]
        if RTA_OIF in fields
        else _hops(fields.get(RTA_MULTIPATH, b""))
    )
    table = unpack_from("=I", fields.get(RTA_TABLE, message[4:5] + bytes(3)))[0]
    found = tuple(sorted({*devices})) if message[7] == UNICAST else ()
    return Found(table, message[1], found[0] if found else 0, found, message[5])


def _hops(data: bytes) -> list[int]:
    """Parse rtnexthop: length, flags, weight, ifindex, attributes."""
    devices = []
    while len(data) >= 8:
        length, _, _, device = unpack_from("=HBBi", data)
        devices.append(device)
        data = data[(length + 3) & ~3 :]
    return devices


def _device(message: bytes) -> Device:
    """Parse ifinfomsg; attributes of bridges are in LINKINFO."""
    fields = attributes(message[IFINFOMSG.size :])
    info = attributes(fields.get(IFLA_LINKINFO, b""))
    name, kind = fields[IFLA_IFNAME].rstrip(b"\0"), info.get(IFLA_INFO_KIND, b"").rstrip(b"\0")
    mtu, master = (unpack_from("=I", fields.get(number, bytes(4)))[0] for number in (IFLA_MTU, IFLA_MASTER))
    bridge = attributes(info.get(IFLA_INFO_DATA, b"")) if kind == b"bridge" else {}
    return Device(
        name.decode("utf-8", "replace"),
        kind.decode("utf-8", "replace"),
        fields.get(IFLA_ADDRESS, b"").hex(":"),
        mtu,
        master,
        bridge.get(IFLA_BR_VLAN_FILTERING) == b"\1",
        unpack_from("=H", bridge.get(IFLA_BR_VLAN_DEFAULT_PVID, bytes(2)))[0],
        bool(IFINFOMSG.unpack_from(message)[3] & IFF_UP),
        fields.get(IFLA_IFALIAS, b"").rstrip(b"\0").decode("utf-8", "replace"),
    )


def _rule(message: bytes) -> Iterator[Rule]:
    """Parse fib_rule_hdr: it is ours if FRA_PROTOCOL and priority match and its only condition is the whole
    mark, the table's number.
    """
    fields = attributes(message[FIB_RULE_HDR.size :])
    whole_mark = (
        fields.get(FRA_FWMASK) == b"\xff" * 4 and message[1:4] == bytes(3) and not message[8] & INVERT
    )
    ours = (
        fields.get(FRA_PROTOCOL) == bytes((PROTOCOL,))
        and {FRA_PRIORITY, FRA_FWMARK} <= fields.keys() <= MARK_ONLY
    )
    if whole_mark and ours:
        priority, mark = (unpack_from("=I", fields[number])[0] for number in (FRA_PRIORITY, FRA_FWMARK))
        family = "-6" if message[0] == AF_INET6 else "-4"
        if (priority, message[7]) == (RULE_PRIORITY, TO_TABLE) and fields.get(FRA_TABLE) == fields[
            FRA_FWMARK
        ]:
            yield Rule(family, str(mark), "lookup")
        elif (priority, message[7]) == (RULE_PRIORITY + 1, UNREACHABLE):
            yield Rule(family, str(mark), "unreachable")
