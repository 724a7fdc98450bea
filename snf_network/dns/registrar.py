"""One pass over some instances: look at their names, decide, send, and look again whether it is so.

Forward names first. A reverse name gets a PTR only once the forward name it leads to is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import dns.name
import dns.rdatatype
from dns.rdatatype import PTR

from snf_network.dns import changes, targets
from snf_network.dns.authority import Authority
from snf_network.dns.changes import Change, Name, Present, Rdata, Target
from snf_network.dns.send import NoAnswer, Refused
from snf_network.dns.settings import Settings
from snf_network.dns.targets import Goal, Goals, Job
from snf_network.errors import SnfNetworkError

Records = frozenset[tuple[str, str, str]]
"""Names, types and data, as text."""


@dataclass
class Outcome:
    """What became of the names of a pass."""

    goals: Goals = field(default_factory=dict)
    failed: dict[str, SnfNetworkError] = field(default_factory=dict)
    """By name: why it is not as wanted. Refused stays, NoAnswer may be better later."""
    denied: dict[tuple[str, str], Refused] = field(default_factory=dict)
    """By name and instance: why it goes to another instance."""
    present: dict[str, Present] = field(default_factory=dict)
    """What was there when it was looked at first."""
    foreign: set[str] = field(default_factory=set)
    """Names that seem to be somebody else's."""
    changes: list[Change] = field(default_factory=list)
    zones: dict[Name, Name] = field(default_factory=dict)

    def names(self) -> dict[str, list[str]]:
        """The names that each instance has a part in."""
        found: dict[str, list[str]] = {}
        for name, goal in self.goals.items():
            for instance in goal.instances:
                found.setdefault(instance, []).append(name)
        return found

    def why(self, name: str, instance: str) -> SnfNetworkError | None:
        """Why an instance has not what it wants at a name."""
        return self.failed.get(name) or self.denied.get((name, instance))

    def records(self, instance: str, names: Iterable[str], before: bool = False) -> Records:
        """All that may be at these names because of an instance, `before` anything was sent or after it."""
        return frozenset(
            (name, dns.rdatatype.to_text(data.rdtype), data.to_text())
            for name in names
            for data in self._of(name, self.goals[name], instance, before)
        )

    def _of(self, name: str, goal: Goal, instance: str, before: bool) -> Iterable[Rdata]:
        wanted = {data for data, owner in goal.wanted.items() if owner == instance}
        return wanted | goal.had if before or name in self.failed else wanted


def work(
    jobs: Sequence[Job],
    settings: Settings,
    taken: Mapping[str, str],
    before: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Do all that is to be done for these instances. Without `before`, which hears what is about to be sent,
    nothing is sent.

    `taken`: whose a reverse name is, by what the instances of this node want, where several do.
    """
    authority, outcome = Authority(settings), Outcome()
    forward = targets.forward_goals(jobs, settings)
    outcome.goals |= forward
    _one_owner(forward, outcome, {})
    decided, lost = _decide(forward, settings, authority, outcome)
    reverse = targets.reverse_goals(jobs, forward, lost, outcome.foreign, settings)
    outcome.goals |= reverse
    _one_owner(reverse, outcome, taken)
    if before:
        before(outcome)
        _commit(decided, authority, outcome)
    for goal in reverse.values():  # no PTR leads to a name that we could not have
        goal.wanted = {
            data: owner for data, owner in goal.wanted.items() if data.to_text()[:-1] not in outcome.failed
        }
    decided, _ = _decide(reverse, settings, authority, outcome)
    if before:
        _commit(decided, authority, outcome)
    outcome.zones = authority.zones
    return outcome


def _one_owner(goals: Goals, outcome: Outcome, taken: Mapping[str, str]) -> None:
    """A name that two instances want is that of the first; the other is told."""
    for name, goal in goals.items():
        owners = list(dict.fromkeys(goal.wanted.values()))
        first = taken.get(name) or (owners[0] if owners else "")
        if any(owner != first for owner in owners):
            goal.wanted = {data: owner for data, owner in goal.wanted.items() if owner == first}
            error = Refused(
                f"{name} is that of {first}", "one name, one instance: is an address or a name given twice?"
            )
            outcome.denied |= {(name, owner): error for owner in owners if owner != first}


def _decide(
    goals: Goals, settings: Settings, authority: Authority, outcome: Outcome
) -> tuple[list[Change], dict[str, set[Rdata]]]:
    """The changes; and what forward names have in our name that nobody remembers, but that is to go."""
    wanted = {
        name: target for name, goal in goals.items() if (target := _target(name, goal, settings, outcome))
    }
    looked = authority.look(wanted.values())
    found, lost = list[Change](), dict[str, set[Rdata]]()
    for name, target in wanted.items():
        if target.name not in looked:
            outcome.failed.setdefault(name, authority.failed[target.name])
            continue
        present = outcome.present[name] = looked[target.name]
        if target.whole and target.mark in present.marks:
            lost[name] = set(present.records)
        if changes.is_foreign(target, present):
            outcome.foreign.add(name)
        change = changes.decide(target, present)
        if change and change.doubtful and not target.mark and _of_ours(present, settings, authority):
            change = changes.decide(target, present, ours=True)
        if change:
            found.append(change)
    outcome.changes += found
    return found, lost


def _target(name: str, goal: Goal, settings: Settings, outcome: Outcome) -> Target | None:
    wrong = "" if goal.reverse else targets.trouble_with(name)
    if wrong:
        if goal.wanted:
            outcome.failed[name] = Refused(wrong, "rename the instance, or do without the dns tag")
        return None
    return targets.target(name, goal, settings)


def _of_ours(present: Present, settings: Settings, authority: Authority) -> bool:
    """True if each PTR leads to a name with a mark of this cluster: the address has changed hands within
    it.
    """
    names = [dns.name.from_text(data.to_text()) for data in present.records if data.rdtype == PTR]
    marked = [Target(name, frozenset(), mark=changes.mark(name, "", settings.mark)) for name in names]
    looked = authority.look(marked)
    return bool(names) and all(
        name in looked and targets.of_this_cluster(name, looked[name].marks, settings) for name in names
    )


def _commit(decided: Sequence[Change], authority: Authority, outcome: Outcome) -> None:
    """Send, then ask: an answer can be lost, or its signature wrong, after the server has done it."""
    authority.failed = {}
    authority.commit(decided)
    clashes = {change.target.name for change in decided if not change.conditions}
    unsure, tried = authority.failed, [change.target for change in decided]
    looked = authority.look(tried)
    for target in tried:
        name = target.name.to_text(omit_final_dot=True)
        if target.name in looked and changes.satisfied(target, looked[target.name]):
            continue
        error = unsure.get(target.name) or NoAnswer(f"{name} is not as it was sent", "snf-network dns plan")
        if (
            isinstance(error, Refused)
            and target.name in looked
            and target.mark in looked[target.name].marks
            and target.name in clashes
        ):
            error = NoAnswer(
                f"{name} has changed while it was looked at"
            )  # another node of ours was first, with something else
        outcome.failed[name] = error
    authority.failed = {}


def zone_of(outcome: Outcome, change: Change) -> Name:
    """The zone that a change is in."""
    return outcome.zones.get(change.target.name, dns.name.root)
