"""An uplink that is an 802.1Q device: the node's answers and announcements leave through it, with its tag."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, environment, lines, traces
from tests.qemu.taps import CLEAN, loaded, snf_network

pytestmark = pytest.mark.vm()
ENV = environment("add-routed-ifup-1")
GATEWAY, GATEWAY6 = "198.51.100.1", "2001:db8:1::1"
IP, IP6 = ENV["IP"], f.eui64(ENV["MAC"], "2001:db8:1::")
UPLINK = "eth1.100"


class Site(NamedTuple):
    """A router whose network is VLAN 100 of the cable to the node, where table 222 leads to eth1.100; a
    guest.
    """

    router: Machine
    node: Machine
    guest: Machine


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with closing(Lab()) as lab:
        router, node = lab.machine("router"), lab.machine("node1")
        lab.cable(node, "eth1", router, "eth0")
        for machine, name in ((router, "eth0"), (node, "eth1")):
            machine.ip(
                f"link set {name} up",
                f"link add link {name} name {name}.100 type vlan id 100",
                f"link set {name}.100 up",
            )
        router.ip(f"addr add {GATEWAY}/24 dev eth0.100", f"addr add {GATEWAY6}/64 dev eth0.100 nodad")
        node.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_public\n")
        node.ip(
            f"route add default via {GATEWAY} dev {UPLINK} table 222 onlink",
            f"-6 route add default via {GATEWAY6} dev {UPLINK} table 222 onlink",
            f"rule add iif {UPLINK} lookup 222",
            f"-6 rule add iif {UPLINK} lookup 222",
        )
        for name in ("all", UPLINK):
            node.sysctl(f"net/ipv4/conf/{name}/rp_filter", 0)
        guest = lab.guest(
            node, "tap0", ENV["MAC"], f"{IP}/24", f"{IP6}/64", gateway=GATEWAY, gateway6=GATEWAY6
        )
        assert loaded(node)
        yield Site(router, node, guest)


def test_announcements(site: Site) -> None:
    """Both kinds of ARP and the NA, from the MAC of the VLAN device."""
    ear = Ear(site.router, "eth0.100")
    assert site.node.up(ENV).stderr == ""
    mac = f.octets(site.node.read(f"/sys/class/net/{UPLINK}/address").strip())

    def kinds(frames: list[bytes]) -> set[str]:
        arp = {
            f"ARP {frame[21]}"
            for frame in frames
            if frame[12:14] == b"\x08\x06" and f.octets(IP) == frame[28:32] == frame[38:42]
        }
        return arp | {
            "NA" for frame in frames if frame[54:55] == bytes((f.NA,)) and frame[62:78] == f.octets(IP6)
        }

    heard: list[bytes] = []
    while kinds(heard) != {"ARP 1", "ARP 2", "NA"}:
        frame = ear.first(lambda data: data[6:12] == mac, 5)
        assert frame, f"only {kinds(heard)} came"
        heard.append(frame)


@pytest.mark.parametrize(("family", "address"), (("-4", IP), ("-6", IP6)))
def test_router_reaches_the_guest_by_a_proxy_on_the_vlan(site: Site, family: str, address: str) -> None:
    site.router.ip("neigh flush all")
    assert site.router.ping(address)
    proxies = site.node.out("ip", family, "neigh", "show", "proxy")
    assert [line.split()[:3] for line in lines(proxies, address)] == [[address, "dev", UPLINK]]


@pytest.mark.parametrize("address", (GATEWAY, GATEWAY6))
def test_guest_reaches_the_router(site: Site, address: str) -> None:
    assert site.guest.ping(address)


def test_check_and_down(site: Site) -> None:
    assert snf_network(site.node, "check") == CLEAN
    site.node.down(ENV)
    assert traces(site.node) == []
