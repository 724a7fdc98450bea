"""What docs/dns.md promises for each failure of a name server, and for names and addresses that change hands.
BIND is real.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from snf_network.dns import registry
from snf_network.dns.spool import Spool
from snf_network.model.names import Names
from tests.dns.lab import ADDRESS, FORWARD, REVERSE4, Place, call, registered
from tests.dns.proxy import PORT, Honest, Manner, Proxy
from tests.dns.sending import Node
from tests.netns.lab import ROOT, environment, until

VIA = f"servers: '{ADDRESS}:{PORT}'"
ENV = environment("add-routed-ifup-1")
INST1 = ("inst1", "10", "a800:ff:fead:35c9")
NOTAUTH, SERVFAIL = 9, 2


def fails(message: bytes, rcode: int) -> bytes:
    return message[:2] + bytes((message[2] | 0x80, rcode)) + bytes(8)


def without_clock(message: bytes, ask: Honest) -> Iterable[bytes]:
    """As PowerDNS and Knot answer a signature that is too old: NOTAUTH, without a signature."""
    return [fails(message, NOTAUTH)]


def zone_fails(label: bytes) -> Manner:
    def manner(message: bytes, ask: Honest) -> Iterable[bytes]:
        return [fails(message, SERVFAIL)] if label in message else [ask(message)]

    return manner


def troubles(node: Node) -> dict[str, tuple[str, str]]:
    return {
        name: (trouble.state, trouble.reason)
        for known in node.sender().registry
        for name, trouble in known.troubles.items()
    }


@pytest.fixture
def nodes(fresh: Place, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Two nodes on one server."""
    yield Node(fresh, tmp_path / "node1"), Node(fresh, tmp_path / "node2")


def up(node: Node, instance: str, octet: int, nic: str = "a") -> None:
    node.spool.up(Names(f"{instance}.{FORWARD}", nic, "pub1", (f"198.51.100.{octet}",)))


def zones(place: Place) -> dict[str, dict[str, set[str]]]:
    return {zone: names for zone in (FORWARD, REVERSE4) if (names := place.server.names(zone))}


def both(*guests: tuple[str, int]) -> dict[str, dict[str, set[str]]]:
    if not guests:
        return {}
    return {
        FORWARD: {name: {f"A 198.51.100.{octet}"} for name, octet in guests},
        REVERSE4: {str(octet): {f"PTR {name}.{FORWARD}."} for name, octet in guests},
    }


# --- hands


def test_an_address_changes_hands_while_the_reverse_zone_fails(node: Node, tmp_path: Path) -> None:
    """The new owner is tried first; the old one must neither remember nor delete its PTR."""
    node = Node(node.place, tmp_path, VIA)
    node.up("inst1.example.com", "a", "198.51.100.10")
    with Proxy(node.place.server, zone_fails(b"\x07in-addr")) as proxy:
        proxy.manner = lambda message, ask: [ask(message)]
        node.send()
        proxy.manner = zone_fails(b"\x07in-addr")
        node.stop("inst1.example.com")
        node.up("inst2.example.com", "a", "198.51.100.10")
        node.send()
        proxy.manner = lambda message, ask: [ask(message)]
        node.up("inst2.example.com", "a", "198.51.100.10")
        node.send()
        assert {
            text for known in node.sender().registry for _, kind, text in known.records if kind == "PTR"
        } <= {"inst1.example.com.", "inst2.example.com."}
        for known in node.sender().registry:
            assert all(text.startswith(known.instance) for _, kind, text in known.records if kind == "PTR")
        node.now += registry.LONGEST
        node.send()
    assert node.zones() == node.expected()


def test_a_late_removal_leaves_the_name_to_the_instance_that_has_it_now(nodes: tuple[Node, Node]) -> None:
    """The server is down; inst1 is removed on node1 and made on node2, with the same address."""
    one, two = nodes
    place = one.place
    up(one, "inst1", 10)
    one.send()
    for address in (10, 11):
        place.server.stop()
        one.now += 1
        two.now = one.now
        one.spool.have("inst1.example.com", ())
        one.send()
        two.now += 5
        up(two, "inst1", address)
        place.server.start()
        two.send()
        one.now += registry.LONGEST
        one.send()
        left = place.server.names(FORWARD)["inst1"]
        assert f"A 198.51.100.{address}" in left and not list(one.spool), one.said
        assert place.server.names(REVERSE4)[str(address)] == {"PTR inst1.example.com."}
    two.now += 1
    two.spool.have("inst1.example.com", ())
    two.send()
    assert zones(place) == {} and place.server.content(FORWARD) == {}


def test_a_removal_that_is_noted_again_for_a_stopped_instance_is_as_late(nodes: tuple[Node, Node]) -> None:
    """Stop is sent; the server goes down; the hook of remove notes it again, on a node that remembers
    nothing.
    """
    one, two = nodes
    up(one, "inst1", 10)
    one.send()
    one.spool.have("inst1.example.com", ())
    one.send()
    one.place.server.stop()
    one.now += 1
    one.spool.have("inst1.example.com", ())
    one.send()
    two.now = one.now + 1
    up(two, "inst1", 10)
    one.place.server.start()
    two.send()
    one.now += registry.LONGEST
    one.send()
    assert zones(one.place) == both(("inst1", 10))


def test_what_was_to_be_taken_back_is_taken_back_after_a_migration(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    place = one.place
    up(one, "inst1", 10)
    one.send()
    place.server.stop()
    one.now += 1
    up(one, "inst1", 11)
    one.send()
    two.now = one.now + 1
    up(two, "inst1", 11)
    one.spool.leave("inst1.example.com", [Names("inst1.example.com", "a", "pub1", ("198.51.100.11",))])
    place.server.start()
    for node in (two, one):
        node.now += registry.LONGEST
        node.send()
    assert zones(place) == both(("inst1", 11))
    assert not list(one.spool) and not list(one.sender().registry)


def test_an_aborted_migration_does_not_keep_the_names_at_stop(nodes: tuple[Node, Node]) -> None:
    """The target's ifup registers; no hook tells it that the guest did not come."""
    one, two = nodes
    up(one, "inst1", 10)
    one.send()
    two.now = one.now + 1
    up(two, "inst1", 10)
    two.send()
    one.now += 2
    one.spool.have("inst1.example.com", ())
    one.send()
    assert zones(one.place) == {}


def test_a_node_with_a_wrong_clock_takes_back_what_it_has_registered_and_nothing_else(
    nodes: tuple[Node, Node],
) -> None:
    one, two = nodes
    right = one.now
    one.now += 3600  # at boot
    up(one, "inst1", 10)
    up(one, "inst2", 20)
    one.now = right
    one.send()
    assert zones(one.place) == both(("inst1", 10), ("inst2", 20))
    one.now += 1
    one.spool.have("inst1.example.com", ())
    one.send()
    assert zones(one.place) == both(("inst2", 20))
    one.now += 3600
    one.spool.have("inst2.example.com", ())
    two.now = right + 2
    up(two, "inst2", 20)
    two.send()
    one.now = right + 3
    one.send()
    assert zones(one.place) == both(("inst2", 20))


MOVE = {
    "GANETI_OP_CODE": "OP_INSTANCE_MOVE",
    "GANETI_TARGET_NODE": "node2.example.com",
    "GANETI_NEW_PRIMARY": None,
    "GANETI_OLD_PRIMARY": None,
}


@pytest.mark.parametrize("changes", [{}, MOVE], ids=["failover", "move"])
def test_the_hook_of_a_node_that_a_guest_has_left(fresh: Place, changes: dict[str, str | None]) -> None:
    """What was not sent from here: the NIC's new address, which is the other node's now, and the old one's
    end.
    """
    fresh.up(ENV)
    assert fresh.content() == registered(INST1)
    fresh.node.write("/etc/snf-network/dns.yaml", "timeout: 0.1\n")
    fresh.server.swallow(True)
    fresh.up(ENV, IP="198.51.100.11")
    fresh.settle()
    fresh.node.ip("link del tap0")
    fresh.taps.clear()
    env = environment("failover-hook-post-1", GANETI_POST_INSTANCE_NIC0_IP="198.51.100.11", **changes)
    call(fresh.node, "node1", "snf-network-hook", env)
    fresh.server.swallow(False)
    fresh.node.run(ROOT / "scripts" / "snf-network", "dns", "flush")
    found = fresh.content()
    expected = registered(INST1)
    expected[FORWARD]["inst1"].discard("A 198.51.100.10")
    del expected[REVERSE4]
    assert found == expected, "the IPv6 address is the other node's to take back"
    assert not list(Spool(fresh.state))


# --- moods


def test_a_server_that_does_not_like_the_clock_is_waited_for(node: Node, tmp_path: Path) -> None:
    node = Node(node.place, tmp_path, VIA)
    node.up("inst1.example.com", "a", "198.51.100.10")
    with Proxy(node.place.server, without_clock) as proxy:
        node.send()
        assert {state for state, _ in troubles(node).values()} == {"waiting"}
        assert all("key or clock" in reason for _, reason in troubles(node).values())
        proxy.manner = lambda message, ask: [ask(message)]
        node.now += registry.LONGEST
        node.send()
    assert node.zones() == node.expected()


@pytest.mark.parametrize("reverse", [True, False])
def test_one_zone_that_fails_holds_up_no_other_and_loses_nothing(
    node: Node, tmp_path: Path, reverse: bool
) -> None:
    node = Node(node.place, tmp_path, VIA)
    node.up("inst1.example.com", "a", "198.51.100.10")
    with Proxy(node.place.server, zone_fails(b"nothing")) as proxy:
        node.send()
        assert node.zones() == node.expected()
        proxy.manner = zone_fails(b"\x07in-addr" if reverse else b"\x07example")
        node.up("inst1.example.com", "b", "198.51.100.11")
        node.send()
        assert node.zones()[REVERSE4]["10"] == {"PTR inst1.example.com."}, "what was there stays"
        assert ("A 198.51.100.11" in node.zones()[FORWARD]["inst1"]) == reverse
        proxy.manner = zone_fails(b"nothing")
        node.now += registry.LONGEST
        node.send()
    assert node.zones() == node.expected() and not troubles(node)


def test_a_zone_that_was_restored_is_made_up_for(node: Node, tmp_path: Path) -> None:
    server = node.place.server
    node.up("inst1.example.com", "a", "198.51.100.10")
    node.send()
    server.stop()
    server.machine.run(
        "sh", "-c", f"rm /var/cache/bind/{FORWARD}.jnl; cp /var/cache/bind/{FORWARD} /tmp/backup"
    )
    server.zone(FORWARD, server.machine.read("/tmp/backup"), server.policy)
    server.start()
    node.up("inst2.example.com", "a", "198.51.100.20")
    node.send()
    node.send()
    server.stop()
    server.machine.run(
        "sh", "-c", f"rm /var/cache/bind/{FORWARD}.jnl; cp /tmp/backup /var/cache/bind/{FORWARD}"
    )
    server.start()
    assert "inst2" not in server.names(FORWARD)
    node.send()
    del node.model["inst1.example.com"]
    assert "inst2" in server.names(FORWARD)
    assert any("older zone" in line for line in node.said)


def test_what_only_the_second_server_has_waits_for_the_first(node: Node, tmp_path: Path) -> None:
    node = Node(node.place, tmp_path, f"servers: ['{ADDRESS}:{PORT}', {ADDRESS}]")
    node.up("inst1.example.com", "a", "198.51.100.10")
    with Proxy(node.place.server, lambda message, ask: [fails(message, SERVFAIL)]) as proxy:
        node.send()
        assert node.zones() == node.expected()
        assert {state for state, _ in troubles(node).values()} == {"waiting"}
        assert all(f"instead of {ADDRESS}" in reason for _, reason in troubles(node).values())
        proxy.manner = lambda message, ask: [ask(message)]
        node.now += registry.LONGEST
        node.send()
    assert not troubles(node) and node.zones() == node.expected()


# --- senders


def test_a_stopped_sender_is_told_and_ended(fresh: Place) -> None:
    fresh.server.swallow(True)
    fresh.node.write("/etc/snf-network/dns.yaml", "timeout: 5\n")
    fresh.up(ENV)
    path = f"{fresh.state}/dns/locks/sender"
    assert until(lambda: Path(path).exists() and Path(path).read_text().strip().isdigit(), 10)
    process = int(Path(path).read_text())
    os.kill(process, signal.SIGSTOP)
    fresh.server.swallow(False)
    fresh.node.write("/etc/snf-network/dns.yaml", "timeout: 0.5\n")
    said = fresh.node.out(ROOT / "scripts" / "snf-network", "dns", "list")
    assert f"process {process}, is stopped" in said
    ran = fresh.node.run(ROOT / "scripts" / "snf-network-dnssend")
    assert ran.returncode == 0 and until(lambda: not Path(f"/proc/{process}/fd/0").exists(), 5)
    assert fresh.content() == registered(INST1)
    assert f"process {process}, was stopped" in fresh.log()


def test_a_sender_that_works_is_told_and_left_alone(fresh: Place) -> None:
    fresh.server.swallow(True)
    fresh.node.write("/etc/snf-network/dns.yaml", "timeout: 3\n")
    fresh.up(ENV)
    assert until(lambda: "is at work" in fresh.node.out(ROOT / "scripts" / "snf-network", "dns", "list"), 8)
    began = time.monotonic()
    fresh.node.run(ROOT / "scripts" / "snf-network-dnssend")
    assert time.monotonic() - began < 3
    fresh.server.swallow(False)
    assert fresh.content() == registered(INST1)
