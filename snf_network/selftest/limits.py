"""Rows about limits (tag limit): what is over one goes no further. In these columns a NIC is at its limit;
in one, it is far below all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import (
    LIMIT_BROADCAST,
    LIMIT_IN,
    LIMIT_NEW,
    LIMIT_OUT,
    LIMIT_PPS,
    OTHER,
    SISTER,
    Guest,
    Row,
)

OUT = {LIMIT_OUT: "limit-out", LIMIT_PPS: "limit-pps"}
IN = {LIMIT_IN: "limit-in", LIMIT_PPS: "limit-pps-in"}
GROUP, NEW = OUT | {LIMIT_BROADCAST: "limit-broadcast"}, OUT | {LIMIT_NEW: "limit-new"}
MULTICAST = "01:00:5e:00:00:fb"


def _row(
    name: str, packet: Callable[[Guest], f.Packet], stopped: Mapping[str, str], target: str = SISTER
) -> Row:
    return Row(
        f"limit: {name}", lambda g: g.frame(packet(g), target=target), stopped, bridged=True, limit=True
    )


def _tcp(flags: int) -> Callable[[Guest], f.Packet]:
    return lambda g: f.tcp(g.ip, OTHER, 40000, 80, flags)


LIMITED = (
    _row("UDP", lambda g: f.udp(g.ip, OTHER, 40000, 40000), OUT),
    _row("broadcast", lambda g: f.udp(g.ip, OTHER, 40000, 40000), GROUP, f.BROADCAST),
    _row("multicast", lambda g: f.udp(g.ip, "224.0.0.251", 53, 53), GROUP, MULTICAST),
    _row("SYN", _tcp(f.SYN), NEW),
    _row("SYN+FIN", _tcp(f.SYN | f.FIN), NEW),
    _row("SYN+ACK", _tcp(f.SYN | f.ACK), OUT),
    _row("ACK", _tcp(f.ACK), OUT),
    Row(
        "limit: to the guest",
        lambda g: g.inward(f.udp(OTHER, g.ip, 53)),
        IN,
        bridged=True,
        sender="peer",
        limit=True,
    ),
)


def primer(guest: Guest) -> bytes:
    """The one frame that a bucket of one frame still lets through: it counts for every limit."""
    return guest.frame(f.tcp(guest.ip, OTHER, 40000, 80))
