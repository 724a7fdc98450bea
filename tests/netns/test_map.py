"""`snf-network map` on a node: what it finds, and that no value breaks out of its drawing."""

from __future__ import annotations

import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import SCRIPTS, Lab, Machine, environment
from tests.netns.state import one_line, wipe

COMMAND = SCRIPTS / "snf-network"
STATE_DIR = "/var/lib/snf-network"
ROUTED = environment("add-routed-ifup-1", INTERFACE_NAME="pub0", TAGS="synnefo:network:0:protected")
BRIDGED = {
    **ROUTED,
    "INTERFACE": "tap1",
    "INSTANCE": "other.example.com",
    "INTERFACE_UUID": "u1",
    "MAC": "aa:00:00:00:00:11",
    "IP": "203.0.113.7",
    "MODE": "bridged",
    "LINK": "prv0",
    "TAGS": "",
    "NETWORK_TAGS": "ip-filtered",
    "NETWORK_SUBNET": "203.0.113.0/24",
    "NETWORK_GATEWAY": "203.0.113.1",
    "NETWORK_NAME": '</text><script>"a"</script>&lt; \\N\\l',
}


@pytest.fixture(scope="module")
def lab_node() -> Iterator[Machine]:
    lab = Lab()
    try:
        node = lab.node("node1", lab.router())
        node.ip(
            "link add eth2 type veth peer name far2",
            "link set eth2 master prv0 up",
            "addr add 203.0.113.2/24 dev prv0",
            "link add br9 type bridge",
        )
        yield node
    finally:
        lab.close()


@pytest.fixture
def node(lab_node: Machine) -> Iterator[Machine]:
    """A node with a routed and a bridged NIC."""
    lab_node.ip("tuntap add tap0 mode tap", "tuntap add tap1 mode tap")
    for env in (ROUTED, BRIDGED):
        lab_node.up(env)
    yield lab_node
    for tap in ("tap0", "tap1", "tap2"):
        lab_node.run("ip", "link", "del", tap, check=False)
    wipe(lab_node)


def found(node: Machine) -> dict[str, Any]:
    drawn: dict[str, Any] = json.loads(node.out(COMMAND, "map", "--json"))
    return drawn


def network(node: Machine, name: str) -> dict[str, Any]:
    (one,) = [one for one in found(node)["networks"] if one["name"] == name]
    return dict(one)


def test_a_node_as_it_is(node: Machine) -> None:
    drawn = found(node)
    table, bridge = drawn["networks"]
    assert (table["kind"], table["name"], table["alias"]) == ("routing table", "222", "snf_public")
    assert table["facts"] == ["default via 198.51.100.1 and 2001:db8:1::1"]
    assert (table["uplinks"], bridge["uplinks"]) == (["eth1"], ["eth2"])
    assert bridge["facts"] == ["MTU 1500", "the node is 203.0.113.2/24"]
    assert table["problem"] == bridge["problem"] == ""
    assert [(one["name"], one["state"]) for one in drawn["uplinks"]] == [
        ("eth1", "up"),
        ("eth2", "no carrier"),
    ]
    assert drawn["unused"] == ["br9"]
    (routed,), (bridged,) = table["nics"], bridge["nics"]
    assert routed["addresses"][0] == "198.51.100.10" and routed["profile"] == "protected"
    assert (routed["interface"], routed["state"], routed["instance"]) == ("tap0", "up", "inst1.example.com")
    assert (bridged["interface"], bridged["tags"]) == ("tap1", ["ip-filtered"])


def test_the_tree_has_a_line_for_each(node: Machine) -> None:
    lines = node.run("env", "-u", "COLUMNS", COMMAND, "map").stdout.splitlines()
    assert lines[0].endswith(": 2 NICs of 2 instances")
    assert [line.lstrip("│├└─ ").split("  ")[0] for line in lines[1:]] == [
        "routing table 222 (snf_public): default via 198.51.100.1 and 2001:db8:1::1",
        "uplink eth1: up, veth, MTU 1500",
        "tap0",
        "bridge prv0: MTU 1500, the node is 203.0.113.2/24",
        "uplink eth2: no carrier, veth, MTU 1500",
        "tap1",
        "bridges without NICs: br9",
    ]


def test_on_a_terminal_the_tree_fits(node: Machine) -> None:
    said = node.out("script", "-qec", f"stty cols 50; {COMMAND} map", "/dev/null")
    assert max(map(len, said.splitlines())) <= 50 and "198.51.100.10" in said


def test_what_is_wrong_is_seen(node: Machine) -> None:
    node.ip(
        "tuntap add tap2 mode tap", "link set tap2 master prv0 up", "link set tap1 down", "link set eth1 down"
    )
    try:
        assert network(node, "222")["problem"] == "no default route"
        states = [(one["interface"], one["state"]) for one in network(node, "prv0")["nics"]]
        assert states == [("tap1", "down"), ("tap2", "no record")]
        node.ip("link del tap1", "link set prv0 down")
        assert network(node, "prv0")["problem"] == "is down"
        assert network(node, "prv0")["nics"][0]["state"] == "gone"
    finally:
        node.ip(
            "link set prv0 up",
            "link set eth1 up",
            "route replace default via 198.51.100.1 dev eth1 table 222 onlink",
            "-6 route replace default via 2001:db8:1::1 dev eth1 table 222 onlink",
        )


def test_values_do_not_break_out(node: Machine) -> None:
    """Of Ganeti, and of a record that somebody changed."""
    node.run("sed", "-i", r"1s/inst1.example.com/\x1b[31mx\xff<b>\&/", f"{STATE_DIR}/tap0")
    drawn = node.out(COMMAND, "map", "--svg", "-")
    root = ElementTree.fromstring(drawn)
    texts = [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert r"\x1b[31mx\udcff<b>&" in texts
    assert any(BRIDGED["NETWORK_NAME"][:20] in text for text in texts)
    assert {one.tag.rpartition("}")[2] for one in root.iter()} == {
        *("svg", "title", "style", "rect", "path", "g", "text")
    }
    for words in ((), ("--dot",), ("--json",)):
        assert "\x1b" not in node.out(COMMAND, "map", *words)
    if graphviz := shutil.which("dot"):
        graph = node.out(COMMAND, "map", "--dot")
        made = subprocess.run((graphviz, "-Tsvg"), input=graph, capture_output=True, text=True, check=True)
        assert made.stderr == ""
        shown = [
            one.text for one in ElementTree.fromstring(made.stdout).iter("{http://www.w3.org/2000/svg}text")
        ]
        assert r"\x1b[31mx\udcff<b>&" in shown and f"tap1 pub0 {BRIDGED['NETWORK_NAME']}" in shown


def test_a_picture_is_a_file_for_everybody(node: Machine) -> None:
    node.run("mkdir", "-p", "/mnt/pictures")
    for _ in range(2):
        assert node.out(COMMAND, "map", "--svg", "/mnt/pictures/node.svg") == ""
        assert node.out("stat", "-c", "%a %F", "/mnt/pictures/node.svg") == "644 regular file\n"
    ElementTree.fromstring(node.read("/mnt/pictures/node.svg"))
    ran = node.run(COMMAND, "map", "--svg", "/proc/nowhere/node.svg", check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    one_line(ran.stderr, "/proc/nowhere/node.svg")


def test_the_map_is_for_everybody(node: Machine) -> None:
    public = f"{node.public()}/snf-network"
    ran = node.run("setpriv", "--reuid=65534", "--clear-groups", public, "map")
    assert "inst1.example.com" in ran.stdout and ran.stderr == ""


def test_a_node_without_nics(lab: Lab) -> None:
    node = lab.machine("empty")
    node.ip("link add br0 type bridge")
    first, second = node.out(COMMAND, "map").splitlines()
    assert first.endswith(": no NICs") and second == "└─ bridges without NICs: br0"
    for words in (("--svg", "-"), ("--dot",), ("--json",)):
        assert "br0" in node.out(COMMAND, "map", *words) or words == ("--dot",)


def test_a_reader_who_goes_away_hears_no_traceback(node: Machine) -> None:
    for words in ("", "--dot", "--svg -"):
        ran = node.run("bash", "-o", "pipefail", "-c", f"{COMMAND} map {words} | true", check=False)
        assert ran.stderr == "" and ran.returncode in (0, 1)
