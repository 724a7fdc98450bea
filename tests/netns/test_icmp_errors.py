"""What the node itself answers to a routed guest: ICMP errors about packets that it cannot forward, and
answers from its addresses. Only the guest's own table has a route back to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.netns.lab import Lab, Machine, environment

ENV = environment("add-routed-ifup-1")
IP, IP6, MAC = "198.51.100.10", "2001:db8:1:0:a800:ff:fead:35c9", "aa:00:00:ad:35:c9"
ROUTER_LOCAL = "fe80::ce47:52ff:fe4e:4554"
FAR, FAR6 = "192.0.2.99", "2001:db8:99::99"
MTU = 1400


class Site(NamedTuple):
    """A node with a narrow uplink, and a routed guest."""

    node: Machine
    guest: Machine


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    lab = Lab()
    try:
        router = lab.router()
        node = lab.node("node1", router)
        node.ip(f"link set eth1 mtu {MTU}")
        guest = lab.guest(node, "tap0", MAC, f"{IP}/24", f"{IP6}/64")
        node.up(ENV)
        guest.ip("route add default via 198.51.100.1", f"-6 route add default via {ROUTER_LOCAL} dev eth0")
        router.ip(f"addr add {FAR}/32 dev lo", f"-6 addr add {FAR6}/128 dev lo")
        assert guest.ping(FAR) and guest.ping(FAR6)
        yield Site(node, guest)
    finally:
        lab.close()


def said(site: Site, *words: object) -> str:
    """What ping(8) of the guest prints."""
    return site.guest.run("ping", "-n", "-c", 1, "-W", 1, *words, check=False).stdout


@pytest.mark.parametrize("far", (FAR, FAR6))
def test_it_learns_the_mtu_of_the_uplink(site: Site, far: str) -> None:
    for _ in range(2):
        said(site, "-M", "do", "-s", 1440, far)
    assert f"mtu {MTU}" in site.guest.out("ip", "route", "get", far)


@pytest.mark.parametrize("far", (FAR, FAR6))
def test_it_sees_where_the_node_is_on_the_way(site: Site, far: str) -> None:
    assert "ime" in (answer := said(site, "-t", 1, far)) and "exceeded" in answer, answer


@pytest.mark.parametrize(("family", "far"), (("-4", "203.0.113.9"), ("-6", "2001:db8:77::9")))
def test_it_hears_that_there_is_no_way(site: Site, family: str, far: str) -> None:
    site.node.ip(f"{family} route add unreachable {far} table 222")
    assert "unreachable" in (answer := said(site, far).lower()), answer


@pytest.mark.parametrize("to", (ROUTER_LOCAL, "ff02::1"))
def test_the_node_answers_a_link_local_source(site: Site, to: str) -> None:
    """Its answer goes to an address that no marked table has a route to."""
    options = ("-c", 2) if to.startswith("ff") else ()  # the guest itself is the first to answer a group
    assert f"from {ROUTER_LOCAL}" in (answer := said(site, *options, f"{to}%eth0")), answer


def test_the_node_answers_a_global_source_on_its_link_local_address(site: Site) -> None:
    assert site.guest.ping(f"{ROUTER_LOCAL}%eth0", source=IP6)


def test_a_closed_port_refuses_a_link_local_source(site: Site) -> None:
    """A reset at once, not silence until the guest gives up."""
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET6); s.settimeout(2)\n"
        f"print(s.connect_ex(({ROUTER_LOCAL!r}, 9, 0, socket.if_nametoindex('eth0'))))\n"
    )
    assert site.guest.out("python3", "-c", program) == "111\n"
