"""The kernel's filter of frames for the daemon: a classic BPF program. Pure.

It passes DHCP and DHCPv6 to a server, and router and neighbour solicitations, but nothing from muted
interfaces. It also passes solicitations in a first fragment or behind extension headers: no node accepts them
(RFC 6980), so they get no answer, but they are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

LD, LDH, LDB, LDXB_IHL, LDH_X, LDB_X, JEQ, JSET, RET = 0x20, 0x28, 0x30, 0xB1, 0x48, 0x50, 0x15, 0x45, 0x06
LD_CONST, LDX_CONST, STORE, LDX_STORED, SHIFT, ADD, ADD_X = 0x00, 0x01, 0x02, 0x61, 0x64, 0x04, 0x0C
IFINDEX = 0xFFFFF000 + 8
"""SKF_AD_OFF + SKF_AD_IFINDEX: where a program loads the index of the receiving interface from."""
SNAP = 2064
"""Bytes of a frame to pass on: more than answers.LONGEST, so that a longer frame is recognized."""
MOST_MUTED = 1000
"""Each takes two instructions; the kernel accepts 4096."""

DEPTH = 4
"""How many IPv6 extension headers are parsed. Frames with more are not counted either."""
Line = tuple[str, int, int, str, str]


def _header6(depth: int) -> tuple[Line, ...]:
    """Skip one IPv6 header of the kinds that a host processes (RFC 8200, 4). A is its type and X its offset;
    afterwards both are those of the next header.
    """
    extension, onward = f"extension{depth}", f"onward{depth}"
    return (
        ("", JEQ, 17, "udp6", ""),
        ("", JEQ, 58, "icmp6", ""),
        *(("", JEQ, kind, extension, "") for kind in (0, 43, 60)),
        ("", JEQ, 44, "", "drop"),
        ("", LDH_X, 2, "", ""),
        ("", JSET, 0xFFF8, "drop", ""),  # as below
        ("", LD_CONST, 0, "", ""),
        ("", JEQ, 0, onward, "drop"),
        (extension, LDB_X, 1, "", ""),  # its length beyond the first eight bytes, in units of eight
        (onward, SHIFT, 3, "", ""),
        ("", ADD, 8, "", ""),
        ("", ADD_X, 0, "", ""),
        ("", STORE, 0, "", ""),
        ("", LDB_X, 0, "", ""),
        ("", LDX_STORED, 0, "", ""),
    )


# label, operation, operand, and for a jump the labels for true and false; "" is the next line
TAKEN: tuple[Line, ...] = (
    ("", LDH, 12, "", ""),
    ("", JEQ, 0x0800, "", "ip6"),
    ("", LDB, 23, "", ""),
    ("", JEQ, 17, "", "drop"),
    ("", LDH, 20, "", ""),
    (
        "",
        JSET,
        0x1FFF,
        "drop",
        "",
    ),  # a later fragment: its content is unknown. The first one is passed on and counted
    ("", LDXB_IHL, 14, "", ""),
    ("", LDH_X, 16, "", ""),
    ("", JEQ, 67, "take", "drop"),
    ("ip6", JEQ, 0x86DD, "", "drop"),
    ("", LDX_CONST, 54, "", ""),
    ("", LDB, 20, "", ""),
    *(line for depth in range(DEPTH) for line in _header6(depth)),
    ("", JEQ, 58, "icmp6", ""),
    ("", JEQ, 17, "", "drop"),
    ("udp6", LDH_X, 2, "", ""),
    ("", JEQ, 547, "take", "drop"),
    ("icmp6", LDB_X, 0, "", ""),
    ("", JEQ, 133, "take", ""),
    ("", JEQ, 135, "take", "drop"),
    ("take", RET, SNAP, "", ""),
    ("drop", RET, 0, "", ""),
)


def _assembled() -> bytes:
    labels = {label: number for number, (label, *_) in enumerate(TAKEN) if label}
    return b"".join(
        _instruction(operation, value, *(labels[to] - number - 1 if to else 0 for to in (yes, no)))
        for number, (_, operation, value, yes, no) in enumerate(TAKEN)
    )


def _instruction(operation: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """struct sock_filter; `yes` and `no` are the numbers of instructions that a jump skips."""
    return struct.pack("=HBBI", operation, yes, no, value)


ALWAYS = _assembled()


def program(muted: Iterable[int] = ()) -> bytes:
    """Instructions for SO_ATTACH_FILTER: everything that the daemon answers, except from the interfaces whose
    indexes are in `muted`.
    """
    quiet = [_instruction(JEQ, index, 0, 1) + _instruction(RET, 0) for index in list(muted)[:MOST_MUTED]]
    return (_instruction(LD, IFINDEX) + b"".join(quiet) if quiet else b"") + ALWAYS
