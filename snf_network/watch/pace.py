"""How often something may be put back: quickly at first, and with growing pauses if it is taken away again
and again, so that the watch does not fight.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

OFTEN, WITHIN = 5, 60.0
"""So many times in so many seconds is a fight."""
LONGEST = 60.0


class Pace:
    """One for all NICs; `key` is an interface, or a word for what has none."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self._acts: dict[str, list[float]] = {}
        self._pauses: dict[str, float] = {}

    def wait(self, key: str) -> float:
        """Seconds until the next act for `key` may happen; 0: now."""
        acts = self._recent(key)
        if not acts:
            self._pauses.pop(key, None)
            return 0.0
        pause = self._pauses.get(key, 0.0)
        return max(0.0, acts[-1] + pause - self.clock())

    def acted(self, key: str, longest: float = LONGEST) -> bool:
        """Note an act; True if it begins a fight. No pause is longer than `longest`, in seconds."""
        acts = self._recent(key)
        acts.append(self.clock())
        self._acts[key] = acts
        if len(acts) <= OFTEN:
            return False
        began = key not in self._pauses
        self._pauses[key] = min(longest, 2 * self._pauses.get(key, 0.5))
        return began

    def fights(self) -> dict[str, float]:
        """The keys that are taken away again and again, and the pause of each in seconds."""
        self._acts = {key: recent for key in self._acts if (recent := self._recent(key))}
        self._pauses = {key: pause for key, pause in self._pauses.items() if key in self._acts}
        return dict(self._pauses)

    def _recent(self, key: str) -> list[float]:
        """The acts of the last minute; with a pause, of that and a minute: it outlives the window."""
        since = self.clock() - WITHIN - self._pauses.get(key, 0.0)
        return [when for when in self._acts.get(key, ()) if when > since]
