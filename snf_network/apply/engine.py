"""Bring one NIC to what is wanted of it, or to nothing. Knows Resources and records, and not what any of them
is for.

The order is the plan's own: nft members first, then one tool after another. The record says what may be there
before anything is, so whoever comes next can finish or undo what a crash left.
"""

from __future__ import annotations

from itertools import groupby
from posix import F_OK, access

from snf_network.apply import steps
from snf_network.errors import Hung, KernelError
from snf_network.host import kernel
from snf_network.host.lock import Lock
from snf_network.host.record import ALWAYS, Records, is_live
from snf_network.lean import replace as changed
from snf_network.model.resources import Binding, Element, Link, Port, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from snf_network.host.record import Record
    from snf_network.model.config import Config
    from snf_network.model.resources import Resource

RULESET = "="
"""The lock of the ruleset and of the note on it: of first NICs that come at once, one loads it, and one
writes.
"""
LOADING = 60.0
"""Seconds to wait for another's loading, or as many as the call has: 50 first NICs at once need 3 on a busy
machine.
"""

OF_THE_DEVICE = ("Link", "Port", "BridgeVlan")
"""Kinds that went with the device they were put on, whatever has its name now."""


def replace(wanted: Record, config: Config) -> list[str]:
    """Make the node have what `wanted` says, instead of what the record of that interface says. Gives the
    settings it had to change.

    Raises KernelError: then the earlier state is as it was, or the interface is down and nothing of it is
    left.
    """
    records, interface = Records(config.state_dir), wanted.interface
    with Lock(config.state_dir, interface):
        old = records.load(interface)
        kept, slots = set(wanted.resources), {resource.slot for resource in wanted.resources}
        stale = [
            resource for resource in ((*old.resources, *old.stale) if old else ()) if resource not in kept
        ]
        doomed = [resource for resource in stale if resource.slot not in slots]
        possible = changed(wanted, stale=tuple(stale))
        try:
            records.save(possible)
            _hold(records, wanted)
            steps.prepare(wanted.resources)
            if _moves(old, wanted):
                steps.undo([Link(interface)])
            _members(
                _unshared(doomed),
                [resource for resource in stale if resource.slot in slots],
                wanted.resources,
                config,
            )
        except Hung:
            _take_back(records, possible, config)  # it may be done or not
            raise
        except (KernelError, OSError):
            _roll_back(records, old, wanted, config)
            raise
        try:
            steps.undo(_unshared(doomed))
            with Lock(
                config.state_dir, ALWAYS
            ):  # two NICs with one address may have passed the same question before either was up
                steps.refuse_taken(wanted.resources)
                settings = steps.put(wanted.resources)
            _release(records, doomed, interface, config)
        except (KernelError, OSError):
            _take_back(records, possible, config)
            raise
        if stale:
            _forget_stale(records, changed(wanted, stale=()))
        return settings


def remove(
    interface: str, config: Config, mine: Callable[[Record], bool] = lambda record: True
) -> Record | None:
    """Take back all that the record of `interface` says, if the record is `mine`; give that record. The tap
    need not exist.
    """
    records = Records(config.state_dir)
    with Lock(config.state_dir, interface):
        record = records.load(interface)
        records.tidy(interface)
        if not record or not mine(record):
            return None
        _take_back(records, record, config)
        return record


def restore(record: Record, config: Config) -> None:
    """Put all of a record in place again, unless another call has changed it meanwhile. Raises
    KernelError.
    """
    if Records(config.state_dir).load(record.interface) == record:
        replace(record, config)


def sweep(orphans: Iterable[Resource], config: Config) -> None:
    """Take away what no record has. Each is looked for once more under the lock of its interface: a NIC may
    have come up meanwhile.

    Raises KernelError at the end, if one could not be taken away.
    """
    records = Records(config.state_dir)
    with Lock(config.state_dir, ALWAYS):
        records.prune()
    failed = None
    for interface, group in groupby(sorted(orphans, key=_interface), _interface):
        try:
            with Lock(config.state_dir, interface or ALWAYS):
                record = records.load(interface) if interface else None
                kept = {resource.slot for resource in record.resources} if record else set()
                doomed = [
                    orphan
                    for orphan in group
                    if orphan.slot not in kept and not (orphan.shared and records.held(orphan))
                ]
                steps.undo(doomed if record else [*doomed, *_to_close(interface)])
                _members(doomed, (), (), config)
        except KernelError as error:
            failed = failed or error
    if failed:
        raise failed


def load(config: Config) -> None:
    """Load the ruleset: new rules, old members, no window. Raises KernelError."""
    from snf_network.rules import ruleset

    with Lock(config.state_dir, RULESET, LOADING):
        kernel.remove_file(f"{config.state_dir}/base")
        said = kernel.nft((ruleset.text(config),))
    if said:
        raise ruleset.explained(said)
    _remember_rules(config)


def keep_rules(table: str, families: Sequence[str], config: Config) -> None:
    """Make the policy rules of a table, for `families` as ip(8) takes them, and keep them, with and without
    NICs.
    """
    records = Records(config.state_dir)
    rules = [Rule(family, table, action) for family in families for action in ("lookup", "unreachable")]
    with Lock(config.state_dir, ALWAYS):
        for rule in rules:
            records.hold(rule, ALWAYS)
        steps.prepare(rules)


def _hold(records: Records, record: Record) -> None:
    """Say what this NIC shares with others. Whoever takes such a thing away as its last has done so before,
    or will not.
    """
    with Lock(records.directory, ALWAYS):
        for resource in record.resources:
            if resource.shared:
                records.hold(resource, record.interface)


def _release(records: Records, resources: Iterable[Resource], interface: str, config: Config) -> None:
    """Give up what this NIC shares with others, and take away what nobody else wants: nobody can come for it
    in between.
    """
    shared = [resource for resource in resources if resource.shared]
    if shared:
        with Lock(records.directory, ALWAYS):
            doomed = [resource for resource in shared if records.release(resource, interface)]
            steps.undo(doomed)
            _members(doomed, (), (), config)


def _unshared(resources: Iterable[Resource]) -> list[Resource]:
    """What one NIC has for itself."""
    return [resource for resource in resources if not resource.shared]


def _forget_stale(records: Records, wanted: Record) -> None:
    """Drop from the record what is gone. On a full disk it stays there as stale, which does no harm."""
    try:
        records.save(wanted)
    except KernelError:
        pass


def _moves(old: Record | None, wanted: Record) -> bool:
    """True if a live interface goes to another bridge or mode: it must be down while its pins change
    family.
    """
    if not old or (old.ifindex, old.boot) != (wanted.ifindex, wanted.boot):
        return False
    ports = [
        {resource for resource in record.resources if isinstance(resource, Port)} for record in (old, wanted)
    ]
    return ports[0] != ports[1]


def _members(
    dead: Sequence[Resource], stale: Sequence[Resource], wanted: Sequence[Resource], config: Config
) -> None:
    """The nft members among these, in one transaction, and a note on the rules if they had to be loaded for
    it.
    """
    note = f"{config.state_dir}/base"
    lost, old, new = (
        [resource for resource in group if isinstance(resource, Element)] for group in (dead, stale, wanted)
    )
    alone = Lock(config.state_dir, RULESET, LOADING)
    if steps.members(lost, old, new, config, alone, lambda: kernel.remove_file(note)) or (
        new and not access(note, F_OK)
    ):
        _remember_rules(config)


def _remember_rules(config: Config) -> None:
    """Note how the kernel lists the rules just loaded: what `check` compares with, and nothing else depends
    on.
    """
    from snf_network.rules import ruleset

    try:
        with Lock(config.state_dir, RULESET, LOADING):
            if not access(f"{config.state_dir}/base", F_OK):
                kernel.write_file(f"{config.state_dir}/base", ruleset.listing())
    except KernelError:
        pass  # `check` will say that it is missing


def _take_back(records: Records, record: Record, config: Config) -> None:
    """All that the record says, and the record. Down first, members last: no frame finds the link up and its
    filters gone.

    A tap that is somebody else's by now is not touched.
    """
    doomed, spared = [*record.resources, *record.stale], () if is_live(record) else OF_THE_DEVICE
    steps.undo(resource for resource in _unshared(doomed) if type(resource).__name__ not in spared)
    _members(_unshared(doomed), (), (), config)
    _release(records, doomed, record.interface, config)
    records.forget(record.interface)


def _roll_back(records: Records, old: Record | None, wanted: Record, config: Config) -> None:
    """After a refusal, with no member changed: the record and the link are as they were before."""
    before = old.resources if old else ()
    if old:
        records.save(old)
        if _moves(old, wanted):  # it was down for the change; its members are as they were
            steps.put(old.resources)
    else:
        records.forget(wanted.interface)
    _release(
        records,
        [resource for resource in wanted.resources if resource not in before],
        wanted.interface,
        config,
    )


def _to_close(interface: str) -> list[Resource]:
    """The link of a guest whose record is lost, if it is there: it has to be down before its filters go."""
    tap = access(f"/sys/class/net/{interface}/tun_flags", F_OK) or interface.startswith("vif")
    return [Link(interface)] if interface and tap else []


def _interface(resource: Resource) -> str:
    """The interface whose record a Resource would be in; "" for one that several NICs may share."""
    if isinstance(resource, Element):
        return resource.key.split('"')[1] if resource.key.startswith('"') else ""
    if isinstance(resource, Binding):
        return resource.path.rpartition("/")[2]
    return "" if resource.shared else str(resource.__dict__.get("interface", ""))
