"""Bring NICs to their desired state, or remove them. Knows Resources and records, but not their purpose.

The record lists Resources before they are made, so the next call can finish or undo a crashed one. Filters
come first: a NIC whose members are in place is never closed because something else failed. Failures are
recorded as `lacking`.
"""

from __future__ import annotations

from snf_network.apply import steps
from snf_network.errors import Hung, KernelError
from snf_network.host import kernel
from snf_network.host.lock import Lock, Locks
from snf_network.host.record import ALWAYS, FAILED, NETWORKS, Records, is_live, rows_of
from snf_network.lean import replace as changed
from snf_network.model.resources import Element, Link, OvsPort, Port, Rule
from snf_network.rules.ruleset import Ruleset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from snf_network.apply.floats import Floats
    from snf_network.host import Host
    from snf_network.host.record import Record, Rows
    from snf_network.model.config import Config
    from snf_network.model.resources import Resource

CHUNK = 400
"""How many NICs one call locks at once: a process may have 1024 descriptors."""


class Engine:
    """The state of a node according to its records. `handed`: what floats and another NIC got, in words."""

    def __init__(self, config: Config, host: Host = kernel) -> None:
        self.config, self.host, self.handed = config, host, list[str]()
        self.records = Records(config.state_dir)
        self.ruleset = Ruleset(config, host)

    def replace(self, wanted: Record) -> list[str]:
        """Replace what the interface's record lists by what `wanted` lists. Returns what is worth a line in
        the log: settings that had to be changed, and what floats and another NIC holds.

        Raises KernelError. A NIC that was up, and changes neither bridge nor mode, then stays up, filtered,
        and its record says what it lacks; any other NIC is removed completely.
        """
        with self._lock(wanted.interface):
            return self._replace(self.records.salvage(wanted.interface), wanted)

    def _replace(self, old: Record | None, wanted: Record) -> list[str]:
        """The same, under the lock of the interface."""
        running = old is not None and (old.ifindex, old.boot) == (wanted.ifindex, wanted.boot)
        before = _all(old) if old else ()
        replaced = _without(before, wanted.resources)
        possible = changed(wanted, stale=tuple(replaced))
        self.records.save(possible)
        removed = self._pin(old, possible, running)
        return self._place(possible, removed, running and not _moves(old, wanted))

    def _pin(self, old: Record | None, possible: Record, running: bool) -> list[Resource]:
        """Change the members of a NIC in one transaction. Returns the old Resources whose slot no new one
        takes.
        """
        slots = {resource.slot for resource in possible.resources}
        moves = running and _moves(old, possible)
        removed = [resource for resource in possible.stale if resource.slot not in slots]
        replaced = [resource for resource in possible.stale if resource.slot in slots]
        try:
            self._hold(possible)
            steps.prepare(possible.resources, self.host)
            if moves:
                steps.undo([Link(possible.interface)], self.host, possible.known)
            self.ruleset.change(*map(_members, (_unshared(removed), replaced, possible.resources)))
        except Hung as error:  # done or not, the NIC is filtered; the next call completes it
            if running:
                self._note(possible, [str(error)])
            else:
                self._take_back(possible)
            raise
        except KernelError:
            self._roll_back(old, possible, moves)
            raise
        return removed

    def _place(self, possible: Record, removed: list[Resource], running: bool) -> list[str]:
        """All but members: remove obsolete Resources, add the wanted ones. Returns lines for the log."""
        said, failed = list[str](), list[str]()
        try:
            steps.undo(_unshared(removed), self.host, possible.known)
            with self._lock(ALWAYS):  # two NICs with one address may both have passed the first check
                said, failed = self._put_free(possible, possible.resources)
            self._release({possible.interface: removed} if possible.stale else {})
        except KernelError as error:
            failed.insert(0, str(error))
        if failed and not running:
            self._take_back(possible)
        elif failed:
            self._note(possible, failed)
        elif possible.stale:
            self._save(changed(possible, stale=()))  # if it fails, they do no harm there
        if failed:
            raise KernelError(failed[0])
        return said

    def _put_free(self, record: Record, resources: Sequence[Resource]) -> tuple[list[str], list[str]]:
        """As steps.put, but leaves what floats and another NIC holds."""
        if any(one.floats for one in resources):
            return self.floats.put(record, resources)
        return steps.put(resources, self.host, record.known)

    @property
    def floats(self) -> Floats:
        """What floats on this node."""
        from snf_network.apply.floats import Floats  # few NICs need it

        return Floats(self.records, self.host)

    def remove(self, interface: str, mine: Callable[[Record], bool] = lambda record: True) -> Record | None:
        """Undo everything in the record of `interface`, if `mine` accepts it; returns that record. The tap
        need not exist. Raises KernelError.
        """
        with self._lock(interface):
            record = self.records.salvage(interface)
            self.records.tidy(interface)
            if not record or not mine(record):
                return None
            self._take_back(record)
            return record

    def restore(self, record: Record) -> None:
        """Put everything in a record in place again, unless another call has changed the record meanwhile.
        Raises KernelError.
        """
        with self._lock(record.interface):  # else an ifdown in between would be undone
            if self.records.load(record.interface) == record:
                self._replace(record, record)

    def load(self, live: Iterable[Record] = ()) -> list[str]:
        """Load the rules, and the members of these NICs and of the node's networks in the same transaction;
        returns the errors of profiles that are closed now. Raises KernelError.

        A NIC that went down meanwhile leaves none: no lock is held, as a process cannot hold thousands.
        """
        known = list(live)
        resources = list(dict.fromkeys(one for record in known for one in record.resources))
        steps.prepare(resources, self.host)
        networks = [one for some in Records(f"{self.config.state_dir}/{NETWORKS}") for one in some.resources]
        said = self.ruleset.load((*resources, *networks))
        rows = rows_of(known)
        departed = [record for record in known if not self._is_current(record, rows)]
        for names in _chunks(record.interface for record in departed):
            with Locks(self.config.state_dir, names, {}) as held:
                left = [record for record in departed if record.interface in held]
                now = filter(None, map(self.records.load, held))
                kept = {one.slot for record in now for one in record.resources}
                lost = [one for record in left for one in _unshared(record.resources) if one.slot not in kept]
                self.ruleset.remove(_members(lost))
        return said

    def keep_rules(self, table: str, families: Sequence[str]) -> None:
        """Add the policy rules of a table, for `families` as in ip(8), and keep them, with and without NICs.
        Raises KernelError.
        """
        rules = [Rule(family, table, action) for family in families for action in ("lookup", "unreachable")]
        with self._lock(ALWAYS):
            for rule in rules:
                self.records.hold(rule, ALWAYS)
            steps.prepare(rules, self.host)

    def close(self, record: Record, why: str) -> None:
        """Set down a link that cannot be filtered, and record why. Raises KernelError."""
        with self._lock(record.interface):
            if self.records.load(record.interface) == record and is_live(record):
                self._note(record, [f"closed: {why}"])
                steps.undo([Link(record.interface)], self.host, record.known)

    def mend(self, lost: Mapping[str, tuple[Record, Sequence[Resource]]]) -> dict[str, str]:
        """Restore what live NICs have lost: members first, those of hundreds of NICs in one transaction.
        Returns errors by interface; skips the rest when time runs out. Raises KernelError.
        """
        failed, rows = dict[str, str](), rows_of(record for record, _ in lost.values())
        for names in _chunks(lost):
            with Locks(self.config.state_dir, names, failed) as held:
                mine = [lost[name] for name in held if self._is_current(lost[name][0], rows)]
                refused = self._add(mine, failed)
            for record, _ in mine if refused else ():  # a key with another value: restore NIC by NIC
                failed |= self._restored(record)
        return failed

    def mend_one(
        self, interface: str, look: Callable[[Record], list[Resource]]
    ) -> tuple[list[Resource], str]:
        """Restore what `look` finds lost of a live NIC. It looks under the lock, so it sees no change that is
        half done. Returns what was lost, and the error if it was not restored. Raises KernelError.
        """
        failed: dict[str, str] = {}
        with Locks(self.config.state_dir, [interface], failed) as held:
            record = self.records.load(interface) if held else None
            lost = look(record) if record and is_live(record) else []
            refused = self._add([(record, lost)], failed) if record and lost else ""
        if record and refused:
            failed |= self._restored(record)
        return lost, failed.get(interface, "")

    def _add(self, lost: list[tuple[Record, Sequence[Resource]]], failed: dict[str, str]) -> str:
        """Add what these NICs lost; nft's error if it refused the members, with nothing else added then."""
        lost = [(record, steps.entailed(some, record.resources)) for record, some in lost]
        resources = [one for _, some in lost for one in some]
        steps.prepare(resources, self.host)
        refused = self.ruleset.add(_members(resources))
        if not refused:
            failed |= self._put(lost)
        return refused

    def _put(self, lost: Iterable[tuple[Record, Sequence[Resource]]]) -> dict[str, str]:
        failed = {}
        with self._lock(ALWAYS):
            for record, resources in lost:
                for resource in record.resources:
                    if resource.shared:
                        self.records.hold(resource, record.interface)
                if why := self._put_free(record, resources)[1]:
                    failed[record.interface] = why[0]
                    self._note(record, why)
        return failed

    def _restored(self, record: Record) -> dict[str, str]:
        try:
            self.restore(record)
        except KernelError as error:
            return {record.interface: str(error)}
        return {}

    def remove_gone(self, gone: Iterable[Record]) -> tuple[list[Record], dict[str, str]]:
        """Undo the records of NICs that no longer exist, hundreds in one transaction. Returns the records
        that were removed, and errors by interface for the others. Raises KernelError.
        """
        records = {record.interface: record for record in gone}
        done: list[Record] = []
        failed, rows = dict[str, str](), rows_of(records.values())
        for names in _chunks(records):
            with Locks(self.config.state_dir, names, failed) as held:
                mine = [records[name] for name in held if self._is_gone(records[name], rows)]
                self._take_away([one for record in mine for one in _unshared(_all(record))])
                self._release({record.interface: _all(record) for record in mine})
                for record in mine:
                    self.records.forget(record.interface)
                done += mine
        return done, failed

    def sweep(self, orphans: Iterable[Resource]) -> dict[str, str]:
        """Remove Resources that no record lists. Records are read again under the lock of each interface: a
        NIC may have come up meanwhile. Returns errors by interface. Raises KernelError.
        """
        with self._lock(ALWAYS):
            self.records.prune()
        by_owner: dict[str, list[Resource]] = {}
        failed: dict[str, str] = {}
        for orphan in orphans:
            by_owner.setdefault(orphan.owner or ALWAYS, []).append(orphan)
        for names in _chunks(by_owner):
            with Locks(self.config.state_dir, names, failed) as held:
                known = {name: record for name in held if (record := self.records.load(name))}
                kept = {one.slot for record in known.values() for one in record.resources}
                found = [one for name in held for one in by_owner[name] if one.slot not in kept]
                down = [Link(name) for name, record in known.items() if not record.resources]
                steps.undo(down, self.host)  # recorded as not up: no pin may go from under a link that is
                self._take_away([one for one in found if not (one.shared and self.records.held(one))])
        return failed

    def forget_learned(self, records: Iterable[Record]) -> None:
        """Flush what bridges and the node learned on ports that had no filters for a while."""
        ports = [
            one for record in records for one in record.resources if isinstance(one, Port) and one.bridge
        ]
        for port in ports:
            self.host.flush_port(port.interface)
        for bridge in dict.fromkeys(port.bridge for port in ports):
            self.host.flush_neighbours(bridge)

    def take_down(self, interface: str, resources: Sequence[Resource]) -> None:
        """Set down a tap that has no record, and remove its Resources. Raises KernelError."""
        with self._lock(interface):
            steps.undo([Link(interface)], self.host)
            self._take_away(resources)

    def _take_away(self, doomed: Sequence[Resource]) -> None:
        """Remove Resources of NICs that are gone: there is no device to change or to set down."""
        steps.undo((one for one in doomed if not one.of_device), self.host)
        if self.ruleset.remove(_members(doomed)):  # a key with another value
            for interface in dict.fromkeys(one.owner for one in doomed):
                self.ruleset.change(_members(one for one in doomed if one.owner == interface), (), ())

    def _is_current(self, record: Record, rows: Rows) -> bool:
        return is_live(record) and self.records.load(record.interface, rows) == record

    def _is_gone(self, record: Record, rows: Rows) -> bool:
        return not is_live(record) and self.records.load(record.interface, rows) == record

    def _lock(self, name: str) -> Lock:
        return Lock(self.config.state_dir, name)

    def _hold(self, record: Record) -> None:
        """Register this NIC as a user of its shared Resources. A call that removes such a Resource after its
        last user has either finished by then, or will find this one.
        """
        with self._lock(ALWAYS):
            for resource in record.resources:
                if resource.shared:
                    self.records.hold(resource, record.interface)

    def _release(self, wants: Mapping[str, Iterable[Resource]]) -> None:
        """Unregister users of shared Resources, by interface; hand on what floats, and remove what has no
        users: under the lock, so that nobody can register in between. Connections of theirs end before.
        """
        if wants and self.host is kernel and steps.is_tracking():
            from snf_network.apply.tracked import forget

            forget(self.records, wants)
        shared = [(name, one) for name, resources in wants.items() for one in resources if one.shared]
        if shared:
            with self._lock(ALWAYS):
                doomed = dict.fromkeys(one for name, one in shared if self.records.release(one, name))
                for name, resources in wants.items():
                    if given_up := [one for one in resources if one.floats and one not in doomed]:
                        self.handed += self.floats.hand_on(name, given_up)
                steps.undo(doomed, self.host)
                self.ruleset.change(_members(doomed), (), ())

    def _note(self, record: Record, lacking: Iterable[str]) -> None:
        """Record what a NIC lacks. If the disk is full, the record stays as it is and `check` finds out."""
        known = [words for words in record.lacking if not words.startswith(FAILED)]
        self._save(changed(record, lacking=(*known, *(f"{FAILED}{words}" for words in lacking))))

    def _save(self, record: Record) -> None:
        try:
            self.records.save(record)
        except KernelError:
            pass

    def _take_back(self, record: Record) -> None:
        """Undo all that the record lists, then delete it. Link down first, members last: the link is never up
        without its filters. A tap that now belongs to somebody else is left alone.
        """
        doomed, live = _all(record), is_live(record)
        mine = (one for one in _unshared(doomed) if live or not one.of_device)
        steps.undo(mine, self.host, record.known)
        self.ruleset.change(_members(_unshared(doomed)), (), ())
        self._release({record.interface: doomed})
        self.records.forget(record.interface)

    def _roll_back(self, old: Record | None, possible: Record, moves: bool) -> None:
        """After a refusal, which changed no member, restore the record and the link."""
        added = _without(possible.resources, old.resources if old else ())
        if old:
            self._save(changed(old, stale=(*old.stale, *added)))  # if what is shared cannot be released now
            if moves:  # it was set down for the change; its members are unchanged
                steps.put(old.resources, self.host, old.known)
        else:
            self.records.forget(possible.interface)
        self._release({possible.interface: added})
        if old:
            self._save(old)


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    """Up to CHUNK names at a time, until the deadline."""
    left = list(names)
    while left and not kernel.is_late():
        yield left[:CHUNK]
        left = left[CHUNK:]


def _members(resources: Iterable[Resource]) -> list[Element]:
    return [resource for resource in resources if isinstance(resource, Element)]


def _all(record: Record) -> tuple[Resource, ...]:
    """All Resources that a NIC may have."""
    return (*record.resources, *record.stale)


def _unshared(resources: Iterable[Resource]) -> list[Resource]:
    """The Resources that belong to one NIC alone."""
    return [resource for resource in resources if not resource.shared]


def _without(resources: Iterable[Resource], others: Iterable[Resource]) -> list[Resource]:
    known = set(others)
    return [resource for resource in resources if resource not in known]


def _moves(old: Record | None, wanted: Record) -> bool:
    """True if a live interface changes its bridge or mode: it must be down while its pins change family."""
    before, after = (
        {one.bridge for one in record.resources if isinstance(one, (Port, OvsPort))}
        for record in (old or wanted, wanted)
    )
    return before != after
