"""The package, built from a copy of the checkout, once for all that install it."""

from __future__ import annotations

import fcntl
import fnmatch
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab import ROOT

MADE = ("__pycache__", "*.egg-info", "*.debhelper", "*.substvars", "files", "debhelper-build-stamp")
"""What a build leaves in a checkout, besides the trees of the packages."""
PACKAGES = ("nfdhcpd", "snf-network")
"""Those of a node."""
BOOK = "snf-network-doc"
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


def debs(directory: Path | None = None) -> list[Path]:
    """The binary packages, in the order of PACKAGES."""
    return [next((directory or built()).glob(f"{name}_*.deb")) for name in PACKAGES]


def book(directory: Path | None = None) -> Path:
    """The package with the book."""
    return next((directory or built()).glob(f"{BOOK}_*.deb"))


def build(directory: Path, *options: str, checks: bool = False) -> str:
    """Make in `directory` what dpkg-buildpackage makes of a copy of the checkout without git; its words."""
    return build_from(copy(directory / "source"), *options, checks=checks)


def build_from(source: Path, *options: str, checks: bool = False, umask: int = -1, **env: str) -> str:
    """The same for a copy that is there, with another umask and variables."""
    ran = subprocess.run(
        ("dpkg-buildpackage", "-us", "-uc", *options),
        cwd=source,
        env={**os.environ, **env, "DEB_BUILD_OPTIONS": "" if checks else "nocheck"},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, f"{ran.stdout[-4000:]}{ran.stderr[-4000:]}"
    return ran.stdout


def copy(place: Path) -> Path:
    """A copy of the checkout as somebody has it who has just unpacked it, without git."""
    return Path(shutil.copytree(ROOT, place, ignore=_left_out))


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Hidden files, what a build made, and, in debian/, the trees of the packages."""
    trees = {*PACKAGES, BOOK, "tmp"} if Path(folder) == ROOT / "debian" else {"build", "dist"}
    return {
        name
        for name in names
        if name.startswith(".") or name in trees or any(fnmatch.fnmatch(name, made) for made in MADE)
    }
