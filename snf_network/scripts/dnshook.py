"""Entry points of snf-network-dnshook, which Ganeti's master calls on nodes after an operation, and of the
sender that scripts and hooks start.
"""

from __future__ import annotations

import posix

from snf_network.addresses import is_name
from snf_network.dns.spool import Spool
from snf_network.errors import BadEnvironment, shown
from snf_network.model.config import Config, dns_is_on
from snf_network.model.names import Names
from snf_network.model.operation import Operation
from snf_network.scripts.hooks import here, leave_names, names_in, run_hook
from snf_network.scripts.process import Log, answered, run, settle, take_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STOPS = ("OP_INSTANCE_SHUTDOWN", "OP_INSTANCE_REMOVE")
RENAME, MODIFY = "OP_INSTANCE_RENAME", "OP_INSTANCE_SET_PARAMS"


def hook(argv: Sequence[str]) -> int:
    """snf-network-dnshook: update an instance's desired names after a stop, remove, rename or modify. Always
    returns 0.
    """
    return run_hook("snf-network-dnshook", argv, _note)


def _note(operation: Operation, config: Config, log: Log) -> None:
    if not dns_is_on(config):
        return
    spool, instance = Spool(config.state_dir), operation.names[0]
    if not all(map(is_name, operation.names)):
        raise BadEnvironment(
            f"GANETI_INSTANCE_NAME={shown(instance)} is not valid", "letters, digits, '.', '_' and '-'"
        )
    if operation.opcode not in (*STOPS, RENAME, MODIFY):
        return
    if not here(operation.primary) and not any(map(spool.has, operation.names)):
        log.log(
            f"{operation.opcode}: {instance} is on {operation.primary}, and its names in DNS are that node's"
        )
        return
    nics = names_in(operation, config, log)
    if operation.opcode in STOPS:
        spool.have(instance, (), nics)
    elif not here(operation.primary):
        leave_names(operation, config, log)
    elif operation.opcode == MODIFY:
        spool.have(instance, _modified(operation, nics, spool, config), nics)
    else:
        _rename(operation, nics, spool)
    log.log(f"{operation.opcode}: names of {' '.join(operation.names)} noted")
    spool.wake()


def _modified(operation: Operation, nics: list[Names], spool: Spool, config: Config) -> Iterator[Names]:
    """The names of the NICs after a modification. A NIC that is live here and was modified without hotplug
    keeps its old address until it is brought up again.
    """
    wanted = spool.load(operation.names[0])
    had = {names.nic: names for names in (*wanted.gone, *wanted.nics)} if wanted else {}
    live = _live(operation, config) if had else ()
    for names in nics:
        if names.nic in had and names.nic in live:
            yield had[names.nic]
        elif names.nic in had or operation.running:
            yield names


def _live(operation: Operation, config: Config) -> set[str]:
    from snf_network.host.record import Records, is_live

    return {
        record.uuid
        for record in Records(config.state_dir)
        if record.instance in operation.names and is_live(record)
    }


def _rename(operation: Operation, nics: list[Names], spool: Spool) -> None:
    """Give the new name everything that the old one has. Names removed when the guest was stopped come back
    at its next start.
    """
    old, new = operation.names[0], operation.names[-1]
    wanted = spool.load(old)
    moved = (
        tuple(Names(new, one.nic, one.network, one.addresses) for one in (*wanted.gone, *wanted.nics))
        if wanted
        else ()
    )
    spool.move(old, new, moved if new != old else (), nics)


def send(argv: Sequence[str]) -> int:
    """snf-network-dnssend: send pending changes until none is due soon. Returns 1 if the sender itself
    failed.
    """
    posix.closerange(3, 256)  # descriptors that our caller left open
    settle()
    if answered("snf-network-dnssend", argv):
        return 0
    take_time()
    return run(argv[0], "-", _send)


def _send(config: Config, log: Log) -> int:
    from snf_network.dns import settings
    from snf_network.dns.sender import Sender

    Sender(config, settings.load(config), log.log).run()
    return 0
