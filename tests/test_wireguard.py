"""A node's private key in its file, and which member of a tunnel the node is."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from snf_network.errors import KernelError
from snf_network.host.wireguard import make_key, read_key
from snf_network.model.networks import Member
from snf_network.observe.tunnels import member

NODES = tuple(Member(name, "", "") for name in ("node1.a", "node2.a", "node2.b", "node3"))


def test_a_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "made" / "wireguard.key"
    assert make_key(str(path)) and path.stat().st_mode & 0o777 == 0o600
    octets = base64.b64decode(read_key(str(path)))
    assert len(octets) == 32 and not octets[0] & 7 and octets[31] & 0xC0 == 0x40  # RFC 7748, 5
    before = path.read_bytes()
    assert not make_key(str(path)) and path.read_bytes() == before and len(list(path.parent.iterdir())) == 1
    other = tmp_path / "other.key"
    assert make_key(str(other)) and other.read_bytes() != before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    link, aim = tmp_path / "wireguard.key", tmp_path / "aim"
    link.symlink_to(aim)
    assert not make_key(str(link)) and not aim.exists()
    aim.write_text("x")
    with pytest.raises(KernelError, match="symbolic"):
        read_key(str(link))


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    (
        ("A" * 43 + "=\n", 0o640, "others than root can read"),
        ("A" * 43 + "=\n", 0o604, "others than root can read"),
        ("A" * 39 + "=\n", 0o600, "has no private key"),
        ("A" * 43 + "=x\n", 0o600, "has no private key"),
        ("é" * 22, 0o600, "has no private key"),
        ("", 0o600, "has no private key"),
        (None, 0, "No such file"),
    ),
)
def test_a_file_that_is_no_key_is_refused_without_its_content(
    tmp_path: Path, text: str | None, mode: int, why: str
) -> None:
    path = tmp_path / "wireguard.key"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(KernelError) as raised:
        read_key(str(path))
    assert why in str(raised.value) and "AAA" not in str(raised.value)


@pytest.mark.parametrize(
    ("names", "expected"),
    (
        (("node1.a", "node1"), "node1.a"),
        (("node1",), "node1.a"),
        (("node2.b", "node2"), "node2.b"),
        (("node2",), ""),  # two have that name
        (("node3.a", "node3"), "node3"),
        (("node4.a", "node4"), ""),
    ),
)
def test_who_this_node_is(names: tuple[str, ...], expected: str) -> None:
    assert member(NODES, names) == expected
