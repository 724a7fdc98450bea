"""A guest of docs/fabric.md that knows nothing: all that it needs comes from its tags."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.blocks import block
from tests.dhcpd.netns.daemon import CONFIG, running
from tests.dhcpd.netns.test_clients import GATEWAY, GATEWAY6, IP, MAC, RESOLVER, RESOLVER6, has_address
from tests.netns.lab import Lab, Machine, environment, until

(NETWORK_TAGS,) = re.findall("add-tags guests (.*)", block("docs/fabric.md", "A network, from nothing"))
TAGS = f"{NETWORK_TAGS} dhcp:ns:{RESOLVER} dhcp:ns:{RESOLVER6}"
FURTHER, FURTHER6 = "198.51.100.11", "2001:db8:1::11"
ALSO = " ".join(f"snf-network:0:also:{address}" for address in (FURTHER, FURTHER6))
ENV = environment("add-routed-ifup-1", LINK=None, NETWORK_TAGS=TAGS, TAGS=ALSO)
IP6 = "2001:db8:1:0:198:51:100:10"


@pytest.fixture
def guest() -> Iterator[Machine]:
    """One that has just booted; its node is its whole network."""
    with closing(Lab()) as lab:
        node = lab.machine("node1")
        node.write(CONFIG, "[dhcp]\n[ipv6]\n")
        made = lab.guest(node, "tap0", MAC)
        for key in ("accept_ra", "autoconf"):
            made.sysctl(f"net/ipv6/conf/eth0/{key}", 1)
        node.up(ENV)
        with running(node):
            yield made


def test_dhcp_gives_the_address_and_the_gateway_on_the_tap(guest: Machine) -> None:
    guest.write("/etc/resolv.conf", "")
    guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1")
    assert has_address(guest, IP) and guest.ping(GATEWAY)
    assert RESOLVER in guest.read("/etc/resolv.conf")


def test_dhcpv6_gives_the_address_from_the_ipv4_one_and_further_ones(guest: Machine) -> None:
    """And router advertisements let the guest form no other."""
    run = ("dhclient", "-6", "-1", "-d", "-lf", "/var/lib/dhcp/v6", "-pf", "/var/dhclient6.pid", "eth0")
    client = subprocess.Popen(guest.command(*run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: has_address(guest, IP6) and has_address(guest, FURTHER6), 15)
        assert until(lambda: "default" in guest.out("ip", "-6", "route"), 5)
        assert guest.ping(GATEWAY6)
        assert (
            guest.out("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global").count("inet6") == 2
        )
        assert guest.ping(GATEWAY6, source=FURTHER6)
    finally:
        client.terminate()
        client.wait(10)
