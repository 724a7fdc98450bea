"""Servers that lie, stammer or fail; names and files that nobody should have made; two nodes at one name. BIND is real."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from snf_network.commands.dns import rows
from snf_network.dns import memory, send
from snf_network.dns.memory import Memory
from snf_network.dns.names import Names
from tests.dns.lab import ADDRESS, FORWARD, REVERSE4, Place, forward
from tests.dns.proxy import PORT, Honest, Manner, Proxy, honest
from tests.dns.sending import Node
from tests.netns.lab import ROOT, environment

VIA = f"servers: '{ADDRESS}:{PORT}'"
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
        yield bytes(wire[:chance.randrange(2, len(wire) + 1)])


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
    return node.zones() == {FORWARD: {"www": {"A 192.0.2.80"}}, REVERSE4: {"250": {"PTR printer.example.com."}}}


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("manner", "over_tcp", "state"), [
    (says(1), honest, "waiting"), (says(2), honest, "waiting"), (says(4), honest, "waiting"), (says(5), honest, "parked"),
    (says(2, UPDATE), honest, "waiting"), (says(4, UPDATE), honest, "parked"), (says(5, UPDATE), honest, "parked"),
    (says(1, UPDATE), honest, "parked"), (garbage, honest, "waiting"), (broken, honest, ""), (flood, honest, "waiting"),
    (truncated, garbage, "waiting"), (truncated, truncated, "waiting"), (truncated, says(2), "waiting"), (truncated, trickle, "waiting")])
def test_whatever_a_server_says_nothing_of_others_changes_and_all_is_well_afterwards(
        node: Node, tmp_path: Path, manner: Manner, over_tcp: Manner, state: str, signed: bool) -> None:
    node = Node(node.place, tmp_path, VIA, *([] if signed else ["authentication: plain"]))
    registers(node)
    began = time.monotonic()
    with Proxy(node.place.server, manner, over_tcp):
        node.send()
    assert time.monotonic() - began < 10
    found = {trouble.state for known in Memory(str(tmp_path)) for trouble in known.troubles.values()}
    if state:
        assert found == {state} and untouched(node), node.said
    node = Node(node.place, tmp_path)
    node.now += memory.LONGEST
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
