"""Unit tests, those directly in tests/, start no process: what needs one belongs in tests/netns/, or says so
with a marker.

And the package, built once for all that install it.
"""

from __future__ import annotations

import os
import posix
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.package import build

HERE = Path(__file__).resolve().parent
STARTERS = (
    (os, "fork"),
    (os, "posix_spawn"),
    (os, "posix_spawnp"),
    (os, "system"),
    (posix, "fork"),
    (posix, "posix_spawn"),
    (posix, "posix_spawnp"),
    (posix, "system"),
    (subprocess, "Popen"),
    (subprocess, "_fork_exec"),
)

# the same examples at each run; `pytest --hypothesis-profile=search` looks for new ones
COMMON = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, max_examples=100, **COMMON)
settings.register_profile("search", max_examples=5000, **COMMON)
settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--dns-seeds", default="200", help="tests/dns/test_model.py: how many, or FIRST:LAST")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "processes: a unit test that starts a process, and says in its docstring why"
    )
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored, and so by all children, in a job that a shell runs with `&`


@pytest.fixture(scope="session")
def built() -> Path:
    """The directory with the package, and what was made with it."""
    return build.built()


@pytest.fixture(scope="session")
def deb() -> Path:
    """The binary package."""
    return build.deb()


@pytest.fixture(autouse=True)
def no_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forbid processes, except to tests in folders of their own and to those marked `processes`."""
    if request.path.parent != HERE or request.node.get_closest_marker("processes"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for module, name in STARTERS:
            patch.setattr(module, name, _forbidden(name))
        yield


def _forbidden(name: str) -> object:
    def start(*arguments: object, **named: object) -> None:
        raise AssertionError(
            f"a unit test called {name}{arguments}: put it in tests/netns/, or mark it `processes`"
        )

    return start
