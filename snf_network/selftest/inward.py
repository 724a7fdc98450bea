"""Rows of the matrix: frames to a guest, from others, from the node, and through a firewall profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import (
    GATEWAY,
    ISOLATED,
    LIMITED,
    NODE_ISOLATED,
    NODE_PREFIX,
    OTHER,
    OTHER6,
    OTHER_RESERVED,
    OWNED,
    PREFIX,
    PROFILE,
    PROTECTED,
    ROUTED,
    SISTER,
    STRANGER,
    UNKNOWN,
    Column,
    Guest,
    Row,
)

GROUP = "01:00:5e:00:00:fb"
OTHERS, NODES = {PREFIX: "mac-prefix"}, {NODE_PREFIX: "mac-prefix"}
FIRST_ONLY, BOTH = {PROTECTED: "profile"}, {PROTECTED: "profile", LIMITED: "profile"}
ASIDE = f.udp(OTHER, OTHER, 53, 40000), SISTER, UNKNOWN
KNOCK, HALF = (40000, 80), 0x1000
"""Ports; and a fragment offset (in units of eight octets) with only its highest bit set."""


def _to(name: str, packet: Callable[[Guest], f.Packet], stopped: dict[str, str] | None = None) -> Row:
    """From a neighbour in the guest's own network, or through the node."""
    return Row(f"to the guest: {name}", lambda g: g.inward(packet(g)), stopped or {}, sender="peer")


def _bridged(
    name: str, frame: Callable[[Guest], bytes], stopped: dict[str, str], sender: str = "peer"
) -> Row:
    return Row(f"to the guest: {name}", frame, stopped, bridged=True, sender=sender)


def _tcp(name: str, ports: tuple[int, int], flags: int, stopped: dict[str, str] | None = None) -> Row:
    return _to(name, lambda g: f.tcp(OTHER, g.ip, *ports, flags), stopped)


def _udp(name: str, ports: tuple[int, int], stopped: dict[str, str] | None = None) -> Row:
    return _to(name, lambda g: f.udp(OTHER, g.ip, *ports), stopped)


def _udp6(name: str, ports: tuple[int, int], stopped: dict[str, str] | None = None) -> Row:
    return _to(f"{name}, IPv6", lambda g: f.udp(OTHER6, g.ip6, *ports), stopped)


def _tail6(header: int, units: int) -> Callable[[Guest], f.Packet]:
    """A fragment at an offset of `units` times eight octets."""
    head = bytes((header, 0)) + (units << 3).to_bytes(2, "big") + bytes((0, 0, 0, 9))
    return lambda g: f.ip(OTHER6, g.ip6, f.FRAGMENT, head + b"\x10" * 24)


def _kind(name: str, kind: int) -> Row:
    """An ethertype that may carry IP."""
    return _bridged(name, lambda g: g.inward((kind, b"\x11\0\0\1text")), BOTH)


KINDS = (
    ("a PPPoE session", 0x8864),
    ("PPPoE discovery", 0x8863),
    ("MPLS", 0x8847),
    ("MPLS, multicast", 0x8848),
    ("NSH", 0x894F),
    *((f"a tag of {kind:#06x}", kind) for kind in (0x9100, 0x9200, 0x9300)),
)
NO_VLAN = (f.VLAN, 0)
OUR_NETWORK = (
    _bridged("its network's unicast", lambda g: g.inward(f.udp(OTHER, g.ip, 53)), {}),
    _bridged(
        "its network's broadcast", lambda g: g.inward(f.arp(1, SISTER, OTHER, g.ip), SISTER, f.BROADCAST), {}
    ),
    _bridged("its network's RARP", lambda g: g.inward(f.rarp(SISTER), SISTER, f.BROADCAST), {}),
    _bridged("from the node, of its network", lambda g: g.inward(f.arp(1, SISTER, OTHER, g.ip)), {}, "node"),
)
OTHER_NETWORKS = (
    _bridged("another network's unicast", lambda g: g.inward(f.udp(OTHER, g.ip, 53), STRANGER), OTHERS),
    _bridged(
        "another network's broadcast",
        lambda g: g.inward(f.udp(OTHER, g.ip, 53), STRANGER, f.BROADCAST),
        OTHERS,
    ),
    _bridged(
        "another network's multicast",
        lambda g: g.inward(f.udp(OTHER, "224.0.0.251", 53), STRANGER, GROUP),
        OTHERS,
    ),
    _bridged(
        "another network's ARP",
        lambda g: g.inward(f.arp(1, STRANGER, OTHER, g.ip), STRANGER, f.BROADCAST),
        OTHERS,
    ),
    _bridged(
        "from the node, of another network",
        lambda g: g.inward(f.arp(1, STRANGER, OTHER, g.ip), STRANGER),
        NODES,
        "node",
    ),
)
ANOTHERS = {OWNED: "dst-mac"}
FLOODED = (
    _bridged("another's unicast", lambda g: g.inward(*ASIDE), ANOTHERS),
    _bridged("another's unicast, from the node", lambda g: g.inward(*ASIDE), ANOTHERS, "node"),
    _bridged(
        "another's unicast, from outside",
        lambda g: g.inward(ASIDE[0], STRANGER, UNKNOWN),
        {**OTHERS, **ANOTHERS},
    ),
)
"""No bridge has learned that MAC, so each port gets a copy."""
KEPT_OUT = (
    _tcp("HTTP", KNOCK, f.SYN, BOTH),
    _tcp("SYN+FIN", KNOCK, f.SYN | f.FIN, BOTH),
    _tcp("SYN+RST", KNOCK, f.SYN | f.RST, BOTH),
    _tcp("SSH", (40000, 22), f.SYN, FIRST_ONLY),
    _tcp("remote desktop", (40000, 3389), f.SYN, FIRST_ONLY),
    _udp("remote desktop, UDP", (40000, 3389), FIRST_ONLY),
    _udp("UDP", KNOCK, BOTH),
    _udp("UDP to a high port", (40000, 40000), BOTH),
    _udp6("UDP", KNOCK, BOTH),
    _udp("UDP from 53 to a low port", (53, 1023), BOTH),
    _udp("UDP from 123 to a low port", (123, 122), BOTH),
    _udp("UDP to 123", (40000, 123), BOTH),
    _to("GRE", lambda g: f.ip(OTHER, g.ip, 47, b"\0\0\x08\0rest"), BOTH),
    _to("flags without ports", lambda g: f.ip(OTHER, g.ip, f.TCP, b"\x10" * 24, fragment=0x2001), BOTH),
    _to("flags without ports, IPv6", _tail6(f.TCP, 1), BOTH),
    *(_kind(name, kind) for name, kind in KINDS),
    _bridged(
        "HTTP with a priority tag",
        lambda g: f.ethernet(SISTER, g.mac, f.tcp(OTHER, g.ip, *KNOCK), NO_VLAN),
        BOTH,
    ),
    _bridged(
        "HTTP with two tags",
        lambda g: f.ethernet(SISTER, g.mac, f.tcp(OTHER, g.ip, *KNOCK), NO_VLAN, NO_VLAN),
        {PROFILE: "profile"},
    ),
    _bridged(
        "UDP with two tags of 802.1ad",
        lambda g: f.ethernet(SISTER, g.mac, f.udp(OTHER, g.ip, 53), (f.QINQ, 0), (f.QINQ, 0)),
        {PROFILE: "profile"},
    ),
    _bridged(
        "HTTP in LLC/SNAP", lambda g: g.inward(f.snap(f.tcp(OTHER, g.ip, *KNOCK))), {PROFILE: "profile"}
    ),
)
LET_IN = (
    _tcp("ACK", KNOCK, f.ACK),
    _tcp("SYN+ACK", KNOCK, f.SYN | f.ACK),
    _tcp("RST", KNOCK, f.RST),
    *(_udp(f"UDP from {port}", (port, 40000)) for port in (53, 123, 443)),
    _udp("UDP from 53 to 1024", (53, 1024)),
    _udp("NTP to NTP", (123, 123)),
    _udp("DHCP answer", (67, 68)),
    _udp6("DHCPv6 answer", (547, 546)),
    _to("echo", lambda g: f.ping(OTHER, g.ip)),
    _to("echo, IPv6", lambda g: f.ping(OTHER6, g.ip6)),
    _to("last fragment of UDP", lambda g: f.ip(OTHER, g.ip, f.UDP, b"rest of it", fragment=100)),
    _to(
        "last fragment of UDP, near the first", lambda g: f.ip(OTHER, g.ip, f.UDP, b"rest of it", fragment=1)
    ),
    _to(
        "last fragment of UDP, in the second half", lambda g: f.ip(OTHER, g.ip, f.UDP, b"rest", fragment=HALF)
    ),
    _to(
        "last fragment of TCP, in the second half",
        lambda g: f.ip(OTHER, g.ip, f.TCP, b"rest", fragment=HALF + 1),
    ),
    _to("last fragment of UDP, IPv6", _tail6(f.UDP, 8)),
    _to("last fragment of UDP, IPv6, near the first", _tail6(f.UDP, 1)),
)


def unknown(guest: Guest) -> str:
    """An address that the node routes to the guest's tap, but has no MAC for."""
    return f"198.51.100.{240 + guest.number}"


def _asked(guest: Guest, frame: bytes) -> bool:
    """True if the frame is the node's ARP request for that address, with the gateway as its sender."""
    return f.is_arp(frame, 1, GATEWAY, unknown(guest))


ASKED = (
    Row(
        "to the node: 802.1X and its like, not from a pinned port",
        lambda g: f.ethernet(SISTER, OTHER_RESERVED, (f.LOCAL, b"\0\0text")),
        bridged=True,
        sender="peer",
        ear="program on the node",
    ),
    Row(
        "the node asks it in the gateway's name",
        lambda g: g.frame(f.arp(1, g.mac, g.ip, unknown(g))),
        routed=True,
        sender="stack",
        ear="guest",
        answer=_asked,
    ),
)
KNOWN = {ROUTED: "known"}
UNASKED = (
    Row(
        "the node asks for its IPv4 address",
        lambda g: g.frame(f.arp(1, g.mac, g.ip, unknown(g))),
        KNOWN,
        routed=True,
        sender="stack",
        ear="guest",
        answer=lambda g, frame: f.asks_for(frame, g.ip),
    ),
    Row(
        "the node asks for its IPv6 address",
        lambda g: g.frame(f.arp(1, g.mac, g.ip, unknown(g))),
        KNOWN,
        routed=True,
        sender="stack",
        ear="guest",
        answer=lambda g, frame: f.asks_for(frame, g.ip6),
    ),
)
FROM_GUESTS = {"peer": {ISOLATED: "isolated"}, "node": {NODE_ISOLATED: "isolated"}}


def _of_guest(row: Row) -> Row:
    """An isolated guest gets nothing that others of its MAC prefix send."""
    source = row.frame(Guest(Column("", "bridged", "", ()), 1))[6:12].hex(":")
    stopped = FROM_GUESTS.get(row.sender, {})
    return replace(row, stopped={**stopped, **row.stopped}) if source == SISTER else row


STOPPED = (*UNASKED, *map(_of_guest, (*OTHER_NETWORKS, *FLOODED, *KEPT_OUT)))
PASSING = (*map(_of_guest, (*OUR_NETWORK, *LET_IN)), *ASKED)
