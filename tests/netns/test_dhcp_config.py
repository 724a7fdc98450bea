"""`net dhcp-config`: each server takes its configuration, says so by its own test, and one that runs gives a
guest what is in it. And `status --network`, which says who is in a network.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from lab.overlay import Cluster, cluster
from tests.netns.lab import Machine, until
from tests.netns.test_networks import command, net
from tests.netns.test_overlay_guests import MAC, guest, nic

FILE = """\
networks:
  prv0:
    kind: overlay
    vni: 100
    bridge: ov100
    gateway: [10.1.0.254/24]
    dhcp:
      nameservers: [192.0.2.53, 192.0.2.54]
      domain: example.com
      lease: 900
      next_server: 10.1.0.253
      filename: pxelinux.0
      uefi_filename: efi/boot.efi
  routed: {kind: routed, table: 222, uplink: eth1}
"""
NETWORK = "9a1b0000-0000-4000-8000-000000000001"
GANETI = {
    "cluster": {"nicparams": {"default": {"mode": "bridged", "link": "ov100"}}},
    "networks": {NETWORK: {"name": "n", "network": "10.2.0.0/24", "gateway": "10.2.0.1"}},
    "instances": {
        "a": {
            "name": "web.example.com",
            "nics": [
                {"mac": "AA:00:00:00:02:01", "ip": "10.2.0.5", "network": NETWORK, "nicparams": {}},
                {"mac": "aa:00:00:00:02:02", "ip": "10.1.0.77", "network": None},
                {"mac": "aa:00:00:00:02:03", "ip": None, "nicparams": {}},
                {"mac": "aa:00:00:00:02:04", "ip": "10.1.0.9", "nicparams": {"link": "br9"}},
                {"mac": "aa:00:00:00:02:05", "ip": "10.9.9.9", "nicparams": {}},
            ],
        },
        "b": {"name": "x; }", "nics": [{"mac": "aa:00:00:00:02:06", "ip": "10.1.0.8"}]},
    },
}
TESTS = {
    "isc": ("/etc/dhcp/x.conf", ("dhcpd", "-t", "-4", "-cf")),
    "kea": ("/etc/kea/x.conf", ("kea-dhcp4", "-t")),
    "dnsmasq": ("/etc/dnsmasq.x", ("dnsmasq", "--test", "-C")),
}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(size=2) as made:
        made.say(FILE)
        for node in made.nodes:
            node.ip("link add eth1 type veth peer name far1")
            assert net(node, "up")[0] == 0
        yield made


def printed(node: Machine, form: str) -> str:
    status, said = net(node, "dhcp-config", "prv0", "--format", form)
    assert status == 0, said
    return "".join(line for line in said.splitlines(True) if not line.startswith("snf-network: "))


@pytest.mark.parametrize("form", TESTS)
def test_each_server_takes_it(nodes: Cluster, form: str) -> None:
    node = nodes.nodes[0]
    path, words = TESTS[form]
    with guest(nodes, node, nic(1)), guest(nodes, node, nic(2, IP="10.1.0.2", INSTANCE="two.example.com")):
        alone = printed(node, form)
        node.write("/var/lib/ganeti/config.data", json.dumps(GANETI))
        status, said = net(node, "dhcp-config", "prv0", "--format", form)
        both = printed(node, form)
        node.run("rm", "/var/lib/ganeti/config.data")
    assert status == 0 and "web.example.com: 10.9.9.9 is in no subnet that is known: left out" in said
    for text, macs in (
        (alone, {MAC % 1, MAC % 2}),
        (both, {MAC % 1, MAC % 2, *(f"aa:00:00:00:02:0{n}" for n in (1, 2))}),
    ):
        node.write(path, text)
        ran = node.run(*words, path, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert set(re.findall(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", text)) == macs
        for value in (
            "192.0.2.54",
            "example.com",
            "10.1.0.254",
            "pxelinux.0",
            "efi/boot.efi",
            "10.1.0.253",
            "1450",
        ):
            assert value in text, value
    assert "10.2.0.1" in both and "10.2.0.0" in both


def test_a_guest_gets_from_such_a_server_what_it_says(nodes: Cluster) -> None:
    """dnsmasq on the node itself, which is the gateway there."""
    node = nodes.nodes[0]
    said = nic(1, "")
    with guest(nodes, node, said) as asking:
        node.write("/etc/dnsmasq.x", printed(node, "dnsmasq"))
        run = (
            "dnsmasq",
            "-k",
            "-C",
            "/etc/dnsmasq.x",
            "-i",
            "ov100",
            "-u",
            "root",
            "-l",
            "/var/lib/leases",
            "-x",
            "/var/x.pid",
        )
        server = subprocess.Popen(node.command(*run), stderr=subprocess.PIPE, text=True)
        try:
            assert until(lambda: ":67 " in node.out("ss", "-uln"), 5)
            asking.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-O", "mtu", "-t", "10", "-T", "1")
            link = json.loads(asking.out("ip", "-j", "addr", "show", "eth0"))[0]
            assert link["mtu"] == 1450 and "10.1.0.1" in [one["local"] for one in link["addr_info"]]
            assert "default via 10.1.0.254" in asking.out("ip", "route")
            assert "192.0.2.53" in asking.read("/etc/resolv.conf") and asking.ping("10.1.0.254")
        finally:
            server.terminate()
            server.communicate(timeout=10)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("prv0",), "'prv0' has no NIC with an IPv4 address and its subnet (from the NICs of this node)"),
        ((), "net dhcp-config needs the name of one network (snf-network net list)"),
        (
            ("routed",),
            "'routed' is no network of /etc/snf-network/networks.yaml with a bridge (snf-network net list)",
        ),
        (
            ("a; b",),
            "'a; b' is no network of /etc/snf-network/networks.yaml with a bridge (snf-network net list)",
        ),
    ],
)
def test_what_cannot_be_said_is_a_line(nodes: Cluster, words: tuple[str, ...], why: str) -> None:
    assert net(nodes.nodes[0], "dhcp-config", *words) == (1, f"snf-network: {why}\n")


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": 1}', '{"cluster": {}, "instances": [1]}', "\0"])
def test_broken_data_of_ganeti_is_a_line(nodes: Cluster, text: str) -> None:
    node = nodes.nodes[0]
    node.write("/var/lib/ganeti/config.data", text)
    status, said = net(node, "dhcp-config", "prv0")
    node.run("rm", "/var/lib/ganeti/config.data")
    assert status == 1 and said.startswith("snf-network: /var/lib/ganeti/config.data: ")
    assert len(said.splitlines()) == 1


def test_status_of_a_network(nodes: Cluster) -> None:
    one, two = nodes.nodes
    with guest(nodes, one, nic(1, ""), "10.1.0.1/24") as mine, guest(nodes, two, nic(2, ""), "10.1.0.2/24"):
        assert mine.ping("10.1.0.2")
        found = json.loads(command(one, "status", "--network", "prv0", "--json")[1])
        assert found["network"] == "prv0" and [row["interface"] for row in found["nics"]] == ["tap1"]
        (bridge,) = found["bridges"]
        assert bridge | {"mac": ""} == {
            "bridge": "ov100",
            "state": "up",
            "vni": 100,
            "ports": ["vx100"],
            "mtu": 1500,
            "guest_mtu": 1450,
            "mac": "",
            "gateway": ["10.1.0.254/24"],
        }
        (peer,) = found["peers"]
        assert (peer["address"], peer["node"], peer["listed"]) == ("10.99.0.2", "node2.example.com", True)
        assert {"mac": MAC % 2, "device": "vx100"} in peer["macs"]
        said = command(one, "status", "--network", "prv0")[1]
        assert "10.99.0.2  node2.example.com" in said and MAC % 2 in said and "tap1" in said
        one.run("ip", "link", "set", "vx100", "down")
        assert "down" in command(one, "status", "--network", "prv0")[1]
        assert command(one, "repair")[0] == 0
    assert command(one, "status", "--network", "nope") == (
        1,
        "snf-network: network 'nope' is not up (snf-network net list)\n",
    )
    assert command(one, "status", "--network", "underlay")[0] == 1
    assert "has no bridge" in command(one, "status", "--network", "routed")[1]
