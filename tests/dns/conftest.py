"""Fixtures of the tests with a real name server: one server per module, and a fresh zone per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dns.lab import FORWARD, REVERSE4, NameServer, Place, configure
from tests.dns.sending import Node
from tests.netns.lab import Lab


@pytest.fixture(scope="module")
def place(root: None) -> Iterator[Place]:
    """A node and a running name server."""
    lab = Lab()
    node = lab.node("node1", lab.router())
    server = NameServer(lab, node)
    try:
        yield Place(lab, node, server)
    finally:
        server.stop()
        lab.close()


@pytest.fixture
def fresh(place: Place) -> Iterator[Place]:
    """The same, with empty zones and nothing noted on the node."""
    place.clean()
    configure(place.node)
    place.server.start()
    yield place
    place.settle()


@pytest.fixture
def node(fresh: Place, tmp_path: Path) -> Node:
    """A sender on that node, and names of others in the zones."""
    fresh.server.add(f"zone {FORWARD}", "update add www.example.com 60 A 192.0.2.80")
    fresh.server.add(f"zone {REVERSE4}", f"update add 250.{REVERSE4} 60 PTR printer.example.com.")
    return Node(fresh, tmp_path)
