"""Announcements on the uplink: what a router hears when a guest comes up, when it hears it, and when the
announcements end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, environment, send, settled, until

pytestmark = pytest.mark.quiet
ENV = environment("add-routed-ifup-1")
GATEWAY, GATEWAY6 = "198.51.100.1", "2001:db8:1::1"
ROUNDS = (0.0, 1.0, 3.0)
EARLY, LATE = 0.1, 0.8
"""How far from its time a round may be, on a busy machine."""
END = 9999


def nic(number: int, **changes: str) -> dict[str, str]:
    """A NIC with a tap, a MAC, an address and a UUID of its own."""
    return {
        **ENV,
        "INTERFACE": f"tap{number}",
        "MAC": f"aa:00:00:00:00:{number:02x}",
        "IP": f"198.51.100.{number}",
        "INTERFACE_UUID": f"uuid-{number}",
        "INSTANCE": f"inst{number}",
        **changes,
    }


def ip6(env: dict[str, str]) -> str:
    return f.eui64(env["MAC"], "2001:db8:1::")


def mac_of(machine: Machine, device: str) -> str:
    return machine.read(f"/sys/class/net/{device}/address").strip()


PLAIN, DOWN, REUSED, RENAMED, OTHER_MODE, IPV4_ONLY = (
    nic(20),
    nic(21),
    nic(22),
    nic(23),
    nic(24, MODE="bridged", LINK="prv0"),
    nic(25),
)
CHANGED = nic(26)
CHANGED_TO = {**CHANGED, "IP": "198.51.100.36"}
"""The same NIC, given another address while its guest runs."""
del IPV4_ONLY["NETWORK_SUBNET6"], IPV4_ONLY["NETWORK_GATEWAY6"]
REUSER = nic(32, INTERFACE="tap22")
"""Another instance on a new tap of the same name."""
RENAMER = nic(33, INTERFACE="tap23")
"""Another instance on the very same tap."""


class Heard(NamedTuple):
    """What the router heard: time and bytes; the MAC of the node's uplink; how long the first ifup took."""

    frames: list[tuple[float, bytes]]
    uplink: str
    took: float

    def times(self, frame: bytes) -> list[float]:
        """When this very frame came, counted from the first time."""
        times = [when for when, heard in self.frames if heard[: len(frame)] == frame]
        return [when - times[0] for when in times]

    def about(self, env: dict[str, str]) -> list[bytes]:
        """All frames that say where an address of this NIC is."""
        ip, target = f.octets(env["IP"]), f.octets(ip6(env))
        return [
            frame
            for _, frame in self.frames
            if (frame[12:14] == b"\x08\x06" and frame[28:32] == ip)
            or (frame[12:14] == b"\x86\xdd" and frame[62:78] == target)
        ]


def arp(uplink: str, env: dict[str, str], operation: int) -> bytes:
    """Gratuitous: sender and target are the same address."""
    target = "00:00:00:00:00:00" if operation == 1 else f.BROADCAST
    return f.ethernet(uplink, f.BROADCAST, f.arp(operation, uplink, env["IP"], env["IP"], target))[:42]


def advertisement(uplink: str, env: dict[str, str]) -> bytes:
    """Unsolicited, to all nodes, with the override flag, the target's link-layer address and the right
    checksum.
    """
    return f.ethernet(uplink, f.group_mac(f.ALL_NODES), f.na(ip6(env), ip6(env), f.option(f.TARGET, uplink)))


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    """All NICs come up within the same few seconds, so that the waiting is done once."""
    with closing(Lab()) as lab:
        router = lab.router()
        node = lab.node("node1", router)
        for env in (PLAIN, DOWN, REUSED, RENAMED, CHANGED, OTHER_MODE, IPV4_ONLY):
            lab.guest(node, env["INTERFACE"], env["MAC"])
        node.sysctl("net/ipv6/conf/eth1/router_solicitations", 0)
        settled(router)
        with ThreadPoolExecutor() as pool:
            frames = pool.submit(Ear(router, "br0").frames, 20, lambda frame: f.token(frame) == END)
            took = come_and_go(lab, node)
            time.sleep(ROUNDS[-1] + LATE)
            send(
                node, "eth1", f.stamp(f.ethernet(mac_of(node, "eth1"), f.BROADCAST, (f.LOCAL, bytes(2))), END)
            )
            yield Heard(frames.result(), mac_of(node, "eth1"), took)


def come_and_go(lab: Lab, node: Machine) -> float:
    """All within the first second; how long the first ifup took."""
    start = time.monotonic()
    node.up(PLAIN)
    took = time.monotonic() - start
    for env in (OTHER_MODE, IPV4_ONLY):
        node.up(env)
    for env in (DOWN, REUSED, RENAMED, CHANGED):
        began = time.monotonic()
        node.up(env)
        if env == REUSED:
            node.ip(f"link del {env['INTERFACE']}")
            lab.guest(node, REUSER["INTERFACE"], REUSER["MAC"])
        if env == DOWN:
            node.down(env)
        else:
            node.up({"tap22": REUSER, "tap23": RENAMER, "tap26": CHANGED_TO}[env["INTERFACE"]])
        assert time.monotonic() - began < 1, "the second round has begun: this test shows nothing"
    return took


def test_three_rounds_of_all_kinds(heard: Heard) -> None:
    for frame in (
        arp(heard.uplink, PLAIN, 1),
        arp(heard.uplink, PLAIN, 2),
        advertisement(heard.uplink, PLAIN),
    ):
        times = heard.times(frame)
        assert len(times) == 3
        assert all(wanted - EARLY < when < wanted + LATE for wanted, when in zip(ROUNDS, times)), times


def test_nothing_else_is_said(heard: Heard) -> None:
    assert len(heard.about(PLAIN)) == 9
    assert {frame[6:12].hex(":") for frame in heard.about(PLAIN)} == {heard.uplink}


def test_script_does_not_wait_for_its_announcements(heard: Heard) -> None:
    """It was run with pipes for its output and read to their end: a child that held them would have kept us
    for three seconds.
    """
    assert heard.took < 1


def test_ipv4_only(heard: Heard) -> None:
    assert len(heard.times(arp(heard.uplink, IPV4_ONLY, 1))) == 3
    assert len(heard.about(IPV4_ONLY)) == 6


@pytest.mark.parametrize(
    "env", (DOWN, REUSED, RENAMED), ids=("down", "tap used again", "another NIC on the tap")
)
def test_no_repeat_once_the_nic_is_gone(heard: Heard, env: dict[str, str]) -> None:
    assert len(heard.about(env)) == 3


@pytest.mark.parametrize("env", (REUSER, RENAMER), ids=("tap used again", "another NIC on the tap"))
def test_next_nic_is_announced_in_full(heard: Heard, env: dict[str, str]) -> None:
    assert len(heard.about(env)) == 9


def test_no_repeat_of_an_address_that_was_given_up(heard: Heard) -> None:
    """It may be another guest's, on another node, by then."""
    assert [len(heard.times(arp(heard.uplink, env, 1))) for env in (CHANGED, CHANGED_TO)] == [1, 3]


def test_bridged_never_announces(heard: Heard) -> None:
    """Its ifup may run on the target of a migration before the guest is there."""
    assert heard.about(OTHER_MODE) == []


def test_router_follows_a_guest_that_has_moved(lab: Lab) -> None:
    """Its entries are fresh and point at the first node; nothing but the announcement tells it."""
    router = lab.router()
    nodes = [lab.node(name, router) for name in ("node1", "node2")]
    addresses = ENV["IP"], ip6(ENV)

    def arrive(node: Machine) -> Machine:
        guest = lab.guest(
            node,
            "tap0",
            ENV["MAC"],
            f"{addresses[0]}/24",
            f"{addresses[1]}/64",
            gateway=GATEWAY,
            gateway6=GATEWAY6,
        )
        settled(router)
        node.up(ENV)
        return guest

    def believed() -> set[str]:
        return {
            router.out("ip", "neigh", "show", address, "dev", "br0").partition("lladdr ")[2].partition(" ")[0]
            for address in addresses
        }

    first = arrive(nodes[0])
    assert [router.ping(address) for address in addresses] == [True, True]
    first.close()
    assert until(lambda: not router.ping(addresses[0], wait=0.2))  # a namespace takes its time to end
    assert believed() == {mac_of(nodes[0], "eth1")}
    arrive(nodes[1])
    # a veth drops what is sent before the kernel has noticed its carrier, which may take it a second
    assert until(lambda: "state UP" in nodes[1].out("ip", "link", "show", "tap0"))
    assert until(lambda: believed() == {mac_of(nodes[1], "eth1")}), router.out("ip", "neigh")
    assert [router.ping(address, count=4, wait=0.5) for address in addresses] == [True, True]
