"""The rtnetlink messages that the up/down path speaks itself: routes, rules and one link are read, neighbours
are written.

`ip` would dump every link before it answers (docs/design.md); what is written here is printed as the equal
`ip` line. Numbers are those of linux/rtnetlink.h, fib_rules.h, if_link.h and neighbour.h.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton, socket
from _struct import pack, unpack_from

from snf_network.errors import KernelError
from snf_network.model.resources import PROTOCOL, RULE_PRIORITY, Rule
from snf_network.wire import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    attributes,
    message,
    messages,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from dataclasses import dataclass

    from snf_network.model.resources import Neighbour, NeighProxy
else:
    from snf_network.lean import dataclass

AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, SOL_NETLINK, NETLINK_GET_STRICT_CHK = 16, 3, 0, 270, 12
NEWLINK, GETLINK, NEWROUTE, GETROUTE, NEWNEIGH, DELNEIGH, GETRULE = 16, 18, 24, 26, 28, 29, 34
# RTM_F_FIB_MATCH; IPv4 tells which table only with RTM_F_LOOKUP_TABLE, which IPv6 refuses
FIB_MATCH = {AF_INET: 0x3000, AF_INET6: 0x2000}
UNICAST = 1
# attributes of a route, of a link, of a bridge within its link, of a neighbour, of a rule
RTA_DST, RTA_OIF, RTA_MULTIPATH, RTA_TABLE, RTA_MARK = 1, 4, 9, 15, 16
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
INFO_KIND, INFO_DATA, BR_VLAN_FILTERING, BR_VLAN_DEFAULT_PVID = 1, 2, 7, 39
NDA_DST, NDA_LLADDR, NDA_PROTOCOL, NUD_PERMANENT, NTF_PROXY = 1, 2, 12, 0x80, 0x08
FRA_PRIORITY, FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL = 6, 10, 14, 15, 16, 21
# a rule that asks for nothing but its mark has no other attributes than these
MARK_ONLY = frozenset((FRA_PRIORITY, FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL))
TO_TABLE, UNREACHABLE, INVERT = 1, 7, 2
IFINFOMSG, FIB_RULE_HDR = bytes(16), bytes(12)
"""The heads of questions about links and rules, which leave all to attributes and flags."""
ENOENT, ENODEV, ESRCH = 2, 19, 3
# addresses that nothing but a default route leads to: class E, and 2000::
ANYWHERE = {AF_INET: "240.0.0.1", AF_INET6: "2000::"}


@dataclass(frozen=True)
class Found:
    """A route the kernel told of."""

    table: int
    length: int
    """Prefix length; 0 is a default route."""
    device: int
    """ifindex of the (first) next hop, 0 for a route without a device."""


@dataclass(frozen=True)
class Device:
    """A network device the kernel told of."""

    name: str
    kind: str
    """bridge, tun, veth ...; empty for hardware."""
    mac: str
    mtu: int
    master: int
    """ifindex of the bridge it is in, or 0."""
    vlan_aware: bool
    default_pvid: int


class Netlink:
    """One socket for the questions of one call. Closed when it is dropped."""

    def __init__(self) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
        self.socket.settimeout(4)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def default(self, family: int, table: int, ruled: bool) -> int:
        """ifindex behind the default route of `table`, 0 if it has none. `ruled`: a rule leads marked packets
        there.
        """
        if ruled:
            found = self.route(family, table, ANYWHERE[family])
            return found.device if found and found.table == table and not found.length else 0
        return next(
            (route.device for route in self.routes(family, table) if not route.length and route.device), 0
        )

    def route(self, family: int, mark: int, address: str) -> Found | None:
        """The route that a packet with `mark` takes to `address`; None if there is none. As `ip route get
        fibmatch`.
        """
        packed = inet_pton(family, address)
        body = (
            _rtmsg(family, FIB_MATCH[family], len(packed) * 8)
            + attribute(RTA_DST, packed)
            + attribute(RTA_MARK, pack("=I", mark))
        )
        return next((_found(reply) for kind, reply in self.ask(GETROUTE, 0, body) if kind == NEWROUTE), None)

    def routes(self, family: int, table: int) -> Iterator[Found]:
        """Every route of `table`: costs as much as it has. As `ip route show table`."""
        body = _rtmsg(family, 0, 0) + attribute(RTA_TABLE, pack("=I", table))
        return (_found(reply) for kind, reply in self.ask(GETROUTE, NLM_F_DUMP, body) if kind == NEWROUTE)

    def has_table(self, table: int) -> bool:
        """True if the kernel has such a table with a route in it."""
        return any(True for family in (AF_INET, AF_INET6) for _ in self.routes(family, table))

    def device(self, name: str) -> Device | None:
        """The device of that name; None if there is none. As `ip -d link show dev NAME`."""
        body = IFINFOMSG + attribute(IFLA_IFNAME, name.encode() + b"\0")
        return next((_device(reply) for kind, reply in self.ask(GETLINK, 0, body) if kind == NEWLINK), None)

    def ports(self, bridge: int) -> Iterator[Device]:
        """The ports of a bridge, by its ifindex. As `ip link show master NAME`."""
        body = IFINFOMSG + attribute(IFLA_MASTER, pack("=I", bridge))
        return (_device(reply) for kind, reply in self.ask(GETLINK, NLM_F_DUMP, body) if kind == NEWLINK)

    def rules(self) -> set[Rule]:
        """Our policy rules, as they are in the kernel now."""
        replies = self.ask(GETRULE, NLM_F_DUMP, FIB_RULE_HDR)
        return {rule for _, reply in replies for rule in _rule(reply)}

    def neighbour(self, resource: Neighbour | NeighProxy, add: bool, device: int) -> None:
        """Put a neighbour entry in place, or take it away. Raises KernelError if the kernel refuses; absent
        is as good as deleted.
        """
        mac = bytes.fromhex(getattr(resource, "mac", "").replace(":", ""))
        family = AF_INET6 if ":" in resource.address else AF_INET
        state, flags = (NUD_PERMANENT, 0) if mac else (0, NTF_PROXY)
        body = pack("=BxxxiHBB", family, device, state, flags, 0) + attribute(
            NDA_DST, inet_pton(family, resource.address)
        )
        if add and mac:
            body += attribute(NDA_LLADDR, mac)
        body += attribute(NDA_PROTOCOL, bytes((PROTOCOL,))) if add else b""
        error = 0
        for kind, reply in self.ask(
            NEWNEIGH if add else DELNEIGH, NLM_F_ACK | (NLM_F_CREATE | NLM_F_REPLACE if add else 0), body
        ):
            error = -unpack_from("=i", reply)[0] if kind == NLMSG_ERROR else 0
        if error and (add or error not in (ENOENT, ENODEV, ESRCH)):
            from posix import strerror

            raise KernelError(f"ip {resource.add() if add else resource.delete()}: {strerror(error)}")

    def ask(self, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        """Send one request; give the kind and body of each reply. All are read: what is left would answer the
        next question.
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


def _rtmsg(family: int, flags: int, length: int) -> bytes:
    return pack("=BBBBBBBBI", family, length, 0, 0, 0, 0, 0, 0, flags)


def _found(message: bytes) -> Found:
    """rtmsg: RTA_TABLE, and RTA_OIF or the lowest device of RTA_MULTIPATH, which the kernel may begin with
    any hop.

    Only a unicast route leads to a device: an unreachable one of IPv6 is on lo.
    """
    fields = attributes(message[12:])
    devices = (
        [unpack_from("=i", fields[RTA_OIF])[0]]
        if RTA_OIF in fields
        else _hops(fields.get(RTA_MULTIPATH, b""))
    )
    table = unpack_from("=I", fields.get(RTA_TABLE, message[4:5] + bytes(3)))[0]
    return Found(table, message[1], min(devices, default=0) if message[7] == UNICAST else 0)


def _hops(data: bytes) -> list[int]:
    """rtnexthop: length, flags, weight, ifindex, attributes."""
    devices = []
    while len(data) >= 8:
        length, _, _, device = unpack_from("=HBBi", data)
        devices.append(device)
        data = data[(length + 3) & ~3 :]
    return devices


def _device(message: bytes) -> Device:
    """ifinfomsg; what is about a bridge only stands in its LINKINFO."""
    fields = attributes(message[len(IFINFOMSG) :])
    info = attributes(fields.get(IFLA_LINKINFO, b""))
    name, kind = fields[IFLA_IFNAME].rstrip(b"\0"), info.get(INFO_KIND, b"").rstrip(b"\0")
    mtu, master = (
        unpack_from("=I", fields.get(number, bytes(4)))[0] for number in (IFLA_MTU, IFLA_MASTER)
    )
    bridge = attributes(info.get(INFO_DATA, b"")) if kind == b"bridge" else {}
    return Device(
        name.decode("utf-8", "replace"),
        kind.decode("utf-8", "replace"),
        fields.get(IFLA_ADDRESS, b"").hex(":"),
        mtu,
        master,
        bridge.get(BR_VLAN_FILTERING) == b"\1",
        unpack_from("=H", bridge.get(BR_VLAN_DEFAULT_PVID, bytes(2)))[0],
    )


def _rule(message: bytes) -> Iterator[Rule]:
    """fib_rule_hdr: ours by FRA_PROTOCOL and priority, and by asking for nothing but the whole mark, which is
    the table.
    """
    fields = attributes(message[len(FIB_RULE_HDR) :])
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
