"""The Debian tree under every node of a cluster, with Ganeti, QEMU and a guest: made once for each release of
Debian, in .lab/ of the checkout.
"""

from __future__ import annotations

import fcntl
import platform
import re
import shutil
import subprocess
from pathlib import Path

from lab import ROOT
from lab.kernel import Kernel

HERE = Path(__file__).resolve().parent
LAB = ROOT / ".lab"
"""Beside .venv/, which tests/run makes, too: rm -r makes a new one."""
PACKAGES = (
    "busybox-static",
    "ganeti",
    "iptables",
    "iputils-ping",
    "kmod",
    "mount",
    "openssh-client",
    "openssh-server",
    "procps",
    "qemu-system-x86",
    "socat",
)
"""What stock Ganeti runs with, ping, and the iptables of those who have rules of their own."""
NOT_NEEDED = ("doc", "info", "locale", "man")
MIRROR = "http://deb.debian.org/debian"
SECONDS = 900


def codename() -> str:
    """The release of Debian that this machine has."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "bookworm")


def base(suite: str = "") -> Path:
    """The tree of a release, this machine's if none is named. It is made if it is not there, or if something
    that it is made of has changed: a minute, and 500 MB.
    """
    suite = suite or codename()
    LAB.mkdir(exist_ok=True)
    with (LAB / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = LAB / f"{suite}.stamp"
        parts = (Path(__file__), ROOT / "lab/kernel.py", *sorted((HERE / "guest").iterdir()))
        wanted = "\n".join((*_options(), *(path.read_text() for path in parts)))
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            _make(LAB / suite, suite)
            stamp.write_text(wanted)
    return LAB / suite


def _make(tree: Path, suite: str) -> None:
    if tree.exists():
        shutil.rmtree(tree)
    hook = f"--customize-hook='{HERE}/guest/make' \"$1\""
    ran = subprocess.run(
        ("mmdebstrap", *_options(), hook, suite, tree, "-"),
        input=_sources(suite),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, f"mmdebstrap: {ran.returncode}\n{ran.stderr[-4000:]}"
    kernel = Kernel(tree / "guest/deb")
    (tree / "guest/vmlinux").write_bytes(kernel.executable())
    shutil.rmtree(tree / "guest/deb")


def _options() -> tuple[str, ...]:
    """mmdebstrap's, with all packages; ours is installed on each node, and what it depends on is there
    then.
    """
    fields = re.split(r"^(?=\S)", (ROOT / "debian/control").read_text(), flags=re.MULTILINE)
    depends = next(field for field in fields if field.startswith("Depends:")).partition(":")[2]
    needed = [word.split()[0] for word in depends.split(",") if word.strip() and "$" not in word]
    return (
        "--variant=apt",
        "--mode=root",
        "--format=directory",
        "--aptopt=APT::Install-Recommends false",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in NOT_NEEDED),
        f"--include={','.join((*PACKAGES, *needed))}",
    )


def _sources(suite: str) -> str:
    """Lines for sources.list: the mirrors that this machine uses for the release, else Debian's own."""
    told = subprocess.run(
        (
            "apt-get",
            "indextargets",
            "--format",
            "$(RELEASE) $(REPO_URI)",
            "Created-By: Packages",
            "Component: main",
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    used = {
        tuple(line.split(" ", 1))
        for line in told.splitlines()
        if line.split(" ", 1)[0] in (suite, f"{suite}-security")
    }
    found = used if any(release == suite for release, _ in used) else {(suite, MIRROR)}
    return "".join(f"deb {uri} {release} main\n" for release, uri in sorted(found))
