"""Bring the node back to its records: after `nft flush ruleset`, a restarted firewall, somebody's cleaning
up, a late default route.

What is missing is put back, what is nobody's is taken away, and what could not be done when a NIC came up is
tried again. NICs that are as they should be are not touched. Exit status 0: the node is as recorded now.
"""

from __future__ import annotations

import argparse
import sys

from snf_network.apply import engine
from snf_network.errors import SnfNetworkError
from snf_network.host.record import Record
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.observe.drift import Difference, compare
from snf_network.scripts.bringup import bring_up, keep_wanted, try_again
from snf_network.scripts.process import Log

from . import check

SUMMARY = "bring the node back to its records"


def arguments(parser: argparse.ArgumentParser) -> None:
    """How much to say."""
    parser.add_argument("--quiet", action="store_true", help="print failures only")
    parser.add_argument(
        "--pending", action="store_true", help="only try again what could not be done when its NIC came up"
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Repair, then look again."""
    if options.pending:
        return 0 if try_again(config, Log("snf-network", path=config.logfile)) else 1
    found = compare(config)
    if not found:
        return _say(options, "clean: nothing to repair")
    failed = _mend(found, config)
    left = compare(config)
    for kind, interface, words in check.rows(left):
        sys.stderr.write(f"still {kind} {interface}: {words}\n")
    _say(
        options,
        f"put back {len(found.missing)}, took away {len(found.orphans)}, tried again {len(found.lacking)}",
    )
    return 1 if failed or left else 0


def _mend(found: Difference, config: Config) -> bool:
    """True if something failed; each failure is told in one line and the rest goes on."""
    failed = False
    if found.rules:
        engine.load(config)
    for interface, record in {
        record.interface: record for record, _ in (*found.missing, *found.lacking)
    }.items():
        try:
            _restore(record, config)
        except SnfNetworkError as error:
            failed = True
            sys.stderr.write(f"{interface}: {error}\n")
            keep_wanted(record, config, str(error))
    engine.sweep(found.orphans, config)
    return failed


def _restore(record: Record, config: Config) -> None:
    """A record with something lacking is planned anew, any other is put in place as it is."""
    if record.lacking:
        bring_up(Nic.from_env(dict(record.variables)), config)
    else:
        engine.restore(record, config)


def _say(options: argparse.Namespace, words: str) -> int:
    if not options.quiet:
        sys.stdout.write(f"{words}\n")
    return 0
