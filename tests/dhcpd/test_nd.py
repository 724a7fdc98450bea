"""Router and neighbour solicitations of every kind of guest, and unsolicited advertisements (RFC 4861, RFC
8106).
"""

from __future__ import annotations

import struct
from socket import AF_INET6, inet_pton

import pytest

from snf_network.dhcpd.answers import Answerer
from tests.dhcpd.clients import (
    ALL_NODES,
    CONF,
    LINK_LOCAL,
    MAC,
    PRIVACY,
    ROUTER,
    TAP_MAC,
    answer,
    guest,
    icmp6,
    ns,
    rs,
    with_,
)

GUEST = guest()
OTHER = b"\xaa\0\0\0\0\x99"
GATEWAY, NEIGHBOUR, OURS = "2001:db8:1::1", "2001:db8:1::77", "2001:db8:1::a800:ff:fe12:3456"
BRIDGE_MAC = bytes.fromhex("02aabbccddee")


def packed(address: str) -> bytes:
    return inet_pton(AF_INET6, address)


def mode(name: str) -> str:
    return CONF.replace("[ipv6]", f"[ipv6]\nmode = {name}")


def options_of(frame: bytes) -> dict[int, bytes]:
    """Those of a router advertisement, each whole."""
    found, at = {}, 70
    while at < len(frame):
        size = frame[at + 1] * 8
        assert size and frame[at] not in found
        found[frame[at]] = frame[at : at + size]
        at += size
    assert at == len(frame)
    return found


@pytest.mark.parametrize("source", (LINK_LOCAL, PRIVACY, OURS))
@pytest.mark.parametrize("station", (MAC, None))
def test_a_router_solicitation_from_any_address_is_answered(source: str, station: bytes | None) -> None:
    assert answer(rs(source, station), GUEST) == ((GUEST.nd.advertisement,), "ra")


def test_who_has_no_address_yet_is_answered_too() -> None:
    assert answer(rs("::", None), GUEST)[1] == "ra"
    assert answer(rs("::", MAC), GUEST)[1] == "malformed", "RFC 4861, 6.1.1"


BAD = {
    "hop limit 254": (dict(hops=254), "malformed"),
    "code 1": (dict(code=1), "malformed"),
    "checksum": (dict(spoil=1), "malformed"),
    "another station": (dict(mac=OTHER), "spoofed-mac"),
    "from a group": (dict(source="ff02::1"), "malformed"),
}


@pytest.mark.parametrize("why", BAD)
def test_solicitations_from_elsewhere_are_dropped(why: str) -> None:
    fields, expected = BAD[why]
    assert answer(rs(**fields), GUEST)[1] == expected  # type: ignore[arg-type]
    assert answer(ns(GATEWAY, **fields), GUEST)[1] == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    (
        b"\1\1" + MAC + b"\x0e\0aaaaaa",
        b"\1\1" + MAC + b"\x0e\2aaaaaa",
        b"\1\0aaaaaa",
        b"\1\2aaaaaa",
        b"\1",
        b"\1\1aaaa",
        b"\0\0\0\0\0\0\0\0",
    ),
)
def test_options_that_do_not_fit_are_malformed(options: bytes) -> None:
    assert answer(icmp6(133, bytes(4) + options, LINK_LOCAL, "ff02::2"), GUEST)[1] == "malformed"
    assert (
        answer(icmp6(135, bytes(4) + packed(GATEWAY) + options, LINK_LOCAL, "ff02::1:ff00:1"), GUEST)[1]
        == "malformed"
    )


@pytest.mark.parametrize("kind", (1, 128, 130, 134, 136, 137, 143, 255))
def test_other_messages_are_for_others(kind: int) -> None:
    assert answer(icmp6(kind, bytes(20), LINK_LOCAL, ALL_NODES), GUEST)[1] == "not-ours"


def test_messages_too_short_to_be_one() -> None:
    assert answer(icmp6(133, b"", LINK_LOCAL, "ff02::2"), GUEST)[1] == "malformed"
    assert answer(icmp6(135, bytes(19), LINK_LOCAL, "ff02::1:ff00:1"), GUEST)[1] == "malformed"


SOLICITED = {
    "the gateway": (ns(GATEWAY), TAP_MAC),
    "the gateway, from a privacy address": (ns(GATEWAY, PRIVACY), TAP_MAC),
    "the gateway, from a global address": (ns(GATEWAY, OURS), TAP_MAC),
    "the gateway, asked directly": (ns(GATEWAY, target=GATEWAY), TAP_MAC),
    "the gateway, without a station": (ns(GATEWAY, station=None, target=GATEWAY), TAP_MAC),
    "a neighbour": (ns(NEIGHBOUR), TAP_MAC),
    "the node": (ns(ROUTER), TAP_MAC),
    "a neighbour of another prefix": (ns("2001:db8:2::1"), "not-served"),
    "another link-local address": (ns("fe80::99"), "not-served"),
    "the guest itself": (ns(OURS), "own-address"),
    "the guest's link-local address": (ns(LINK_LOCAL, PRIVACY), "own-address"),
    "what it asks from": (ns("2001:db8:1::99", "2001:db8:1::99"), "own-address"),
    "whether its address is taken": (ns(OURS, "::", None), "dad"),
    "whether its privacy address is taken": (ns("2001:db8:1:0:1c2d:7a11:9be:44f0", "::", None), "dad"),
    "whether the gateway's address is taken": (ns(GATEWAY, "::", None), "dad"),
    "from nowhere, with a station": (ns(OURS, "::", MAC), "malformed"),
    "from nowhere, directly": (ns(OURS, "::", None, target=OURS), "malformed"),
    "a group": (ns("ff02::1"), "malformed"),
}


@pytest.mark.parametrize("what", SOLICITED)
def test_each_neighbour_solicitation(what: str) -> None:
    asked, expected = SOLICITED[what]
    sent, said = answer(asked, GUEST)
    if isinstance(expected, str):
        assert (sent, said) == ((), expected)
        return
    assert said == "na" and len(sent) == 1
    assert sent[0][:12] == MAC + TAP_MAC and sent[0][38:54] == asked[22:38], "to who asked"
    assert sent[0][22:38] == asked[62:78], "from the address that it tells of (RFC 4861, 4.4)"
    assert sent[0][58:] == struct.pack("!I", 0xC0000000) + asked[62:78] + b"\2\1" + expected


def test_a_gateway_outside_of_the_prefix_is_the_node_too() -> None:
    assert answer(ns("fe80::1"), guest(with_(GATEWAY6="fe80::1")))[1] == "na"
    assert answer(ns("2001:db8:2::1"), guest(with_(GATEWAY6="2001:db8:2::1")))[1] == "na"


def test_a_prefix_that_ends_within_a_byte() -> None:
    who = guest(with_(SUBNET6="2001:db8:0:20::/59"))
    assert answer(ns("2001:db8:0:3f::1"), who)[1] == "na"
    assert answer(ns("2001:db8:0:40::1"), who)[1] == "not-served"


@pytest.mark.parametrize(
    ("asked", "said"), ((NEIGHBOUR, "not-served"), (GATEWAY, "not-served"), ("fe80::aa:bbff:fecc:ddee", "na"))
)
def test_on_a_bridge_neighbours_answer_for_themselves(asked: str, said: str) -> None:
    assert answer(ns(asked), guest(with_(INDEV="br0"), source_mac=BRIDGE_MAC))[1] == said


def test_on_a_bridge_the_gateway_is_who_the_binding_says() -> None:
    sent, said = answer(
        ns(GATEWAY), guest(with_(INDEV="br0", GATEWAY6_MAC="00:11:22:33:44:55"), source_mac=BRIDGE_MAC)
    )
    assert (
        said == "na" and sent[0][6:12] == BRIDGE_MAC and sent[0].endswith(bytes.fromhex("0201001122334455"))
    )


@pytest.mark.parametrize(
    ("setting", "indev", "bit"),
    (("auto", "tap0", 0), ("auto", "br0", 0x80), ("yes", "tap0", 0x80), ("no", "br0", 0)),
)
def test_who_is_reached_directly_is_not_answered_for(setting: str, indev: str, bit: int) -> None:
    who = guest(with_(INDEV=indev), CONF.replace("[ipv6]", f"[ipv6]\non_link = {setting}"))
    assert options_of(who.nd.advertisement)[3][3] & 0x80 == bit
    assert answer(ns(NEIGHBOUR), who)[1] == ("not-served" if bit else "na")


@pytest.mark.parametrize(
    ("name", "keys", "flags", "autonomous"),
    (
        ("slaac", {}, 0, 0x40),
        ("slaac+dhcpv6", {}, 0xC0, 0),
        ("slaac+dhcpv6", {"SLAAC": "yes"}, 0x40, 0x40),
        ("slaac+dhcpv6", {"NODHCP6": "yes"}, 0, 0x40),
        ("slaac+dhcpv6", {"INDEV": "br0"}, 0x58, 0x40),
        ("slaac+dhcpv6", {"INDEV": "br0", "SLAAC": "no"}, 0xD8, 0),
        ("managed", {"SLAAC": "yes"}, 0xC0, 0),
        ("managed", {}, 0xC0, 0),
        ("managed", {"NODHCP6": "yes"}, 0, 0x40),
        ("slaac", {"SUBNET6": "2001:db8:1::/56"}, 0, 0),
        ("managed", {"SUBNET6": "2001:db8:1::/56"}, 0xC0, 0),
        ("managed", {"SUBNET6": "2001:db8:1::/56", "EUI64": ""}, 0x40, 0),
        ("slaac+dhcpv6", {"SUBNET6": "2001:db8:1::/56"}, 0xC0, 0),
        ("slaac+dhcpv6", {"IP6": "2001:db8:1::5"}, 0xC0, 0),
        ("slaac+dhcpv6", {"EUI64": "2001:db8:1:0:198:51:100:10"}, 0xC0, 0),
        ("slaac+dhcpv6", {"SUBNET6": "2001:db8:1::/112", "EUI64": "2001:db8:1::10"}, 0xC0, 0),
        ("slaac", {"IP6": "2001:db8:1::5"}, 0, 0x40),
    ),
)
def test_modes_are_flags(name: str, keys: dict[str, str], flags: int, autonomous: int) -> None:
    advertised = guest(with_(**keys), mode(name)).nd.advertisement
    assert advertised[59] == flags and options_of(advertised)[3][3] & 0x40 == autonomous


def lifetimes(frame: bytes) -> tuple[int, int, int, int, int]:
    """Of the router, the prefix (valid, preferred), the name servers and the search list."""
    found = options_of(frame)
    numbers = (frame[60:62], found[3][4:8], found[3][8:12], found[25][4:8], found[31][4:8])
    return tuple(int.from_bytes(number, "big") for number in numbers)  # type: ignore[return-value]


def test_lifetimes_end_and_outlive_three_periods() -> None:
    router, valid, preferred, servers, search = lifetimes(GUEST.nd.advertisement)
    assert (
        3 * 1800 <= router <= 9000 and router <= preferred < valid < 0xFFFFFFFF and servers == search == 1800
    )


def test_the_farewell_ends_all_of_it() -> None:
    assert lifetimes(GUEST.nd.farewell()) == (0, 0, 0, 0, 0)
    assert options_of(GUEST.nd.farewell()).keys() == options_of(GUEST.nd.advertisement).keys()


@pytest.mark.parametrize(
    ("keys", "lifetime"),
    (
        ({}, 9000),
        ({"GATEWAY6": "fe80::1"}, 9000),
        ({"PRIVATE": "yes"}, 0),
        ({"GATEWAY6": ""}, 0),
        ({"GATEWAY6": "", "INDEV": "br0"}, 0),
    ),
)
def test_a_network_without_a_gateway_has_no_router(keys: dict[str, str], lifetime: int) -> None:
    """RFC 4861, 6.2.3."""
    assert lifetimes(guest(with_(**keys)).nd.advertisement)[0] == lifetime


def test_without_a_domain_there_is_no_search_list() -> None:
    who = guest(with_(HOSTNAME="vm1"), "[dhcp]\n")
    assert 31 not in options_of(who.nd.advertisement) and 31 not in options_of(who.nd.farewell())


def test_the_taps_mtu_is_advertised() -> None:
    for mtu in (1400, 9000):
        assert options_of(guest(mtu=mtu).nd.advertisement)[5] == struct.pack("!BBHI", 5, 1, 0, mtu)
    assert 5 not in options_of(guest(mtu=1500).nd.advertisement)
    assert 5 not in options_of(guest(mtu=1200).nd.advertisement), "less than IPv6 needs"


def test_what_is_advertised_is_all_there_is() -> None:
    found = options_of(guest(with_(MTU="1400")).nd.advertisement)
    assert found[1] == b"\1\1" + TAP_MAC
    assert found[5] == struct.pack("!BBHI", 5, 1, 0, 1400)
    assert found[3][16:] == packed("2001:db8:1::") and found[3][2] == 64
    assert found[25][8:] == packed("2001:db8:100::1")
    assert found[31][8:] == b"\7example\3com\0\0\0\0"
    assert 5 not in options_of(guest(with_(MTU="1000")).nd.advertisement), "less than IPv6 needs"
    servers = options_of(guest(with_(NAMESERVERS6="2001:db8::a,2001:db8::b")).nd.advertisement)[25]
    assert servers[8:] == packed("2001:db8::a") + packed("2001:db8::b")


def test_an_advertisement_is_from_the_link_local_address_to_all_nodes() -> None:
    sent = guest(with_(INDEV="br0"), source_mac=BRIDGE_MAC).nd.advertisement
    assert sent[:12] == b"\x33\x33\0\0\0\1" + BRIDGE_MAC
    assert (
        sent[22:38] == packed("fe80::aa:bbff:fecc:ddee")
        and sent[38:54] == packed(ALL_NODES)
        and sent[21] == 255
    )


@pytest.mark.parametrize(
    "who",
    (guest(with_(SUBNET6="", EUI64="", GATEWAY6="")), guest(settings="[ipv6]\nenable_ipv6 = no\n")),
    ids=("no SUBNET6", "not enabled"),
)
def test_a_guest_without_ipv6_hears_nothing(who: Answerer) -> None:
    assert who.nd.advertisement == who.nd.farewell() == b""
    for asked in (rs(), ns(GATEWAY), ns(ROUTER)):
        assert answer(asked, who) == ((), "not-served")


def test_a_station_of_a_guest_that_may_spoof_is_answered_itself() -> None:
    sent, said = answer(ns(GATEWAY, PRIVACY, OTHER, mac=OTHER), guest(with_(MACSPOOF="yes")))
    assert said == "na" and sent[0][:6] == OTHER
