"""A frame from user input: hexadecimal text, or the first frame of a pcap file."""

from __future__ import annotations

import struct

from snf_network import wire
from snf_network.errors import BadEnvironment, shown

SHORTEST = 14
MAGIC = (wire.PCAP_MAGIC, wire.PCAP_MAGIC_NANOSECONDS)
FIRST = len(wire.PCAP_HEADER) + wire.PCAP_RECORD.size
"""Offset of the first frame in a file."""


def frame_of(text: str) -> bytes:
    """The frame that a command's argument gives: the path of a pcap file, or the frame itself in hexadecimal.

    Raises BadEnvironment if it is neither.
    """
    digits = "".join(text.split()).replace(":", "").removeprefix("0x")
    try:
        frame = bytes.fromhex(digits)
    except ValueError:
        frame = first(_content(text), text)
    if not SHORTEST <= len(frame) <= wire.LONGEST_FRAME:
        raise BadEnvironment(
            f"{len(frame)} octets are no Ethernet frame",
            "two MAC addresses, an ethertype, and what it carries",
        )
    return frame


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise BadEnvironment(
            f"{shown(path)} is neither a frame in hexadecimal nor a file: {error.strerror}"
        ) from error


def first(content: bytes, path: str) -> bytes:
    """The first frame in a pcap file, of either byte order. Raises BadEnvironment."""
    for order in "<>":
        if len(content) < FIRST or struct.unpack_from(f"{order}I", content)[0] not in MAGIC:
            continue
        link = struct.unpack_from(f"{order}I", content, len(wire.PCAP_HEADER) - 4)[0] & 0xFFFF
        if link != wire.LINKTYPE_ETHERNET:
            raise BadEnvironment(
                f"{shown(path)} has no Ethernet frames (link type {link})", "tcpdump -i TAP, not -i any"
            )
        return content[FIRST : FIRST + struct.unpack_from(f"{order}I", content, FIRST - 8)[0]]
    raise BadEnvironment(
        f"{shown(path)} is no pcap file with a frame in it",
        "tcpdump -r FILE -w OTHER makes one of a pcapng file",
    )
