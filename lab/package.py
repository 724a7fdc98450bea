"""The package, built from a copy of the checkout, once for all that install it."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab import ROOT

SOURCES = ("README.md", "debian", "docs", "pyproject.toml", "scripts", "setup.py", "snf_network")
LEFTOVERS = shutil.ignore_patterns(
    "*.debhelper", "*.substvars", "snf-network", "files", "debhelper-build-stamp"
)
KEPT: list[tempfile.TemporaryDirectory[str]] = []


BUILT = "SNF_NETWORK_BUILT"
"""Names in the environment a directory in which several runs share the package; the first builds it."""


@functools.cache
def built() -> Path:
    """The directory with the package and what was made with it: BUILT, or one that goes with this process."""
    if BUILT in os.environ:
        return _shared(Path(os.environ[BUILT]))
    kept = tempfile.TemporaryDirectory(prefix="snf-network-package.")
    build(Path(kept.name))
    KEPT.append(kept)
    return Path(kept.name)


def _shared(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(directory.glob("*.deb")):
            build(directory)
    return directory


def deb() -> Path:
    """The binary package."""
    return next(built().glob("*.deb"))


def build(directory: Path) -> None:
    """Make in `directory` what `dpkg-buildpackage -us -uc -b` makes."""
    source = directory / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            # scripts/snf-network is no leftover, debian/snf-network is
            shutil.copytree(
                ROOT / name,
                source / name,
                ignore=LEFTOVERS if name == "debian" else shutil.ignore_patterns("__pycache__"),
            )
        else:
            shutil.copy(ROOT / name, source)
    ran = subprocess.run(
        ("dpkg-buildpackage", "-us", "-uc", "-b"), cwd=source, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, f"{ran.stdout[-4000:]}{ran.stderr[-4000:]}"
