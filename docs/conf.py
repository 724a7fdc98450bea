"""The book: what Sphinx makes of these documents. `docs/make DIRECTORY` writes it as HTML there.

The documents stay readable as they are, so links lead to files of the repository. Here the few that leave
docs/ are turned into links within the book, or into plain words.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "snf-network"
author = "snf-network developers"
release = (
    (Path(__file__).resolve().parents[1] / "snf_network" / "__init__.py")
    .read_text()
    .split('__version__ = "')[1]
    .partition('"')[0]
)
extensions = ["myst_parser"]
myst_heading_anchors = 4
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/README.md"]
language = "en"
nitpicky = True

# a terminal's lines and files of ours: no language that a highlighter knows
highlight_language = "none"
html_theme = "basic"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_sidebars = {"**": ["searchbox.html", "globaltoc.html"]}
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
html_domain_indices = False

README = re.compile(r"\]\((?:\.\./)+README\.md")
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:bench|tests|examples)/[^)]*\)")


def within(app: Sphinx, name: str, source: list[str]) -> None:
    """Change a document's links to what is outside of docs/: the README is the page `about`."""
    up = "../" * name.count("/")
    source[0] = OUTSIDE.sub(r"`\1`", README.sub(f"]({up}about.md", source[0]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", within)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
