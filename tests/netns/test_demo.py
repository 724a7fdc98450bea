"""The second act of the demo; the first one is that of debian/tests/demo."""

from __future__ import annotations

import os
import subprocess

from tests.netns.lab import ROOT


def test_the_second_act_holds_and_fits_a_terminal() -> None:
    ran = subprocess.run(
        (ROOT / "demo/run", "--networks", "--pause"),
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
        input="",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[-1].startswith("All ") and "claims held" in lines[-1] and "✗" not in ran.stdout
    assert [line for line in lines if len(line.replace("  Enter goes on ", "")) > 80] == []
    assert [line.split(".")[0] for line in lines if line[:1].isdigit()] == [*"123456"]
