"""Where the parts of a picture are, in px.

Each network is a panel with a card for each NIC; on its left are its uplinks, with lines to it. With many
networks, panels stand in several strips, each with the uplinks that it needs. SVG cannot measure text, so all
lengths are for a font whose characters have one width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, sqrt

from snf_network.lean import dataclass

from ..table import plain, width
from .picture import Network, Picture, Uplink

EDGE, GAP, PAD = 24, 10, 14
"""Space around all, between cards, and inside of panels."""
CARD, UPLINK, GUTTER, TOP = 304, 244, 56, 72
"""Widths of a card, of an uplink and of the space for lines; where the first panel begins."""
LINE, HEAD, FOOT = 16, 30, 7
"""Height of a line of text; of a title; of the space below the last line."""
SMALL, BIG, TITLE, PAGE = 10.5, 12.0, 13.5, 19.0
"""Sizes of text."""
ADVANCE = 0.61
"""Width of a character by its size: that of the widest of the usual monospaced fonts."""
COLUMNS, STRIPS = 4, 4
"""At most so many columns of cards in a panel, and so many strips of panels."""
SHAPE = 2.2
"""Rows of cards for a column: makes a panel about as wide as it is high."""
SPREAD = 8
"""Between the ends of the lines to one panel."""


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower side."""
        return self.y + self.height


@dataclass(frozen=True)
class Panel:
    """A network in its place."""

    network: Network
    box: Box
    facts: tuple[str, ...]
    """In lines that fit."""
    cards: tuple[Box, ...]
    rows: int
    """Lines of each card for addresses."""
    marks: bool
    """True if each card has a line for VLAN, profile and tags."""


@dataclass(frozen=True)
class Side:
    """An uplink in its place."""

    uplink: Uplink
    box: Box
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Everything in its place."""

    width: float
    bottom: float
    """Where the lowest part ends."""
    panels: tuple[Panel, ...]
    sides: tuple[Side, ...]
    lines: tuple[tuple[float, float, float, float], ...]
    """From x and y to x and y."""


def laid_out(picture: Picture) -> Layout:
    """The layout of a picture."""
    columns = _columns(picture.networks)
    inner = columns * (CARD + GAP) - GAP + 2 * PAD
    left = (UPLINK + GUTTER) * bool(picture.uplinks)
    panels, sides, lines, x = list[Panel](), list[Side](), list[tuple[float, float, float, float]](), EDGE
    for networks in _strips(picture.networks, columns, left + inner):
        stacked = list(_panels(networks, x + left, inner, columns))
        beside = list(_sides(picture.uplinks, stacked, x))
        lines += _lines(beside, stacked)
        panels += stacked
        sides += beside
        x += left + inner + 2 * EDGE
    boxes = (*(panel.box for panel in panels), *(side.box for side in sides))
    bottom = max((box.bottom for box in boxes), default=TOP - EDGE)
    return Layout(x - EDGE, bottom, tuple(panels), tuple(sides), tuple(lines))


def length(words: str, size: float) -> float:
    """How wide words are at most."""
    return width(plain(words)) * size * ADVANCE


def filled(facts: Sequence[str], room: float) -> tuple[str, ...]:
    """Facts with commas between them, on as many lines as they need; words are kept whole, and facts if they
    can be.
    """
    lines: list[str] = []
    for number, fact in enumerate(facts, 1):
        words = plain(fact) + "," * (number < len(facts))
        if lines and length(f"{lines[-1]} {words}", SMALL) <= room:
            lines[-1] += f" {words}"
        else:
            lines += _broken(words, room)
    return tuple(lines)


def _broken(words: str, room: float) -> Iterator[str]:
    line = ""
    for word in words.split():
        if line and length(f"{line} {word}", SMALL) > room:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    yield line


def _columns(networks: Sequence[Network]) -> int:
    most = max((len(network.nics) for network in networks), default=0)
    return max(1, min(COLUMNS, ceil(sqrt(most / SHAPE))))


def _strips(networks: Sequence[Network], columns: int, wide: float) -> Iterator[list[Network]]:
    """Networks that stand below each other, in as many strips as make the whole about square."""
    heights = [one.box.height + EDGE for one in _panels(networks, 0, wide, columns)]
    count = max(1, min(STRIPS, round(sqrt(sum(heights) / wide))))
    strip, filled_to = list[Network](), 0.0
    for network, height in zip(networks, heights, strict=True):
        if strip and filled_to + height / 2 > sum(heights) / count:
            yield strip
            strip, filled_to = [], 0.0
        strip.append(network)
        filled_to += height
    yield strip


def _panels(networks: Iterable[Network], x: float, wide: float, columns: int) -> Iterator[Panel]:
    y: float = TOP
    for network in networks:
        panel = _panel(network, Box(x, y, wide, 0), columns)
        yield panel
        y = panel.box.bottom + EDGE


def _panel(network: Network, top: Box, columns: int) -> Panel:
    nics = network.nics
    facts = filled(network.facts, top.width - 2 * PAD)
    rows = max((len(nic.addresses) for nic in nics), default=0)
    marks = any(nic.vlan or nic.profile or nic.tags for nic in nics)
    high = 14 + LINE * (2 + rows + marks)
    begin = top.y + HEAD + LINE * len(facts) + FOOT
    cards = [
        Box(
            top.x + PAD + number % columns * (CARD + GAP),
            begin + number // columns * (high + GAP),
            CARD,
            high,
        )
        for number in range(len(nics))
    ]
    bottom = cards[-1].bottom + PAD if cards else begin
    box = Box(top.x, top.y, top.width, bottom - top.y)
    return Panel(network, box, facts, tuple(cards), rows, marks)


def _sides(uplinks: Iterable[Uplink], panels: Sequence[Panel], x: float) -> Iterator[Side]:
    """Each uplink at the level of the first panel that it serves, or below the uplink before it."""
    free = 0.0
    for uplink in uplinks:
        levels = [panel.box.y for panel in panels if uplink.name in panel.network.uplinks]
        if levels:
            facts = filled(uplink.facts, UPLINK - 2 * PAD)
            box = Box(x, max(levels[0], free), UPLINK, HEAD + LINE * len(facts) + FOOT)
            yield Side(uplink, box, facts)
            free = box.bottom + GAP


def _lines(sides: Sequence[Side], panels: Sequence[Panel]) -> Iterator[tuple[float, float, float, float]]:
    """From each uplink to each of its panels; those to one panel end below each other."""
    boxes = {side.uplink.name: side.box for side in sides}
    for panel in panels:
        for number, name in enumerate(panel.network.uplinks):
            at = min(panel.box.y + HEAD / 2 + 4 + SPREAD * number, panel.box.bottom - SPREAD)
            yield boxes[name].right, boxes[name].y + HEAD / 2 + 4, panel.box.x, at
