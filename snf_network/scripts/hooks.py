"""Entry points of the hooks that Ganeti's master calls on nodes after an operation. They never fail it: exit
status 0.

Stock Ganeti calls no ifdown, so this is how a node learns that a NIC is gone. That is decided by our own
records and the existing interfaces, never by Ganeti's files, which can name a tap that has a new owner by
now.
"""

from __future__ import annotations

import posix

from snf_network import bundle  # noqa: F401  # first: what follows comes out of it
from snf_network.addresses import is_name
from snf_network.errors import BadEnvironment, KernelError, SnfNetworkError
from snf_network.host import kernel
from snf_network.host.record import Records, is_live
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.operation import Operation
from snf_network.scripts.bringup import bring_up, keep_wanted, try_again
from snf_network.scripts.process import Log, answered, environment, run, settle
from snf_network.setups.firewall import RECONFIGURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snf_network.host.record import Record
    from snf_network.model.names import Names

MOVES = ("OP_INSTANCE_MIGRATE", "OP_INSTANCE_FAILOVER", "OP_INSTANCE_MOVE")


def hook(argv: Sequence[str]) -> int:
    """snf-network-hook: remove what this node has for NICs of the instance that are no longer here."""
    return run_hook("snf-network-hook", argv, _clean)


def reconfigure(argv: Sequence[str]) -> int:
    """snf-network-reconfigure: after a modify without hotplug, apply the new settings to the NICs whose tag
    asks for it.
    """
    return run_hook("snf-network-reconfigure", argv, _reconfigure)


def run_hook(name: str, argv: Sequence[str], act: Callable[[Operation, Config, Log], None]) -> int:
    """Run `act`, which is what the hook `name` does, after an operation. A failing hook reports one line; it
    never fails the operation.
    """

    def hooked(config: Config, log: Log) -> int:
        operation = Operation.from_hook(environment())
        if operation.phase == "post":
            act(operation, config, log)
        return 0

    settle()
    if not answered(name, argv):
        run(argv[0], "-", hooked)
    return 0


def _clean(operation: Operation, config: Config, log: Log) -> None:
    from snf_network.apply.engine import Engine

    moved = operation.opcode in MOVES
    left = moved and here(operation.old_primary) and not here(operation.new_primary)

    def judge(record: Record) -> None:
        if left or not is_live(record):
            taken = Engine(config).remove(record.interface, lambda found: found == record)
            became = "taken back" if taken else "is another NIC by now"
            log.about(record).log(f"{operation.opcode}: {record.interface} of {record.instance} {became}")
        elif moved and here(operation.new_primary):
            _arrive(record, config, log)

    _each(operation, config, log, judge)
    if moved and operation.new_primary and not here(operation.new_primary):
        leave_names(operation, config, log)
    try_again(config, log)


def leave_names(operation: Operation, config: Config, log: Log) -> None:
    """Leave an instance's names to the node that it now runs on. This node still removes names that it has
    yet to remove, or that the instance no longer has.
    """
    from snf_network.dns.spool import Spool

    spool = Spool(config.state_dir)
    left = [name for name in operation.names if is_name(name) and spool.has(name)]
    if left and not any(map(is_live, _records(operation, config))):
        now = names_in(operation, config, log)
        for name in left:
            spool.leave(name, now)
        spool.wake()


def names_in(operation: Operation, config: Config, log: Log) -> list[Names]:
    """The names that the NICs of an operation should have, according to Ganeti. Invalid NICs are reported and
    left out.
    """
    from snf_network.observe.facts import has_ipv6
    from snf_network.plan import names_for

    found = []
    for _, variables in operation.nics:
        try:
            found.append(names_for(Nic.from_env(dict(variables), "hook"), config, has_ipv6("default")))
        except BadEnvironment as error:
            log.say(error)
    return [names for names in found if names]


def _arrive(record: Record, config: Config, log: Log) -> None:
    """Activate what MIGRATION_PHASE=pre staged, if post has not: Ganeti ignores its failure."""
    nic = Nic.from_env({**dict(record.variables), "MIGRATION_PHASE": "post"})
    if dict(record.variables).get("MIGRATION_PHASE") == "pre":
        bring_up(nic, config, log)


def _reconfigure(operation: Operation, config: Config, log: Log) -> None:
    wanted, prefix = dict(operation.nics), config.firewall_tag_prefix

    def renew(record: Record) -> None:
        if record.uuid not in wanted or not is_live(record):
            return
        said = dict(record.variables)
        kept = {"XEN": said["XEN"]} if "XEN" in said else {}  # hooks do not get it
        nic = Nic.from_env({**dict(wanted[record.uuid]), **kept}, record.interface)
        if f"{prefix}:{RECONFIGURE}" not in nic.tags and all(
            RECONFIGURE not in words for words in nic.customised(prefix)
        ):
            return
        if nic.mac != said.get("MAC", "").lower():
            log.log(f"{record.interface}: the running guest still has its old MAC, so nothing is changed")
            return
        bring_up(nic, config, log)

    _each(operation, config, log, renew)


def _each(operation: Operation, config: Config, log: Log, act: Callable[[Record], None]) -> None:
    """Call `act` on every record of the instance; an error of one is reported and does not stop the next."""
    for record in _records(operation, config):
        try:
            if kernel.is_late():
                raise KernelError("no time is left for it", "the next hook or snf-network-gc.timer does it")
            act(record)
        except (SnfNetworkError, OSError) as error:
            log.say(f"{record.interface}: {error}")
            keep_wanted(record, config, str(error))


def _records(operation: Operation, config: Config) -> list[Record]:
    return [record for record in Records(config.state_dir) if record.instance in operation.names]


def here(node: str) -> bool:
    """True if `node`, a Ganeti node name, is this node. Never asks a resolver."""
    name = posix.uname().nodename
    return bool(node) and (node == name or node.partition(".")[0] == name.partition(".")[0])
