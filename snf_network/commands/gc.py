"""Remove what belongs to NICs that are gone: guests that stopped without an ifdown, taps of an earlier boot,
Resources without a record.

A record counts as gone if its interface does not exist, or has another index or boot ID than recorded. A tap
that is up keeps its filters even without a record: it may have a guest. `snf-network check` lists such taps;
`snf-network remove` takes them down.
"""

from __future__ import annotations

import argparse

from snf_network.apply.engine import Engine
from snf_network.model.config import Config
from snf_network.observe.drift import compare
from snf_network.scripts.process import Log
from snf_network.scripts.repair import sweep

from . import acts, check
from .acts import Acts

SUMMARY = "remove what belongs to NICs that are gone"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    acts.arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="print failures only")


def run(options: argparse.Namespace, config: Config) -> int:
    """Remove each record that is gone, then Resources without a record. 1 if any could not be removed."""
    with Acts(options) as told:
        return _collect(options, config, told)


def _collect(options: argparse.Namespace, config: Config, told: Acts) -> int:
    found, engine, log = compare(config), Engine(config), Log("snf-network", path=config.logfile)
    told.know(*found.live, *found.gone)
    gone, failed = engine.remove_gone(found.gone)
    for record in gone:
        words = f"{record.instance} taken back"
        log.about(record).log(f"gc: {words}")
        told.done(record.interface, words)
        if not options.quiet:
            told.say(f"{record.interface}: {words}")
    for words in engine.handed:
        log.log(f"gc: {words}")
    left = compare(config) if gone else found
    failed |= sweep(engine, left, log, "gc", told)
    for interface, why in failed.items():
        told.failed(interface, why)
        log.of(interface).say(f"{interface}: {why}")
    for kind, interface, words in check.spared(left):
        told.left(interface, f"{kind}: {words}")
        log.of(interface).say(f"{kind} {interface}: {words}")
    if not options.quiet:
        told.say(f"{len(gone)} NICs and {len(left.orphans)} orphans taken back")
    return int(bool(failed))
