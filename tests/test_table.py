"""Tables, and the colours of states: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from snf_network.commands import check, table
from snf_network.commands.dns import COLUMNS
from snf_network.observe.doctor.finding import SEVERITIES

pytestmark = pytest.mark.processes  # importing pyroute2 asks for the machine's name
HEAD, ROWS = ("NAME", "STATE", "WHY"), [("tap0", "up", ""), ("tap1", "incomplete", "up \x1b[31m")]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@contextmanager
def terminal() -> Iterator[None]:
    """stdout is a terminal, a real one."""
    ours, its = os.openpty()
    with open(its, "w") as stdout, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        yield
    os.close(ours)


def test_states_have_colours_and_columns_stay() -> None:
    with terminal():
        said = table.text(HEAD, ROWS)
    assert said.splitlines() == [
        "NAME  STATE       WHY",
        "tap0  \x1b[32mup\x1b[0m          -",
        "tap1  \x1b[33mincomplete\x1b[0m  up \\x1b[31m",
    ]


def test_so_has_the_first_word_of_a_line() -> None:
    with terminal():
        said = [table.coloured(line) for line in ("CRITICAL: up", "clean\n", "         up", "")]
    assert said == ["\x1b[31mCRITICAL\x1b[0m: up", "\x1b[32mclean\x1b[0m\n", "         up", ""]


@pytest.mark.parametrize(("name", "value"), (("NO_COLOR", "1"), ("TERM", "dumb")))
def test_not_if_nobody_wants_them(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with terminal():
        said = table.text(HEAD, ROWS) + table.coloured("clean\n")
    assert "\x1b" not in said


def test_not_in_a_file() -> None:
    assert "\x1b" not in table.text(HEAD, ROWS) + table.coloured("clean\n")


def test_every_kind_and_severity_has_one() -> None:
    assert table.COLOUR_OF.keys() | {"dns"} >= {*check.KINDS, *SEVERITIES}
    assert "state" in COLUMNS
