"""No window: while a guest sends a forged frame every millisecond, none passes, whatever is done to its NIC
and to the rules.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from snf_network.model.config import Config
from snf_network.rules.ruleset import Ruleset
from snf_network.selftest import frames as f
from snf_network.selftest.matrix import NODE, RESERVED, TAP_MAC, Guest
from snf_network.selftest.site import TABLES, Site, environment
from snf_network.selftest.world import Ear, witnessed
from tests.netns.lab import SCRIPTS

FORGED, PERIOD, ROUNDS = 40001, 0.001, 12
SOURCE, ADDRESS = "aa:55:60:66:00:66", "198.51.100.66"
ROUTED, FILTERED, PRIVATE, SERVED_TOO = 1, 3, 5, 7


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack)


class Stream:
    """Sends the same forged frames again and again, from another thread."""

    def __init__(self, site: Site, guest: Guest) -> None:
        self.socket, self.sent, self.ended = site.guest.packet_socket(guest.tap), 0, threading.Event()
        self.frames = [
            f.stamp(f.ethernet(SOURCE, target, packet), FORGED)
            for packet in (f.udp(ADDRESS, NODE), f.arp(1, SOURCE, ADDRESS, NODE))
            for target in (TAP_MAC, f.BROADCAST, RESERVED)
        ]
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended.wait(PERIOD):
            for frame in self.frames:
                try:
                    self.socket.send(frame)
                    self.sent += 1
                except OSError:
                    continue  # the link is down

    def close(self) -> None:
        self.ended.set()
        self.thread.join(10)
        self.socket.close()


@contextmanager
def nothing_passes(site: Site, guest: Guest) -> Iterator[None]:
    """No forged frame comes to the peer, to the router or to the node; and then, without our rules, it
    does.
    """
    ears = [Ear(site.peer, "eth0"), Ear(site.router, "eth0"), Ear(site.node, "br0")]
    with closing(Stream(site, guest)) as stream:
        yield
        sent = stream.sent
    assert sent > 500, "too few to show anything"
    own = f.stamp(f.ethernet("02:00:00:00:00:01", f.BROADCAST, f.udp("192.0.2.9", NODE)), 7)
    for ear, machine, device in zip(
        ears, (site.node, site.node, site.peer), ("peer0", "up0", "eth0"), strict=True
    ):
        with closing(ear.socket), closing(machine.packet_socket(device)) as marker:
            marker.send(own)
            assert FORGED not in ear.tokens(7)
    assert FORGED not in witnessed(site.node)
    assert SOURCE not in {mac for mac, _ in site.learned()}


@pytest.mark.parametrize("number", (ROUTED, FILTERED, PRIVATE))
def test_while_the_rules_are_loaded_again(site: Site, number: int) -> None:
    text = Ruleset(Config()).text()
    with nothing_passes(site, site.guests[number - 1]):
        site.node.run(str(SCRIPTS / "snf-network"), "load")
        for _ in range(3 * ROUNDS):
            site.node.load(text)


@pytest.mark.parametrize("number", (ROUTED, FILTERED, PRIVATE, SERVED_TOO))
def test_while_the_nic_goes_down_and_comes_up(site: Site, number: int) -> None:
    guest = site.guests[number - 1]
    with nothing_passes(site, guest):
        for _ in range(ROUNDS):
            site.node.script("kvm-ifdown-custom", environment(guest))
            site.node.ip(
                "link set br0 type bridge no_linklocal_learn 0"
            )  # as on a bridge that had no such NIC before
            site.node.script("kvm-ifup-custom", environment(guest))


CHANGES: dict[str, Callable[[Guest], list[dict[str, str]]]] = {
    "tags of a bridged NIC": lambda guest: [
        {"NETWORK_TAGS": tags} for tags in ("private-filtered", "ip-filtered nfdhcpd", "ip-filtered")
    ],
    "what is allowed": lambda guest: [
        {"TAGS": "snf-network:0:allow:203.0.114.0/24"},
        {"TAGS": "snf-network:0:allow:203.0.114.0/25"},
        {},
    ],
    "mode": lambda guest: [{"MODE": "routed", "LINK": "snf_selftest"}, {}],
    "address": lambda guest: [{"IP": "198.51.100.222"}, {}],
}


@pytest.mark.parametrize("change", CHANGES)
def test_while_the_nic_changes(site: Site, change: str) -> None:
    guest = site.guests[FILTERED - 1]
    with nothing_passes(site, guest):
        for _ in range(ROUNDS // 2):
            for values in CHANGES[change](guest):
                site.node.script("kvm-ifup-custom", environment(guest) | values)


def test_without_rules_it_would_be_heard(site: Site) -> None:
    """The last test: nothing else keeps these frames from anybody."""
    tables = [
        entry["table"]["name"]
        for entry in json.loads(site.node.out("nft", "-j", "list", "tables"))["nftables"]
        if "table" in entry
    ]
    assert tables.count("snf_network") == len(TABLES)
    site.without_rules()
    assert SOURCE not in {mac for mac, _ in site.learned()}
    for number in (FILTERED, PRIVATE, SERVED_TOO):
        ear = Ear(site.peer, "eth0")
        with closing(ear.socket), closing(Stream(site, site.guests[number - 1])):
            assert FORGED in ear.tokens(FORGED)
            assert SOURCE in {mac for mac, _ in site.learned()}
    with closing(Stream(site, site.guests[ROUTED - 1])):
        for _ in range(100):
            if FORGED in witnessed(site.node):
                return
    raise AssertionError("the routed NIC's are dropped by something else")
