"""Mode bridged with real packets: a NIC without a network or tag is only a port of its bridge, as in stock
Ganeti.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, environment, send, settled, traces

ENV = environment("start-nonet-ifup-1")
TAP, MAC, OTHER = ENV["INTERFACE"], ENV["MAC"], "aa:00:00:00:00:11"
SECOND = {**ENV, "INTERFACE": "tap9", "MAC": OTHER, "INTERFACE_UUID": "other", "INSTANCE": "other"}


def link(node: Machine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.out("ip", "-j", "link", "show", "dev", name))[0]
    return found


def site(lab: Lab) -> tuple[Machine, Machine, Machine]:
    node = lab.node("node1", lab.router())
    guests = [
        lab.guest(node, env["INTERFACE"], env["MAC"], f"203.0.113.{number}/24", f"2001:db8:b::{number}/64")
        for number, env in enumerate((ENV, SECOND), 1)
    ]
    for env in (ENV, SECOND):
        assert node.up(env).stderr == ""
    settled(node)
    return node, *guests


@pytest.fixture(scope="module")
def still() -> Iterator[tuple[Machine, Machine, Machine]]:
    """One site for all tests that only look."""
    with closing(Lab()) as lab:
        yield site(lab)


@pytest.mark.parametrize("address", ("203.0.113.2", "2001:db8:b::2", f"{f.eui64(OTHER)}%eth0"))
def test_guests_of_a_bridge_talk(still: tuple[Machine, Machine, Machine], address: str) -> None:
    assert still[1].ping(address)


def test_any_source_and_any_ethertype_passes(still: tuple[Machine, Machine, Machine]) -> None:
    """No tag asked for a filter."""
    _, one, other = still
    ear = Ear(other, "eth0")
    sent = (
        f.ethernet(
            "aa:00:00:00:00:66", f.BROADCAST, f.arp(1, "aa:00:00:00:00:66", "203.0.113.66", "203.0.113.9")
        ),
        f.ethernet(MAC, f.BROADCAST, (f.LOCAL, b"\0\0text")),
        f.ethernet(MAC, f.BROADCAST, (f.LOCAL, b"\0\0text"), (f.VLAN, 5)),
        f.ethernet(MAC, OTHER, f.dhcp(MAC, 2, "203.0.113.1")),
    )
    send(one, "eth0", *(f.stamp(frame, number) for number, frame in enumerate(sent, 1)))
    assert ear.tokens(4) >= {1, 2, 3, 4}


def test_mac_of_the_tap_is_never_the_lowest(lab: Lab) -> None:
    """A bridge takes the lowest MAC of its ports: with the guest's own on the tap, it would be the
    guest's.
    """
    node = lab.node("node1", lab.router())
    node.ip("link add port type veth peer name far", "link set port address ee:00:00:00:00:01 master prv0 up")
    lab.guest(node, TAP, MAC)
    node.up(ENV)
    assert link(node, TAP)["address"] == f"fe{MAC[2:]}"
    assert link(node, "prv0")["address"] == "ee:00:00:00:00:01"


def test_tap_has_the_mtu_of_its_bridge(lab: Lab) -> None:
    node = lab.node("node1", lab.router())
    node.ip("link set prv0 mtu 1280")
    lab.guest(node, TAP, MAC)
    node.up(ENV)
    assert link(node, TAP)["mtu"] == 1280
    assert link(node, "prv0")["mtu"] == 1280


def test_mtu_of_a_bridge_with_large_frames(lab: Lab) -> None:
    """A tap of 1500 would pull the bridge down to its own MTU."""
    node = lab.node("node1", lab.router())
    node.ip(
        "link add port type veth peer name far", "link set port mtu 9000 master prv0 up", "link set far up"
    )
    assert link(node, "prv0")["mtu"] == 9000
    lab.guest(node, TAP, MAC)
    node.up(ENV)
    assert link(node, TAP)["mtu"] == 9000
    assert link(node, "prv0")["mtu"] == 9000


def test_tap_in_a_wrong_bridge_is_moved(lab: Lab) -> None:
    node, one, other = site(lab)
    node.ip("link add wrong type bridge forward_delay 0", "link set wrong up", f"link set {TAP} master wrong")
    assert not one.ping("203.0.113.2", wait=0.2)
    node.up(ENV)
    settled(node)
    assert link(node, TAP)["master"] == "prv0"
    assert other.ping("203.0.113.1")


def test_nic_goes_to_another_bridge(lab: Lab) -> None:
    """An instance that was given another LINK: the record of the first one does not stay."""
    node, one, other = site(lab)
    node.ip("link add prv1 type bridge forward_delay 0", "link set prv1 up")
    node.up({**ENV, "LINK": "prv1", "BRIDGE": "prv1"})
    assert link(node, TAP)["master"] == "prv1"
    assert not one.ping("203.0.113.2", wait=0.2)
    node.up({**SECOND, "LINK": "prv1", "BRIDGE": "prv1"})
    settled(node)
    assert other.ping("203.0.113.1")


@pytest.mark.parametrize("bridge", ("missing", "eth1"))
def test_no_such_bridge(lab: Lab, bridge: str) -> None:
    node = lab.node("node1", lab.router())
    lab.guest(node, TAP, MAC)
    ran = node.up({**ENV, "LINK": bridge}, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"kvm-ifup-custom: LINK={bridge} is not a bridge")
    assert ran.stderr.count("\n") == 1
    assert link(node, TAP)["operstate"] == "DOWN"
    assert traces(node, records=False) == []


def test_nothing_is_left_after_down(lab: Lab) -> None:
    node, _, other = site(lab)
    node.down(ENV)
    assert not [line for line in traces(node) if TAP in line]
    assert "master" not in link(node, TAP)
    assert link(node, TAP)["operstate"] == "DOWN"
    assert not other.ping("203.0.113.1", wait=0.2)
    node.down(SECOND)
    assert traces(node) == []
