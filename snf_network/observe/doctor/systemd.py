"""What systemd's files say, and which programs run: as files and processes, so that it needs no bus."""

from __future__ import annotations

import os
from functools import cache
from glob import glob
from typing import TYPE_CHECKING

from snf_network.host.kernel import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
"""A file hides those of the same name in later folders (systemd.unit(5))."""
NO = ("no", "false", "0", "off", "n", "f")


def file_of(name: str) -> str:
    """The path of a configuration file or unit; empty if there is none."""
    return next((path for folder in FOLDERS if os.path.exists(path := f"{folder}/{name}")), "")


def drop_ins(name: str) -> list[str]:
    """Its drop-ins, in the order in which they are read."""
    found = {
        path.rpartition("/")[2]: path
        for folder in reversed(FOLDERS)
        for path in glob(f"{folder}/{name}.d/*.conf")
    }
    return [found[file] for file in sorted(found)]


def assigned(name: str, key: str) -> list[tuple[str, str]]:
    """The values that a configuration file and its drop-ins give a key, each with its file. An empty value
    takes back those before.
    """
    values: list[tuple[str, str]] = []
    for path in filter(None, (file_of(name), *drop_ins(name))):
        for value in _values(path, key):
            values = [*values, (value, path)] if value else []
    return values


def _values(path: str, key: str) -> Iterator[str]:
    for line in (read_file(os.path.realpath(path)) or "").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == key:
            yield value.strip()


def is_enabled(unit: str) -> bool:
    """True if another unit, such as a target, starts it."""
    return any(
        glob(f"{folder}/system/*.{kind}/{unit}") for folder in FOLDERS for kind in ("wants", "requires")
    )


@cache
def running() -> frozenset[str]:
    """The names of the programs in this network namespace, as the kernel has them: at most 15 characters."""
    return frozenset(_running())


def _running() -> Iterator[str]:
    here = os.readlink("/proc/self/ns/net")
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{process}/ns/net") == here:
                yield (read_file(f"/proc/{process}/comm") or "").strip()
        except OSError:  # it has ended
            continue
