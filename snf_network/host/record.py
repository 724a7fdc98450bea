"""STATE_DIR/<interface>: what we put in place, and for whom. Saved before the kernel is touched, so a crash
can be undone.

A record is text: a line a fact, tab-separated and escaped, the kind of fact first. It is read as data and
never run. What a later version adds, a field or a kind, is passed over; a file that does not end in `end` was
cut off and is not believed.

    nic         interface, ifindex, boot id, instance, NIC uuid, format
    variable    name, value: what Ganeti said of the NIC
    node        name, value: what the plan took from the node
    lacking     what could not be done yet
    Route ...   a Resource: its kind and its fields
    stale       a Resource of an earlier state, which may be there still
    end
"""

from __future__ import annotations

import posix

from snf_network.errors import KernelError
from snf_network.host.kernel import boot, ifindex, is_up, read_file, remove_file, withdraw_file, write_file
from snf_network.host.lock import RESERVED, make_directories, refuse_reserved
from snf_network.lean import dataclass
from snf_network.model.resources import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snf_network.model.resources import Resource

FAILED = "failed: "
"""How what is lacking begins that the machine refused: worth another try though nothing has changed."""
ALWAYS = "+"
"""Holds a shared thing, and is locked, without being an interface: no interface has such a name."""
FACTS = ("nic", "variable", "node", "lacking", "stale", "end")
FORMAT = "2"
"""Records of the first format, which have no such field, have no end mark either."""
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
    node: tuple[tuple[str, str], ...] = ()
    """What the plan took from the node: another uplink by now means another plan."""

    @property
    def failed(self) -> bool:
        """True if something was refused, rather than not there to be had."""
        return any(words.startswith(FAILED) for words in self.lacking)

    def text(self) -> str:
        """As it stands in the file."""
        rows: list[tuple[str, ...]] = [
            ("nic", self.interface, str(self.ifindex), self.boot, self.instance, self.uuid, FORMAT)
        ]
        rows += [("variable", *pair) for pair in self.variables]
        rows += [("node", *pair) for pair in self.node]
        rows += [("lacking", words) for words in self.lacking]
        rows += [(type(resource).__name__, *resource.fields()) for resource in self.resources]
        rows += [("stale", type(resource).__name__, *resource.fields()) for resource in self.stale]
        rows.append(("end",))
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

    def all(self) -> tuple[list[Record], list[str]]:
        """Every record, and the names of files that should be one and cannot be read: cut off, or somebody
        else's.
        """
        names = [name for name in _names(self.directory) if name not in RESERVED and not name.startswith(".")]
        found = {name: self.load(name) for name in names}
        records = [record for name, record in found.items() if record and record.interface == name]
        return records, sorted(found.keys() - {record.interface for record in records})

    def holds(self, resource: Resource, interface: str) -> bool:
        """True if `interface` has said that it wants a shared resource."""
        return posix.access(f"{self._shared(resource)}/{interface}", posix.F_OK)

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
        yield from self.all()[0]

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
        """A tap that is up may have a guest, whether or not it has a record that can be read."""
        return holder == ALWAYS or is_up(holder) or self.load(holder) is not None

    def _shared(self, resource: Resource) -> str:
        return f"{self.directory}/shared/{'+'.join(resource.slot).replace('/', '_')}"


def is_live(record: Record) -> bool:
    """True if the interface is still the one that the record was made for."""
    return record.boot == boot() and ifindex(record.interface) == record.ifindex


def parse(text: str) -> Record | None:
    """The record that `text` is; None if it is something else, or not whole."""
    rows = columns(text)
    head = rows[0] if rows else []
    if (
        len(head) < 6
        or head[0] != "nic"
        or not (head[2].isascii() and head[2].isdigit() and len(head[2]) < 11)
    ):
        return None
    if text[-1:] != "\n" or (len(head) > 6 and rows[-1] != ["end"]):
        return None
    try:
        resources = tuple(
            kind.read(row[1:]) for row in rows if row[0] not in FACTS and (kind := KINDS.get(row[0]))
        )
        stale = tuple(kind.read(row[2:]) for row in rows if row[0] == "stale" and (kind := KINDS.get(row[1])))
        variables, node = (
            tuple((row[1], row[2]) for row in rows if row[0] == name) for name in ("variable", "node")
        )
        lacking = tuple(row[1] for row in rows if row[0] == "lacking")
    except (TypeError, ValueError, IndexError):
        return None
    return Record(
        head[1], int(head[2]), head[3], head[4], head[5], variables, resources, lacking, stale, node
    )


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
