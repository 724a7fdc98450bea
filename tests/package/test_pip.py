"""`pip install .` on a machine without the Debian package, and the message for a missing module."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path

import pytest

from lab.package import copy
from snf_network import __version__
from tests.netns.lab import ROOT

PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a virtual environment that has us by pip, and what we need by Debian."""
    importlib.import_module("ensurepip")  # which Debian has in python3-venv
    place = tmp_path_factory.mktemp("pip")
    copy(place / "source")
    environment = place / "venv"
    subprocess.run((PYTHON, "-m", "venv", "--system-site-packages", environment), check=True)
    pip = (
        environment / "bin" / "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    )
    ran = subprocess.run((*pip, place / "source"), capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return environment / "bin"


def test_every_script_is_there_and_knows_its_version(installed: Path) -> None:
    assert {path.name for path in (ROOT / "scripts").iterdir()} <= {path.name for path in installed.iterdir()}
    said = subprocess.run(
        (installed / "snf-network", "--version"), capture_output=True, text=True, check=True
    )
    assert said.stdout == f"{__version__}\n"


def test_selftest_finds_its_scripts(root: None, installed: Path) -> None:
    ran = subprocess.run(
        (installed / "snf-network", "selftest", "--quiet"), capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def said_without(words: str) -> subprocess.CompletedProcess[str]:
    """A command, run with -S: Debian's packages are not in the path."""
    main = f"import sys; sys.path.append({str(ROOT)!r}); from snf_network.commands.main import main; "
    argv = ["snf-network", *words.split()]
    return subprocess.run(
        (PYTHON, "-IS", "-c", f"{main}sys.exit(main({argv!r}))"), capture_output=True, text=True, timeout=60
    )


def test_a_missing_module_is_one_line_with_a_hint() -> None:
    ran = said_without("dns list")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "snf-network: Python has no module dns (apt install python3-dnspython)\n"


def test_a_node_is_checked_without_any(root: None) -> None:
    ran = said_without("check --json")
    assert json.loads(ran.stdout)["missing"] == []
    assert "no module" not in ran.stderr
