"""Rate limits per interface. Pure: the caller supplies the time, in seconds."""

from __future__ import annotations


class Buckets:
    """A token bucket for each interface: `burst` tokens, refilled at `rate` per second. An interface that
    empties its bucket is muted for `pause` seconds.

    A bucket is one number: the time at which it is full again (the virtual scheduling algorithm of ITU-T
    I.371).
    """

    def __init__(self, rate: float, burst: float, pause: float = 1.0) -> None:
        self._token, self._depth, self.pause = 1 / rate, (burst - 1) / rate, pause
        self._full: dict[int, float] = {}
        self.muted: dict[int, float] = {}
        """The time until which each interface is muted, by index."""

    def after(self, full: float, now: float) -> float:
        """Take one token from a bucket that is full again at `full`. Returns the new time at which it is full
        again, or 0 if it has no token.
        """
        if full <= now:
            return now + self._token
        return full + self._token if full - now <= self._depth + 1e-9 else 0.0

    def take(self, index: int, now: float) -> bool:
        """Take one token of an interface whose bucket is kept here. False if there is none."""
        full = self.after(self._full.get(index, 0.0), now)
        if full:
            self._full[index] = full
        return bool(full)

    def mute(self, index: int, now: float) -> bool:
        """Mute an interface for `pause` seconds. False if it is muted already."""
        if index in self.muted:
            return False
        self.muted[index] = now + self.pause
        return True

    def release(self, now: float) -> bool:
        """Unmute those whose pause is over. True if there were any."""
        due = [index for index, until in self.muted.items() if until <= now]
        for index in due:
            del self.muted[index]
        return bool(due)

    def next_release(self) -> float | None:
        """When the next pause is over; None if nobody is muted."""
        return min(self.muted.values(), default=None)

    def forget(self, index: int) -> None:
        """Forget an interface that is gone."""
        self._full.pop(index, None)
        self.muted.pop(index, None)
