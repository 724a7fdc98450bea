"""What the demo prints fits a terminal of 80 columns, whatever it is told to say."""

from __future__ import annotations

import pytest

from demo.stage import Stage
from demo.steps import PICTURE

LONG = " ".join(f"word{number}" for number in range(40))


@pytest.mark.parametrize("plain", [False, True])
def test_every_line_fits(
    plain: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    stage = Stage(plain=plain)
    stage.step("A NIC comes up", LONG, LONG)
    stage.command("node1", "green", LONG, "from.env")
    stage.command("node1", "green", "kvm-ifup-custom", "from " + "x" * 50)
    stage.output([LONG])
    stage.claim(True, LONG)
    stage.claim(False, LONG, "nothing")
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if len(line) > 80] == []
    assert said.count("word39") >= 4, "nothing but output is cut"


def test_so_does_the_picture() -> None:
    assert max(map(len, PICTURE.splitlines())) <= 80
