"""Servers that lie or fail; names and files that should not exist; two nodes with one name. BIND is real."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from snf_network.dns import registry, report, send
from snf_network.dns.registry import Registry
from snf_network.dns.sender import Sender
from snf_network.errors import KernelError
from snf_network.model.names import Names
from tests.dns.lab import ADDRESS, FORWARD, REVERSE4, Place, registered
from tests.dns.proxy import PORT, Honest, Manner, Proxy, honest
from tests.dns.sending import Node
from tests.netns.lab import ROOT, environment

VIA = f"servers: '{ADDRESS}:{PORT}'"
ENV = environment("add-routed-ifup-1")
INST1 = ("inst1", "10", "a800:ff:fead:35c9")
UPDATE = 5  # opcode, RFC 2136


def says(rcode: int, only: int = -1) -> Manner:
    """A server that refuses all, or one opcode; its errors are unsigned, as BIND's are."""

    def manner(message: bytes, ask: Honest) -> Iterable[bytes]:
        if only not in (-1, message[2] >> 3 & 15):
            return [ask(message)]
        return [message[:2] + bytes((message[2] | 0x80, rcode)) + bytes(8)]

    return manner


def truncated(message: bytes, ask: Honest) -> Iterable[bytes]:
    return [message[:2] + bytes((message[2] | 0x82, 0)) + bytes(8)]


def garbage(message: bytes, _: Honest) -> Iterable[bytes]:
    return [os.urandom(random.randrange(1, 400)), message[:2] + os.urandom(100), message, b"", message[:2]]


def broken(message: bytes, ask: Honest) -> Iterable[bytes]:
    """BIND's answer with some bytes changed, again and again."""
    answer, chance = ask(message), random.Random(message)
    for _ in range(20):
        wire = bytearray(answer)
        for _ in range(chance.randrange(1, 5)):
            wire[chance.randrange(2, len(wire))] = chance.randrange(256)
        yield bytes(wire[: chance.randrange(2, len(wire) + 1)])


def flood(message: bytes, _: Honest) -> Iterable[bytes]:
    until = time.monotonic() + 3
    while time.monotonic() < until:
        yield message


def trickle(message: bytes, ask: Honest) -> Iterable[bytes]:
    for _ in range(100):
        yield b""
        time.sleep(0.05)


def registers(node: Node) -> None:
    node.up("inst1.example.com", "a", "198.51.100.10")
    node.up("inst2.example.com", "a", "198.51.100.20")


def untouched(node: Node) -> bool:
    return node.zones() == {
        FORWARD: {"www": {"A 192.0.2.80"}},
        REVERSE4: {"250": {"PTR printer.example.com."}},
    }


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("manner", "over_tcp", "state"),
    [
        (says(1), honest, "waiting"),
        (says(2), honest, "waiting"),
        (says(4), honest, "waiting"),
        (says(5), honest, "parked"),
        (says(2, UPDATE), honest, "waiting"),
        (says(4, UPDATE), honest, "parked"),
        (says(5, UPDATE), honest, "parked"),
        (says(1, UPDATE), honest, "parked"),
        (garbage, honest, "waiting"),
        (broken, honest, ""),
        (flood, honest, "waiting"),
        (truncated, garbage, "waiting"),
        (truncated, truncated, "waiting"),
        (truncated, says(2), "waiting"),
        (truncated, trickle, "waiting"),
    ],
)
def test_whatever_a_server_says_nothing_of_others_changes_and_all_is_well_afterwards(
    node: Node, tmp_path: Path, manner: Manner, over_tcp: Manner, state: str, signed: bool
) -> None:
    node = Node(node.place, tmp_path, VIA, *([] if signed else ["authentication: plain"]))
    registers(node)
    began = time.monotonic()
    with Proxy(node.place.server, manner, over_tcp):
        node.send()
    assert time.monotonic() - began < 10
    found = {trouble.state for known in Registry(str(tmp_path)) for trouble in known.troubles.values()}
    if state:
        assert found == {state} and untouched(node), node.said
    node = Node(node.place, tmp_path)
    node.now += registry.LONGEST
    registers(node)
    node.send()
    assert node.zones() == node.expected()


@pytest.mark.parametrize("signed", [True, False])
def test_a_server_that_truncates_is_asked_over_tcp(node: Node, tmp_path: Path, signed: bool) -> None:
    node = Node(node.place, tmp_path, VIA, *([] if signed else ["authentication: plain"]))
    if not signed:
        node.place.server.open()
    registers(node)
    with Proxy(node.place.server, truncated):
        node.send()
    assert node.zones() == node.expected()


def test_the_second_server_is_told_if_the_first_fails(node: Node, tmp_path: Path) -> None:
    node = Node(node.place, tmp_path, f"servers: ['{ADDRESS}:{PORT}', {ADDRESS}]")
    registers(node)
    with Proxy(node.place.server, says(2)):
        node.send()
    assert node.zones() == node.expected()


# --- two nodes at one name


def second(node: Node, directory: Path) -> Node:
    """Another node of the cluster, on the same server."""
    directory.mkdir()
    other = Node(node.place, directory)
    other.model = node.model
    return other


def at_once(monkeypatch: pytest.MonkeyPatch, method: str, meanwhile: Callable[[], None]) -> None:
    """Do something right before the next call of a method of Server."""
    original: Any = getattr(send.Server, method)

    def call(*arguments: Any) -> Any:
        monkeypatch.setattr(send.Server, method, original)
        meanwhile()
        return original(*arguments)

    monkeypatch.setattr(send.Server, method, call)


@pytest.mark.parametrize("address", ["198.51.100.10", "198.51.100.11"])
@pytest.mark.parametrize("noted", [False, True])
def test_two_nodes_that_send_for_one_instance_at_once_end_with_what_the_last_one_wants(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, noted: bool
) -> None:
    """A guest is modified and migrated while the server was down: both nodes send when it is back."""
    target = second(node, tmp_path / "target")
    if noted:  # registered before
        node.up("inst1.example.com", "a", "198.51.100.9")
        node.send()
    node.up("inst1.example.com", "a", "198.51.100.10")
    target.up("inst1.example.com", "a", address)
    at_once(monkeypatch, "update", node.send)
    target.send(registry.LONGEST)
    node.spool.leave("inst1.example.com")  # snf-network-hook of the migration
    node.send()
    target.now += registry.LONGEST
    target.send()
    found = {
        trouble.state for known in Registry(str(target.directory)) for trouble in known.troubles.values()
    }
    assert "parked" not in found, target.said
    zones = target.zones()
    assert f"A {address}" in zones[FORWARD]["inst1"] and zones[REVERSE4][address.rpartition(".")[2]] == {
        "PTR inst1.example.com."
    }
    target.stop("inst1.example.com")
    target.send()
    left = {name: records for name, records in target.zones()[REVERSE4].items() if name != "250"}
    assert target.zones()[FORWARD] == {"www": {"A 192.0.2.80"}}
    assert left == {}


def test_a_target_that_registers_while_the_source_takes_back_wins(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = second(node, tmp_path / "target")
    node.up("inst1.example.com", "a", "198.51.100.10")
    node.send()
    node.stop("inst1.example.com")
    target.up("inst1.example.com", "a", "198.51.100.10")
    at_once(monkeypatch, "update", lambda: target.send())
    node.send()
    target.spool.up(Names("inst1.example.com", "a", "pub1", ("198.51.100.10",)))
    target.send()
    assert target.zones() == target.expected()


# --- names and files


HOSTILE = (
    "*",
    "*.example.com",
    "a..b",
    "b\u00fccher",
    "a b",
    "a\\.b",
    'a"b',
    "a'b",
    "a;b",
    "$(id)",
    "a\tb",
    "a\nend",
    "x" * 64,
    "x." * 121 + "x",
    ".".join(["x" * 60] * 4),
    "-a",
    "a-",
    "_acme-challenge",
    "@",
    "a_b",
    "example.com",
    "..",
)
GOOD = ("xn--bcher-kva", "xn--a", "1", "localhost", "x" * 63, "a.b.c")


def test_hostile_instance_names_become_names_or_reasons(node: Node) -> None:
    """Whatever got into the spool: scripts and hooks refuse most of these before."""
    for number, name in enumerate((*GOOD, *HOSTILE)):
        try:
            node.spool.up(Names(name, "a", "pub1", (f"198.51.100.{number + 1}",)))
        except KernelError as error:
            assert name == ".." and "\n" not in str(error)
    node.model = {
        f"{name}.example.com": {"a": f"198.51.100.{number + 1}"} for number, name in enumerate(GOOD)
    }
    node.send()
    expected = node.expected()
    expected[FORWARD] = {
        **{name: {f"A 198.51.100.{number + 1}"} for number, name in enumerate(GOOD)},
        "www": {"A 192.0.2.80"},
    }
    assert node.zones() == expected
    sender = node.sender()
    listed = report.names(sender)
    bad = [row for row in listed if row["state"] != "registered"]
    assert len(bad) == len(HOSTILE) - 1 and {row["state"] for row in bad} == {"parked", "unreadable"}
    assert all(row["reason"] and f"{row['name']}{row['reason']}".isprintable() for row in bad)
    assert all(line.isprintable() for line in node.said)


def test_files_that_nobody_should_have_made_hinder_no_other_name(node: Node, tmp_path: Path) -> None:
    node.up("inst1.example.com", "a", "198.51.100.10")
    wanted, known = tmp_path / "dns/wanted", tmp_path / "dns/known"
    known.mkdir()
    text = (wanted / "inst1.example.com").read_text()
    (tmp_path / "secret").write_text(text.replace("inst1", "link"))
    for directory in (wanted, known):
        (directory / "link.example.com").symlink_to(tmp_path / "secret")
        (directory / "loop").symlink_to(directory / "loop")
        (directory / "directory").mkdir()
        os.mkfifo(directory / "fifo")
        os.truncate(os.open(directory / "huge", os.O_CREAT | os.O_WRONLY), 1 << 40)
        (directory / "empty").touch()
        (directory / "random").write_bytes(os.urandom(5000))
        (directory / "nul").write_bytes(bytes(5000))
        (directory / "inst1.example.com.bak").write_text(text)
        (directory / "cut").write_text(text.replace("inst1.example.com", "cut")[:-5])
        (directory / "address").write_text(
            text.replace("inst1.example.com", "address").replace("198.51.100.10", "198.51.100")
        )
    (known / "inst1.example.com").write_text("tried\tx\nrecord\t..\tA\tx\nrecord\ta\tB\t\\\nend\n")
    node.send()
    assert node.zones() == node.expected()
    assert [row["state"] for row in report.unreadable(node.sender())] == 10 * ["unreadable"], (
        "a link to itself is no file"
    )
    assert (tmp_path / "secret").read_text() == text.replace("inst1", "link")
    node.stop("inst1.example.com")
    node.send()
    assert untouched(node)


@pytest.mark.parametrize("jump", [-10 * 365 * 86400.0, -3600.0, 3600.0, 10 * 365 * 86400.0])
def test_a_clock_that_jumps_delays_nothing_by_more_than_ten_minutes(node: Node, jump: float) -> None:
    node.place.server.stop()
    registers(node)
    for _ in range(15):
        node.send()
        node.now = node.sender().due()
    node.now += jump
    node.place.server.start()
    assert node.sender().due() <= node.now + registry.LONGEST
    node.now = max(node.now, node.sender().due())
    node.send()
    assert node.zones() == node.expected()


def test_a_clock_that_is_put_back_while_the_sender_waits_does_not_keep_it(node: Node) -> None:
    node.place.server.stop()
    registers(node)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        node.now += seconds - (86400.0 if len(pauses) == 1 else 0)
        assert len(pauses) < 60

    with node.place.node.inside():
        Sender(node.config, node.settings, node.said.append, node.clock, pause).run()
    node.place.server.start()


def test_a_full_disk_of_128_kilobytes_under_the_scripts(fresh: Place) -> None:
    """What is there can still be said otherwise; what cannot be noted is one line, and the hook ends well."""
    fresh.up(ENV)
    assert fresh.content() == registered(INST1)
    fresh.node.run(
        "sh",
        "-ec",
        "cd /var/lib; cp -a snf-network kept; mount -t tmpfs -o size=128k small snf-network"
        "; cp -a kept/. snf-network; rm -r kept; dd if=/dev/zero of=snf-network/filler bs=4k || :",
    )
    fresh.hook(
        "stop-hook-post-1",
        GANETI_INSTANCE_NAME="new.example.com",
        GANETI_POST_INSTANCE_NAME="new.example.com",
    )
    assert "No space left on device (its names in DNS stay as they are)" in fresh.log()
    fresh.hook(
        "modify-nohotplug-hook-post-1",
        GANETI_POST_INSTANCE_NIC0_IP="198.51.100.77",
        GANETI_POST_INSTANCE_NIC_COUNT="0",
    )
    assert "OP_INSTANCE_SET_PARAMS: names of inst1.example.com noted" in fresh.log()
    fresh.node.run("rm", "/var/lib/snf-network/filler")
    fresh.node.run(ROOT / "scripts" / "snf-network-dnssend")
    assert fresh.content() == {}
    fresh.node.run("umount", "-l", "/var/lib/snf-network")
