"""A routed network in /etc/network/interfaces, with the options of the bash package: real ifupdown, and the
script that the package puts into if-up.d and if-down.d.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.blocks import block
from tests.netns.lab import ROOT, SCRIPTS, Lab, Machine, environment
from tests.netns.test_networks import command

COMMAND = SCRIPTS / "snf-network"
STANZAS = block("docs/networks.md", "In /etc/network/interfaces")
INET, INET6 = STANZAS.removeprefix("auto eth1\n").split("\n\n")
GUEST = environment("v32-start-ifup-1", LINK="public_net")


@pytest.fixture
def router(lab: Lab) -> Machine:
    return lab.router()


@pytest.fixture
def node(lab: Lab, router: Machine) -> Iterator[Machine]:
    """A node whose uplink nobody has configured."""
    node = lab.machine("node")
    lab.cable(router, "node", node, "eth1")
    router.ip("link set node master br0 up")
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    node.run("mkdir", "/run/network")
    node.write("/etc/iproute2/rt_tables.d/public.conf", "222 public_net\n")
    shipped = (ROOT / "debian/ifupdown/snf-network").read_text()
    assert "/usr/sbin/snf-network" in shipped
    for folder in ("if-up.d", "if-down.d"):
        path = f"/etc/network/{folder}/snf-network"
        node.write(path, shipped.replace("/usr/sbin/snf-network", str(COMMAND)))
        node.run("chmod", "+x", path)
    yield node


def say(node: Machine, *stanzas: str) -> None:
    node.write("/etc/network/interfaces", "\n".join(stanzas))


def ours(node: Machine) -> list[str]:
    """All routes and rules of ours, and the senders of ARP requests."""
    listed = [
        node.out("ip", family, *words).splitlines()
        for family in ("-4", "-6")
        for words in (("rule",), ("route", "show", "table", "all"))
    ]
    found = [line.strip() for lines in listed for line in lines if "proto 148" in line]
    gateways = node.run("nft", "list", "map", "arp", "snf_network", "gateways", check=False).stdout
    return found + [line.strip() for line in gateways.splitlines() if "elements" in line]


def test_the_stanzas_of_the_bash_package(node: Machine, router: Machine, lab: Lab) -> None:
    say(node, STANZAS)
    ran = node.run("ifup", "eth1")
    assert (ran.stdout + ran.stderr) == ""
    assert command(node, "net", "check") == (0, "clean\n") and command(node, "check") == (0, "clean\n")
    rows = json.loads(command(node, "net", "list", "--json")[1])
    assert [(row["network"], row["kind"], row["device"], row["state"]) for row in rows] == [
        ("eth1:inet", "routed", "eth1", "up"),
        ("eth1:inet6", "routed", "eth1", "up"),
    ]
    for key in ("ipv4/conf/eth1/proxy_arp", "ipv4/conf/eth1/forwarding", "ipv6/conf/eth1/proxy_ndp"):
        assert node.read(f"/proc/sys/net/{key}") == "1\n", key
    node.sysctl("net/ipv4/conf/all/rp_filter", 0)
    node.sysctl("net/ipv4/conf/eth1/rp_filter", 0)
    guest = lab.guest(node, GUEST["INTERFACE"], GUEST["MAC"], f"{GUEST['IP']}/24", gateway="198.51.100.1")
    node.up(GUEST)
    assert guest.ping("198.51.100.1"), "by the table, the gateway and proxy ARP"
    node.down(GUEST | {"ACTION": "down"})
    node.ip("route flush table 222", "rule del pref 14700", "-6 rule del pref 14700")
    assert "eth1:inet: missing: ip route replace 0.0.0.0/0" in command(node, "net", "check")[1]
    assert command(node, "repair")[0] == 0 and command(node, "net", "check") == (0, "clean\n")
    assert len(ours(node)) == 9
    assert node.run("ifup", "--force", "eth1").returncode == 0 and len(ours(node)) == 9
    ran = node.run("ifdown", "eth1")
    assert (ran.stdout + ran.stderr) == "" and ours(node) == []
    assert command(node, "net", "check") == (0, "clean\n")
    assert node.out("ls", "/var/lib/snf-network/networks") == "locks\n"


def test_one_family_alone_and_what_is_taken_out(node: Machine) -> None:
    say(node, INET, INET6)
    node.run("ifup", "eth1")
    say(node, INET, INET6.partition("\n")[0])
    node.run("ifup", "--force", "eth1")
    assert not [line for line in ours(node) if "2001:db8" in line]
    say(node, INET.partition("\n")[0])
    assert node.run("ifdown", "eth1").returncode == 0 and ours(node) == []


def test_ifup_says_what_it_does_if_it_is_asked(node: Machine) -> None:
    say(node, INET)
    assert "eth1:inet: put in place: 7 changes" in node.run("ifup", "-v", "eth1").stdout


def test_a_device_without_these_options_is_not_ours(node: Machine) -> None:
    say(node, "iface eth1 inet static\n    address 198.51.100.9/24\n", "iface lo inet loopback")
    node.run("ifup", "lo", "eth1")
    node.run("ifdown", "eth1")
    assert node.run("ls", "/var/lib/snf-network", check=False).stdout == ""


def test_a_route_by_an_address_stays(node: Machine) -> None:
    stanza = INET.replace("manual", "static").replace(
        "    ip-gateway", "    address 198.51.100.9/24\n    ip-gateway"
    )
    say(node, stanza)
    node.run("ifup", "eth1")
    connected = node.out("ip", "route", "show", "198.51.100.0/24")
    assert "proto kernel" in connected and connected.count("\n") == 1
    assert command(node, "net", "check") == (0, "clean\n")
    assert "198.51.100.0/24" in node.out("ip", "route", "show", "table", "222")
    node.run("ifdown", "eth1")
    assert ours(node) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ip-routing-table nobody", "ip-routing-table 'nobody' cannot be used"),
        ("ip-gateway 198.51.100.1;reboot", "ip-gateway '198.51.100.1;reboot' cannot be used"),
        ("ip-routes $(reboot)", "ip-routes '$(reboot)' cannot be used"),
        ("arp-ip 192.0.2.0.254", "arp-ip '192.0.2.0.254' cannot be used"),
    ],
)
def test_a_wrong_value_is_told_and_the_uplink_comes_up(node: Machine, line: str, words: str) -> None:
    option = line.split()[0]
    kept = [one for one in INET.splitlines() if option not in one.split()]
    say(node, "\n".join((*kept, f"    {line}\n")))
    ran = node.run("ifup", "eth1")
    assert ran.stderr.startswith(f"snf-network: {words}") and len(ran.stderr.splitlines()) == 1
    assert words in node.read("/var/log/ganeti/snf-network.log")
    assert ours(node) == [] and "eth1=eth1" in node.read("/run/network/ifstate")
    assert node.run("ifdown", "eth1").stderr == ""


def test_what_networks_yaml_has_is_not_said_twice(node: Machine) -> None:
    said = "networks: {public: {kind: routed, table: 222, uplink: eth1, gateways: [198.51.100.1]}}\n"
    node.write("/etc/snf-network/networks.yaml", said)
    say(node, INET)
    node.ip("link set eth1 up")
    assert command(node, "net", "up")[0] == 0
    ran = node.run("ifup", "eth1")
    assert "eth1:inet: ip" in ran.stderr and "public has this already" in ran.stderr
    assert command(node, "net", "check") == (0, "clean\n")
    assert command(node, "net", "down", "public")[0] == 0
    assert node.run("ifup", "--force", "eth1").stderr == ""
    status, words = command(node, "net", "up")
    assert status == 1 and "eth1:inet has this already" in words
    assert "public: ip" in command(node, "net", "check")[1]


def test_another_s_route_is_not_touched(node: Machine) -> None:
    node.ip("link set eth1 up", "route add default via 198.51.100.7 dev eth1 onlink table 222")
    say(node, INET)
    ran = node.run("ifup", "eth1")
    assert "table 222 has a default route by eth1 that is not ours" in ran.stderr and ours(node) == []
