"""From Markdown to man(7): as much of it as our documents and debian/man/*.md use.

Headings, paragraphs, lists, indented code, tables, links, and definitions as pandoc has them: a term in one
line, then lines that begin with a colon or are indented. A table becomes definitions, too, as a terminal is
too narrow for most: its first column has the terms.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

WIDTH = 78
"""Columns of a line of roff, and of code on a terminal."""
INLINE = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|\*\*(?P<bold>[^*]+)\*\*"
    r"|(?<!\w)\*(?=\S)(?P<italic>[^*]+)(?<=\S)\*(?!\w)"
    r"|\[(?P<text>[^\]]+)\]\((?P<address>[^)]*)\)"
    r"|(?<![\w/.-])(?P<page>[a-z][\w.-]*)\((?P<section>[1-8])\)"
)
PLAIN = (".nh", ".ad l")
"""Neither hyphens nor blanks that nobody wrote: a reader copies from here into a shell."""
SPECIAL = {"\\": "\\e", "-": "\\-", "^": "\\(ha", "~": "\\(ti", "`": "\\(ga"}
ITEM = re.compile(r"\* ")
DEFINITION = re.compile(r"(?P<term>[^\n]+)\n: +(?P<body>.*)", re.DOTALL)


def page(text: str, date: str, source: str) -> str:
    """A man page. The first line is `# NAME(SECTION) - what it is`."""
    head, _, rest = text.partition("\n")
    name, section, summary = re.fullmatch(r"# (\S+)\((\d)\) - (.+)", head).groups()  # type: ignore[union-attr]
    manual = {"5": "File formats", "8": "System administration"}[section]
    title = f'.TH {escaped(name.upper())} {section} {date} "{source}" "{manual}"'
    start = (title, *PLAIN, ".SH NAME", *filled(f"{name} - {summary}"))
    return "\n".join((*start, *body(rest))) + "\n"


def body(text: str) -> Iterator[str]:
    """Lines of roff."""
    fresh = False
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [*one_block(block.rstrip())]
        if fresh and lines[0] == ".PP":
            del lines[0]
        fresh = lines[-1].startswith((".SH", ".SS"))
        yield from lines


def one_block(block: str) -> Iterator[str]:
    """Lines of roff for what stands between two blank lines."""
    if block.startswith("#"):
        yield from heading(block)
    elif block.startswith("    "):
        yield from code(textwrap.dedent(block))
    elif block.startswith("|"):
        yield from table(block)
    elif ITEM.match(block):
        for item in re.split(r"^\* ", block, flags=re.MULTILINE)[1:]:
            yield from (".IP \\(bu 2", *filled(item))
    elif found := DEFINITION.fullmatch(block):
        yield from defined(inline(found["term"]), found["body"])
    else:
        yield from (".PP", *filled(block))


def heading(block: str) -> Iterator[str]:
    """A heading, and what follows it without a blank line."""
    line, _, rest = block.partition("\n")
    marks, _, words = line.partition(" ")
    yield f"{'.SH' if len(marks) < 3 else '.SS'} {inline(words)}"
    if rest:
        first, *others = one_block(rest)
        yield from others if first == ".PP" else (first, *others)


def defined(term: str, text: str) -> Iterator[str]:
    """A term in roff, and the paragraphs about it."""
    yield from (".TP", term, *filled(text))


def code(text: str) -> Iterator[str]:
    """Lines that stay as they are, but a comment that would not fit stands before its line."""
    yield from (".PP", ".RS 4", ".EX")
    for line in text.split("\n"):
        before, gap, comment = re.match(r"(.*?)(\s+# |$)(.*)", line).groups()  # type: ignore[union-attr]
        if len(line) > WIDTH - 8 and gap and before.strip():
            indent = before[: len(before) - len(before.lstrip())]
            yield from (literal(part) for part in textwrap.wrap(comment, WIDTH - 8, **both(f"{indent}# ")))
            line = before
        yield literal(line)
    yield from (".EE", ".RE")


def both(indent: str) -> dict[str, str]:
    """For textwrap: this before each line."""
    return {"initial_indent": indent, "subsequent_indent": indent}


def table(block: str) -> Iterator[str]:
    """Definitions; a first column `section` gives headings, one `kind` stands before each term, and of
    several columns each says its name.
    """
    kind = ""
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n"))
    for row in rows:
        cells = dict(zip(head, row, strict=True))
        if section := cells.pop("section", ""):
            yield f".SS {escaped(f'[{section}]')}"
        kind = cells.pop("kind", "") or kind
        term = f"{kind} {cells.pop(next(iter(cells)))}".strip()
        about = [told(name, value, len(cells)) for name, value in sorted(cells.items(), key=last) if value]
        yield from defined(inline(term if "`" in term else f"`{term}`"), " ".join(about))


def last(cell: tuple[str, str]) -> bool:
    """True for a cell that stands behind the meaning."""
    return cell[0] != "meaning"


def told(name: str, value: str, columns: int) -> str:
    """A cell as a sentence."""
    if columns == 1 or name == "meaning":
        return f"{value[:1].upper()}{value[1:]}."
    return f"{name[:1].upper()}{name[1:]}: {f'`{value}`' if '`' not in value else value}."


def filled(text: str) -> Iterator[str]:
    """Text as lines of roff, one sentence or less in each."""
    for sentence in re.split(r"(?<=[.:?!]) (?=[A-Z*`\[])", " ".join(text.split())):
        for line in textwrap.wrap(inline(sentence), WIDTH, break_long_words=False, break_on_hyphens=False):
            yield guarded(line)


def inline(text: str) -> str:
    """One line with fonts."""
    parts, end = [], 0
    for found in INLINE.finditer(text):
        parts += [escaped(text[end : found.start()]), font(found)]
        end = found.end()
    return "".join((*parts, escaped(text[end:])))


def font(found: re.Match[str]) -> str:
    """What INLINE has found."""
    if found["page"]:
        return f"\\fB{escaped(found['page'])}\\fR({found['section']})"
    if found["text"]:
        place = found["address"].partition("#")[0].rpartition("/")[2]
        return inline(found["text"]) + (f" ({escaped(place)})" if place and place != found["text"] else "")
    if found["italic"]:
        return f"\\fI{escaped(found['italic'])}\\fR"
    return f"\\fB{escaped(found['code'] or found['bold'])}\\fR"


def escaped(text: str) -> str:
    """Text without meaning to roff. Every hyphen is one that can be copied into a shell."""
    return "".join(SPECIAL.get(character, character) for character in text)


def literal(line: str) -> str:
    """A line of code."""
    return guarded(escaped(line).replace("'", "\\(aq"))


def guarded(line: str) -> str:
    """A line that is no request."""
    return f"\\&{line}" if line.startswith((".", "'")) else line
