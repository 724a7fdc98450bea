"""The Debian tree under every node of the lab, with Ganeti, QEMU and a guest: made once, in .lab/ of the
checkout.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path

from lab import ROOT

HERE = Path(__file__).resolve().parent
LAB = ROOT / ".lab"
"""Beside .venv/, which tests/run makes, too: rm -r makes a new one."""
SUITE = "bookworm"
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
SECONDS = 900


def base() -> Path:
    """The tree, made if it is not there or if something that it is made of has changed: a minute, and 500
    MB.
    """
    LAB.mkdir(exist_ok=True)
    with (LAB / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = (
            LAB / "stamp",
            "\n".join(
                (SUITE, *_options(), *(path.read_text() for path in sorted((HERE / "guest").iterdir())))
            ),
        )
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            _make(LAB / "base")
            stamp.write_text(wanted)
    return LAB / "base"


def _make(tree: Path) -> None:
    if tree.exists():
        shutil.rmtree(tree)
    hook = f"--customize-hook='{HERE}/guest/make' \"$1\""
    ran = subprocess.run(
        ("mmdebstrap", *_options(), hook, SUITE, tree, "-"),
        input=_sources(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, f"mmdebstrap: {ran.returncode}\n{ran.stderr[-4000:]}"


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


def _sources() -> str:
    """Lines for sources.list: the mirrors that this machine uses for the suite, else Debian's own."""
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
        if line.split(" ", 1)[0] in (SUITE, f"{SUITE}-security")
    }
    found = (
        used if any(release == SUITE for release, _ in used) else {(SUITE, "http://deb.debian.org/debian")}
    )
    return "".join(f"deb {uri} {release} main\n" for release, uri in sorted(found))
