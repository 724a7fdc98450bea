"""STATE_DIR/dns/known/<instance>: the records that the sender has, or may have, registered for an instance,
and the problems of its names.

Written before anything is sent and again after it is confirmed, so a killed sender leaves no record in DNS
that this node does not know of.

    tried     serial of the desired state at the last try
    record    name, type, data
    trouble   name, parked or waiting, since, tries, due, reason

STATE_DIR/dns/zones has the serials of the zones: if one goes back, the zone was restored from a backup.
"""

from __future__ import annotations

import posix
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from snf_network.host import kernel
from snf_network.host.record import columns, row

FIRST, LONGEST = 1.0, 600.0
"""Seconds between tries: doubled each time, from the first to the longest."""
NEVER = float("inf")


@dataclass(frozen=True)
class Trouble:
    """Why a name is not as desired."""

    state: str
    since: float
    tries: int
    due: float
    reason: str


@dataclass(frozen=True)
class Registered:
    """What this node knows about the names of one instance in DNS."""

    instance: str
    tried: str = ""
    records: frozenset[tuple[str, str, str]] = frozenset()
    """Name, type and data of all records that may exist because of us."""
    troubles: dict[str, Trouble] = field(default_factory=dict)

    def due(self, serial: str, now: float) -> float:
        """When to try next: a new request at once, a waiting one later, a parked one never.

        A wait that is longer than any possible one means that the clock was set back: it is due now.
        """
        if self.tried != serial:
            return 0.0
        due = min((trouble.due for trouble in self.troubles.values()), default=NEVER)
        return due if due <= now + LONGEST or due == NEVER else now

    def failed(self, name: str, reason: str, now: float, parked: bool) -> Registered:
        """A copy with one more failure of a name."""
        old = self.troubles.get(name)
        tries = old.tries + 1 if old else 1
        due = NEVER if parked else now + min(FIRST * 2 ** min(tries - 1, 30), LONGEST)
        trouble = Trouble("parked" if parked else "waiting", old.since if old else now, tries, due, reason)
        return replace(self, troubles={**self.troubles, name: trouble})

    def text(self) -> str:
        """The content of its file."""
        rows: list[Iterable[str]] = [("tried", self.tried)]
        rows += [("record", *record) for record in sorted(self.records)]
        rows += [
            (
                "trouble",
                name,
                trouble.state,
                str(trouble.since),
                str(trouble.tries),
                str(trouble.due),
                trouble.reason,
            )
            for name, trouble in self.troubles.items()
        ]
        return "".join(map(row, (*rows, ("end",))))


def _seconds(text: str) -> float:
    """Parse a time. Raises ValueError."""
    if not 0 <= float(text) < NEVER:
        raise ValueError(text)
    return float(text)


class Registry:
    """What the sender of this node has registered."""

    def __init__(self, state_dir: str) -> None:
        self.directory = f"{state_dir}/dns/known"
        self.path = f"{state_dir}/dns/zones"

    def load(self, instance: str) -> Registered:
        """What is known about an instance; possibly nothing."""
        try:
            return self._parsed(columns(kernel.read_file(f"{self.directory}/{instance}") or ""), instance)
        except (ValueError, IndexError):
            return Registered(instance)

    def _parsed(self, rows: list[list[str]], instance: str) -> Registered:
        """Parse a file. Raises ValueError or IndexError if it is invalid: then the server is asked again."""
        if not rows or rows[-1] != ["end"]:
            return Registered(instance)
        records = frozenset((words[1], words[2], words[3]) for words in rows if words[0] == "record")
        troubles = {
            words[1]: Trouble(words[2], _seconds(words[3]), int(words[4]), float(words[5]), words[6])
            for words in rows
            if words[0] == "trouble"
        }
        return Registered(instance, rows[0][1], records, troubles)

    def save(self, registered: Registered) -> None:
        """Write it atomically, under the spool's lock. Raises KernelError."""
        kernel.write_file(f"{self.directory}/{registered.instance}", registered.text())

    def forget(self, instance: str) -> None:
        """Delete what is known about an instance."""
        kernel.remove_file(f"{self.directory}/{instance}")

    def zones(self) -> dict[str, int]:
        """The zones of registered records, each with its SOA serial when this node last used it."""
        rows = columns(kernel.read_file(self.path) or "")
        zones = [words[1:] for words in rows if words[0] == "zone" and len(words) == 3]
        return {zone: int(serial) for zone, serial in zones if serial.isascii() and serial.isdigit()}

    def save_zones(self, serials: Mapping[str, int]) -> None:
        """Write the serials of zones. Raises KernelError."""
        kernel.write_file(self.path, "".join(row(("zone", zone, str(serials[zone]))) for zone in serials))

    def __iter__(self) -> Iterator[Registered]:
        try:
            names = sorted(posix.listdir(self.directory))
        except OSError:
            return
        yield from (self.load(name) for name in names if not name.startswith("."))
