"""The directory of binding files: which are there, what is in them, and what changes (inotify(7)).

A file is taken only if root alone can have written it: the daemon does as it says. Files whose names begin
with a dot are somebody's half-written ones.
"""

from __future__ import annotations

import os
import stat
import struct

from snf_network.dhcpd import syscalls
from snf_network.errors import SnfNetworkError, shown

CLOSE_WRITE, MOVED_FROM, MOVED_TO, DELETE, DELETE_SELF, MOVE_SELF = 0x8, 0x40, 0x80, 0x200, 0x400, 0x800
Q_OVERFLOW, IGNORED, ONLYDIR = 0x4000, 0x8000, 0x1000000
EVENTS = CLOSE_WRITE | MOVED_FROM | MOVED_TO | DELETE | DELETE_SELF | MOVE_SELF
LARGEST = 8192
_EVENT = struct.Struct("=iIII")


class Refused(SnfNetworkError):
    """A binding file that is not taken, whatever is in it."""


class Watch:
    """Tells what changes in a directory. Raises OSError if there is no such directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.descriptor = syscalls.inotify()
        self.handle = self._opened()

    def _opened(self) -> int:
        syscalls.inotify_watch(self.descriptor, self.directory, EVENTS | ONLYDIR)
        return os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def fileno(self) -> int:
        """To be waited for."""
        return self.descriptor

    def changed(self) -> set[str] | None:
        """The files that were put in place, written or taken away since; None if that is not known: look at
        all of them.
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
        """All files that are in the directory now, which may be another than before, but those that begin
        with a dot.

        None if there is no directory.
        """
        try:
            handle = self._opened()
            os.close(self.handle)
            self.handle = handle
            return [name for name in os.listdir(self.directory) if not name.startswith(".")]
        except OSError:
            return None

    def read(self, name: str) -> str | None:
        """The text of a binding file; None if it is gone. Raises Refused."""
        try:
            descriptor = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.handle
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused(
                f"{shown(name)}: {error.strerror}", "binding files are regular files, readable by all"
            ) from error
        try:
            return _content(name, descriptor)
        finally:
            os.close(descriptor)


def _content(name: str, descriptor: int) -> str:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{shown(name)} is not a regular file")
    if status.st_uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused(f"{shown(name)} could have been written by others than root", "chown root, chmod 0644")
    data = os.read(descriptor, LARGEST + 1)
    if len(data) > LARGEST:
        raise Refused(f"{shown(name)} is larger than {LARGEST} bytes")
    return data.decode("utf-8", "surrogateescape")
