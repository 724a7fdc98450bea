"""STATE_DIR/<interface>: what we put in place, and for whom. Saved before the kernel is touched, so a crash can be undone.

A record is text: a line a fact, tab-separated and escaped, the kind of fact first. It is read as data and never run.

    nic         interface, ifindex, boot id, instance, NIC uuid
    variable    name, value: what Ganeti said of the NIC
    lacking     what could not be done yet
    Route ...   a Resource: its kind and its fields
    stale       a Resource of an earlier state, which may be there still
"""

from __future__ import annotations

import posix
from errno import ENOENT
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic, sleep

from snf_network.errors import KernelError
from snf_network.kernel import read_file, remove_file, withdraw_file, write_file
from snf_network.resources import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from dataclasses import dataclass

    from snf_network.resources import Resource
else:
    from snf_network.lean import dataclass

RESERVED = ("locks", "shared", "base", "dns")
"""Names in STATE_DIR that no interface may have."""
WAIT = 2.0
"""Seconds that a call waits for another one on the same interface."""
FACTS = ("nic", "variable", "lacking", "stale")
ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


@dataclass(frozen=True)
class Record:
    """What one interface has, and whose it is."""

    interface: str
    ifindex: int
    boot: str
    instance: str
    uuid: str
    variables: tuple[tuple[str, str], ...]
    resources: tuple[Resource, ...]
    lacking: tuple[str, ...] = ()
    stale: tuple[Resource, ...] = ()
    """What may be there from before: a call that has not ended yet, or was killed. To be taken away, never to be wanted."""

    def text(self) -> str:
        """As it stands in the file."""
        rows: list[tuple[str, ...]] = [("nic", self.interface, str(self.ifindex), self.boot, self.instance, self.uuid)]
        rows += [("variable", *pair) for pair in self.variables]
        rows += [("lacking", words) for words in self.lacking]
        rows += [(type(resource).__name__, *resource.fields()) for resource in self.resources]
        rows += [("stale", type(resource).__name__, *resource.fields()) for resource in self.stale]
        return "".join(map(row, rows))


class Records:
    """The records of a node."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def load(self, interface: str) -> Record | None:
        """The record of `interface`; None if it has none, or if the file is not one of ours (the bash package had files there)."""
        text = read_file(f"{self.directory}/{interface}") if interface not in RESERVED else None
        return parse(text) if text else None

    def save(self, record: Record) -> None:
        """Put the record in place at once. Raises KernelError."""
        refuse_reserved(self.directory, record.interface)
        write_file(f"{self.directory}/{record.interface}", record.text())

    def forget(self, interface: str) -> None:
        """Drop the record."""
        withdraw_file(f"{self.directory}/{interface}")

    def tidy(self, interface: str) -> None:
        """Remove files that a killed call had begun; a note that somebody is writing just now is written by the next NIC."""
        for name in (interface, "base"):
            remove_file(f"{self.directory}/.{name}.new")

    def __iter__(self) -> Iterator[Record]:
        try:
            names = sorted(posix.listdir(self.directory))
        except OSError:
            return
        for name in names:
            record = self.load(name) if not name.startswith(".") else None
            if record and record.interface == name:
                yield record

    # --- things that several NICs share: STATE_DIR/shared/<resource>/<interface>, empty files. The rmdir that succeeds is the last's

    def hold(self, resource: Resource, interface: str) -> None:
        """Say that `interface` wants a shared resource. Raises KernelError."""
        directory = self._shared(resource)
        make_directories(directory)
        try:
            posix.close(posix.open(f"{directory}/{interface}", posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o644))
        except FileNotFoundError:
            self.hold(resource, interface)  # the last one left between the two calls
        except OSError as error:
            raise KernelError(f"{directory}/{interface}: {error.strerror}") from error

    def release(self, resource: Resource, interface: str) -> bool:
        """Say that `interface` wants it no more; True if nobody does."""
        directory = self._shared(resource)
        remove_file(f"{directory}/{interface}")
        try:
            posix.rmdir(directory)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def held(self, resource: Resource) -> bool:
        """True if somebody wants it."""
        return posix.access(self._shared(resource), posix.F_OK)

    def _shared(self, resource: Resource) -> str:
        return f"{self.directory}/shared/{'+'.join(resource.slot).replace('/', '_')}"


class Held(KernelError):
    """Another call has the lock, and did not let go of it in time."""


class Lock:
    """One call at a time on one interface. Nobody but root can open the file, so nobody else can hold it."""

    def __init__(self, directory: str, interface: str, wait: float = WAIT) -> None:
        refuse_reserved(directory, interface)
        self.wait = wait
        self.path = f"{directory}/locks/{interface}"

    def __enter__(self) -> Lock:
        until = monotonic() + self.wait
        while not self._taken():
            if monotonic() > until:
                raise Held(f"{self.path} is held by another call", f"it should end within seconds: fuser -v {self.path}")
            sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        posix.close(self.descriptor)

    def _taken(self) -> bool:
        try:
            self.descriptor = posix.open(self.path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o600)
        except OSError as error:
            if error.errno != ENOENT or not make_directories(self.path.rpartition("/")[0]):
                raise KernelError(f"{self.path}: {error.strerror}") from error
            return self._taken()
        try:
            flock(self.descriptor, LOCK_EX | LOCK_NB)
            return True
        except OSError:
            posix.close(self.descriptor)
            return False


def refuse_reserved(directory: str, interface: str) -> None:
    """Raise KernelError for an interface that is named like something of ours."""
    if interface in RESERVED:
        raise KernelError(f"{interface} cannot be the name of an interface here", f"{directory} has something else of that name")


def parse(text: str) -> Record | None:
    """The record that `text` is; None if it is something else."""
    rows = columns(text)
    if not rows or rows[0][0] != "nic" or len(rows[0]) != 6 or not (rows[0][2].isascii() and rows[0][2].isdigit() and len(rows[0][2]) < 11):
        return None
    _, interface, ifindex, boot, instance, uuid = rows[0]
    try:
        resources = tuple(kind(*row[1:]) for row in rows if (kind := None if row[0] in FACTS else kind_of(row[0])))
        variables = tuple((name, value) for kind, name, value in (row for row in rows if row[0] == "variable"))
        stale = tuple(kind(*row[2:]) for row in rows if row[0] == "stale" and (kind := kind_of(row[1])))
        lacking = tuple(words for kind, words in (row for row in rows if row[0] == "lacking"))
    except (TypeError, ValueError, IndexError):
        return None
    return Record(interface, int(ifindex), boot, instance, uuid, variables, resources, lacking, stale)


def row(words: Iterable[str]) -> str:
    """A line of a file in STATE_DIR."""
    return "\t".join(map(_escaped, words)) + "\n"


def columns(text: str) -> list[list[str]]:
    """The lines of such a file, word by word."""
    return [[_unescaped(word) for word in line.split("\t")] for line in text.split("\n") if line]


def _escaped(word: str) -> str:
    for plain, escape in ESCAPES:
        if plain in word:
            word = word.replace(plain, escape)
    return word


def _unescaped(word: str) -> str:
    if "\\" not in word:
        return word
    parts = word.split("\\\\")
    for plain, escape in ESCAPES[1:]:
        parts = [part.replace(escape, plain) for part in parts]
    return "\\".join(parts)


def make_directories(path: str) -> bool:
    """As mkdir -p; the locks' directory is root's alone. True if it had to be made, which may have been somebody else's doing."""
    parent = path.rpartition("/")[0]
    if parent and not posix.access(parent, posix.F_OK):
        make_directories(parent)
    try:
        posix.mkdir(path, 0o700 if path.endswith("/locks") else 0o755)
    except FileExistsError:
        return posix.access(path, posix.W_OK)
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}") from error
    return True
