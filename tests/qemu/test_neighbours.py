"""Services that restart beside guests, under a real systemd, with the units and drop-ins of the installed
package. The others are in tests/netns/test_neighbours.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns.lab import Lab
from tests.netns.test_readme import example
from tests.netns.traffic import Place, guests_of, traffic
from tests.qemu.node import Booted, installed
from tests.qemu.taps import loaded

# a machine of its own, which the word tells from the other one with systemd
pytestmark = pytest.mark.vm("neighbours", systemd=True)
GC = "snf-network-gc.service"
SPACING, PERIOD = 0.1, 0.05
"""Seconds from packet to packet: an emulated machine has time for few."""
RULES = "flush ruleset\ntable inet filter {\n chain input {\n  type filter hook input priority 0\n }\n}\n"


class Neighbours(NamedTuple):
    """The node, and who is on it."""

    node: Booted
    place: Place


@pytest.fixture(scope="module")
def node() -> Iterator[Booted]:
    with closing(Lab()) as lab:
        node = installed(lab)
        node.systemctl("stop", "snf-network-gc.timer", "snf-network-dns.timer", "snf-network-watch.service")
        yield node


def test_the_drop_in_of_nftables_service_is_read(node: Booted) -> None:
    """And the machine tells that it is alive, before much else is done: emulated, each of these takes long."""
    assert "nft-keep" in node.show("nftables.service", "ExecStart")


def test_nftables_service_starts_with_none_of_our_tables(node: Booted) -> None:
    node.machine.write("/etc/nftables.conf", RULES)
    node.systemctl("restart", "nftables.service")
    assert "table inet filter" in node.machine.out("nft", "list", "tables")


@pytest.fixture(scope="module")
def here(node: Booted) -> Neighbours:
    assert loaded(node.machine)
    return Neighbours(node, guests_of(node.lab, node.router, node.machine))


@pytest.mark.parametrize("words", ("reload", "restart", "stop", "start"))
def test_nftables_service(here: Neighbours, words: str) -> None:
    """No packet is lost, none passes unfiltered, and its own table comes and goes."""
    with traffic(here.place, f"{words} nftables", SPACING, PERIOD) as seen:
        here.node.systemctl(words, "nftables.service")
    seen.is_whole()
    tables = here.node.machine.out("nft", "list", "tables")
    assert ("table inet filter" in tables) == (words != "stop")
    if (
        words == "stop"
    ):  # no repair follows; nft has put some rules in other words, which the next minute sees
        here.node.systemctl("start", GC)
    assert here.node.is_clean()


def test_systemd_networkd(here: Neighbours) -> None:
    """With the drop-ins where the package puts them."""
    uplink = example("With systemd-networkd", "docs/operators.md").replace("snf_public", "222")
    here.node.machine.write(
        "/etc/systemd/network/10-uplink.network", f"{uplink}\n[Route]\nDestination=198.51.100.0/24\n"
    )
    here.node.systemctl("start", "systemd-networkd.service")
    with traffic(here.place, "restart networkd", SPACING, PERIOD) as seen:
        here.node.systemctl("restart", "systemd-networkd.service")
    seen.is_whole()
    here.node.systemctl("stop", "systemd-networkd.socket", "systemd-networkd.service")
    assert here.node.is_clean()


def test_the_timer_mends_what_was_taken_away(here: Neighbours) -> None:
    """From within the sandbox of its unit."""
    here.node.machine.run("nft", "flush", "ruleset")
    here.node.machine.ip("rule del pref 14800", "-6 rule del pref 14801")
    here.node.machine.sysctl("net/ipv4/conf/eth1/forwarding", 0)
    here.node.systemctl("start", GC)
    assert here.node.is_clean()
    here.place.is_whole()
