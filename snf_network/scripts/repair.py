"""Bring the node back to its records: what `snf-network repair` does."""

from __future__ import annotations

import sys

from snf_network.apply.engine import Engine
from snf_network.errors import SnfNetworkError
from snf_network.host import kernel
from snf_network.host.record import ALWAYS, Record, is_live
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.resources import Element, NeighProxy, Resource
from snf_network.observe.drift import Difference
from snf_network.scripts.bringup import announce_guests, bring_up, keep_wanted
from snf_network.scripts.process import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Told:
    """Hears what is done to which interface, and what failed. This one does not pass it on."""

    def done(self, interface: str, what: str) -> None:
        """Something was done."""

    def failed(self, interface: str, what: str) -> None:
        """Something could not be done, and why."""


NOBODY = Told()


def first_line(resource: Resource) -> str:
    """The first line of a Resource's command: a binding has many."""
    return resource.command.partition("\n")[0]


class Repair:
    """One repair: each failure is reported in one line, and the rest goes on."""

    def __init__(self, found: Difference, config: Config, log: Log, told: Told = NOBODY) -> None:
        self.found, self.config, self.log, self.told = found, config, log, told
        self.engine = Engine(config)
        self.failed = False
        self.unfiltered: list[Record] = []

    def run(self) -> bool:
        """Repair filters first, for all NICs at once. True if something failed."""
        if self.found.rules and not self._load():
            return True
        self._mend()
        self._plan_again()
        for interface, why in sweep(self.engine, self.found, self.log, "repair", self.told).items():
            self._fail(interface, why)
        return self.failed

    def _load(self) -> bool:
        """Load the rules. If there are none and they do not load, take unfiltered links down; then False."""
        try:
            for words in self.engine.load(self.found.live):
                self._fail("-", words)
            self.told.done("-", "loaded the rules")
            return True
        except SnfNetworkError as error:
            self._fail("-", str(error))
            if not any(words.startswith("missing: ") for words in self.found.rules):
                return True
            for record in {record.interface: record for record, _ in self.found.missing}.values():
                self.engine.close(record, str(error))
                self.log.about(record).say(f"closed, as there are no filters: {error}")
                self.told.done(record.interface, "closed, as there are no filters")
            return False

    def _mend(self) -> None:
        lost: dict[str, tuple[Record, list[Resource]]] = {}
        for record, resource in self.found.missing:
            lost.setdefault(record.interface, (record, []))[1].append(resource)
        failed = self.engine.mend(lost)
        for interface, why in failed.items():
            self._fail(interface, why)
        for interface, (record, resources) in lost.items():
            if interface not in failed:
                self.log.about(record).log(f"repair: put back {len(resources)}: {resources[0].command}")
                for resource in resources:
                    self.told.done(interface, f"put back: {first_line(resource)}")
        self.unfiltered = [
            record for interface, (record, some) in lost.items() if interface in failed and _pins(some)
        ]
        unpinned = [record for record, some in lost.values() if _pins(some)]
        self.engine.forget_learned(unpinned)
        unheard = [
            record for record, some in lost.values() if any(isinstance(one, NeighProxy) for one in some)
        ]
        announce_guests(unheard, self.config)

    def _plan_again(self) -> None:
        """Bring up again the NICs that were refused something, members of an earlier version's sets among it,
        or whose node has changed. Skips a NIC whose missing facts are still missing.
        """
        refused = [(one, words) for one, words in self.found.lacking if one.failed or not one.node]
        again = (*self.unfiltered, *(one for one, _ in (*self.found.outdated, *refused)))
        for record in {one.interface: one for one in again}.values():
            if self.config.errors and record not in self.unfiltered:
                self._fail(record.interface, "not planned again while /etc/default/snf-network has errors")
                continue
            if kernel.is_late():
                self._fail(record.interface, "no time is left for it: snf-network repair once more")
                continue
            try:
                bring_up(Nic.from_env(dict(record.variables)), self.config, self.log.about(record))
                self.told.done(record.interface, "brought up again")
            except SnfNetworkError as error:
                self._fail(record.interface, str(error))
                keep_wanted(record, self.config, str(error))

    def _fail(self, interface: str, why: str) -> None:
        self.failed = True
        self.log.of(interface).log(f"repair: {why}")
        self.told.failed(interface, why)
        sys.stderr.write(f"{interface}: {why}\n")


def filter_first(config: Config, log: Log, told: Told = NOBODY) -> None:
    """After a flush, load the rules with the members of all NICs before anything is compared: with thousands
    of NICs that takes seconds, and guests are open meanwhile. The comparison finds, and tells, what fails
    here.
    """
    engine = Engine(config)
    live = [record for record in engine.records if is_live(record)] if engine.ruleset.is_flushed() else []
    if not live:
        return
    try:
        words = refill(engine, live)
    except SnfNetworkError:
        return
    log.log(f"repair: {words}")
    told.done("-", "loaded the rules")


def refill(engine: Engine, live: Sequence[Record]) -> str:
    """Load the rules with the members of these NICs, in one transaction, and forget what was learned while
    they were open. Returns that in words. Raises KernelError.
    """
    engine.load(live)
    engine.forget_learned(live)
    return f"loaded the rules with the members of {len(live)} NICs"


def _pins(resources: Iterable[Resource]) -> bool:
    return any(isinstance(one, Element) for one in resources)


def sweep(engine: Engine, left: Difference, log: Log, verb: str, told: Told = NOBODY) -> dict[str, str]:
    """Remove Resources without a record and log each. Returns errors by interface."""
    failed = engine.sweep(left.orphans)
    for orphan in left.orphans:
        if (orphan.owner or ALWAYS) not in failed:
            log.of(orphan.device).log(f"{verb}: taken away: {orphan.command}")
            told.done(orphan.device, f"taken away: {first_line(orphan)}")
    return failed
