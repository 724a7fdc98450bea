"""The positive controls: frames that a guest must always be able to send. A filter that drops these breaks
guests.
"""

from __future__ import annotations

from collections.abc import Callable

from snf_network.selftest import frames as f
from snf_network.selftest.headers import TAILS
from snf_network.selftest.matrix import (
    FREE,
    GATEWAY,
    GATEWAY6,
    LINK_LOCAL,
    NODE,
    NODE6,
    OTHER6,
    SERVED,
    Guest,
    Row,
)
from snf_network.selftest.node import OPEN

S, T = f.SOURCE, f.TARGET
NONCE = f.option(f.NONCE, b"nonce!")
ANSWERED = {SERVED: "answered"}
"""nfdhcpd receives it from the tap itself: it goes no further."""
FREE_SOURCE, FREE_DAD = {LINK_LOCAL: "ip6-ll-src"}, {LINK_LOCAL: "dad-target"}
"""RFC 7217 link-local addresses: the guest's choice on a routed tap, and on a bridge if a tag allows them."""


def _igmp(kind: int, source: str = "") -> Callable[[Guest], bytes]:
    return lambda g: g.frame(f.igmp(source or g.ip, kind, "224.0.0.2"), target="01:00:5e:00:00:02")


def _mld(kind: int, name: str) -> Row:
    """Version 1 (RFC 2710), as some stacks send it, without hop-by-hop options."""
    return Row(
        f"MLD {name}, from ::",
        lambda g: g.group(f.icmp6("::", "ff02::2", kind, bytes(4) + f.octets("ff02::7"), 1)),
    )


def _icmp6(kind: int, behind: bool = False) -> Callable[[Guest], bytes]:
    def frame(g: Guest) -> bytes:
        packet = f.icmp6(g.ip6, NODE6, kind, bytes(20), 64)
        return g.frame(f.with_dstopts(packet) if behind else packet)

    return frame


ELSEWHERE = "203.0.113.9"
LEGAL = (
    Row("UDP", lambda g: g.frame(f.udp(g.ip, NODE))),
    Row("UDP, IPv6", lambda g: g.frame(f.udp(g.ip6, NODE6))),
    Row("UDP, through", lambda g: g.frame(f.udp(g.ip, GATEWAY)), ear="router"),
    Row("UDP, IPv6, through", lambda g: g.frame(f.udp(g.ip6, GATEWAY6)), ear="router"),
    Row("TCP", lambda g: g.frame(f.tcp(g.ip, NODE, 4000, 22))),
    Row("TCP, IPv6", lambda g: g.frame(f.tcp(g.ip6, NODE6, 4000, 22))),
    Row("echo", lambda g: g.frame(f.ping(g.ip, NODE))),
    Row("echo, IPv6", lambda g: g.frame(f.ping(g.ip6, NODE6))),
    Row("echo behind options", lambda g: g.frame(f.with_dstopts(f.ping(g.ip6, NODE6)))),
    Row("TCP behind options", lambda g: g.frame(f.with_dstopts(f.tcp(g.ip6, NODE6, 4000, 22)))),
    Row("TCP behind AH", lambda g: g.frame(f.behind_ah(f.tcp(g.ip6, NODE6, 4000, 22)))),
    Row("fragment of UDP", lambda g: g.frame(f.ip(g.ip, NODE, f.UDP, b"rest of it", fragment=100))),
    Row("first fragment of UDP, IPv6", lambda g: g.frame(f.fragmented(f.udp(g.ip6, NODE6), more=True))),
    Row(
        "fragment of UDP, IPv6",
        lambda g: g.frame(f.behind(f.udp(g.ip6, NODE6), f.FRAGMENT, bytes((0, 0, 64, 0, 0, 0, 9)))),
    ),
    *TAILS,
    Row("ESP", lambda g: g.frame(f.ip(g.ip, NODE, f.ESP, bytes(24)))),
    Row("ESP that looks like a header, IPv6", lambda g: g.frame(f.ip(g.ip6, NODE6, f.ESP, b"\x3a" * 24))),
    Row(
        "ESP that looks like a header, behind options",
        lambda g: g.frame(f.with_dstopts(f.ip(g.ip6, NODE6, f.ESP, b"\x3a" * 24))),
    ),
    *(Row(f"ICMPv6 of type {kind}", _icmp6(kind)) for kind in (0, 255)),
    *(Row(f"ICMPv6 of type {kind} behind options", _icmp6(kind, behind=True)) for kind in (0, 132, 138, 255)),
    Row("tunnel to elsewhere", lambda g: g.frame(f.ip(g.ip, NODE, 41, f.udp(OTHER6, NODE6)[1]))),
    Row("VXLAN to elsewhere", lambda g: g.frame(f.udp(g.ip, GATEWAY, 4000, 4789))),
    Row(
        "IGMP report",
        lambda g: g.frame(
            f.ip(g.ip, "224.0.0.22", 2, bytes((0x22, 0, 0xF9, 2, 0, 0, 0, 1, 4, 0, 0, 0, 0xE0, 0, 0, 0xFB))),
            target="01:00:5e:00:00:16",
        ),
    ),
    Row(
        "IGMP report from 0.0.0.0",
        lambda g: g.frame(
            f.ip(
                "0.0.0.0",
                "224.0.0.22",
                2,
                bytes((0x22, 0, 0xF9, 2, 0, 0, 0, 1, 4, 0, 0, 0, 0xE0, 0, 0, 0xFB)),
            ),
            target="01:00:5e:00:00:16",
        ),
    ),
    *(
        Row(f"IGMP {name}, from 0.0.0.0", _igmp(kind, "0.0.0.0"))
        for name, kind in (("report of version 2", 0x16), ("leave", 0x17))
    ),
    *(
        Row(f"IGMP {name}", _igmp(kind))
        for name, kind in (
            ("report of version 2", 0x16),
            ("leave", 0x17),
            ("solicitation of multicast routers", 0x31),
        )
    ),
    Row("UDP from its link-local", lambda g: g.frame(f.udp(g.local, g.router))),
    Row("UDP from a link-local of its choice", lambda g: g.frame(f.udp(FREE, f.ALL_NODES)), FREE_SOURCE),
    Row("ARP request", lambda g: g.frame(f.arp(1, g.mac, g.ip, GATEWAY), target=f.BROADCAST)),
    Row("ARP reply", lambda g: g.frame(f.arp(2, g.mac, g.ip, GATEWAY))),
    Row("gratuitous ARP", lambda g: g.frame(f.arp(1, g.mac, g.ip, g.ip), target=f.BROADCAST)),
    Row("ARP probe from 0.0.0.0", lambda g: g.frame(f.arp(1, g.mac, "0.0.0.0", g.ip), target=f.BROADCAST)),
    Row("RARP of its own (QEMU)", lambda g: g.frame(f.rarp(g.mac)), bridged=True),
    Row("NS", lambda g: g.group(f.ns(g.ip6, GATEWAY6, g.option(S)))),
    Row("NS with nonce", lambda g: g.group(f.ns(g.ip6, GATEWAY6, NONCE))),
    Row("NS with its MAC and a nonce", lambda g: g.group(f.ns(g.ip6, GATEWAY6, g.option(S) + NONCE))),
    Row("NS with a nonce and its MAC", lambda g: g.group(f.ns(g.ip6, GATEWAY6, NONCE + g.option(S)))),
    Row("NS from link-local", lambda g: g.group(f.ns(g.local, GATEWAY6, g.option(S)))),
    Row("NS to one", lambda g: g.frame(f.ns(g.ip6, GATEWAY6, to=GATEWAY6))),
    Row("NA", lambda g: g.group(f.na(g.ip6, g.ip6, g.option(T)))),
    Row("NA without option", lambda g: g.group(f.na(g.ip6, g.ip6))),
    Row("NA for link-local", lambda g: g.group(f.na(g.local, g.local, g.option(T)))),
    Row("NA for a link-local of its choice", lambda g: g.group(f.na(FREE, FREE, g.option(T))), FREE_SOURCE),
    Row("DAD from ::", lambda g: g.group(f.ns("::", g.ip6))),
    Row("DAD from ::, with nonce", lambda g: g.group(f.ns("::", g.ip6, NONCE))),
    Row("DAD for link-local", lambda g: g.group(f.ns("::", g.local, NONCE))),
    Row("DAD for a link-local of its choice", lambda g: g.group(f.ns("::", FREE, NONCE)), FREE_DAD),
    Row("RS", lambda g: g.group(f.rs(g.local, g.option(S))), ANSWERED),
    Row("RS from ::", lambda g: g.group(f.rs("::")), ANSWERED),
    Row("DHCP discover from 0.0.0.0", lambda g: g.frame(f.dhcp(g.mac, 1), target=f.BROADCAST), ANSWERED),
    Row("DHCP renewal", lambda g: g.frame(f.dhcp(g.mac, 1, g.ip, NODE)), ANSWERED),
    Row("DHCPv6 solicit", lambda g: g.group(f.dhcp6(g.local, 1)), ANSWERED),
    Row(
        "ARP for what its table routes",
        lambda g: g.frame(f.arp(1, g.mac, g.ip, ELSEWHERE), target=f.BROADCAST),
        routed=True,
        ear="guest",
        answer=lambda g, frame: f.is_arp(frame, 2, ELSEWHERE, g.ip),
    ),
    Row(
        "echo from link-local, answered",
        lambda g: g.frame(f.ping(g.local, g.router)),
        routed=True,
        ear="guest",
        answer=lambda g, frame: f.is_echo_reply(frame, g.router, g.local),
    ),
    *OPEN,
    _mld(131, "report of version 1"),
    _mld(132, "done"),
    Row("MLD with hop-by-hop, from ::", lambda g: g.group(f.mld("::", f.solicited_node(g.ip6)))),
    Row("MLD with hop-by-hop", lambda g: g.group(f.mld(g.local, f.solicited_node(g.ip6)))),
)
