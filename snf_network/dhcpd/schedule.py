"""When each guest gets its next unsolicited router advertisement. Pure: the caller supplies the time, in
seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from random import Random

AT_ONCE = 32
"""Maximum number of advertisements in one turn of the loop, which delay everything else."""


class Schedule:
    """Names, each due once per period, spread over the period. A new one is due at once."""

    def __init__(self, period: float, random: Random | None = None) -> None:
        self.period = period
        self._random = random or Random()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def add(self, name: str, now: float, within: float = 0.0) -> None:
        """Make a name due now, or at a random time within `within` seconds."""
        self._set(name, now + self._random.uniform(0, within))

    def _set(self, name: str, when: float) -> None:
        self._due[name] = when
        heapq.heappush(self._heap, (when, name))

    def remove(self, name: str) -> None:
        """Forget a name."""
        self._due.pop(name, None)

    def next(self) -> float | None:
        """When the next name is due; None if there is none."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[str]:
        """The names that are due, at most AT_ONCE. Each is due again after three quarters of a period to a
        whole one (RFC 4861, 6.2.4).
        """
        for _ in range(AT_ONCE):
            when = self.next()
            if when is None or when > now:
                return
            name = heapq.heappop(self._heap)[1]
            self._set(name, now + self.period * self._random.uniform(0.75, 1.0))
            yield name
