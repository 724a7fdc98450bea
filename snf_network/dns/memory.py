"""STATE_DIR/dns/known/<instance>: what the sender has put into DNS for an instance, or may have, and what
hinders it.

Written before anything is sent and after it was confirmed, so a sender that is killed leaves no record that
nobody remembers.

    tried     serial of what was wanted then
    record    name, type, data
    trouble   name, parked or waiting, since, tries, due, reason
"""

from __future__ import annotations

import posix
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from snf_network.dns.files import put
from snf_network.errors import KernelError
from snf_network.host import kernel
from snf_network.host.record import columns, row

FIRST, LONGEST = 1.0, 600.0
"""Seconds between tries: twice as many each time."""
NEVER = float("inf")


@dataclass(frozen=True)
class Trouble:
    """Why a name is not as wanted."""

    state: str
    since: float
    tries: int
    due: float
    reason: str


@dataclass(frozen=True)
class Known:
    """What is known of one instance's names."""

    instance: str
    tried: str = ""
    records: frozenset[tuple[str, str, str]] = frozenset()
    """Name, type and data of all that may be there because of us."""
    troubles: dict[str, Trouble] = field(default_factory=dict)

    def due(self, serial: str, now: float) -> float:
        """When to try: at once what is new, later what has to wait, never what is parked.

        What would have to wait longer than anything has to is due now: the clock was put back.
        """
        if self.tried != serial:
            return 0.0
        due = min((trouble.due for trouble in self.troubles.values()), default=NEVER)
        return due if due <= now + LONGEST or due == NEVER else now

    def failed(self, name: str, reason: str, now: float, parked: bool) -> Known:
        """With one more failure of a name."""
        old = self.troubles.get(name)
        tries = old.tries + 1 if old else 1
        due = NEVER if parked else now + min(FIRST * 2 ** min(tries - 1, 30), LONGEST)
        trouble = Trouble("parked" if parked else "waiting", old.since if old else now, tries, due, reason)
        return replace(self, troubles={**self.troubles, name: trouble})

    def text(self) -> str:
        """As it stands in the file."""
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
    """Raises ValueError for what is no time."""
    if not 0 <= float(text) < NEVER:
        raise ValueError(text)
    return float(text)


class Memory:
    """What the sender of this node knows."""

    def __init__(self, state_dir: str) -> None:
        self.directory = f"{state_dir}/dns/known"

    def load(self, instance: str) -> Known:
        """What is known of an instance, which may be nothing."""
        try:
            return self._parsed(columns(kernel.read_file(f"{self.directory}/{instance}") or ""), instance)
        except (ValueError, IndexError):
            return Known(instance)

    def _parsed(self, rows: list[list[str]], instance: str) -> Known:
        """Raises ValueError or IndexError for what is no such file: the server is asked anew then."""
        if not rows or rows[-1] != ["end"]:
            return Known(instance)
        records = frozenset((words[1], words[2], words[3]) for words in rows if words[0] == "record")
        troubles = {
            words[1]: Trouble(words[2], _seconds(words[3]), int(words[4]), float(words[5]), words[6])
            for words in rows
            if words[0] == "trouble"
        }
        return Known(instance, rows[0][1], records, troubles)

    def save(self, known: Known) -> None:
        """Put it in place, under the spool's lock. Raises KernelError."""
        try:
            posix.close(put(f"{self.directory}/{known.instance}", known.text()))
        except OSError as error:
            raise KernelError(f"{self.directory}/{known.instance}: {error.strerror}") from error

    def forget(self, instance: str) -> None:
        """Drop it."""
        kernel.remove_file(f"{self.directory}/{instance}")

    def __iter__(self) -> Iterator[Known]:
        try:
            names = sorted(posix.listdir(self.directory))
        except OSError:
            return
        yield from (self.load(name) for name in names if not name.startswith("."))
