"""Who gets which frames: at a device, and in a machine's own stack."""

from __future__ import annotations

import time
from collections.abc import Callable

from snf_network.selftest import world
from snf_network.selftest.world import PACKET_OUTGOING, Machine, watch, witnessed


class Ear(world.Ear):
    """Hears every frame that comes in at a device of a machine, from now on; what the machine itself sends is
    not heard.
    """

    def frames(
        self, seconds: float, last: Callable[[bytes], bool] = lambda frame: False
    ) -> list[tuple[float, bytes]]:
        """What comes within `seconds`, with the time of each, up to and with the first frame that is the
        `last`.
        """
        end, heard = time.monotonic() + seconds, []
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                frame, (*_, kind, _, _) = self.socket.recvfrom(65536)
            except TimeoutError:
                break
            if kind != PACKET_OUTGOING:
                heard.append((time.monotonic(), frame))
                if last(frame):
                    break
        return heard

    def first(self, wanted: Callable[[bytes], bool], seconds: float = 2.0) -> bytes:
        """The first frame that is `wanted`; empty if none comes."""
        heard = self.frames(seconds, wanted)
        return heard[-1][1] if heard and wanted(heard[-1][1]) else b""


class Witness:
    """Sees what a machine's own stack gets, after all our chains: IPv4 and IPv6 in prerouting, ARP in input.
    Tokens: frames.py.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        watch(machine)

    def seen(self) -> set[int]:
        """The tokens of all packets so far."""
        return witnessed(self.machine)
