"""Bring one NIC to its plan, or to nothing. Knows Resources and records, and not what any of them is for.

The order is the plan's own: all nft members first, in one transaction, then one tool after another as the plan has them. The record
says what may be there before anything is, so whoever comes next can finish or undo what a crash left.
"""

from __future__ import annotations

from itertools import groupby

from snf_network import kernel
from snf_network.errors import KernelError
from snf_network.lean import replace as changed
from snf_network.netlink import Netlink
from snf_network.record import Lock, Records
from snf_network.resources import Element, Link, Neighbour, NeighProxy, Port, Sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from snf_network.config import Config
    from snf_network.record import Record
    from snf_network.resources import Resource


def replace(wanted: Record, config: Config) -> list[str]:
    """Make the node have what `wanted` says, instead of what the record of that interface says. Gives the sysctls it had to set.

    Raises KernelError: then the earlier state is as it was, or the interface is down and nothing of it is left.
    """
    records, interface = Records(config.state_dir), wanted.interface
    with Lock(config.state_dir, interface):
        old = records.load(interface)
        before = old.resources if old else ()
        slots = {resource.slot for resource in wanted.resources}
        gone = [resource for resource in before if resource.slot not in slots]
        stale = [resource for resource in before if resource not in wanted.resources]
        records.save(changed(wanted, resources=(*wanted.resources, *stale)))
        for resource in wanted.resources:
            if resource.shared:
                records.hold(resource, interface)
        doomed = [resource for resource in gone if not resource.shared or records.release(resource, interface)]
        try:
            if _moves(old, wanted):
                kernel.batch(("ip",), [Link(interface).delete()], [])
            _members(doomed, stale, wanted.resources, config)
        except KernelError:
            _back(records, old, wanted)
            raise
        try:
            notes = _put([resource for resource in doomed if not isinstance(resource, Element)], wanted)
        except KernelError:
            _take(records, changed(wanted, resources=(*wanted.resources, *stale)), config)
            raise
        records.save(wanted)
        _spare(records, doomed, config)
        return notes


def remove(interface: str, config: Config, mine: Callable[[Record], bool] = lambda record: True) -> Record | None:
    """Take back all that the record of `interface` says, if the record is `mine`; give that record. The tap need not exist."""
    records = Records(config.state_dir)
    with Lock(config.state_dir, interface):
        record = records.load(interface)
        if not record or not mine(record):
            return None
        _take(records, record, config)
        return record


def _moves(old: Record | None, wanted: Record) -> bool:
    """True if a live interface goes to another bridge or mode: it must be down while its pins change family."""
    if not old or (old.ifindex, old.boot) != (wanted.ifindex, wanted.boot):
        return False
    ports = [{resource for resource in record.resources if isinstance(resource, Port)} for record in (old, wanted)]
    return ports[0] != ports[1]


def _members(doomed: Sequence[Resource], stale: Sequence[Resource], wanted: Sequence[Resource], config: Config) -> None:
    """All nft members in one transaction. Raises KernelError, with nothing changed.

    A set takes an add before a delete, so absent or present is all the same. A map does not: its key is looked at, and the ruleset
    loaded, only if the transaction is refused, which a first NIC, a crash or somebody's flush can make it.
    """
    elements = [resource for resource in wanted if isinstance(resource, Element)]
    members = {element.slot for element in elements}
    dead = [resource for resource in doomed if isinstance(resource, Element)]
    rewritten = [resource for resource in stale if isinstance(resource, Element) and resource.slot in members]
    said = kernel.nft((*_deletes(dead), *(element.delete() for element in rewritten), *(element.add() for element in elements)))
    if not said:
        return
    from snf_network import ruleset

    maps = {element.slot: element for element in (*dead, *elements) if element.value}
    present = [element.delete() for element in maps.values() if kernel.has_element(element.family, element.set, element.key)]
    said = kernel.nft((ruleset.text(config), *_deletes(element for element in dead if not element.value), *present,
                       *(element.add() for element in elements)))
    if said:
        raise ruleset.explained(said)
    remember_rules(config)


def _deletes(elements: Iterable[Element]) -> list[str]:
    """Deletes that do not mind an absent member: each is added first."""
    return [line for element in elements for line in (element.add(), element.delete())]


def remember_rules(config: Config) -> None:
    """Note how the kernel lists the rules just loaded: what `check` compares with."""
    from snf_network import ruleset

    kernel.write_file(f"{config.state_dir}/base", ruleset.listing())


def _put(doomed: Sequence[Resource], wanted: Record) -> list[str]:
    """Everything but members, in the plan's order; what goes, goes with the first batch of its tool. Gives the sysctls it changed."""
    notes: list[str] = []
    rest = [resource for resource in wanted.resources if not isinstance(resource, Element)]
    _undo(doomed)
    for door, group in groupby(rest, lambda resource: resource.door):
        resources = list(group)
        if door == "sysctl":
            notes += [f"sysctl {resource.add()}" for resource in resources
                      if isinstance(resource, Sysctl) and kernel.sysctl(resource.key, resource.value)
                      and f"/{wanted.interface}/" not in resource.key]
        else:
            DOORS[door](resources, True)
    return notes


def _undo(doomed: Sequence[Resource]) -> None:
    for door, group in groupby(sorted(doomed, key=lambda resource: resource.door), lambda resource: resource.door):
        if door in DOORS:
            DOORS[door]([resource for resource in group if resource.delete()], False)


def _take(records: Records, record: Record, config: Config) -> None:
    """Down first, members last: no frame finds the link up and its filters gone."""
    interface = record.interface
    doomed = [resource for resource in record.resources if not resource.shared or records.release(resource, interface)]
    _undo(sorted(doomed, key=lambda resource: not isinstance(resource, Link)))
    _members([resource for resource in doomed if isinstance(resource, Element)], (), (), config)
    records.forget(interface)
    _spare(records, doomed, config)


def _spare(records: Records, doomed: Sequence[Resource], config: Config) -> None:
    """Somebody may have come for a shared thing while we took it away as its last: put it back."""
    missed = [resource for resource in doomed if resource.shared and records.held(resource)]
    _members((), (), [resource for resource in missed if isinstance(resource, Element)], config)
    for door, group in groupby(missed, lambda resource: resource.door):
        if door in DOORS:
            DOORS[door](list(group), True)


def _back(records: Records, old: Record | None, wanted: Record) -> None:
    """Nothing was changed: let the record say so again."""
    before = old.resources if old else ()
    for resource in wanted.resources:
        if resource.shared and resource not in before:
            records.release(resource, wanted.interface)
    for resource in before:
        if resource.shared:
            records.hold(resource, wanted.interface)
    if old:
        records.save(old)
    else:
        records.forget(wanted.interface)


def _batch(tool: tuple[str, ...]) -> Callable[[list[Resource], bool], None]:
    def door(resources: list[Resource], add: bool) -> None:
        lines = [resource.add() if add else resource.delete() for resource in resources]
        lenient = [line for line in lines if not add or " del " in line]
        kernel.batch(tool, lenient, [line for line in lines if line not in lenient])

    return door


def _rules(resources: list[Resource], add: bool) -> None:
    """One batch a family, and none if the kernel has them all already."""
    with Netlink() as netlink:
        present = netlink.rules()
    for family in ("-4", "-6"):
        changes = [rule for rule in resources if rule.fields()[0] == family and (rule in present) is not add]
        _batch(("ip", family))(changes, add)


def _neighbours(resources: list[Resource], add: bool) -> None:
    from _socket import if_nametoindex

    with Netlink() as netlink:
        for resource in resources:
            if isinstance(resource, (Neighbour, NeighProxy)):
                try:
                    device = if_nametoindex(resource.interface)
                except OSError:
                    if add:
                        raise KernelError(f"ip {resource.add()}: no such device") from None
                    continue
                netlink.neighbour(resource, add, device)


def _files(resources: list[Resource], add: bool) -> None:
    for resource in resources:
        path, content = resource.fields()
        if add:
            kernel.write_file(path, content)
        else:
            kernel.remove_file(path)


def _ovs(resources: list[Resource], add: bool) -> None:
    for resource in resources:
        status, said = kernel.run(("ovs-vsctl", "--timeout=3", *(resource.add() if add else resource.delete()).split()))
        if status and add:
            raise KernelError(f"ovs-vsctl {resource.add()}: {said.strip()}", "is the Open vSwitch bridge there?")


DOORS: dict[str, Callable[[list[Resource], bool], None]] = {
    "ip": _batch(("ip",)), "bridge": _batch(("bridge",)), "rule": _rules, "neigh": _neighbours, "file": _files, "ovs": _ovs}
