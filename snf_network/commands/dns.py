"""Names of this node's instances in DNS: list what is registered and what is pending and why, and bring zones
in line.

Scripts and hooks only note the desired names; a sender then works on its own. STATE is `registered`;
`pending` if not tried yet; `waiting` if it will be tried again; `parked` if another try would not help:
REASON says what to change before `retry`; `unreadable` if the note is invalid.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from snf_network.dns import report, settings
from snf_network.dns.sender import Sender
from snf_network.errors import BadConfig, SnfNetworkError
from snf_network.host.record import Record, Records, is_live
from snf_network.model.config import Config, dns_is_on
from snf_network.model.names import Names
from snf_network.model.nic import Nic
from snf_network.observe.facts import has_ipv6, settled
from snf_network.plan import names_for
from snf_network.scripts.process import Log

from . import table

SUMMARY = "names in DNS: list, plan, sync, audit, flush, retry"
ACTIONS = {
    "list": "every name, and how it is",
    "plan": "the updates that would be sent now, as lines of nsupdate; sends nothing",
    "sync": "bring the zones in line with the records of this node's NICs, and with what is noted of others",
    "audit": "compare the servers with what is desired: missing, stale, foreign names; exit 1 if any",
    "flush": "send what is pending or waiting now, not only when it is due",
    "retry": "try again what is parked: all, or that of some instances and names",
}
COLUMNS = ("name", "state", "instance", "age", "tries", "reason")


def arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand per action, with its own options."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for name, summary in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("--json", action="store_true", help="print JSON")
        if name == "sync":
            action.add_argument(
                "--gone",
                action="store_true",
                help="also remove the names of NICs that are no longer on this node or on any other",
            )
        if name == "retry":
            action.add_argument("name", metavar="NAME", nargs="*", help="an instance, or a name in DNS")


def run(options: argparse.Namespace, config: Config) -> int:
    """Run the action."""
    if not dns_is_on(config):
        raise BadConfig(
            "DNS updates are off on this node",
            "SERVER and AUTHENTICATION_METHOD, or /etc/snf-network/dns.yaml",
        )
    log = Log("snf-network", "dns", config.logfile).log

    def say(words: str) -> None:
        log(words)
        if not options.json:
            sys.stdout.write(f"{words}\n")

    sender = Sender(config, settings.load(config), say)
    if options.action == "plan":
        return _plan(options, sender)
    if options.action == "audit":
        return _audit(options, sender, config)
    if options.action == "sync":
        live = list(_live(config))
        instances = {record.instance for record in live}
        sender.sync(_names(live, sender, config), instances if options.gone else None)
    if options.action == "list":
        return _list(options, report.names(sender))
    return _send(options, sender)


def _send(options: argparse.Namespace, sender: Sender) -> int:
    """Send, then list only names that are not as desired; exit status 1 if there are any."""
    chosen = None
    if options.action == "retry":
        jobs = report.choose(sender.jobs(), options.name, sender.settings)
        chosen = [job.desired.instance for job in jobs]
        for job in jobs:
            sender.retry(job)
    if sender.is_at_work():
        sys.stderr.write("snf-network: waiting for the sender that is at work\n")
    sender.flush(chosen if options.action == "retry" and options.name else None)
    left = [row for row in report.names(sender) if row["state"] != "registered"]
    if left or options.json:
        return _list(options, left) or bool(left)
    sys.stdout.write("all names are as wanted\n")
    return 0


def _list(options: argparse.Namespace, rows: list[report.Row]) -> int:
    cells = [[ago(float(row[name])) if name == "age" else str(row[name]) for name in COLUMNS] for row in rows]
    if options.json:
        _emit(rows)
    else:
        sys.stdout.write(table.text([name.upper() for name in COLUMNS], cells))
    return 0


def _plan(options: argparse.Namespace, sender: Sender) -> int:
    planned = sender.plan(sender.pending())
    if options.json:
        _emit(report.update_facts(planned))
    else:
        lines = list(report.update_lines(planned)) or ["; nothing to send"]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _audit(options: argparse.Namespace, sender: Sender, config: Config) -> int:
    found = report.audit(sender, {record.instance for record in _live(config)})
    if options.json:
        _emit([dict(zip(("kind", "name", "what"), row, strict=True)) for row in found])
    else:
        sys.stdout.write(table.text(("KIND", "NAME", "WHAT"), found) if found else "clean\n")
    return 1 if found else 0


def _live(config: Config) -> Iterator[Record]:
    return filter(is_live, Records(config.state_dir))


def _names(records: list[Record], sender: Sender, config: Config) -> Iterator[Names]:
    """The names of the NICs on this node."""
    for record in records:
        try:
            nic = settled(Nic.from_env(dict(record.variables)))
            names = names_for(nic, config, has_ipv6(nic.interface))
        except SnfNetworkError as error:
            sender.say(f"{record.interface}: {error}")
        else:
            if names:
                yield names


def _emit(facts: object) -> None:
    sys.stdout.write(json.dumps(facts, indent=2) + "\n")


def ago(seconds: float) -> str:
    """A time span in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
