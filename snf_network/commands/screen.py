"""Pages that replace each other on a terminal, or follow each other in a file."""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from select import select
from time import sleep
from typing import Any

from . import table

BEGIN, END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""Other screen and no cursor; and back (xterm's control sequences, which every terminal of today knows)."""
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
QUIT = ("q", "Q", "")
"""Keys that end; the empty one is a terminal that is gone."""


def is_terminal() -> bool:
    """True if stdout is a terminal that can be redrawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Pages:
    """Page after page, with an empty line between them."""

    def __init__(self) -> None:
        self._shown = False

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves nothing to restore."""

    def show(self, page: str) -> None:
        """Print it now."""
        sys.stdout.write("\n" * self._shown + page)
        sys.stdout.flush()
        self._shown = True

    def wait(self, seconds: float) -> bool:
        """Wait; False, as nobody can end it by a key."""
        sleep(seconds)
        return False


class Lines(Pages):
    """The same without empty lines."""

    def show(self, page: str) -> None:
        """Print it now."""
        self._shown = False
        super().show(page)


class Screen(Pages):
    """One page at a time on the other screen of the terminal, which is restored at the end: also after
    SIGTERM, and while the program is stopped (Ctrl-Z).
    """

    def __enter__(self) -> Screen:
        self._keyboard = sys.stdin is not None and sys.stdin.isatty()
        self._handlers = {
            number: signal.signal(number, handler)
            for number, handler in ((signal.SIGTERM, _end), (signal.SIGTSTP, self._stop))
        }
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _take(self) -> None:
        if self._keyboard:
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        self._write(BEGIN)

    def _give_back(self) -> None:
        if self._keyboard:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
        self._write(END)

    def _stop(self, *_: Any) -> None:
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def _write(self, words: str) -> None:
        """Past the buffer of stdout, which a signal's handler must not use."""
        left = words.encode(sys.stdout.encoding, "backslashreplace")
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]

    def show(self, page: str) -> None:
        """Draw the lines that fit, each as far as it fits."""
        columns, height = os.get_terminal_size(sys.stdout.fileno())
        lines = [table.cut(line, columns) + REST_OF_LINE for line in page.splitlines()[:height]]
        self._write(HOME + "\n".join(lines) + REST_OF_SCREEN)

    def wait(self, seconds: float) -> bool:
        """Wait for a key at most so long; True if it ends the program."""
        if not self._keyboard:
            return super().wait(seconds)
        ready = select([sys.stdin], [], [], seconds)[0]
        return bool(ready) and os.read(sys.stdin.fileno(), 1).decode("ascii", "replace") in QUIT


def _end(*_: Any) -> None:
    raise KeyboardInterrupt
