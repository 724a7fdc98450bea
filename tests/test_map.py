"""Drawings of a node: what is in them, and that nothing overlaps, breaks out or cannot be read."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from snf_network.commands import table
from snf_network.commands.draw import dot, svg, tree
from snf_network.commands.draw.picture import (
    BRIDGE,
    INVALID,
    MISSING,
    NO_RECORD,
    OPENVSWITCH,
    TABLE,
    UP,
    Network,
    Nic,
    Picture,
    Uplink,
    nic,
    picture,
    place,
)
from snf_network.host.record import Record
from snf_network.lean import replace
from snf_network.model.resources import Element, OvsPort, Port, Resource
from snf_network.observe import devices
from tests import drawing
from tests.quick import ROOT

HOSTILE = "a\x1b[31m\n\\N\\l\"']]>&lt;<script>alert(1)</script>\u202e日本語\udcff" + "x" * 200
SVG = "{http://www.w3.org/2000/svg}"
EVIL = Picture(
    HOSTILE,
    (Uplink("eth1", HOSTILE, (HOSTILE, HOSTILE)),),
    (
        Network(BRIDGE, HOSTILE, facts=(HOSTILE,), problem=HOSTILE, uplinks=("eth1",)),
        Network(
            TABLE,
            "222",
            HOSTILE,
            uplinks=("eth1",),
            nics=(
                Nic(
                    "tap0",
                    HOSTILE,
                    HOSTILE,
                    HOSTILE,
                    HOSTILE,
                    HOSTILE,
                    HOSTILE,
                    (HOSTILE,),
                    HOSTILE,
                    (HOSTILE,),
                ),
                Nic("tap1", UP),
            ),
        ),
    ),
    (HOSTILE, HOSTILE),
)
PICTURES = {
    **{f"{count} NICs": drawing.node(count) for count in (0, 1, 2, 10, 60, 300)},
    **{f"{count} bridges": drawing.crowd(count, "a-long-nam") for count in (2, 10, 60)},
    "hostile": EVIL,
}
EVERY = pytest.mark.parametrize("drawn", PICTURES.values(), ids=PICTURES)


# --- what there is to draw


def record(*resources: Resource, **variables: str) -> Record:
    return Record("tap0", 7, "boot", "a.example.com", "u", tuple(variables.items()), resources)


@pytest.mark.parametrize(
    ("kept", "expected"),
    (
        (record(Element("inet", "tables", "tap0", value="222"), Port("tap0"), MODE="ext"), (TABLE, "222")),
        (record(Port("tap0", "prv0"), MODE="ext", LINK="other"), (BRIDGE, "prv0")),
        (record(OvsPort("tap0", "sw0"), MODE="openvswitch"), (OPENVSWITCH, "sw0")),
        (record(MODE="bridged", LINK="prv0"), (BRIDGE, "prv0")),
        (record(), ("network", "")),
    ),
)
def test_a_nic_is_where_its_record_put_it(kept: Record, expected: tuple[str, str]) -> None:
    assert place(kept) == expected


ROW = {
    "state": UP,
    "profile": "protected",
    "tags": "a b",
    "mac": "m",
    "ip": "192.0.2.1",
    "ip6": "2001:db8::1",
}


@pytest.mark.parametrize(
    ("said", "words"),
    (("", ""), (".5", "VLAN 5"), ("5", "VLAN 5"), (":5:6", "VLAN tagged 5 6"), (".5:6", "VLAN 5, tagged 6")),
)
def test_a_nic_in_words(said: str, words: str) -> None:
    found = nic(record(VLAN=said, NETWORK_NAME="net", INTERFACE_INDEX="0"), ROW)
    assert found.vlan == words and found.addresses == ("192.0.2.1", "2001:db8::1")
    assert found.names == ("tap0", "nic0", "net") and found.tags == ("a", "b")


def test_a_record_that_describes_no_nic() -> None:
    found = nic(record(VLAN="nonsense"), {**ROW, "state": "MAC='x' is not valid (six octets)"})
    assert (found.state, found.vlan) == (INVALID, "")


def test_everything_is_in_its_place() -> None:
    found = drawing.node(8)
    table_, lan, private = found.networks
    assert (table_.title, table_.uplinks) == ("routing table 222 (snf_public)", ("eth1",))
    assert table_.facts == ("default via 198.51.100.1 and 2001:db8:1::1",)
    assert (lan.title, lan.uplinks) == ("bridge br0", ("bond0.7",))
    assert lan.facts == ("MTU 1500", "the node is 192.0.2.5/24, 2001:db8:9::5/64")
    assert private.facts == ("MTU 9000", "VLAN-aware")
    assert [one.interface for one in private.nics] == ["tap1", "tap4", "tap7"]
    assert found.uplinks == (
        Uplink("eth1", UP, ("MTU 1500",)),
        Uplink("bond0.7", UP, ("VLAN 7 on bond0 of eth0 eth3", "MTU 1500")),
        Uplink("eth2", "no carrier", ("MTU 9000",)),
    )
    assert found.unused == ("virbr0",)
    assert found.summary == "8 NICs of 8 instances"


def test_what_is_wrong_is_told() -> None:
    nics = {
        (TABLE, "7"): [Nic("tap0", UP)],
        (TABLE, "8"): [Nic("tap3", UP)],
        (BRIDGE, "lost"): [Nic("tap1", "gone")],
        (BRIDGE, "down"): [Nic("tap2", UP)],
    }
    known = {
        one.name: one
        for one in (
            drawing.device("down", "bridge", up=False),
            drawing.device("tap0", "tun", "down"),
            drawing.device("tap10", "tun", "down"),
            drawing.device("tap9", "tun", "down"),
            drawing.device("vif1.0", "", "down"),
            drawing.device("eth5", "", "down", up=False),
        )
    }
    hops = {"8": (devices.Gateway("192.0.2.1", "ppp0"), devices.Gateway("", "eth5"))}
    found = picture("n", nics, known, hops, {})
    assert {one.name: one.problem for one in found.networks} == {
        "7": "no default route",
        "8": "",
        "lost": "does not exist",
        "down": "is down",
    }
    (down,) = [one for one in found.networks if one.name == "down"]
    assert [(one.interface, one.state) for one in down.nics[1:]] == [
        ("tap9", NO_RECORD),
        ("tap10", NO_RECORD),
        ("vif1.0", NO_RECORD),
    ], "tap0, which has a record, is no stray"
    assert found.networks[1].facts == ("default via 192.0.2.1 on ppp0", "default on eth5")
    assert {one.name: one.state for one in found.uplinks} == {"ppp0": MISSING, "eth5": "down"}


def test_what_the_tools_list_is_read() -> None:
    listed = {
        "ifname": "eth2.100",
        "link": "eth2",
        "flags": ["BROADCAST", "UP", "LOWER_UP"],
        "mtu": 9000,
        "master": "prv0",
        "linkinfo": {"info_kind": "vlan", "info_data": {"protocol": "802.1Q", "id": 100}},
        "addr_info": [
            {"local": "192.0.2.1", "prefixlen": 24, "scope": "global"},
            {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
        ],
    }
    assert devices.device(listed) == drawing.device(
        "eth2.100", "vlan", "prv0", mtu=9000, lower="eth2", number="100", addresses=("192.0.2.1/24",)
    )
    assert devices.device({"ifname": "x"}) == drawing.device("x", up=False, carrier=False, mtu=0)
    routes = (
        {"dst": "default", "gateway": "192.0.2.1", "dev": "eth1"},
        {"dst": "default", "nexthops": [{"gateway": "192.0.2.2", "dev": "eth2"}, {"dev": "ppp0"}]},
        {"dst": "default", "via": {"family": "inet6", "host": "fe80::1"}, "dev": "eth3"},
        {"type": "unreachable", "dst": "default", "dev": "lo"},
        {"type": "blackhole", "dst": "default"},
    )
    assert devices.next_hops(routes) == [
        devices.Gateway("192.0.2.1", "eth1"),
        devices.Gateway("192.0.2.2", "eth2"),
        devices.Gateway("", "ppp0"),
        devices.Gateway("fe80::1", "eth3"),
    ]


# --- the tree


@pytest.mark.parametrize("columns", (40, 60, 80, 132))
@EVERY
def test_the_tree_fits(drawn: Picture, columns: int) -> None:
    lines = tree.text(drawn, columns).splitlines()
    assert max(map(table.width, lines)) <= columns
    assert all(line == line.rstrip() and line.isprintable() for line in lines)


def test_a_nic_has_one_line_where_there_is_room() -> None:
    said = tree.text(drawing.node(10), 100_000)
    assert len(said.splitlines()) == 1 + 3 + 3 + 10 + 1
    assert (
        "│  └─ tap9  up  cache2.example.com  198.51.100.19, 2001:db8:1:0:a800:ff:fe00:9, NIC pub0, " in said
    )
    assert said.endswith("└─ bridges without NICs: virbr0\n")


def test_a_narrow_tree_loses_nothing() -> None:
    def words(columns: int) -> str:
        return re.sub(r"[\s│├└─]", "", tree.text(drawing.node(10), columns))

    assert words(30) == words(1000)


def test_the_tree_in_ascii() -> None:
    assert tree.text(drawing.node(10), 80, fancy=False).isascii()


# --- Graphviz

STRING = r'"(?:[^"\\]|\\.)*"'
LINES = (
    "graph {",
    rf"  graph \[rankdir=LR, ranksep=1, nodesep=0.1, fontname={STRING}, label={STRING}, labelloc=t\]",
    rf"  node \[shape=box, style=rounded, fontname={STRING}, fontsize=10\]",
    rf'  {STRING} \[color="#[0-9a-f]+", label={STRING}\]',
    rf"  {STRING} -- {STRING}",
    "}",
)


@EVERY
def test_every_line_is_one_of_graphviz(drawn: Picture) -> None:
    for line in dot.text(drawn).splitlines():
        assert any(re.fullmatch(known, line) for known in LINES), line


def test_graphviz_has_the_same_nodes_and_edges() -> None:
    said = dot.text(drawing.node(10))
    assert said.count(" -- ") == 3 + 10 and said.count("color=") == 3 + 3 + 10
    assert '  "network bridge br0" -- "nic tap2"\n' in said
    assert r'label="cache1.example.com\ntap4 nic1 private-1\n10.0.0.4\nVLAN 100\nincomplete"' in said


def test_a_value_has_no_meaning_for_graphviz() -> None:
    said = dot.text(EVIL)
    unescaped = re.sub(r"\\\\|\\\"|\\n", "", said)
    assert "\\" not in unescaped, "no escape but those of a backslash, a quote and a new line"
    assert "&lt;" not in said and "&amp;lt;" in said


# --- SVG


class Text(NamedTuple):
    """Where a text is, in px; its height is that of the letters with ascenders and descenders."""

    left: float
    top: float
    right: float
    bottom: float
    words: str


SIZES = {name: float(size) for name, size in re.findall(r"\.(\w) { font-size: ([\d.]+)px", svg.STYLE)}
WIDEST = 0.61
"""Width of a character by its size; of DejaVu Sans Mono it is 0.602."""


def texts(drawn: Picture) -> Iterator[Text]:
    for one in ElementTree.fromstring(svg.text(drawn, drawing.WHEN)).iter(f"{SVG}text"):
        words = one.text or ""
        size = SIZES[one.attrib["class"].split()[0]]
        x, y, length = float(one.attrib["x"]), float(one.attrib["y"]), table.width(words) * size * WIDEST
        left = x - length if one.attrib.get("text-anchor") == "end" else x
        yield Text(left, y - 0.8 * size, left + length, y + 0.22 * size, words)


@EVERY
def test_no_text_overlaps_another(drawn: Picture) -> None:
    found = sorted(texts(drawn), key=lambda text: text.top)
    for number, one in enumerate(found):
        for other in itertools.takewhile(lambda text: text.top < one.bottom, found[number + 1 :]):  # noqa: B023
            assert one.right <= other.left or other.right <= one.left, (one, other)


@EVERY
def test_no_text_leaves_the_page_or_crosses_a_frame(drawn: Picture) -> None:
    root = ElementTree.fromstring(svg.text(drawn, drawing.WHEN))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    frames = [
        [float(one.attrib[name]) for name in ("x", "y", "width", "height")]
        for one in root.iter(f"{SVG}rect")
        if one.attrib["class"] in ("panel", "card", "pill")
    ]
    for text in texts(drawn):
        assert text.words and text.left >= 0 and text.right <= width and text.bottom <= height, text
        for x, y, wide, high in frames:
            if x < text.right and text.left < x + wide and y < text.top and text.bottom < y + high:
                assert x <= text.left and text.right <= x + wide, (text, x, wide)


@EVERY
def test_the_picture_holds_what_it_was_given_and_no_more(drawn: Picture) -> None:
    root = ElementTree.fromstring(svg.text(drawn, drawing.WHEN).encode())
    kinds = {one.tag.removeprefix(SVG) for one in root.iter()}
    assert kinds <= {"svg", "title", "style", "rect", "text", "path", "g"}
    nics = [one for network in drawn.networks for one in network.nics]
    shown = [one.text or "" for one in root.iter(f"{SVG}title")]
    assert len(shown) == 1 + len(drawn.uplinks) + len(nics)
    for one in nics:
        (tip,) = [text for text in shown if f"interface: {one.interface}\n" in text]
        assert all(
            table.plain(word) in tip for word in (one.instance, one.profile, *one.tags, *one.addresses)
        )


@pytest.mark.parametrize(("count", "most"), ((1, 700), (10, 1100), (60, 1700), (300, 3300)))
def test_a_picture_is_no_wider_than_it_must_be(count: int, most: float) -> None:
    assert float(ElementTree.fromstring(svg.text(drawing.node(count), "")).attrib["width"]) <= most


def test_many_bridges_do_not_make_a_tower() -> None:
    root = ElementTree.fromstring(svg.text(drawing.crowd(60), ""))
    assert 0.5 < float(root.attrib["width"]) / float(root.attrib["height"]) < 2


def colours(style: str) -> dict[str, str]:
    return {
        name: colour
        for names, colour in re.findall(r"([.\w, ]+) { fill: (#[0-9a-f]{6})", style)
        for name in names.replace(".", "").strip().split(", ")
    }


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", (False, True), ids=("light", "dark"))
def test_text_can_be_read(dark: bool) -> None:
    """WCAG 2.2 asks for a contrast of 4.5 to 1."""
    light, _, darkened = svg.STYLE.partition("@media")
    found = colours(darkened if dark else light)
    pairs = itertools.product(("ink", "t", "mute", "ok", "warn", "bad"), ("page", "panel", "card"))
    for text, ground in (*pairs, ("pilltext", "pill")):
        darker, lighter = sorted(luminance(found[name]) for name in (text, ground))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def test_the_documentation_has_the_picture_of_this_version() -> None:
    """`python3 -m tests.drawing > docs/node.svg` makes it."""
    assert (ROOT / "docs" / "node.svg").read_text() == svg.text(drawing.node(8), drawing.WHEN)


# --- words


@pytest.mark.parametrize(
    ("words", "columns", "expected"),
    (
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("e\u0301e", 2, "e\u0301e"),
    ),
)
def test_words_are_cut_where_there_is_no_room(words: str, columns: int, expected: str) -> None:
    assert table.cut(words, columns, "…") == expected
    assert table.width(expected) <= columns


def test_a_nic_without_a_record_is_told_apart() -> None:
    stray = Nic("tap9", NO_RECORD)
    drawn = replace(drawing.node(1), networks=(Network(BRIDGE, "br0", nics=(stray,)),), uplinks=())
    assert "not brought up by snf-network" in svg.text(drawn, "") and "no record" in dot.text(drawn)
    assert "tap9  no record  -" in tree.text(drawn, 80)
