"""The reports of `snf-network dns`: states of names, pending updates, differences between server and node."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from snf_network.dns.changes import Change, Name, script, typed
from snf_network.dns.endpoints import Job
from snf_network.dns.marks import is_mark
from snf_network.dns.plan import Pass
from snf_network.dns.sender import Sender
from snf_network.dns.settings import Settings
from snf_network.errors import BadConfig, SnfNetworkError, shown
from snf_network.lean import replace

Row = dict[str, str | float | int]


def names(sender: Sender) -> list[Row]:
    """Every name of this node with its state, then the unreadable files."""
    why = sender.why_pending()
    return [*(row for job in sender.jobs() for row in names_of(job, sender, why)), *unreadable(sender)]


def names_of(job: Job, sender: Sender, why: str = "") -> Iterator[Row]:
    """The names of one instance. `why`: the reason for pending ones."""
    desired, known, now = job.desired, job.registered, sender.clock()
    forward = {sender.settings.name(desired.instance, names.network) for names in desired.nics}
    found = {*forward, *(record[0] for record in known.records), *known.troubles}
    found = found or {sender.settings.name(desired.instance, "")}
    for name in sorted(found, key=lambda name: (name not in forward, name)):
        trouble = known.troubles.get(name)
        fresh = known.tried != desired.serial
        since = desired.since if fresh or not trouble else trouble.since
        yield {
            "name": name,
            "state": "pending" if fresh else trouble.state if trouble else "registered",
            "instance": desired.instance,
            "age": round(max(now - since, 0.0), 1),
            "tries": trouble.tries if trouble else 0,
            "reason": why if fresh else trouble.reason if trouble else "",
        }


def unreadable(sender: Sender) -> Iterator[Row]:
    """Files of the spool that were truncated by a crash, or are not ours."""
    reason = f"{sender.spool.directory}/wanted: not whole; sync notes anew what runs here, else remove it"
    for name in map(shown, sender.spool.unreadable()):
        yield {
            "name": name,
            "state": "unreadable",
            "instance": name,
            "age": 0.0,
            "tries": 0,
            "reason": reason,
        }


def updates(planned: Pass) -> dict[Name, list[Change]]:
    """The changes of a pass by zone."""
    found: dict[Name, list[Change]] = {}
    for change in planned.changes:
        found.setdefault(planned.zone(change), []).append(change)
    return found


def update_lines(planned: Pass) -> Iterator[str]:
    """A pass as lines of nsupdate(1); undecided names are comments."""
    for zone, group in updates(planned).items():
        yield from (*script(zone, group), "send")
    yield from (f"; {name}: {error}" for name, error in failures(planned))


def update_facts(planned: Pass) -> dict[str, object]:
    """A pass as JSON data."""
    return {
        "updates": [
            {
                "zone": str(zone),
                "name": str(change.endpoint.name),
                "delete": sorted(map(typed, change.deletes)),
                "add": sorted(map(typed, change.adds)),
                "ttl": change.endpoint.ttl,
            }
            for zone, group in updates(planned).items()
            for change in group
        ],
        "failed": {name: str(error) for name, error in failures(planned)},
    }


def failures(planned: Pass) -> Iterator[tuple[str, SnfNetworkError]]:
    """The undecided names, and those that another instance has."""
    yield from planned.failures.items()
    yield from ((name, error) for (name, _), error in planned.denied.items())


def audit(sender: Sender, live: Collection[str]) -> list[tuple[str, str, str]]:
    """Differences between servers and node: kind, name, description. `live`: the instances that run here."""
    jobs = [Job(replace(job.desired, whole=True), job.registered) for job in sender.jobs()]
    gone = [job.desired.instance for job in jobs if job.desired.stays and job.desired.instance not in live]
    hint = "not on this node: snf-network dns sync --gone, unless on another"
    return [*_differences(sender.plan(jobs)), *(("gone", instance, hint) for instance in gone)]


def _differences(planned: Pass) -> Iterator[tuple[str, str, str]]:
    for name, error in failures(planned):
        yield "failed", name, str(error)
    for change in planned.changes:
        name = change.endpoint.name.to_text(omit_final_dot=True)
        if change.doubtful:
            there = ", ".join(sorted(map(typed, planned.current(change).records)))
            yield "foreign", name, there or "in use"
            continue
        for kind, records in (("missing", change.adds), ("stale", change.deletes)):
            told = sorted(typed(one) for one in records if not is_mark(one))
            if told:
                yield kind, name, ", ".join(told)


def choose(jobs: Sequence[Job], names: Sequence[str], settings: Settings) -> list[Job]:
    """The jobs of these instances and names; without `names` all jobs with a parked name. Raises BadConfig
    for a name that no job has.
    """
    if not names:
        return [job for job in jobs if any(one.state == "parked" for one in job.registered.troubles.values())]
    known = {job.desired.instance: _names(job, settings) for job in jobs}
    for name in names:
        if not any(name in group for group in known.values()):
            raise BadConfig(f"{shown(name)} is no instance and no name of this node", "snf-network dns list")
    return [job for job in jobs if known[job.desired.instance].intersection(names)]


def _names(job: Job, settings: Settings) -> set[str]:
    instance = job.desired.instance
    forward = {settings.name(instance, names.network) for names in (*job.desired.nics, *job.desired.had)}
    return {instance, *forward, *(row[0] for row in job.registered.records), *job.registered.troubles}
