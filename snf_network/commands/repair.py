"""Bring the node back to its records: after `nft flush ruleset`, a firewall restart, a manual clean-up, or a
late default route.

Missing Resources are restored, leftover ones removed; a NIC that lacks something, or was planned for an
uplink that has changed, is planned again. Other NICs are not touched, and none is left worse than before.
Exit status 0: the node is as recorded now.
"""

from __future__ import annotations

import argparse
import sys

from snf_network.apply.engine import Engine
from snf_network.errors import SnfNetworkError
from snf_network.host import kernel
from snf_network.host.record import Record
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.resources import Element, NeighProxy, Resource
from snf_network.observe.drift import Difference, compare
from snf_network.scripts.bringup import announce_again, bring_up, keep_wanted
from snf_network.scripts.process import Log

from . import acts, check, gc
from .acts import Acts

SUMMARY = "bring the node back to its records"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    acts.arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="print failures only")
    parser.add_argument(
        "--pending",
        action="store_true",
        help="exit status 0 if no NIC lacks anything any more, even if something else differs",
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Repair, then compare again."""
    with Acts(options) as told:
        found = compare(config)
        told.know(*found.gone, *found.live)
        if found:
            return _repair(options, found, config, told)
        if not options.quiet:
            told.say("clean: nothing to repair")
        return 0


def _repair(options: argparse.Namespace, found: Difference, config: Config, told: Acts) -> int:
    log = Log("snf-network", path=config.logfile)
    failed = _Repair(found, config, log, told).run()
    left = compare(config)
    for kind, interface, words in check.rows(left):
        told.left(interface, f"{kind}: {words}")
        if not options.pending:
            sys.stderr.write(f"still {kind} {interface}: {words}\n")
    if options.pending:
        return int(bool(left.lacking))
    tried = len(found.lacking) + len(found.outdated)
    done = f"put back {len(found.missing)}, took away {len(found.orphans)}, tried again {tried}"
    log.log(f"repair: {done}")
    if not options.quiet:
        told.say(done)
    return 1 if failed or left else 0


class _Repair:
    """One repair: each failure is reported in one line, and the rest goes on."""

    def __init__(self, found: Difference, config: Config, log: Log, told: Acts) -> None:
        self.found, self.config, self.log, self.told = found, config, log, told
        self.engine = Engine(config)
        self.failed = False

    def run(self) -> bool:
        """Repair filters first, for all NICs at once. True if something failed."""
        if self.found.rules and not self._load():
            return True
        self._mend()
        self._plan_again()
        for interface, why in gc.sweep(self.engine, self.found, self.log, "repair", self.told).items():
            self._fail(interface, why)
        return self.failed

    def _load(self) -> bool:
        """Load the rules. If there are none and they do not load, take unfiltered links down; then False."""
        try:
            for words in self.engine.load():
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
                    self.told.done(interface, f"put back: {acts.line(resource)}")
        unpinned = [record for record, some in lost.values() if any(isinstance(one, Element) for one in some)]
        self.engine.forget_learned(unpinned)
        unheard = [
            record for record, some in lost.values() if any(isinstance(one, NeighProxy) for one in some)
        ]
        announce_again(unheard, self.config)

    def _plan_again(self) -> None:
        """Bring up again the NICs that were refused something, or whose node has changed. Skips a NIC whose
        missing facts are still missing.
        """
        refused = [(one, words) for one, words in self.found.lacking if one.failed or not one.node]
        for record in {one.interface: one for one, _ in (*self.found.outdated, *refused)}.values():
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
