"""Tables for people to read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from unicodedata import combining, east_asian_width


def text(heading: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """A table with a heading: columns as wide as their contents; the last one is not padded. Those in `right`
    are numbers.
    """
    lines = [tuple(heading), *(tuple(plain(cell) or "-" for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    return "".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )


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
