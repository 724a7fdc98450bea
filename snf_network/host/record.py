"""STATE_DIR/<interface>: what we put in place, and for whom. Saved before the kernel is touched, so a crash
can be undone.

A record is text: a line a fact, tab-separated and escaped, the kind of fact first. It is read as data and
never run.

    nic         interface, ifindex, boot id, instance, NIC uuid
    variable    name, value: what Ganeti said of the NIC
    lacking     what could not be done yet
    Route ...   a Resource: its kind and its fields
    stale       a Resource of an earlier state, which may be there still
"""

from __future__ import annotations

import posix

from snf_network.errors import KernelError
from snf_network.host.kernel import boot, ifindex, read_file, remove_file, withdraw_file, write_file
from snf_network.host.lock import RESERVED, make_directories, refuse_reserved
from snf_network.model.resources import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from dataclasses import dataclass

    from snf_network.model.resources import Resource
else:
    from snf_network.lean import dataclass

ALWAYS = "+"
"""Holds a shared thing, and is locked, without being an interface: no interface has such a name."""
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
    """What may be there from before: a call that has not ended yet, or was killed. To be taken away, never to
    be wanted.
    """

    def text(self) -> str:
        """As it stands in the file."""
        rows: list[tuple[str, ...]] = [
            ("nic", self.interface, str(self.ifindex), self.boot, self.instance, self.uuid)
        ]
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
        """The record of `interface`; None if it has none, or if the file is not one of ours (the bash package
        had files there).
        """
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
        """Remove files that a killed call had begun; a note that somebody is writing just now is written by
        the next NIC.
        """
        for name in (interface, "base"):
            remove_file(f"{self.directory}/.{name}.new")

    def __iter__(self) -> Iterator[Record]:
        for name in _names(self.directory):
            record = self.load(name) if not name.startswith(".") else None
            if record and record.interface == name:
                yield record

    # --- things that several NICs share: STATE_DIR/shared/<resource>/<interface>, empty files. The rmdir that
    # succeeds is the last's

    def hold(self, resource: Resource, interface: str) -> None:
        """Say that `interface` wants a shared resource. Raises KernelError."""
        directory = self._shared(resource)
        make_directories(directory)
        try:
            posix.close(
                posix.open(
                    f"{directory}/{interface}", posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o644
                )
            )
        except FileNotFoundError:
            self.hold(resource, interface)  # the last one left between the two calls
        except OSError as error:
            raise KernelError(f"{directory}/{interface}: {error.strerror}") from error

    def release(self, resource: Resource, interface: str) -> bool:
        """Say that `interface` wants it no more; True if nobody does."""
        directory = self._shared(resource)
        remove_file(f"{directory}/{interface}")
        return _remove_directory(directory)

    def held(self, resource: Resource) -> bool:
        """True if somebody wants it."""
        return any(self._wants(holder) for holder in _names(self._shared(resource)))

    def prune(self) -> None:
        """Drop what is held by nobody: its call was killed between record and release, or its record is
        lost.
        """
        for thing in _names(f"{self.directory}/shared"):
            directory = f"{self.directory}/shared/{thing}"
            for holder in _names(directory):
                if not self._wants(holder):
                    remove_file(f"{directory}/{holder}")
            _remove_directory(directory)

    def _wants(self, holder: str) -> bool:
        """What cannot be read wants nothing: no call would ever give up what is held in its name."""
        return holder == ALWAYS or self.load(holder) is not None

    def _shared(self, resource: Resource) -> str:
        return f"{self.directory}/shared/{'+'.join(resource.slot).replace('/', '_')}"


def is_live(record: Record) -> bool:
    """True if the interface is still the one that the record was made for."""
    return record.boot == boot() and ifindex(record.interface) == record.ifindex


def parse(text: str) -> Record | None:
    """The record that `text` is; None if it is something else."""
    rows = columns(text)
    if (
        not rows
        or rows[0][0] != "nic"
        or len(rows[0]) != 6
        or not (rows[0][2].isascii() and rows[0][2].isdigit() and len(rows[0][2]) < 11)
    ):
        return None
    _, interface, ifindex, boot, instance, uuid = rows[0]
    try:
        resources = tuple(
            kind(*row[1:]) for row in rows if (kind := None if row[0] in FACTS else KINDS.get(row[0]))
        )
        variables = tuple(
            (name, value) for kind, name, value in (row for row in rows if row[0] == "variable")
        )
        stale = tuple(kind(*row[2:]) for row in rows if row[0] == "stale" and (kind := KINDS.get(row[1])))
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


def _names(directory: str) -> list[str]:
    """What is in a directory; nothing, if it is none."""
    try:
        return sorted(posix.listdir(directory))
    except OSError:
        return []


def _remove_directory(path: str) -> bool:
    """True if it is gone; one that is not empty stays."""
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
