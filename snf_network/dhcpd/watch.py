"""A directory of files that the daemon reads, such as the bindings: names, contents, changes (inotify(7)).

A file is trusted only if nobody but root can have written it, because the daemon acts on its content. A name
that begins with a dot is a file that is still being written.
"""

from __future__ import annotations

import os
import stat
import struct

from snf_network.dhcpd import syscalls
from snf_network.dhcpd.binding import LARGEST
from snf_network.errors import SnfNetworkError, shown

CLOSE_WRITE, MOVED_FROM, MOVED_TO, DELETE, DELETE_SELF, MOVE_SELF = 0x8, 0x40, 0x80, 0x200, 0x400, 0x800
Q_OVERFLOW, IGNORED, ONLYDIR = 0x4000, 0x8000, 0x1000000
EVENTS = CLOSE_WRITE | MOVED_FROM | MOVED_TO | DELETE | DELETE_SELF | MOVE_SELF
_EVENT = struct.Struct("=iIII")


class UntrustedFile(SnfNetworkError):
    """A file that cannot be a binding, whatever its content."""


class Watch:
    """Watches a directory for changes. Raises OSError if it does not exist."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.descriptor = syscalls.inotify()
        self.handle = self._opened()

    def _opened(self) -> int:
        syscalls.inotify_watch(self.descriptor, self.directory, EVENTS | ONLYDIR)
        return os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.descriptor

    def changed(self) -> set[str] | None:
        """The files that were written, renamed or removed since the last call. None if that is unknown: then
        all must be read again.
        """
        names: set[str] | None = set()
        while data := self._read():
            at = 0
            while at < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + 16 : at + 16 + length].rstrip(b"\0")
                at += 16 + length
                if mask & (Q_OVERFLOW | IGNORED | DELETE_SELF | MOVE_SELF):
                    names = None
                elif names is not None and not name.startswith(b"."):
                    names.add(os.fsdecode(name))
        return names

    def _read(self) -> bytes:
        try:
            return os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return b""

    def names(self) -> list[str] | None:
        """All files in the directory now, except those whose names begin with a dot. The directory may have
        been replaced; None if there is none.
        """
        try:
            handle = self._opened()
            os.close(self.handle)
            self.handle = handle
            return [name for name in os.listdir(self.directory) if not name.startswith(".")]
        except OSError:
            return None

    def read(self, name: str) -> str | None:
        """The text of a file; None if it is gone. Raises UntrustedFile."""
        return trusted(name, self.handle)


def trusted(name: str, directory: int | None = None, largest: int = LARGEST) -> str | None:
    """The text of a file of at most `largest` bytes; None if there is none. Raises UntrustedFile."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UntrustedFile(
            f"{shown(name)}: {error.strerror}", "it must be a regular file, readable by all"
        ) from error
    try:
        return _content(name, descriptor, largest)
    finally:
        os.close(descriptor)


def _content(name: str, descriptor: int, largest: int) -> str:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedFile(f"{shown(name)} is not a regular file")
    if status.st_uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UntrustedFile(
            f"{shown(name)} could have been written by others than root", "chown root, chmod 0644"
        )
    data = os.read(descriptor, largest + 1)
    if len(data) > largest:
        raise UntrustedFile(f"{shown(name)} is larger than {largest} bytes")
    return data.decode("utf-8", "surrogateescape")
