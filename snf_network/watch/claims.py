"""Addresses that several guests may have go to the guest that announced one last.

The kernel tells: arp_accept and accept_untracked_na make it note, in its neighbour table, what a guest behind
a tap announces and its pins let pass. A second announcement of the same changes nothing there, and so causes
no work; so the entry is deleted when it was seen, at most once in keeper.QUIET. No packet is read here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snf_network.apply.announce import PAUSES
from snf_network.host import kernel
from snf_network.host.record import is_live
from snf_network.model.resources import FloatingRoute, Neighbour
from snf_network.scripts.bringup import announce_guests
from snf_network.watch.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from snf_network.apply.engine import Engine
    from snf_network.apply.floats import Follower
    from snf_network.host.record import Record
    from snf_network.scripts.process import Log

AGAIN = sum(PAUSES)
"""Seconds between two announcements of one address on the uplink, if its route does not move: as long as one
is repeated, so that each announcement of the guest is followed by one of the node.
"""
Slot = tuple[str, ...]


class Claims:
    """What guests announced and nobody has looked at yet."""

    def __init__(self, engine: Engine, log: Log, clock: Callable[[], float]) -> None:
        self.engine, self.log, self.clock = engine, log, clock
        self.pace = Pace(clock)
        self.latest: dict[Slot, tuple[str, FloatingRoute, float]] = {}
        """The interface that announced it last, and when."""
        self.marks: set[Neighbour] = set()
        """The kernel's notes of it."""
        self.told: dict[Slot, float] = {}
        self._known: dict[str, tuple[tuple[int, int], dict[str, FloatingRoute]]] = {}

    def __bool__(self) -> bool:
        return bool(self.latest or self.marks)

    def note(self, interface: str, address: str) -> None:
        """Remember it, if the NIC may have the address. A guest can announce much that it may not have: this
        reads the record only if it is another one by now.
        """
        route = self._floating(interface).get(address)
        if route:
            self.marks.add(Neighbour(address, "", interface))
            self.latest[route.slot] = (interface, route, self.clock())

    def _floating(self, interface: str) -> dict[str, FloatingRoute]:
        """The routes that the NIC may have, by address."""
        try:
            status = os.stat(f"{self.engine.config.state_dir}/{interface}")
        except OSError:
            self._known.pop(interface, None)
            return {}
        version = (status.st_mtime_ns, status.st_ino)
        known = self._known.get(interface)
        if not known or known[0] != version:
            record = self.engine.records.load(interface)
            resources = record.resources if record and is_live(record) else ()
            routes = {one.address: one for one in resources if isinstance(one, FloatingRoute)}
            known = self._known[interface] = (version, routes)
        return known[1]

    def pauses(self) -> Iterator[float]:
        """Seconds to wait for each."""
        if self.marks:
            yield 0.0
        yield from (self.pace.wait(_key(route)) for _, route, _ in self.latest.values())

    def act(self) -> None:
        """Let the routes follow, and announce them. Raises KernelError."""
        marks, self.marks = [*self.marks], set()
        followers = [
            (follower.record, route)
            for slot, (interface, route, since) in [*self.latest.items()]
            if not self.pace.wait(_key(route)) and (follower := self._follow(slot, interface, route, since))
        ]
        if marks:  # last: whoever is killed before this finds them again
            kernel.rtnetlink(marks, False)
        if followers:
            self._tell(followers)

    def _follow(self, slot: Slot, interface: str, route: FloatingRoute, since: float) -> Follower | None:
        """Follow one announcement. None if there is nothing to tell the network."""
        del self.latest[slot]
        follower = self.engine.floats.follow(interface, route.address)
        if follower and follower.moved:
            log, after = self.log.about(follower.record), (self.clock() - since) * 1e3
            log.log(f"watch: {interface} announced {route.address} and has it now, after {after:.0f} ms")
            if self.pace.acted(_key(route)):
                log.log(f"watch: several guests announce {route.address}: followed with growing pauses")
        lately = self.clock() - self.told.get(slot, -AGAIN) < AGAIN
        return follower if follower and (follower.moved or not lately) else None

    def _tell(self, followers: list[tuple[Record, FloatingRoute]]) -> None:
        """Announce the addresses on the uplinks. If only the tap is another one, this changes nothing there:
        the proxy entry answers with the node's own MAC, before and after. But the guest that had the address
        may be on another node, which answers for it, too: the last announcement counts.
        """
        now = self.clock()
        self.told = {slot: when for slot, when in self.told.items() if now - when < AGAIN}
        self.told |= {route.slot: now for _, route in followers}
        announce_guests(
            [record for record, _ in followers], self.engine.config, {route.address for _, route in followers}
        )


def _key(route: FloatingRoute) -> str:
    return f"{route.address} {route.table}"
