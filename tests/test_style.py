"""Linters are tests. A missing tool is a failure, not a skip (except with --quick). Tools are looked for in
.venv/bin and on PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.quick import PATH, ROOT

pytestmark = pytest.mark.processes
NOT_OURS = {"__pycache__", "build", "dist", "snf-network", "node_modules"}


def clean(tool: str, *arguments: str) -> None:
    """Run a linter; what it says is the failure."""
    path = shutil.which(tool, path=PATH)
    assert path, f"{tool} is not installed: tests/run installs it in .venv"
    ran = subprocess.run((path, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, f"{tool} {' '.join(arguments)}\n{ran.stdout}{ran.stderr}"


def files() -> Iterator[Path]:
    """Every file of the project; .ci is the one hidden folder that is ours."""
    for folder, names, found in os.walk(ROOT):
        names[:] = [
            name for name in names if name not in NOT_OURS and (not name.startswith(".") or name == ".ci")
        ]
        yield from (Path(folder, name) for name in found)


def spoken(path: Path) -> str:
    """The interpreter that a script names in its first line."""
    with path.open("rb") as file:
        line = file.readline(100)
    return line.decode("ascii", "replace").strip().rpartition("/")[2] if line.startswith(b"#!") else ""


def scripts(*languages: str) -> list[str]:
    """Files whose first line names an interpreter that begins so, whatever they are called."""
    return sorted(
        str(path.relative_to(ROOT))
        for path in files()
        if spoken(path).removeprefix("env ").startswith(languages)
    )


@pytest.mark.tool("ruff")
def test_ruff_finds_nothing() -> None:
    """Runs ruff."""
    clean("ruff", "check", "--no-cache", ".")


@pytest.mark.tool("ruff")
def test_ruff_finds_nothing_in_scripts_without_an_ending() -> None:
    """Runs ruff. A launcher is five lines that count each import: two on one line, and no docstring, are fine
    there.
    """
    found = [name for name in scripts("python3") if not name.endswith(".py")]
    assert "scripts/kvm-ifup-custom" in found and "tests/cases/rewrite" in found
    clean("ruff", "check", "--no-cache", "--extend-ignore", "E401,E402,I001,D1", *found)


@pytest.mark.tool("ruff")
def test_the_formatter_changes_nothing() -> None:
    """Runs ruff; scripts without an ending are formatted by their first line."""
    clean("ruff", "format", "--check", "--no-cache", ".")
    found = [name for name in scripts("python3") if not name.endswith(".py")]
    clean("ruff", "format", "--check", "--no-cache", *found)


@pytest.mark.tool("mypy")
def test_mypy_finds_nothing(tmp_path: Path) -> None:
    """Runs mypy, on what pyproject.toml says, with the interpreter's own libraries."""
    cache = ROOT / ".mypy_cache"
    writable = os.access(cache if cache.exists() else ROOT, os.W_OK)
    clean("mypy", "--strict", "--cache-dir", str(cache if writable else tmp_path))


@pytest.mark.tool("shellcheck")
def test_shellcheck_finds_nothing() -> None:
    """Runs shellcheck."""
    found = scripts("sh", "bash", "dash")
    clean("shellcheck", *(found or ["--version"]))


def test_no_line_is_too_long_and_none_ends_in_blanks() -> None:
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in files()
        if path.suffix in (".nft", ".sh", ".plan", ".env") or spoken(path)
    }
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if line != line.rstrip() or (len(line) > 140 and path.suffix != ".env")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "path", sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))), ids=lambda path: path.name
)
def test_prose_wraps_at_100(path: Path) -> None:
    """Tables, and what a terminal shows or takes, are as wide as they are."""
    lines = enumerate(path.read_text().splitlines(), 1)
    assert [number for number, line in lines if len(line) > 100 and not line.startswith(("|", "    "))] == []
