"""The loop of `snf-network watch`: it sleeps until the kernel reports something. One at a time."""

from __future__ import annotations

import gc
import os
import signal
import time
from typing import TYPE_CHECKING

from snf_network.dhcpd.loop import Loop, Signals
from snf_network.dhcpd.notify import Manager
from snf_network.errors import SnfNetworkError
from snf_network.host.lock import Held, Lock
from snf_network.watch.keeper import Keeper
from snf_network.watch.listen import ROOM, Events
from snf_network.watch.state import write_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snf_network.model.config import Config
    from snf_network.scripts.process import Log

LOCK = "+watch"
"""The lock of the watch: no interface has this name."""
HOUR = 3600.0
OCTETS = "SNF_NETWORK_WATCH_ROOM"
"""Octets of notifications that may wait: a test makes the kernel drop some."""


class Watch:
    """A running watch. Raises Held if another one runs already."""

    def __init__(self, config: Config, log: Log, env: Mapping[str, str]) -> None:
        self.config, self.log = config, log
        self.lock = Lock(config.state_dir, LOCK, 0)
        if not self.lock.take_now():
            raise Held("another watch runs on this node", f"fuser -v {self.lock.path}")
        self.began = time.time()
        self.manager = Manager(env, os.getpid())
        self.events = Events(int(env.get(OCTETS) or ROOM))
        self.keeper = Keeper(config, log, self.events.parser.links)
        self.keeper.refresh, self.keeper.relist = self._read, self._relist
        if self.events.proxies:
            self.keeper.hear_proxies = self.events.proxies.arm
        self.told: tuple[dict[str, int], int, dict[str, int]] | None = None
        self.ending = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        loop, signals = Loop(), Signals((signal.SIGTERM, signal.SIGINT))
        loop.add(signals.fileno(), lambda: self._end(signals))
        for source in self.events.sources():
            loop.add(source.fileno(), self._read)
        self._relist()
        self.keeper.full = True  # what happened before it listened
        self.keeper.since = self.keeper.clock()
        self._say()
        self.manager.ready("watching")
        deaf = self.events.deaf and f"; deleted proxy entries come back with the timer: {self.events.deaf}"
        self.log.log(f"watch: started{deaf}")
        while not self.ending:
            self._turn(loop)
        self.manager.stopping()
        self.events.close()

    def _turn(self, loop: Loop) -> None:
        due = self.keeper.due()
        loop.turn(min(HOUR if due is None else due, self.manager.pause or HOUR))
        self.manager.alive()
        if self.keeper.due() == 0.0:
            self._read()  # what came meanwhile may cancel what would be done
            self._act()
            self._say()

    def _act(self) -> None:
        """Without the collector, for which the records of 1000 NICs have no garbage; pyroute2 leaves some."""
        gc.disable()
        self.keeper.act()
        gc.enable()
        if self.keeper.compared:
            gc.collect()
            if not gc.get_freeze_count():
                gc.freeze()  # what was imported is there to stay
            self.keeper.compared = False
        self.keeper.announcer.reap()

    def _read(self) -> None:
        for event in self.events.read():
            self.keeper.note(event)
        self.keeper.actor = self.events.parser.actor

    def _relist(self) -> None:
        for event in self.events.relist():
            self.keeper.note(event)

    def _end(self, signals: Signals) -> None:
        signals.taken()
        self.ending = True

    def _say(self) -> None:
        """Keep what `status`, `check` and `metrics` tell, if it has changed."""
        fights = {key: round(pause) for key, pause in self.keeper.pace.fights().items()}
        told = (fights, self.keeper.comparisons, dict(self.keeper.acts))
        if told != self.told:
            self.told = told
            try:
                write_state(self.began, *told)
            except (SnfNetworkError, OSError) as error:  # nothing depends on what it tells
                self.log.log(f"watch: {error}")
