"""The mains of the scripts that Ganeti calls. Up fails loudly, in one line; down never fails."""

from __future__ import annotations

import posix
from _signal import alarm  # type: ignore[import-not-found]  # signal itself would import enum
from time import strftime

from snf_network import kernel
from snf_network.bringup import bring_up, note_failure, note_names
from snf_network.config import Config
from snf_network.errors import BadEnvironment, NodesOwn, SnfNetworkError, shown
from snf_network.nic import Nic, is_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from snf_network.plan import Plan
    from snf_network.record import Record

SECONDS = 4.0
"""What all tools and locks of one call may take together."""
LAST = 5
"""Seconds after which the kernel ends a call that something else holds up, such as a disk that does not
answer.
"""
# the directory is Ganeti's, not root's alone: no link is followed, and nobody's pipe is waited for
LOG_FLAGS = (
    posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
)
COMMUNICATION = "gnt.com."
"""How the taps of Ganeti's own instance communication begin: not ours."""


def environment() -> dict[str, str]:
    """The environment as text; bytes that are not UTF-8 stay visible to the checks."""
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in posix.environ.items()
    }


def settle() -> None:
    """Make this process one that can work, whatever called it: umask, a deadline, three open descriptors."""
    posix.umask(0o022)  # Ganeti's is 0077: nfdhcpd could not read its bindings
    kernel.give_up_after(SECONDS)
    alarm(LAST)
    open_descriptors()


def take_time() -> None:
    """Lift the limits of `settle`: nobody waits for this process."""
    alarm(0)
    kernel.give_up_after(float("inf"))


def open_descriptors() -> None:
    """Make descriptors 0 to 2 something, where the caller closed them: what is opened next must not be taken
    for a tool's output.
    """
    descriptor = 0
    while descriptor < 3:
        descriptor = posix.open("/dev/null", posix.O_RDWR)
    posix.close(descriptor)


def kvm(argv: Sequence[str]) -> int:
    """kvm-ifup-custom and kvm-ifdown-custom, by whatever name Ganeti calls them.

    The interface is $INTERFACE, else the first argument; the action is $ACTION, else in the name called by.
    """
    settle()
    env, name = environment(), argv[0].rpartition("/")[2]
    action = env.get("ACTION") or ("down" if "down" in name else "up")
    interface = env.get("INTERFACE") or (argv[1] if len(argv) > 1 else "")
    if interface.startswith(COMMUNICATION):
        return 0
    call = Call(name, interface)
    if action == "down":
        return call.down(env, local="".join(argv[2:3]).lower() == "true")
    return call.up(env, argv)


def leave(status: int) -> NoReturn:
    """End the process at once: tearing the interpreter down would cost a fifth of its start (bench/ifup)."""
    posix._exit(status)


class Call:
    """One call of a script: what it is named and what it says."""

    def __init__(self, name: str, interface: str) -> None:
        self.name, self.interface = name, interface
        self.config = Config()
        self.said = ""

    def say(self, words: object) -> None:
        """One line on stderr, which Ganeti shows if we fail, and in the log."""
        self.said = str(words)
        try:
            posix.write(2, f"{self.name}: {words}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # nobody reads it, and that is no reason to stop
        self.log(words)

    def log(self, words: object) -> None:
        """One line in LOGFILE. A full disk or a missing directory must not stop a NIC."""
        try:
            file = posix.open(self.config.logfile, LOG_FLAGS, 0o640)
        except OSError:
            return
        line = f"{strftime('%Y-%m-%d %H:%M:%S')} {self.name}[{posix.getpid()}] {shown(self.interface)[1:-1] or '-'}: {words}\n"
        try:
            posix.write(file, line.encode("utf-8", "backslashreplace"))
        except OSError:
            pass
        posix.close(file)

    def up(self, env: dict[str, str], argv: Sequence[str]) -> int:
        """Bring the NIC up. 0, or 1 with one line that says why not; then it is as it was before, or down."""
        try:
            self.config = Config.load()
            if env.get("ACTION", "up") not in ("up", ""):
                raise BadEnvironment(f"ACTION={shown(env['ACTION'])} is not valid", "up or down")
            nic = Nic.from_env(env, self.interface)
        except (SnfNetworkError, OSError) as error:
            self.say(error)
            return 1
        try:
            plan = bring_up(nic, self.config, self)
        except (SnfNetworkError, OSError) as error:
            self.say(error)
            if not isinstance(error, NodesOwn):
                note_failure(nic, self.config, str(error))
            return 1
        return extra(nic, plan, self.config, env, argv, self)

    def down(self, env: dict[str, str], local: bool) -> int:
        """Take back what the record of this interface says, if it is of the same instance and NIC. Always 0.

        `local`: the guest lives on elsewhere or comes back, so what other machines know of it stays. Ganeti
        3.2 does not say, and has no other reason to call.
        """
        from snf_network import engine

        try:
            self.config = Config.load()
            if not is_interface(self.interface):
                raise BadEnvironment(
                    f"INTERFACE={shown(self.interface)} is not valid",
                    "set INTERFACE or name the tap as first argument",
                )
            record = engine.remove(self.interface, self.config, lambda record: of_caller(record, env))
            self.log(
                f"down{' (local)' if local else ''}: {f'{record.instance} taken back' if record else 'nothing of this NIC here'}"
            )
            if record and not local and "ACTION" not in env:
                note_names(Nic.from_env(dict(record.variables)), None, self.config, self)
        except (SnfNetworkError, OSError) as error:
            self.say(error)
        return 0


def of_caller(record: Record, env: dict[str, str]) -> bool:
    """True if the record is of the NIC in `env`; what `env` does not say (by hand) is taken as meant."""
    return env.get("INSTANCE") in (None, "", record.instance) and env.get("INTERFACE_UUID") in (
        None,
        "",
        record.uuid,
    )


def extra(nic: Nic, plan: Plan, config: Config, env: dict[str, str], argv: Sequence[str], call: Call) -> int:
    """Become IFUP_EXTRA_SCRIPT, if there is one, with the variables the bash package gave it; else 0."""
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
        "EUI64": nic.ip6,
        "MAC": nic.mac,
        "TABLE": nic.link if routed else "",
        "BRIDGE": nic.link if nic.mode == "bridged" else "",
        "INDEV": nic.interface if routed else nic.link,
    }
    alarm(0)  # it is the administrator's, and may take its time
    try:
        posix.execve(path, [path, *argv[1:]], {**env, **dict(nic.values), **variables})
    except OSError as error:
        call.say(f"warning: {path}: {error.strerror}")
    return 0
