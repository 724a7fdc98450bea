"""Overlays through WireGuard, between three nodes whose underlay everybody can read: what crosses, what does
not, and what happens while nodes come, go, and move.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

import pytest

from lab.overlay import Cluster, cluster
from snf_network.host import kernel, wireguard
from snf_network.model.networks import Member, WireGuard
from snf_network.model.resources import Link, Resource, Route
from snf_network.model.resources.devices import Device
from snf_network.model.resources.hosts import HostAddress
from snf_network.model.resources.tunnel import TunnelKey, TunnelPeer, Unreachable
from snf_network.networks.wireguard import resources
from snf_network.selftest import frames as f
from tests.netns.lab import Ear, Machine, until
from tests.qemu.taps import CLEAN, snf_network

pytestmark = pytest.mark.vm()
KEY = "/etc/snf-network/wireguard.key"
WATCH = """\
table bridge watch {
	counter clear {}
	counter tunnel {}
	chain forward {
		type filter hook forward priority 0;
		udp dport 4789 counter name clear
		udp dport 51820 counter name tunnel
	}
}
"""
NOTHING: Mapping[int, str] = {}
FOLLOWED = 15
"""Seconds within which the others follow a node to another address."""


class Site(NamedTuple):
    """Three nodes with a tunnel, and a guest on each."""

    made: Cluster
    publics: list[str]
    guests: list[Machine]

    def file(self, numbers: tuple[int, ...] = (1, 2, 3), at: Mapping[int, str] = NOTHING) -> str:
        """networks.yaml with these nodes; `at`: other addresses than theirs on the underlay."""
        nodes = "".join(
            f'      node{one}.example.com: {{address: 10.97.0.{one}, public: "{self.publics[one - 1]}",'
            f' endpoint: "{at.get(one, self.made.address(one))}:51820"}}\n'
            for one in numbers
        )
        return (
            "underlay: {addresses: wan}\nnetworks:\n  prv0: {kind: overlay, vni: 100, bridge: ov100}\n"
            f"  wan:\n    kind: wireguard\n    device: wg0\n    nodes:\n{nodes}"
        )

    def seen(self) -> dict[str, int]:
        """Packets that have crossed the underlay: VXLAN in the clear, and WireGuard."""
        listed = json.loads(self.made.switch.out("nft", "-j", "list", "counters"))["nftables"]
        return {one["counter"]["name"]: one["counter"]["packets"] for one in listed if "counter" in one}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with cluster() as made:
        made.switch.run("nft", "-f", "-", input=WATCH)
        publics = []
        for node in made.nodes:
            status, said = snf_network(node, "net", "key", "--json")
            assert status == 0, said
            publics.append(json.loads(said.partition("\n")[2])["public"])
        found = Site(made, publics, [])
        made.say(found.file())
        for number, node in enumerate(made.nodes, 1):
            status, said = snf_network(node, "net", "up")
            assert status == 0, said
            address = (f"10.1.0.{number}/24", f"fd01::{number}/64")
            found.guests.append(made.lab.guest(node, "tap0", f"aa:00:00:00:01:0{number}", *address))
            node.ip("link set tap0 master ov100 up")
        yield found


@pytest.fixture(autouse=True)
def as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test finds all nodes whole, and leaves them so; nothing of it is on the underlay in the clear."""
    yield
    if "site" in request.fixturenames:
        site: Site = request.getfixturevalue("site")
        site.made.say(site.file())
        for node in site.made.nodes:
            if snf_network(node, "net", "check") != CLEAN:
                assert snf_network(node, "net", "up")[0] == 0
                assert snf_network(node, "net", "check") == CLEAN


def reaches(one: Machine, number: int, seconds: float = FOLLOWED) -> bool:
    return bool(until(lambda: one.ping(f"10.1.0.{number}", wait=0.5), seconds))


def failures(node: Machine, *words: str) -> list[str]:
    """What `snf-network net` could not do."""
    status, said = snf_network(node, "net", *words, "--json")
    found = json.loads(said)["failed"]
    assert status == bool(found)
    return [f"{one['network']}: {one['what']}" for one in found]


def peers(node: Machine) -> dict[str, list[str]]:
    """What wg(8) says of each peer, by public key: PSK, endpoint, allowed IPs, handshake, RX, TX, keepalive."""
    rows = [line.split("\t") for line in node.out("wg", "show", "wg0", "dump").splitlines()[1:]]
    return {row[0]: row[1:] for row in rows}


# --- the key


def test_a_key_is_made_once_and_told_to_nobody() -> None:
    with closing(Machine("node1")) as node:
        status, said = snf_network(node, "net", "key")
        private = node.out("cat", KEY).strip()
        public = node.run("wg", "pubkey", input=private).stdout.strip()
        told, line = said.splitlines()
        assert status == 0 and told == f"{KEY}: made" and private not in said
        assert line.endswith(f'{{address: "ADDRESS", public: "{public}"}}')
        assert node.out("stat", "-c", "%a %h %F", KEY) == "600 1 regular file\n"
        assert node.out("ls", "-A", "/etc/snf-network") == "wireguard.key\n"
        status, again = snf_network(node, "net", "key")
        assert (status, again) == (0, f"{KEY}: is there already, and stays\n{line}\n")
        assert node.out("cat", KEY).strip() == private
        for bad, why in (("chmod 644", "can read"), ("truncate -s 20", "has no private key"), ("rm", "")):
            node.run("sh", "-c", f"cp -p {KEY} /etc/kept; {bad} {KEY}")
            if bad == "rm":
                node.run("ln", "-s", "/nowhere", KEY)
            status, said = snf_network(node, "net", "key")
            assert status == 1 and why in said and private[:20] not in said and "made" not in said, said
            node.run("mv", "/etc/kept", KEY)


def test_no_word_of_ours_has_the_private_key(site: Site) -> None:
    node = site.made.nodes[0]
    private = node.out("cat", KEY).strip()
    said = "".join(snf_network(node, "net", *words)[1] for words in (("list",), ("plan",), ("check",)))
    node.ip("link del wg0")
    said += snf_network(node, "net", "plan")[1] + snf_network(node, "net", "check", "--json")[1]
    assert f"wg set wg0 listen-port 51820 private-key {KEY}" in said and private not in said
    assert snf_network(node, "net", "up")[0] == 0
    ran = node.run("grep", "-rlF", private, "/etc", "/var/lib/snf-network", "/var/log/ganeti", check=False)
    assert ran.stdout.split() == [KEY]


# --- what crosses


def test_guests_talk_and_nothing_is_in_the_clear(site: Site) -> None:
    one, node = site.guests[0], site.made.nodes[0]
    before = site.seen()
    assert reaches(one, 2) and reaches(one, 3) and one.ping("fd01::2")
    for size, how in ((1342, "do"), (1472, "dont"), (4000, "dont")):
        words = ("ping", "-n", "-c", 2, "-i", 0.2, "-W", 2, "-s", size, "-M", how, "10.1.0.2")
        assert one.run(*words, check=False).returncode == 0, size
    after = site.seen()
    assert after["clear"] == before["clear"] == 0 and after["tunnel"] > before["tunnel"] + 15
    assert json.loads(node.out("ip", "-j", "link", "show", "wg0"))[0]["mtu"] == 1420
    assert snf_network(node, "net", "up") == (0, "") and snf_network(node, "net", "plan") == (0, "")
    assert snf_network(node, "check") == CLEAN


def vxlan(machine: Machine, source: str, target: str) -> None:
    """A broadcast of the guest 2 in VXLAN, from this address."""
    frame = f.ethernet(
        "aa:00:00:00:01:02", f.BROADCAST, f.arp(1, "aa:00:00:00:01:02", "10.1.0.99", "10.1.0.1")
    )
    with machine.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outer:
        outer.bind((source, 0))
        outer.sendto(bytes((8, 0, 0, 0)) + (100).to_bytes(3, "big") + b"\0" + frame, (target, 4789))


def heard(site: Site, sender: Machine, source: str) -> bool:
    """True if the guest on node1 hears what is sent to it."""
    ear = Ear(site.guests[0], "eth0")
    with closing(ear.socket):
        vxlan(sender, source, "10.97.0.1")
        return any(f.octets("10.1.0.99") in frame for _, frame in ear.frames(0.5))


def test_a_forged_inner_source_is_dropped(site: Site) -> None:
    """From another node, through the tunnel; and from the underlay, around it."""
    node, other, outsider = site.made.nodes[0], site.made.nodes[2], site.made.outsider
    assert reaches(site.guests[0], 3)
    other.ip("addr add 10.97.0.2/32 dev lo")
    outsider.ip("addr add 10.97.0.2/32 dev lo", "route add 10.97.0.1/32 via 10.99.0.1")
    for name in ("all", "eth0"):
        node.sysctl(f"net/ipv4/conf/{name}/rp_filter", 0)
    try:
        assert heard(site, other, "10.97.0.3"), "what is not forged is heard"
        assert not heard(site, other, "10.97.0.2")
        assert not heard(site, outsider, "10.97.0.2")
        assert "vxlan" in snf_network(node, "drops")[1]
        node.run("nft", "add", "element", "inet", "snf_network", "vtep_self", "{ 10.97.0.1 }")
        assert heard(site, outsider, "10.97.0.2"), "without the name of the device it would be"
        node.run("nft", "delete", "element", "inet", "snf_network", "vtep_self", "{ 10.97.0.1 }")
    finally:
        other.ip("addr del 10.97.0.2/32 dev lo")
        outsider.ip("addr del 10.97.0.2/32 dev lo", "route del 10.97.0.1/32")


def test_without_the_tunnel_nothing_goes_in_the_clear(site: Site) -> None:
    """Down, or gone: the node's default route would take the packets."""
    node, one = site.made.nodes[0], site.guests[0]
    node.ip("route add default via 10.99.0.66")
    before = site.seen()["clear"]
    try:
        for bad in ("link set wg0 down", "link del wg0"):
            node.ip(bad)
            assert not one.ping("10.1.0.2", wait=0.5) and not one.ping("10.1.0.9", wait=0.5)
            assert site.seen()["clear"] == before
            status, said = snf_network(node, "net", "check")
            assert status == 1 and "wan: missing: ip route replace 10.97.0.2/32 dev wg0 table 254" in said
            assert snf_network(node, "repair")[0] == 0 and reaches(one, 2)
        node.ip("link set wg0 down", "route del unreachable 10.97.0.2/32 metric 4294967295")
        assert not one.ping("10.1.0.2", wait=0.5) and site.seen()["clear"] > before, "it would be seen"
        status, said = snf_network(node, "net", "check")
        assert "wan: missing: ip route replace unreachable 10.97.0.2/32 metric 4294967295 proto 148" in said
        assert failures(node, "down", "wan") == [
            "wan: overlays go through it (take them away first, or all: --all)"
        ]
    finally:
        node.ip("route del default via 10.99.0.66")
        site.made.switch.run("nft", "reset", "counters")


# --- coming and going


def test_a_node_leaves_and_rejoins_by_the_file(site: Site) -> None:
    """It is one peer on each other node. It returns from an address that only the file has told."""
    one, far = site.made.nodes[0], site.made.nodes[2]
    assert reaches(site.guests[0], 3)
    site.made.say(site.file((1, 2)), *site.made.nodes[:2])
    for node in site.made.nodes[:2]:
        status, said = snf_network(node, "net", "plan")
        assert status == 0 and [line for line in said.splitlines() if line.startswith("wg ")] == [
            f"wg set wg0 peer {site.publics[2]} remove"
        ]
        assert snf_network(node, "net", "up")[0] == 0 and snf_network(node, "net", "up") == (0, "")
        assert site.publics[2] not in peers(node) and len(peers(node)) == 1
        assert "10.97.0.3" not in node.out("ip", "route") + node.out("bridge", "fdb", "show")
    assert not site.guests[0].ping("10.1.0.3", wait=0.5) and site.guests[0].ping("10.1.0.2")
    far.ip("addr del 10.99.0.3/24 dev eth0", "addr add 10.99.0.33/24 dev eth0")
    site.made.say(site.file(at={3: "10.99.0.33"}), *site.made.nodes[:2])
    try:
        for node in site.made.nodes[:2]:
            assert snf_network(node, "net", "plan")[1].count("wg set") == 1
            assert snf_network(node, "net", "up")[0] == 0
        began = time.monotonic()
        assert reaches(site.guests[0], 3) and reaches(site.guests[2], 2)
        assert time.monotonic() - began < FOLLOWED
        assert peers(one)[site.publics[2]][1] == "10.99.0.33:51820"
    finally:
        far.ip("addr del 10.99.0.33/24 dev eth0", "addr add 10.99.0.3/24 dev eth0")


def test_a_node_that_is_not_in_the_file_is_told_and_left(site: Site) -> None:
    far = site.made.nodes[2]
    site.made.say(site.file((1, 2)), far)
    why = "node3.example.com is none of the nodes of wan (snf-network net key)"
    assert snf_network(far, "net", "up") == (1, f"snf-network: {why}\n")
    assert len(peers(far)) == 2 and reaches(site.guests[2], 1)


def test_a_node_that_moves_is_followed_and_not_put_back(site: Site) -> None:
    """Its address changes under a session, and nobody is told."""
    one, far = site.made.nodes[0], site.made.nodes[2]
    assert reaches(site.guests[0], 3)
    far.ip("addr del 10.99.0.3/24 dev eth0", "addr add 10.99.0.34/24 dev eth0")
    try:
        began = time.monotonic()
        assert reaches(site.guests[0], 3) and time.monotonic() - began < FOLLOWED
        assert peers(one)[site.publics[2]][1] == "10.99.0.34:51820"
        assert snf_network(one, "net", "check") == CLEAN and snf_network(one, "net", "up") == (0, "")
        assert snf_network(one, "repair")[0] == 0
        assert peers(one)[site.publics[2]][1] == "10.99.0.34:51820"
    finally:
        far.ip("addr del 10.99.0.34/24 dev eth0", "addr add 10.99.0.3/24 dev eth0")
        assert reaches(site.guests[0], 3)


def test_a_node_that_starts_anew_at_another_address_works_at_once(site: Site) -> None:
    one, far = site.made.nodes[0], site.made.nodes[2]
    far.ip("link set tap0 nomaster")
    assert snf_network(far, "net", "down", "--all")[0] == 0
    assert not far.out("ip", "route", "show", "table", "all", "proto", "148") and "wg0" not in far.out(
        "ip", "link"
    )
    far.ip("addr del 10.99.0.3/24 dev eth0", "addr add 10.99.0.35/24 dev eth0")
    far.write("/var/lib/ganeti/ssconf_node_secondary_ips", "node3.example.com 10.99.0.35\n")
    try:
        assert snf_network(far, "net", "up")[0] == 0
        far.ip("link set tap0 master ov100")
        began = time.monotonic()
        assert reaches(site.guests[0], 3) and time.monotonic() - began < FOLLOWED
        assert peers(one)[site.publics[2]][1] == "10.99.0.35:51820"
    finally:
        far.ip("addr del 10.99.0.35/24 dev eth0", "addr add 10.99.0.3/24 dev eth0")
        site.made.tell([1, 2, 3])
        assert reaches(site.guests[0], 3)


# --- what somebody changed


def test_peers_and_keys_are_compared_and_put_back(site: Site) -> None:
    node = site.made.nodes[0]
    second, third = site.publics[1:]
    stranger = node.run("sh", "-c", "wg genkey | wg pubkey").stdout.strip()
    node.run("wg", "set", "wg0", "peer", second, "remove")
    node.run("wg", "set", "wg0", "peer", third, "allowed-ips", "10.97.0.3/32,0.0.0.0/0")
    node.run("wg", "set", "wg0", "listen-port", "7", "peer", stranger, "allowed-ips", "10.97.0.9/32")
    peer = "wg set wg0 peer {} allowed-ips 10.97.0.{}/32 endpoint 10.99.0.{}:51820 persistent-keepalive 10"
    assert snf_network(node, "net", "check") == (
        1,
        f"wan: missing: wg set wg0 listen-port 51820 private-key {KEY}\n"
        f"wan: missing: {peer.format(second, 2, 2)}\n"
        f"wan: missing: {peer.format(third, 3, 3)}\n"
        f"wan: left over: wg set wg0 peer {stranger} remove\n",
    )
    assert snf_network(node, "repair")[0] == 0 and snf_network(node, "net", "check") == CLEAN
    assert set(peers(node)) == {second, third} and reaches(site.guests[0], 2)


def test_the_endpoint_of_a_peer_that_is_not_heard_is_put_back(site: Site) -> None:
    """And that of the file goes before another that the peer was said to have, but not before its own."""
    node, silent = site.made.nodes[0], Member("node4", "10.97.0.4", "", "10.99.0.4:51820")
    public = node.run("sh", "-c", "wg genkey | wg pubkey").stdout.strip()
    more = f'      {silent.name}: {{address: {silent.address}, public: "{public}", endpoint: "{silent.endpoint}"}}\n'
    site.made.say(site.file() + more, node)
    assert snf_network(node, "net", "up")[0] == 0 and peers(node)[public][1] == "10.99.0.4:51820"
    node.run("wg", "set", "wg0", "peer", public, "endpoint", "10.99.0.99:7")
    status, said = snf_network(node, "net", "check")
    assert status == 1 and f"wan: missing: wg set wg0 peer {public} " in said and len(said.splitlines()) == 1
    assert snf_network(node, "repair")[0] == 0 and peers(node)[public][1] == "10.99.0.4:51820"
    site.made.say(site.file() + more.replace("10.99.0.4:", "10.99.0.44:"), node)
    assert snf_network(node, "net", "up")[0] == 0 and peers(node)[public][1] == "10.99.0.44:51820"


def test_a_missing_key_and_a_wrong_one(site: Site) -> None:
    node = site.made.nodes[0]
    line = f"wg set wg0 listen-port 51820 private-key {KEY}"
    node.run("mv", KEY, "/etc/kept")
    try:
        assert snf_network(node, "net", "check") == (1, f"wan: missing: {line}\n")
        (said,) = failures(node, "up")
        assert said.startswith(f"wan: {line}: {KEY}: No such file or directory")
        assert reaches(site.guests[0], 2)
        assert snf_network(node, "net", "key")[0] == 0, "another one"
        node.ip("link del wg0")
        (said,) = failures(node, "up")
        other = node.out("wg", "show", "wg0", "public-key").strip()
        assert said.endswith(
            f"its public key is {other}, and networks.yaml has {site.publics[0]} for this node"
        )
        node.ip("link del wg0")
        node.run("rm", KEY)
        assert failures(node, "up") == [f"wan: {KEY} is not there (snf-network net key makes it)"]
        assert "wg0" not in node.out("ip", "link")
    finally:
        node.run("mv", "/etc/kept", KEY)


# --- what `net plan` prints is what runs


TUNNEL = WireGuard(
    "wan",
    "wg0",
    (
        Member("a", "10.97.0.1", "", ""),
        Member("b", "10.97.0.2", "bBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789+/aBcDE=", "192.0.2.2:51820"),
        Member("c", "fd97::3", "cBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789+/aBcDE=", "[2001:db8::3]:7"),
        Member("d", "10.97.0.4", "dBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789+/aBcDE="),
    ),
    mtu=1420,
    me="a",
)


def by_lines(machine: Machine, some: list[Resource], add: bool) -> None:
    for one in some:
        if words := one.add() if add else one.delete():
            machine.run(*one.tool.split(), *words.split())


def by_messages(machine: Machine, some: list[Resource], add: bool) -> list[str]:
    said = []
    with machine.entered():
        for one in some:
            if add or one.delete():
                send = wireguard.send if one.door == "wireguard" else kernel.rtnetlink
                said += send([one], add)
    return said


def state(machine: Machine) -> list[str]:
    """All that wg(8) and ip(8) tell of it."""
    return [
        machine.out("wg", "showconf", "wg0"),
        *(
            machine.out("ip", family, "route", "show", "table", "all", "proto", "148")
            for family in ("-4", "-6")
        ),
        machine.out("ip", "-o", "addr", "show", "dev", "wg0"),
        machine.out("ip", "-d", "link", "show", "dev", "wg0"),
    ]


def test_a_message_does_what_its_line_does() -> None:
    with closing(Machine("theirs")) as theirs, closing(Machine("ours")) as ours:
        assert snf_network(ours, "net", "key")[0] == 0
        theirs.run("mkdir", "/etc/snf-network")
        theirs.write(KEY, ours.out("cat", KEY))
        public = ours.run("wg", "pubkey", input=ours.out("cat", KEY)).stdout.strip()
        some = [
            TunnelKey(one.interface, one.port, one.path, public) if isinstance(one, TunnelKey) else one
            for one in resources(TUNNEL)
        ]
        kinds = {Unreachable, Device, TunnelKey, TunnelPeer, HostAddress, Link, Route}
        assert {type(one) for one in some} == kinds
        by_lines(theirs, some, True)
        for _ in range(2):
            assert not any(by_messages(ours, some, True))
            assert state(ours) == state(theirs)
        assert "Endpoint = [2001:db8::3]:7" in state(ours)[0]
        moved = [one for one in some if isinstance(one, TunnelPeer)][:1]
        changed: list[Resource] = [TunnelPeer("wg0", moved[0].public, "10.97.0.7/32", "5", "192.0.2.7:7")]
        by_lines(theirs, changed, True)
        assert not any(by_messages(ours, changed, True)) and state(ours) == state(theirs)
        doomed = [one for one in reversed(some) if not isinstance(one, (Device, Link))]
        by_lines(theirs, doomed, False)
        assert not any(by_messages(ours, doomed, False)) and state(ours) == state(theirs)
        assert not any(by_messages(ours, doomed, False)), "a second time it is no error"
        assert state(ours)[1:3] == ["", ""] and "[Peer]" not in state(ours)[0]
