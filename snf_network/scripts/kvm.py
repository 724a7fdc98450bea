"""kvm-ifup-custom and kvm-ifdown-custom: up fails loudly, in one line; down never fails."""

from __future__ import annotations

import posix

from snf_network import bundle  # noqa: F401  # first: what follows comes out of it
from snf_network.addresses import is_interface
from snf_network.errors import BadEnvironment, NodesOwn, SnfNetworkError, shown
from snf_network.model.nic import Nic
from snf_network.scripts.bringup import bring_up, note_failure, note_names
from snf_network.scripts.process import Log, answered, count, environment, run, settle, take_time
from snf_network.setups import addressed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from snf_network.host.record import Record
    from snf_network.model.config import Config
    from snf_network.plan import Plan

COMMUNICATION = "gnt.com."
"""Prefix of the taps for Ganeti's own instance communication, which are not ours."""


def kvm(argv: Sequence[str]) -> int:
    """Bring a tap up or down, by whatever name Ganeti calls us.

    The interface is $INTERFACE, else the first argument; the action is $ACTION, else from our own name.
    """
    settle()
    env, name = environment(), argv[0].rpartition("/")[2]
    action = env.get("ACTION") or ("down" if "down" in name else "up")
    if answered("kvm-ifdown-custom" if action == "down" else "kvm-ifup-custom", argv):
        return 0
    interface = env.get("INTERFACE") or (argv[1] if len(argv) > 1 else "")
    if interface.startswith(COMMUNICATION):
        return 0
    if action == "down":
        local = len(argv) > 2 and argv[2].lower() == "true"
        run(name, interface, lambda config, log: down(interface, env, local, config, log))
        return 0
    return run(name, interface, lambda config, log: up(interface, env, argv, config, log))


def up(interface: str, env: dict[str, str], argv: Sequence[str], config: Config, log: Log) -> int:
    """Bring the NIC up. Returns 0, or 1 after one line with the reason; then it is as before, or down.

    Raises BadEnvironment before any change.
    """
    done = None
    try:
        done = _up(interface, env, config, log)
    finally:
        count(is_up=done is not None)
    return extra(*done, config, env, argv, log) if done else 1


def _up(interface: str, env: dict[str, str], config: Config, log: Log) -> tuple[Nic, Plan] | None:
    if env.get("ACTION", "up") not in ("up", ""):
        raise BadEnvironment(f"ACTION={shown(env['ACTION'])} is not valid", "up or down")
    nic = Nic.from_env(env, interface)
    try:
        return nic, bring_up(nic, config, log)
    except (SnfNetworkError, OSError) as error:
        log.say(error)
        if not isinstance(error, NodesOwn):
            note_failure(nic, config, str(error))
        return None


def down(interface: str, env: dict[str, str], local: bool, config: Config, log: Log) -> int:
    """Undo the record of this interface, if it is for the same instance and NIC.

    `local`: the guest continues elsewhere or comes back, so only local state is removed. Ganeti 3.2 does not
    tell, but calls for no other reason. Raises SnfNetworkError.
    """
    from snf_network.apply.engine import Engine

    if not is_interface(interface):
        hint = "set INTERFACE or name the tap as first argument"
        raise BadEnvironment(f"INTERFACE={shown(interface)} is not valid", hint)
    engine = Engine(config)
    record = engine.remove(interface, lambda record: of_caller(record, env))
    words = f"{record.instance} taken back" if record else "nothing of this NIC here"
    log.log("; ".join((f"down{' (local)' if local else ''}: {words}", *engine.handed)))
    if record and not local and "ACTION" not in env:
        note_names(Nic.from_env(dict(record.variables)), None, config, log)
    return 0


def of_caller(record: Record, env: dict[str, str]) -> bool:
    """True if the record is for the NIC in `env`; variables missing in `env` (a call by hand) match any."""
    instance, uuid = env.get("INSTANCE"), env.get("INTERFACE_UUID")
    return instance in (None, "", record.instance) and uuid in (None, "", record.uuid)


def extra(nic: Nic, plan: Plan, config: Config, env: dict[str, str], argv: Sequence[str], log: Log) -> int:
    """Exec IFUP_EXTRA_SCRIPT, if it exists, with the variables that the bash package set; else return 0."""
    path = config.ifup_extra_script
    if not path or not posix.access(path, posix.X_OK):
        return 0
    routed = nic.mode == "routed"
    uplinks = {"UPLINK6" if ":" in told.address else "UPLINK": told.interface for told in plan.announcements}
    variables = {
        "UPLINK": "",
        "UPLINK6": "",
        **uplinks,
        "INTERFACE": nic.interface,
        "EUI64": addressed(nic, config).ip6,
        "MAC": nic.mac,
        "TABLE": nic.link if routed else "",
        "BRIDGE": nic.link if nic.mode == "bridged" else "",
        "INDEV": nic.interface if routed else nic.link,
    }
    take_time()  # an administrator's script may take longer
    try:
        posix.execve(path, [path, *argv[1:]], {**env, **dict(nic.values), **variables})
    except OSError as error:
        log.say(f"warning: {path}: {error.strerror}")
    return 0
