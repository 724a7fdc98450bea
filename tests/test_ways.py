"""The drawings of the documents: those of this version, one for each tag, for light and for dark pages."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests import ways
from tests.quick import ROOT

each = pytest.mark.parametrize("name", ways.WAYS)
PEOPLE = {"pair", "flow"}
"""About no tag."""


@each
def test_the_documents_have_the_drawing_of_this_version(name: str) -> None:
    """`python3 -m tests.ways` makes it."""
    assert (ways.FOLDER / f"{name}.svg").read_text() == ways.text(ways.WAYS[name])


def test_no_other_is_left() -> None:
    assert {path.stem for path in ways.FOLDER.iterdir()} == set(ways.WAYS)


def test_every_tag_has_one() -> None:
    text = (ROOT / "docs" / "tags.md").read_text()
    sections = re.findall(r"^#{2,3} (?!Modes)(.+)\n(.*)$", text, re.MULTILINE)
    shown = [re.fullmatch(r"!\[.+\]\(ways/(.+)\.svg\)", line) for _, line in sections]
    assert [title for (title, _), found in zip(sections, shown) if not found] == []
    assert sorted(found[1] for found in shown if found) == sorted(set(ways.WAYS) - PEOPLE)


@each
def test_every_colour_has_one_for_dark_pages(name: str) -> None:
    text = ways.text(ways.WAYS[name])
    _light, *dark = re.split(r"@media \(prefers-color-scheme: dark\) \{\n(.*?)\n\}", text, flags=re.DOTALL)
    used = {
        word for element in ElementTree.fromstring(text).iter() for word in element.get("class", "").split()
    }
    coloured = [*used - {"s"}]
    assert all(any(f".{word} " in part or f".{word}," in part for part in dark[::2]) for word in coloured), (
        coloured
    )


@each
def test_what_it_says_fits(name: str) -> None:
    """ways raises ValueError otherwise; and no line of a packet is without words."""
    way = ways.WAYS[name]
    assert all(row.what and row.start != row.end for row in way.rows)
    assert max(max(row.start, row.end) for row in way.rows) < len(way.places)
