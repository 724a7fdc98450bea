"""A node in the language of Graphviz: `snf-network map --dot | dot -Tpng > node.png`."""

from __future__ import annotations

from collections.abc import Iterator

from ..table import plain
from .picture import UP, WARNING, Network, Nic, Picture

ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "&": "&amp;"})
"""Inside quotes; Graphviz reads a label's & as the beginning of an entity."""
COLOURS = {UP: "#1a7f37", **dict.fromkeys(WARNING, "#8a5d00")}
BAD = "#cf222e"
HEAD = """graph {
  graph [rankdir=LR, ranksep=1, nodesep=0.1, fontname="sans-serif", label=%s, labelloc=t]
  node [shape=box, style=rounded, fontname="sans-serif", fontsize=10]
"""


def text(picture: Picture) -> str:
    """The graph: uplinks, networks, NICs, from left to right."""
    return (
        HEAD % _label(f"{picture.node}: {picture.summary}")
        + "".join(f"  {line}\n" for line in _lines(picture))
        + "}\n"
    )


def _lines(picture: Picture) -> Iterator[str]:
    for uplink in picture.uplinks:
        words = (uplink.name, *uplink.facts, *_unless_up(uplink.state))
        yield _vertex("uplink", uplink.name, uplink.state, *words)
    for network in picture.networks:
        state = network.problem or UP
        yield _vertex("network", network.title, state, network.title, *network.facts, *_unless_up(state))
        yield from (_edge(("uplink", name), ("network", network.title)) for name in network.uplinks)
        yield from _nics(network)


def _nics(network: Network) -> Iterator[str]:
    for nic in network.nics:
        yield _vertex("nic", nic.interface, nic.state, *_words(nic))
        yield _edge(("network", network.title), ("nic", nic.interface))


def _words(nic: Nic) -> Iterator[str]:
    if nic.instance:
        yield nic.instance
    yield " ".join(nic.names)
    yield from nic.addresses
    yield from filter(None, (nic.vlan, nic.profile and f"profile {nic.profile}"))
    yield from _unless_up(nic.state)


def _unless_up(state: str) -> Iterator[str]:
    if state != UP:
        yield state


def _vertex(kind: str, name: str, state: str, *lines: str) -> str:
    colour = COLOURS.get(state, BAD)
    return f'{_name(kind, name)} [color="{colour}", label={_label(*lines)}]'


def _edge(one: tuple[str, str], other: tuple[str, str]) -> str:
    return f"{_name(*one)} -- {_name(*other)}"


def _name(kind: str, name: str) -> str:
    words = f"{kind} {name}"
    return f'"{plain(words).translate(ESCAPES)}"'


def _label(*lines: str) -> str:
    words = "\\n".join(plain(line).translate(ESCAPES) for line in lines)
    return f'"{words}"'
