"""In the background or not: where the log goes, the pid file, and telling the caller when guests are
served.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from snf_network.errors import KernelError


@dataclass
class Ready:
    """What `serve` has of the process that it runs in."""

    log: TextIO = field(default_factory=lambda: sys.stderr)
    pipe: int = -1
    """Somebody waits at its other end for one byte."""

    def tell(self) -> None:
        """Guests are served: the caller may go on."""
        if self.pipe >= 0:
            os.write(self.pipe, b"+")
            os.close(self.pipe)
            self.pipe = -1
            os.dup2(self.log.fileno(), 2)  # until now what went wrong was the caller's to read


@contextmanager
def daemon(foreground: bool, pidfile: str, logdir: str) -> Iterator[Ready]:
    """A daemon's life: in the foreground only a name for what is there; else a new process, which has the pid
    file and a log.

    The caller waits until it serves and exits with 0, or with 1 when it could not start. Raises KernelError
    if one runs already.
    """
    if foreground:
        yield Ready()
        return
    pipe = _leave_caller()
    os.makedirs(logdir, exist_ok=True)
    with (
        open(f"{logdir}/nfdhcpd.log", "a", encoding="utf-8", errors="backslashreplace") as log,
        _pid_in(pidfile),
    ):
        yield Ready(log, pipe)


def _leave_caller() -> int:
    """Go on in a child of init; the caller, where it waits, hears from it by the pipe that this gives the end
    of.
    """
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        os._exit(0 if os.read(read, 1) else 1)
    os.close(read)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    return write


@contextmanager
def _pid_in(path: str) -> Iterator[None]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise KernelError(f"nfdhcpd runs already, as process {file.read().strip() or '?'}") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)
