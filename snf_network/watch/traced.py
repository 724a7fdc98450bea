"""Hears that a proxy entry is deleted, which rtnetlink reports to nobody: neigh_delete() returns before what
notifies. The function tracer does (Documentation/trace/ftrace.rst): in an instance of our own, which disturbs
no other tracing, it traces one function that all ways to delete one go through, `arp -d` included.
"""

from __future__ import annotations

import os
from contextlib import suppress

INSTANCE = "/sys/kernel/tracing/instances/snf-network"
FUNCTION = "pneigh_delete"
KILOBYTES = 4
"""For each CPU: what is traced is not read, only that something was."""


class Deletions:
    """Says that somebody has deleted entries, in whatever namespace, once each time that it is `armed`: who
    deletes without pause costs us nothing. Raises OSError if the kernel has no tracer for us.
    """

    def __init__(self) -> None:
        if not os.path.isdir(INSTANCE):  # a watch that was killed has left it
            os.mkdir(INSTANCE)
        try:
            _write("current_tracer", "nop")  # it would trace all functions while the filter is written
            _write("buffer_size_kb", KILOBYTES)
            _write("set_ftrace_filter", FUNCTION)
            _write("current_tracer", "function")
            self._pipe = os.open(f"{INSTANCE}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self.arm()
        except OSError:
            _remove()
            raise

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._pipe

    def arm(self) -> None:
        """Hear of the next one."""
        _write("tracing_on", 1)

    def read(self) -> bool:
        """True if some were deleted since the last call; then it is deaf until it is armed."""
        if not self._drain():
            return False
        _write("tracing_on", 0)
        self._drain()
        return True

    def _drain(self) -> bool:
        found = False
        try:
            while os.read(self._pipe, 1 << 16):
                found = True
        except BlockingIOError:
            pass
        return found

    def close(self) -> None:
        """Trace nothing any more."""
        os.close(self._pipe)
        _remove()


def _remove() -> None:
    """What cannot be removed, as somebody reads it, is the next watch's."""
    with suppress(OSError):
        os.rmdir(INSTANCE)


def _write(name: str, value: object) -> None:
    with open(f"{INSTANCE}/{name}", "w", encoding="ascii") as file:
        file.write(f"{value}\n")
