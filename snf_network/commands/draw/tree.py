"""A node as a tree of lines, which fits a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ..table import cut, plain, width
from .picture import Network, Nic, Picture, Uplink

LINES = {True: ("├─ ", "│  ", "└─ ", "   "), False: ("|- ", "|  ", "`- ", "   ")}
"""What leads to a branch and past it, then the same for the last one; in Unicode and in ASCII."""
BESIDE = " "
INDENT = "    "
T = TypeVar("T")
Item = Sequence[str]
"""The words of a line, which may be spread over several."""


def text(picture: Picture, columns: int, fancy: bool = True) -> str:
    """The tree, at most `columns` wide; without `fancy`, only ASCII draws its branches."""
    networks = [(_network(one), _inside(one, picture)) for one in picture.networks]
    if picture.unused:
        networks.append((("bridges without NICs:", *picture.unused), []))
    lines = _wrapped([f"{picture.node}:", picture.summary], "", "", columns)
    return "".join(f"{line}\n" for line in (*lines, *_branches(networks, columns, LINES[fancy])))


def _branches(
    networks: Sequence[tuple[Item, Sequence[Item]]], columns: int, marks: Sequence[str]
) -> Iterator[str]:
    for first, past, (head, items) in _marked(networks, marks):
        yield from _wrapped(head, first, past + INDENT, columns)
        for inner, beyond, item in _marked(items, marks):
            yield from _wrapped(item, past + inner, past + beyond + INDENT, columns)


def _marked(items: Sequence[T], marks: Sequence[str]) -> Iterator[tuple[str, str, T]]:
    for number, item in enumerate(items, 1):
        last = 2 * (number == len(items))
        yield marks[last], marks[last + 1], item


def _network(network: Network) -> Item:
    return (f"{network.title}{':' * bool(network.facts or network.problem)}", *_told(network))


def _told(network: Network) -> Iterator[str]:
    if network.problem:
        yield network.problem
    yield from _listed(network.facts)


def _listed(facts: Sequence[str]) -> Iterator[str]:
    yield from (f"{fact}," for fact in facts[:-1])
    yield from facts[-1:]


def _inside(network: Network, picture: Picture) -> list[Item]:
    """Its uplinks, then its NICs, in columns."""
    uplinks = [_uplink(one) for one in picture.uplinks if one.name in network.uplinks]
    heads = [tuple(map(plain, (nic.interface, nic.state, nic.instance or "-"))) for nic in network.nics]
    widths = [max(map(width, cells)) for cells in zip(*heads, strict=True)]
    return uplinks + [
        (*_padded(head, widths), *_listed(tuple(_details(nic))))
        for head, nic in zip(heads, network.nics, strict=True)
    ]


def _padded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    yield from (cell + " " * (most + 1 - width(cell)) for cell, most in zip(cells, widths, strict=True))


def _uplink(uplink: Uplink) -> Item:
    facts = (uplink.state, *uplink.facts)
    return (f"uplink {uplink.name}:", *_listed(facts))


def _details(nic: Nic) -> Iterator[str]:
    yield from nic.addresses
    if nic.name:
        yield f"NIC {nic.name}"
    if nic.network:
        yield f"network {nic.network}"
    if nic.vlan:
        yield nic.vlan
    if nic.profile:
        yield f"profile {nic.profile}"


def _wrapped(item: Item, first: str, rest: str, columns: int) -> Iterator[str]:
    """Words beside each other while they fit; a word that never does is split."""
    line, empty = first, True
    for word in map(plain, item):
        beside = line + ("" if empty else BESIDE if word else "") + word
        if not empty and width(beside.rstrip()) > columns:
            yield line.rstrip()
            beside = rest + word
        while width(beside.rstrip()) > columns and columns > width(rest) + 1:
            part = cut(beside, columns)
            yield part.rstrip()
            beside = rest + beside[len(part) :]
        line, empty = beside, False
    yield line.rstrip()
