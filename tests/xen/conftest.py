"""One machine with Xen for all tests, with the package installed in its dom0. If a test fails, its report has
the console.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import laboratory
from tests.package.node import Node
from tests.xen.boot import Boot, run
from tests.xen.dom0 import Dom0

CONSOLE = pytest.StashKey[Path]()
LOGS = "tail -n 30 /var/log/xen/console/* /var/log/xen/xl-* /var/log/ganeti/snf-network.log"
VIF_GANETI = '#!/bin/sh\nexec /etc/xen/scripts/vif-custom "$@"\n'
"""All that Ganeti's script does where there is a vif-custom."""


@pytest.fixture(scope="session")
def xen(
    root: None, request: pytest.FixtureRequest, debs: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dom0]:
    """The dom0, with the package, and nothing else of ours yet."""
    directory = tmp_path_factory.mktemp("xen")
    request.config.stash[CONSOLE] = directory / "console"
    boot = Boot(directory)
    install(debs, boot.packages)
    dom0 = Dom0(boot, directory)
    try:
        dom0.run("sh", "-ec", "rm -rf /var/lib/snf-network /var/lib/nfdhcpd; mkdir -p /var/log/ganeti")
        dom0.write("/etc/xen/scripts/vif-ganeti", VIF_GANETI)
        dom0.run("chmod", "+x", "/etc/xen/scripts/vif-ganeti")
        yield dom0
    finally:
        dom0.close()
        shutil.rmtree(boot.packages)


def install(debs: list[Path], root: Path) -> None:
    """Lay over the root of dom0 what dpkg makes of the package; here, for emulated it would take a minute."""
    with laboratory() as lab:
        node = Node(lab)
        before = node.changes()
        node.dpkg("-i", *debs)
        made = sorted(change.split(" ", 1)[1] for change in node.changes() - before)
        node.machine.run(
            "tar", "-C", "/", "-cf", root / "made.tar", "--no-recursion", *(path.lstrip("/") for path in made)
        )
    run("tar", "-C", root, "-xf", root / "made.tar", "--keep-directory-symlink")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Add the console of dom0, which has all commands and what they said, to the report of what failed; and
    the logs in dom0.
    """
    report = (yield).get_result()
    console = item.config.stash.get(CONSOLE, None)
    if report.failed and console and console.exists():
        dom0 = getattr(item, "funcargs", {}).get("xen")
        if dom0 and dom0.qemu.poll() is None:
            report.sections.append(("logs in dom0", dom0.run("sh", "-c", LOGS, check=False).stdout))
        report.sections.append(("console of dom0", console.read_text(errors="replace").replace("\r", "")))
