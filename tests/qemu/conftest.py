"""Tests marked `vm` run in machines of QEMU's (vm.py), all that have the same mark in one, and are reported here as if they ran here.

`pytest.mark.vm("ipv6.disable=1")` adds to the kernel's command line. In the machine the same pytest runs the same files, and tells its
reports on the second serial line. All machines that are needed start when the first one is.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Lab
from tests.qemu.vm import Vm

INSIDE = "SNF_NETWORK_VM"
"""Set in the environment of the pytest in a machine."""
TOLD = "/dev/ttyS1"
MODULES = ("tun", "veth", "bridge", "8021q")
"""Loaded ahead, because a device file or a setting of theirs is asked for before any use would load them."""
MACHINES: dict[tuple[str, ...], "Remote"] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vm(*append): runs with Debian's kernel; the words are added to its command line")


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


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


def _words(item: pytest.Item) -> tuple[str, ...] | None:
    mark = item.get_closest_marker("vm")
    return mark.args if mark else None


class Remote:
    """A machine that runs some tests, and what it has told of them so far."""

    def __init__(self, append: tuple[str, ...], tests: list[str]) -> None:
        names = " ".join(shlex.quote(test) for test in tests)
        self.vm = Vm(f"modprobe -a {' '.join(MODULES)}; export {INSIDE}=1; "
                     f"exec /usr/bin/python3 -B -m pytest -p no:cacheprovider --tb=short --color=no {names}", *append)
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
        yield pytest.TestReport(item.nodeid, item.location, {}, "failed", f"the machine ended\n{self.vm.console()[-CONSOLE:]}", "call")


CONSOLE = 6000
"""Characters of the console that are shown with a failure."""


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Take the reports of a test that runs in a machine; any other runs here."""
    words = _words(item)
    if words is None or INSIDE in os.environ:
        return None
    if words not in MACHINES:
        groups: dict[tuple[str, ...], list[str]] = {}
        for other in item.session.items:
            if (mark := _words(other)) is not None:
                groups.setdefault(mark, []).append(other.nodeid)
        MACHINES.update({mark: Remote(mark, tests) for mark, tests in groups.items()})
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in MACHINES[words].reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_sessionfinish() -> None:
    for remote in MACHINES.values():
        remote.vm.close()
