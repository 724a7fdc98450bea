"""Rows of the matrix: headers that not everybody reads alike. A stack drops what does not fit; a raw socket,
or the bridge itself, may not.
"""

from __future__ import annotations

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import ANY, NODE, NODE6, Row

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
        "TCP longer than its frame",
        lambda g: g.frame(_with(f.tcp(g.ip, NODE, 4000, 22), 2, b"\x10\0")),
        BROKEN,
        bridged=True,
    ),
)
