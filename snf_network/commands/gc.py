"""Take back what belongs to NICs that are gone: guests that stopped without an ifdown, taps of another boot,
things nobody recorded.

A record counts as gone if its interface is not there, or has another index or boot than when it was made.
"""

from __future__ import annotations

import argparse
import sys

from snf_network.apply import engine
from snf_network.errors import SnfNetworkError
from snf_network.host.record import Record, is_live
from snf_network.model.config import Config
from snf_network.observe.drift import compare

SUMMARY = "take back what belongs to NICs that are gone"


def arguments(parser: argparse.ArgumentParser) -> None:
    """How much to say."""
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def run(options: argparse.Namespace, config: Config) -> int:
    """Remove each record that is gone, then whatever has none. 1 if something could not be removed."""
    found = compare(config)
    gone = [record for record in found.gone if _remove(record, options, config)]
    orphans = (compare(config) if gone else found).orphans
    engine.sweep(orphans, config)
    if not options.quiet:
        sys.stdout.write(f"{len(gone)} NICs and {len(orphans)} orphans taken back\n")
    return int(len(gone) < len(found.gone))


def _remove(record: Record, options: argparse.Namespace, config: Config) -> bool:
    """True if it is gone now. What one NIC fails at is told, and does not stop the next."""
    try:
        engine.remove(record.interface, config, lambda record: not is_live(record))
    except SnfNetworkError as error:
        sys.stderr.write(f"snf-network: {record.interface}: {error}\n")
        return False
    if not options.quiet:
        sys.stdout.write(f"{record.interface}: {record.instance} taken back\n")
    return True
