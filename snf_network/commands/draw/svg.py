"""A node as an SVG picture, for light and dark pages. What does not fit is cut; a card's tooltip has all of
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from ..table import cut, plain
from .layout import (
    ADVANCE,
    BIG,
    EDGE,
    GAP,
    LINE,
    PAD,
    PAGE,
    SMALL,
    TITLE,
    Box,
    Panel,
    Side,
    filled,
    laid_out,
    length,
)
from .picture import UP, WARNING, Nic, Picture

ELLIPSIS = "…"
STYLE = """
text { font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace; }
.h { font-size: 19px; font-weight: bold; } .t { font-size: 13.5px; font-weight: bold; }
.b { font-size: 12px; font-weight: bold; } .s { font-size: 10.5px; }
.page { fill: #ffffff; } .panel { fill: #f3f5f8; stroke: #d5dbe1; }
.card { fill: #ffffff; stroke: #d5dbe1; }
.t, .h, .b, .ink { fill: #1f2328; } .mute { fill: #59636e; }
.line { fill: none; stroke: #8c959f; stroke-width: 1.6; }
.pill { fill: #ddf4ff; stroke: #b6dcf5; } .pilltext { fill: #0550ae; }
.ok { fill: #1a7f37; } .warn { fill: #8a5d00; } .bad { fill: #cf222e; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .panel { fill: #151b23; stroke: #3d444d; }
.card { fill: #0d1117; stroke: #3d444d; }
.t, .h, .b, .ink { fill: #f0f6fc; } .mute { fill: #9198a1; }
.line { stroke: #656c76; }
.pill { fill: #121d2f; stroke: #1f4b80; } .pilltext { fill: #79c0ff; }
.ok { fill: #3fb950; } .warn { fill: #d29922; } .bad { fill: #f85149; }
}
"""
"""Sizes are those of layout."""


def text(picture: Picture, when: str) -> str:
    """The picture; `when` is the time to write on it."""
    layout = laid_out(picture)
    room = layout.width - 2 * EDGE
    below = filled(_unused(picture), room)
    height = layout.bottom + EDGE + LINE * len(below)
    lines = [
        *_opening(layout.width, height, f"{picture.node}: {picture.summary}, {when}"),
        _words("h", EDGE, 36, picture.node, room, PAGE),
        _words("s mute", EDGE, 55, f"{picture.summary}, {when}", room, SMALL),
        *(_line(*ends) for ends in layout.lines),
    ]
    for part in (*map(_side, layout.sides), *map(_panel, layout.panels)):
        lines += part
    lines += _paragraph(EDGE, layout.bottom + EDGE - 8, below, room)
    return "\n".join((*lines, "</svg>\n"))


def _opening(wide: float, high: float, words: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" '
        f'height="{high:g}" role="img">'
    )
    yield _title(words)
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="page" width="{wide:g}" height="{high:g}"/>'


def _unused(picture: Picture) -> Sequence[str]:
    first, *rest = picture.unused or ("",)
    return (f"bridges without NICs: {first}", *rest) if first else ()


def _line(x: float, y: float, end: float, there: float) -> str:
    middle = (x + end) / 2
    curve = f"M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {there:g} {end:g} {there:g}"
    return f'<path class="line" d="{curve}"/>'


def _side(side: Side) -> Iterator[str]:
    uplink, box = side.uplink, side.box
    yield "<g>"
    yield _title(f"uplink {uplink.name}: {uplink.state}", *uplink.facts)
    yield from _headed(box, uplink.name, uplink.state, side.facts)
    yield "</g>"


def _panel(panel: Panel) -> Iterator[str]:
    yield from _headed(panel.box, panel.network.title, panel.network.problem, panel.facts)
    for nic, box in zip(panel.network.nics, panel.cards, strict=True):
        yield from _card(nic, box, panel)


def _headed(box: Box, words: str, state: str, facts: Sequence[str]) -> Iterator[str]:
    room = box.width - 2 * PAD
    yield _rectangle("panel", box, 8)
    yield from _stated("t", box.x + PAD, box.y + 23, words, state, room, TITLE)
    yield from _paragraph(box.x + PAD, box.y + 23, facts, room)


def _paragraph(x: float, y: float, lines: Sequence[str], room: float) -> Iterator[str]:
    """Lines below `y`."""
    for number, line in enumerate(lines, 1):
        yield _words("s mute", x, y + LINE * number, line, room, SMALL)


def _card(nic: Nic, box: Box, panel: Panel) -> Iterator[str]:
    x, y, room = box.x + PAD, box.y + 19, box.width - PAD - GAP
    names = nic.names[not nic.instance :]
    yield "<g>"
    yield _title(*_all(nic))
    yield _rectangle("card", box, 5)
    yield _rectangle(_class(nic.state), Box(box.x, box.y, 4, box.height), 2)
    yield from _stated("b", x, y, nic.instance or nic.interface, nic.state, room, BIG)
    if names:
        yield _words("s mute", x, y + LINE, " · ".join(map(plain, names)), room, SMALL)
    for number, address in enumerate(nic.addresses, 2):
        yield _words("s ink", x, y + LINE * number, address, room, SMALL)
    yield from _marks(nic, x, y + LINE * (2 + panel.rows), room)
    yield "</g>"


def _marks(nic: Nic, x: float, y: float, room: float) -> Iterator[str]:
    """VLAN and profile in frames, then the tags; as many as there is room for."""
    end = x + room
    for words in filter(None, (nic.vlan, nic.profile)):
        wide = min(length(words, SMALL) + 12, end - x)
        yield _rectangle("pill", Box(x, y - 11, wide, 15), 7)
        yield _words("s pilltext", x + 6, y, words, wide - 10, SMALL)
        x += wide + 6
        if end - x < 40:
            return
    if nic.tags:
        yield _words("s mute", x, y, " ".join(nic.tags), end - x, SMALL)


def _stated(kind: str, x: float, y: float, words: str, state: str, room: float, size: float) -> Iterator[str]:
    """Words on the left, and a state on the right, which takes at most half of the room."""
    state = _fitting(state, room / 2, SMALL)
    taken = length(state, SMALL) + GAP if state else 0
    yield _words(kind, x, y, words, room - taken, size)
    if state:
        place = f'x="{x + room:g}" y="{y:g}" text-anchor="end"'
        yield f'<text class="s {_class(state)}" {place}>{escape(state)}</text>'


def _all(nic: Nic) -> Iterator[str]:
    """Everything about a NIC, for its tooltip."""
    named = (
        ("instance", nic.instance),
        ("interface", nic.interface),
        ("state", nic.state),
        ("NIC", nic.name),
        ("network", nic.network),
        ("addresses", " ".join(nic.addresses)),
        ("MAC", nic.mac),
        ("VLAN", nic.vlan.removeprefix("VLAN ")),
        ("profile", nic.profile),
        ("tags", " ".join(nic.tags)),
    )
    yield from (f"{name}: {value}" for name, value in named if value)


def _class(state: str) -> str:
    return "ok" if state == UP else "warn" if state in WARNING else "bad"


def _rectangle(kind: str, box: Box, radius: float) -> str:
    place = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"'
    return f'<rect class="{kind}" {place} rx="{radius:g}"/>'


def _words(kind: str, x: float, y: float, words: str, room: float, size: float) -> str:
    """One line of text, as far as there is room."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(_fitting(words, room, size))}</text>'


def _fitting(words: str, room: float, size: float) -> str:
    return cut(plain(words), max(int(room / (size * ADVANCE)), 1), ELLIPSIS)


def _title(*lines: str) -> str:
    """A tooltip."""
    return f"<title>{escape(chr(10).join(map(plain, lines)))}</title>"
