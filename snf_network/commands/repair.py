"""Bring the node back to its records: after `nft flush ruleset`, a firewall restart, a manual clean-up, or a
late default route.

Missing Resources are restored, leftover ones removed; a NIC that lacks something, or was planned for an
uplink that has changed, is planned again. Other NICs are not touched, and none is left worse than before. The
running FRR is told of its BGP sessions with guests. Exit status 0: the node is as recorded now.
"""

from __future__ import annotations

import argparse
import sys

from snf_network.model.config import Config
from snf_network.observe.drift import Difference, compare
from snf_network.scripts.process import Log
from snf_network.scripts.repair import Repair, filter_first

from . import acts, check, frr, networks
from .acts import Acts

SUMMARY = "bring the node back to its records"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    acts.arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="print failures only")
    parser.add_argument(
        "--fallback",
        action="store_true",
        help="overlays of engine evpn: an entry for each node that FRR does not have, until it has it",
    )
    parser.add_argument(
        "--pending",
        action="store_true",
        help="exit status 0 if no NIC lacks anything any more, even if something else differs",
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Repair, then compare again."""
    with Acts(options) as told:
        filter_first(config, Log("snf-network", path=config.logfile), told)
        status = _networks(config, told, options.fallback)
        found = compare(config)
        told.know(*found.gone, *found.live)
        if found:
            status = _repair(options, found, config, told) or status
        if frr.is_due(config):
            status = frr.tell(config, told, options.quiet) or status
        if not options.quiet and not found and not told.acted:
            told.say("clean: nothing to repair")
        return status


def _networks(config: Config, told: Acts, fallback: bool) -> int:
    """Put back what networks have lost, before their guests' NICs. What differs from the file is left to
    `snf-network net up`.
    """
    log, status = Log("snf-network", path=config.logfile), 0
    for change, failed in networks.restore(config, fallback):
        for words in failed:
            told.failed(change.name, words)
            log.of(change.name).say(f"network {change.name}: {words}")
            status = 1
        for line in change.lines if not failed else ():
            told.done(change.name, line)
            log.of(change.name).log(f"repair: network: {line}")
        if change.lines and not failed:
            told.say(f"network {change.name}: {len(change.lines)} changes")
        if change.given and not failed:
            told.done(change.name, f"{len(change.given)} entries are FRR's again")
            told.say(f"network {change.name}: {len(change.given)} entries are FRR's again")
    return status


def _repair(options: argparse.Namespace, found: Difference, config: Config, told: Acts) -> int:
    log = Log("snf-network", path=config.logfile)
    failed = Repair(found, config, log, told).run()
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
