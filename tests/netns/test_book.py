"""Blocks of the documents that need a node and no Ganeti: each is run as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.blocks import block
from tests.netns.lab import SCRIPTS, Lab, Machine, environment

ENV = environment("add-routed-ifup-1", INTERFACE="tap3", NETWORK_TAGS="ip-less-routed nfdhcpd")
OTHER = {
    **ENV,
    "INTERFACE": "tap0",
    "IP": "198.51.100.11",
    "MAC": "aa:00:00:00:00:11",
    "INSTANCE": "b.example.com",
}
FRAME = "ffffffffffff" + ENV["MAC"].replace(":", "") + "0806" + "00" * 28
LONG = {"trace", "top", "selftest"}
"""These run until they are stopped, or for long; tests of their own run them."""
LOOKS = (
    ("docs/trouble.md", "Troubleshooting, by symptom"),
    ("docs/trouble.md", "To ask for help"),
    ("docs/howto/from-bash.md", "Come from the bash package #2"),
    ("docs/howto/upgrade.md", "Upgrade a node to the next Debian #2"),
)


@pytest.fixture
def node(lab: Lab) -> Iterator[Machine]:
    """A node with a NIC on tap3 and another one on tap0."""
    node = lab.node("node1", lab.router())
    node.run("mkdir", "-p", "/etc/snf-network")
    for env in (ENV, OTHER):
        node.ip(f"tuntap add {env['INTERFACE']} mode tap")
        node.up(env)
    return node


def typed(node: Machine, lines: str, *statuses: int) -> str:
    """Run lines one after the other; what they said."""
    ran = node.run("bash", "-exc", f"PATH={SCRIPTS}:$PATH\n{lines}", check=False, timeout=120)
    assert ran.returncode in (statuses or (0,)), f"{lines}\n{ran.stdout}{ran.stderr}"
    assert "Traceback" not in ran.stderr
    return ran.stdout


def test_the_uplink(lab: Lab) -> None:
    node, router = lab.machine("node"), lab.router()
    lab.cable(router, "node", node, "eth1")
    node.ip("link set eth1 up")
    typed(node, block("docs/operators.md", "The uplink of a routed network"))
    assert "default via 198.51.100.1 dev eth1" in node.out("ip", "route", "show", "table", "snf_public")
    assert "iif eth1 lookup" in node.out("ip", "-6", "rule")
    node.ip("tuntap add tap3 mode tap")
    assert node.up(ENV).returncode == 0


def test_a_node_that_does_not_route_for_its_bridges(node: Machine) -> None:
    typed(node, block("docs/operators.md", "Forwarding"))
    assert 'iifname "prv0" drop' in node.out("nft", "list", "table", "inet", "bridges")


def by_hand() -> list[str]:
    """The commands, without what is said of them; the one that takes a NIC away comes last."""
    lines = [re.split(r"  +", line)[0] for line in block("docs/operators.md", "By hand").splitlines()]
    return sorted((line for line in lines if line.split()[1] not in LONG), key=lambda line: "remove" in line)


def test_each_command_by_hand(node: Machine) -> None:
    node.write("/etc/nic.env", "".join(f"{key}={value}\n" for key, value in ENV.items()))
    node.write("/etc/default/snf-network", "SERVER=192.0.2.53\nAUTHENTICATION_METHOD=plain\n")
    for line in by_hand():
        line = line.replace("FILE", "/etc/nic.env").replace("FRAME", FRAME)
        typed(node, line, *((0, 1, 2) if line.endswith("doctor") else (0,)))
    assert "tap3" not in typed(node, "snf-network status")


@pytest.mark.parametrize(("document", "key"), LOOKS, ids=" ".join)
def test_what_to_look_at(node: Machine, document: str, key: str) -> None:
    """On a node without systemd and without the programs that doctor misses, it finds something."""
    for line in block(document, key).splitlines():
        typed(node, line, *((0, 1, 2) if "doctor" in line else (0,)))


def test_settings_for_dns(node: Machine) -> None:
    typed(node, block("docs/howto/dns.md", "A key"))
    node.write("/etc/default/snf-network", "")
    typed(node, block("docs/howto/dns.md", "Settings"))
    assert block("docs/dns.md", "Names in DNS").splitlines()[0] in node.read("/etc/default/snf-network")
    node.down(ENV)
    node.up({**ENV, "NETWORK_TAGS": f"{ENV['NETWORK_TAGS']} dns"})
    assert "inst1.example.com.vm.example.com" in typed(node, "snf-network dns list")
