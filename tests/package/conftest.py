"""Nodes that the package is installed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import Lab
from tests.package.node import Node


@pytest.fixture
def bare(lab: Lab) -> Node:
    """A node that packages can be installed on."""
    return Node(lab)


@pytest.fixture
def node(bare: Node, debs: list[Path]) -> Node:
    """A node with the package."""
    bare.dpkg("-i", *debs)
    return bare
