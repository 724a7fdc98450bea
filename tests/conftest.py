"""Fixtures for all tests: root, the machines of one test, and the package, which is built once for all tests
that install it.

Unit tests (directly in tests/) start no process. A test that needs one belongs in tests/netns/, or has a
marker that says so.
"""

from __future__ import annotations

import os
import posix
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, laboratory, package

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:  # `tests/run --quick` says which tests that leaves out
    settings = None

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

pytest_plugins = ("tests.quick",)
if settings:
    # the same examples at each run; `pytest --hypothesis-profile=search` looks for new ones
    COMMON = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("same", derandomize=True, max_examples=100, **COMMON)
    settings.register_profile("search", max_examples=5000, **COMMON)
    settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--debian",
        default="",
        help="release that tests/ganeti runs: bookworm, trixie (default: this machine's)",
    )
    parser.addoption("--dns-seeds", default="200", help="tests/dns/test_model.py: how many, or FIRST:LAST")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "processes: a unit test that starts a process, and says in its docstring why"
    )
    config.addinivalue_line("markers", "quiet: measures time, and must not run beside other tests")
    os.umask(0o022)  # that of the caller may be 077, and packages are made of files that everybody may read
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored, and so by all children, in a job that a shell runs with `&`


@pytest.fixture(scope="session")
def root() -> None:
    """What needs namespaces, or what tests/run installs, needs root."""
    assert os.geteuid() == 0, "namespaces need root: sudo tests/run; without root: tests/run --quick"


@pytest.fixture
def lab(root: None) -> Iterator[Lab]:
    """The machines of one test, which end with it."""
    with laboratory() as made:
        yield made


@pytest.fixture(scope="session")
def built(root: None) -> Path:
    """The directory with the package, and what was made with it."""
    return package.built()


@pytest.fixture(scope="session")
def debs(built: Path) -> list[Path]:
    """The binary packages, in an order that dpkg can install them in."""
    return package.debs()


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
