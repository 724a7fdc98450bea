"""private-filtered with real packets: two private networks, separated by MAC prefix, on one bridge that spans
two nodes.

Each frame is sent once with our rules and once without (the control). The test looks for it at every guest,
on the stack of each node, and in the forwarding tables of the bridges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from typing import NamedTuple

import pytest

from snf_network.selftest.world import bridge_netfilter
from tests.netns import frames as f
from tests.netns.lab import (
    Ear,
    Lab,
    Machine,
    Witness,
    drops,
    environment,
    lines,
    send,
    settled,
    traces,
    until,
    without_rules,
)

ENV = environment("add-bridged-ifup-1")
FORGED = "aa:55:60:66:66:66"
"""Of the first network's prefix, and nobody's."""
GROUP = "01:00:5e:00:00:fb"
RESERVED = "01:80:c2:00:00:0e"
"""LLDP: a bridge takes frames to this group itself, past all its hooks."""
OTHER_RESERVED = "01:80:c2:00:00:03"
"""802.1X: past prerouting, through input."""


class Guest(NamedTuple):
    """Where a guest is, and the NIC that Ganeti knows."""

    node: str
    tap: str
    mac: str
    ip: str
    tag: str = "private-filtered"

    @property
    def env(self) -> dict[str, str]:
        return {
            **ENV,
            "INTERFACE": self.tap,
            "MAC": self.mac,
            "IP": self.ip,
            "NETWORK_TAGS": f"nfdhcpd {self.tag}",
            "NETWORK_MAC_PREFIX": self.mac[:8],
            "INTERFACE_UUID": f"uuid-{self.tap}",
            "INSTANCE": f"inst-{self.tap}",
        }


# a and b are two networks: ff:ff:f0:00:00:00 is what MAC_MASK compares
GUESTS = {
    "a1": Guest("node1", "tap1", "aa:55:60:00:00:01", "203.0.113.1"),
    "a2": Guest("node1", "tap2", "aa:55:60:00:00:02", "203.0.113.2", "mac-filtered"),
    "a3": Guest("node2", "tap3", "aa:55:61:00:00:03", "203.0.113.3"),
    "b1": Guest("node1", "tap4", "aa:55:70:00:00:01", "203.0.113.1", "mac-filtered"),
    "b2": Guest("node2", "tap5", "aa:55:70:00:00:02", "203.0.113.2"),
}


class Site(NamedTuple):
    """Two nodes whose prv0 are joined by a cable, and the guests."""

    nodes: dict[str, Machine]
    guests: dict[str, Machine]


def site(lab: Lab, bridge_nf: bool = True) -> Site:
    router = lab.router()
    nodes = {name: lab.node(name, router) for name in ("node1", "node2")}
    for node in nodes.values():
        bridge_netfilter(node, bridge_nf)
    lab.cable(nodes["node1"], "prv", nodes["node2"], "prv")
    for node in nodes.values():
        node.ip("link set prv master prv0 up", "link set prv0 type bridge mcast_snooping 0")
    guests = {
        name: lab.guest(nodes[guest.node], guest.tap, guest.mac, f"{guest.ip}/24", f"2001:db8:a::{name}/64")
        for name, guest in GUESTS.items()
    }
    for guest in GUESTS.values():
        assert nodes[guest.node].up(guest.env).stderr == ""
    settled(*nodes.values())
    return Site(nodes, guests)


class Case(NamedTuple):
    """A frame, who sends it, and who may hear it; without our rules all others in `hidden` hear it too."""

    name: str
    sender: str
    frame: bytes
    heard: str = ""
    hidden: str = ""


def frame(source: str, target: str, *tags: tuple[int, int]) -> bytes:
    return f.ethernet(source, target, f.udp("203.0.113.1", "203.0.113.255"), *tags)


def from_guest(name: str, target: str, *tags: tuple[int, int]) -> bytes:
    return frame(GUESTS[name].mac, target, *tags)


A1, A2, A3, B1, B2 = (guest.mac for guest in GUESTS.values())
HOST = "02:00:00:00:00:01"
"""What the bridge of node1 is made to have: no prefix of any network."""
CASES = (
    Case("unicast in its network", "a1", from_guest("a1", A2), "a2"),
    Case("unicast in its network, other node", "a1", from_guest("a1", A3), "a3"),
    Case("broadcast", "a1", from_guest("a1", f.BROADCAST), "a2 a3 node1 node2", "b1 b2"),
    Case("multicast", "a1", from_guest("a1", GROUP), "a2 a3 node1 node2", "b1 b2"),
    Case(
        "ARP",
        "a1",
        f.ethernet(A1, f.BROADCAST, f.arp(1, A1, "203.0.113.1", "203.0.113.9")),
        "a2 a3 node1 node2",
        "b1 b2",
    ),
    Case(
        "RARP of a guest that has moved",
        "a1",
        f.ethernet(A1, f.BROADCAST, f.rarp(A1)),
        "a2 a3 node1 node2",
        "b1 b2",
    ),
    Case(
        "any ethertype",
        "a1",
        f.ethernet(A1, f.BROADCAST, (f.LOCAL, b"\0\0text")),
        "a2 a3 node1 node2",
        "b1 b2",
    ),
    Case("broadcast in the other network", "b2", from_guest("b2", f.BROADCAST), "b1 node1 node2", "a1 a2 a3"),
    Case("unicast into another network", "a1", from_guest("a1", B1), "", "b1"),
    Case("unicast into another network, other node", "a1", from_guest("a1", B2), "", "b2"),
    Case("unicast to the node", "a1", from_guest("a1", HOST), "node1"),
    Case("broadcast of the node", "node1", frame(HOST, f.BROADCAST), "node2", "a1 a2 a3 b1 b2"),
    Case("multicast of the node", "node1", frame(HOST, GROUP), "node2", "a1 a2 a3 b1 b2"),
    Case("unicast of the node", "node1", frame(HOST, A1), "", "a1"),
    Case("forged MAC", "a1", frame(FORGED, f.BROADCAST), "", "a2 a3 b1 b2 node1 node2"),
    Case(
        "forged MAC of the other network",
        "a1",
        frame("aa:55:70:66:66:66", f.BROADCAST),
        "",
        "a2 a3 b1 b2 node1 node2",
    ),
    Case("forged MAC, unicast", "a1", frame("aa:55:60:66:66:67", A2), "", "a2"),
    Case(
        "forged MAC, ARP",
        "a1",
        f.ethernet("aa:55:60:66:66:68", f.BROADCAST, f.arp(1, A1, "203.0.113.1", "203.0.113.9")),
        "",
        "a2 a3 b1 b2 node1 node2",
    ),
    Case("802.1Q", "a1", from_guest("a1", f.BROADCAST, (f.VLAN, 5)), "", "a2 a3 b1 b2 node1 node2"),
    Case(
        "802.1Q, priority only",
        "a1",
        from_guest("a1", f.BROADCAST, (f.VLAN, 0)),
        "",
        "a2 a3 b1 b2 node1 node2",
    ),
    Case("802.1ad", "a1", from_guest("a1", f.BROADCAST, (f.QINQ, 5)), "", "a2 a3 b1 b2 node1 node2"),
    Case(
        "QinQ", "a1", from_guest("a1", f.BROADCAST, (f.QINQ, 5), (f.VLAN, 6)), "", "a2 a3 b1 b2 node1 node2"
    ),
)
OPEN, END = 1000, 2000
"""Added to the number of a frame when it is sent to nodes without our rules; the number of the last one,
which all hear.
"""


class Played(NamedTuple):
    """Who heard which numbers; what each bridge had learned with our rules and without; what was counted."""

    heard: dict[str, set[int]]
    learned: list[str]
    dropped: dict[tuple[str, str], int]


@pytest.fixture(scope="module")
def played(bridge_nf: bool) -> Iterator[Played]:
    with closing(Lab()) as lab:
        nodes, guests = site(lab, bridge_nf)
        for node in nodes.values():
            node.ip("link set prv0 address 02:00:00:00:00:0" + node.name[-1])
        ears = {name: Ear(guest, "eth0") for name, guest in guests.items()} | {
            name: Ear(node, "prv0") for name, node in nodes.items()
        }
        where = {name: (guest, "eth0") for name, guest in guests.items()} | {
            "node1": (nodes["node1"], "prv0")
        }
        for name in GUESTS:  # so that no bridge floods for not knowing
            send(*where[name], from_guest(name, f.BROADCAST))
        before, learned, heard = drops(nodes["node1"], "bridge"), [], {name: set() for name in ears}
        for start in (0, OPEN):
            for sender, cases in groupby(enumerate(CASES, start + 1), lambda numbered: numbered[1].sender):
                send(*where[sender], *(f.stamp(case.frame, number) for number, case in cases))
            for name in ("a1", "a2", "b1", "b2"):
                send(*where[name], f.stamp(from_guest(name, f.BROADCAST), END + start))
            for name, ear in ears.items():
                heard[name] |= ear.tokens(END + start)
            learned.append(
                "".join(node.out("bridge", "fdb", "show", "br", "prv0") for node in nodes.values())
            )
            if not start:
                dropped = drops(nodes["node1"], "bridge") - before
                for node in nodes.values():
                    without_rules(node)
        yield Played(heard, learned, dropped)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_who_hears_a_frame(played: Played, case: Case) -> None:
    number = CASES.index(case) + 1
    heard = {name for name, numbers in played.heard.items() if number in numbers}
    unfiltered = {name for name, numbers in played.heard.items() if number + OPEN in numbers}
    assert heard == set(case.heard.split())
    assert unfiltered == heard | set(case.hidden.split()), "what is heard without our rules: the control"


def test_forged_mac_is_not_learned(played: Played) -> None:
    filtered, unfiltered = played.learned
    assert ":66:66:" in unfiltered, "bridges learn nothing here: this test shows nothing"
    assert ":66:66:" not in filtered
    assert A1 in filtered


def test_each_drop_is_counted_with_its_reason(played: Played) -> None:
    assert played.dropped["tap1", "src-mac"] == 4
    assert played.dropped["tap1", "tagged"] == 4
    assert played.dropped["tap4", "mac-prefix"] >= 8


@pytest.fixture(scope="module")
def filtered(bridge_nf: bool) -> Iterator[Site]:
    with closing(Lab()) as lab:
        yield site(lab, bridge_nf)


@pytest.mark.parametrize(("one", "other"), (("a1", "a2"), ("a1", "a3"), ("b1", "b2")))
def test_guests_of_a_network_talk(filtered: Site, one: str, other: str) -> None:
    assert filtered.guests[one].ping(GUESTS[other].ip)
    assert filtered.guests[other].ping(f"2001:db8:a::{one}")


def test_networks_do_not_talk(filtered: Site) -> None:
    """b1 has the address of a1: each hears its own network's only."""
    guests = filtered.guests
    ear = Ear(guests["b1"], "eth0")
    assert guests["a2"].ping(GUESTS["a1"].ip)
    assert not guests["b2"].ping(GUESTS["a3"].ip, wait=0.2)
    assert not guests["a1"].ping("2001:db8:a::b1", wait=0.2)
    assert not [frame for _, frame in ear.frames(0.05) if frame[6:9].hex(":") in ("aa:55:60", "aa:55:61")]


def test_reserved_group_reaches_nobody(lab: Lab) -> None:
    """Such a frame would reach the node's own stack from the port itself, past the pins of the bridge."""
    nodes, guests = site(lab)
    node = nodes["node1"]
    witness = Witness(node)
    packets = (
        f.udp("203.0.113.1", "203.0.113.255"),
        f.arp(1, A1, "203.0.113.1", "203.0.113.9"),
        f.udp("fe80::1", f.ALL_NODES),
    )
    for start in (0, OPEN):
        send(
            guests["a1"],
            "eth0",
            *(
                f.stamp(f.ethernet(A1, RESERVED, packet), number)
                for number, packet in enumerate(packets, start + 1)
            ),
        )
        if not start:
            send(guests["a1"], "eth0", f.ethernet(A1, OTHER_RESERVED, packets[0]))
            assert until(lambda: drops(node, "bridge")["tap1", "ll-dst"] == 1)
            assert drops(node, "inet") == {("tap1", "ll-dst"): 2}
            assert drops(node, "arp") == {("tap1", "ll-dst"): 1}
            without_rules(node)
    assert until(lambda: witness.seen() >= {OPEN + 1, OPEN + 2, OPEN + 3})
    assert not witness.seen() & {1, 2, 3}


def test_vrrp_router_speaks_from_its_link_local_address(lab: Lab) -> None:
    """An IPv6 virtual router advertises from fe80::200:5eff:fe00:20a, which its MAC gives (RFC 5798, 7.3)."""
    virtual, other = "00:00:5e:00:02:0a", "00:00:5e:00:02:0b"
    node = lab.node("node1", lab.router())
    guest, peer = lab.guest(node, "tap1", A1), lab.guest(node, "tap9", A2)
    node.ip("link set tap9 master prv0 up")
    node.up(
        {
            **GUESTS["a1"].env,
            "NETWORK_TAGS": "ip-filtered",
            "INTERFACE_INDEX": "0",
            "TAGS": f"snf-network:0:mac:{virtual} snf-network:0:allow:2001:db8:a::99",
        }
    )
    settled(node)
    ear, vip = Ear(peer, "eth0"), "2001:db8:a::99"
    frames = [
        f.ethernet(virtual, "33:33:00:00:00:12", f.ip(f.eui64(virtual), "ff02::12", 112, bytes(24), 255)),
        f.ethernet(virtual, "33:33:00:00:00:01", f.na(f.eui64(virtual), vip, f.option(f.TARGET, virtual))),
        f.ethernet(virtual, "33:33:00:00:00:12", f.ip(f.eui64(other), "ff02::12", 112, bytes(24), 255)),
        f.ethernet(other, "33:33:00:00:00:12", f.ip(f.eui64(virtual), "ff02::12", 112, bytes(24), 255)),
        from_guest("a1", f.BROADCAST),
    ]
    send(guest, "eth0", *(f.stamp(frame, number) for number, frame in enumerate(frames, 1)))
    assert ear.tokens(5) & set(range(1, 6)) == {1, 2, 5}


@pytest.mark.parametrize("tags", ("private-filtered", "ip-filtered", "nfdhcpd", "ip-filtered nfdhcpd"))
def test_tap_out_of_its_bridge_reaches_nobody(lab: Lab, tags: str) -> None:
    """After a bridge was deleted and made again its taps are up and in none: the node hears them itself."""
    router = lab.router()
    node = lab.node("node1", router)
    guest = lab.guest(node, "tap1", A1)
    guest.sysctl("net/ipv6/conf/all/disable_ipv6", 1)  # it says nothing by itself
    node.up({**GUESTS["a1"].env, "NETWORK_TAGS": tags, "NETWORK_SUBNET6": "2001:db8:a::/64"})
    node.ip("link del prv0", "link add prv0 type bridge forward_delay 0", "link set prv0 up")
    for key in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
        node.sysctl(f"net/{key}", 1)
    assert "UP" in node.out("ip", "link", "show", "dev", "tap1")
    assert "master" not in node.out("ip", "link", "show", "dev", "tap1")
    witness, uplink = Witness(node), Ear(router, "br0")
    tap = node.read("/sys/class/net/tap1/address").strip()
    own6 = f.eui64(A1, "2001:db8:a::")
    packets = (
        f.udp("203.0.113.1", "198.51.100.1"),
        f.udp("203.0.113.99", "198.51.100.1"),
        f.udp(own6, "2001:db8:1::1"),
        f.udp("2001:db8:66::66", "2001:db8:1::1"),
        f.arp(1, A1, "203.0.113.1", "198.51.100.1"),
        f.ns(f.eui64(A1), f.eui64(tap), to=f.eui64(tap)),
    )
    for start in (0, OPEN):
        numbers = range(start + 1, start + 1 + 2 * len(packets))
        frames = [f.ethernet(A1, target, packet) for packet in packets for target in (tap, f.BROADCAST)]
        send(guest, "eth0", *map(f.stamp, frames, numbers))
        if start:
            break
        assert sum(drops(node, family)["tap1", "ll-dst"] for family in ("inet", "arp")) == len(numbers)
        assert not witness.seen() & set(numbers)
        assert not {f.token(frame) for _, frame in uplink.frames(0.2)} & set(numbers)
        without_rules(node)
    assert until(lambda: witness.seen() >= set(numbers)), (
        "the node does not take these: this test shows nothing"
    )
    assert {f.token(frame) for _, frame in uplink.frames(0.2)} & set(numbers)


@pytest.mark.parametrize("group", (RESERVED, OTHER_RESERVED))
def test_forged_mac_to_a_reserved_group_is_not_learned(lab: Lab, group: str) -> None:
    """The bridge would send a2's frames to the port that said so."""
    nodes, guests = site(lab)
    node, ear = nodes["node1"], Ear(guests["a2"], "eth0")
    assert guests["a2"].ping(GUESTS["a1"].ip)
    send(
        guests["a1"],
        "eth0",
        frame(FORGED, group),
        frame(A2, group),
        f.stamp(from_guest("a1", f.BROADCAST), 7),
    )
    ear.tokens(7)
    learned = lines(node.out("bridge", "fdb", "show", "br", "prv0"), "dev tap1")
    assert not lines("\n".join(learned), FORGED)
    assert not lines("\n".join(learned), A2)


def test_mac_outside_the_prefix_of_its_network_is_refused(lab: Lab) -> None:
    node = lab.node("node1", lab.router())
    guest = lab.guest(node, "tap1", "aa:55:70:00:00:01")
    ran = node.up({**ENV, "MAC": "aa:55:70:00:00:01"}, check=False)
    assert ran.returncode == 1
    assert re.fullmatch(
        r"kvm-ifup-custom: MAC=aa:55:70:00:00:01 is outside NETWORK_MAC_PREFIX=aa:55:60 .*\n", ran.stderr
    )
    assert traces(node, records=False) == []
    assert "state DOWN" in node.out("ip", "link", "show", "dev", "tap1")
    assert guest


def test_mask_is_a_setting(lab: Lab) -> None:
    """With the whole third octet compared, aa:55:60 and aa:55:61 are two networks."""
    node = lab.node("node1", lab.router())
    node.write("/etc/default/snf-network", "MAC_MASK=ff:ff:ff:00:00:00\n")
    guests = [lab.guest(node, tap, mac) for tap, mac in (("tap1", A1), ("tap2", A2), ("tap3", A3))]
    for tap, mac in (("tap1", A1), ("tap2", A2), ("tap3", A3)):
        node.up({**ENV, "INTERFACE": tap, "MAC": mac, "NETWORK_MAC_PREFIX": mac[:8]})
    ears = [Ear(guest, "eth0") for guest in guests]
    send(guests[0], "eth0", f.stamp(from_guest("a1", f.BROADCAST), 7))
    assert [bool(ear.first(lambda frame: f.token(frame) == 7, 0.2)) for ear in ears[1:]] == [True, False]


def test_nothing_is_left_after_down(lab: Lab) -> None:
    node = lab.node("node1", lab.router())
    env = {**ENV, "TAGS": "synnefo:network:0:protected"}
    lab.guest(node, "tap1", ENV["MAC"])
    node.up(env)
    assert len(traces(node)) == 13
    node.down(env)
    assert traces(node) == []
    link = node.out("ip", "link", "show", "dev", "tap1")
    assert "master" not in link
    assert "state DOWN" in link


def test_second_up_doubles_nothing(lab: Lab) -> None:
    node = lab.node("node1", lab.router())
    lab.guest(node, "tap1", ENV["MAC"])
    node.up(ENV)
    before = traces(node)
    node.up(ENV)
    assert traces(node) == before
