"""The bundle of bytecode: the same modules as without it, and never older than their source."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import ROOT

pytestmark = pytest.mark.processes
MARSHAL = "import sys; sys.path[:0] = [{root!r}]; from snf_network import bundle; "
WHO = "print(module.VALUE, type(module.__spec__.loader).__name__, module.__file__); bundle.keep()"
NAMES = ("__init__.py", "bundle.py", "lean.py")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package with the bundle, a module and a package in it."""
    package = tmp_path / "snf_network"
    (package / "room").mkdir(parents=True)
    for name in NAMES:
        shutil.copy2(ROOT / "snf_network" / name, package / name)
    (package / "room/__init__.py").write_text("")
    source(package, "VALUE = 1\n")
    return package


def source(package: Path, text: str, seconds: int = 1000) -> None:
    """Write the module, as old as it is told to be: two versions of one second look alike to Python, too."""
    path = package / "room/thing.py"
    path.write_text(text)
    os.utime(path, (seconds, seconds))


def ask(package: Path) -> str:
    """What a new interpreter imports."""
    code = MARSHAL.format(root=str(package.parent)) + f"from snf_network.room import thing as module; {WHO}"
    ran = subprocess.run(("/usr/bin/python3", "-ISc", code), capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout


def bundle(package: Path) -> Path:
    (found,) = (package / "__pycache__").glob("bundle.*.calls")
    return found


def test_the_second_call_has_it_from_the_bundle(tree: Path) -> None:
    place = f"{tree}/room/thing.py\n"
    assert ask(tree) == f"1 SourceFileLoader {place}"
    written = bundle(tree).stat().st_mtime_ns
    assert ask(tree) == f"1 Bundle {place}"
    assert bundle(tree).stat().st_mtime_ns == written, "a call that imports nothing new writes nothing"
    assert bundle(tree).stat().st_mode & 0o777 == 0o644
    assert not list((tree / "__pycache__").glob("*.new"))


def test_a_changed_source_is_read_again(tree: Path) -> None:
    ask(tree)
    source(tree, "VALUE = 2\n", 2000)
    assert ask(tree).startswith("2 SourceFileLoader")
    assert ask(tree).startswith("2 Bundle")
    source(tree, "VALUE = 333\n", 2000)  # as an editor that keeps the time
    assert ask(tree).startswith("333 ")


def test_a_module_that_is_gone_is_gone(tree: Path) -> None:
    ask(tree)
    (tree / "room/thing.py").unlink()
    with pytest.raises(AssertionError, match="ImportError"):
        ask(tree)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_bundle_that_is_none_is_written_anew(tree: Path, content: bytes | None) -> None:
    ask(tree)
    path = bundle(tree)
    whole = path.read_bytes()
    for cut in (whole[:-1], whole[:8], whole[:30], whole + b"x") if content is None else (content,):
        path.write_bytes(cut)
        assert ask(tree).startswith("1 SourceFileLoader")
        assert path.read_bytes() == whole


def test_where_nothing_can_be_written_nothing_is_lost(tree: Path) -> None:
    ask(tree)
    path = bundle(tree)
    path.unlink()
    path.mkdir()
    assert ask(tree).startswith("1 SourceFileLoader")
    path.rmdir()
    Path(f"{path}.new").unlink()
    (tree / "__pycache__" / f"{path.name}.new").symlink_to("/nowhere/at/all")
    assert ask(tree).startswith("1 SourceFileLoader") and not path.exists()


def test_what_a_killed_call_left_is_used_again(tree: Path) -> None:
    ask(tree)
    path = bundle(tree)
    whole = path.read_bytes()
    path.rename(f"{path}.new")
    assert ask(tree).startswith("1 SourceFileLoader")
    assert path.read_bytes() == whole and not Path(f"{path}.new").exists()


def test_a_path_with_a_symlink(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link/snf_network").symlink_to(tree)
    ask(tmp_path / "link/snf_network")
    assert ask(tmp_path / "link/snf_network").startswith("1 Bundle")
