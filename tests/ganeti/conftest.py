"""One cluster for all tests, and an instance on its second node that others talk to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganeti.cluster import Cluster, cluster
from tests.ganeti.instance import Instance, private, public


@pytest.fixture(scope="session", name="cluster")
def _cluster(debs: list[Path]) -> Iterator[Cluster]:
    assert os.geteuid() == 0, "nodes are made of namespaces: sudo tests/run"
    with cluster(debs) as made:
        yield made


@pytest.fixture(scope="session")
def peer(cluster: Cluster) -> Instance:
    """It has a NIC in either network, and stays where it is."""
    made = Instance(cluster, "peer", public(50), private(50))
    made.add("node2")
    made.awake()
    return made
