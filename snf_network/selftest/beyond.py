"""Rows of the matrix: frames to a bridged guest from another node of its overlay, whose gateway every node is
(rules/overlay.nft).
"""

from __future__ import annotations

from collections.abc import Callable

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import (
    ANY,
    GATEWAY,
    GATEWAY6,
    GATEWAY_LOCAL,
    GATEWAY_MAC,
    ISOLATED,
    OTHER,
    OTHER6,
    PROFILE,
    SERVED,
    SISTER,
    Guest,
    Row,
)


def _row(name: str, frame: Callable[[Guest], bytes], why: str = "") -> Row:
    stopped = dict.fromkeys((ANY, PROFILE, ISOLATED), why) if why else {ISOLATED: "isolated"}
    return Row(f"from another node: {name}", frame, stopped, bridged=True, sender="beyond", ear="guest")


def _lie(name: str, packet: Callable[[Guest], f.Packet], why: str = "gateway") -> Row:
    return _row(name, lambda g: g.inward(packet(g), SISTER, f.BROADCAST), why)


def _server(name: str, packet: Callable[[Guest], f.Packet]) -> Row:
    """From a DHCP server there, which a guest with nfdhcpd does not hear."""
    return Row(
        f"from another node: {name}",
        lambda g: g.inward(packet(g)),
        {SERVED: "foreign", ISOLATED: "isolated"},
        bridged=True,
        sender="beyond",
        ear="guest",
    )


TARGET, SOURCE = f.option(f.TARGET, SISTER), f.option(f.SOURCE, SISTER)
LOCAL = f.eui64(SISTER)
AS_THE_GATEWAY = (
    _row("its gateway's MAC", lambda g: g.inward(f.udp(OTHER, g.ip, 53), GATEWAY_MAC), "gateway"),
    _row("its gateway's MAC, IPv6", lambda g: g.inward(f.udp(OTHER6, g.ip6, 53), GATEWAY_MAC), "gateway"),
    _lie("its gateway's address", lambda g: f.udp(GATEWAY, g.ip, 53)),
    _lie("its gateway's address, IPv6", lambda g: f.udp(GATEWAY6, g.ip6, 53)),
    _lie("its gateway's link-local address", lambda g: f.udp(GATEWAY_LOCAL, g.ip6, 53)),
    _lie("ARP request as its gateway", lambda g: f.arp(1, SISTER, GATEWAY, g.ip)),
    _lie("ARP reply as its gateway", lambda g: f.arp(2, SISTER, GATEWAY, g.ip)),
    _lie("gratuitous ARP as its gateway", lambda g: f.arp(1, SISTER, GATEWAY, GATEWAY)),
    _lie("ARP request for its gateway", lambda g: f.arp(1, SISTER, OTHER, GATEWAY), "known"),
    _lie("NA for its gateway", lambda g: f.na(OTHER6, GATEWAY6, TARGET)),
    _lie("NA for its gateway's link-local", lambda g: f.na(OTHER6, GATEWAY_LOCAL, TARGET)),
    _lie("NS as its gateway", lambda g: f.ns(GATEWAY6, g.ip6, SOURCE)),
    _lie("NS for its gateway", lambda g: f.ns(OTHER6, GATEWAY6, SOURCE), "known"),
    _lie("RA", lambda g: f.icmp6(LOCAL, f.ALL_NODES, 134, bytes(12)), "ra"),
    _lie("redirect", lambda g: f.icmp6(LOCAL, g.ip6, 137, bytes(36)), "redirect"),
)
SERVERS = (
    _server("DHCP answer", lambda g: f.udp(OTHER, g.ip, 67, 68)),
    _server("DHCPv6 answer", lambda g: f.udp(LOCAL, g.local, 547, 546)),
)
FROM_BEYOND = (*AS_THE_GATEWAY, *SERVERS)
HEARD = (
    _row("UDP", lambda g: g.inward(f.udp(OTHER, g.ip, 53))),
    _row("UDP, IPv6", lambda g: g.inward(f.udp(OTHER6, g.ip6, 53))),
    _row("last fragment of UDP", lambda g: g.inward(f.ip(OTHER, g.ip, f.UDP, b"rest of it", fragment=100))),
    _lie("ARP request", lambda g: f.arp(1, SISTER, OTHER, g.ip), ""),
    _lie("NA", lambda g: f.na(OTHER6, OTHER6, TARGET), ""),
    _lie("NS", lambda g: f.ns(OTHER6, g.ip6, SOURCE), ""),
)
