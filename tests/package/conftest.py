"""Nodes that the package is installed on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Lab
from tests.package.node import Node


@pytest.fixture(scope="session", autouse=True)
def root() -> None:
    assert os.geteuid() == 0, "packages are installed as root: sudo tests/run"


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


@pytest.fixture
def bare(lab: Lab) -> Node:
    """A node that packages can be installed on."""
    return Node(lab)


@pytest.fixture
def node(bare: Node, debs: list[Path]) -> Node:
    """A node with the package."""
    bare.dpkg("-i", *debs)
    return bare
