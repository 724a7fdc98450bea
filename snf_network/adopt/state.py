"""What the bash package noted of its NICs, read as data: STATE_DIR/<if> (0.16), or <if>-env and <if>-cmds
(0.16.1).

The values stand there as Ganeti gave them, unquoted, and some may be chosen by whoever may name a NIC: a line
break in a name looks like another variable. So a variable that is there twice with different values is
refused, and what the file says must be true of the tap.
"""

from __future__ import annotations

import os

from snf_network.addresses import is_interface
from snf_network.errors import BadEnvironment, shown
from snf_network.host import kernel
from snf_network.host.lock import RESERVED, Lock
from snf_network.host.record import FAILED, Record, Records, is_live, parse
from snf_network.model.nic import VARIABLES, Nic
from snf_network.model.resources import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from snf_network.model.config import Config
    from snf_network.model.resources import Resource

ENV, COMMANDS = "-env", "-cmds"
NOT_KNOWN = ("XEN", "MIGRATION_PHASE")
"""Variables of ours that the bash package had no use for: a line with one is somebody else's."""
BINDING = {
    "IP": "IP",
    "MAC": "MAC",
    "HOSTNAME": "INSTANCE",
    "GATEWAY": "NETWORK_GATEWAY",
    "SUBNET": "NETWORK_SUBNET",
    "GATEWAY6": "NETWORK_GATEWAY6",
    "SUBNET6": "NETWORK_SUBNET6",
}
"""Keys of a binding for nfdhcpd, and the variables that they were: 0.16 noted no more of these."""


def files(config: Config) -> dict[str, tuple[str, ...]]:
    """The old files of each interface."""
    found: dict[str, tuple[str, ...]] = {}
    for name in _names(config.state_dir):
        path = f"{config.state_dir}/{name}"
        interface = next((name.removesuffix(end) for end in (ENV, COMMANDS) if name.endswith(end)), name)
        if is_interface(interface) and _is_old(path, interface == name):
            found[interface] = (*found.get(interface, ()), path)
    return found


def _names(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name not in RESERVED)
    except OSError:
        return []


def _is_old(path: str, bare: bool) -> bool:
    """True for a file of the bash package; one with the bare name of an interface may be a record of ours."""
    text = kernel.read_file(path)
    if text is None or parse(text):
        return False
    return not bare or any(line.startswith(("INSTANCE=", "INTERFACE=")) for line in text.splitlines())


def nic_of(interface: str, config: Config) -> Nic:
    """The NIC that the old files describe. Raises BadEnvironment if they do not describe one for sure."""
    values = _variables(interface, config.state_dir)
    for name, value in _binding(interface, config).items():
        if values.setdefault(name, value) != value and value:
            raise BadEnvironment(
                f"{name}={shown(values[name])}, but the binding for nfdhcpd has {shown(value)}",
                f"{config.nfdhcpd_state_dir}/{interface}",
            )
    if values.setdefault("INTERFACE", interface) != interface:
        raise BadEnvironment(f"INTERFACE={shown(values['INTERFACE'])} is another's", "is it a copy?")
    if values.get("VLAN"):
        raise BadEnvironment(f"VLAN={shown(values['VLAN'])}: the bash package knew none", "start it again")
    values.setdefault("MODE", "bridged" if _master(interface) else "routed")
    if interface.startswith("vif"):
        values["XEN"] = "true"
    nic = Nic.from_env(values)
    if nic.mode not in ("routed", "bridged"):
        raise BadEnvironment(f"MODE={nic.mode} is not adopted", "start the guest again, or move it")
    return nic


def _variables(interface: str, directory: str) -> dict[str, str]:
    for path in (f"{directory}/{interface}{ENV}", f"{directory}/{interface}"):
        text = kernel.read_file(path)
        if text and not parse(text):
            return variables(text)
    raise BadEnvironment(f"{directory}/{interface}{ENV} cannot be read", "start the guest again, or move it")


def variables(text: str) -> dict[str, str]:
    """The variables of a NIC in an old file: KEY=VALUE lines, or what `declare -p` and `export -p` write of
    them. Raises BadEnvironment for one that has two values.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        plain = line.removeprefix("declare -x ").removeprefix("export ")
        key, equals, value = plain.partition("=")
        if not equals or key not in VARIABLES or key in NOT_KNOWN:
            continue
        value = _unquoted(value)
        if found.setdefault(key, value) != value:
            raise BadEnvironment(
                f"{key} is {shown(found[key])} and {shown(value)}", "leave only the line that is true"
            )
    return found


def _unquoted(value: str) -> str:
    for quote in "\"'":
        if len(value) > 1 and value[0] == value[-1] == quote:
            return value[1:-1]
    return value.replace("\\ ", " ")


def _binding(interface: str, config: Config) -> dict[str, str]:
    """What the NIC's binding says, by the names of Ganeti's variables."""
    text = kernel.read_file(f"{config.nfdhcpd_state_dir}/{interface}") or ""
    pairs = (line.partition("=") for line in text.splitlines())
    return {BINDING[key]: _unquoted(value) for key, _, value in pairs if key in BINDING and value}


def _master(interface: str) -> str:
    try:
        return os.path.basename(os.readlink(f"/sys/class/net/{interface}/master"))
    except OSError:
        return ""


def untrue(nic: Nic, config: Config) -> str:
    """What the tap of a NIC contradicts in its old files, in words; empty if nothing: then they are its."""
    tap, master = nic.interface, _master(nic.interface)
    if not kernel.is_up(tap):
        return "is down"
    if nic.mode == "bridged":
        return "" if master == nic.link else f"is in {master or 'no bridge'}, not in {nic.link}"
    mac = (kernel.read_file(f"/sys/class/net/{tap}/address") or "").strip()
    if master:
        return f"is in bridge {master}, but routed"
    if mac != config.tap_constant_mac and not nic.xen:
        return f"has MAC {mac}, not TAP_CONSTANT_MAC={config.tap_constant_mac}"
    return ""


def keep(nic: Nic, has: Sequence[Resource], config: Config) -> Nic:
    """Record that the NIC is here and works, with the Resources that it `has` by the bash package, so that no
    failure takes it down or removes these. Returns the NIC to bring up: the one on record, if a call has
    recorded one meanwhile. Raises BadEnvironment if its tap has changed, and KernelError.

    Our record has the name of the file that 0.16 made, which so gets the name that 0.16.1 gave it.
    """
    records, path = Records(config.state_dir), f"{config.state_dir}/{nic.interface}"
    with Lock(config.state_dir, nic.interface):
        record = records.load(nic.interface)
        if record and is_live(record):
            return Nic.from_env(dict(record.variables))
        why = untrue(nic, config)
        if why:
            raise BadEnvironment(why, "it was otherwise a moment ago: run adopt again")
        text = kernel.read_file(path)
        if text and not record and not kernel.read_file(f"{path}{ENV}"):
            kernel.write_file(f"{path}{ENV}", text)
        here = (Port(nic.interface, _master(nic.interface)), *has)
        index, boot = kernel.ifindex(nic.interface), kernel.boot()
        lacking = (f"{FAILED}not adopted yet",)
        records.save(Record(nic.interface, index, boot, nic.instance, nic.uuid, nic.values, here, lacking))
    return nic


def forget(interface: str, config: Config) -> None:
    """Delete the old files of a NIC; a record of ours that has the name of one stays."""
    for end in ("", ENV, COMMANDS):
        path = f"{config.state_dir}/{interface}{end}"
        if _is_old(path, not end):
            kernel.remove_file(path)
