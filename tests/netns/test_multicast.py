"""The bridge's own parser (IGMP and MLD snooping). No frame of a served guest may make the bridge take its
tap for the port of a multicast router, which gets all groups, or wait for a querier that does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from snf_network.selftest.world import bridge_netfilter
from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, environment, send, settled, without_rules

MAC = "aa:55:60:00:00:12"
LOCAL = f.eui64(MAC)
SERVED = environment("start-nonet-ifup-1", MAC=MAC, IP="203.0.113.12", NETWORK_TAGS="nfdhcpd")
FRAMES = {
    "IGMP query": f.ethernet(MAC, "01:00:5e:00:00:01", f.igmp_query("203.0.113.12")),
    "IGMP query, said to be a last fragment": f.ethernet(
        MAC, "01:00:5e:00:00:01", f.igmp("203.0.113.12", 0x11, fragment=100)
    ),
    "IGMP multicast router advertisement": f.ethernet(
        MAC, "01:00:5e:00:00:6a", f.igmp("203.0.113.12", 0x30, "224.0.0.106")
    ),
    "PIM hello": f.ethernet(MAC, "01:00:5e:00:00:0d", f.pim("203.0.113.12")),
    "MLD query": f.ethernet(MAC, "33:33:00:00:00:01", f.mld_query(LOCAL)),
    "MLD query behind AH and AH": f.ethernet(MAC, "33:33:00:00:00:01", f.mld_query(LOCAL, hidden=2)),
    "MLD query behind AH": f.ethernet(MAC, "33:33:00:00:00:01", f.mld_query(LOCAL, hidden=1)),
    "MLD multicast router advertisement": f.ethernet(
        MAC, "33:33:00:00:00:6a", f.with_router_alert(f.icmp6(LOCAL, "ff02::6a", 151, bytes(4), 1))
    ),
}


@pytest.fixture(scope="module", params=("nfdhcpd", "ip-filtered nfdhcpd", "private-filtered nfdhcpd"))
def places(request: pytest.FixtureRequest, bridge_nf: bool) -> Iterator[tuple[Machine, Machine, Machine]]:
    with closing(Lab()) as lab:
        node = lab.node("node1", lab.router())
        bridge_netfilter(node, bridge_nf)
        guest = lab.guest(node, SERVED["INTERFACE"], MAC)
        far = lab.guest(node, "tap9", "aa:55:60:00:00:11")
        node.ip("link set tap9 master prv0 up", "link set prv0 type bridge mcast_snooping 1")
        env = {**SERVED, "NETWORK_TAGS": request.param, "NETWORK_MAC_PREFIX": MAC[:8]}
        assert node.up(env).stderr == ""
        settled(node)
        yield node, guest, far


def is_router_port(node: Machine, guest: Machine, far: Machine, frame: bytes) -> bool:
    """Whether the tap is one once the bridge has had the frame."""
    tap = SERVED["INTERFACE"]
    node.ip(
        f"link set {tap} type bridge_slave mcast_router 0", f"link set {tap} type bridge_slave mcast_router 1"
    )
    ear = Ear(far, "eth0")
    with closing(ear.socket):
        own = f.ethernet(MAC, f.BROADCAST, f.arp(1, MAC, "203.0.113.12", "203.0.113.9"))
        send(guest, "eth0", frame, f.stamp(own, 7))
        ear.tokens(7)
    routers = json.loads(node.out("bridge", "-j", "-d", "mdb", "show"))[0]["router"].get("prv0", [])
    return tap in [port["port"] for port in routers]


@pytest.mark.parametrize("name", FRAMES)
def test_no_frame_makes_the_tap_a_router_port(places: tuple[Machine, Machine, Machine], name: str) -> None:
    assert not is_router_port(*places, FRAMES[name])


def test_without_rules_each_of_them_would(places: tuple[Machine, Machine, Machine]) -> None:
    """The last test: the bridge does take each of these frames."""
    without_rules(places[0])
    assert {name for name, frame in FRAMES.items() if is_router_port(*places, frame)} == set(FRAMES)
