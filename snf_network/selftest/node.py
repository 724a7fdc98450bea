"""Rows of the matrix: frames to the node itself, and addresses that a guest has too many of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import (
    GATEWAY,
    GATEWAY6,
    IN_PREFIX4,
    IN_PREFIX6,
    IP,
    NODE,
    NODE6,
    OPEN_PORT,
    OTHER,
    ROUTED,
    SERVICE,
    Guest,
    Row,
)

S, T = f.SOURCE, f.TARGET
SERVICES, NEIGHBOURS = {ROUTED: "service"}, {ROUTED: "neighbours"}
MANY = 20
"""More link-local addresses than a NIC may use at once."""
LAST = "ffff"


def _to(name: str, packet: Callable[[Guest], f.Packet], stopped: dict[str, str] | None = None) -> Row:
    """To a program of the node."""
    return Row(name, lambda g: g.frame(packet(g)), stopped or {}, routed=True, ear=SERVICE)


def _closed(name: str, packet: Callable[[Guest], f.Packet]) -> Row:
    return _to(name, packet, SERVICES)


def _tcp(flags: int, port: int = 22) -> Callable[[Guest], f.Packet]:
    return lambda g: f.tcp(g.ip, NODE, 4000, port, flags)


def _udp(port: int) -> Callable[[Guest], f.Packet]:
    return lambda g: f.udp(g.ip, NODE, 4000, port)


CLOSED = (
    _closed("TCP to a service of the node", _tcp(f.SYN)),
    _closed("TCP to a service of the node, SYN+FIN", _tcp(f.SYN | f.FIN)),
    _closed("TCP to a service of the node, IPv6", lambda g: f.tcp(g.ip6, NODE6, 4000, 22)),
    _closed(
        "TCP to a service of the node, behind options",
        lambda g: f.with_dstopts(f.tcp(g.ip6, NODE6, 4000, 22)),
    ),
    _closed("TCP to its router's link-local", lambda g: f.tcp(g.local, g.router, 4000, 22)),
    _closed("UDP to a service of the node", lambda g: f.udp(g.ip, NODE, 53, 40000)),
    _closed("UDP to a service of the node, IPv6", lambda g: f.udp(g.ip6, NODE6)),
    _closed("UDP to its router's link-local", lambda g: f.udp(g.local, g.router)),
    _closed(
        "UDP to a service of the node, first fragment", lambda g: f.fragmented(f.udp(g.ip6, NODE6), more=True)
    ),
    _closed("ESP to the node", lambda g: f.ip(g.ip, NODE, f.ESP, bytes(24))),
)
"""What a guest may not say to the node itself."""
OPEN = (
    _to("echo to the node", lambda g: f.ping(g.ip, NODE)),
    _to("echo to the node, IPv6", lambda g: f.ping(g.ip6, NODE6)),
    _to("echo to its router's link-local", lambda g: f.ping(g.local, g.router)),
    _to("IGMP to the node", lambda g: f.igmp(g.ip, 0x16, NODE)),
    *(
        _to(f"answer to a connection of the node: {name}", _tcp(flags, 40000))
        for name, flags in (("SYN+ACK", f.SYN | f.ACK), ("ACK", f.ACK), ("RST", f.RST))
    ),
    *(_to(f"traceroute to the node, UDP {port}", _udp(port)) for port in (33434, 33523)),
    _to("TCP to a service that is open", _tcp(f.SYN, OPEN_PORT)),
    _to(
        "last fragment of UDP to the node, IPv6",
        lambda g: f.behind(f.udp(g.ip6, NODE6), f.FRAGMENT, bytes((0, 0, 64, 0, 0, 0, 9))),
    ),
    Row(
        "to the node: TCP by its uplink",
        lambda g: g.inward(f.tcp(OTHER, NODE, 4000, 22)),
        routed=True,
        sender="peer",
        ear=SERVICE,
    ),
)
"""What a guest needs of its router, and what others need."""


def _link_locals(g: Guest) -> Iterator[bytes]:
    """From made-up addresses, which the node would note as neighbours."""
    return (g.frame(f.udp(f"fe80::77:{number:x}", f.ALL_NODES)) for number in range(MANY))


def _senders(g: Guest) -> Iterator[bytes]:
    """From addresses of its prefix, if it has one."""
    numbers = range(MANY if g.column.allows else 0)
    sources = (f"{IN_PREFIX4.rpartition('.')[0]}.{100 + number}" for number in numbers)
    return (g.frame(f.arp(1, g.mac, source, GATEWAY), target=f.BROADCAST) for source in sources)


def _one_more(prefix: str) -> str:
    return f"{prefix.rpartition(':')[0]}:{LAST}"


TOO_MANY = (
    Row(
        "NA option, allowed prefix",
        lambda g: g.group(f.na(IN_PREFIX6, IN_PREFIX6, g.option(T, g.foreign))),
        {IP: "ip6-src"},
        allowed=True,
        then="na-lladdr",
    ),
    Row(
        "link-local source, one too many",
        lambda g: g.frame(f.udp(_one_more("fe80::"), f.ALL_NODES)),
        NEIGHBOURS,
        routed=True,
        first=_link_locals,
    ),
    Row(
        "NA for a link-local, one too many",
        lambda g: g.group(f.na(g.ip6, _one_more("fe80::"), g.option(T))),
        NEIGHBOURS,
        routed=True,
        first=_link_locals,
    ),
    Row(
        "NS from an allowed prefix, one too many",
        lambda g: g.group(f.ns(_one_more(IN_PREFIX6), GATEWAY6, g.option(S))),
        {IP: "ip6-src"},
        allowed=True,
        then="neighbours",
        routed=True,
        first=_link_locals,
    ),
    Row(
        "NA for an allowed prefix, one too many",
        lambda g: g.group(f.na(g.ip6, _one_more(IN_PREFIX6), g.option(T))),
        {IP: "na-target"},
        allowed=True,
        then="neighbours",
        routed=True,
        first=_link_locals,
    ),
    Row(
        "ARP from an allowed prefix, one too many",
        lambda g: g.frame(
            f.arp(1, g.mac, f"{IN_PREFIX4.rpartition('.')[0]}.99", GATEWAY), target=f.BROADCAST
        ),
        {IP: "arp-ip"},
        allowed=True,
        then="arp-neighbours",
        routed=True,
        first=_senders,
    ),
    Row(
        "ARP from an allowed prefix, not the first time",
        lambda g: g.frame(f.arp(1, g.mac, IN_PREFIX4, GATEWAY), target=f.BROADCAST),
        {IP: "arp-ip"},
        allowed=True,
        routed=True,
    ),
)
"""They come after rows with the addresses that pass, and before rows that use those again."""
