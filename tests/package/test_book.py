"""The book: Sphinx makes it of docs/ without a warning, the same bytes each time, and every link leads somewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tests.netns.lab import ROOT

pytestmark = pytest.mark.tool("sphinx-build")
PAGES = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}


class Page(HTMLParser):
    """What a page has and what it asks for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key == "id":
                self.names.add(value or "")
            elif key in ("href", "src"):
                self.links.append(value or "")


def made(directory: Path, **env: str) -> Path:
    """The book in a directory. A warning is a failure."""
    made = subprocess.run(
        (ROOT / "docs/make", directory),
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", **env},
    )
    assert (made.returncode, made.stderr, made.stdout) == (0, "", "")
    return directory


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("book"), SOURCE_DATE_EPOCH="1700000000")


def test_every_document_is_a_page(book: Path) -> None:
    found = {path.relative_to(book) for path in book.rglob("*.html")}
    assert found - {Path("search.html")} == PAGES


def links(book: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(book.rglob("*.html")):
        for link in Page(path).links:
            yield path, link


def test_every_link_leads_somewhere(book: Path) -> None:
    pages = {path: Page(path) for path in book.rglob("*.html")}
    for path, link in links(book):
        if "://" in link:
            continue
        place, name = urldefrag(unquote(link))
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{path.name}: {link}"
        assert not name or target.suffix != ".html" or name in pages[target].names, f"{path.name}: {link}"


def test_nothing_is_fetched_from_elsewhere(book: Path) -> None:
    """A page can be read without a network: what is loaded is in the book."""
    for path in book.rglob("*.html"):
        text = path.read_text()
        assert 'src="http' not in text and 'rel="stylesheet" type="text/css" href="http' not in text, path


def test_the_same_documents_make_the_same_book(book: Path, tmp_path: Path) -> None:
    again = made(tmp_path / "again", SOURCE_DATE_EPOCH="1700000000", TZ="Pacific/Chatham", LC_ALL="C")
    files = {path.relative_to(book) for path in book.rglob("*") if path.is_file()}
    assert files == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    for path in files:
        assert (book / path).read_bytes() == (again / path).read_bytes(), path
