"""Packets that real stacks fragment arrive, whatever they contain, although a last fragment has no header of
its payload.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from snf_network.selftest.world import bridge_netfilter
from tests.netns.lab import Lab, Machine, environment, settled

ROUTED = environment("add-routed-ifup-1", TAGS="")
SERVED = environment("start-nonet-ifup-1", MAC="aa:55:60:00:00:12", IP="203.0.113.12", NETWORK_TAGS="nfdhcpd")
PINNED = {**SERVED, "NETWORK_TAGS": "ip-filtered nfdhcpd"}
PRIVATE = {**SERVED, "NETWORK_TAGS": "private-filtered nfdhcpd", "NETWORK_MAC_PREFIX": "aa:55:60"}
TOKENS = ("0043", "0044", "0222", "0223", "12b5", "17c1")
"""Ports of servers, and of tunnels."""


class Pair(NamedTuple):
    """A guest behind our rules, and whom it speaks to."""

    guest: Machine
    far: Machine
    address: str
    address6: str


@pytest.fixture(scope="module", params=("routed", "served", "ip-filtered", "private-filtered"))
def pair(request: pytest.FixtureRequest, bridge_nf: bool) -> Iterator[Pair]:
    with closing(Lab()) as lab:
        router = lab.router()
        node = lab.node("node1", router)
        bridge_netfilter(node, bridge_nf)
        node.write("/etc/default/snf-network", 'UNDERLAY="192.0.2.0/24 2001:db8:9::/64"\n')
        if request.param == "routed":
            guest = lab.guest(
                node, ROUTED["INTERFACE"], ROUTED["MAC"], f"{ROUTED['IP']}/24", gateway="198.51.100.1"
            )
            guest.ip("addr add 2001:db8:1:0:a800:ff:fead:35c9/64 dev eth0 nodad")
            guest.ip("-6 route add default via fe80::ce47:52ff:fe4e:4554 dev eth0")
            guest.ip("-6 route add 2001:db8:1::1/128 via fe80::ce47:52ff:fe4e:4554 dev eth0")
            node.up(ROUTED)
            settled(router, node)
            yield Pair(guest, router, "198.51.100.1", "2001:db8:1::1")
            return
        env = {"served": SERVED, "ip-filtered": PINNED, "private-filtered": PRIVATE}[request.param]
        env = {**env, "NETWORK_SUBNET6": "2001:db8:b::/64"}
        guest = lab.guest(node, env["INTERFACE"], env["MAC"], "203.0.113.12/24")
        guest.ip("addr add 2001:db8:b:0:a855:60ff:fe00:12/64 dev eth0 nodad")
        far = lab.guest(node, "tap9", "aa:55:60:00:00:11", "203.0.113.11/24", "2001:db8:b::11/64")
        node.ip("link set tap9 master prv0 up")
        assert node.up(env).stderr == ""
        settled(node)
        yield Pair(guest, far, "203.0.113.11", "2001:db8:b::11")


@pytest.mark.parametrize("pattern", ("05", "09", "11", "86", *TOKENS))
def test_large_ping(pair: Pair, pattern: str) -> None:
    for address in (pair.address, pair.address6):
        pair.guest.run("ping", "-n", "-c1", "-W2", "-s3000", "-p", pattern, address)


@pytest.mark.parametrize("data", TOKENS)
def test_large_datagram(pair: Pair, data: str) -> None:
    """Each two octets of all its fragments say the same."""
    for family, address in ((socket.AF_INET, pair.address), (socket.AF_INET6, pair.address6)):
        message = bytes.fromhex(data) * 2000
        with pair.far.inside():
            hearing = socket.socket(family, socket.SOCK_DGRAM)
            hearing.bind((address, 7777))
        with pair.guest.inside():
            saying = socket.socket(family, socket.SOCK_DGRAM)
        with closing(hearing), closing(saying):
            hearing.settimeout(2)
            saying.sendto(message, (address, 7777))
            assert hearing.recv(5000) == message


@pytest.mark.parametrize("label", (67, 68, 546, 547, 4789))
def test_large_datagram_with_a_flow_label(pair: Pair, label: int) -> None:
    """The label stands where a port would, if the header were taken for one of UDP."""
    with pair.far.inside():
        hearing = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        hearing.bind((pair.address6, 7777))
    with pair.guest.inside():
        saying = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with closing(hearing), closing(saying):
        hearing.settimeout(2)
        lease(saying, pair.address6, label)
        saying.sendto(b"\xff" * 4000, (pair.address6, 7777, label, 0))
        assert len(hearing.recv(5000)) == 4000


IPV6_FLOWLABEL_MGR, IPV6_FLOWINFO_SEND = 32, 33


def lease(speaker: socket.socket, address: str, label: int) -> None:
    """Have the kernel let the socket use a flow label of its choice (struct in6_flowlabel_req)."""
    request = socket.inet_pton(socket.AF_INET6, address) + socket.htonl(label).to_bytes(4, "little")
    speaker.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, request + bytes((0, 255, 1, 0)) + bytes(8))
    speaker.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1)
