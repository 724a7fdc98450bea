"""What the kernel hands to the daemon: a classic BPF program. Pure.

DHCP and DHCPv6 to a server, router and neighbour solicitations; and nothing from interfaces that are muted. Extension headers are not
walked: neighbour discovery behind one is not taken from anybody (RFC 6980), nor is DHCPv6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

LD, LDH, LDB, LDXB_IHL, LDH_X, JEQ, JSET, RET = 0x20, 0x28, 0x30, 0xB1, 0x48, 0x15, 0x45, 0x06
IFINDEX = 0xFFFFF000 + 8
"""SKF_AD_OFF + SKF_AD_IFINDEX: where a program reads which interface a frame came in at."""
SNAP = 2064
"""Bytes of a frame that are handed on: more than frames.LONGEST, beyond which nothing is answered, so that it shows."""
MOST_MUTED = 1000
"""Two instructions each; the kernel takes 4096."""

# operation, what it is about, and for jumps where to if it is so and if not: a label, or "" for the next line
TAKEN = (
    ("", LDH, 12, "", ""),
    ("", JEQ, 0x0800, "", "ip6"),
    ("", LDB, 23, "", ""),
    ("", JEQ, 17, "", "drop"),
    ("", LDH, 20, "", ""),
    ("", JSET, 0x1FFF, "drop", ""),  # not the first fragment: nothing says what it is. The first one is handed on, and counted
    ("", LDXB_IHL, 14, "", ""),
    ("", LDH_X, 16, "", ""),
    ("", JEQ, 67, "take", "drop"),
    ("ip6", JEQ, 0x86DD, "", "drop"),
    ("", LDB, 20, "", ""),
    ("", JEQ, 17, "", "icmp6"),
    ("", LDH, 56, "", ""),
    ("", JEQ, 547, "take", "drop"),
    ("icmp6", JEQ, 58, "", "drop"),
    ("", LDB, 54, "", ""),
    ("", JEQ, 133, "take", ""),
    ("", JEQ, 135, "take", "drop"),
    ("take", RET, SNAP, "", ""),
    ("drop", RET, 0, "", ""),
)


def _assembled() -> bytes:
    labels = {label: number for number, (label, *_) in enumerate(TAKEN) if label}
    return b"".join(_instruction(operation, value, *(labels[to] - number - 1 if to else 0 for to in (yes, no)))
                    for number, (_, operation, value, yes, no) in enumerate(TAKEN))


def _instruction(operation: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """struct sock_filter; `yes` and `no` are how many instructions a jump skips."""
    return struct.pack("=HBBI", operation, yes, no, value)


ALWAYS = _assembled()


def program(muted: Iterable[int] = ()) -> bytes:
    """Instructions for SO_ATTACH_FILTER: everything the daemon answers, but from the interfaces whose indexes are in `muted`."""
    quiet = [_instruction(JEQ, index, 0, 1) + _instruction(RET, 0) for index in list(muted)[:MOST_MUTED]]
    return (_instruction(LD, IFINDEX) + b"".join(quiet) if quiet else b"") + ALWAYS
