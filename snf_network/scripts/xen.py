"""vif-custom: called by Xen's toolstack for a vif. The call has no Ganeti variables; they are in a file that
Ganeti wrote for each NIC.

The toolstack waits for `hotplug-status` in xenstore, and fails the guest's creation if it is `error`; the
exit status alone is not enough.
"""

from __future__ import annotations

from snf_network import bundle  # noqa: F401  # first: what follows comes out of it
from snf_network.addresses import is_interface, is_name
from snf_network.errors import BadEnvironment, KernelError, SnfNetworkError, shown
from snf_network.host import kernel
from snf_network.model.nic import read_nic_file
from snf_network.scripts.kvm import down, up
from snf_network.scripts.process import Log, answered, environment, run_logged, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from snf_network.model.config import Config

UP = ("online", "add", "up")
DOWN = ("offline", "remove", "down")


def vif(argv: Sequence[str]) -> int:
    """Called as `vif-custom online|offline|add|remove type_if=vif|tap`, with $vif, $XENBUS_PATH and, for a
    tap, $INTERFACE.
    """
    settle()
    if answered("vif-custom", argv):
        return 0
    env = environment()
    settings = dict(argument.partition("=")[::2] for argument in argv[1:] if "=" in argument)
    action = next((argument for argument in argv[1:] if "=" not in argument), env.get("ACTION", ""))
    plain = env.get("vif") or settings.get("vif", "") or env.get("dev", "")
    interface = env.get("INTERFACE", "") if settings.get("type_if") == "tap" else plain
    log = Log(argv[0].rpartition("/")[2], interface)
    if action in DOWN:  # also after a migration or before a reboot: hooks tell when a guest is gone for good
        run_logged(log, lambda config, log: down(interface, {}, True, config, log))
        return 0

    def bring_up(config: Config, log: Log) -> int:
        if action not in UP:
            raise BadEnvironment(f"{shown(action)} is no action", f"one of {', '.join(UP + DOWN)}")
        variables = {**env, **nic_variables(plain, config), "INTERFACE": interface}
        return up(interface, variables, argv, config, log)

    status = run_logged(log, bring_up)
    if settings.get("type_if", "vif") == "vif" or status:
        try:
            _tell(env.get("XENBUS_PATH", ""), log.said if status else "")
        except (SnfNetworkError, OSError) as error:
            log.say(error)
            return 1
    return status


def nic_variables(name: str, config: Config) -> dict[str, str]:
    """The variables that Ganeti wrote for the NIC of vif<domid>.<devid>. Raises BadEnvironment if there is no
    such domain or file.
    """
    domain, dot, device = name.removeprefix("vif").removesuffix("-emu").partition(".")
    if not is_interface(name) or not dot or not domain.isdigit() or not device.isdigit():
        raise BadEnvironment(f"vif={shown(name)} is not vif<domid>.<devid>", "Xen sets it")
    instance = domain_name(domain)
    path = f"{config.ganeti_nic_dir}/{instance}/{device}"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            values = read_nic_file(file.read(65536))
    except OSError as error:
        raise BadEnvironment(
            f"{path}: {error.strerror}", "Ganeti writes it before it starts the guest: GANETI_NIC_DIR"
        ) from error
    return {**values, "INSTANCE": instance, "XEN": "true"}


def domain_name(domain: str) -> str:
    """The name of a domain, from xl, or from xm on hosts that have that. Raises BadEnvironment."""
    for tool in ("xl", "xm"):
        try:
            status, said = kernel.run((tool, "domname", domain))
        except SnfNetworkError:
            continue
        name = said.strip()
        if not status and name and is_name(name):
            return name
    raise BadEnvironment(f"domain {domain} has no name", "xl domname and xm domname both failed")


def _tell(path: str, error: str) -> None:
    """Report to the toolstack as vif-common.sh does: connected, or error with a message. Raises KernelError
    if xenstore accepts neither.
    """
    if not path:
        return
    words = (
        (f"{path}/hotplug-error", error, f"{path}/hotplug-status", "error")
        if error
        else (f"{path}/hotplug-status", "connected")
    )
    status, said = kernel.run(("xenstore-write", *words))
    if status:
        raise KernelError(f"xenstore-write {path}: exit {status}: {shown(said.strip())}")
