"""The `snf-network` command: one module a subcommand, each with SUMMARY, `arguments(parser)` and `run(options, config)`.

This is the only place that knows argparse.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from snf_network import __version__, kernel
from snf_network.config import Config
from snf_network.errors import SnfNetworkError

NAMES = ("plan", "status", "check", "repair", "gc", "remove", "load", "dns")
EPILOG = """examples:
  snf-network status                     every NIC of this node, and how it is
  snf-network check || snf-network repair
  snf-network plan --env nic.env         what ifup would do for the NIC in a file of KEY=VALUE lines
  snf-network plan --record tap0         what was done for tap0
Settings are in /etc/default/snf-network; docs/operators.md tells what to do when something is wrong."""
SECONDS = 60.0


def main(argv: Sequence[str]) -> int:
    """Run one subcommand. 0: done and well; 1: not well, as the subcommand says; 2: wrong use."""
    parser = argparse.ArgumentParser(prog="snf-network", description="What snf-network has done for the NICs of this Ganeti node.",
                                     epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in NAMES:
        module = importlib.import_module(f"snf_network.commands.{name}")
        subparser = subparsers.add_parser(name, help=module.SUMMARY, description=module.__doc__,
                                          formatter_class=argparse.RawDescriptionHelpFormatter)
        module.arguments(subparser)
        subparser.set_defaults(run=module.run)
    options = parser.parse_args(argv[1:])
    os.umask(0o022)
    kernel.give_up_after(SECONDS)
    try:
        return int(options.run(options, Config.load()))
    except (SnfNetworkError, OSError) as error:
        sys.stderr.write(f"snf-network: {error}\n")
        return 1
    except BrokenPipeError:
        return 1
