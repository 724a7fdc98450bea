"""Take back what belongs to NICs that are gone: guests that stopped without an ifdown, taps of another boot, things nobody recorded.

A record counts as gone if its interface is not there, or has another index or boot than when it was made.
"""

from __future__ import annotations

import argparse
import sys

from snf_network import engine
from snf_network.config import Config
from snf_network.drift import compare
from snf_network.host import is_live

SUMMARY = "take back what belongs to NICs that are gone"


def arguments(parser: argparse.ArgumentParser) -> None:
    """How much to say."""
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def run(options: argparse.Namespace, config: Config) -> int:
    """Remove each record that is gone, then whatever has none."""
    found = compare(config)
    for record in found.gone:
        engine.remove(record.interface, config, lambda record: not is_live(record))
        if not options.quiet:
            sys.stdout.write(f"{record.interface}: {record.instance} taken back\n")
    orphans = (compare(config) if found.gone else found).orphans
    engine.sweep(orphans, config)
    if not options.quiet:
        sys.stdout.write(f"{len(found.gone)} NICs and {len(orphans)} orphans taken back\n")
    return 0
