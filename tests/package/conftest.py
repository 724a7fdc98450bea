"""The package, built once from a copy of the checkout, and nodes that it is installed on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import ROOT, Lab
from tests.package.node import Node

SOURCES = ("README.md", "debian", "docs", "pyproject.toml", "scripts", "setup.py", "snf_network")
LEFTOVERS = shutil.ignore_patterns("*.debhelper", "*.substvars", "snf-network", "files", "debhelper-build-stamp")


@pytest.fixture(scope="session", autouse=True)
def root() -> None:
    assert os.geteuid() == 0, "packages are installed as root: sudo tests/run"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with what `dpkg-buildpackage -us -uc -b` makes."""
    directory = tmp_path_factory.mktemp("package")
    source = directory / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            # scripts/snf-network is no leftover, debian/snf-network is
            shutil.copytree(ROOT / name, source / name, ignore=LEFTOVERS if name == "debian" else shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    ran = subprocess.run(("dpkg-buildpackage", "-us", "-uc", "-b"), cwd=source, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, f"{ran.stdout[-4000:]}{ran.stderr[-4000:]}"
    return directory


@pytest.fixture(scope="session")
def deb(built: Path) -> Path:
    """The binary package."""
    return next(built.glob("*.deb"))


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
def node(bare: Node, deb: Path) -> Node:
    """A node with the package."""
    bare.dpkg("-i", deb)
    return bare
