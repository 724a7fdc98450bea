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
from snf_network.observe.drift import compare
from snf_network.scripts.process import Log
from snf_network.scripts.repair import Repair

from . import check

SUMMARY = "bring the node back to its records"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    parser.add_argument("--quiet", action="store_true", help="print failures only")
    parser.add_argument(
        "--pending",
        action="store_true",
        help="exit status 0 if no NIC lacks anything any more, even if something else differs",
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Repair, then compare again."""
    log = Log("snf-network", path=config.logfile)
    found = compare(config)
    if not found:
        return _say(options, "clean: nothing to repair")
    failed = Repair(found, config, log).run()
    left = compare(config)
    if options.pending:
        return int(bool(left.lacking))
    for kind, interface, words in check.rows(left):
        sys.stderr.write(f"still {kind} {interface}: {words}\n")
    tried = len(found.lacking) + len(found.outdated)
    done = f"put back {len(found.missing)}, took away {len(found.orphans)}, tried again {tried}"
    log.log(f"repair: {done}")
    _say(options, done)
    return 1 if failed or left else 0


def _say(options: argparse.Namespace, words: str) -> int:
    if not options.quiet:
        sys.stdout.write(f"{words}\n")
    return 0
