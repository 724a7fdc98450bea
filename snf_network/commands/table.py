"""Tables for people to read, and the colours of states on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from unicodedata import combining, east_asian_width

COLOURS = {
    "32": "up registered served clean ok",
    "33": "incomplete gone pending waiting warning lacking outdated orphan unanswered",
    "31": "down parked refused unreadable critical unknown rules profile missing unrecorded fight network",
}
"""Green, yellow and red (SGR of ECMA-48), and the states that have them."""
COLOUR_OF = {word: colour for colour, words in COLOURS.items() for word in words.split()}


def text(heading: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """A table with a heading: columns as wide as their contents; the last one is not padded. Those in `right`
    are numbers. What is under STATE has the colour of a state.
    """
    lines = [tuple(heading), *(tuple(plain(cell) or "-" for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    padded = (
        [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    states = [column for column, name in enumerate(heading) if name == "STATE"]
    return "".join("  ".join(_with(cells, states)).rstrip() + "\n" for cells in padded)


def _with(cells: list[str], states: Iterable[int]) -> list[str]:
    for column in states:
        cells[column] = coloured(cells[column])
    return cells


def coloured(line: str) -> str:
    """A line or a cell whose first word is a state, with the colour of that on a terminal; not with NO_COLOR
    (no-color.org).
    """
    word = line.partition(" ")[0].rstrip(":\n")
    colour = COLOUR_OF.get(word.lower(), "")
    if (
        not colour
        or not sys.stdout.isatty()
        or os.environ.get("NO_COLOR")
        or os.environ.get("TERM") == "dumb"
    ):
        return line
    return f"\x1b[{colour}m{word}\x1b[0m{line[len(word) :]}"


def plain(cell: str) -> str:
    """Escape a cell or a line: a tag may contain anything, such as control sequences for the terminal."""
    return cell if cell.isprintable() else ascii(cell)[1:-1]


def width(words: str) -> int:
    """How many columns of a terminal `words` take: two for a wide character (UAX #11), none for a combining
    one.
    """
    if words.isascii():
        return len(words)
    return sum(
        0 if combining(character) else 1 + (east_asian_width(character) in "WF") for character in words
    )


def cut(words: str, columns: int, mark: str = "") -> str:
    """`words`, or as much of them as fits into so many columns; then with `mark` at its end."""
    if width(words) <= columns:
        return words
    kept = words[: max(columns - width(mark), 0)]
    while kept and width(kept) + width(mark) > columns:
        kept = kept[:-1]
    return kept + mark
