"""Load the ruleset, and the policy rules of the tables named, ahead of the first NIC.

The first NIC would do it too, but its guest would wait for it. Loading again replaces the rules at once and
keeps every member: do so after changing a firewall profile. A table named here keeps its rules when its last
NIC goes.
"""

from __future__ import annotations

import argparse
import sys

from snf_network.apply import engine
from snf_network.host.netlink import Netlink
from snf_network.model.config import Config
from snf_network.observe.facts import kernel_has_ipv6, table_number
from snf_network.rules import ruleset

SUMMARY = "load the rules and firewall profiles, ahead of any NIC or after a change"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to load."""
    parser.add_argument("table", nargs="*", help="routing tables whose rules are made too")
    parser.add_argument(
        "--print", action="store_true", help="print what nft would be given, and load nothing"
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Load or print."""
    if options.print:
        sys.stdout.write(ruleset.text(config))
        return 0
    engine.load(config)
    with Netlink() as netlink:
        tables = [table_number(name, netlink) for name in options.table]
    for table in tables:
        engine.keep_rules(str(table), ("-4", "-6") if kernel_has_ipv6() else ("-4",), config)
    sys.stdout.write(f"loaded: firewall profiles {', '.join(ruleset.profiles())}\n")
    return 0
