"""List the NICs of this node: their instances, their networks and their states.

STATE is `up`; `down` if its link is down and no frame passes; `incomplete` if something could not be done yet
(the reason is below the table, `snf-network repair` tries again); or `gone` if the tap no longer exists but
its Resources were not removed (`snf-network gc` removes them).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from time import localtime, strftime
from typing import Any

from snf_network.addresses import is_link_local
from snf_network.errors import SnfNetworkError, shown
from snf_network.host import kernel
from snf_network.host.record import Record, is_live
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.resources import Element, Hook
from snf_network.observe import readback
from snf_network.setups import addressed
from snf_network.setups.firewall import profile_of
from snf_network.setups.limit import PREFIX, limits_of
from snf_network.setups.pins import prefix6
from snf_network.setups.tags import tags_of
from snf_network.watch.state import state as watch_state

from . import chosen, table

SUMMARY = "list the NICs of this node"
COLUMNS = ("interface", "state", "instance", "nic", "mode", "link", "ip", "profile", "ip6", "mac", "tags")
NARROW = 8
"""Number of columns shown without --wide."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Interfaces and output options."""
    parser.add_argument("interface", metavar="IFACE", nargs="*", help="only these")
    parser.add_argument(
        "--wide",
        action="store_true",
        help="also show IPv6 address, MAC and tags, which tags are unknown, and what limits have cut",
    )
    parser.add_argument("--json", action="store_true", help="print JSON: a list of objects")
    parser.add_argument("--network", metavar="NETWORK", help="one network of the node: its peers and NICs")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the table or the list."""
    records = chosen.records(config, options.interface)
    rows = [row(record, config) for record in records]
    if options.network:
        return _network(options, rows, config)
    silent = chosen.silent(records, config)
    limited = limits(records, config) if options.json or options.wide else {}
    if options.json:
        facts = [
            {
                **row,
                "uuid": record.uuid,
                "ifindex": record.ifindex,
                "lacking": record.lacking,
                "given_up": list(given_up(record)),
                "unknown_tags": chosen.unknown_tags(record, config),
                "unanswered": silent.get(record.interface, ""),
                "limits": limited.get(record.interface, {"set": {}, "cut": {}}),
            }
            for row, record in zip(rows, records)
        ]
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return 0
    columns = COLUMNS if options.wide else COLUMNS[:NARROW]
    sys.stdout.write(
        table.text([name.upper() for name in columns], [[row[name] for name in columns] for row in rows])
    )
    for record in records:
        for words in (*record.lacking, *given_up(record)):
            sys.stdout.write(f"{record.interface}: {words}\n")
    for interface, limit in limited.items():
        sys.stdout.write(f"{interface}: {_of_limits(**limit)}\n")
    told = [*silent.items(), *(chosen.without_meaning(records, config) if options.wide else ())]
    for interface, words in chosen.by_cause(told):
        sys.stdout.write(f"{interface}: {words}\n".removeprefix("-: "))
    if options.wide or sys.stdout.isatty():  # who reads the table by a program wants the table alone
        sys.stdout.write(f"{_watch()}\n")
    return 0


def _network(options: argparse.Namespace, rows: list[dict[str, str]], config: Config) -> int:
    from .network_status import show  # all that networks need, which the table of NICs does not

    return show(options.network, rows, options.json, config)


def _watch() -> str:
    """Whether the watch runs, and since when."""
    state = watch_state()
    if not state:
        return "watch: does not run (systemctl start snf-network-watch); repairs come with the minute's timer"
    since = strftime("%Y-%m-%d %H:%M:%S", localtime(state["since"]))
    fights = f"; fights for {shown(' '.join(state['fights']))[1:-1]}" if state["fights"] else ""
    return f"watch: runs since {since}, pid {state['pid']}{fights}"


def given_up(record: Record) -> Iterator[str]:
    """Tag settings of a NIC that give up a row of the drop matrix (docs/selftest.md)."""
    members = (one for one in record.resources if isinstance(one, Element))
    for prefix in (prefix6(one) for one in members if one.family in ("bridge", "netdev")):
        if prefix and is_link_local(prefix.partition("/")[0]):
            yield f"any link-local source of {prefix} passes, also another guest's (allow:{prefix})"


def limits(records: list[Record], config: Config) -> dict[str, dict[str, dict[str, Any]]]:
    """The limits of NICs that have any, by interface: what is `set`; and the frames `cut`, by reason."""
    found = {record.interface: said for record in records if (said := _limits(record, config))}
    counts = readback.drops() if found else {}
    return {
        interface: {
            "set": said,
            "cut": {
                reason: frames
                for (name, reason), (frames, _) in sorted(counts.items())
                if name == interface and reason.startswith("limit-")
            },
        }
        for interface, said in found.items()
    }


def _limits(record: Record, config: Config) -> dict[str, str]:
    """Those that were put in place; as tags and settings have them now."""
    if not any(isinstance(one, Hook) for one in record.resources):
        return {}
    try:
        return limits_of(Nic.from_env(dict(record.variables)), config)
    except SnfNetworkError:
        return {}


def _of_limits(set: dict[str, str], cut: dict[str, int]) -> str:
    words = " ".join(f"{PREFIX}{what}:{value}" for what, value in set.items())
    return f"{words} cut {', '.join(f'{reason} {count}' for reason, count in cut.items()) or 'nothing'}"


def state(record: Record) -> str:
    """The state of a NIC, in one word."""
    if not is_live(record):
        return "gone"
    if record.lacking:
        return "incomplete"
    return "up" if kernel.is_up(record.interface) else "down"


def row(record: Record, config: Config) -> dict[str, str]:
    """The columns of one NIC."""
    now = state(record)
    try:
        nic = addressed(Nic.from_env(dict(record.variables)), config)
        tags, profile = " ".join(tags_of(nic, config)), profile_of(nic, config)
    except SnfNetworkError as error:
        return {
            **dict.fromkeys(COLUMNS, ""),
            "interface": record.interface,
            "instance": record.instance,
            "state": str(error),
        }
    values = (
        record.interface,
        now,
        record.instance,
        nic.name or nic.index,
        nic.mode,
        nic.link,
        nic.ip,
        profile,
        nic.ip6,
        nic.mac,
        tags,
    )
    return dict(zip(COLUMNS, values, strict=True))
