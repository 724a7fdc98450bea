"""Tools that a killed call left running: they hold its lock, and may still change the kernel."""

from __future__ import annotations

import posix
from _signal import SIGKILL, pidfd_send_signal  # type: ignore[import-not-found]  # signal would import enum
from select import POLLIN, poll

from snf_network.host import kernel

SECONDS = 1.0
"""How long to wait for a tool that was killed: it may be in the middle of a system call."""


def end_leftovers(path: str) -> bool:
    """Kill the tools that hold the lock `path` for a call that is dead, and wait until they are gone. False
    if the call that took it lives; else the lock may be free now, or soon: a tool that ends by itself has
    lost its environment, which tells that it is ours, before it lets go.

    A lock taken with flock(2) stays while any process has the open file that it was taken with: the call
    passes that to each tool (kernel.run). proc_locks(5) and proc_pid_fdinfo(5) name the process that took it.
    """
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except OSError:
        return False
    inode, path = posix.fstat(descriptor).st_ino, posix.readlink(f"/proc/self/fd/{descriptor}")
    posix.close(descriptor)
    locks = (kernel.read_file("/proc/locks") or "").splitlines()
    if any(_is_alive(_taker(line)) for line in locks if f":{inode} " in line):
        return False  # by far the usual case, and looking at all processes is dear
    for name in posix.listdir("/proc"):
        if name.isdigit():
            _end(int(name), path)
    return True


def _taker(line: str) -> int:
    """The process that took a lock: `1: FLOCK ADVISORY WRITE 708 00:13:9764 0 EOF` names 708."""
    words = line.removeprefix("lock:").split()
    return int(words[4]) if words[1:2] == ["FLOCK"] else 0


def _is_alive(pid: int) -> bool:
    """True if the process runs. Within a PID namespace, the kernel calls a dead one 0."""
    return pid > 0 and kernel.process(pid)[:1] not in ([], ["Z"], ["X"])


def _end(pid: int, path: str) -> None:
    """End a process if it holds the lock for a dead one."""
    try:
        handle = posix.pidfd_open(pid)  # before the look, as the number may be another's after it
    except OSError:
        return
    try:
        if _holds_for_the_dead(pid, path):
            pidfd_send_signal(handle, SIGKILL)
            waiting = poll()
            waiting.register(handle, POLLIN)
            waiting.poll(SECONDS * 1000)
    except OSError:
        pass  # it has ended by itself
    finally:
        posix.close(handle)


def _holds_for_the_dead(pid: int, path: str) -> bool:
    place = f"/proc/{pid}/fd"
    try:
        found = [name for name in posix.listdir(place) if posix.readlink(f"{place}/{name}") == path]
    except OSError:  # a descriptor, or the process, is gone
        return False
    if f"\0{kernel.MARK}=" not in f"\0{kernel.read_file(f'/proc/{pid}/environ')}":
        return False  # an administrator's shell that locks by flock(1), which has ended
    said = "".join(kernel.read_file(f"/proc/{pid}/fdinfo/{name}") or "" for name in found)
    held = [line for line in said.splitlines() if line.startswith("lock:")]
    return bool(held) and not any(_is_alive(_taker(line)) for line in held)
