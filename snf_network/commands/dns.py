"""Names of this node's instances in DNS: what is registered, what is pending and why, and bringing a zone in
line.

Scripts and hooks only note what is wanted; a sender does the rest by itself. STATE is `registered`; `pending`
where it was not tried yet; `waiting` where it will be tried again; `parked` where that would not help: REASON
says what to change, then `retry`; `unreadable` where what was noted cannot be believed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from snf_network.dns import changes, settings
from snf_network.dns.changes import Change, typed
from snf_network.dns.memory import NEVER
from snf_network.dns.registrar import Outcome, work, zone_of
from snf_network.dns.sender import Sender
from snf_network.dns.targets import Job
from snf_network.errors import BadConfig, SnfNetworkError, shown
from snf_network.host.record import Records, is_live
from snf_network.lean import replace
from snf_network.model.config import Config, dns_is_on
from snf_network.model.names import names_of
from snf_network.model.nic import Nic
from snf_network.observe.facts import has_ipv6, settled
from snf_network.scripts.process import Log
from snf_network.setups.tags import tags_of

from . import table

SUMMARY = "names in DNS: list, plan, sync, audit, flush, retry"
ACTIONS = {
    "list": "every name, and how it is",
    "plan": "the updates that would be sent now, as lines of nsupdate; sends nothing",
    "sync": "bring the zones in line with the records of this node's NICs, and with what is noted of others",
    "audit": "compare the servers with what is wanted: missing, stale and foreign names; exit 1 if there are any",
    "flush": "send now what is pending or waiting, and not when it is due",
    "retry": "try again what is parked: all, or that of some instances and names",
}
COLUMNS = ("name", "state", "instance", "age", "tries", "reason")


def arguments(parser: argparse.ArgumentParser) -> None:
    """One action, with its own options."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for name, summary in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("--json", action="store_true", help="for machines")
        if name == "sync":
            action.add_argument(
                "--gone",
                action="store_true",
                help="also take back the names of NICs that are not on this node any more, nor on another",
            )
        if name == "retry":
            action.add_argument("name", nargs="*", help="an instance, or a name in DNS")


def run(options: argparse.Namespace, config: Config) -> int:
    """Do the action."""
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
        _note(sender, config, options.gone)
    if options.action == "retry":
        _unpark(sender, options.name)
    if options.action != "list":
        if sender.is_at_work():
            sys.stderr.write("snf-network: waiting for the sender that is at work\n")
        sender.flush()
    return _list(options, sender)


def _list(options: argparse.Namespace, sender: Sender) -> int:
    """After an action, only what is not as wanted, which is exit status 1."""
    found = [row for job in sender.jobs() for row in rows(job, sender)] + list(unreadable(sender))
    told = found if options.action == "list" else [row for row in found if row["state"] != "registered"]
    if options.json:
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    elif told or options.action == "list":
        cells = [
            [ago(float(row["age"])) if name == "age" else str(row[name]) for name in COLUMNS] for row in told
        ]
        sys.stdout.write(table.text([name.upper() for name in COLUMNS], cells))
    else:
        sys.stdout.write("all names are as wanted\n")
    return 1 if told and options.action != "list" else 0


def rows(job: Job, sender: Sender) -> Iterator[dict[str, str | float | int]]:
    """The names of one instance."""
    wanted, known, now = job.wanted, job.known, sender.clock()
    forward = {sender.settings.name(wanted.instance, names.network) for names in wanted.nics}
    names = {*forward, *(record[0] for record in known.records), *known.troubles} or {
        sender.settings.name(wanted.instance, "")
    }
    for name in sorted(names, key=lambda name: (name not in forward, name)):
        trouble = known.troubles.get(name)
        fresh = known.tried != wanted.serial
        state = "pending" if fresh else trouble.state if trouble else "registered"
        since = wanted.since if fresh or not trouble else trouble.since
        yield {
            "name": name,
            "state": state,
            "instance": wanted.instance,
            "age": round(max(now - since, 0.0), 1),
            "tries": trouble.tries if trouble else 0,
            "reason": trouble.reason if trouble else "",
        }


def unreadable(sender: Sender) -> Iterator[dict[str, str | float | int]]:
    """Files of the spool that are not believed: cut off by a crash, or somebody else's."""
    for name in sender.spool.unreadable():
        yield {
            "name": shown(name),
            "state": "unreadable",
            "instance": shown(name),
            "age": 0.0,
            "tries": 0,
            "reason": f"{sender.spool.directory}/wanted: not whole; sync notes anew what runs here, else remove it",
        }


def ago(seconds: float) -> str:
    """A time span in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plan(options: argparse.Namespace, sender: Sender) -> int:
    jobs = [job for job in sender.jobs() if job.known.due(job.wanted.serial, sender.clock()) < NEVER]
    outcome = work(jobs, sender.settings, sender.taken())
    by_zone: dict[changes.Name, list[Change]] = {}
    for change in outcome.changes:
        by_zone.setdefault(zone_of(outcome, change), []).append(change)
    if options.json:
        sys.stdout.write(
            json.dumps(
                {
                    "updates": [fact for zone, group in by_zone.items() for fact in _facts(zone, group)],
                    "failed": {name: str(error) for name, error in _failed(outcome)},
                },
                indent=2,
            )
            + "\n"
        )
        return 0
    for zone, group in by_zone.items():
        sys.stdout.write("\n".join((*changes.script(zone, group), "send", "")))
    for name, error in _failed(outcome):
        sys.stdout.write(f"; {name}: {error}\n")
    if not by_zone and not list(_failed(outcome)):
        sys.stdout.write("; nothing to send\n")
    return 0


def _facts(zone: changes.Name, group: list[Change]) -> Iterator[dict[str, object]]:
    for change in group:
        yield {
            "zone": str(zone),
            "name": str(change.target.name),
            "delete": sorted(map(typed, change.deletes)),
            "add": sorted(map(typed, change.adds)),
            "ttl": change.target.ttl,
        }


def _audit(options: argparse.Namespace, sender: Sender, config: Config) -> int:
    jobs = [Job(replace(job.wanted, whole=True), job.known) for job in sender.jobs()]
    outcome = work(jobs, sender.settings, sender.taken())
    live = {record.instance for record in Records(config.state_dir) if is_live(record)}
    found = [
        *_differences(outcome),
        *(
            ("gone", job.wanted.instance, "not on this node: snf-network dns sync --gone, unless on another")
            for job in jobs
            if job.wanted.nics and job.wanted.instance not in live
        ),
    ]
    if options.json:
        sys.stdout.write(
            json.dumps([dict(zip(("kind", "name", "what"), row, strict=True)) for row in found], indent=2)
            + "\n"
        )
    else:
        sys.stdout.write(table.text(("KIND", "NAME", "WHAT"), found) if found else "clean\n")
    return 1 if found else 0


def _failed(outcome: Outcome) -> Iterator[tuple[str, SnfNetworkError]]:
    yield from outcome.failed.items()
    yield from ((name, error) for (name, _), error in outcome.denied.items())


def _differences(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    for name, error in _failed(outcome):
        yield "failed", name, str(error)
    for change in outcome.changes:
        name = change.target.name.to_text(omit_final_dot=True)
        there = ", ".join(sorted(map(typed, outcome.present[name].records)))
        if change.doubtful:
            yield "foreign", name, there or "in use"
            continue
        for kind, records in (("missing", change.adds), ("stale", change.deletes)):
            if records:
                yield kind, name, ", ".join(sorted(typed(record) for record in records))


def _note(sender: Sender, config: Config, gone: bool) -> None:
    """Note again what each NIC that is here shall have, so that all of it is looked at."""
    here = set()
    for record in Records(config.state_dir):
        if is_live(record):
            here.add(record.instance)
            try:
                nic = settled(Nic.from_env(dict(record.variables)))
                if config.dns_tag in tags_of(nic, config) and not nic.arriving:
                    sender.spool.up(names_of(nic, ipv6=nic.mode != "routed" or has_ipv6(nic.interface)))
            except SnfNetworkError as error:
                sender.say(f"{record.interface}: {error}")
    for wanted in list(sender.spool):
        if gone and wanted.instance not in here:
            sender.spool.have(wanted.instance, ())


def _unpark(sender: Sender, names: list[str]) -> None:
    for job in sender.jobs():
        known = job.known
        chosen = {
            name
            for name, trouble in known.troubles.items()
            if trouble.state == "parked" and (not names or name in names or job.wanted.instance in names)
        }
        if chosen:
            sender.retry(job)
