"""One pass over some instances: look at their names, decide, and, on commit, send and look again.

A reverse name gets a PTR only if the forward name that it leads to is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import dns.name
import dns.rdatatype
from dns.rdatatype import PTR

from snf_network.dns import changes, endpoints, marks
from snf_network.dns.changes import Change, Current, Endpoint, Name, Rdata
from snf_network.dns.endpoints import Claim, Claims, Job
from snf_network.dns.provider import Provider
from snf_network.dns.send import NoAnswer, Refused
from snf_network.dns.settings import Settings
from snf_network.errors import SnfNetworkError

Records = frozenset[tuple[str, str, str]]
"""Names, types and data, as text."""
Failures = Mapping[str, SnfNetworkError]
"""By name: why it is not as desired. Refused is permanent, NoAnswer may be temporary."""


@dataclass(frozen=True)
class Part:
    """The forward or the reverse half of a pass. Everything is by name."""

    claims: Claims
    endpoints: Mapping[str, Endpoint]
    current: Mapping[str, Current]
    changes: Mapping[str, Change]
    failures: Failures
    """Names that could not be looked at, or are invalid."""
    denied: Mapping[tuple[str, str], SnfNetworkError]
    """By name and instance: why another instance has the name."""


@dataclass(frozen=True)
class Pass:
    """The required changes for some instances. Nothing is sent yet."""

    provider: Provider
    forward: Part
    reverse: Part

    @property
    def changes(self) -> list[Change]:
        """All changes, forward ones first."""
        return [*self.forward.changes.values(), *self.reverse.changes.values()]

    @property
    def failures(self) -> dict[str, SnfNetworkError]:
        """Names for which nothing could be decided."""
        return {**self.forward.failures, **self.reverse.failures}

    @property
    def denied(self) -> dict[tuple[str, str], SnfNetworkError]:
        """By name and instance: why another instance has the name."""
        return {**self.forward.denied, **self.reverse.denied}

    def current(self, change: Change) -> Current:
        """The state of the name before a change."""
        name = _text(change.endpoint.name)
        return (self.forward if change.endpoint.mark else self.reverse).current[name]

    def zone(self, change: Change) -> Name:
        """The zone of a change."""
        return self.provider.zone(change.endpoint.name)

    def by_instance(self) -> dict[str, dict[str, Claim]]:
        """The claims of each instance, by name."""
        found: dict[str, dict[str, Claim]] = {}
        for part in (self.forward, self.reverse):
            for name, group in part.claims.items():
                for instance, claim in group.items():
                    found.setdefault(instance, {})[name] = claim
        return found

    def why(self, name: str, instance: str, failures: Failures) -> SnfNetworkError | None:
        """Why an instance does not have what it wants at a name; `failures` are those of the commit."""
        return failures.get(name) or self.denied.get((name, instance))

    def registered(self, instance: str, claims: Mapping[str, Claim], failures: Failures) -> Records:
        """What is, or may be, registered for an instance, given the failures of some names."""
        return frozenset(
            row
            for name, claim in claims.items()
            for row in as_text(
                name,
                self._stamps(name, instance, claim, failures) | self._left(name, instance, claim, failures),
            )
        )

    def _left(self, name: str, instance: str, claim: Claim, failures: Failures) -> set[Rdata]:
        if name in failures:
            return claim.desired | claim.had
        part = self.forward if name in self.forward.claims else self.reverse
        seen = part.current[name].records if name in part.current else frozenset()
        if (name, instance) in self.denied:
            return (claim.desired | claim.had) & seen
        kept = _leading_to(failures, claim.desired | claim.had)
        implied = part.endpoints[name].implied if name in part.endpoints else frozenset[Rdata]()
        return {*(claim.desired - kept), *(seen & (kept | claim.kept | (claim.had & implied)))}

    def _stamps(self, name: str, instance: str, claim: Claim, failures: Failures) -> set[Rdata]:
        """The stamps by this node at a name."""
        if name not in self.forward.current or (name, instance) in self.denied:
            return claim.mine
        change = self.forward.changes.get(name)
        made = changes.made(change) if change else frozenset()
        if name in failures:
            return claim.mine | made
        deletes = change.deletes if change else frozenset()
        return (claim.mine & self.forward.current[name].marks - deletes) | made

    def made(self, failures: Failures) -> list[Change]:
        """The changes that were made, given the failures of some names."""
        good = [one for one in self.changes if _text(one.endpoint.name) not in failures]
        return [one for one in good if not _leading_to(failures, one.adds)]

    def commit(self) -> dict[str, SnfNetworkError]:
        """Send the changes and verify them; returns the failures by name."""
        failures = _commit(self)
        names = {**self.forward.endpoints, **self.reverse.endpoints}
        doubts = {name: self.provider.doubt(endpoint.name) for name, endpoint in names.items()}
        return {**{name: doubt for name, doubt in doubts.items() if doubt}, **failures}


def prepare(jobs: Sequence[Job], settings: Settings, taken: Mapping[str, str]) -> Pass:
    """Look at the names of these instances and decide what has to change. Nothing is sent.

    `taken`: reverse names that several instances of this node want, each with the instance that gets it.
    """
    provider = Provider(settings)
    forward = _forward(jobs, settings, provider)
    return Pass(provider, forward, _reverse(jobs, settings, provider, forward, taken))


def _forward(jobs: Sequence[Job], settings: Settings, provider: Provider) -> Part:
    claims = endpoints.forward_claims(jobs, settings)
    denied = {**_take_turns(claims), **_deny(claims, {})}
    made: dict[str, Endpoint] = {}
    failures: dict[str, SnfNetworkError] = {}
    for name, group in claims.items():
        instance = next(one for one in group if (name, one) not in denied)
        claim = group[instance]
        wrong = endpoints.trouble_with(name)
        if not wrong:
            made[name] = endpoints.forward_endpoint(name, instance, claim, settings)
        elif claim.desired:
            failures[name] = Refused(wrong, "rename the instance, or do without the dns tag")
    current, unseen = _look(provider, made)
    decided = {name: changes.decide(made[name], seen) for name, seen in current.items()}
    found = {name: change for name, change in decided.items() if change}
    return Part(claims, made, current, found, {**failures, **unseen}, denied)


def _reverse(
    jobs: Sequence[Job], settings: Settings, provider: Provider, forward: Part, taken: Mapping[str, str]
) -> Part:
    seen = forward.current.items()
    foreign = {name for name, current in seen if changes.is_foreign(forward.endpoints[name], current)}
    found = {
        name: current.records
        for name, current in seen
        if forward.endpoints[name].whole and forward.endpoints[name].mark in current.marks
    }
    claims = endpoints.reverse_claims(jobs, forward.claims, found, foreign, settings)
    denied = _deny(claims, taken)
    expected = {name: changes.after(current, forward.changes.get(name)) for name, current in seen}
    implied = _implied(forward, expected, settings)
    made = {
        name: endpoints.reverse_endpoint(
            name, group, _uncertain(group, forward.failures), implied.get(name, frozenset()), settings
        )
        for name, group in claims.items()
    }
    current, unseen = _look(provider, made)
    inherited = _inherited(made, current, settings, provider)
    decided = {name: changes.decide(made[name], current[name], name in inherited) for name in current}
    return Part(claims, made, current, {name: one for name, one in decided.items() if one}, unseen, denied)


def _implied(
    forward: Part, current: Mapping[str, Current], settings: Settings
) -> dict[str, frozenset[Rdata]]:
    """By reverse name: PTRs to names that are ours and have the address, whoever registered it."""
    found: dict[str, set[Rdata]] = {}
    for name, seen in current.items():
        if forward.endpoints[name].mark in seen.marks:
            for data in seen.records:
                found.setdefault(settings.pointer(data.to_text()), set()).add(endpoints.pointer(name))
    return {name: frozenset(pointers) for name, pointers in found.items()}


def _uncertain(group: Mapping[str, Claim], failures: Failures) -> frozenset[Rdata]:
    """PTRs to forward names that could not be looked at: they stay as they are. An invalid forward name is no
    reason to keep its PTR.
    """
    silent = [name for name, error in failures.items() if isinstance(error, NoAnswer)]
    had = {data for claim in group.values() for data in claim.had}
    return _leading_to(failures, _desired(group)) | _leading_to(silent, had)


def _look(provider: Provider, made: Mapping[str, Endpoint]) -> tuple[dict[str, Current], Failures]:
    found, failed = provider.look(made.values())
    current = {name: found[one.name] for name, one in made.items() if one.name in found}
    return current, {name: failed[one.name] for name, one in made.items() if one.name not in found}


def _leading_to(names: Collection[str], records: Iterable[Rdata]) -> frozenset[Rdata]:
    """The PTRs among the records that lead to one of these names."""
    return frozenset(data for data in records if data.rdtype == PTR and data.to_text()[:-1] in names)


def _desired(group: Mapping[str, Claim]) -> frozenset[Rdata]:
    return frozenset(data for claim in group.values() for data in claim.desired)


def _take_turns(claims: Claims) -> dict[tuple[str, str], SnfNetworkError]:
    """Give a forward name to one instance at a time; one that is losing it comes first. Ends the claims of
    the others; returns why.
    """
    denied: dict[tuple[str, str], SnfNetworkError] = {}
    for name, group in claims.items():
        leaving = [instance for instance, claim in group.items() if not claim.desired]
        if leaving and len(group) > 1:
            for instance in (one for one in group if one != leaving[0]):
                group[instance].desired.clear()
                denied[name, instance] = NoAnswer(f"{name} is taken back from {leaving[0]} first")
    return denied


def _deny(claims: Claims, taken: Mapping[str, str]) -> dict[tuple[str, str], SnfNetworkError]:
    """Give a contested name to the first instance. Ends the claims of the others; returns why."""
    denied: dict[tuple[str, str], SnfNetworkError] = {}
    for name, group in claims.items():
        wanting = [instance for instance, claim in group.items() if claim.desired]
        first = taken.get(name) or next(iter(wanting), "")
        for instance in wanting:
            if instance != first:
                group[instance].desired.clear()
                denied[name, instance] = NoAnswer(
                    f"{name} is that of {first}",
                    "one name, one instance: is an address or a name given twice?",
                )
    return denied


def _inherited(
    made: Mapping[str, Endpoint], current: Mapping[str, Current], settings: Settings, provider: Provider
) -> set[str]:
    """Reverse names whose PTRs all lead to names with a mark of this cluster: the address has changed hands
    within it.
    """
    doubtful = {
        name: [dns.name.from_text(data.to_text()) for data in seen.records if data.rdtype == PTR]
        for name, seen in current.items()
        if (change := changes.decide(made[name], seen)) and change.doubtful
    }
    asked = {target for targets in doubtful.values() for target in targets}
    marked = [Endpoint(one, frozenset(), mark=marks.mark(one, "", settings.mark)) for one in asked]
    found, _ = provider.look(marked)
    ours = {one for one, seen in found.items() if endpoints.of_this_cluster(one, seen.marks, settings)}
    return {name for name, targets in doubtful.items() if targets and ours.issuperset(targets)}


def _commit(planned: Pass) -> dict[str, SnfNetworkError]:
    """Send, then verify: a response can be lost or badly signed although the server has made the change.

    PTRs are removed before the forward names they lead to, whose mark stays as long as there may be a PTR: if
    the address has changed hands, another node recognizes by the mark that the PTR is of this cluster.
    """
    provider, forward, reverse = planned.provider, planned.forward, planned.reverse
    removals = {name: change for name, change in reverse.changes.items() if not change.adds}
    errors = provider.send(removals.values())
    held = _held(planned, errors)
    kept = {
        name: changes.marked(change) if name in held else change for name, change in forward.changes.items()
    }
    sent = {name: change for name, change in kept.items() if change}
    errors |= provider.send(sent.values())
    failed = {
        **forward.failures,
        **{name: errors[one.endpoint.name] for name, one in sent.items() if one.endpoint.name in errors},
    }
    left = {
        name: change if name in removals else _without(change, failed, reverse)
        for name, change in reverse.changes.items()
    }
    pointers = {name: change for name, change in left.items() if change}
    errors |= provider.send(change for name, change in pointers.items() if name not in removals)
    waiting = {name: NoAnswer(f"a PTR leads to {name} still") for name in held}
    again = _affected(planned, sent, set(sent) - set(failed), pointers)
    unsatisfied = _unsatisfied(planned, again, {**sent, **pointers}, errors)
    late = {
        name: NoAnswer(f"{name} waits for the name that it leads to")
        for name, change in reverse.changes.items()
        if _leading_to(set(failed) - set(unsatisfied), change.adds)
    }
    return {**planned.failures, **late, **unsatisfied, **waiting}


def _held(planned: Pass, errors: Mapping[Name, SnfNetworkError]) -> set[str]:
    """Forward names that must keep their mark for now, because a PTR to them may not be removed yet."""
    reverse = planned.reverse
    waiting = {name for name, error in reverse.failures.items() if isinstance(error, NoAnswer)}
    waiting |= {
        name
        for name, change in reverse.changes.items()
        if not change.adds and isinstance(errors.get(change.endpoint.name), NoAnswer)
    }
    targets = {
        data.to_text()[:-1]
        for name in waiting
        for claim in reverse.claims[name].values()
        for data in claim.had - claim.desired
    }
    changed = planned.forward.changes.items()
    return {name for name, change in changed if name in targets and change.endpoint.mark in change.deletes}


def _without(change: Change, failed: Failures, reverse: Part) -> Change | None:
    """The change of a reverse name, given that some forward names could not be changed: PTRs to those stay as
    they are.
    """
    endpoint = change.endpoint
    kept = _leading_to(failed, endpoint.desired | endpoint.implied)
    if not kept:
        return change
    desired, implied = endpoint.desired - kept, endpoint.implied - kept
    less = replace(endpoint, desired=desired, implied=implied, kept=endpoint.kept | kept)
    return changes.decide(less, reverse.current[_text(endpoint.name)])


def _affected(
    planned: Pass, forward: Mapping[str, Change], good: Collection[str], reverse: Mapping[str, Change]
) -> dict[str, Endpoint]:
    """The names to verify: all changed names, PTRs to them, and former targets of removed PTRs."""
    found = {name: change.endpoint for name, change in (*forward.items(), *reverse.items())}
    for name, endpoint in planned.reverse.endpoints.items():
        if name in planned.reverse.current and _leading_to(good, endpoint.desired):
            found.setdefault(name, endpoint)
    for change in reverse.values():
        for target in (data.to_text()[:-1] for data in change.deletes):
            if target in planned.forward.current:
                found.setdefault(target, planned.forward.endpoints[target])
    return found


def _unsatisfied(
    planned: Pass,
    again: Mapping[str, Endpoint],
    sent: Mapping[str, Change],
    errors: Mapping[Name, SnfNetworkError],
) -> dict[str, SnfNetworkError]:
    """The names that are still not as desired, each with the reason."""
    seen, unseen = _look(planned.provider, again)
    forward = {**planned.forward.current, **{name: seen[name] for name in seen if again[name].mark}}
    implied = _implied(planned.forward, forward, planned.provider.settings)
    failed: dict[str, SnfNetworkError] = dict(unseen)
    for name, current in seen.items():
        change, endpoint = sent.get(name), again[name]
        if endpoint.mark and change:
            endpoint = replace(endpoint, mine=endpoint.mine | changes.made(change))
        elif not endpoint.mark:
            endpoint = replace(endpoint, implied=implied.get(name, frozenset()) & endpoint.had)
        error, left = errors.get(endpoint.name), changes.decide(endpoint, current)
        if left and (error or not changes.is_of_wildcard(left)):
            failed[name] = _meaning(error, endpoint, change, current)
    return failed


def _meaning(
    error: SnfNetworkError | None, endpoint: Endpoint, change: Change | None, seen: Current
) -> SnfNetworkError:
    """Why a name is not as desired. A refusal is permanent, unless another node of ours was first, with other
    records.
    """
    name = _text(endpoint.name)
    first = change and not change.conditions and endpoint.mark in seen.marks
    if not error or (isinstance(error, Refused) and first):
        return NoAnswer(f"{name} has changed while it was looked at", "snf-network dns plan")
    return error


def _text(name: Name) -> str:
    return name.to_text(omit_final_dot=True)


def as_text(name: str, records: Iterable[Rdata]) -> Iterable[tuple[str, str, str]]:
    """Records of a name in the registry's notation."""
    return ((name, dns.rdatatype.to_text(data.rdtype), data.to_text()) for data in records)
