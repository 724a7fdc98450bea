"""The daemon's one loop: look up the guest of each frame and send the reply through the same tap; follow
changes of bindings and interfaces.

Nothing here knows DHCP: an Answerer makes replies, an Engine moves them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from snf_network.dhcpd.answers import WORDS
from snf_network.dhcpd.binding import BadBinding, TapBinding, parse
from snf_network.dhcpd.buckets import Buckets
from snf_network.dhcpd.control import Control
from snf_network.dhcpd.defaults import Defaults
from snf_network.dhcpd.guests import Guests, Served
from snf_network.dhcpd.links import Links
from snf_network.dhcpd.log import EventLog
from snf_network.dhcpd.loop import Loop, Signals
from snf_network.dhcpd.notify import Manager
from snf_network.dhcpd.packet_socket import Engine
from snf_network.dhcpd.relay import Relay
from snf_network.dhcpd.schedule import Schedule
from snf_network.dhcpd.source import Source
from snf_network.dhcpd.watch import UntrustedFile, Watch

FIRST_ROUND = 16.0
"""Seconds over which the first advertisements to guests older than the daemon are spread."""
LOOK_AGAIN = 2.0
"""Seconds until the daemon checks again for a missing directory of bindings."""
LOUD = {
    "decline": "says that somebody else has its address (DECLINE)",
    "decline6": "says that somebody else has its IPv6 address (DECLINE)",
    "nak": "asked for an address that is not its own (NAK)",
}
LEASES: dict[str, Callable[[TapBinding], str]] = {
    "ack": lambda bound: bound.ip,
    "reply6": lambda bound: bound.ip6,
}
TOLD = frozenset(("error", "relayed", *LOUD, *LEASES))
"""The results that need more than an answer."""


class Responder:
    """The parts of the daemon, and how they act on each other."""

    def __init__(
        self,
        engine: Engine,
        links: Links,
        watch: Watch,
        guests: Guests,
        log: EventLog,
        rate: float,
        source: Source,
    ) -> None:
        self.engine, self.links, self.watch, self.guests, self.log = engine, links, watch, guests, log
        self.source = source
        self.buckets = Buckets(rate, 3 * rate)
        self.schedule = Schedule(guests.conf.ra_period)
        self.loop = Loop()
        self.relay = Relay(guests, log, self.loop, self._return)
        self.control: Control | None = None
        self.totals: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        """The counters of guests that are gone."""
        self.started = time.time()
        self._look_again = 0.0
        self._ends = False
        self.loop.add(engine.fileno(), self.frames)
        self.loop.add(links.fileno(), self.interfaces)
        self.loop.add(watch.fileno(), self.bindings)
        self._told_defaults()
        guests.configure(guests.conf, source.current)
        self._follow()

    # --- frames

    def frames(self) -> None:
        """Answer one batch of frames."""
        now, buckets, known = time.monotonic(), self.buckets, self.guests.by_index
        told = frozenset(WORDS) if self.log.debugging else TOLD
        capturing = self.control.is_capturing if self.control else False
        for index, frame, vid in self.engine.receive():
            served = known.get(index)
            if not served:
                self._unserved(index, now)
                continue
            full = buckets.after(served.full, now)
            if not full:
                self._too_many(index, served, now)
                continue
            served.full = full
            replies, word = (served.answerer or self.guests.answerer(served)).answer(frame, vid)
            for reply in replies:
                if not self.engine.send(index, reply):
                    self.totals["unsent"] += 1
            served.heard = now
            served.counts[word] += 1
            if word in told:
                self._attend(served, word, frame)
            if capturing and self.control:
                self.control.captured(served.name, (frame, *replies))

    def _attend(self, served: Served, word: str, frame: bytes) -> None:
        """Relay a request that a central server answers; log answers that an operator needs to know of."""
        if word == "relayed":
            self.relay.forward(served, frame)
        elif word == "error":
            self.totals["errors"] += 1
            self.log.say(
                f"nfdhcpd has a defect: no answer to the frame {frame[:600].hex()}", "error", served.name
            )
        elif word in LOUD:
            self.log.say(LOUD[word], "warning", served.name)
        elif word in LEASES and word != served.leased and served.binding:
            served.leased = word
            self.log.say(
                f"{word}: {served.binding.hostname} has {LEASES[word](served.binding)}", "info", served.name
            )
        else:
            self.log.debug(word, served.name)

    def _return(self, served: Served, frame: bytes) -> None:
        """Send what a central server answered."""
        if not served.link or not self.engine.send(served.link.index, frame):
            self.totals["unsent"] += 1
        elif self.control:
            self.control.captured(served.name, (frame,))

    def _unserved(self, index: int, now: float) -> None:
        if self.buckets.take(index, now):
            self.totals["unserved"] += 1
        else:
            self._too_many(index, None, now)

    def _too_many(self, index: int, served: Served | None, now: float) -> None:
        if served:
            served.counts["muted"] += 1
        if self.buckets.mute(index, now):
            self.totals["muted"] += 1
            self.engine.mute(self.buckets.muted)
            if served:
                self.log.say("asks too much: muted for a second", "warning", served.name)

    # --- advertisements

    def advertise(self, now: float) -> None:
        """Send advertisements to the guests that are due."""
        for name in self.schedule.due(now):
            served = self.guests.by_name.get(name)
            if served and served.state == "served":
                self._send(served, self.guests.answerer(served).nd.advertisement)

    def _send(self, served: Served, frame: bytes) -> None:
        if not frame or not served.link:
            return
        self.totals["advertisements"] += 1
        if not self.engine.send(served.link.index, frame):
            self.totals["unsent"] += 1
        elif self.control:
            self.control.captured(served.name, (frame,))

    # --- bindings and interfaces

    def interfaces(self) -> None:
        """Handle interfaces that appeared, changed or disappeared."""
        now = time.monotonic()
        for old, new in self.links.changes():
            served = self.guests.moved(old, new)
            if served and served.binding and served.binding.subnet6:
                self.schedule.add(served.name, now)
            if old and not new:
                self.buckets.forget(old.index)

    def bindings(self) -> None:
        """Handle binding files that were written, renamed or removed."""
        names = self.watch.changed()
        if names is None:
            self.rescan()
        else:
            for name in names:
                self.load(name)

    def defaults(self) -> None:
        """Handle a change of dhcp.yaml."""
        if self.source.changed():
            self.reread()

    def reread(self) -> None:
        """Read dhcp.yaml. One with a mistake leaves the last valid one in place."""
        if self.source.read():
            self._told_defaults()
            self.guests.configure(self.guests.conf, self.source.current)
        self._follow()

    def _follow(self) -> None:
        """Wait for changes of dhcp.yaml."""
        if self.source.watch:
            self.loop.add(self.source.watch.fileno(), self.defaults)

    def _told_defaults(self) -> None:
        """Log what became of dhcp.yaml."""
        for problem in self.source.problems:
            self.log.say(f"{problem}; the last good dhcp.yaml stays", "error")
        known = self.source.current
        if known != Defaults():
            self.log.say(f"{self.source.path}: defaults and {len(known.networks)} networks")

    def rescan(self, within: float = 0.0) -> None:
        """Read all binding files, and advertise to new guests within `within` seconds. While the directory is
        missing, every binding stays.
        """
        names = self.watch.names()
        if names is None:
            if not self._look_again:
                self.log.say(f"{self.watch.directory} is gone: bindings stay as they were", "error")
            self._look_again = time.monotonic() + LOOK_AGAIN
            return
        self._look_again = 0.0
        for name in {*names, *self.guests.by_name}:
            self.load(name, within)

    def load(self, name: str, within: float = 0.0) -> None:
        """Read one binding file. An invalid one leaves the last valid binding in place."""
        try:
            text = self.watch.read(name)
            if text is None:
                self._unload(name)
                return
            bound, warnings = parse(name, text)
        except (UntrustedFile, BadBinding) as error:
            self.guests.refuse(name, str(error))
            stays = bool(self.guests.by_name[name].binding)
            outcome = "the last good binding stays" if stays else "not served"
            self.log.say(f"{error}; {outcome}", "error", name)
            return
        if self.guests.put(name, bound, warnings):
            for warning in warnings:
                self.log.say(warning, "warning", name)
            self.log.debug(f"bound to {bound.ip or bound.subnet6} for {bound.hostname}", name)
            if bound.subnet6:
                self.schedule.add(name, time.monotonic(), within)

    def _unload(self, name: str) -> None:
        served = self.guests.by_name.get(name)
        self.schedule.remove(name)
        if served and served.state == "served":
            self._send(served, self.guests.answerer(served).nd.farewell())
        if self.guests.take_away(name) and served:
            self.results.update(served.counts)
            self.log.debug("no longer bound", name)
            self.log.forget(name)

    # --- the loop

    def run(self, signals: Signals, manager: Manager, on_signal: dict[int, Callable[[], None]]) -> None:
        """Serve until `stop`. `on_signal` has the function to call for each signal that `signals` takes."""

        def taken() -> None:
            for number in signals.taken():
                on_signal[number]()

        self.loop.add(signals.fileno(), taken)
        alive = time.monotonic()
        while not self._ends:
            now = time.monotonic()
            if self.buckets.release(now):
                self.engine.mute(self.buckets.muted)
            if self._look_again and now >= self._look_again:
                self.rescan()
            self.advertise(now)
            if manager.pause and now >= alive:
                manager.alive()
                alive = now + manager.pause
            due = [
                when
                for when in (
                    self.schedule.next(),
                    self.buckets.next_release(),
                    self._look_again or None,
                    alive if manager.pause else None,
                )
                if when is not None
            ]
            self.loop.turn(min(due) - now if due else 3600)

    def stop(self) -> None:
        """Leave the loop after this turn."""
        self._ends = True
