"""Load the ruleset, and the policy rules of the named tables, before the first NIC comes up.

The first NIC would do that too, but its guest would have to wait. Reloading replaces the rules at once and
keeps every member: do so after changing a firewall profile. A profile that nft refuses is closed: its NICs
receive nothing until its file is fixed. A table named here keeps its rules when its last NIC goes.
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

from . import acts
from .acts import Acts

SUMMARY = "load the rules and firewall profiles, before any NIC or after a change"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to load."""
    parser.add_argument(
        "table", metavar="TABLE", nargs="*", help="routing tables whose policy rules to add too"
    )
    output = parser.add_mutually_exclusive_group()
    acts.arguments(output)
    output.add_argument(
        "--print", action="store_true", help="print the complete input for nft, and load nothing"
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Load, or print the rules. 1 if a profile is closed."""
    if options.print:
        sys.stdout.write(Ruleset(config).text())
        return 0
    with Acts(options) as told:
        return _load(options, config, told)


def _load(options: argparse.Namespace, config: Config, told: Acts) -> int:
    engine, log = Engine(config), Log("snf-network", path=config.logfile)
    closed = engine.load()
    words = f"loaded: firewall profiles {', '.join(profiles())}"
    told.done("-", words)
    for why in closed:
        told.failed("-", why)
    with Netlink() as netlink:
        tables = [table_number(name, netlink) for name in options.table]
    for table in tables:
        engine.keep_rules(str(table), ("-4", "-6") if kernel_has_ipv6() else ("-4",))
        told.done("-", f"policy rules of table {table}")
    for why in closed:
        log.say(why)
    log.log(words)
    told.say(words)
    return 1 if closed else 0
