"""Records: STATE_DIR/<interface> has what we put in place, and for whom. It is written before any change to
the kernel, so that a crash can be undone.

A record is text: one fact per line, its kind first, tab-separated and escaped. It is read as data and never
run. Fields and kinds of later versions are skipped; a file that does not end in `end` is truncated and
rejected.

    nic         interface, ifindex, boot id, instance, NIC uuid, format
    variable    name, value: a variable of the NIC, from Ganeti
    node        name, value: a fact of the node that the plan depended on
    lacking     what could not be done yet
    Route ...   a Resource: its kind and its fields
    stale       a Resource of an earlier state, which may still exist
    end
"""

from __future__ import annotations

import posix

from snf_network.errors import KernelError
from snf_network.host.kernel import boot, ifindex, is_up, read_file, remove_file, withdraw_file, write_file
from snf_network.host.lock import RESERVED, make_directories, refuse_reserved
from snf_network.lean import dataclass, replace
from snf_network.model.resources import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from snf_network.model.resources import Resource

FAILED = "failed: "
"""Prefix of a `lacking` entry that the machine refused: worth retrying even though nothing has changed."""
ALWAYS = "+"
"""A pseudo-interface that holds shared Resources and has a lock; no real interface can have this name."""
NETWORKS = "networks"
"""The directory in STATE_DIR with the records of the node's own networks."""
FACTS = ("variable", "node", "lacking", "stale")
OF_ANOTHER_VERSION = ("", None)
FORMAT = "2"
"""Records of format 1, without this field, have no end mark either."""
_boot: list[str] = []
ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


@dataclass(frozen=True)
class Record:
    """The state of one interface, and the NIC it belongs to."""

    interface: str
    ifindex: int
    boot: str
    instance: str
    uuid: str
    variables: tuple[tuple[str, str], ...]
    resources: tuple[Resource, ...]
    lacking: tuple[str, ...] = ()
    stale: tuple[Resource, ...] = ()
    """Resources of an earlier state that may still exist, during a call or after a killed one. To be removed,
    never to be wanted.
    """
    node: tuple[tuple[str, str], ...] = ()
    """The node's facts that the plan depended on: a different uplink now means a different plan."""

    @property
    def failed(self) -> bool:
        """True if something was refused, rather than not available yet."""
        return any(words.startswith(FAILED) for words in self.lacking)

    @property
    def known(self) -> dict[str, int]:
        """Its ifindex by its name, for kernel.rtnetlink."""
        return {self.interface: self.ifindex}

    def text(self) -> str:
        """The content of the file."""
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
    """The records of a node: of its NICs, or with other kinds of its networks."""

    def __init__(self, directory: str, kinds: Mapping[str, type[Resource]] = KINDS) -> None:
        self.directory, self.kinds = directory, kinds

    def load(self, interface: str, rows: Rows | None = None) -> Record | None:
        """The record of `interface`; None if there is none, if the file is not ours (the bash package had
        files there), or if it has a field that no tool would accept. `rows`: see parse.
        """
        rows = Rows(self.kinds) if rows is None else rows
        record = self._parsed(interface, rows)
        if record and rows.unsound and any(one in rows.unsound for one in (*record.resources, *record.stale)):
            return None
        return record

    def salvage(self, interface: str) -> Record | None:
        """As `load`, but a record with such a field is returned without what has it: whoever takes a NIC back
        takes what can be taken.
        """
        record = self._parsed(interface, Rows(self.kinds))
        return record and replace(record, resources=_sound(record.resources), stale=_sound(record.stale))

    def _parsed(self, interface: str, rows: Rows) -> Record | None:
        text = read_file(f"{self.directory}/{interface}") if interface not in RESERVED else None
        return parse(text, rows) if text else None

    def all(self, there: Iterable[Resource] = ()) -> tuple[list[Record], list[str]]:
        """Every record, and the names of files that should be records but cannot be read: truncated, or not
        ours. Whoever knows what is `there` gets the same objects in the records, and sooner.
        """
        rows = Rows(self.kinds)
        rows.know(there)
        found = dict(self._each(rows))
        return [*filter(None, found.values())], sorted(name for name, record in found.items() if not record)

    def __iter__(self) -> Iterator[Record]:
        """Every record, read when it is asked for."""
        return (record for _, record in self._each(Rows(self.kinds)) if record)

    def _each(self, rows: Rows) -> Iterator[tuple[str, Record | None]]:
        """Each file that should be a record; None for one that cannot be read, or is another NIC's."""
        for name in _names(self.directory):
            if name not in RESERVED and not name.startswith("."):
                record = self.load(name, rows)
                yield name, record if record and record.interface == name else None

    def stamps(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Each file that may be a record, with its inode and its mtime in ns: one that is written again is a
        new file. For a caller who looks again and again.
        """
        for name in _names(self.directory):
            try:
                status = posix.stat(f"{self.directory}/{name}")
            except OSError:  # gone since
                continue
            if name not in RESERVED and not name.startswith("."):
                yield name, (status.st_ino, status.st_mtime_ns)

    def holds(self, resource: Resource, interface: str) -> bool:
        """True if `interface` is registered as a user of a shared resource."""
        return posix.access(f"{self._shared(resource)}/{interface}", posix.F_OK)

    def save(self, record: Record) -> None:
        """Write the record atomically. Raises KernelError."""
        refuse_reserved(self.directory, record.interface)
        write_file(f"{self.directory}/{record.interface}", record.text())

    def forget(self, interface: str) -> None:
        """Delete the record."""
        withdraw_file(f"{self.directory}/{interface}")

    def tidy(self, interface: str) -> None:
        """Remove temporary files of a killed call; if the note on the rules is being written now, the next
        NIC writes it again.
        """
        for name in (interface, "base"):
            remove_file(f"{self.directory}/.{name}.new")

    # resources shared by several NICs: STATE_DIR/shared/<resource>/<interface>, empty files. When rmdir
    # succeeds, the last user is gone

    def hold(self, resource: Resource, interface: str) -> None:
        """Register `interface` as a user of a shared resource. Raises KernelError."""
        directory = self._shared(resource)
        try:
            posix.close(
                posix.open(
                    f"{directory}/{interface}", posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o644
                )
            )
        except FileNotFoundError:
            make_directories(directory)
            self.hold(resource, interface)  # once more: the last user may leave between the two calls
        except OSError as error:
            raise KernelError(f"{directory}/{interface}: {error.strerror}") from error

    def release(self, resource: Resource, interface: str) -> bool:
        """Unregister `interface` from it; True if no user is left."""
        directory = self._shared(resource)
        remove_file(f"{directory}/{interface}")
        return _remove_directory(directory)

    def held(self, resource: Resource) -> bool:
        """True if a shared resource has a user."""
        return any(self._wants(holder) for holder in _names(self._shared(resource)))

    def users(self, resource: Resource) -> list[str]:
        """The interfaces that are registered as users of a shared resource."""
        return _names(self._shared(resource))

    def prune(self) -> None:
        """Drop registrations without a user: a call was killed between record and release, or the record is
        lost.
        """
        for thing in _names(f"{self.directory}/shared"):
            directory = f"{self.directory}/shared/{thing}"
            for holder in _names(directory):
                if not self._wants(holder):
                    remove_file(f"{directory}/{holder}")
            _remove_directory(directory)

    def _wants(self, holder: str) -> bool:
        """An interface that is up may have a guest, even without a readable record."""
        return holder == ALWAYS or is_up(holder) or self.load(holder) is not None

    def _shared(self, resource: Resource) -> str:
        return f"{self.directory}/shared/{'+'.join(resource.slot).replace('/', '_')}"


def _sound(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    return tuple(one for one in resources if not one.unsound())


def is_live(record: Record) -> bool:
    """True if the interface is still the one the record was written for."""
    if not _boot:  # read once: a node has thousands of records
        _boot.append(boot())
    return record.boot == _boot[0] and ifindex(record.interface) == record.ifindex


class Rows(dict[str, "Resource | tuple[str, Any]"]):
    """What each line of a record says: a Resource, or a fact and its values. Each is parsed once, for a
    caller who reads thousands: half of their lines are the same.
    """

    def __init__(self, kinds: Mapping[str, type[Resource]] = KINDS) -> None:
        super().__init__()
        self.kinds = kinds
        self.unsound: list[Resource] = []
        """Those with a field that no tool would accept."""

    def know(self, resources: Iterable[Resource]) -> None:
        """Have the lines of these Resources as if they were read. Not of one with a character that a record
        escapes, or that would end a member: such a line is looked at closely.
        """
        for one in resources:
            words = one.fields()
            text = "".join(words)
            if text.isprintable() and not ("\\" in text or "{" in text or "}" in text or ";" in text):
                self["\t".join((type(one).__name__, *words))] = one

    def __missing__(self, line: str) -> Resource | tuple[str, Any]:
        words = _words(line)
        row = self._resource(words) or self._fact(*words)
        self[line] = row
        return row

    def _resource(self, words: list[str]) -> Resource | None:
        kind = self.kinds.get(words[0])
        resource = kind.read(words[1:]) if kind else None
        if resource and resource.unsound():
            self.unsound.append(resource)
        return resource

    def _fact(self, kind: str, *words: str) -> tuple[str, Any]:
        if kind in ("variable", "node"):
            return kind, (words[0], words[1])
        if kind == "lacking":
            return kind, words[0]
        resource = self._resource(list(words)) if kind == "stale" else None
        return (kind, resource) if resource else OF_ANOTHER_VERSION


def rows_of(records: Iterable[Record]) -> Rows:
    """What these records say, for whoever reads them again to see whether they still do."""
    rows = Rows()
    rows.know(one for record in records for one in (*record.resources, *record.stale))
    return rows


def parse(text: str, rows: Rows | None = None) -> Record | None:
    """Parse a record; None if it is not one, or is truncated. `rows` has the lines read before."""
    rows = Rows() if rows is None else rows
    lines = text.split("\n")
    head = _words(lines.pop(0))
    if len(head) < 6 or head[0] != "nic" or not _is_number(head[2]):
        return None
    if not lines or lines.pop() or (len(head) > 6 and lines[-1:] != ["end"]):
        return None
    facts: dict[str, list[Any]] = {name: [] for name in (*FACTS, "")}
    resources: list[Resource] = []
    try:
        for one in map(rows.__getitem__, lines):
            if isinstance(one, tuple):
                facts[one[0]].append(one[1])
            else:
                resources.append(one)
    except (TypeError, ValueError, IndexError):
        return None
    variables, node, lacking, stale = (tuple(facts[name]) for name in FACTS)
    return Record(
        *(head[1], int(head[2]), head[3], head[4], head[5]),
        *(variables, tuple(resources), lacking, stale, node),
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11


def row(words: Iterable[str]) -> str:
    """Format a line of a file in STATE_DIR."""
    return "\t".join(map(_escaped, words)) + "\n"


def columns(text: str) -> list[list[str]]:
    """Split such a file into lines and words."""
    return [_words(line) for line in text.split("\n") if line]


def _words(line: str) -> list[str]:
    words = line.split("\t")
    return [_unescaped(word) for word in words] if "\\" in line else words


def _escaped(word: str) -> str:
    for plain, escape in ESCAPES:
        if plain in word:
            word = word.replace(plain, escape)
    return word


def _unescaped(word: str) -> str:
    parts = word.split("\\\\")
    for plain, escape in ESCAPES[1:]:
        parts = [part.replace(escape, plain) for part in parts]
    return "\\".join(parts)


def _names(directory: str) -> list[str]:
    """The names in a directory; empty if it cannot be read."""
    try:
        return sorted(posix.listdir(directory))
    except OSError:
        return []


def _remove_directory(path: str) -> bool:
    """Remove a directory if it is empty; True if it is gone."""
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
