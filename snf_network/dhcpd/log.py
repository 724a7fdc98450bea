"""The daemon's log: one line per event. Guests cannot flood it."""

from __future__ import annotations

import json
import sys
import time
from typing import TextIO

MOST, PERIOD = 6, 60.0
"""Maximum number of lines about one interface within a period, and the period in seconds."""


class EventLog:
    """Writes lines of text, or JSON objects, to a stream."""

    def __init__(self, stream: TextIO = sys.stderr, as_json: bool = False, debug: bool = False) -> None:
        self.stream, self.as_json, self.debugging = stream, as_json, debug
        self._told: dict[str, tuple[float, int]] = {}

    def say(self, text: str, level: str = "info", about: str = "") -> None:
        """Write one line. `about` is the interface whose guest caused it: excess lines about one are skipped
        and counted.
        """
        if about and not self._may(about):
            return
        now = time.time()
        if self.as_json:
            line = json.dumps({"time": round(now, 3), "level": level, "interface": about, "message": text})
        else:
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
            words = [*([] if level == "info" else [level]), *([about] if about else []), text]
            line = f"{moment} {': '.join(words)}"
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except OSError:  # guests must not wait for a full disk
            pass

    def debug(self, text: str, about: str = "") -> None:
        """Write a line that only --debug shows."""
        if self.debugging:
            self.say(text, "debug", about)

    def _may(self, about: str) -> bool:
        now = time.monotonic()
        since, count = self._told.get(about, (now, 0))
        if now - since >= PERIOD:
            self._told.pop(about, None)
            if count > MOST:
                self.say(f"{count - MOST} lines left out", "info", about)
            since, count = now, self._told.get(about, (now, 0))[1]
        self._told[about] = since, count + 1
        return count < MOST

    def forget(self, about: str) -> None:
        """Forget an interface that is gone."""
        self._told.pop(about, None)
