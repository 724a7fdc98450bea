"""Rows of the matrix: frames from a bridge port that bypass the bridge's hooks."""

from __future__ import annotations

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import GATEWAY, NODE, NODE6, OTHER_RESERVED, PORT, RESERVED, Guest, Row

LL_DST = {PORT: "ll-dst"}


def _reserved(number: int) -> Row:
    target = f"01:80:c2:00:00:{number:02x}"
    return Row(f"to {target}", lambda g: g.frame(f.udp(g.ip, NODE), target=target), LL_DST, bridged=True)


def _outside(version: int) -> Row:
    """From a tap whose bridge was deleted, to the tap's own MAC: the node receives it."""

    def frame(g: Guest) -> bytes:
        packet = {4: f.udp(g.ip, NODE), 6: f.udp(g.ip6, NODE6)}.get(version, f.arp(1, g.mac, g.ip, NODE))
        return g.frame(packet, target=f"fe{g.mac[2:]}")

    name = {4: "IPv4", 6: "IPv6", 0: "ARP"}[version]
    return Row(f"{name} from a tap out of its bridge", frame, LL_DST, bridged=True, outside=True)


PORTS = (
    Row(
        "another ethertype to 01:80:c2:00:00:03",
        lambda g: g.frame((f.LOCAL, b"\0\0text"), target=OTHER_RESERVED),
        LL_DST,
        bridged=True,
    ),
    Row(
        "source MAC, to 01:80:c2:00:00:0e",
        lambda g: g.frame(f.udp(g.ip, NODE), g.foreign, RESERVED),
        LL_DST,
        bridged=True,
    ),
    Row(
        "IPv4 to 01:80:c2:00:00:0e",
        lambda g: g.frame(f.udp(g.ip, NODE), target=RESERVED),
        LL_DST,
        bridged=True,
    ),
    Row(
        "IPv6 to 01:80:c2:00:00:0e",
        lambda g: g.frame(f.udp(g.ip6, NODE6), target=RESERVED),
        LL_DST,
        bridged=True,
    ),
    Row(
        "ARP to 01:80:c2:00:00:0e",
        lambda g: g.frame(f.arp(1, g.mac, g.ip, GATEWAY), target=RESERVED),
        LL_DST,
        bridged=True,
    ),
    Row(
        "source MAC, to 01:80:c2:00:00:03",
        lambda g: g.frame(f.udp(g.ip, NODE), g.foreign, OTHER_RESERVED),
        LL_DST,
        bridged=True,
    ),
    *map(_reserved, (2, *range(4, 14), 15)),
    *map(_outside, (4, 6, 0)),
)
