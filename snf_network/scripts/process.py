"""Common parts of all scripts: process setup, environment, log, and one-line error reports."""

from __future__ import annotations

import posix
from _signal import alarm  # type: ignore[import-not-found]  # signal itself would import enum
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_DGRAM, socket
from sys import modules
from time import monotonic, strftime

from snf_network.errors import SnfNetworkError, shown
from snf_network.host import kernel
from snf_network.model.config import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from snf_network.host.record import Record
    from snf_network.model.nic import Nic

BEGAN = monotonic()
IFUPS = "/run/snf-network/ifups"
"""Counts how long NICs took to come up: host/latency.py."""
JOURNAL = "/run/systemd/journal/socket"
ERROR, INFO = 3, 6
"""Priorities of syslog(3)."""
NEWLINE = "\n"
SECONDS = 4.0
"""Time limit for all tools and locks of one call together."""
LAST = 5
"""Seconds until the kernel ends a call that is blocked elsewhere, such as on a disk that does not answer."""
CALLED = {b"INTERFACE", b"INSTANCE", b"XENBUS_PATH", b"vif"}
"""Variables that only Ganeti and Xen set: one of them, and it is no person who calls."""
# the directory belongs to Ganeti, not to root alone: follow no link, never wait for a pipe's reader
LOG_FLAGS = (
    posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
)


def environment() -> dict[str, str]:
    """The environment as text; bytes that are not UTF-8 stay visible to the checks."""
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in posix.environ.items()
    }


def settle() -> None:
    """Set up this process, whatever called it: umask, a deadline, open descriptors 0 to 2."""
    posix.umask(0o022)  # Ganeti's is 0077: nfdhcpd could not read its bindings
    kernel.give_up_after(SECONDS)
    alarm(LAST)
    open_descriptors()


def count(is_up: bool) -> None:
    """Note how long this call took to bring a NIC up, or that it did not, if `metrics` has made the file."""
    if posix.access(IFUPS, posix.F_OK):
        from snf_network.host.latency import note

        note(IFUPS, monotonic() - BEGAN, is_up)


def answered(name: str, argv: Sequence[str]) -> bool:
    """Answer a person who calls the script `name` with --help; False if nobody asked.

    With a NIC in the environment nobody does: a NIC that is not up must not look like one.
    """
    if len(argv) != 2 or argv[1] not in ("--help", "-h") or CALLED & posix.environ.keys():
        return False
    from snf_network.scripts.usage import text, width

    try:
        posix.write(1, text(name, width()).encode())
    except OSError:
        pass  # nobody reads it
    return True


def take_time() -> None:
    """Lift the limits of `settle`: nobody waits for this process."""
    alarm(0)
    kernel.give_up_after(float("inf"))


def open_descriptors() -> None:
    """Open descriptors 0 to 2 if the caller closed them, so that no file opened later becomes a tool's
    output.
    """
    descriptor = 0
    while descriptor < 3:
        descriptor = posix.open("/dev/null", posix.O_RDWR)
    posix.close(descriptor)


def leave(status: int) -> NoReturn:
    """End the process at once: shutting Python down would take a fifth of its start-up time (bench/ifup)."""
    if bundle := modules.get("snf_network.bundle"):
        bundle.keep()
    posix._exit(status)


class Log:
    """The log of one call: LOGFILE and, for messages to the caller, stderr."""

    def __init__(self, name: str, interface: str = "-", path: str = Config.logfile) -> None:
        self.name, self.interface, self.path = name, interface, path
        self.instance = self.nic = ""
        self.said = ""
        """The last line written to stderr, which vif-custom passes to Xen's toolstack."""

    def of(self, interface: str) -> Log:
        """The same log, with lines about an interface."""
        return Log(self.name, interface or "-", self.path)

    def about(self, nic: Nic | Record) -> Log:
        """The same log, with lines about a NIC: its instance and UUID are sent to the journal with each."""
        log = self.of(nic.interface)
        log.instance, log.nic = nic.instance, nic.uuid
        return log

    def say(self, words: object) -> None:
        """Write a line to stderr, which Ganeti shows if the call fails, and to the log as an error."""
        self.said = str(words)
        try:
            posix.write(2, f"{self.name}: {words}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # nobody reads stderr, but that is no reason to stop
        self.log(words, ERROR)

    def log(self, words: object, priority: int = INFO) -> None:
        """Write a line to the journal and LOGFILE. A full disk or missing directory must not stop a NIC."""
        self._tell_journal(words, priority)
        try:
            file = posix.open(self.path, LOG_FLAGS, 0o640)
        except OSError:
            return
        when, about = strftime("%Y-%m-%d %H:%M:%S"), shown(self.interface)[1:-1] or "-"
        line = f"{when} {self.name}[{posix.getpid()}] {about}: {words}\n"
        try:
            posix.write(file, line.encode("utf-8", "backslashreplace"))
        except OSError:
            pass
        posix.close(file)

    def _tell_journal(self, words: object, priority: int) -> None:
        """Send by the journal's native protocol, with searchable fields; never waits for the journal."""
        fields = {
            "MESSAGE": f"{self.interface}: {words}",
            "PRIORITY": priority,
            "SYSLOG_IDENTIFIER": self.name,
            "INTERFACE": self.interface,
            "INSTANCE": self.instance,
            "NIC": self.nic,
        }
        lines = [f"{name}={str(value).replace(NEWLINE, ' ')}\n" for name, value in fields.items() if value]
        try:
            journal = socket(AF_UNIX, SOCK_DGRAM)
        except OSError:
            return
        try:
            journal.sendto("".join(lines).encode("utf-8", "backslashreplace"), MSG_DONTWAIT, JOURNAL)
        except OSError:
            pass
        journal.close()


def run(argv0: str, interface: str, act: Callable[[Config, Log], int]) -> int:
    """Load the settings and run `act` with a log that uses them. A failure is one line and exit status 1."""
    return run_logged(Log(argv0.rpartition("/")[2], interface), act)


def run_logged(log: Log, act: Callable[[Config, Log], int]) -> int:
    """Like `run`, with a log from the caller."""
    try:
        config = Config.load()
        log.path = config.logfile
        return act(config, log)
    except (SnfNetworkError, OSError) as error:
        log.say(error)
        return 1
