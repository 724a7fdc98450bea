"""The blocks of code in the documents, and tests/blocks.toml, which says who runs each of them."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")),
)
FENCE = "```"


class Block(NamedTuple):
    """Lines of code under a heading; `key` is the heading, with a number for those after the first."""

    document: str
    key: str
    line: int
    text: str


def blocks(document: str) -> Iterator[Block]:
    """All of a document, in order."""
    counts: dict[str, int] = {}
    for heading, line, text in _found((ROOT / document).read_text().splitlines()):
        counts[heading] = counts.get(heading, 0) + 1
        key = heading if counts[heading] == 1 else f"{heading} #{counts[heading]}"
        yield Block(document, key, line, text)


def block(document: str, key: str) -> str:
    """The lines of one."""
    return next(one.text for one in blocks(document) if one.key == key)


def table() -> dict[str, dict[str, dict[str, str]]]:
    """tests/blocks.toml."""
    return tomllib.loads((ROOT / "tests/blocks.toml").read_text())


def _found(lines: list[str]) -> Iterator[tuple[str, int, str]]:
    """Heading, number of the first line, and text. A directive of the book is no code."""
    heading, at = "", 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        end = at + 1
        if line.startswith(FENCE):
            end = lines.index(FENCE, at + 1) + 1
            if not line.startswith(f"{FENCE}{{"):
                yield heading, at + 1, "\n".join(lines[at + 1 : end - 1])
        elif line.startswith("    ") and _begins(lines[at - 1]):
            end = at + _length(lines[at:])
            yield heading, at + 1, textwrap.dedent("\n".join(lines[at:end])).rstrip()
        at = end


def _begins(before: str) -> bool:
    """Whether an indented line after this one is code, and not the rest of an item of a list."""
    return not before.strip() or (not re.match(r" *([*-]|\d+\.) ", before) and not before.startswith(" "))


def _length(lines: list[str]) -> int:
    """Of a block: until text that is not indented. Empty lines within belong to it."""
    ends = (number for number, line in enumerate(lines) if line.strip() and not line.startswith("    "))
    return next(ends, len(lines))
