"""Bytes: checksums against the sum that RFC 1071 describes, and names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from snf_network import wire
from snf_network.dhcpd import packets
from tests.dhcpd.clients import ones


@given(some.binary(min_size=1, max_size=400).filter(any))
def test_a_checksum_is_the_sum_word_by_word(data: bytes) -> None:
    assert wire.checksum(data) % 0xFFFF == ones(data) % 0xFFFF, (
        "0 and 65535 are the same number in one's complement"
    )
    assert 0 < wire.checksum(data) <= 0xFFFF, "0 would say to UDP that there is none"


@given(some.binary(min_size=2, max_size=400).map(lambda data: data[: len(data) & ~1]).filter(any))
def test_what_has_its_checksum_adds_up_to_none(data: bytes) -> None:
    whole = data + wire.checksum(data).to_bytes(2, "big")
    assert wire.checksum(whole) == 0xFFFF and ones(whole) == 0


def test_a_checksum_of_nothing_but_ones() -> None:
    assert wire.checksum(b"\xff\xff") == wire.checksum(b"\xff\xff" * 9) == 0xFFFF


def test_names_are_labels() -> None:
    assert packets.names(("a.example", "b")) == b"\1a\7example\0\1b\0"
    assert packets.names(()) == b""
