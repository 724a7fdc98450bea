"""One cluster for all tests, and an instance on its second node that others talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ganeti.cluster import Cluster, cluster
from lab.ganeti.instance import Instance, private, public


@pytest.fixture(scope="session", name="cluster")
def _cluster(root: None, request: pytest.FixtureRequest, debs: list[Path]) -> Iterator[Cluster]:
    with cluster(debs, request.config.getoption("debian")) as made:
        yield made


@pytest.fixture(scope="session")
def peer(cluster: Cluster) -> Instance:
    """It has a NIC in either network, and stays where it is."""
    made = Instance(cluster, "peer", public(50), private(50))
    made.add("node2")
    made.awake()
    return made
