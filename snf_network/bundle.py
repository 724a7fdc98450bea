"""The bytecode of all that a call imports in one file, beside Python's own in `__pycache__`.

An ifup imports over 40 small modules. To find, open and read each costs more than the module itself: from one
file, and without garbage collection, the imports cost half (bench/imports). An entry counts under the
conditions of a .pyc: its source still has the time and the size that it was made from. A call that had to
import something the usual way adds it when it has done its work.

Importing this module is what makes the difference: the scripts of a NIC do so first of all.
"""

from __future__ import annotations

import gc
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER
from fcntl import LOCK_EX, LOCK_NB, flock
from marshal import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    Entry = tuple[bool, int, int, memoryview]
    """True for a package; time and size of the source; its bytecode, as in a .pyc behind the header."""

HERE = __file__.rpartition("/")[0]
PACKAGE = HERE.rpartition("/")[2]
PATH = f"{HERE}/__pycache__/bundle.{sys.implementation.cache_tag}.calls"
"""py3clean(1) takes it for a part of this module's bytecode and removes it with the package."""
HEADER = 16
"""Length of a .pyc's header in bytes: magic number, flags, time and size of the source (PEP 552)."""


class Bundle:
    """A finder and loader of our modules (importlib's protocol), asked before Python's own."""

    def __init__(self, path: str = PATH) -> None:
        self.path = path
        self.early = frozenset(sys.modules)
        """What was imported before: it never comes out of the bundle."""
        self.entries = _read(path)

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """The module's spec, if its entry is there and as new as its source."""
        entry = self.entries.get(name)
        if entry is None or _made_of(name, entry[0]) != entry[1:3]:
            return None
        place = _source(name, entry[0])
        spec = ModuleSpec(name, self, origin=place, is_package=entry[0])  # type: ignore[arg-type]
        spec.has_location = True
        if entry[0]:
            spec.submodule_search_locations = [place.rpartition("/")[0]]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Let Python make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's bytecode."""
        exec(loads(self.entries[module.__name__][3]), module.__dict__)

    def keep(self) -> None:
        """Add what was imported the usual way. Failures cost nothing but the time that it saves."""
        new = (name for name in sys.modules if name not in self.early and name.startswith(f"{PACKAGE}."))
        specs = [sys.modules[name].__spec__ for name in new]
        ours = (one for one in specs if one and not isinstance(one.loader, Bundle))
        found = {one.name: entry for one in ours if one.cached and (entry := _compiled(one))}
        if found and not sys.dont_write_bytecode and posix.access(self.path.rpartition("/")[0], posix.W_OK):
            _write(self.path, _file({**self.entries, **found}))


def keep() -> None:
    """Add to the bundle what had to be imported the usual way."""
    for finder in sys.meta_path:
        if isinstance(finder, Bundle):
            finder.keep()


def _read(path: str) -> dict[str, Entry]:
    """The entries of a file: Python's magic number, the length of the index, the index (by name, all of an
    entry but bytecode, of which it has the length), and the bytecode of each in the same order.
    """
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except OSError:
        return {}
    try:
        content = memoryview(posix.read(descriptor, posix.fstat(descriptor).st_size))
        if content[:4] != MAGIC_NUMBER:
            return {}
        start = 8 + int.from_bytes(content[4:8], "little")
        entries = {}
        for name, (package, made, size, length) in loads(content[8:start]).items():
            entries[name] = package, made, size, content[start : start + length]
            start += length
        return entries if start == len(content) else {}
    except (OSError, EOFError, ValueError, TypeError):  # cut short
        return {}
    finally:
        posix.close(descriptor)


def _file(entries: dict[str, Entry]) -> bytes:
    """The content of a file that `_read` reads."""
    index = dumps({name: (*entry[:3], len(entry[3])) for name, entry in entries.items()})
    code = (entry[3] for entry in entries.values())
    return b"".join((MAGIC_NUMBER, len(index).to_bytes(4, "little"), index, *code))


def _source(name: str, package: bool) -> str:
    path = f"{HERE}/{name[len(PACKAGE) + 1 :].replace('.', '/')}"
    return f"{path}/__init__.py" if package else f"{path}.py"


def _made_of(name: str, package: bool) -> tuple[int, int] | None:
    """Time and size of a module's source; None if it is gone."""
    try:
        status = posix.stat(_source(name, package))
    except OSError:
        return None
    return int(status.st_mtime), status.st_size


def _compiled(spec: ModuleSpec) -> Entry | None:
    """The entry of a module, out of its .pyc; None if that is not there, or not made of the source of now."""
    package = spec.submodule_search_locations is not None
    source = _made_of(spec.name, package)
    try:
        with open(spec.cached or "", "rb") as file:
            content = file.read()
    except OSError:
        return None
    made = tuple(int.from_bytes(content[start : start + 4], "little") for start in (8, 12))
    timed = content[:HEADER].startswith(MAGIC_NUMBER + bytes(4))
    return (package, *source, memoryview(content)[HEADER:]) if source and timed and made == source else None


def _write(path: str, content: bytes) -> None:
    """Write atomically. Of many calls at once, one writes; the file that a killed one left is used again."""
    beside = f"{path}.new"
    try:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
        with open(posix.open(beside, flags, 0o644), "wb") as file:
            flock(file, LOCK_EX | LOCK_NB)
            if posix.fstat(file.fileno()).st_ino != posix.stat(beside).st_ino:
                return  # it has been renamed meanwhile
            posix.ftruncate(file.fileno(), 0)
            file.write(content)
            file.flush()
            posix.fsync(file.fileno())  # a power failure must not leave half of it
            posix.rename(beside, path)
    except OSError:
        pass


if sys.flags.no_site:  # as our launchers start (-IS), not a test or the watch, which import a script, too
    gc.disable()
    sys.meta_path.insert(0, Bundle())
