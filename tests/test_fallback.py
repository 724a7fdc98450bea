"""Entries of ours that stand in for FRR's: which stay, which are FRR's by now. And how a file of FRR's is
changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from snf_network.errors import KernelError
from snf_network.host.amend import amend_file
from snf_network.host.record import Record
from snf_network.model.networks import Evpn, Networks, Overlay, Site, Underlay
from snf_network.model.resources import Resource
from snf_network.model.resources.underlay import Flood
from snf_network.networks import wanted
from snf_network.observe.fallback import with_fallback
from snf_network.observe.frr import _decoded

TWO, THREE = "10.99.0.2", "10.99.0.3"
OVERLAY = Overlay("prv0", (100,), "ov100", engine="evpn")


def said(*others: str) -> dict[str, tuple[Resource, ...]]:
    networks = Networks(Underlay(), (OVERLAY,), Evpn(65000, mesh=True))
    return wanted(networks, Site("10.99.0.1", others))


def recorded(*entries: str) -> dict[str, Record]:
    """Records of both nodes' networks, with entries of ours."""
    floods = tuple(Flood("vx100", one) for one in entries)
    made = said(TWO, THREE)
    return {name: Record(name, 0, "", "", "", (), (*some, *floods)) for name, some in made.items()}


def outcome(
    others: tuple[str, ...], had: tuple[str, ...], frr: tuple[str, ...], all_nodes: bool = False
) -> tuple[list[str], list[str]]:
    """The entries that are ours, and those that are given away."""

    def ask() -> Mapping[str, frozenset[str]]:
        return {"100": frozenset(frr)}

    found, given = with_fallback(said(*others), recorded(*had), ask, all_nodes)
    ours = [one.address for one in found["prv0"] if isinstance(one, Flood)]
    return ours, sorted(one.address for one in given if isinstance(one, Flood))


def test_frr_is_not_asked_for_nothing() -> None:
    def ask() -> Mapping[str, frozenset[str]]:
        raise AssertionError

    plain = said(TWO, THREE)
    assert with_fallback(plain, recorded(), ask) == (plain, set())
    listed = wanted(Networks(Underlay(), (Overlay("a", (1,), "a"),)), Site("10.99.0.1", (TWO,)))
    assert with_fallback(listed, {}, ask, True) == (listed, set())


@pytest.mark.parametrize(
    ("others", "had", "frr", "all_nodes", "ours", "given"),
    [
        ((TWO, THREE), (), (), True, [TWO, THREE], []),
        ((TWO, THREE), (), (THREE,), True, [TWO], []),
        ((TWO, THREE), (), (TWO, THREE), True, [], []),
        ((TWO, THREE), (TWO,), (), False, [TWO], []),
        ((TWO, THREE), (TWO, THREE), (THREE,), False, [TWO], [THREE]),
        ((TWO, THREE), (TWO, THREE), (TWO, THREE), False, [], [TWO, THREE]),
        ((TWO,), (TWO, THREE), (), False, [TWO], []),
        ((TWO,), (TWO, THREE), (THREE,), False, [TWO], [THREE]),
        ((), (TWO,), (), False, [], []),
    ],
)
def test_an_entry_is_ours_until_frr_has_that_node(
    others: tuple[str, ...],
    had: tuple[str, ...],
    frr: tuple[str, ...],
    all_nodes: bool,
    ours: list[str],
    given: list[str],
) -> None:
    assert outcome(others, had, frr, all_nodes) == (ours, given)


def test_the_list_is_that_of_the_records_if_none_is_given() -> None:
    """As for `repair`, which reads no file."""
    found, _ = with_fallback({"prv0": said()["prv0"]}, recorded(), dict, True)
    assert [one.address for one in found["prv0"] if isinstance(one, Flood)] == [TWO, THREE]


def test_answers_of_vtysh_may_have_words_between_them() -> None:
    assert list(_decoded('% x\n{"a": [1]}\n\n[{"b": 2}]\nend')) == [{"a": [1]}, [{"b": 2}]]
    assert list(_decoded("% BGP instance not found\n")) == []
    with pytest.raises(ValueError, match="Expecting"):
        list(_decoded("{a"))


# --- files of others


def test_a_changed_file_keeps_its_mode_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "frr.conf"
    path.write_bytes(b"a\xff\n")
    path.chmod(0o604)
    amend_file(str(path), lambda text: text + "b\n")
    assert path.read_bytes() == b"a\xff\nb\n" and path.stat().st_mode & 0o7777 == 0o604
    number = path.stat().st_ino
    amend_file(str(path), lambda text: text)
    assert path.stat().st_ino == number and os.listdir(tmp_path) == ["frr.conf"]


def test_a_file_that_is_written_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "frr.conf"
    path.write_text("a\n")

    def change(text: str) -> str:
        path.write_text("theirs\n")
        return f"{text}b\n"

    with pytest.raises(KernelError, match="was changed meanwhile"):
        amend_file(str(path), change)
    assert path.read_text() == "theirs\n" and os.listdir(tmp_path) == ["frr.conf"]
    path.unlink()
    path.symlink_to("/etc/passwd")
    for wrong in (path, tmp_path, tmp_path / "none"):
        with pytest.raises(KernelError, match="is not there, or no regular file"):
            amend_file(str(wrong), str.upper)
