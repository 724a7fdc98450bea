"""The drop matrix as data: rows are frames, columns are ways to bring a NIC up, and cells are expected
results.

A row lists the *pins* that stop it, each with its reason; a column lists the pins it has. All else passes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from snf_network.selftest import frames as f

NODE, NODE6, UNDERLAY, UNDERLAY6 = "192.0.2.1", "2001:db8:ffff::1", "192.0.2.77", "2001:db8:fffe::77"
GATEWAY, GATEWAY6, OTHER, OTHER6 = "198.51.100.1", "2001:db8:1::1", "198.51.100.66", "2001:db8:1::66"
TAP_MAC, FREE = "cc:47:52:4e:45:54", "fe80::1234:5678:9abc:def0"
ROUTER_MAC, UPLINK_MAC = "02:00:00:00:00:fe", "02:00:00:00:00:fd"
STRANGER, SISTER, UNKNOWN = "02:00:00:00:00:77", "aa:55:61:00:00:77", "aa:55:61:00:00:78"
"""A MAC of another private network, one of the guest's own by MAC_MASK, and one that never sends."""
VTEP, VTEP6 = "192.0.2.78", "2001:db8:fffe::78"
"""The other node of an overlay."""
GATEWAY_MAC, GATEWAY_LOCAL = "02:53:4e:00:00:64", "fe80::53:4eff:fe00:64"
"""Of a gateway that every node of an overlay is."""
FAR = "far0"
"""The port that leads to the other nodes of the overlay."""
UNROUTED, UNROUTED6 = "203.0.113.130", "2001:db8:fffd::130"
"""Addresses that only table main has a route to, not the guest's table."""
SERVICE = "service of the node"
"""The receiver of what is for the node itself: it counts only for rows that are about that."""
OPEN_PORT = 179
"""What NODE_SERVICES opens."""
VRRP, EXTRA4, EXTRA6 = "aa:55:60:5e:01:0a", "198.51.100.200", "2001:db8:1::200"
PREFIX4, PREFIX6 = "203.0.114.0/24", "2001:db8:77::/64"
AROUND6, TEMPORARY6 = "2001:db8:1::/123", "2001:db8:1::5"
"""A prefix that contains the gateway, and another address in it."""
IN_PREFIX4, IN_PREFIX6 = "203.0.114.5", "2001:db8:77::5"
RESERVED, OTHER_RESERVED = "01:80:c2:00:00:0e", "01:80:c2:00:00:03"
"""LLDP's group goes to the node from the port itself, past every bridge hook; 802.1X's passes only the input
hook.
"""

MAC, IP, LINK_LOCAL, ROUTER_LOCAL, GUARD, SERVED, QUEUED, PORT, ROUTED, ANY = (
    "mac",
    "ip",
    "link-local",
    "router-local",
    "guard",
    "served",
    "queued",
    "port",
    "routed",
    "any",
)
PREFIX, NODE_PREFIX, PROTECTED, LIMITED, PROFILE = "prefix", "node-prefix", "protected", "limited", "profile"
OWNED, ISOLATED, NODE_ISOLATED = "owned", "isolated", "node-isolated"
"""Pins: source MAC; addresses; link-local addresses; the tap's own; servers and routers; requests that
nfdhcpd got from the tap, or from iptables; ports; the table; pins of all NICs. And for frames to the guest:
its MAC prefix, from others and from the node itself; two profiles, and any profile; its own MAC; no
other guest, not even if the node itself speaks as one.
"""
LIMIT_OUT, LIMIT_IN, LIMIT_PPS, LIMIT_BROADCAST, LIMIT_NEW = (
    f"limit:{what}" for what in ("out", "in", "pps", "broadcast", "new")
)
"""Pins of NICs that are at one of their limits."""
UNCOUNTED = {"profile", "no-route", "known"}
"""Reasons for which we have no counter."""


@dataclass(frozen=True)
class Column:
    """One way to bring a NIC up."""

    name: str
    mode: str
    tags: str
    pins: tuple[str, ...]
    allows: tuple[str, ...] = ()
    """Instance tags, without the prefix that names the NIC."""
    profile: str = ""
    """Its firewall profile."""
    inward: bool = False
    """It has only frames to the guest."""
    trunk: bool = False
    """The NIC may send VLAN TRUNK tagged."""

    @property
    def limited(self) -> bool:
        """True if it has limits: such a column has only the rows about them."""
        return "limit:" in self.tags

    @property
    def switched(self) -> bool:
        """True if it is a port of Open vSwitch, which is no bridge of an overlay."""
        return self.mode == "openvswitch"

    @property
    def routed(self) -> bool:
        """True if the node is the guest's only neighbour."""
        return self.mode == "routed"


EXTRAS = (
    f"allow:{EXTRA4}",
    f"allow:{EXTRA6}",
    f"allow:{PREFIX4}",
    f"allow:{PREFIX6}",
    f"allow:{AROUND6}",
    f"mac:{VRRP}",
)
TRUNK = 10
LESS = "ip-less-routed nfdhcpd"
THREE = "ip-filtered private-filtered nfdhcpd"
BELOW = "limit:out:10gbit limit:in:10gbit limit:pps:1m limit:broadcast:100k limit:new:100k"
COLUMNS = (
    Column("routed", "routed", LESS, (MAC, IP, ROUTER_LOCAL, GUARD, SERVED, ROUTED, ANY)),
    Column("routed allow", "routed", LESS, (MAC, IP, ROUTER_LOCAL, GUARD, QUEUED, ROUTED, ANY), EXTRAS),
    Column("ip-filtered", "bridged", "ip-filtered", (MAC, IP, ROUTER_LOCAL, LINK_LOCAL, PORT, OWNED, ANY)),
    Column(
        "ip-filtered allow",
        "bridged",
        "ip-filtered nfdhcpd",
        (MAC, IP, GUARD, QUEUED, PORT, OWNED, ANY),
        (*EXTRAS, "allow:fe80::/10"),
    ),
    Column("private-filtered", "bridged", "private-filtered", (MAC, PREFIX, NODE_PREFIX, PORT, ANY)),
    Column("nfdhcpd", "bridged", "nfdhcpd", (GUARD, SERVED, PORT, ANY)),
    Column(
        "all three",
        "bridged",
        f"{THREE} masq",
        (MAC, PREFIX, IP, ROUTER_LOCAL, LINK_LOCAL, GUARD, SERVED, PORT, ANY),
        trunk=True,
    ),
    Column(
        "openvswitch",
        "openvswitch",
        THREE,
        (MAC, PREFIX, NODE_PREFIX, IP, ROUTER_LOCAL, LINK_LOCAL, GUARD, SERVED, PORT, ANY),
        trunk=True,
    ),
    Column(
        "openvswitch allow",
        "openvswitch",
        "ip-filtered",
        (MAC, IP, PORT, OWNED, ANY),
        (*EXTRAS, "allow:fe80::/10"),
    ),
    Column("routed, protected", "routed", LESS, (PROTECTED, PROFILE), profile="protected", inward=True),
    Column("bridged, limited", "bridged", "", (LIMITED, PROFILE), profile="limited", inward=True),
    Column("isolated", "bridged", "isolated", (ISOLATED,), inward=True),
    Column("isolated, ip-filtered", "bridged", "isolated ip-filtered", (ISOLATED, OWNED), inward=True),
    Column(
        "openvswitch, isolated",
        "openvswitch",
        "isolated ip-filtered",
        (ISOLATED, NODE_ISOLATED, OWNED),
        inward=True,
    ),
    Column(
        "private, protected",
        "bridged",
        "private-filtered",
        (PREFIX, NODE_PREFIX, PROTECTED, PROFILE),
        profile="protected",
        inward=True,
    ),
    Column("bridged, unprotected", "bridged", "", (PROFILE,), profile="unprotected", inward=True),
    Column("below all", "bridged", BELOW, ()),
    Column("limit:out", "bridged", BELOW, (LIMIT_OUT,)),
    Column("limit:in", "bridged", BELOW, (LIMIT_IN,)),
    Column("limit:pps", "bridged", BELOW, (LIMIT_PPS,)),
    Column("limit:broadcast", "bridged", BELOW, (LIMIT_BROADCAST,)),
    Column("limit:new", "bridged", BELOW, (LIMIT_NEW,)),
)


@dataclass(frozen=True)
class Guest:
    """A sender, with the NIC of its column."""

    column: Column
    number: int

    @property
    def tap(self) -> str:
        """The interface on the node."""
        return f"tap{self.number}"

    @property
    def mac(self) -> str:
        """Its own MAC address."""
        return f"aa:55:60:00:00:{self.number:02x}"

    @property
    def foreign(self) -> str:
        """A MAC address that is not the guest's."""
        return f"aa:55:60:66:00:{self.number:02x}"

    @property
    def ip(self) -> str:
        """Its own IPv4 address."""
        return f"198.51.100.{10 + self.number}"

    @property
    def ip6(self) -> str:
        """Its own IPv6 address."""
        return f.eui64(self.mac, "2001:db8:1::")

    @property
    def local(self) -> str:
        """The EUI-64 link-local address of its MAC."""
        return f.eui64(self.mac)

    @property
    def router(self) -> str:
        """The link-local address of its router: the tap's, or that of a router on the bridge."""
        return f.eui64(TAP_MAC)

    def frame(
        self, packet: f.Packet, source: str = "", target: str = "", tags: tuple[tuple[int, int], ...] = ()
    ) -> bytes:
        """A packet as a frame: by default to the node on a routed tap, and to everybody on a bridge."""
        return f.ethernet(
            source or self.mac, target or (TAP_MAC if self.column.routed else f.BROADCAST), packet, *tags
        )

    def group(self, packet: f.Packet, source: str = "") -> bytes:
        """A multicast IPv6 packet, to the Ethernet group of its destination."""
        return self.frame(packet, source, f.group_mac(socket.inet_ntop(socket.AF_INET6, packet[1][24:40])))

    def inward(self, packet: f.Packet, source: str = "", target: str = "") -> bytes:
        """A packet to the guest: from the router's side of the node, or from a neighbour on its bridge."""
        if self.column.routed:
            return f.ethernet(ROUTER_MAC, UPLINK_MAC, packet)
        return f.ethernet(source or SISTER, target or self.mac, packet)

    def option(self, kind: int, mac: str = "") -> bytes:
        """A link-layer option, by default with its own MAC."""
        return f.option(kind, mac or self.mac)


@dataclass(frozen=True)
class Row:
    """A frame, and which pins stop it."""

    name: str
    frame: Callable[[Guest], bytes]
    stopped: Mapping[str, str] = field(default_factory=dict)
    """Pins that stop it, each with the reason that is counted; the first pin that a column has decides."""
    allowed: bool = False
    """Passes if tags allow it."""
    then: str = ""
    """The reason for which it drops even then."""
    bridged: bool = False
    """Not sent on a routed tap: nothing listens to it there, so it cannot leave the guest."""
    routed: bool = False
    """Sent only on a routed tap."""
    sender: str = "guest"
    """guest; for frames to the guest, peer (for routed ones the router), beyond (another node of its
    overlay), node, or stack: the node's own.
    """
    outside: bool = False
    """Sent from a tap that is in no bridge."""
    trunk: bool = False
    """Passes if the NIC is a trunk."""
    ear: str = ""
    """The only receiver that counts."""
    first: Callable[[Guest], Iterable[bytes]] = lambda guest: ()
    """Frames that are sent right before it, and do not count."""
    limit: bool = False
    """It is about limits, and sent only in columns with them."""
    answer: Callable[[Guest, bytes], bool] | None = None
    """Accepts the answer that the guest must get."""

    def reason(self, column: Column) -> str:
        """Why it is dropped in this column; empty if it passes."""
        if (self.allowed and column.allows) or (self.trunk and column.trunk):
            return self.then
        late = self.stopped.get(SERVED, "") if QUEUED in column.pins else ""
        return next((why for pin, why in self.stopped.items() if pin in column.pins), late)

    @property
    def inward(self) -> bool:
        """True if it goes to the guest."""
        return self.sender != "guest"

    def possible(self, column: Column) -> bool:
        """False if the topology does not have this row in this column."""
        if column.limited != self.limit:
            return False
        if column.inward and (not self.inward or ROUTED in self.stopped):
            return False
        if column.switched and self.sender == "beyond":
            return False
        return not ((self.bridged and column.routed) or (self.routed and not column.routed))
