"""Help fits the terminal, whatever its width."""

from __future__ import annotations

import pytest

from snf_network.commands import main

pytestmark = pytest.mark.processes  # importing pyroute2 asks for the machine's name


@pytest.mark.parametrize("width", [50, 80, 200])
@pytest.mark.parametrize("command", ["", *main.NAMES])
def test_help_is_as_wide_as_the_terminal(
    command: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main._run(["snf-network", *filter(None, (command,)), "--help"]) == 0
    prose = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("  ")]
    assert max(map(len, prose)) <= width
    assert width > 60 or len(prose) > 3


def test_examples_keep_their_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    main._run(["snf-network", "--help"])
    said = capsys.readouterr().out
    assert (
        "examples:\n  snf-network status                     every NIC of this node, and how it is\n" in said
    )
    assert "\nSettings are in /etc/default/snf-network. What to do when\nsomething is wrong" in said
