"""Load the ruleset, and the policy rules of the tables named, ahead of the first NIC.

The first NIC would do it too, but its guest would wait for it. Loading again replaces the rules at once
and keeps every member: do so after changing a firewall profile. A profile that nft refuses is closed: its
NICs get nothing until its file is mended. A table named here keeps its rules when its last NIC goes.
"""

from __future__ import annotations

import argparse
import sys

from snf_network.apply.engine import Engine
from snf_network.host.netlink import Netlink
from snf_network.model.config import Config
from snf_network.observe.facts import kernel_has_ipv6, table_number
from snf_network.rules.ruleset import Ruleset, profiles
from snf_network.scripts.process import Log

SUMMARY = "load the rules and firewall profiles, ahead of any NIC or after a change"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to load."""
    parser.add_argument("table", nargs="*", help="routing tables whose rules are made too")
    parser.add_argument(
        "--print", action="store_true", help="print what nft would be given, and load nothing"
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Load or print. 1 if a profile is closed."""
    if options.print:
        sys.stdout.write(Ruleset(config).text())
        return 0
    engine, log = Engine(config), Log("snf-network", path=config.logfile)
    closed = engine.load()
    with Netlink() as netlink:
        tables = [table_number(name, netlink) for name in options.table]
    for table in tables:
        engine.keep_rules(str(table), ("-4", "-6") if kernel_has_ipv6() else ("-4",))
    for words in closed:
        log.say(words)
    words = f"loaded: firewall profiles {', '.join(profiles())}"
    log.log(words)
    sys.stdout.write(f"{words}\n")
    return 1 if closed else 0
