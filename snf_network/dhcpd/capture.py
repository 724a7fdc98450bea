"""Frames as a capture file (pcap, as tcpdump and Wireshark read it)."""

from __future__ import annotations

import struct
import time

ETHERNET, LONGEST = 1, 65535
HEADER = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, LONGEST, ETHERNET)


def record(frame: bytes) -> bytes:
    """One frame, with the time it is now."""
    now = time.time_ns() // 1000
    return struct.pack("=IIII", now // 1000000, now % 1000000, len(frame), len(frame)) + frame
