"""Rows of the matrix: headers that implementations parse differently. A stack drops malformed ones; a raw
socket, or the bridge itself, may not.
"""

from __future__ import annotations

from collections.abc import Callable

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import ANY, NODE, NODE6, Guest, Row

BROKEN = {ANY: "malformed"}


def _with(packet: f.Packet, at: int, octets: bytes) -> f.Packet:
    """A packet with some octets of its header replaced."""
    kind, data = packet
    return kind, data[:at] + octets + data[at + len(octets) :]


OFFER = "DHCPv4 server, IPv4"
MALFORMED = (
    Row(
        f"{OFFER} of 10 octets",
        lambda g: g.frame(_with(f.dhcp(g.mac, 2, g.ip), 2, b"\0\12")),
        BROKEN,
        bridged=True,
    ),
    Row(
        f"{OFFER} longer than its frame",
        lambda g: g.frame(_with(f.dhcp(g.mac, 2, g.ip), 2, b"\x10\0")),
        BROKEN,
        bridged=True,
    ),
    Row(
        f"{OFFER} of version 5",
        lambda g: g.frame(_with(f.dhcp(g.mac, 2, g.ip), 0, b"\x55")),
        BROKEN,
        bridged=True,
    ),
    Row(
        f"{OFFER} with a header of 16 octets",
        lambda g: g.frame(_with(f.dhcp(g.mac, 2, g.ip), 0, b"\x44")),
        BROKEN,
        bridged=True,
    ),
    Row(
        "RA longer than its frame",
        lambda g: g.group(_with(f.ra(g.local), 4, b"\x10\0")),
        BROKEN,
        bridged=True,
    ),
    Row("RA of version 7", lambda g: g.group(_with(f.ra(g.local), 0, b"\x70")), BROKEN, bridged=True),
    Row(
        "RA behind options, longer than its frame",
        lambda g: g.group(_with(f.with_dstopts(f.ra(g.local)), 4, b"\x10\0")),
        BROKEN,
        bridged=True,
    ),
    Row(
        "RA behind options that go on for ever",
        lambda g: g.group(f.behind(f.ra(g.local), f.DSTOPTS, b"\xff\1\4\0\0\0\0")),
        {ANY: "ext-cut"},
        bridged=True,
    ),
    Row(
        "DHCPv6 server, longer than its frame",
        lambda g: g.frame(_with(f.dhcp6(g.local, 2, g.router), 4, b"\x10\0")),
        BROKEN,
        bridged=True,
    ),
    Row(
        "TCP longer than its frame, IPv6",
        lambda g: g.frame(_with(f.tcp(g.ip6, NODE6, 4000, 22), 4, b"\x10\0")),
        BROKEN,
        bridged=True,
    ),
    Row(
        "last fragment of a ping, longer than its frame, IPv6",
        lambda g: g.frame(_with(_tail6(g, f.ICMP6), 4, b"\x10\0")),
        BROKEN,
        bridged=True,
    ),
    Row(
        "TCP longer than its frame",
        lambda g: g.frame(_with(f.tcp(g.ip, NODE, 4000, 22), 2, b"\x10\0")),
        BROKEN,
        bridged=True,
    ),
)


def _tail6(g: Guest, header: int, flow: int = 0) -> f.Packet:
    """The last fragment of an IPv6 packet: it has payload where a header would be."""
    head = bytes((header, 0, 0, 64, 0, 0, 0, 9))
    return _with(f.ip(g.ip6, NODE6, f.FRAGMENT, head + b"rest of it"), 2, flow.to_bytes(2, "big"))


SERVICES, HALF = (67, 68, 546, 547), 0x1000
"""Ports, and a fragment offset (in units of eight octets) with only its highest bit set."""


def _tail(name: str, packet: Callable[[Guest], f.Packet]) -> Row:
    """A row for the last fragment of a packet."""
    return Row(f"last fragment of {name}", lambda g: g.frame(packet(g)))


def _ping(octet: int) -> Row:
    """A ping whose payload looks like a redirect (5) or a router advertisement (9) in place of a header."""
    data = bytes((octet,)) * 64
    return _tail(f"a ping of {octet:02x}", lambda g: f.ip(g.ip, NODE, f.ICMP, data, fragment=100))


def _udp(port: int) -> Row:
    data = b"it" + port.to_bytes(2, "big") + b"rest"
    return _tail(f"UDP, {port:04x} in it", lambda g: f.ip(g.ip, NODE, f.UDP, data, fragment=100))


def _udp6(port: int) -> Row:
    return _tail(f"UDP, IPv6, flow label {port}", lambda g: _tail6(g, f.UDP, port))


def _chain(header: int) -> Row:
    return _tail(f"header {header}, IPv6", lambda g: _tail6(g, header))


TAILS = (
    *map(_ping, (5, 9)),
    *map(_udp, SERVICES),
    *map(_udp6, SERVICES),
    _tail(
        "a ping of 05, in the second half",
        lambda g: f.ip(g.ip, NODE, f.ICMP, bytes((5,)) * 64, fragment=HALF),
    ),
    _tail(
        "UDP, 0043 in it, in the second half",
        lambda g: f.ip(g.ip, NODE, f.UDP, b"it\0\x43rest", fragment=HALF),
    ),
    _tail("a ping, IPv6", lambda g: _tail6(g, f.ICMP6)),
    *(_chain(header) for header in (0, f.ROUTING, f.FRAGMENT, f.AH, f.DSTOPTS, 135)),
)
