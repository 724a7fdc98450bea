"""vif-custom under a real Xen: its toolstack calls the installed link, and PV guests say what they hear.

One boot for all. dom0 is a node as in tests/netns: a router beyond its uplink, and on its private bridge a neighbour in the guests'
network and a stranger in another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.netns.lab import drops, environment, traces
from tests.xen.dom0 import Dom0, Guest, Neighbour, until, vif, write_nic_file

ROUTED, FILTERED = environment("add-routed-ifup-1"), environment("add-bridged-ifup-1")
GATEWAYS = (ROUTED["NETWORK_GATEWAY"], ROUTED["NETWORK_GATEWAY6"])
ADDRESS6 = "2001:db8:1:0:a800:ff:fead:35c9"
NEIGHBOUR, STRANGER = "203.0.113.2", "203.0.113.3"
NEIGHBOUR_MAC, STRANGER_MAC = "aa:55:60:00:00:02", "aa:66:60:00:00:03"


class Node(NamedTuple):
    """dom0 and all around it."""

    dom0: Dom0
    router: Neighbour
    neighbour: Neighbour
    stranger: Neighbour


@pytest.fixture(scope="session")
def node(xen: Dom0) -> Node:
    xen.ip("link add prv0 type bridge forward_delay 0", "link set prv0 up")
    router = xen.neighbour("router", "eth1")
    router.ip("addr add 198.51.100.1/24 dev eth0", "addr add 2001:db8:1::1/64 dev eth0 nodad")
    xen.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_public\n")
    xen.ip("route add default via 198.51.100.1 dev eth1 table 222 onlink", "-6 route add default via 2001:db8:1::1 dev eth1 table 222 onlink",
           "rule add iif eth1 lookup 222", "-6 rule add iif eth1 lookup 222")
    xen.run("snf-network", "load", "snf_public")  # as at boot: emulated, it takes longer than a NIC may wait
    for key in ("all", "eth1"):
        xen.sysctl(f"net/ipv4/conf/{key}/rp_filter", 0)
    return Node(xen, router, private(xen, "neighbour", NEIGHBOUR_MAC, NEIGHBOUR), private(xen, "stranger", STRANGER_MAC, STRANGER))


def private(xen: Dom0, name: str, mac: str, address: str) -> Neighbour:
    """A host on the private bridge."""
    made = xen.neighbour(name, f"to-{name}")
    xen.ip(f"link set to-{name} master prv0")
    made.ip(f"link set eth0 address {mac}", f"addr add {address}/24 dev eth0")
    return made


@pytest.fixture(scope="session")
def routed(node: Node) -> Guest:
    """A routed dual-stack guest."""
    guest = Guest(node.dom0, ROUTED, f"{ROUTED['IP']}/24", f"{ADDRESS6}/64", gateways=GATEWAYS, peers=GATEWAYS)
    guest.create()
    return guest


@pytest.fixture(scope="session")
def filtered(node: Node) -> Guest:
    """A guest in a private-filtered network."""
    guest = Guest(node.dom0, FILTERED, f"{FILTERED['IP']}/24", peers=(NEIGHBOUR, STRANGER))
    guest.create()
    return guest


def is_clean(xen: Dom0) -> bool:
    """True if `snf-network check` has nothing to say."""
    ran = xen.run("snf-network", "check", check=False)
    return (ran.returncode, ran.stdout) == (0, "clean\n")


def of(xen: Dom0, interface: str) -> list[str]:
    """All that is ours and of one vif."""
    return [trace for trace in traces(xen) if interface in trace]


def test_xen_calls_the_link_that_the_package_made(xen: Dom0) -> None:
    assert xen.out("readlink", "-f", "/etc/xen/scripts/vif-custom") == "/usr/lib/snf-network/vif-custom\n"


def test_routed_guest_answers_in_both_families(node: Node, routed: Guest) -> None:
    assert all(routed.hears(gateway) for gateway in GATEWAYS)
    assert node.router.ping(ROUTED["IP"]) and node.router.ping(ADDRESS6)
    assert is_clean(node.dom0)
    assert ROUTED["INSTANCE"] in node.dom0.out("snf-network", "status")


def test_filtered_guest_answers_its_network_and_no_other(node: Node, filtered: Guest) -> None:
    assert filtered.hears(NEIGHBOUR)
    assert node.neighbour.ping(FILTERED["IP"])
    assert not node.stranger.ping(FILTERED["IP"])
    assert "answers" not in filtered.tried(STRANGER)
    assert is_clean(node.dom0)


def test_time(node: Node) -> None:
    print(node.dom0.out("cat", "/proc/uptime"))
    print(node.dom0.out("nft", "list", "ruleset"))
    assert 0
