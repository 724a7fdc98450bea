"""What one guest may make the node remember (rules/bounds.nft, masq.nft): made-up MACs, neighbours and
connections fill no table that others need.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.lab import Lab, Machine, drops, environment, send, settled, until

UNFILTERED = environment("start-nonet-ifup-1", MAC="aa:55:60:00:00:12", IP="203.0.113.12", TAGS="")
MAC, TAP = UNFILTERED["MAC"], UNFILTERED["INTERFACE"]
MACS, NEIGHBOURS, CONNECTIONS = 1024, 64, 4096
"""The bounds."""
SLACK = 40
"""What is there anyway, and what passes while a test runs."""
TAGS = ("", "nfdhcpd", "private-filtered", "ip-filtered")
MASQ = {"NETWORK_SUBNET": "192.168.7.0/24", "NETWORK_GATEWAY": "192.168.7.1", "NETWORK_TAGS": "masq"}


class Site(NamedTuple):
    """A guest on a bridge, where the node has addresses of its own and a second guest is."""

    node: Machine
    guest: Machine
    other: Machine
    bridge: str

    def up(self, tags: str) -> None:
        """Bring the guest's NIC up with these tags of the network, and nothing remembered of it."""
        self.node.up({**UNFILTERED, "NETWORK_TAGS": tags})
        settled(self.node)
        for name in ("seen", "arriving", "noted", "noted4", "noting"):
            self.node.run("nft", "flush", "set", "bridge", "snf_network", name)
        self.node.ip("link set prv0 type bridge fdb_flush", "neigh flush dev prv0")
        self.node.ip("-6 neigh flush dev prv0")

    def dropped(self, reason: str) -> int:
        return drops(self.node, "bridge")[TAP, reason]


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with closing(Lab()) as lab:
        node = lab.node("node1", lab.router())
        node.ip("addr add 203.0.113.1/24 dev prv0")
        guest = lab.guest(node, TAP, MAC, "203.0.113.12/24", "fe80::12/64")
        other = lab.guest(node, "tap9", "aa:55:60:00:00:11", "203.0.113.11/24", "fe80::11/64")
        node.up({**UNFILTERED, "INTERFACE": "tap9", "MAC": "aa:55:60:00:00:11", "IP": "203.0.113.11"})
        (local,) = [
            word for word in node.out("ip", "-6", "-o", "addr", "show", "prv0").split() if "fe80" in word
        ]
        yield Site(node, guest, other, local.partition("/")[0])


def learned(node: Machine) -> int:
    """The MACs that the bridge has learned behind the guest's tap."""
    return sum(
        " permanent" not in line for line in node.out("bridge", "fdb", "show", "brport", TAP).splitlines()
    )


def neighbours(node: Machine, family: str) -> int:
    return len(node.out("ip", family, "neigh", "show", "dev", "prv0").splitlines())


def made_up(number: int) -> str:
    return f"aa:55:60:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


@pytest.mark.parametrize("tags", TAGS)
def test_a_bridge_learns_no_more_macs_of_a_guest(place: Site, tags: str) -> None:
    place.up(tags)
    assert place.guest.ping("203.0.113.11")
    packet, before = f.udp("203.0.113.12", "203.0.113.255", 9, 9), place.dropped("many-macs")
    send(place.guest, "eth0", *(f.ethernet(made_up(n), f.BROADCAST, packet) for n in range(1000, 6000)))
    free = "filtered" not in tags
    assert MACS - SLACK < learned(place.node) < MACS + SLACK if free else learned(place.node) <= 2
    assert (place.dropped("many-macs") > before + 3000) == free
    assert place.other.ping("203.0.113.12"), "its own MAC was heard before"


def test_what_passes_no_hook_is_not_learned(place: Site) -> None:
    place.up("")
    packet = f.udp("203.0.113.12", "203.0.113.255", 9, 9)
    send(
        place.guest, "eth0", *(f.ethernet(made_up(n), "01:80:c2:00:00:0e", packet) for n in range(1000, 3000))
    )
    assert learned(place.node) <= 2


@pytest.mark.parametrize("tags", TAGS)
def test_a_guest_makes_no_more_neighbours_of_the_node(place: Site, tags: str) -> None:
    """Its own addresses are heard afterwards, and others on the bridge hear it whatever it has sent."""
    place.up(tags)
    sources = [str(ipaddress.IPv6Address((0xFE80 << 112) + 0x10000 + number)) for number in range(1500)]
    option = f.option(f.SOURCE, MAC)
    group = f.group_mac(f.solicited_node(place.bridge))
    asked = [f.ethernet(MAC, group, f.ns(source, place.bridge, option)) for source in sources]
    send(place.guest, "eth0", *asked[:30])
    assert tags == "ip-filtered" or until(lambda: neighbours(place.node, "-6") >= 30)
    send(place.guest, "eth0", *asked)
    assert neighbours(place.node, "-6") < NEIGHBOURS + SLACK
    arps = (f.arp(1, MAC, f"203.0.{number >> 8}.{number & 255}", "203.0.113.1") for number in range(1500))
    send(place.guest, "eth0", *(f.ethernet(MAC, f.BROADCAST, packet) for packet in arps))
    assert neighbours(place.node, "-4") < NEIGHBOURS + SLACK
    assert place.dropped("neighbours") or tags == "ip-filtered"
    assert place.guest.ping("203.0.113.11")


def test_one_guest_has_not_all_connections() -> None:
    with closing(Lab()) as lab:
        node, far = lab.node("node1", lab.router()), lab.machine("far")
        lab.cable(node, "wan", far, "eth0")
        far.ip("link set eth0 up", "addr add 192.0.2.1/24 dev eth0")
        node.ip("link set wan up", "addr add 192.0.2.2/24 dev wan", "route add default via 192.0.2.1")
        node.ip("addr add 192.168.7.1/24 dev prv0")
        node.write("/etc/default/snf-network", "MASQ=true\n")
        guests = []
        for number in (2, 3):
            mac, address, tap = f"aa:55:60:00:00:0{number}", f"192.168.7.{number}", f"tap{number}"
            guests.append(lab.guest(node, tap, mac, f"{address}/24", gateway="192.168.7.1"))
            node.up({**UNFILTERED, **MASQ, "INTERFACE": tap, "MAC": mac, "IP": address, "INSTANCE": tap})
        settled(node)
        bridge = node.read("/sys/class/net/prv0/address").strip()
        packets = (f.udp("192.168.7.2", f"192.0.2.{n & 1 | 4}", n, 9) for n in range(1024, 9024))
        send(guests[0], "eth0", *(f.ethernet("aa:55:60:00:00:02", bridge, packet) for packet in packets))
        tracked = int(node.read("/proc/sys/net/netfilter/nf_conntrack_count"))
        assert CONNECTIONS - SLACK < tracked < CONNECTIONS + SLACK
        assert drops(node, "inet")["prv0", "connections"] > 3000
        assert guests[1].ping("192.0.2.1") and not guests[0].ping("192.0.2.1", wait=0.3)
