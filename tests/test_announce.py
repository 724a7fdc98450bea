"""The frames that tell an uplink where a guest is: golden bytes, and the checksum calculated by code that is
not ours.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snf_network.apply import announce
from snf_network.apply.announce import gratuitous_arp, unsolicited_na
from snf_network.plan import Announcement

MAC = bytes.fromhex("020000000001")
ADDRESSES6 = st.binary(min_size=16, max_size=16).map(lambda packed: str(ipaddress.IPv6Address(packed)))


def octets(text: str) -> bytes:
    return bytes.fromhex(text.replace("\n", " "))


REQUEST = octets("""
    ff ff ff ff ff ff  02 00 00 00 00 01  08 06
    00 01  08 00  06  04  00 01
    02 00 00 00 00 01  c6 33 64 0a
    00 00 00 00 00 00  c6 33 64 0a""")
REPLY = octets("""
    ff ff ff ff ff ff  02 00 00 00 00 01  08 06
    00 01  08 00  06  04  00 02
    02 00 00 00 00 01  c6 33 64 0a
    ff ff ff ff ff ff  c6 33 64 0a""")
ADVERTISEMENT = octets("""
    33 33 00 00 00 01  02 00 00 00 00 01  86 dd
    60 00 00 00  00 20  3a  ff
    20 01 0d b8 00 01 00 00  a8 00 00 ff fe ad 35 c9
    ff 02 00 00 00 00 00 00  00 00 00 00 00 00 00 01
    88 00  3e 3d  20 00 00 00
    20 01 0d b8 00 01 00 00  a8 00 00 ff fe ad 35 c9
    02 01  02 00 00 00 00 01""")


def test_gratuitous_arp_is_a_request_and_a_reply() -> None:
    assert gratuitous_arp(MAC, "198.51.100.10") == (REQUEST, REPLY)


def test_an_advertisement_goes_to_all_nodes_with_the_override_flag() -> None:
    assert unsolicited_na(MAC, "2001:db8:1:0:a800:ff:fead:35c9").hex(" ") == ADVERTISEMENT.hex(" ")


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071, in the plainest way: 0xffff if `data` holds a right checksum."""
    return sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)) % 0xFFFF or 0xFFFF


@given(mac=st.binary(min_size=6, max_size=6), address=ADDRESSES6)
def test_an_advertisement_is_well_formed_for_any_address(mac: bytes, address: str) -> None:
    frame = unsolicited_na(mac, address)
    header, message = frame[14:54], frame[54:]
    length, next_header, hops = struct.unpack("!HBB", header[4:8])
    assert (length, next_header, hops) == (len(message), 58, 255), (
        "RFC 4861, 7.1.2: anything else is thrown away"
    )
    pseudo = header[8:40] + struct.pack("!IxxxB", len(message), 58)
    assert ones_complement_sum(pseudo + message) == 0xFFFF
    kind, code, _, flags = struct.unpack("!BBHI", message[:8])
    assert (kind, code, flags) == (136, 0, 0x20000000), "override only: neither router nor solicited"
    assert message[8:24] == header[8:24] == ipaddress.IPv6Address(address).packed
    assert message[24:] == b"\x02\x01" + mac, "target link-layer address option"
    assert frame[6:12] == mac


@given(mac=st.binary(min_size=6, max_size=6), ip=st.binary(min_size=4, max_size=4))
def test_arp_is_well_formed_for_any_address(mac: bytes, ip: bytes) -> None:
    for operation, frame in enumerate(gratuitous_arp(mac, str(ipaddress.IPv4Address(ip))), 1):
        assert len(frame) == 42 and frame[20:22] == operation.to_bytes(2, "big")
        assert frame[6:12] == frame[22:28] == mac
        assert frame[28:32] == frame[38:42] == ip, "sender and target are the same address"


class Uplink:
    """Stands in for a packet socket."""

    def __init__(self, *_: int) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def fileno(self) -> int:
        return 9

    def sendto(self, frame: bytes, address: tuple[str, int]) -> None:
        self.sent.append((frame, address))


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("198.51.100.10", [(REQUEST, ("eth1", 0x0806)), (REPLY, ("eth1", 0x0806))]),
        ("2001:db8:1:0:a800:ff:fead:35c9", [(ADVERTISEMENT, ("eth1", 0x86DD))]),
    ],
)
def test_the_uplinks_own_mac_is_announced(
    address: str, sent: list[tuple[bytes, tuple[str, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uplink = Uplink()

    def hardware_address(_: int, request: int, data: bytes) -> bytes:
        assert request == 0x8927 and data.startswith(b"eth1\0") and len(data) >= 32
        return data[:16] + struct.pack("H", socket.AF_UNIX) + MAC + bytes(16)

    monkeypatch.setattr(announce, "ioctl", hardware_address)
    announce.send(Announcement(address, "eth1"), uplink)  # type: ignore[arg-type]
    assert uplink.sent == sent


def test_the_caller_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce.posix, "fork", lambda: 4711)
    monkeypatch.setattr(announce, "send", lambda *_: pytest.fail("the parent sent"))
    announce.announce((Announcement("198.51.100.10", "eth1"),), lambda told: pytest.fail("the parent asked"))


class Ended(BaseException):
    """What the child does instead of _exit here."""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The story of a child: we are it, and nothing it does is real."""
    story: list[str] = []

    def ended(status: int) -> None:
        raise Ended(f"{status}")

    for name, result in (("fork", 0), ("setsid", None), ("open", 3), ("dup2", None), ("closerange", None)):
        monkeypatch.setattr(announce.posix, name, lambda *_, result=result: result)
    monkeypatch.setattr(announce.posix, "_exit", ended)
    clock = [100.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        story.extend([f"sleep {seconds:g}"] * (seconds > 0))

    monkeypatch.setattr(announce, "sleep", sleep)
    monkeypatch.setattr(announce, "monotonic", lambda: clock[0])
    monkeypatch.setattr(announce, "socket", lambda *_: story.append("socket"))
    monkeypatch.setattr(announce, "send", lambda told, door: story.append(told.address))
    return story


def test_the_child_sends_at_once_after_one_second_and_after_three(child: list[str]) -> None:
    with pytest.raises(Ended, match="0"):
        announce.announce(
            (Announcement("1.2.3.4", "eth1"), Announcement("2001:db8::1", "eth2")), lambda told: True
        )
    round_ = ["1.2.3.4", "sleep 0.0025", "2001:db8::1"]
    assert child == ["socket", *round_, "sleep 1", *round_, "sleep 2", *round_], "one for all"


def test_the_child_stops_when_the_tap_is_no_longer_this_guests(child: list[str]) -> None:
    answers = iter([True, False])
    with pytest.raises(Ended):
        announce.announce((Announcement("1.2.3.4", "eth1"),), lambda told: next(answers))
    assert child == ["socket", "1.2.3.4", "sleep 1", "1.2.3.4", "sleep 2"]


def test_a_failure_on_one_uplink_does_not_keep_the_other_from_hearing(
    child: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(told: Announcement, door: object) -> None:
        if told.interface == "eth1":
            raise OSError(19, "No such device")
        child.append(told.address)

    monkeypatch.setattr(announce, "send", send)
    with pytest.raises(Ended):
        announce.announce(
            (Announcement("1.2.3.4", "eth1"), Announcement("2001:db8::1", "eth2")), lambda told: True
        )
    assert child.count("2001:db8::1") == 3


def test_what_sending_takes_is_part_of_the_pause_and_no_pause_is_made_up_for(
    child: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    took = iter([0.0015, 1.0, *[0.0] * 10])

    def send(told: Announcement, door: object) -> None:
        child.append(told.address)
        announce.sleep(next(took))

    monkeypatch.setattr(announce, "send", send)
    addresses = "1.2.3.4", "1.2.3.5", "1.2.3.6", "1.2.3.7"
    with pytest.raises(Ended):
        announce.announce((Announcement(address, "eth1") for address in addresses), lambda told: False)
    sent = " ".join(child)
    assert sent == (
        "socket 1.2.3.4 sleep 0.0015 sleep 0.001 1.2.3.5 sleep 1 1.2.3.6 sleep 0.0025 1.2.3.7 sleep 1"
    )


def test_the_child_ends_whatever_happens(child: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise RuntimeError("the record cannot be read")

    with pytest.raises(Ended, match="0"):
        announce.announce((Announcement("1.2.3.4", "eth1"),), broken)
