"""Tables for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a heading: columns as wide as their contents; the last one is not padded."""
    lines = [tuple(heading), *(tuple(plain(cell) or "-" for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def plain(cell: str) -> str:
    """Escape text: a tag may contain anything, such as control sequences for the terminal."""
    return cell if cell.isprintable() else ascii(cell)[1:-1]
