"""Connections that the node tracks end with the NIC whose addresses they have, and nobody else's do."""

from __future__ import annotations

import socket
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns import test_masq
from tests.netns.corpus import GATEWAY, GATEWAY6, IP, IP6, MAC, to_node
from tests.netns.lab import Lab, Machine, send, until
from tests.netns.test_routed import ENV, site

MAC9, IP9, IP69 = "aa:00:00:00:00:11", "198.51.100.11", "2001:db8:1:0:a800:ff:fe00:11"
VIP, NEW = "198.51.100.77", "198.51.100.12"
ENV9 = {**ENV, "INTERFACE": "tap9", "MAC": MAC9, "IP": IP9, "INTERFACE_UUID": "x", "INSTANCE": "x"}
TRACK = "table inet others { chain look { type filter hook forward priority 0; ct state invalid drop; }; }"
"""A rule of the administrator's that needs connection tracking."""


class Site(NamedTuple):
    router: Machine
    node: Machine
    guest: Machine
    other: Machine

    def tracked(self) -> set[str]:
        """The addresses of guests that the node's connections have."""
        table = self.node.read("/proc/net/nf_conntrack")
        return {
            one
            for one in KNOWN
            if f"={one} " in table.replace(expanded(IP6), IP6).replace(expanded(IP69), IP69)
        }

    def speak(self) -> None:
        """Both guests to their gateways, and somebody outside to the first."""
        for machine, mac, address, address6 in ((self.guest, MAC, IP, IP6), (self.other, MAC9, IP9, IP69)):
            packets = f.udp(address, GATEWAY, 4000, 53), f.udp(address6, GATEWAY6, 4000, 53)
            send(machine, "eth0", *(to_node(packet, mac) for packet in packets))
        with self.router.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.sendto(b"hello", (IP, 9))


KNOWN = (IP, IP6, IP9, IP69, VIP, NEW)


def expanded(address: str) -> str:
    """As /proc/net/nf_conntrack has it."""
    return socket.inet_pton(socket.AF_INET6, address).hex(":", 2)


@pytest.fixture
def tracking(lab: Lab) -> Site:
    router, node, guest = site(lab)
    other = lab.guest(node, "tap9", MAC9)
    node.up(ENV9)
    node.run("nft", "-f", "-", input=TRACK)
    made = Site(router, node, guest, other)
    made.speak()
    assert until(lambda: made.tracked() == {IP, IP6, IP9, IP69}), made.tracked()
    return made


def test_an_ifdown_ends_the_guests_connections_alone(tracking: Site) -> None:
    tracking.node.down(ENV)
    assert tracking.tracked() == {IP9, IP69}


def test_a_guest_that_vanished(tracking: Site) -> None:
    """As on the node that it migrated away from: there is no ifdown, the tap goes with its process."""
    tracking.node.ip("link del tap0")
    tracking.node.script("snf-network", {}, "gc")
    assert tracking.tracked() == {IP9, IP69}


def test_many_that_vanished(tracking: Site) -> None:
    """Then all entries are listed once."""
    shared = " ".join(f"snf-network:0:allow:198.51.100.{number}" for number in range(200, 210))
    tracking.node.up({**ENV, "TAGS": shared})
    tracking.node.ip("link del tap0")
    tracking.node.script("snf-network", {}, "gc")
    assert tracking.tracked() == {IP9, IP69}


def test_a_new_address(tracking: Site) -> None:
    tracking.node.up({**ENV, "IP": NEW})
    assert tracking.tracked() == {IP6, IP9, IP69}


def test_nothing_else_ends_any(tracking: Site) -> None:
    """An ifup again, other tags, a repair, another MAC's going."""
    before = tracking.node.read("/proc/net/nf_conntrack").count("\n")
    for change in ({}, {"TAGS": "snf-network:0:mac:00:00:5e:00:01:0a"}, {"TAGS": ""}):
        tracking.node.up({**ENV, **change})
    tracking.node.script("snf-network", {}, "repair")
    assert tracking.tracked() == {IP, IP6, IP9, IP69}
    assert tracking.node.read("/proc/net/nf_conntrack").count("\n") >= before


def test_what_another_nic_has_too_stays(tracking: Site) -> None:
    """A virtual address of two guests: the other one goes on with it."""
    shared = {"TAGS": f"snf-network:0:allow:{VIP}"}
    for env in (ENV, ENV9):
        tracking.node.up({**env, **shared})
    send(tracking.guest, "eth0", to_node(f.udp(VIP, GATEWAY, 4000, 53)))
    assert until(lambda: VIP in tracking.tracked())
    tracking.node.down(ENV)
    assert tracking.tracked() == {VIP, IP9, IP69}
    tracking.node.down(ENV9)
    assert tracking.tracked() == set()


@pytest.mark.parametrize("tags", ("private-filtered masq", "private-filtered masq nfdhcpd"))
def test_what_source_nat_remembers(lab: Lab, tags: str) -> None:
    """The next guest with the address starts anew; no pin of a private network has the address."""
    env = {**test_masq.ENV, "NETWORK_TAGS": tags}
    place = test_masq.site(lab, env)
    own = f"src={env['IP']} "
    assert test_masq.seen_as(place) == test_masq.WAN
    assert own in place.node.read("/proc/net/nf_conntrack")
    if "nfdhcpd" in tags:
        place.node.up({**env, "IP": "192.168.7.3"})
    else:
        place.node.down(env)
    assert own not in place.node.read("/proc/net/nf_conntrack")
