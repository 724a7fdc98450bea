"""A node where bridged packets also pass the hooks of IP (br_netfilter, as Docker and Kubernetes load it):
the results must be the same.

The sites and packets are those of tests/netns/test_profiles.py. Here each is tried with the setting at 0 and
at 1.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, drops, send
from tests.netns.test_profiles import FILTERED, OTHER_MAC, PASSES, WAYS, Site, packets, site, tag
from tests.qemu.taps import loaded

pytestmark = pytest.mark.vm()
PROFILES = ("protected", "limited", "")
KINDS = ("filtered", "filtered, IPv6")
STRANGER, FORGED = "aa:55:70:00:00:01", "aa:55:60:66:66:66"
CALLS = ("iptables", "ip6tables", "arptables")


class Played(NamedTuple):
    """What passed, and what was counted as dropped."""

    heard: dict[tuple[str, str], set[str]]
    private: tuple[set[int], set[int]]
    dropped: Counter[tuple[str, str]]


def play(place: Site, value: int) -> Played:
    for call in CALLS:
        place.node.sysctl(f"net/bridge/bridge-nf-call-{call}", value)
    before, heard = drops(place.node, "bridge"), {}
    for profile in PROFILES:
        place.node.up({**FILTERED, "TAGS": tag(profile, FILTERED["INTERFACE_INDEX"])})
        for kind in KINDS:
            heard[profile, kind] = WAYS[kind].play(place, packets(WAYS[kind].source, WAYS[kind].target))
    private = to_and_fro(place)
    return Played(heard, private, drops(place.node, "bridge") - before)


def to_and_fro(place: Site) -> tuple[set[int], set[int]]:
    """A broadcast of another private network, and one of its own, to the filtered guest; a forged one, and
    its own, from it.
    """
    ears = Ear(place.bridged, "eth0"), Ear(place.other, "eth0")

    def said(mac: str, number: int) -> bytes:
        return f.stamp(f.ethernet(mac, f.BROADCAST, f.udp("203.0.113.11", "203.0.113.255")), number)

    send(place.other, "eth0", said(STRANGER, 1), said(OTHER_MAC, 2))
    send(place.bridged, "eth0", said(FORGED, 3), said(FILTERED["MAC"], 4))
    return ears[0].tokens(2) & {1, 2}, ears[1].tokens(4) & {3, 4}


@pytest.fixture(scope="module")
def played() -> Iterator[dict[int, Played]]:
    subprocess.run(("modprobe", "br_netfilter"), check=True, timeout=60)
    try:
        with closing(Lab()) as lab:
            place = site(lab)
            assert loaded(place.node)
            place.node.up(FILTERED)
            yield {value: play(place, value) for value in (0, 1)}
    finally:
        subprocess.run(("modprobe", "-r", "br_netfilter"), check=True, timeout=60)


@pytest.mark.parametrize("value", (0, 1))
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_profile_of_a_filtered_nic(played: dict[int, Played], kind: str, profile: str, value: int) -> None:
    assert played[value].heard[profile, kind] == PASSES[profile]


@pytest.mark.parametrize("value", (0, 1))
def test_private_network(played: dict[int, Played], value: int) -> None:
    assert played[value].private == ({2}, {4})


@pytest.mark.parametrize("value", (0, 1))
def test_drops_are_counted(played: dict[int, Played], value: int) -> None:
    answered = (FILTERED["INTERFACE"], "answered")  # its router solicitations, if it was time for one
    assert set(played[value].dropped) - {answered} == {
        (FILTERED["INTERFACE"], "mac-prefix"),
        (FILTERED["INTERFACE"], "src-mac"),
    }
