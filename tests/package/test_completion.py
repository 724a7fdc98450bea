"""The files that debian/completion makes: whole, and accepted by the shells. tests/netns/test_completion.py
asks the shells what they offer.
"""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

from snf_network.commands import main
from snf_network.commands.nfdhcpctl import COMMANDS
from tests.netns.lab import ROOT

DEBIAN = ROOT / "debian"
FILES: dict[str, str] = runpy.run_path(str(DEBIAN / "completion" / "make"))["files"]()
SHELLS = {"bash": "bash-completion/completions/", "zsh": "zsh/vendor-completions/_"}


@pytest.mark.parametrize("folder", SHELLS.values())
def test_every_command_is_in_it(folder: str) -> None:
    for program, names in (("snf-network", main.NAMES), ("nfdhcpctl", COMMANDS)):
        assert all(name in FILES[f"{folder}{program}"] for name in names)


def test_every_file_is_in_a_package() -> None:
    listed = [line for path in DEBIAN.glob("*.install") for line in path.read_text().split()]
    assert {f"usr/share/{name}" for name in FILES} <= set(listed)


def test_nothing_is_left_to_fill_in() -> None:
    places = ("PROGRAM", "FUNCTION", "OFFER", "RESERVED", "BRANCHES", "SPECS", "VALUED", "TITLE", "CASES")
    assert [(name, word) for name, text in FILES.items() for word in places if word in text] == []


@pytest.mark.tool("zsh")
@pytest.mark.tool("bash")
@pytest.mark.parametrize("name", FILES)
def test_the_shell_understands_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(FILES[name])
    ran = subprocess.run((name.split("-")[0].split("/")[0], "-n", tmp_path / "file"), capture_output=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


@pytest.mark.tool("shellcheck")
@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("bash")])
def test_shellcheck_finds_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(FILES[name])
    ran = subprocess.run(("shellcheck", "-s", "bash", tmp_path / "file"), capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
