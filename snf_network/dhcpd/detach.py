"""Foreground or background: where the log goes, the pid file, and when the caller learns that guests are
served.

start-stop-daemon(8) could do it, but the old nfdhcpd is a daemon by itself, and its init scripts start this
one too.
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
    """Reports that the daemon has started."""

    log: TextIO = field(default_factory=lambda: sys.stderr)
    pipe: int = -1
    """The caller waits at the other end for one byte; -1: nobody waits."""

    def tell(self) -> None:
        """Report that guests are served, so that the caller continues."""
        if self.pipe >= 0:
            os.write(self.pipe, b"+")
            os.close(self.pipe)
            self.pipe = -1
            os.dup2(self.log.fileno(), 2)  # until now, errors had to reach the caller


@contextmanager
def daemon(foreground: bool, pidfile: str, logdir: str) -> Iterator[Ready]:
    """Run the block as a daemon. In the foreground that changes nothing; otherwise the block runs in a new
    process with a pid file and a log file.

    The caller waits until the daemon serves and exits with 0, or with 1 if it could not start. Raises
    KernelError if a daemon runs already.
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
    """Continue in a child of init. The caller waits at a pipe; returns its write end."""
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
    """Hold the pid file while the block runs. Raises KernelError if another daemon holds it, and OSError."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(_private(path), "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KernelError(f"nfdhcpd runs already, as process {file.read(20).strip() or '?'}") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def _private(path: str) -> int:
    """A descriptor of a file that only its owner can open and lock. A file that others could open may be
    locked by them, so it is replaced. Raises OSError.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
            return descriptor
        os.close(descriptor)
        os.unlink(path)
