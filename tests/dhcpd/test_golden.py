"""Golden frames: what a guest sends and what it gets, byte for byte, in a form that a person can check
(dissect.py).

`tests/dhcpd/golden/rewrite` writes the files again, for review by `git diff`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from snf_network.dhcpd.answers import Answerer
from tests.dhcpd.clients import (
    CLIENT_ID,
    CONF,
    MAC,
    PRIVACY,
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
    rs,
    with_,
)
from tests.dhcpd.dissect import text

GOLDEN = Path(__file__).resolve().parent / "golden"
ALL_KEYS = with_(
    NAMESERVERS="192.0.2.5,192.0.2.6",
    NAMESERVERS6="2001:db8:9::1",
    DOMAIN="lan.example",
    NTP="192.0.2.123",
    MTU="1400",
    DOMAIN_SEARCH="lan.example, example.org",
    ROUTES="10.0.0.0/8 via 198.51.100.2, 172.16.0.0/12 via 198.51.100.3",
    LEASE="600",
)
SLASH32 = with_(SUBNET="198.51.100.10/32", GATEWAY="169.254.1.1")
BRIDGED = with_(INDEV="br0", GATEWAY6_MAC="00:11:22:33:44:55")
MANAGED = CONF.replace("[ipv6]", "[ipv6]\nmode = managed")
SLAAC = CONF.replace("[ipv6]", "[ipv6]\nmode = slaac")
CHOSEN = option(50, "198.51.100.10") + option(54, "192.0.2.1")
CLIENT = option(61, b"\xff" + MAC)
IA = CLIENT_ID + ia_na()
NAMED = option6(39, b"\1\3vm9\0")


def frame(**fields: object) -> bytes:
    return Dhcp4(**fields).frame()  # type: ignore[arg-type]


CASES: dict[str, tuple[Answerer, bytes]] = {
    "discover": (guest(), frame(options=CLIENT + option(55, b"\1\3\6"))),
    "discover-broadcast": (guest(), frame(flags=0x8000)),
    "discover-all-keys": (guest(ALL_KEYS), frame()),
    "discover-smallest": (guest(with_(HOSTNAME="a", SUBNET="", GATEWAY="")), frame()),
    "discover-slash-32": (guest(SLASH32), frame()),
    "discover-private": (guest(with_(PRIVATE="yes")), frame()),
    "discover-private-slash-32": (guest(with_(SLASH32, PRIVATE="yes")), frame()),
    "discover-server-on-link": (
        guest(settings=CONF.replace("[dhcp]", "[dhcp]\nserver_on_link = yes")),
        frame(),
    ),
    "discover-odd-length": (
        guest(with_(HOSTNAME="vm10.example.com")),
        frame(options=option(61, b"12") + option(55, b"\1")),
    ),
    "discover-relayed": (
        guest(settings=CONF.replace("[dhcp]", "[dhcp]\nallow_relay = yes")),
        frame(giaddr="198.51.100.77", options=option(82, b"\1\4tap0"), port=67),
    ),
    "request-selecting": (guest(), frame(kind=3, options=CHOSEN + CLIENT)),
    "request-renewing": (
        guest(),
        frame(kind=3, ciaddr="198.51.100.10", source="198.51.100.10", target="192.0.2.1"),
    ),
    "request-other-address": (guest(), frame(kind=3, options=option(50, "198.51.100.99") + CLIENT)),
    "inform": (guest(), frame(kind=8, ciaddr="198.51.100.10", source="198.51.100.10")),
    "lease-forever": (guest(with_(LEASE="4294967295")), frame()),
    "rs": (guest(), rs()),
    "rs-managed": (guest(settings=MANAGED), rs(PRIVACY)),
    "rs-slaac": (guest(settings=SLAAC), rs("::", None)),
    "rs-bridged": (guest(BRIDGED), rs()),
    "rs-private-mtu": (guest(with_(PRIVATE="yes", MTU="1400")), rs()),
    "rs-slash-56": (guest(with_(SUBNET6="2001:db8:1::/56")), rs()),
    "ns-gateway": (guest(), ns("2001:db8:1::1")),
    "ns-neighbour": (guest(), ns("2001:db8:1::77", PRIVACY)),
    "ns-link-local": (
        guest(),
        ns("fe80::ce47:52ff:fe4e:4554", station=None, target="fe80::ce47:52ff:fe4e:4554"),
    ),
    "ns-gateway-bridged": (guest(BRIDGED), ns("2001:db8:1::1")),
    "solicit": (guest(settings=MANAGED), dhcp6(1, IA)),
    "solicit-rapid": (guest(), dhcp6(1, IA + option6(14))),
    "solicit-all-sorts": (
        guest(),
        dhcp6(1, IA + ia_na(8) + option6(4, b"\0\0\0\x09") + option6(25, b"\0\0\0\x0a" + bytes(8))),
    ),
    "request6": (guest(), dhcp6(3, IA + SERVER_ID + NAMED, source=PRIVACY)),
    "renew6-other-address": (
        guest(),
        dhcp6(5, CLIENT_ID + SERVER_ID + ia_na(7, address6("2001:db8:1::bad"))),
    ),
    "rebind6": (guest(), dhcp6(6, CLIENT_ID + ia_na(7, address6("2001:db8:1::a800:ff:fe12:3456")))),
    "confirm6": (guest(), dhcp6(4, CLIENT_ID + ia_na(7, address6("2001:db8:1::a800:ff:fe12:3456")))),
    "confirm6-other-address": (guest(), dhcp6(4, CLIENT_ID + ia_na(7, address6("2001:db8:1::bad")))),
    "release6": (
        guest(),
        dhcp6(8, CLIENT_ID + SERVER_ID + ia_na(7, address6("2001:db8:1::a800:ff:fe12:3456"))),
    ),
    "information-request": (guest(), dhcp6(11)),
    "information-request-anonymous": (guest(ALL_KEYS), dhcp6(11, option6(6, b"\0\x17\0\x18"))),
}


def outcome(name: str) -> str:
    """The frame, the word and the replies of a case."""
    who, asked = CASES[name]
    replies, word = answer(asked, who)
    return f"{text(asked)}\n= {word}\n" + "".join(f"\n{text(reply)}" for reply in replies)


def unasked() -> str:
    """What is sent without being asked for, the last time, too."""
    who = guest()
    return f"{text(who.nd.advertisement)}\n= farewell\n\n{text(who.nd.farewell())}"


OUTCOMES = {**{name: lambda name=name: outcome(name) for name in CASES}, "unasked": unasked}


@pytest.mark.parametrize("name", OUTCOMES)
def test_frames_are_as_they_were(name: str) -> None:
    assert OUTCOMES[name]() == (GOLDEN / name).read_text(), (
        f"if it is meant: tests/dhcpd/golden/rewrite; git diff {GOLDEN}/{name}"
    )


@pytest.mark.parametrize("name", OUTCOMES)
def test_no_reply_is_wrong_in_itself(name: str) -> None:
    assert "WRONG" not in OUTCOMES[name]()


def test_every_file_belongs_to_a_case() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {*OUTCOMES, "rewrite"}
