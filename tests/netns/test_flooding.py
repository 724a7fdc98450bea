"""What a bridge has not learned, it floods: a pinned guest gets only what is for it, and nobody loses anything,
also while a guest migrates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, drops, environment, send, settled, until, without_rules

MACS = {number: f"aa:55:60:00:00:0{number}" for number in (1, 2, 3)}
SPARE, STRANGER = "00:00:5e:00:01:0a", "02:00:00:00:00:99"


def nic(number: int, tags: str = "ip-filtered", profile: str = "") -> dict[str, str]:
    return environment(
        "start-nonet-ifup-1",
        INTERFACE=f"tap{number}",
        INTERFACE_INDEX="0",
        INTERFACE_UUID=f"nic-{number}",
        INSTANCE=f"vm{number}",
        MAC=MACS[number],
        IP=f"203.0.113.{number}",
        NETWORK_TAGS=tags,
        TAGS=profile and f"synnefo:network:0:{profile}",
    )


class Site(NamedTuple):
    """Two nodes whose bridges prv0 are ports of one switch."""

    lab: Lab
    world: Machine
    """Another host on the switch, by its device `seen`."""
    switch: Machine
    nodes: tuple[Machine, Machine]

    def guest(self, node: int, number: int, **how: str) -> Machine:
        """One that has never said a word."""
        made = self.lab.machine(f"guest{number}-{node}")
        self.lab.cable(self.nodes[node], f"tap{number}", made, "eth0")
        made.ip(f"link set eth0 address {MACS[number]} arp off addrgenmode none", "link set eth0 up")
        assert self.nodes[node].up(nic(number, **how)).stderr == ""
        settled(self.nodes[node])
        return made

    def forget(self) -> None:
        """Nobody has learned anything."""
        for node in self.nodes:
            node.ip("link set prv0 type bridge fdb_flush")
        self.switch.ip("link set br0 type bridge fdb_flush")


@pytest.fixture
def site(lab: Lab) -> Site:
    switch, router = lab.machine("switch"), lab.router()
    switch.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up")
    nodes = tuple(lab.node(f"node{number}", router) for number in (1, 2))
    lab.cable(switch, "world", router, "seen")
    router.ip("link set seen up")
    switch.ip("link set world master br0 up")
    for number, node in enumerate(nodes):
        lab.cable(switch, f"port{number}", node, "eth2")
        switch.ip(f"link set port{number} master br0 up")
        node.ip("link set eth2 master prv0 up")
    settled(switch, *nodes)
    return Site(lab, router, switch, nodes)  # type: ignore[arg-type]


def packet(number: int, target: str, source: str = STRANGER) -> bytes:
    return f.stamp(f.ethernet(source, target, f.udp("203.0.113.99", "203.0.113.1", 53, 40000)), number)


marks = itertools.count(1000)


def heard(ear: Ear, site: Site) -> set[int]:
    """The numbers that came, up to a broadcast that is sent now."""
    packet, mark = f.udp("203.0.113.99", "203.0.113.255", 53, 40000), next(marks)
    send(site.world, "seen", f.stamp(f.ethernet(STRANGER, f.BROADCAST, packet), mark))
    return ear.tokens(mark)


@pytest.mark.parametrize("profile", ("", "unprotected", "protected"))
def test_unknown_unicast_reaches_its_guest_alone(site: Site, profile: str) -> None:
    """From outside, from another guest, and from the node itself: to a guest that has not spoken yet."""
    first, second, third = (site.guest(0, number, profile=profile) for number in (1, 2, 3))
    node = site.nodes[0]
    ears = {guest.name: Ear(guest, "eth0") for guest in (first, second)}
    for ours in (True, False):
        site.forget()
        if not ours:
            without_rules(node)
        start = 1 if ours else 11
        send(site.world, "seen", packet(start, MACS[1]))
        send(
            third,
            "eth0",
            f.stamp(f.ethernet(MACS[3], MACS[1], f.udp("203.0.113.3", "203.0.113.1", 53, 40000)), start + 1),
        )
        send(node, "prv0", packet(start + 2, MACS[1]))
        assert heard(ears[first.name], site) >= {start, start + 1, start + 2}
        found = heard(ears[second.name], site) & {start, start + 1, start + 2}
        assert found == (set() if ours else {start, start + 1, start + 2})
        if ours:
            assert drops(node, "bridge")["tap2", "dst-mac"] == 3


def test_groups_and_further_macs_pass(site: Site) -> None:
    guest = site.guest(0, 1)
    ear = Ear(guest, "eth0")
    groups = ("01:00:5e:00:00:fb", "33:33:00:00:00:01", f.BROADCAST)
    site.nodes[0].up({**nic(1), "TAGS": f"snf-network:0:mac:{SPARE}"})
    send(site.world, "seen", *(packet(number, target) for number, target in enumerate((SPARE, *groups), 1)))
    assert heard(ear, site) >= {1, 2, 3, 4}


def moved(site: Site, old: Machine, new: Machine, to: int) -> None:
    """The switch-over: QEMU announces the guest with a RARP; the old tap goes with its process."""
    send(new, "eth0", f.ethernet(MACS[1], f.BROADCAST, f.rarp(MACS[1])))
    site.nodes[1 - to].down(nic(1))
    site.nodes[1 - to].ip("link del tap1")


def test_a_migration_loses_and_steals_nothing(site: Site) -> None:
    """There and back. The tap is up on the target before the guest is there: who speaks to the guest from the
    target still reaches it at home, whether its bridge has learned the guest or not.
    """
    home, other = site.guest(0, 1), site.guest(1, 3)
    for to in (1, 0):
        ear, number, source = Ear(home, "eth0"), 10 * to + 1, site.nodes[1 - to]
        incoming = site.guest(to, 1)
        silent = Ear(incoming, "eth0")
        for spoken in (True, False):
            site.forget()
            if spoken:
                send(home, "eth0", f.ethernet(MACS[1], f.BROADCAST, f.rarp(MACS[1])))
                assert until(lambda node=source: f"{MACS[1]} dev tap1" in node.out("bridge", "fdb", "show"))
            send(other, "eth0", *(mine(number + more) for more in range(3)))
            number += 3
        assert heard(ear, site) >= set(range(number - 6, number))
        moved(site, home, incoming, to)
        home = incoming
        send(other, "eth0", *(mine(number + more) for more in range(3)))
        assert heard(silent, site) >= set(range(number, number + 3))
        assert [line for node in site.nodes for line in fixed(node)] == []


def mine(number: int) -> bytes:
    return f.stamp(f.ethernet(MACS[3], MACS[1], f.udp("203.0.113.3", "203.0.113.1")), number)


def fixed(node: Machine) -> Iterator[str]:
    """Entries of a guest that no learning and no ageing would correct."""
    for line in node.out("bridge", "fdb", "show", "br", "prv0").splitlines():
        if line.startswith("aa:55:60") and ("static" in line or "permanent" in line):
            yield line
