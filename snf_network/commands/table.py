"""Rows for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a heading: columns as wide as what is in them, the last one as it comes."""
    lines = [tuple(heading), *(tuple(_plain(cell) or "-" for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def _plain(cell: str) -> str:
    """A tag may hold anything; a terminal would obey some of it."""
    return cell if cell.isprintable() else ascii(cell)[1:-1]
