"""Guests by the thousand, each a real tap, that ask for leases: how many exchanges a server does, and what it
takes for one.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from snf_network.selftest.frames import checksum, octets  # noqa: E402

COOKIE = b"\x63\x82\x53\x63"
OFFER, ACK = 2, 5
BROADCAST_FLAG = 0x8000
LOST = 1.0
"""Seconds after which an exchange counts as lost."""


def mac_of(number: int) -> str:
    """Guest's MAC."""
    return f"aa:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def address_of(number: int) -> str:
    """Guest's IPv4 address in 10.0.0.0/8."""
    return str(socket.inet_ntoa(struct.pack("!I", 0x0A000100 + number)))


def request(number: int, kind: int, xid: int, server: bytes = b"") -> bytes:
    """A DISCOVER (1) or, with the server that is wanted, a REQUEST (3): a whole frame."""
    mac = octets(mac_of(number))
    options = bytes((53, 1, kind)) + (
        b"\x32\x04" + socket.inet_aton(address_of(number)) + b"\x36\x04" + server if server else b""
    )
    options += b"\x37\x07\x01\x03\x06\x0c\x0f\x1a\x79\xff"
    message = struct.pack("!BBBBIHH16x6s10x192x4s", 1, 1, 6, 0, xid, 0, BROADCAST_FLAG, mac, COOKIE) + options
    udp = struct.pack("!HHHH", 68, 67, 8 + len(message.ljust(300, b"\0")), 0) + message.ljust(300, b"\0")
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return b"\xff" * 6 + mac + b"\x08\x00" + header + udp


class Load:
    """Taps by number, and exchanges over them."""

    def __init__(self, taps: Sequence[int]) -> None:
        self.taps = list(taps)
        self._numbers = {descriptor: number for number, descriptor in enumerate(self.taps)}
        self._poll = select.epoll()
        for descriptor in self.taps:
            self._poll.register(descriptor, select.EPOLLIN)
        self._discover = [request(number, 1, 0) for number in range(len(self.taps))]
        self._request: dict[int, bytes] = {}
        self._xid = 0
        self.waits: list[float] = []
        """Seconds of each exchange that ended."""

    def close(self) -> None:
        """The taps are somebody else's."""
        self._poll.close()

    def run(
        self, count: int, window: int, seconds: float, among: Iterable[int] | None = None
    ) -> tuple[int, float]:
        """Do `count` exchanges, or as many as end in time, so many at once, of guests in turn; how many
        ended, in how many seconds.
        """
        order = list(range(len(self.taps)) if among is None else among)
        self.waits = []
        open_: dict[int, tuple[int, float]] = {}
        turn = begun = done = 0
        start = now = time.perf_counter()
        while done < count and now - start < seconds:
            while len(open_) < min(window, len(order)) and begun < count + window:
                number = order[turn % len(order)]
                turn += 1
                if number not in open_:
                    begun += 1
                    open_[number] = self._begin(number), now
            for descriptor, _ in self._poll.poll(0.05, 256):
                done += self._heard(descriptor, open_)
            now = time.perf_counter()
            lost = [number for number, (_, since) in open_.items() if now - since > LOST]
            begun -= len(lost)
            for number in lost:
                del open_[number]
        return done, now - start

    def _begin(self, number: int) -> int:
        self._xid = (self._xid + 1) & 0xFFFFFFFF
        frame = self._discover[number]
        self._write(number, frame[:46] + struct.pack("!I", self._xid) + frame[50:])
        return self._xid

    def _heard(self, descriptor: int, open_: dict[int, tuple[int, float]]) -> int:
        """Read all that a guest got; 1 if its exchange has ended."""
        number, ended = self._numbers[descriptor], 0
        with suppress(BlockingIOError):
            while True:
                frame = os.read(descriptor, 2048)
                if frame[34:38] != b"\0\x43\0\x44" or number not in open_:
                    continue
                xid, since = open_[number]
                if int.from_bytes(frame[46:50], "big") != xid:
                    continue
                if frame[284] == OFFER:
                    self._ask(number, xid, frame)
                elif frame[284] == ACK:
                    del open_[number]
                    self.waits.append(time.perf_counter() - since)
                    ended += 1
        return ended

    def _ask(self, number: int, xid: int, offer: bytes) -> None:
        if number not in self._request:
            at = offer.index(b"\x36\x04", 282) + 2
            self._request[number] = request(number, 3, 0, offer[at : at + 4])
        frame = self._request[number]
        self._write(number, frame[:46] + struct.pack("!I", xid) + frame[50:])

    def _write(self, number: int, frame: bytes) -> None:
        with suppress(BlockingIOError):
            os.write(self.taps[number], frame)

    def forget_server(self) -> None:
        """Another server answers from now on."""
        self._request.clear()
