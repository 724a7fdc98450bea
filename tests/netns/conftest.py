"""Fixtures of all tests with real packets: the machines of one test, ended with it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import Lab, laboratory


@pytest.fixture(scope="session", autouse=True)
def root() -> None:
    assert os.geteuid() == 0, "network namespaces need root: sudo tests/run"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made
