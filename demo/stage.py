"""How the demo speaks: steps, commands with what they say, and claims. A claim gets its tick from a
condition, never for free.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from textwrap import wrap

COLOURS = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
ASCII = {
    "✓": "[ok]",
    "✗": "[FAILED]",
    "…": "...",
    "│": "|",
    "─": "-",
    "←": "<-",
    "┌": "+",
    "┐": "+",
    "└": "+",
    "┘": "+",
    "┴": "+",
}


class Stage:
    """Where everything is printed; it remembers how the claims went."""

    def __init__(self, plain: bool = False, pause: bool = False) -> None:
        self.pause, self.began = pause, time.monotonic()
        self.ascii = plain or "utf" not in (sys.stdout.encoding or "").lower()
        self.coloured = not plain and wants_colour()
        self.width = min(80, shutil.get_terminal_size((80, 24)).columns)
        self.steps = self.held = self.failed = 0

    def say(self, words: str = "") -> None:
        """One line, at once: a pipe must not see it later than a terminal."""
        for mark, plain in ASCII.items() if self.ascii else ():
            words = words.replace(mark, plain)
        print(words, flush=True)

    def paint(self, colour: str, words: str) -> str:
        """`words` in a colour, if there are colours."""
        return f"\033[{COLOURS[colour]}m{words}\033[0m" if self.coloured and words else words

    def step(self, title: str, *why: str) -> None:
        """A heading. With --pause, Enter starts it; without an Enter to come (end of input) the demo goes
        on.
        """
        if self.pause and self.steps:
            print(self.paint("dim", "  Enter goes on "), end="", flush=True)
            sys.stdin.readline()
        self.steps += 1
        self.say()
        self.say(self.paint("bold", f"{self.steps}. {title}"))
        for line in why:
            self.say(f"   {self._wrapped(line, 3)}")

    def _wrapped(self, words: str, indent: int) -> str:
        """Words in lines that fit, all but the first indented."""
        marks = 3 * self.ascii  # a tick is longer then
        return f"\n{' ' * indent}".join(wrap(words, self.width - indent - marks))

    def command(self, where: str, colour: str, command: str, note: str = "") -> None:
        """A command line, with its machine as prompt, broken where it is too long."""
        first, *rest = wrap(
            command, self.width - len(where) - 8, break_long_words=False, break_on_hyphens=False
        )
        line = self.paint("bold", " \\\n       ".join((first, *rest)))
        last = rest[-1] if rest else f"{where} {first}"
        gap = "   " if len(last) + len(note) + 12 <= self.width else "\n       "
        self.say(f"   {self.paint(colour, where + '#')} {line}{self.paint('dim', note and f'{gap}← {note}')}")

    def output(self, lines: Sequence[str]) -> None:
        """What a command said, each line cut to the width."""
        room, dots = self.width - 6, 3 if self.ascii else 1
        for line in lines:
            line = line.rstrip()
            self.say(self.paint("dim", f"   │ {line if len(line) <= room else line[: room - dots] + '…'}"))

    def claim(self, holds: object, words: str, seen: object = "") -> bool:
        """Say that something is so: green if `holds`, else red, with what was seen instead."""
        if holds:
            self.held += 1
            self.say(f"   {self.paint('green', '✓')} {self._wrapped(words, 5)}")
            return True
        self.failed += 1
        self.say(f"   {self.paint('red', '✗ ' + self._wrapped(words, 5))}")
        for line in few(str(seen).strip() or "nothing", 8):
            self.say(self.paint("red", f"       seen: {line}"))
        return False

    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began


def wants_colour() -> bool:
    """NO_COLOR wins over FORCE_COLOR, which wins over what stdout is."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def few(text: str, head: int = 4) -> list[str]:
    """The first lines, and how many more there are."""
    lines = text.splitlines()
    return lines if len(lines) <= head + 1 else [*lines[:head], f"… {len(lines) - head} more lines"]


def only(text: str, *words: str) -> list[str]:
    """The lines that have one of `words`; what is left out between and around them shows as dots."""
    found: list[str] = []
    for line in text.splitlines():
        if any(word in line for word in words):
            found.append(line)
        elif line.strip() and found[-1:] != ["…"]:
            found.append("…")
    return found
