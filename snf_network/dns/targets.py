"""From what instances want to names: which records each shall have and may have had, forward and reverse.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass

from snf_network.dns import changes
from snf_network.dns.changes import Name, Rdata, Target
from snf_network.dns.memory import Known
from snf_network.dns.settings import Settings
from snf_network.dns.spool import Wanted

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


@dataclass(frozen=True)
class Job:
    """One instance to be seen to: what it shall have and what is known of it."""

    wanted: Wanted
    known: Known


@dataclass
class Goal:
    """A Target in the making: several NICs, and at reverse names several instances, may have a part in it."""

    instances: dict[str, None] = field(default_factory=dict)
    """Whose it is: those that want it, and those that had it."""
    wanted: dict[Rdata, str] = field(default_factory=dict)
    """Records, each with the instance that wants it."""
    had: set[Rdata] = field(default_factory=set)
    network: str = ""
    whole: bool = False
    reverse: bool = False


Goals = dict[str, Goal]


def trouble_with(name: str) -> str:
    """Why a name cannot be one of a host (RFC 1123, 2.1; RFC 1035, 2.3.4); empty if it can."""
    if len(name) > 253:
        return f"the name has {len(name)} characters, and 253 is the most"
    for label in name.split("."):
        if len(label) > 63:
            return f"a part of the name has {len(label)} characters, and 63 is the most"
        if not LABEL.fullmatch(label):
            return f"{label!a} is no part of a host name: letters, digits, and - within"
    return ""


def record(kind: str, data: str) -> Rdata:
    """A record of class IN."""
    return dns.rdata.from_text(dns.rdataclass.IN, kind, data)


def address(text: str) -> Rdata:
    """An A or AAAA record."""
    return record("AAAA" if ":" in text else "A", text)


def forward_goals(jobs: Iterable[Job], settings: Settings) -> Goals:
    """What shall be at the forward names of these instances. The name in the default zone is among them for
    whole ones.
    """
    goals: Goals = {}

    def goal(name: str, instance: str) -> Goal:
        found = goals.setdefault(name, Goal())
        found.instances.setdefault(instance)
        found.whole |= wanted.whole
        return found

    for wanted, known in ((job.wanted, job.known) for job in jobs):
        instance = wanted.instance
        for names in wanted.nics:
            mine = goal(settings.name(instance, names.network), instance)
            mine.network = names.network
            mine.wanted.update((address(text), instance) for text in names.addresses)
        for names in wanted.had:
            goal(settings.name(instance, names.network), instance).had |= {
                address(text) for text in names.addresses
            }
        for name, kind, text in known.records:
            if kind != "PTR":
                goal(name, instance).had.add(record(kind, text))
        if wanted.whole:
            goal(settings.name(instance, ""), instance)
    return goals


def reverse_goals(
    jobs: Iterable[Job],
    forward: Goals,
    lost: Mapping[str, Iterable[Rdata]],
    foreign: Container[str],
    settings: Settings,
) -> Goals:
    """What shall be at the reverse names of all addresses that the forward names get, keep, or (`lost`) turn
    out to have had.

    A PTR to a `foreign` name is ours only if we remember it.
    """
    goals: Goals = {}
    for name, goal in forward.items():
        if trouble_with(name):
            continue  # nothing can lead there
        pointer = record("PTR", f"{name}.")
        for data in {*goal.wanted, *goal.had, *lost.get(name, ())}:
            mine = goals.setdefault(settings.pointer(data.to_text()), Goal(reverse=True))
            mine.instances.update(goal.instances)
            if name not in foreign:
                mine.had.add(pointer)
            if data in goal.wanted:
                mine.wanted[pointer] = goal.wanted[data]
                mine.network = goal.network
    for job in jobs:
        for name, kind, text in job.known.records:
            if kind == "PTR":
                mine = goals.setdefault(name, Goal(reverse=True))
                mine.instances.setdefault(job.wanted.instance)
                mine.had.add(record(kind, text))
    return goals


def target(name: str, goal: Goal, settings: Settings) -> Target:
    """The goal as a Target. Raises dns.exception.DNSException for a name that cannot be."""
    absolute = dns.name.from_text(f"{name}.")
    wanted, ttl = frozenset(goal.wanted), settings.ttl(name, goal.network)
    if goal.reverse:
        return Target(absolute, wanted, frozenset(goal.had), None, False, ttl)
    mark = changes.mark(absolute, owner(settings, next(iter(goal.instances))), settings.mark)
    return Target(absolute, wanted, frozenset(goal.had), mark, goal.whole, ttl)


def owner(settings: Settings, instance: str) -> str:
    """Who marks the names of an instance: the same on each node of the cluster."""
    return f"{settings.owner}/{instance}"


def of_this_cluster(name: Name, marks: frozenset[Rdata], settings: Settings) -> bool:
    """True if the forward name that a PTR leads to carries a mark of an instance of ours, which is called so
    with or without a zone.
    """
    text = name.to_text(omit_final_dot=True).lower()
    zones = (settings.zone, *settings.zones, *(zone for zone, _ in settings.networks.values() if zone))
    instances = {text, *(text.removesuffix(f".{zone}") for zone in zones)}
    try:
        return any(
            changes.mark(name, owner(settings, instance), settings.mark) in marks for instance in instances
        )
    except dns.exception.DNSException:
        return False
