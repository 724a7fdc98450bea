"""A proxy entry that somebody deletes on an uplink: netlink reports none, but Debian's kernel has a tracer that
tells the watch.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fcntl import ioctl
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, inet_aton, socket
from struct import pack
from typing import NamedTuple

import pytest

from tests.netns.lab import Lab, Machine, environment, lines, until
from tests.netns.watching import LOG, SECONDS, Watching, cpu_of, own_run

pytestmark = pytest.mark.vm()
ENV = environment("add-routed-ifup-1")
IP, IP6 = ENV["IP"], "2001:db8:1:0:a800:ff:fead:35c9"
TRACING = "/sys/kernel/tracing"
INSTANCE = Path(TRACING) / "instances" / "snf-network"
SIOCDARP, ATF_PERM, ATF_PUBL = 0x8953, 0x04, 0x08


class Site(NamedTuple):
    node: Machine
    other: Machine
    """Another network namespace of the same kernel."""
    watching: Watching


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    subprocess.run(("mount", "-t", "tracefs", "tracefs", TRACING), check=True, timeout=60)
    with closing(Lab()) as lab:
        node = own_run(lab.node("node1", lab.router()))
        node.run("mount", "-t", "tracefs", "tracefs", TRACING)
        lab.guest(node, "tap0", ENV["MAC"])
        node.up(ENV)
        yield Site(node, lab.machine("other"), Watching(node))


def is_there(node: Machine, address: str) -> bool:
    family = "-6" if ":" in address else "-4"
    return bool(lines(node.out("ip", family, "neigh", "show", "proxy", "dev", "eth1"), f"{address} "))


def ip(node: Machine, address: str) -> None:
    node.ip(f"neigh del proxy {address} dev eth1")


def arp(node: Machine, address: str) -> None:
    """As `arp -i eth1 -d ADDRESS pub` does: the oldest way, which no netlink socket sees."""
    there, hardware, any_mask = (
        pack("=H2x4s8x", AF_INET, inet_aton(one)) for one in (address, "0.0.0.0", "255.255.255.255")
    )
    request = there + hardware + pack("=i", ATF_PUBL | ATF_PERM) + any_mask + b"eth1".ljust(16, b"\0")
    with node.inside(), socket(AF_INET, SOCK_DGRAM) as door:
        ioctl(door, SIOCDARP, request)


@pytest.mark.parametrize("way, address", ((ip, IP), (ip, IP6), (arp, IP)), ids=("IPv4", "IPv6", "arp -d"))
def test_it_is_back_at_once(site: Site, way: Callable[[Machine, str], None], address: str) -> None:
    watching = site.watching
    before = len(watching.said())
    way(site.node, address)
    assert until(lambda: len(watching.said()) > before, SECONDS), site.node.read(LOG)
    assert is_there(site.node, address)
    said = watching.said()[-1]
    assert "tap0" in said and f"put back 1: ip neigh replace proxy {address}" in said
    assert 30 <= float(said.rpartition(" after ")[2].split()[0]) < 1000 * SECONDS


def test_what_is_deleted_without_pause_elsewhere_costs_a_share(site: Site) -> None:
    """An entry of another namespace, of which whoever may make one deletes as many as he likes."""
    lines = "neigh add proxy 192.0.2.9 dev lo\nneigh del proxy 192.0.2.9 dev lo\n" * 20000
    began, before = time.monotonic(), cpu_of(site.watching.process.pid)
    site.other.run("ip", "-batch", "-", input=lines, timeout=120)
    share = (cpu_of(site.watching.process.pid) - before) / (time.monotonic() - began)
    assert share < 0.25
    assert until(lambda: not (INSTANCE / "tracing_on").read_text().startswith("0"), SECONDS)


def test_what_is_deleted_again_and_again_is_put_back_with_pauses(site: Site) -> None:
    for _ in range(8):
        assert until(lambda: is_there(site.node, IP), 20)
        ip(site.node, IP)
    assert until(lambda: is_there(site.node, IP), 60)
    assert any("tap0 is changed again and again" in line for line in site.watching.said())


def test_the_next_watch_hears_where_one_was_killed(site: Site) -> None:
    watching = site.watching
    watching.kill()
    assert INSTANCE.exists()
    again = Watching(site.node)
    try:
        ip(site.node, IP)
        assert until(lambda: is_there(site.node, IP), SECONDS)
    finally:
        assert again.end() == ""
    assert not INSTANCE.exists()
