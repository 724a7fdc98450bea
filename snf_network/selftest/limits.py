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


OCTETS, FRAMES = "limit rate over 1 bytes/day burst 1 bytes", "limit rate over 1/day burst 1 packets"
"""Limits of which one frame's worth is never left, and of which the first frame takes all."""
USED_UP = {
    LIMIT_OUT: {"out": f"{OCTETS} goto no_limit_out"},
    LIMIT_IN: {"in": f"{OCTETS} goto no_limit_in"},
    LIMIT_PPS: {"out": f"{FRAMES} goto no_limit_pps", "in": f"{FRAMES} goto no_limit_pps_in"},
    LIMIT_BROADCAST: {"broadcasts": FRAMES},
    LIMIT_NEW: {"openings": FRAMES},
}
"""The chains of the NIC, or the sets, that the limit of a pin is in."""
IN_TABLE = "netdev snf_network"


def used_up(guest: Guest) -> dict[str, str]:
    """What brings a NIC to its limits, for nft, by chain or set. Of frames the primer takes the last one."""
    limits = {place: limit for pin in guest.column.pins for place, limit in USED_UP.get(pin, {}).items()}
    return {place: f"{_without(guest, place)}{_with(guest, place, limit)}" for place, limit in limits.items()}


def lifted(guest: Guest) -> str:
    """What takes the limits of frames to the guest away, for nft."""
    return _without(guest, "in")


def _without(guest: Guest, place: str) -> str:
    if place in ("out", "in"):
        return f"flush chain {IN_TABLE} {place}-{guest.tap}\n"
    return f'delete element {IN_TABLE} {place} {{ "{guest.tap}" }}\n'


def _with(guest: Guest, place: str, limit: str) -> str:
    if place in ("out", "in"):
        return f"add rule {IN_TABLE} {place}-{guest.tap} {limit}\n"
    return f'add element {IN_TABLE} {place} {{ "{guest.tap}" {limit} }}\n'


def primer(guest: Guest) -> bytes:
    """The one frame that a bucket of one frame still lets through: it counts for every limit."""
    return guest.frame(f.tcp(guest.ip, OTHER, 40000, 80))
