"""Bring one NIC to its desired state: look, plan, replace, announce, note its names. And retry NICs where
that failed.
"""

from __future__ import annotations

from snf_network.errors import SnfNetworkError, shown
from snf_network.host import kernel
from snf_network.lean import replace as changed
from snf_network.model.config import dns_is_on
from snf_network.model.nic import Nic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from typing import Optional

    from snf_network.host.record import Record
    from snf_network.model.config import Config
    from snf_network.model.names import Names
    from snf_network.model.resources import Announcement
    from snf_network.plan import Plan
    from snf_network.scripts.process import Log

MOMENT = 0.5
"""Seconds to wait for the lock to record a failure: whoever holds it has already been waited for."""


def bring_up(nic: Nic, config: Config, log: Optional[Log] = None) -> Plan:
    """Look, plan, replace, announce. Raises BadEnvironment before any change, and KernelError afterwards."""
    from snf_network.apply.engine import Engine
    from snf_network.observe.facts import node_for, settled
    from snf_network.plan import plan_for
    from snf_network.setups import addressed

    nic = addressed(settled(nic), config)
    node = node_for(nic, config)
    plan = plan_for(nic, node, config)
    wanted = changed(
        _record(nic, kernel.ifindex(nic.interface)),
        resources=plan.resources,
        lacking=plan.lacking,
        node=node.facts(),
    )
    engine = Engine(config)
    said = engine.replace(wanted) + engine.handed
    if log:
        _report(nic, plan, said, config, log)
    if plan.announcements:
        announce_guests([wanted], config)
    note_names(nic, plan.names, config, log)
    return plan


def _report(nic: Nic, plan: Plan, said: Iterable[str], config: Config, log: Log) -> None:
    for words in (*config.warnings, *plan.warnings, *plan.lacking):
        log.say(f"warning: {words}")
    ignored = f"; ignored tags: {shown(' '.join(plan.ignored))}" if plan.ignored else ""
    log.log(
        f"up: {' '.join(filter(None, (nic.instance, nic.mode, nic.link, nic.mac, nic.ip, nic.ip6)))}{ignored}"
    )
    if config.debug:
        for line in plan.text().splitlines():
            log.log(line)
    for line in said:
        if f"/{nic.interface}/" not in line:  # the tap's own settings vanish with it; any other stays
            log.log(line)


def announce_guests(records: Iterable[Record], config: Config, addresses: Container[str] = ()) -> int:
    """Announce the guests' addresses that the node answers for, or of these some, and repeat it while their
    NICs have them. The child reads `records` as it sends, so the first is announced at once, with thousands,
    too. Returns the PID of the child, 0 if there is nothing to announce.
    """
    from itertools import chain

    from snf_network.apply.announce import announce
    from snf_network.host.record import Records
    from snf_network.model.resources import Announcement, NeighProxy

    whose: dict[Announcement, Record] = {}

    def found() -> Iterator[Announcement]:
        for record in records:
            for one in record.resources:
                if not isinstance(one, NeighProxy) or one.interface == record.interface:
                    continue
                told = Announcement(one.address, one.interface)
                if (not addresses or one.address in addresses) and whose.setdefault(told, record) is record:
                    yield told

    def still(told: Announcement) -> bool:
        wanted = whose[told]
        record = Records(config.state_dir).load(wanted.interface)
        return (
            record is not None
            and (record.ifindex, record.uuid) == (wanted.ifindex, wanted.uuid)
            and NeighProxy(told.address, told.interface) in record.resources
        )

    rest = found()
    first = next(rest, None)
    return announce(chain((first,), rest), still) if first else 0


def note_names(nic: Nic, names: Optional[Names], config: Config, log: Optional[Log] = None) -> None:
    """Note durably what a NIC should have in DNS, and start a sender without waiting for it. Failures are
    reported, but do not fail the NIC.

    If `names` is None, its old names should go; that costs nothing if its instance never had any. The names
    of a guest that is still migrating here are up to its source node.
    """
    if not dns_is_on(config) or nic.arriving:
        return
    from snf_network.dns.spool import Spool
    from snf_network.model.names import key_of

    spool = Spool(config.state_dir)
    if not names and not spool.has(nic.instance):
        return
    try:
        if names:
            spool.up(names)
        else:
            spool.down(nic.instance, key_of(nic))
        spool.wake()
    except SnfNetworkError as error:
        if log:
            log.say(f"warning: {error}")


def note_failure(nic: Nic, config: Config, why: str) -> None:
    """Record a NIC that should be up but is not, for `try_again`: Ganeti does not retry after a migration. An
    existing record is kept.
    """
    index = kernel.ifindex(nic.interface)
    if index:
        keep_wanted(_record(nic, index), config, why)


def _record(nic: Nic, index: int) -> Record:
    """A record that identifies the NIC, with no Resources."""
    from snf_network.host.record import Record

    return Record(nic.interface, index, kernel.boot(), nic.instance, nic.uuid, nic.values, ())


def keep_wanted(record: Record, config: Config, why: str) -> None:
    """Record the failure of a live NIC that has lost its record, so that it is tried again. Under the lock:
    else it would take the place of a record that another call is just writing, and gc would take the members
    of that NIC for nobody's.
    """
    from snf_network.host.lock import Lock
    from snf_network.host.record import FAILED, Records, is_live

    records = Records(config.state_dir)
    try:
        with Lock(config.state_dir, record.interface, MOMENT):
            if is_live(record) and not records.load(record.interface):
                records.save(changed(record, resources=(), stale=(), lacking=(f"{FAILED}not up: {why}",)))
    except SnfNetworkError:
        pass  # the reason why it is not up has already been reported


def try_again(config: Config, log: Log) -> bool:
    """Bring NICs with `lacking` entries up again. True if none lacks anything any more. Skips a NIC whose
    missing facts are still missing.
    """
    from snf_network.host.record import Records, is_live
    from snf_network.observe.facts import Facts

    lacking = [record for record in Records(config.state_dir) if record.lacking and is_live(record)]
    facts = Facts(config) if lacking else None
    whole = True
    for record in lacking:
        try:
            nic = Nic.from_env(dict(record.variables))
            same = facts is not None and not record.failed and facts.of(nic).facts() == record.node
            done = not (same or kernel.is_late()) and not bring_up(nic, config, log.about(nic)).lacking
            whole = whole and done
        except SnfNetworkError as error:
            log.about(record).say(f"{record.interface}: {error}")
            keep_wanted(record, config, str(error))
            whole = False
    return whole
