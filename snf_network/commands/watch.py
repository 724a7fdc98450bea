"""Put back at once what somebody takes away from a NIC, and remove at once what gone guests leave.

Sleeps until the kernel reports a change; the unit snf-network-watch.service runs it. Ends with SIGTERM or
SIGINT. One runs per node; ifup, ifdown and the timers work without it.
"""

from __future__ import annotations

import argparse
import os
import sys

from snf_network.model.config import Config
from snf_network.observe.drift import compare
from snf_network.scripts.process import Log
from snf_network.watch.main import Watch

from . import check

SUMMARY = "put back at once what NICs lose"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Once, or on and on."""
    parser.add_argument(
        "--once", action="store_true", help="say what it would do now, and do nothing; exit 1 if anything"
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Watch until a signal."""
    if options.once:
        lines = [
            f"{kind:10} {interface:15} {words}\n" for kind, interface, words in check.rows(compare(config))
        ]
        sys.stdout.write("".join(lines) or "nothing to do\n")
        return int(bool(lines))
    Watch(config, Log("snf-network", path=config.logfile), os.environ).run()
    return 0
