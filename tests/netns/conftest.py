"""Fixtures of all tests with real packets: the machines of one test, ended with it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.netns.lab import Lab


@pytest.fixture(scope="session", autouse=True)
def root() -> None:
    assert os.geteuid() == 0, "network namespaces need root: sudo tests/run"


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="module", params=(False, True), ids=("bridge-nf 0", "bridge-nf 1"))
def bridge_nf(request: pytest.FixtureRequest) -> bool:
    """Whether iptables sees what bridges forward (bridge-nf-call-*): the kernel then drops some frames itself,
    and takes IP out of the bridge's hooks and brings it back.
    """
    return bool(request.param)
