"""The package, built from a copy of the checkout, once for all that install it."""

from __future__ import annotations

import functools
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


@functools.cache
def built() -> Path:
    """The directory with the package and what was made with it; it goes with this process."""
    kept = tempfile.TemporaryDirectory(prefix="snf-network-package.")
    build(Path(kept.name))
    KEPT.append(kept)
    return Path(kept.name)


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
