"""Bring the networks of a node to their desired state, all in one call: members, devices and entries of
hundreds of networks are one transaction and one batch each.

As with NICs, a record is saved before the kernel is touched, so the next call can finish or undo a killed
one. Members come before a device is up, and go after it.
"""

from __future__ import annotations

from snf_network.apply import steps
from snf_network.errors import KernelError
from snf_network.host import kernel, wireguard
from snf_network.host.amend import amend_file
from snf_network.host.lock import Lock
from snf_network.host.record import ALWAYS, FAILED, NETWORKS, Record, Records
from snf_network.lean import replace as changed
from snf_network.model.networks.change import vanishes
from snf_network.model.resources import Element, Route
from snf_network.model.resources.all import ALL_KINDS
from snf_network.model.resources.devices import Device
from snf_network.model.resources.frr import FrrBlock
from snf_network.model.resources.tunnel import TunnelPeer, Unreachable
from snf_network.model.resources.underlay import Learned
from snf_network.rules.ruleset import Ruleset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from snf_network.host import Host
    from snf_network.model.config import Config
    from snf_network.model.networks.change import Change
    from snf_network.model.resources import Resource

    Look = Callable[[Mapping[str, Record]], Sequence[Change]]

WAIT = 10.0
"""Seconds to wait for another call: 500 overlays take two."""

DELETED_AT_ONCE = 16
"""Devices whose end is waited for together: each takes the kernel 30 ms, and an answer may take 4 s."""


def records(config: Config) -> Records:
    """The records of networks: STATE_DIR/networks/<name>."""
    return Records(f"{config.state_dir}/{NETWORKS}", ALL_KINDS)


class Networks:
    """The networks of a node according to their records."""

    def __init__(self, config: Config, host: Host = kernel) -> None:
        self.host = host
        self.records = records(config)
        self.ruleset = Ruleset(config, host)

    def change(self, look: Look, likely: Iterable[Resource] = ()) -> list[tuple[Change, list[str]]]:
        """Do what `look` finds, which sees the records under the lock. Returns what was to be done to each
        network, and what of it failed. Whoever knows what is `likely` to be recorded has it read sooner.
        Raises KernelError: then the next call goes on.
        """
        with Lock(self.records.directory, ALWAYS, WAIT):
            known = {record.interface: record for record in self.records.all(likely)[0]}
            found = look(known)
            possible = {one.name: self._begin(one, known.get(one.name)) for one in found if not one.refused}
            changes = [one for one in found if not one.refused]
            self._remove(changes)
            failed = self._add(changes)
            for one in changes:
                self._end(one, possible[one.name], known.get(one.name), failed.get(one.name, []))
        return [(one, [*one.refused, *failed.get(one.name, ())]) for one in found]

    def _begin(self, change: Change, old: Record | None) -> Record:
        """Note what the kernel may have of a network from now on. Raises KernelError."""
        if old and _is_as_recorded(change, old):
            return old
        known = (*old.resources, *old.stale) if old else ()
        kept = set(change.wanted)
        ours = (one for one in change.removed if type(one).__name__ in ALL_KINDS)
        stale = tuple(dict.fromkeys(one for one in (*known, *ours) if one not in kept))
        record = Record(change.name, 0, kernel.boot(), "", "", (), change.wanted, (), stale)
        if (change.missing or change.removed) and record != old:
            self.records.save(record)
        return record

    def _end(self, change: Change, possible: Record, old: Record | None, failed: Sequence[str]) -> None:
        if failed:
            self.records.save(changed(possible, lacking=tuple(f"{FAILED}{words}" for words in failed)))
        elif change.goes:
            self.records.forget(change.name)
        elif (final := changed(possible, stale=())) != old or change.missing or change.removed:
            self.records.save(final)

    def _remove(self, changes: Sequence[Change]) -> None:
        """Take away what no network has any longer. Links go down first; what vanishes with its device is
        left to that.
        """
        removed = [one for change in changes for one in change.removed]
        if not removed:
            return
        wanted = {one.slot for change in changes for one in change.wanted}
        devices = {one.interface for one in removed if isinstance(one, Device) and one.slot not in wanted}
        doomed = [
            one
            for one in sorted(removed, key=lambda one: one.rank)
            if (one.slot not in wanted or isinstance(one, Route))
            and not vanishes(one, devices)
            and not isinstance(one, (Learned, Unreachable))
        ]
        wireguard.send([one for one in doomed if isinstance(one, TunnelPeer)], False)
        for start in range(0, len(doomed), DELETED_AT_ONCE):
            steps.undo(doomed[start : start + DELETED_AT_ONCE], self.host)
        members = [one for one in removed if isinstance(one, Element) and one.slot not in wanted]
        self.ruleset.change(members, (), ())
        last = (one for one in removed if isinstance(one, (Learned, Unreachable)) and one.slot not in wanted)
        steps.undo(last, self.host)  # it sends in vain by now
        for one in removed:
            if isinstance(one, FrrBlock) and one.slot not in wanted:
                amend_file(one.path, one.without)

    def _add(self, changes: Sequence[Change]) -> dict[str, list[str]]:
        """Put in place what is missing: devices, members, then all else in the order given. Returns failures
        by network.
        """
        missing = {one.name: one.missing for one in changes if one.missing}
        everything = [one for some in missing.values() for one in some]
        steps.prepare(everything, self.host)
        taken = {one.slot for one in everything}
        replaced = [one for change in changes for one in change.removed if one.slot in taken]
        self.ruleset.change((), _members(replaced), _members(everything))
        refused = _configure([one for one in everything if one.door == "wireguard"])
        rest = [one for one in everything if one.door != "wireguard" and not isinstance(one, FrrBlock)]
        refused += steps.put(rest, self.host, {})[1] if rest else []
        blocks = [one for one in everything if isinstance(one, FrrBlock)]
        refused += [words for one in blocks if (words := _amended(one))]
        found = {
            name: [words for words in refused if _concerns(words, some)] for name, some in missing.items()
        }
        if refused and not any(found.values()):
            raise KernelError(refused[0])
        return {name: words for name, words in found.items() if words}


def _is_as_recorded(change: Change, old: Record) -> bool:
    """True if there is nothing to do and nothing to note."""
    noted = old.boot == kernel.boot() and not (old.stale or old.lacking)
    return noted and not (change.missing or change.removed) and old.resources == change.wanted


def _configure(resources: Sequence[Resource]) -> list[str]:
    """Keys and peers; returns errors."""
    try:
        said = wireguard.send(resources, True)
    except KernelError as error:
        said = [str(error)] * len(resources)
    return [f"{one.command}: {why}" for one, why in zip(resources, said, strict=True) if why]


def _amended(block: FrrBlock) -> str:
    """Write a block; why it could not be, with its command, or nothing."""
    try:
        amend_file(block.path, block.within)
        return ""
    except KernelError as error:
        return f"{block.command}: {error}"


def _concerns(words: str, resources: Iterable[Resource]) -> bool:
    return any(one.command in words or (one.door == "sysctl" and one.add() in words) for one in resources)


def _members(resources: Iterable[Resource]) -> list[Element]:
    return [one for one in resources if isinstance(one, Element)]
