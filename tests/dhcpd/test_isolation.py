"""A guest is told only about itself, never about another guest, whatever it asks for and whoever was answered
before.
"""

from __future__ import annotations

from socket import AF_INET6, inet_aton, inet_pton

import pytest

from snf_network.dhcpd.answers import Answerer
from tests.dhcpd.clients import (
    CLIENT_ID,
    SERVER_ID,
    Dhcp4,
    address6,
    answer,
    dhcp6,
    guest,
    ia_na,
    ns,
    option,
    option6,
    with_,
)
from tests.dhcpd.test_golden import CASES

ALICE = guest()
BOB_MAC = bytes.fromhex("aa0000654321")
BOB = guest(
    with_(
        IP="203.0.113.20",
        MAC="aa:00:00:65:43:21",
        HOSTNAME="bobs-vm.example.net",
        SUBNET="203.0.113.0/24",
        GATEWAY="203.0.113.1",
        SUBNET6="2001:db8:b0b::/64",
        GATEWAY6="2001:db8:b0b::1",
        EUI64="2001:db8:b0b:0:a800:ff:fe65:4321",
        DOMAIN="bob.example",
        DOMAIN_SEARCH="bob.example",
        NAMESERVERS="203.0.113.53",
        NAMESERVERS6="2001:db8:b0b::53",
        MTU="1444",
        LEASE="777777",
        INDEV="tap1",
    ),
    tap="tap1",
)
MARKS = {
    "IP": inet_aton("203.0.113.20"),
    "gateway": inet_aton("203.0.113.1"),
    "name server": inet_aton("203.0.113.53"),
    "MAC": BOB_MAC,
    "EUI-64": bytes.fromhex("a80000fffe654321"),
    "prefix": inet_pton(AF_INET6, "2001:db8:b0b::")[:8],
    "host name": b"bobs-vm",
    "domain": b"bob.example",
    "domain in labels": b"\3bob\7example",
    "MTU": b"\x1a\2\x05\xa4",
    "lease": (777777).to_bytes(4, "big"),
}
BOBS_ADDRESS = "2001:db8:b0b:0:a800:ff:fe65:4321"
CURIOUS = {
    "asks for his address": Dhcp4(options=option(50, "203.0.113.20")).frame(),
    "requests his address": Dhcp4(kind=3, options=option(50, "203.0.113.20")).frame(),
    "renews his lease": Dhcp4(kind=3, ciaddr="203.0.113.20", source="203.0.113.20").frame(),
    "informs itself of his": Dhcp4(kind=8, ciaddr="203.0.113.20", source="203.0.113.20").frame(),
    "says it is he": Dhcp4(chaddr=BOB_MAC).frame(),
    "is he, on the wire": Dhcp4(mac=BOB_MAC).frame(),
    "is he in all": Dhcp4(mac=BOB_MAC, chaddr=BOB_MAC).frame(),
    "has his client identifier": Dhcp4(options=option(61, b"\1" + BOB_MAC)).frame(),
    "has his name": Dhcp4(options=option(12, b"bobs-vm.example.net")).frame(),
    "relays for him": Dhcp4(giaddr="203.0.113.20").frame(),
    "looks for him": ns("2001:db8:b0b:0:a800:ff:fe65:4321"),
    "looks for his gateway": ns("2001:db8:b0b::1"),
    "has his address": ns("2001:db8:1::1", BOBS_ADDRESS),
    "solicits his address": dhcp6(1, CLIENT_ID + ia_na(7, address6(BOBS_ADDRESS))),
    "renews his address": dhcp6(5, CLIENT_ID + SERVER_ID + ia_na(7, address6(BOBS_ADDRESS))),
    "confirms his address": dhcp6(4, CLIENT_ID + ia_na(7, address6(BOBS_ADDRESS))),
    "has his DUID": dhcp6(1, option6(1, b"\0\3\0\1" + BOB_MAC) + ia_na()),
    "has his host name": dhcp6(11, CLIENT_ID + option6(39, b"\1\7bobs-vm\7example\3net\0")),
}


def slots(who: Answerer) -> list[object]:
    parts = (who, who.guest, who.dhcp4, who.dhcp6, who.nd)
    return [getattr(part, name) for part in parts for name in type(part).__slots__]


@pytest.mark.parametrize("what", MARKS)
def test_each_mark_is_in_what_bob_is_told(what: str) -> None:
    """So that its absence says something."""
    told = b"".join(
        (
            *answer(Dhcp4(mac=BOB_MAC, chaddr=BOB_MAC).frame(), BOB)[0],
            *answer(dhcp6(11, mac=BOB_MAC), BOB)[0],
            *answer(dhcp6(1, CLIENT_ID + ia_na(), mac=BOB_MAC), BOB)[0],
            BOB.nd.advertisement,
        )
    )
    assert MARKS[what] in told


def said_of_bob(asked: bytes) -> set[str]:
    """The marks of Bob in what Alice is told, but for those that she said herself."""
    told = b"".join(answer(asked, ALICE)[0])
    return {what for what, mark in MARKS.items() if mark in told and mark not in asked}


@pytest.mark.parametrize("how", CURIOUS)
def test_alice_hears_nothing_of_bob(how: str) -> None:
    assert said_of_bob(CURIOUS[how]) == set()


@pytest.mark.parametrize("how", CURIOUS)
def test_nor_is_she_given_what_is_his(how: str) -> None:
    for sent in answer(CURIOUS[how], ALICE)[0]:
        if sent[12:14] == b"\x08\x00":
            assert (
                sent[58:62] in (bytes(4), ALICE.guest.ip)
                and sent[54:58] in (bytes(4), ALICE.guest.ip)
                and sent[70:76] == ALICE.guest.mac
            )
        elif address6(BOBS_ADDRESS)[4:20] in sent[66:]:
            assert sent.count(address6(BOBS_ADDRESS, 0, 0)) == 1, "she is told that it is over"


@pytest.mark.parametrize("name", CASES)
def test_whatever_alice_asks_she_hears_nothing_of_bob(name: str) -> None:
    assert said_of_bob(CASES[name][1]) == set()


@pytest.mark.parametrize("name", CASES)
def test_what_alice_sends_means_nothing_on_bobs_tap(name: str) -> None:
    assert answer(CASES[name][1], BOB) == ((), "spoofed-mac")


def test_nothing_is_remembered() -> None:
    asked = [*CURIOUS.values(), *(frame for _, frame in CASES.values())]
    before, state = [answer(frame, ALICE) for frame in asked], (slots(ALICE), slots(BOB))
    for frame in asked:
        answer(frame[:6] + BOB_MAC + frame[12:], BOB)
    assert [answer(frame, ALICE) for frame in reversed(asked)] == before[::-1]
    assert (slots(ALICE), slots(BOB)) == state
