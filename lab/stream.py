"""Frames from guest to guest, a millisecond apart, while something happens on their way."""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter
from contextlib import closing

from lab.hearing import Ear
from lab.machine import Machine
from snf_network.selftest import frames as f

SPACING = 0.001
AROUND = 0.2
"""Seconds of traffic before and after what happens."""


def local(number: int, source: str, target: str) -> bytes:
    """A frame of no protocol, with a number."""
    return f.stamp(f.ethernet(source, target, (f.LOCAL, bytes(46))), number)


def announce(guest: Machine, mac: str) -> float:
    """As QEMU does when a guest has arrived; when it was sent."""
    with closing(guest.packet_socket("eth0")) as sender:
        moment = time.monotonic()
        sender.send(f.ethernet(mac, f.BROADCAST, f.rarp(mac)))
    return moment


class Stream:
    """Frames at 1 ms spacing to a guest that may be in several places, one after the other."""

    def __init__(self, sender: Machine, source: str, target: str, *receivers: Machine) -> None:
        self.socket = sender.packet_socket("eth0")
        self.ears = [Ear(receiver, "eth0") for receiver in receivers]
        self.source, self.target = source, target
        self.moments: list[float] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._speak)

    def _speak(self) -> None:
        while not self.ended.is_set():
            self.moments.append(time.monotonic())
            self.socket.send(local(self.sent, self.source, self.target))
            time.sleep(SPACING)

    def __enter__(self) -> Stream:
        self.thread.start()
        time.sleep(AROUND)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(AROUND)
        self.ended.set()
        self.thread.join()
        frames = [[frame for _, frame in ear.frames(0.3)] for ear in self.ears]
        mine = f.octets(self.target) + f.octets(self.source) + f.LOCAL.to_bytes(2, "big")
        self.heard = [Counter(f.token(one) for one in some if one[:14] == mine) for some in frames]
        for ear in self.ears:
            ear.socket.close()
        self.socket.close()

    @property
    def sent(self) -> int:
        """How many there are; the first has number 1."""
        return len(self.moments)

    @property
    def lost(self) -> int:
        """How many of them nobody has received."""
        return self.sent - len(set().union(*self.heard))

    @property
    def doubled(self) -> int:
        """How many of them somebody has received more than once."""
        return sum(copies > 1 for some in self.heard for copies in some.values())

    def sent_by(self, moment: float) -> int:
        """How many there were at a moment."""
        return bisect.bisect_left(self.moments, moment)

    def change_over(self, moment: float, place: int) -> float:
        """Seconds from a moment to the first frame, sent after it, that this receiver has. Raises ValueError
        if it has none.
        """
        first = min(number for number in self.heard[place] if self.moments[number - 1] >= moment)
        return self.moments[first - 1] - moment
