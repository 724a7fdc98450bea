"""Tests marked `vm` run in QEMU machines (vm.py) and are reported here as if they ran here. Tests with the
same mark share a machine.

`pytest.mark.vm("ipv6.disable=1")` adds to the kernel's command line. With systemd=True the machine runs
systemd, and has the built package in /run. Inside, the same pytest runs the same files, and sends its reports
over the second serial line. All needed machines start when the first one is needed.
"""

from __future__ import annotations

import compileall
import json
import os
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from lab import ROOT
from lab.package import PACKAGES, debs
from tests.qemu.vm import SILENCE, Vm

INSIDE = "SNF_NETWORK_VM"
"""Set in the environment of the pytest in a machine."""
TOLD = "/dev/ttyS1"
MODULES = ("tun", "veth", "bridge", "8021q")
"""Loaded ahead, because a device file or a setting of theirs is asked for before any use would load them."""
MACHINES: dict[Boot, Remote] = {}


class Boot(NamedTuple):
    """What a test asks of the machine that it runs in."""

    append: tuple[str, ...]
    systemd: bool


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "vm(*append, systemd=False): runs with Debian's kernel; the words are added to its command line",
    )


# --- in the machine


@pytest.hookimpl(trylast=True)
def pytest_report_to_serializable(config: pytest.Config, report: Any) -> None:
    """Nothing of our own: it is there to be called."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    if INSIDE in os.environ:
        data = item.config.hook.pytest_report_to_serializable(config=item.config, report=outcome.get_result())  # type: ignore[attr-defined]
        with open(TOLD, "w", encoding="utf-8") as line:
            line.write(json.dumps(data) + "\n")


# --- outside


def _machine(item: pytest.Item) -> Boot | None:
    mark = item.get_closest_marker("vm")
    return Boot(mark.args, mark.kwargs.get("systemd", False)) if mark else None


class Remote:
    """A machine that runs some tests, and what it has told of them so far."""

    def __init__(self, machine: Boot, tests: list[str]) -> None:
        names = " ".join(shlex.quote(test) for test in tests)
        files = (
            {f"{name}.deb": path.read_bytes() for name, path in zip(PACKAGES, debs())}
            if machine.systemd
            else {}
        )
        job = (
            f"modprobe -a {' '.join(MODULES)}; export {INSIDE}=1; "
            f"exec /usr/bin/python3 -B -m pytest -p no:cacheprovider --tb=short --color=no {names}"
        )
        compileall.compile_dir(ROOT / "snf_network", quiet=1)  # what the machine reads, it cannot write
        self.vm = Vm(
            job,
            *machine.append,
            systemd=machine.systemd,
            files=files,
            silence=SILENCE * (1 + machine.systemd),
        )
        self.told = (json.loads(line) for line in self.vm.lines() if line.startswith("{"))

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """Those of one test, the last one that of its teardown; a machine that ended before is a failure."""
        for data in self.told:
            report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
            assert report.nodeid == item.nodeid, f"the machine runs {report.nodeid}, and not {item.nodeid}"
            if report.failed:
                report.sections.append(("console of the machine", self.vm.console()[-CONSOLE:]))
            yield report
            if report.when == "teardown":
                return
        yield pytest.TestReport(
            item.nodeid,
            item.location,
            {},
            "failed",
            f"the machine ended\n{self.vm.console()[-CONSOLE:]}",
            "call",
        )


CONSOLE = 6000
"""Characters of the console that are shown with a failure."""


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Take the reports of a test that runs in a machine; any other runs here."""
    machine = _machine(item)
    if machine is None or INSIDE in os.environ:
        return None
    if machine not in MACHINES:
        groups: dict[Boot, list[str]] = {}
        for other in item.session.items:
            if asked := _machine(other):
                groups.setdefault(asked, []).append(other.nodeid)
        MACHINES.update({asked: Remote(asked, tests) for asked, tests in groups.items()})
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in MACHINES[machine].reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_sessionfinish() -> None:
    for remote in MACHINES.values():
        remote.vm.close()
