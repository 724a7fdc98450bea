"""docs/networks.md: its commands work as they are written, and so does its file for two sites."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.overlay import environment
from tests.netns.lab import SCRIPTS, Lab, Machine
from tests.netns.test_readme import example

DOCUMENT = "docs/networks.md"


def own(machine: Machine) -> Machine:
    """Namespaces that it makes are its own, and our commands are where the package has them."""
    machine.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    machine.run("mkdir", "-p", "/etc/snf-network")
    return machine


def typed(machine: Machine, text: str) -> str:
    """What these lines say; our scripts are those of this checkout."""
    lines = text.replace("/usr/lib/snf-network", str(SCRIPTS))
    return machine.out("sh", "-exc", f'PATH="{SCRIPTS}:$PATH"\n{lines}')


@pytest.fixture
def pair(lab: Lab) -> Iterator[list[Machine]]:
    nodes = [own(lab.machine(f"node{number}")) for number in (1, 2)]
    lab.cable(nodes[0], "eth0", nodes[1], "eth0")
    for number, node in enumerate(nodes, 1):
        node.ip(f"addr add 10.99.0.{number}/24 dev eth0", "link set eth0 up")
    yield nodes


def test_from_two_empty_nodes_to_two_guests_that_ping(pair: list[Machine]) -> None:
    for number, node in enumerate(pair, 1):
        said = typed(node, example("From two empty nodes to two guests that ping", DOCUMENT))
        assert "ip link add name vx100" in said and "prv0: put in place" in said
        typed(node, example("A guest on each", DOCUMENT).replace("N=1", f"N={number}"))
    said = typed(pair[0], example("Across", DOCUMENT))
    assert "3 received" in said and "dst 10.99.0.2" in said


def test_two_sites_that_are_each_other_s_peers(lab: Lab) -> None:
    """A router between two clusters; a guest in each."""
    text, router = example("Across sites", DOCUMENT).partition("underlay:"), lab.machine("router")
    router.sysctl("net/ipv4/ip_forward", 1)
    nodes = []
    for number, (mine, other) in enumerate((("99", "98"), ("98", "99")), 1):
        node = lab.machine(f"site{number}")
        lab.cable(node, "eth0", router, f"eth{number}")
        router.ip(f"addr add 10.{mine}.0.254/24 dev eth{number}", f"link set eth{number} up")
        node.ip(
            f"addr add 10.{mine}.0.1/24 dev eth0",
            "link set eth0 up",
            f"route add default via 10.{mine}.0.254",
        )
        node.write("/var/lib/ganeti/ssconf_node_secondary_ips", f"node1 10.{mine}.0.1\nnode2 10.{mine}.0.2\n")
        file = "".join(text[1:]).replace("10.98.", f"10.{other}.")
        node.write("/etc/snf-network/networks.yaml", file)
        node.script("snf-network", {}, "net", "up")
        nodes.append(node)
    guests = []
    for number, node in enumerate(nodes, 1):
        mac = f"aa:00:00:00:00:0{number}"
        guests.append(lab.guest(node, "tap0", mac, f"10.1.0.{number}/24"))
        node.up(environment("tap0", mac, "ov100"))
    assert guests[0].ping("10.1.0.2", count=2) and guests[1].ping("10.1.0.1")
