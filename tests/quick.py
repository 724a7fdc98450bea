"""`tests/run --quick`: the tests that need no root, no network and no emulation, with what is installed.

A test is left out if it uses the fixture `root`, as all tests with namespaces do, or is marked `vm`, `slow`
or `quiet` (a test that measures time needs an idle machine). A test that lacks a Python module or a tool is
reported as skipped, with the name of what is missing. Which tools a test starts is seen when it starts them;
one whose tools are started by others names them by the mark `tool`.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = {"dns", "ensurepip", "hypothesis", "jsonschema", "prometheus_client", "pyroute2", "scapy", "yaml"}
"""Modules that a machine may lack on which nothing was installed for the tests."""
FOLDERS = pytest.StashKey[list[str]]()
PATH = os.pathsep.join((str(ROOT / ".venv" / "bin"), os.environ.get("PATH", os.defpath)))
"""Where tools are looked for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="only what needs no root, no network and no emulation"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes long, and --quick leaves it out")
    config.addinivalue_line("markers", "tool(*names): runs these; --quick skips it where one is missing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --quick, leave out what needs root or time, and skip what a missing tool hinders."""
    if not config.getoption("quick"):
        return
    left_out = [item for item in items if _needs_more(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        for name in (name for mark in item.iter_markers("tool") for name in mark.args):
            if not shutil.which(name, path=PATH):
                item.add_marker(pytest.mark.skip(reason=f"no {name} here"))


def _needs_more(item: pytest.Item) -> bool:
    marked = any(item.get_closest_marker(name) for name in ("vm", "slow", "quiet"))
    return marked or "root" in getattr(item, "fixturenames", ())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --quick, leave out a folder whose conftest.py imports what is missing."""
    if not config.getoption("quick") or not (collection_path / "conftest.py").exists():
        return None
    try:
        importlib.import_module(".".join((*collection_path.relative_to(ROOT).parts, "conftest")))
    except ModuleNotFoundError as error:
        if _missing(error):
            config.stash.setdefault(FOLDERS, []).append(f"{collection_path}: {_missing(error)}")
            return True
    return None


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say which folders that were."""
    return [f"left out {folder}" for folder in config.stash.get(FOLDERS, ())]


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, None]:
    """A file that imports what is missing is skipped."""
    report = (yield).get_result()
    call = getattr(report, "call", None)
    if collector.config.getoption("quick") and call is not None and call.excinfo:
        _skip(report, call.excinfo.value.__cause__, collector)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, None]:
    """So is a test that finds it missing."""
    report = (yield).get_result()
    if item.config.getoption("quick") and call.excinfo:
        _skip(report, call.excinfo.value, item)


def _skip(report: Any, error: BaseException | None, node: pytest.Item | pytest.Collector) -> None:
    if why := _missing(error):
        report.outcome = "skipped"
        report.longrepr = (str(node.path), 0, f"Skipped: {why}")


def _where(error: BaseException) -> str:
    """The file of the line that raised an error."""
    return [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)][-1]


def _missing(error: BaseException | None) -> str:
    """Which optional module or tool an error is about, in words; empty if about none."""
    if isinstance(error, FileNotFoundError) and _where(error) == subprocess.__file__:
        tool = os.fsdecode(error.filename)
        return "" if ROOT in Path(tool).parents else f"no {tool} here"  # a script of ours must be there
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"no Python module {name} here" if name in OPTIONAL else ""
