"""What each DHCPv4 message gets: the table of RFC 2131, 4.3, and what must never be answered."""

from __future__ import annotations

import struct

import pytest

from snf_network.dhcpd import dhcp4
from snf_network.dhcpd.answers import Answerer
from tests.dhcpd.clients import CONF, MAC, TAP_MAC, Dhcp4, answer, guest, ip4, option, udp, with_

OURS, OTHERS, SERVER, ELSEWHERE = "198.51.100.10", "198.51.100.99", "192.0.2.1", "192.0.2.99"
ASK, NAME = 50, 54
GUEST = guest()
OTHER = b"\xaa\0\0\0\0\x99"
BROADCAST = b"\xff" * 6


def word(**fields: object) -> str:
    return reply(**fields)[0]


def reply(who: Answerer = GUEST, **fields: object) -> tuple[str, bytes]:
    """The word and the one frame, empty if there is none."""
    sent, said = answer(Dhcp4(**fields).frame(), who)  # type: ignore[arg-type]
    assert len(sent) <= 1
    return said, sent[0] if sent else b""


def options_of(frame: bytes) -> dict[int, bytes]:
    found, at = {}, 282
    while frame[at] != 255:
        assert frame[at] not in found, "an option twice"
        found[frame[at]] = frame[at + 2 : at + 2 + frame[at + 1]]
        at += 2 + frame[at + 1]
    return found


STATES = {
    # state: what the client sends, what it gets
    "INIT": (dict(kind=1), "offer"),
    "INIT, asking for another address": (dict(kind=1, options=option(ASK, OTHERS)), "offer"),
    "SELECTING": (dict(kind=3, options=option(ASK, OURS) + option(NAME, SERVER)), "ack"),
    "SELECTING, another address": (dict(kind=3, options=option(ASK, OTHERS) + option(NAME, SERVER)), "nak"),
    "SELECTING, another server": (
        dict(kind=3, options=option(ASK, OURS) + option(NAME, ELSEWHERE)),
        "other-server",
    ),
    "SELECTING, another server, another address": (
        dict(kind=3, options=option(ASK, OTHERS) + option(NAME, ELSEWHERE)),
        "other-server",
    ),
    "SELECTING, no address": (dict(kind=3, options=option(NAME, SERVER)), "malformed"),
    "SELECTING, a server of two bytes": (
        dict(kind=3, options=option(ASK, OURS) + option(NAME, b"\1\2")),
        "other-server",
    ),
    "SELECTING, an address of two bytes": (
        dict(kind=3, options=option(ASK, b"\1\2") + option(NAME, SERVER)),
        "nak",
    ),
    "INIT-REBOOT": (dict(kind=3, options=option(ASK, OURS)), "ack"),
    "INIT-REBOOT, between single zeros": (dict(kind=3, options=b"\0" + option(ASK, OURS) + b"\0"), "ack"),
    "INIT-REBOOT, another address": (dict(kind=3, options=option(ASK, OTHERS)), "nak"),
    "RENEWING": (dict(kind=3, ciaddr=OURS, source=OURS, target=SERVER, to=TAP_MAC), "ack"),
    "RENEWING, another address": (
        dict(kind=3, ciaddr=OTHERS, source=OTHERS, target=SERVER, to=TAP_MAC),
        "nak",
    ),
    "RENEWING, at another server": (
        dict(kind=3, ciaddr=OURS, source=OURS, target=ELSEWHERE, to=TAP_MAC),
        "other-server",
    ),
    "RENEWING, at a neighbour": (
        dict(kind=3, ciaddr=OURS, source=OURS, target=ELSEWHERE, to=b"\x02" + bytes(5)),
        "other-server",
    ),
    "RENEWING, with the server named": (
        dict(kind=3, ciaddr=OURS, source=OURS, target=SERVER, options=option(NAME, SERVER)),
        "ack",
    ),
    "REBINDING": (dict(kind=3, ciaddr=OURS, source=OURS), "ack"),
    "REBINDING, another address": (dict(kind=3, ciaddr=OTHERS, source=OTHERS), "nak"),
    "two addresses, one of them right": (dict(kind=3, ciaddr=OURS, options=option(ASK, OTHERS)), "nak"),
    "twice the same": (dict(kind=3, ciaddr=OURS, options=option(ASK, OURS)), "ack"),
    "REQUEST of nothing": (dict(kind=3), "malformed"),
    "INFORM": (dict(kind=8, ciaddr=OURS, source=OURS), "inform"),
    "INFORM without ciaddr": (dict(kind=8, source=OURS), "inform"),
    "INFORM from another address": (dict(kind=8, ciaddr=OTHERS, source=OTHERS), "other-address"),
    "INFORM of another address than it is from": (dict(kind=8, ciaddr=OTHERS, source=OURS), "other-address"),
    "DECLINE": (dict(kind=4, options=option(ASK, OURS) + option(NAME, SERVER)), "decline"),
    "DECLINE of another's offer": (
        dict(kind=4, options=option(ASK, OTHERS) + option(NAME, ELSEWHERE)),
        "other-server",
    ),
    "RELEASE of another's lease": (
        dict(kind=7, ciaddr=OTHERS, source=OTHERS, options=option(NAME, ELSEWHERE)),
        "other-server",
    ),
    "RELEASE": (dict(kind=7, ciaddr=OURS, source=OURS, target=SERVER), "release"),
    "BOOTP without 53": (dict(kind=None), "bootp"),
    "BOOTP without a cookie": (dict(kind=None, cookie=bytes(4)), "bootp"),
    "what only servers send: OFFER": (dict(kind=2), "malformed"),
    "what only servers send: ACK": (dict(kind=5), "malformed"),
    "a kind there is not": (dict(kind=99), "malformed"),
    "a reply": (dict(kind=1, op=2), "malformed"),
    "other hardware": (dict(kind=1, htype=6), "malformed"),
    "a long address": (dict(kind=1, hlen=16), "malformed"),
    "relayed, says the guest": (dict(kind=1, giaddr=OTHERS), "giaddr"),
    "another station in the message": (dict(kind=1, chaddr=OTHER), "spoofed-mac"),
    "another station on the wire": (dict(kind=1, mac=OTHER), "spoofed-mac"),
    "another station in both": (dict(kind=1, chaddr=OTHER, mac=OTHER), "spoofed-mac"),
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_gets_what_the_rfc_says(state: str) -> None:
    fields, expected = STATES[state]
    said, sent = reply(**fields)
    assert said == expected
    assert bool(sent) == (said in ("offer", "ack", "nak", "inform"))


@pytest.mark.parametrize(
    ("fields", "station", "target"),
    (
        (dict(kind=1), MAC, OURS),
        (dict(kind=1, flags=0x8000), BROADCAST, "255.255.255.255"),
        (dict(kind=1, flags=0x7FFF), MAC, OURS),
        (dict(kind=3, options=option(ASK, OURS), flags=0x8000), BROADCAST, "255.255.255.255"),
        (dict(kind=3, options=option(ASK, OTHERS)), BROADCAST, "255.255.255.255"),
        (dict(kind=3, ciaddr=OTHERS, source=OTHERS, target=SERVER), BROADCAST, "255.255.255.255"),
        (dict(kind=3, ciaddr=OURS, flags=0x8000), MAC, OURS),
        (dict(kind=8, ciaddr=OURS, flags=0x8000), MAC, OURS),
    ),
)
def test_replies_go_where_rfc_2131_4_1_says(fields: dict[str, object], station: bytes, target: str) -> None:
    sent = reply(**fields)[1]
    assert sent[:6] == station
    assert ".".join(map(str, sent[30:34])) == target
    assert sent[6:12] == TAP_MAC


def test_an_address_is_only_in_offers_and_acks() -> None:
    assert reply(kind=1)[1][58:62] == bytes((198, 51, 100, 10))
    assert reply(kind=3, options=option(ASK, OTHERS))[1][54:66] == bytes(12)
    inform = reply(kind=8, ciaddr=OURS, source=OURS)[1]
    assert inform[54:58] == bytes((198, 51, 100, 10)) and inform[58:62] == bytes(4)


def test_an_inform_gets_no_lease() -> None:
    found = options_of(reply(kind=8, ciaddr=OURS, source=OURS)[1])
    assert not {51, 58, 59} & found.keys()
    assert {1, 3, 6, 12, 15, 28, 53, 54} == found.keys()


def test_a_nak_says_nothing_else() -> None:
    assert options_of(reply(kind=3, options=option(ASK, OTHERS))[1]).keys() == {53, 54}


def test_what_the_client_is_called_is_said_back() -> None:
    for fields in (dict(kind=1), dict(kind=3, options=b""), dict(kind=3), dict(kind=8, ciaddr=OURS)):
        named = (
            bytes(fields.pop("options", b""))
            + option(61, b"\0hello")
            + (option(ASK, OTHERS) if fields["kind"] == 3 else b"")
        )  # type: ignore
        assert options_of(reply(options=named, **fields)[1])[61] == b"\0hello"


def test_the_header_is_of_this_request_and_nothing_else_is_copied() -> None:
    sent = reply(kind=1, xid=0xCAFEBABE, flags=0x8000)[1]
    assert sent[46:50] == bytes.fromhex("cafebabe") and sent[52:54] == b"\x80\0"
    assert sent[54:58] == bytes(4) and sent[62:66] == bytes(4), "ciaddr and siaddr are the server's to say"
    assert sent[86:278] == bytes(192), "sname and file are not echoed"


def test_no_message_is_smaller_than_300_or_larger_than_promised() -> None:
    everything = guest(
        with_(
            HOSTNAME=".".join(["a" * 60] * 4),
            DOMAIN_SEARCH=",".join(["b" * 30] * 7),
            NTP="192.0.2.9",
            NAMESERVERS="192.0.2.2",
            ROUTES=", ".join(f"10.{part}.0.0/16 via 198.51.100.2" for part in range(12)),
        )
    )
    sizes = []
    for who in (GUEST, guest(with_(HOSTNAME="a", SUBNET="", GATEWAY="")), everything):
        for size in range(256):
            sent = reply(who, kind=1, options=option(61, b"x" * size) if size else b"")[1]
            assert {53, 54, 51, 1} <= options_of(sent).keys()
            sizes.append(len(sent) - 42)
    assert min(sizes) == 300 and max(sizes) == 548, "no byte of the promised is wasted, either"


def test_a_client_that_takes_more_gets_more() -> None:
    who = guest(with_(HOSTNAME=".".join(["a" * 60] * 4), DOMAIN_SEARCH=",".join(["b" * 30] * 7)))
    wanted = {12, 15, 119}
    assert not wanted <= options_of(reply(who, kind=1)[1]).keys()
    assert wanted <= options_of(reply(who, kind=1, options=option(57, struct.pack("!H", 1500)))[1]).keys()
    assert (
        not wanted <= options_of(reply(who, kind=1, options=option(57, struct.pack("!H", 100)))[1]).keys()
    ), "576 is promised"


def test_no_reply_is_longer_than_a_frame() -> None:
    name = ".".join(["a" * 62] * 4)
    who = guest(
        with_(
            HOSTNAME=name,
            DOMAIN=name,
            DOMAIN_SEARCH=",".join(["b" * 60] * 4),
            SUBNET="198.51.100.10/32",
            ROUTES=", ".join(f"10.0.0.{part}/32 via 192.0.2.{part}" for part in range(1, 13)),
            NAMESERVERS=",".join(["192.0.2.2"] * 8),
            NTP=",".join(["192.0.2.2"] * 8),
            MTU="1400",
        )
    )
    sizes = {
        asked: len(
            reply(who, kind=1, options=option(61, b"x" * 255) + option(57, struct.pack("!H", asked)))[1]
        )
        for asked in range(576, 0xFFFF, 7)
    }
    assert all(size <= min(max(asked, 576), 1500) + 14 for asked, size in sizes.items())
    assert max(sizes.values()) > 1300


def test_a_lease_is_renewed_before_it_is_rebound_before_it_ends() -> None:
    for lease in (60, 61, 3600, 7200, 604800, 0xFFFFFFFE, 0xFFFFFFFF):
        found = options_of(reply(guest(with_(LEASE=str(lease))), kind=1)[1])
        renew, rebind, whole = (int.from_bytes(found[code], "big") for code in (58, 59, 51))
        assert whole == lease and (0 < renew < rebind < whole or renew == rebind == whole == 0xFFFFFFFF)


def test_a_slash_32_knows_the_way_to_its_gateway() -> None:
    found = options_of(reply(guest(with_(SUBNET="198.51.100.10/32", GATEWAY="169.254.1.1")), kind=1)[1])
    assert found[1] == b"\xff" * 4
    assert found[121] == bytes((32, 169, 254, 1, 1, 0, 0, 0, 0, 0, 169, 254, 1, 1)) == found[249]


def test_routes_have_the_way_out_with_them_since_clients_look_nowhere_else() -> None:
    found = options_of(reply(guest(with_(ROUTES="10.0.0.0/9 via 198.51.100.7")), kind=1)[1])
    assert found[121] == bytes((9, 10, 0, 198, 51, 100, 7, 0, 198, 51, 100, 1))


def test_a_private_guest_has_no_way_out() -> None:
    for extra in ({}, {"SUBNET": "198.51.100.10/32"}):
        assert not {3, 121, 249} & options_of(reply(guest(with_(PRIVATE="yes", **extra)), kind=1)[1]).keys()
    found = options_of(reply(guest(with_(PRIVATE="yes", ROUTES="10.0.0.0/8 via 203.0.113.1")), kind=1)[1])
    assert found[121] == bytes((32, 203, 0, 113, 1, 0, 0, 0, 0, 8, 10, 203, 0, 113, 1))


def test_the_binding_is_before_the_settings() -> None:
    conf = CONF.replace(
        "[ipv6]", "domain = all.example\ndomain_search = all.example\nntp = 192.0.2.50\n[ipv6]"
    )
    common = options_of(reply(guest(settings=conf), kind=1)[1])
    assert (common[15], common[42], common[119]) == (
        b"all.example",
        bytes((192, 0, 2, 50)),
        b"\3all\7example\0",
    )
    keys = with_(
        DOMAIN="own.example", DOMAIN_SEARCH="own.example", NTP="192.0.2.51", NAMESERVERS="192.0.2.52"
    )
    own = options_of(reply(guest(keys, conf), kind=1)[1])
    assert (own[15], own[42], own[119], own[6]) == (
        b"own.example",
        bytes((192, 0, 2, 51)),
        b"\3own\7example\0",
        bytes((192, 0, 2, 52)),
    )


def test_the_domain_is_what_follows_the_first_dot() -> None:
    assert options_of(reply(kind=1)[1])[15] == b"example.com"
    assert 15 not in options_of(reply(guest(with_(HOSTNAME="vm1")), kind=1)[1]), "none is known"
    own = options_of(reply(guest(with_(HOSTNAME="vm1", DOMAIN="lan.example")), kind=1)[1])
    assert own[15] == b"lan.example"


@pytest.mark.parametrize(
    ("subnet", "broadcast"),
    (
        ("198.51.100.0/24", bytes((198, 51, 100, 255))),
        ("198.51.100.8/30", bytes((198, 51, 100, 11))),
        ("198.51.100.10/31", None),
        ("198.51.100.10/32", None),
        ("", None),
    ),
)
def test_a_subnet_above_30_has_no_broadcast_address(subnet: str, broadcast: bytes | None) -> None:
    assert options_of(reply(guest(with_(SUBNET=subnet)), kind=1)[1]).get(28) == broadcast


def test_the_mtu_is_the_taps_unless_the_binding_has_one() -> None:
    assert 26 not in options_of(reply(kind=1)[1])
    for mtu in (1400, 9000):
        assert options_of(reply(guest(mtu=mtu), kind=1)[1])[26] == mtu.to_bytes(2, "big")
    assert options_of(reply(guest(with_(MTU="1300"), mtu=1400), kind=1)[1])[26] == (1300).to_bytes(2, "big")
    assert options_of(reply(guest(mtu=65536), kind=1)[1])[26] == b"\xff\xff", "that of lo"


@pytest.mark.parametrize(
    ("keys", "server"),
    (
        ({}, (198, 51, 100, 1)),
        ({"GATEWAY": "198.51.100.254"}, (198, 51, 100, 254)),
        ({"GATEWAY": ""}, (198, 51, 100, 1)),
        ({"GATEWAY": "", "SUBNET": "198.51.100.10/32"}, (192, 0, 2, 1)),
        ({"GATEWAY": "", "SUBNET": ""}, (192, 0, 2, 1)),
    ),
)
def test_a_server_on_the_link_is_the_gateway_or_the_first_address(
    keys: dict[str, str], server: tuple[int, ...]
) -> None:
    sent = reply(guest(with_(**keys), CONF.replace("[dhcp]", "[dhcp]\nserver_on_link = yes")), kind=1)[1]
    assert sent[26:30] == bytes(server) == options_of(sent)[54]


def test_a_station_of_a_guest_that_may_spoof_is_answered_itself() -> None:
    said, sent = reply(guest(with_(MACSPOOF="yes")), kind=1, chaddr=OTHER, mac=OTHER)
    assert said == "offer" and sent[:6] == OTHER and sent[70:76] == OTHER


def test_a_relay_is_answered_only_where_that_is_set() -> None:
    said, sent = reply(
        guest(settings=CONF.replace("[dhcp]", "[dhcp]\nallow_relay = yes")),
        kind=1,
        giaddr=OTHERS,
        options=option(82, b"\1\1x"),
    )
    assert (
        said == "offer"
        and sent[30:34] == bytes((198, 51, 100, 99))
        and sent[36:38] == b"\0\x43"
        and options_of(sent)[82] == b"\1\1x"
    )


@pytest.mark.parametrize(
    "who", (guest(with_(IP="")), guest(settings="[dhcp]\nenable_dhcp = no\n")), ids=("no IP", "not enabled")
)
def test_a_guest_without_ipv4_gets_none(who: Answerer) -> None:
    assert reply(who, kind=1) == ("not-served", b"")


def test_replies_go_to_the_port_that_clients_listen_on() -> None:
    """Wherever they ask from (RFC 2131, 4.1)."""
    for port in (68, 1068, 0):
        assert reply(kind=1, port=port)[1][34:38] == struct.pack("!HH", 67, 68)


def overloaded(value: bytes, file: bytes = b"", sname: bytes = b"", kind: bytes = b"") -> bytes:
    """A message without a kind among its options, and option 52; `file` and `sname` have options of their
    own.
    """
    message = Dhcp4(kind=None, options=kind + option(52, value)).message()
    return message[:44] + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + message[236:]


DISCOVER, REQUEST, ASKED = option(53, b"\1"), option(53, b"\3"), option(50, OURS)


@pytest.mark.parametrize(
    ("message", "expected"),
    (
        (overloaded(b"\1", file=DISCOVER + b"\xff"), "offer"),
        (overloaded(b"\1", file=DISCOVER), "offer"),
        (overloaded(b"\2", sname=DISCOVER + b"\xff"), "offer"),
        (overloaded(b"\3", file=DISCOVER + b"\xff"), "offer"),
        (overloaded(b"\3", sname=DISCOVER + b"\xff"), "offer"),
        (overloaded(b"\3", file=REQUEST + b"\xff", sname=ASKED + b"\xff"), "ack"),
        (overloaded(b"\3", file=ASKED, sname=option(50, OTHERS), kind=REQUEST), "ack"),
        (overloaded(b"\1", file=DISCOVER, kind=REQUEST), "malformed"),
        (overloaded(b"\2", file=DISCOVER + b"\xff"), "bootp"),
        (overloaded(b"\1", sname=DISCOVER + b"\xff"), "bootp"),
        (overloaded(b"\0", file=DISCOVER), "malformed"),
        (overloaded(b"\4", file=DISCOVER), "malformed"),
        (overloaded(b"", file=DISCOVER), "malformed"),
        (overloaded(b"\1\1", file=DISCOVER), "malformed"),
        (overloaded(b"\1", file=b"\x0c\xff" + b"x" * 126), "malformed"),
        (overloaded(b"\2", sname=b"\x0c\x3f" + b"x" * 62), "malformed"),
        (overloaded(b"\1", file=option(52, b"\3") + DISCOVER, sname=b"\xff"), "offer"),
    ),
)
def test_options_in_other_fields_are_read(message: bytes, expected: str) -> None:
    assert answer(ip4(udp(message, 68, 67)), GUEST)[1] == expected


MESSAGE = Dhcp4().message()


@pytest.mark.parametrize(
    ("frame", "expected"),
    (
        (ip4(udp(MESSAGE, 68, 67), fragment=0x2000), "fragment"),
        (ip4(udp(MESSAGE, 68, 67), fragment=1), "fragment"),
        (ip4(udp(MESSAGE, 68, 67), fragment=0x4000), "offer"),
        (ip4(udp(MESSAGE, 68, 67), options=b"\x94\4\0\0"), "offer"),
        (ip4(udp(MESSAGE, 68, 67)) + bytes(40), "offer"),
        (ip4(udp(MESSAGE, 68, 53)), "not-ours"),
        (ip4(udp(MESSAGE, 68, 67), protocol=6), "not-ours"),
        (ip4(udp(MESSAGE, 68, 67, size=7)), "malformed"),
        (ip4(udp(MESSAGE, 68, 67, size=len(MESSAGE) + 9)), "malformed"),
        (ip4(udp(MESSAGE, 68, 67, size=100)), "malformed"),
        (ip4(udp(MESSAGE[:239], 68, 67)), "malformed"),
        (ip4(udp(MESSAGE[:240], 68, 67)), "bootp"),
        (ip4(udp(MESSAGE[:-1] + b"\x0c\xc8", 68, 67)), "malformed"),
        (ip4(udp(MESSAGE[:-1] + b"\x0c", 68, 67)), "malformed"),
        (ip4(udp(MESSAGE[:-1] + bytes(60), 68, 67)), "offer"),
        (ip4(udp(MESSAGE, 68, 67))[:-1], "malformed"),
        (ip4(udp(MESSAGE, 68, 67))[:41], "malformed"),
        (ip4(udp(MESSAGE, 68, 67)).replace(b"\x08\x00\x45", b"\x08\x00\x65", 1), "malformed"),
        (ip4(udp(MESSAGE, 68, 67)).replace(b"\x08\x00\x45", b"\x08\x00\x44", 1), "malformed"),
        (ip4(udp(MESSAGE, 68, 67)).replace(b"\x08\x00\x45", b"\x08\x00\x4f", 1), "not-ours"),
        (ip4(udp(MESSAGE, 68, 67)).ljust(2048, b"\0"), "offer"),
        (ip4(udp(MESSAGE, 68, 67)).ljust(2049, b"\0"), "oversized"),
        (BROADCAST + MAC + b"\x81\0\0\0" + ip4(udp(MESSAGE, 68, 67))[12:], "vlan"),
        (BROADCAST + MAC + b"\x88\xa8\0\5" + ip4(udp(MESSAGE, 68, 67))[12:], "vlan"),
        (BROADCAST + MAC + b"\x08\x06" + bytes(28), "not-ours"),
        (BROADCAST + MAC, "not-ours"),
        (b"", "spoofed-mac"),
    ),
)
def test_frames_are_read_within_their_bounds(frame: bytes, expected: str) -> None:
    assert answer(frame, GUEST)[1] == expected


def test_a_vlan_the_kernel_took_off_is_still_one() -> None:
    assert answer(Dhcp4().frame(), GUEST, vid=5) == ((), "vlan")
    assert answer(Dhcp4().frame(), GUEST, vid=0)[1] == "offer"


def test_what_does_not_fit_is_left_out_and_what_follows_is_not() -> None:
    assert dhcp4.fit(b"\1\1a\2\5bbbbb\3\1c", 6) == b"\1\1a\3\1c"
    assert dhcp4.fit(b"\1\1a", 0) == b""
