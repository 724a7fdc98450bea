"""Who gets which frames: at a device, and in a machine's own stack."""

from __future__ import annotations

from collections.abc import Callable

from snf_network.selftest import world
from snf_network.selftest.world import Machine, watch, witnessed


class Ear(world.Ear):
    """One that waits for a frame of a kind."""

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
