"""What each DHCPv6 message gets: RFC 8415, 16 and 18.3, with right, wrong and missing identifiers."""

from __future__ import annotations

from socket import AF_INET6, inet_pton

import pytest

from snf_network.dhcpd.answers import Answerer
from tests.dhcpd.clients import (
    CLIENT_ID,
    CONF,
    LINK_LOCAL,
    MAC,
    OTHER_SERVER,
    PRIVACY,
    ROUTER,
    SERVER_DUID,
    SERVER_ID,
    TAP_MAC,
    address6,
    answer,
    dhcp6,
    guest,
    ia_na,
    ip6,
    ns,
    option6,
    udp,
    with_,
)

GUEST = guest()
OURS, OTHERS = "2001:db8:1::a800:ff:fe12:3456", "2001:db8:1::bad"
SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE, INFORMATION = 1, 3, 4, 5, 6, 8, 9, 11
MINE = ia_na(7, address6(OURS))
WORDS = {
    SOLICIT: "advertise6",
    REQUEST: "reply6",
    CONFIRM: "confirm6",
    RENEW: "reply6",
    REBIND: "reply6",
    RELEASE: "release6",
    DECLINE: "decline6",
    INFORMATION: "information6",
}
# which server identifiers a message may have: none, ours, another's
MATRIX = {
    SOLICIT: (True, "malformed", "malformed"),
    REQUEST: ("malformed", True, "other-server"),
    CONFIRM: (True, "malformed", "malformed"),
    RENEW: ("malformed", True, "other-server"),
    REBIND: (True, "malformed", "malformed"),
    RELEASE: ("malformed", True, "other-server"),
    DECLINE: ("malformed", True, "other-server"),
    INFORMATION: (True, True, "other-server"),
}


def options_of(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((int.from_bytes(data[at : at + 2], "big"), data[at + 4 : at + 4 + size]))
        at += 4 + size
    assert at == len(data)
    return found


def reply(frame: bytes, who: Answerer = GUEST) -> tuple[str, int, list[tuple[int, bytes]]]:
    """The word, and kind and options of the reply; 0 and none if there is none."""
    sent, said = answer(frame, who)
    return (said, sent[0][62], options_of(sent[0][66:])) if sent else (said, 0, [])


@pytest.mark.parametrize("kind", MATRIX)
@pytest.mark.parametrize("server", (0, 1, 2), ids=("no server", "this server", "another server"))
@pytest.mark.parametrize(
    "client", (CLIENT_ID, b"", option6(1), option6(1, b"x" * 131)), ids=("client", "none", "empty", "long")
)
def test_identifiers_are_as_each_message_must_have_them(kind: int, server: int, client: bytes) -> None:
    content = b"" if kind == INFORMATION else MINE
    said, _, found = reply(dhcp6(kind, client + (b"", SERVER_ID, OTHER_SERVER)[server] + content))
    expected = MATRIX[kind][server]
    if client != CLIENT_ID and not (kind == INFORMATION and not client):
        expected = "malformed"
    assert said == (WORDS[kind] if expected is True else expected)
    if expected is True:
        assert dict(found)[2] == SERVER_DUID
        assert dict(found).get(1, b"") == client[4:]


@pytest.mark.parametrize("kind", (0, 2, 7, 10, 12, 13, 14, 255))
def test_what_is_not_for_servers_is_not_read(kind: int) -> None:
    assert reply(dhcp6(kind, CLIENT_ID))[0] == "not-ours"


def ias(found: list[tuple[int, bytes]]) -> list[tuple[int, bytes, list[tuple[int, bytes]]]]:
    """Code, identifier and content of each identity association."""
    return [
        (code, value[:4], options_of(value[4 if code == 4 else 12 :]))
        for code, value in found
        if code in (3, 4, 25)
    ]


def leased(found: list[tuple[int, bytes]]) -> list[tuple[bytes, int]]:
    """The addresses and for how many seconds they are valid."""
    return [
        (value[:16], int.from_bytes(value[20:24], "big"))
        for _, _, content in ias(found)
        for code, value in content
        if code == 5
    ]


PACKED = inet_pton(AF_INET6, OURS)
LEASE = (PACKED, 604800)


@pytest.mark.parametrize(
    ("kind", "server"), ((SOLICIT, b""), (REQUEST, SERVER_ID), (RENEW, SERVER_ID), (REBIND, b""))
)
@pytest.mark.parametrize(
    "held",
    (b"", address6(OURS), address6(OTHERS), address6(OURS) + address6(OTHERS)),
    ids=("nothing", "ours", "another", "both"),
)
def test_whatever_a_client_wishes_it_gets_the_one_address(kind: int, server: bytes, held: bytes) -> None:
    found = leased(reply(dhcp6(kind, CLIENT_ID + server + ia_na(7, held)))[2])
    over = [(inet_pton(AF_INET6, OTHERS), 0)] if kind in (RENEW, REBIND) and address6(OTHERS) in held else []
    assert found == [LEASE, *over]


def test_only_addresses_are_taken_for_some() -> None:
    held = (
        option6(13, b"\0\0" + b"all is well, said the server before")
        + option6(5, b"too short")[:4]
        + bytes(9)
    )
    assert leased(reply(dhcp6(RENEW, CLIENT_ID + SERVER_ID + ia_na(7, held)))[2]) == [LEASE]


def test_the_address_is_in_one_association_only() -> None:
    found = ias(reply(dhcp6(SOLICIT, CLIENT_ID + ia_na(1) + ia_na(2) + ia_na(3)))[2])
    assert [identifier[-1] for _, identifier, _ in found] == [1, 2, 3]
    assert [content[0][0] for _, _, content in found] == [5, 13, 13]
    assert found[1][2] == [(13, b"\0\2")]


def test_temporary_addresses_and_prefixes_there_are_none() -> None:
    asked = CLIENT_ID + option6(4, b"\0\0\0\1" + address6(OTHERS)) + option6(25, b"\0\0\0\2" + bytes(8))
    assert ias(reply(dhcp6(SOLICIT, asked))[2]) == [
        (4, b"\0\0\0\1", [(13, b"\0\2")]),
        (25, b"\0\0\0\2", [(13, b"\0\6")]),
    ]


def test_a_hundred_associations_get_a_short_reply() -> None:
    sent, said = answer(dhcp6(RENEW, CLIENT_ID + SERVER_ID + b"".join(map(ia_na, range(80)))), GUEST)
    assert said == "reply6" and len(sent[0]) < 600
    held = b"".join(address6(f"2001:db8::{number:x}") for number in range(1, 50))
    sent, said = answer(dhcp6(RENEW, CLIENT_ID + SERVER_ID + ia_na(1, held)), GUEST)
    assert said == "reply6" and len(sent[0]) < 600


def test_a_rapid_commit_is_one_exchange() -> None:
    said, kind, found = reply(dhcp6(SOLICIT, CLIENT_ID + ia_na() + option6(14)))
    assert (said, kind) == ("reply6", 7) and (14, b"") in found and leased(found) == [LEASE]
    assert 14 not in dict(reply(dhcp6(SOLICIT, CLIENT_ID + ia_na()))[2])


def test_an_offer_does_not_wait_for_others() -> None:
    assert dict(reply(dhcp6(SOLICIT, CLIENT_ID + ia_na()))[2])[7] == b"\xff"


@pytest.mark.parametrize(
    "who",
    (guest(with_(SUBNET6="2001:db8:1::/56", EUI64="")), guest(with_(SUBNET6="2001:db8:1::/127", EUI64=""))),
)
def test_a_guest_without_an_address_is_told_so(who: Answerer) -> None:
    said, kind, found = reply(dhcp6(SOLICIT, CLIENT_ID + ia_na() + option6(14)), who)
    assert (said, kind) == ("advertise6", 2) and ias(found)[0][2] == [(13, b"\0\2")]


@pytest.mark.parametrize(
    ("held", "status"),
    ((address6(OURS), b"\0\0"), (address6(OTHERS), b"\0\4"), (address6(OURS) + address6(OTHERS), b"\0\4")),
)
def test_confirm_says_whether_all_is_right_here(held: bytes, status: bytes) -> None:
    assert dict(reply(dhcp6(CONFIRM, CLIENT_ID + ia_na(7, held)))[2])[13] == status


def test_confirm_of_nothing_is_not_answered() -> None:
    assert reply(dhcp6(CONFIRM, CLIENT_ID + ia_na()))[0] == "malformed"


@pytest.mark.parametrize(("kind", "said"), ((RELEASE, "release6"), (DECLINE, "decline6")))
def test_what_is_given_back_is_noted(kind: int, said: str) -> None:
    found = reply(dhcp6(kind, CLIENT_ID + SERVER_ID + MINE))
    assert found[:2] == (said, 7) and dict(found[2])[13] == b"\0\0" and not ias(found[2])


def test_information_is_for_those_who_want_no_lease() -> None:
    assert reply(dhcp6(INFORMATION, CLIENT_ID + ia_na()))[0] == "malformed"
    assert dict(reply(dhcp6(INFORMATION, b""))[2]).keys() == {2, 23, 24}


@pytest.mark.parametrize(
    ("asked", "flags", "name"),
    (
        (b"\1\3vm9\0", 6, b"\3vm1\7example\3com\0"),
        (b"\0", 4, b"\3vm1\7example\3com\0"),
        (b"", 4, b"\3vm1\7example\3com\0"),
    ),
)
def test_a_guest_is_told_its_name_if_it_tells_one(asked: bytes, flags: int, name: bytes) -> None:
    assert (
        dict(reply(dhcp6(REQUEST, CLIENT_ID + SERVER_ID + ia_na() + option6(39, asked)))[2])[39]
        == bytes((flags,)) + name
    )
    assert 39 not in dict(reply(dhcp6(REQUEST, CLIENT_ID + SERVER_ID + ia_na()))[2])


def test_a_name_without_a_domain_is_not_closed() -> None:
    found = reply(dhcp6(INFORMATION, CLIENT_ID + option6(39, b"\0")), guest(with_(HOSTNAME="vm1")))[2]
    assert dict(found)[39] == b"\4\3vm1"


def test_replies_go_to_who_asked() -> None:
    sent, _ = answer(dhcp6(INFORMATION, source=PRIVACY, port=5546), GUEST)
    assert sent[0][:12] == MAC + TAP_MAC
    assert sent[0][22:38] == inet_pton(AF_INET6, ROUTER) and sent[0][38:54] == inet_pton(AF_INET6, PRIVACY)
    assert sent[0][54:58] == b"\x02\x23\x02\x22", (
        "clients listen on port 546, wherever they ask from (RFC 8415, 7.2)"
    )
    assert answer(dhcp6(INFORMATION, port=0), GUEST)[0][0][56:58] == b"\x02\x22"


def test_the_servers_identifier_is_the_same_each_time() -> None:
    found = {bytes(dict(reply(dhcp6(INFORMATION))[2])[2]) for _ in range(3)}
    assert found == {b"\0\3\0\1" + TAP_MAC}


@pytest.mark.parametrize(
    ("frame", "expected"),
    (
        (dhcp6(SOLICIT, target=ROUTER), "unicast"),
        (dhcp6(SOLICIT, source="::"), "malformed"),
        (dhcp6(SOLICIT, source="2001:db8:1::5"), "malformed"),
        (dhcp6(SOLICIT, source="fec0::1"), "malformed"),
        (dhcp6(SOLICIT, source="febf::1"), "advertise6"),
        (dhcp6(SOLICIT, source="2081::1"), "malformed"),
        (dhcp6(SOLICIT, mac=b"\xaa\0\0\0\0\x99"), "spoofed-mac"),
        (dhcp6(SOLICIT, CLIENT_ID + b"\0\3\0\x63"), "malformed"),
        (dhcp6(SOLICIT, CLIENT_ID + b"\0\3\0"), "malformed"),
        (dhcp6(SOLICIT, CLIENT_ID + option6(3, bytes(11))), "malformed"),
        (dhcp6(SOLICIT, CLIENT_ID + option6(4, bytes(3))), "malformed"),
        (dhcp6(REQUEST, CLIENT_ID + SERVER_ID + ia_na(7, b"\0\5\0\x18short")), "reply6"),
        (dhcp6(RENEW, CLIENT_ID + SERVER_ID + ia_na(7, b"\0\5\0\x18short")), "malformed"),
        (dhcp6(SOLICIT)[:-1], "malformed"),
        (dhcp6(SOLICIT).replace(b"\x86\xdd\x60", b"\x86\xdd\x40", 1), "malformed"),
        (dhcp6(SOLICIT).replace(b"\x86\xdd\x60", b"\x86\xdd\x6f", 1), "advertise6"),
        (dhcp6(SOLICIT) + bytes(30), "advertise6"),
        (ip6(udp(b"\x0babc", 546, 547, size=11), LINK_LOCAL, "ff02::1:2", 17), "malformed"),
        (ip6(udp(b"\x0babc", 546, 547, size=13), LINK_LOCAL, "ff02::1:2", 17), "malformed"),
        (ip6(udp(b"\x0babc", 546, 547), LINK_LOCAL, "ff02::1:2", 17), "information6"),
        (ip6(udp(b"\x0bab", 546, 547), LINK_LOCAL, "ff02::1:2", 17), "malformed"),
        (ip6(udp(b"\1abc" + CLIENT_ID, 546, 53), LINK_LOCAL, "ff02::1:2", 17), "not-ours"),
        (ip6(bytes(40), LINK_LOCAL, "ff02::1:2", 44), "fragment"),
        (ip6(bytes(40), LINK_LOCAL, "ff02::1:2", 0), "extension"),
        (ip6(bytes(40), LINK_LOCAL, "ff02::1:2", 6), "not-ours"),
        (ip6(b"", LINK_LOCAL, "ff02::1:2", 17)[:53], "malformed"),
        (ip6(b"", LINK_LOCAL, "ff02::1:2", 17), "malformed"),
    ),
)
def test_frames_are_read_within_their_bounds(frame: bytes, expected: str) -> None:
    assert answer(frame, GUEST)[1] == expected


@pytest.mark.parametrize("header", (0, 43, 50, 51, 60, 135, 139, 140, 253, 254))
def test_nothing_stands_before_a_request(header: int) -> None:
    """The extension headers that IANA lists, but for fragments."""
    assert answer(ip6(bytes(8) + b"\1abc", LINK_LOCAL, "ff02::1:2", header), GUEST)[1] == "extension"


@pytest.mark.parametrize(
    ("text", "conf"),
    (
        (with_(), CONF.replace("[ipv6]", "[ipv6]\nmode = slaac")),
        (with_(NODHCP6="yes"), CONF),
        (with_(SUBNET6="", EUI64=""), CONF),
        (with_(), CONF.replace("[ipv6]", "[ipv6]\nenable_ipv6 = no")),
    ),
    ids=("slaac", "NODHCP6", "no SUBNET6", "not enabled"),
)
def test_who_is_not_served_is_not_answered(text: str, conf: str) -> None:
    assert reply(dhcp6(SOLICIT, CLIENT_ID + ia_na()), guest(text, conf))[0] == "not-served"


@pytest.mark.parametrize("mode", ("slaac+dhcpv6", "managed"))
@pytest.mark.parametrize(
    ("keys", "address"),
    (
        ({}, OURS),
        ({"IP6": "2001:db8:1::42"}, "2001:db8:1::42"),
        ({"EUI64": ""}, OURS),
        ({"EUI64": "2001:db8:1:0:198:51:100:10"}, "2001:db8:1:0:198:51:100:10"),
        ({"SUBNET6": "2001:db8:1::/112", "EUI64": "2001:db8:1::10"}, "2001:db8:1::10"),
    ),
)
def test_the_lease_is_of_the_routed_address(mode: str, keys: dict[str, str], address: str) -> None:
    who = guest(with_(**keys), CONF.replace("[ipv6]", f"[ipv6]\nmode = {mode}"))
    assert leased(reply(dhcp6(SOLICIT, CLIENT_ID + ia_na()), who)[2]) == [
        (inet_pton(AF_INET6, address), 604800)
    ]
    assert answer(ns(address), who)[1] == "own-address"


def test_a_guest_may_have_several_addresses() -> None:
    """All of them are in the first association, valid on the link, and no router's."""
    more = ("2001:db8:1::11", "2001:db8:2::11")
    who = guest(with_(MORE6=",".join(more)))
    all_of_them = [inet_pton(AF_INET6, one) for one in (OURS, *more)]
    assert leased(reply(dhcp6(SOLICIT, CLIENT_ID + ia_na()), who)[2]) == [
        (one, 604800) for one in all_of_them
    ]
    old = ia_na(7, address6(OTHERS) + address6(more[0]))
    renewed = leased(reply(dhcp6(RENEW, CLIENT_ID + SERVER_ID + old), who)[2])
    assert renewed == [*((one, 604800) for one in all_of_them), (inet_pton(AF_INET6, OTHERS), 0)]
    both = ia_na(7, address6(OURS) + address6(more[1]))
    assert dict(reply(dhcp6(CONFIRM, CLIENT_ID + both), who)[2])[13][:2] == bytes(2)
    assert [answer(ns(one), who)[1] for one in (OURS, *more)] == ["own-address"] * 3


def test_the_search_list_is_the_bindings_or_the_settings_or_the_guests_own_domain() -> None:
    bare = CONF.replace("domains = example.com\n", "")
    for text, conf, expected in (
        (with_(DOMAIN_SEARCH="a.example,b.example"), CONF, b"\1a\7example\0\1b\7example\0"),
        (with_(HOSTNAME="vm1.lan"), CONF, b"\7example\3com\0"),
        (with_(HOSTNAME="vm1.lan"), bare, b"\3lan\0"),
        (with_(DOMAIN="x.example"), bare, b"\1x\7example\0"),
    ):
        assert dict(reply(dhcp6(INFORMATION), guest(text, conf))[2])[24] == expected


def test_without_a_domain_there_is_no_search_list() -> None:
    found = dict(reply(dhcp6(INFORMATION), guest(with_(HOSTNAME="vm1"), "[dhcp]\n"))[2])
    assert 24 not in found and dict(reply(dhcp6(INFORMATION), guest(settings="[dhcp]\n"))[2])[24]
