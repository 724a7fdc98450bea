"""Help as wide as the terminal: paragraphs are filled, indented lines stay as they are."""

from __future__ import annotations

import argparse
import textwrap


class Paragraphs(argparse.HelpFormatter):
    """A formatter for multi-paragraph descriptions and epilogs: argparse would join them into one, or not
    fill them at all.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = text.strip().split("\n\n")
        return "\n\n".join(self._filled(part.split("\n"), width, indent) for part in parts)

    def _filled(self, lines: list[str], width: int, indent: str) -> str:
        """Fill the lines before, between and after indented ones, such as examples."""
        filled, prose = list[str](), list[str]()
        for line in [*lines, "  "]:
            if not line.startswith("  "):
                prose.append(line)
                continue
            filled += textwrap.wrap(" ".join(prose), width, initial_indent=indent, subsequent_indent=indent)
            filled += [f"{indent}{line}"]
            prose = []
        return "\n".join(filled[:-1])
