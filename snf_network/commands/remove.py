"""Take back all that IFACE has, by hand: its link goes down first, its filters last. The tap need not
exist.
"""

from __future__ import annotations

import argparse
import sys

from snf_network.addresses import is_interface
from snf_network.apply import engine
from snf_network.errors import BadEnvironment, shown
from snf_network.model.config import Config

SUMMARY = "take back all that an interface has"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which."""
    parser.add_argument("interface", metavar="IFACE", nargs="+")


def run(options: argparse.Namespace, config: Config) -> int:
    """Remove each; 1 if one of them had nothing."""
    status = 0
    for interface in options.interface:
        if not is_interface(interface):
            raise BadEnvironment(f"{shown(interface)} is no interface name")
        record = engine.remove(interface, config)
        status |= record is None
        sys.stdout.write(f"{interface}: {f'{record.instance} taken back' if record else 'has no record'}\n")
    return status
