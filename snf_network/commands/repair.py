"""Bring the node back to its records: after `nft flush ruleset`, a firewall restart, a manual clean-up, or a
late default route.

Missing Resources are restored, leftover ones removed; a NIC that lacks something, or was planned for an
uplink that has changed, is planned again. Other NICs are not touched, and none is left worse than before.
Exit status 0: the node is as recorded now.
"""

from __future__ import annotations

import argparse
import sys

from snf_network.model.config import Config
from snf_network.observe.drift import Difference, compare
from snf_network.scripts.process import Log
from snf_network.scripts.repair import Repair

from . import acts, check
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
