"""Facts about this node: its boot time, the instances that run here, and the sender process."""

from __future__ import annotations

import posix
import time

from snf_network.host import kernel
from snf_network.host.record import Records, is_live

STOPPED = ("T", "t")
"""States of a process that does not run until SIGCONT or until its tracer continues it (proc_pid_stat(5))."""


def booted() -> float:
    """The boot time of this node, in seconds since the epoch."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def running(state_dir: str) -> dict[str, set[str]]:
    """The NICs that are up here, by instance."""
    found: dict[str, set[str]] = {}
    for record in Records(state_dir):
        if is_live(record):
            nic = record.uuid or dict(record.variables).get("INTERFACE_INDEX") or "0"
            found.setdefault(record.instance, set()).add(nic)
    return found


def holder(path: str) -> int:
    """The process that holds a lock file (proc_locks(5)); 0 if none does or it is in another namespace."""
    try:
        inode = posix.stat(path).st_ino
        with open("/proc/locks", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return 0
    held = {int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{inode}")}
    claimed = (kernel.read_file(path) or "").strip()
    return int(claimed) if claimed.isdigit() and int(claimed) in held else 0


def is_stopped(process: int) -> bool:
    """True if a process is stopped, by a signal or a debugger."""
    return kernel.process(process)[:1] in ([state] for state in STOPPED)


def end(process: int) -> None:
    """Kill a process."""
    try:
        posix.kill(process, 9)
    except OSError:
        pass
