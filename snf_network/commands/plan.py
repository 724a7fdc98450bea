"""Show what bringing a NIC up would do, line by line, and change nothing.

The NIC comes from the environment (INTERFACE, INSTANCE, MAC, MODE, LINK ... as set by Ganeti), from a file of
KEY=VALUE lines, or from a record. The plan depends on the current tap and uplinks, so it is valid for this
node, now.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from snf_network.dhcpd.binding import parse
from snf_network.dhcpd.source import load
from snf_network.errors import BadConfig, BadEnvironment
from snf_network.host.record import Records
from snf_network.lean import replace
from snf_network.model.config import Config, dns_is_on
from snf_network.model.nic import Nic
from snf_network.model.resources import Binding
from snf_network.observe.facts import node_for, settled
from snf_network.plan import Plan, plan_for
from snf_network.scripts.process import environment
from snf_network.setups import addressed

SUMMARY = "show the nft and ip lines of a NIC, and change nothing"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where the NIC comes from."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--env", metavar="FILE", help="a file of KEY=VALUE lines, such as a recorded environment"
    )
    source.add_argument("--record", metavar="IFACE", help="the NIC that IFACE was brought up for")
    parser.add_argument("--json", action="store_true", help="print JSON: an object")
    parser.add_argument(
        "interface", metavar="TAP", nargs="?", default="", help="the tap, if INTERFACE is not set"
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the plan."""
    nic = addressed(settled(Nic.from_env(_variables(options, config), options.interface)), config)
    plan = plan_for(nic, node_for(nic, config), config)
    plan = plan if dns_is_on(config) else replace(plan, names=None)
    told = list(_dhcp(plan))
    if options.json:
        sys.stdout.write(f"{json.dumps({**plan.facts(), 'dhcp_yaml': told}, indent=2)}\n")
    else:
        lines = [f"{one['key']}={one['value']}  # {one['where']}\n" for one in told]
        sys.stdout.write(plan.text() + ("\n# dhcp.yaml\n" if lines else "") + "".join(lines))
    return 0


def _dhcp(plan: Plan) -> Iterator[dict[str, str]]:
    """What dhcp.yaml adds to the binding of a NIC. Raises BadConfig with the first mistake in it."""
    for one in plan.resources:
        if isinstance(one, Binding):
            known, problems = load()
            if problems:
                raise BadConfig(problems[0], "nfdhcpd --check shows all that is wrong")
            bound, _ = parse(one.path.rpartition("/")[2], one.content)
            for said in known.added(bound).values():
                yield {"key": said.key, "value": said.text, "where": f"{said.where}, line {said.line}"}


def _variables(options: argparse.Namespace, config: Config) -> dict[str, str]:
    if options.record:
        record = Records(config.state_dir).load(options.record)
        if not record:
            raise BadEnvironment(
                f"{options.record} has no record", "snf-network status lists those that have"
            )
        return dict(record.variables)
    if not options.env:
        return environment()
    lines = Path(options.env).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
