"""The rows of the matrix: frames that must not leave a guest, and frames that must always be able to."""

from __future__ import annotations

from collections.abc import Callable

from snf_network.selftest import frames as f
from snf_network.selftest.headers import MALFORMED
from snf_network.selftest.matrix import (
    ANY,
    EXTRA4,
    EXTRA6,
    FREE,
    GATEWAY,
    GATEWAY6,
    IN_PREFIX4,
    IN_PREFIX6,
    IP,
    LINK_LOCAL,
    MAC,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    ROUTED,
    ROUTER_LOCAL,
    SERVED,
    TAP_MAC,
    TEMPORARY6,
    UNDERLAY,
    UNDERLAY6,
    UNROUTED,
    UNROUTED6,
    VRRP,
    Guest,
    Row,
)
from snf_network.selftest.neighbours import ND, NONCE, SITE_LOCAL
from snf_network.selftest.node import CLOSED, TOO_MANY
from snf_network.selftest.ports import PORTS
from snf_network.selftest.servers import ETHERNET, SERVERS

S, T = f.SOURCE, f.TARGET
FIRST = 0x2000
"""IPv4 flag: more fragments follow."""


def _cut(source: str, packet: f.Packet, size: int) -> f.Packet:
    """The first fragment of a packet, cut to `size` octets."""
    return f.ip(
        source, NODE6, f.FRAGMENT, bytes((packet[1][6], 0, 0, 1, 0, 0, 0, 77)) + packet[1][40 : 40 + size]
    )


SRC_MAC, ANSWERED = {MAC: "src-mac"}, {SERVED: "answered"}


def _unrouted(source: Callable[[Guest], str], target: str) -> Row:
    """To an address that only table main has a route to, not the guest's table."""
    version = "IPv6" if ":" in target else "IPv4"
    return Row(
        f"{version} to where its table has no route",
        lambda g: g.frame(f.udp(source(g), target)),
        {ROUTED: "no-route"},
        routed=True,
        ear="router",
    )


MACS = (
    Row("source MAC, IPv4", lambda g: g.frame(f.udp(g.ip, NODE), g.foreign), SRC_MAC),
    Row("source MAC, IPv6", lambda g: g.frame(f.udp(g.ip6, NODE6), g.foreign), SRC_MAC),
    Row("source MAC, DHCP", lambda g: g.frame(f.dhcp(g.mac, 1), g.foreign, f.BROADCAST), SRC_MAC | ANSWERED),
    Row("source MAC, DAD", lambda g: g.group(f.ns("::", g.ip6), g.foreign), SRC_MAC),
    Row("source MAC of the router", lambda g: g.frame(f.udp(g.ip, NODE), TAP_MAC), SRC_MAC),
    Row(
        "source MAC, ARP", lambda g: g.frame(f.arp(1, g.mac, g.ip, GATEWAY), g.foreign, f.BROADCAST), SRC_MAC
    ),
    Row("source MAC, RARP", lambda g: g.frame(f.rarp(g.mac), g.foreign), SRC_MAC, bridged=True),
    Row(
        "source MAC, other ethertype",
        lambda g: g.frame((f.LOCAL, b"\0\0text"), g.foreign),
        SRC_MAC,
        bridged=True,
    ),
    Row(
        "source MAC, 802.1Q",
        lambda g: g.frame(f.udp(g.ip, NODE), g.foreign, tags=((f.VLAN, 5),)),
        {MAC: "src-mac", ANY: "tagged"},
        bridged=True,
    ),
    Row("VRRP MAC", lambda g: g.frame(f.udp(g.ip, NODE), VRRP), SRC_MAC, allowed=True),
)
ARP_MAC, ARP_IP, ARP_FORM = {MAC: "arp-mac"}, {IP: "arp-ip"}, {IP: "arp-form"}
PROBE = {IP: "arp-probe"}
ARP = (
    Row("ARP sender MAC", lambda g: g.frame(f.arp(1, g.foreign, g.ip, GATEWAY), target=f.BROADCAST), ARP_MAC),
    Row("ARP sender MAC, reply", lambda g: g.frame(f.arp(2, g.foreign, g.ip, GATEWAY)), ARP_MAC),
    Row(
        "ARP sender IP, request",
        lambda g: g.frame(f.arp(1, g.mac, OTHER, GATEWAY), target=f.BROADCAST),
        ARP_IP,
    ),
    Row("ARP sender IP, reply", lambda g: g.frame(f.arp(2, g.mac, OTHER, NODE)), ARP_IP),
    Row("ARP sender IP, the gateway's", lambda g: g.frame(f.arp(2, g.mac, GATEWAY, NODE)), ARP_IP),
    Row(
        "ARP sender IP, gratuitous",
        lambda g: g.frame(f.arp(1, g.mac, OTHER, OTHER), target=f.BROADCAST),
        ARP_IP,
    ),
    Row(
        "ARP sender IP, the node's",
        lambda g: g.frame(f.arp(1, g.mac, NODE, NODE), target=f.BROADCAST),
        ARP_IP,
    ),
    Row(
        "ARP probe for a neighbour's",
        lambda g: g.frame(f.arp(1, g.mac, "0.0.0.0", OTHER), target=f.BROADCAST),
        PROBE,
    ),
    Row("ARP probe for the gateway's", lambda g: g.frame(f.arp(1, g.mac, "0.0.0.0", GATEWAY)), PROBE),
    Row(
        "ARP probe, allowed address",
        lambda g: g.frame(f.arp(1, g.mac, "0.0.0.0", EXTRA4), target=f.BROADCAST),
        PROBE,
        allowed=True,
    ),
    Row(
        "ARP probe, allowed prefix",
        lambda g: g.frame(f.arp(1, g.mac, "0.0.0.0", IN_PREFIX4), target=f.BROADCAST),
        PROBE,
        allowed=True,
    ),
    Row("ARP reply from 0.0.0.0", lambda g: g.frame(f.arp(2, g.mac, "0.0.0.0", NODE)), ARP_IP),
    Row("ARP neither request nor reply", lambda g: g.frame(f.arp(9, g.mac, g.ip, GATEWAY)), ARP_FORM),
    Row(
        "ARP for another hardware",
        lambda g: g.frame((f.ARP, b"\0\6" + f.arp(1, g.mac, g.ip, GATEWAY)[1][2:])),
        ARP_FORM,
    ),
    Row("RARP about another MAC", lambda g: g.frame(f.rarp(g.foreign)), {IP: "rarp"}, bridged=True),
    Row(
        "RARP reply", lambda g: g.frame((f.RARP, f.arp(4, g.mac, g.ip, g.ip)[1])), {IP: "rarp"}, bridged=True
    ),
)


def _within(kind: int, behind: bool = False) -> Callable[[Guest], bytes]:
    """IP in IPv6 to a node."""

    def frame(g: Guest) -> bytes:
        packet = f.ip(g.ip6, UNDERLAY6, kind, f.udp(OTHER, NODE)[1])
        return g.frame(f.with_dstopts(packet) if behind else packet)

    return frame


def _overlay(name: str, target: str) -> Row:
    """VXLAN to an address of the node, which a device takes at any of them."""
    return Row(
        name,
        lambda g: g.frame(f.udp(g.ip6 if ":" in target else g.ip, target, 4000, 4789)),
        {ROUTED: "vxlan"},
        routed=True,
        ear="VXLAN device",
    )


IP4_SRC, TUNNEL = {IP: "ip4-src"}, {ANY: "tunnel"}
IP4 = (
    Row("IPv4 source, a neighbour's", lambda g: g.frame(f.udp(OTHER, NODE)), IP4_SRC),
    Row("IPv4 source, the gateway's", lambda g: g.frame(f.udp(GATEWAY, NODE)), IP4_SRC),
    Row("IPv4 source, elsewhere, through", lambda g: g.frame(f.ping("203.0.113.66", GATEWAY)), IP4_SRC),
    Row("IPv4 source, the node's", lambda g: g.frame(f.tcp(NODE, GATEWAY, 4000, 22)), IP4_SRC),
    Row(
        "IPv4 source 0.0.0.0, no DHCP",
        lambda g: g.frame(f.udp("0.0.0.0", "255.255.255.255", 68, 4000)),
        IP4_SRC,
    ),
    Row(
        "IPv4 source 0.0.0.0, UDP that looks like IGMP",
        lambda g: g.frame(f.udp("0.0.0.0", NODE, 0x1601)),
        IP4_SRC,
    ),
    Row(
        "IPv4 source 0.0.0.0, DHCP from another port",
        lambda g: g.frame(f.dhcp(g.mac, 1, port=4000), target=f.BROADCAST),
        IP4_SRC | ANSWERED,
    ),
    Row(
        "IPv4 source 0.0.0.0, DHCP in a fragment",
        lambda g: g.frame(f.ip("0.0.0.0", NODE, f.UDP, f.dhcp(g.mac, 1)[1][20:], fragment=FIRST)),
        IP4_SRC | ANSWERED,
    ),
    Row(
        "IPv4 source, fragment",
        lambda g: g.frame(f.ip(OTHER, NODE, f.UDP, b"rest of it", fragment=100)),
        IP4_SRC,
    ),
    Row(
        "IPv4 source, first fragment",
        lambda g: g.frame(f.ip(OTHER, NODE, f.UDP, f.udp_data(OTHER, NODE, 9, 9), fragment=FIRST)),
        IP4_SRC,
    ),
    _unrouted(lambda g: g.ip, UNROUTED),
    _unrouted(lambda g: g.ip6, UNROUTED6),
    Row("IPv4 in IPv4 to a node", lambda g: g.frame(f.ip(g.ip, UNDERLAY, 4, f.udp(OTHER, NODE)[1])), TUNNEL),
    Row(
        "IPv6 in IPv4 to a node", lambda g: g.frame(f.ip(g.ip, UNDERLAY, 41, f.udp(OTHER6, NODE6)[1])), TUNNEL
    ),
    Row("GRE to a node", lambda g: g.frame(f.ip(g.ip, UNDERLAY, 47, b"\0\0\x08\0rest")), TUNNEL),
    Row("VXLAN to a node, port 8472", lambda g: g.frame(f.udp(g.ip, UNDERLAY, 4000, 8472)), TUNNEL),
    Row("VXLAN to a node", lambda g: g.frame(f.udp(g.ip, UNDERLAY, 4000, 4789)), TUNNEL),
    _overlay("VXLAN into an overlay of its own node", NODE),
    _overlay("VXLAN into an overlay of its own node, IPv6", NODE6),
    Row("Geneve to a node", lambda g: g.frame(f.udp(g.ip, UNDERLAY, 4000, 6081)), TUNNEL),
    *(
        Row(f"{name} to a node", _within(kind), TUNNEL)
        for name, kind in (("IPv4 in IPv6", 4), ("IPv6 in IPv6", 41))
    ),
    *(
        Row(f"{name} to a node, behind options", _within(kind, behind=True), TUNNEL)
        for name, kind in (("IPv4 in IPv6", 4), ("IPv6 in IPv6", 41))
    ),
    Row("GRE to a node, IPv6", lambda g: g.frame(f.ip(g.ip6, UNDERLAY6, 47, b"\0\0\x08\0rest")), TUNNEL),
    Row("VXLAN to a node, IPv6", lambda g: g.frame(f.udp(g.ip6, UNDERLAY6, 4000, 4789)), TUNNEL),
    Row(
        "GRE to a node, behind options",
        lambda g: g.frame(f.with_dstopts(f.ip(g.ip6, UNDERLAY6, 47, b"\0\0\x08\0rest"))),
        TUNNEL,
    ),
    Row("IPv4 source, allowed address", lambda g: g.frame(f.udp(EXTRA4, NODE)), IP4_SRC, allowed=True),
    Row("IPv4 source, allowed prefix", lambda g: g.frame(f.udp(IN_PREFIX4, NODE)), IP4_SRC, allowed=True),
    Row(
        "ARP sender IP, allowed address",
        lambda g: g.frame(f.arp(1, g.mac, EXTRA4, GATEWAY), target=f.BROADCAST),
        ARP_IP,
        allowed=True,
    ),
    Row(
        "ARP sender IP, allowed prefix",
        lambda g: g.frame(f.arp(1, g.mac, IN_PREFIX4, GATEWAY), target=f.BROADCAST),
        ARP_IP,
        allowed=True,
    ),
    Row(
        "ARP sender MAC, allowed VRRP",
        lambda g: g.frame(f.arp(2, VRRP, EXTRA4, GATEWAY), VRRP, f.BROADCAST),
        SRC_MAC,
        allowed=True,
    ),
)
IP6_SRC, LOCAL, ROUTERS = {IP: "ip6-src"}, {LINK_LOCAL: "ip6-ll-src"}, {ROUTER_LOCAL: "ip6-ll-src"}
IP6 = (
    Row("IPv6 source, a neighbour's", lambda g: g.frame(f.udp(OTHER6, NODE6)), IP6_SRC),
    Row("IPv6 source, the gateway's", lambda g: g.frame(f.udp(GATEWAY6, NODE6)), IP6_SRC),
    Row("IPv6 source, elsewhere, through", lambda g: g.frame(f.ping("2001:db8:66::66", GATEWAY6)), IP6_SRC),
    Row("IPv6 source ::, no DAD", lambda g: g.frame(f.udp("::", NODE6)), IP6_SRC),
    Row("IPv6 source, site-local", lambda g: g.frame(f.udp(SITE_LOCAL, NODE6)), IP6_SRC),
    Row("IPv6 source ::, NA", lambda g: g.group(f.na("::", g.ip6)), IP6_SRC),
    Row(
        "IPv6 source ::, MLD behind options",
        lambda g: g.group(f.with_dstopts(f.icmp6("::", "ff02::16", 143, bytes(4), 1))),
        IP6_SRC,
    ),
    Row("IPv6 source ::, echo", lambda g: g.group(f.ping("::", f.ALL_NODES)), IP6_SRC),
    Row("link-local source, a free one", lambda g: g.frame(f.udp(FREE, g.router)), LOCAL),
    Row("link-local source, the router's", lambda g: g.frame(f.udp(g.router, f.ALL_NODES)), ROUTERS),
    Row("link-local source, the router's, NS", lambda g: g.group(f.ns(g.router, GATEWAY6)), ROUTERS),
    Row(
        "header chain cut by the fragment",
        lambda g: g.frame(_cut(g.ip6, f.udp(g.ip6, NODE6), 1)),
        {ANY: "ext-cut"},
    ),
    Row(
        "ICMPv6 cut by the fragment",
        lambda g: g.frame(_cut(g.ip6, f.ns(g.ip6, GATEWAY6), 0)),
        {ANY: "ext-cut"},
    ),
    Row("IPv6 source, allowed address", lambda g: g.frame(f.udp(EXTRA6, NODE6)), IP6_SRC, allowed=True),
    Row("IPv6 source, temporary address", lambda g: g.frame(f.udp(TEMPORARY6, NODE6)), IP6_SRC, allowed=True),
    Row(
        "NA for a temporary address",
        lambda g: g.group(f.na(TEMPORARY6, TEMPORARY6, g.option(T))),
        IP6_SRC,
        allowed=True,
    ),
    Row(
        "DAD for a temporary address",
        lambda g: g.group(f.ns("::", TEMPORARY6, NONCE)),
        {IP: "dad-target"},
        allowed=True,
    ),
    Row("NS from the gateway's address", lambda g: g.group(f.ns(GATEWAY6, OTHER6, g.option(S))), IP6_SRC),
    Row("IPv6 source, allowed prefix", lambda g: g.frame(f.udp(IN_PREFIX6, NODE6)), IP6_SRC, allowed=True),
    Row(
        "NA target, allowed prefix",
        lambda g: g.group(f.na(IN_PREFIX6, IN_PREFIX6, g.option(T))),
        IP6_SRC,
        allowed=True,
    ),
    Row(
        "NA target and option, allowed VRRP",
        lambda g: g.group(f.na(EXTRA6, EXTRA6, g.option(T, VRRP)), VRRP),
        SRC_MAC,
        allowed=True,
    ),
    Row("DAD, allowed prefix", lambda g: g.group(f.ns("::", IN_PREFIX6)), {IP: "dad-target"}, allowed=True),
)
FORGED = (*MACS, *PORTS, *ARP, *IP4, *IP6, *TOO_MANY, *ND, *CLOSED, *SERVERS, *ETHERNET, *MALFORMED)
