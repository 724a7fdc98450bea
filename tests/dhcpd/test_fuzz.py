"""A million broken frames: each gets an answer or none, none reveals a fault of the program, and every reply
concerns only the guest that asked.

The frames are seeded, so a failure can be repeated: `mutated(random.Random(seed))` gives the frames of a part
in order.
"""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from socket import inet_aton

import pytest

from snf_network.dhcpd import answers, binding, relay
from snf_network.dhcpd.answers import Answerer
from snf_network.dhcpd.dhcp4 import COOKIE, read_options
from snf_network.dhcpd.dhcp4 import Dhcp4 as Protocol4
from snf_network.dhcpd.packets import Dropped
from tests.dhcpd.clients import (
    CLIENT_ID,
    CONF,
    LINK_LOCAL,
    MAC,
    SERVER_ID,
    TAP_MAC,
    Dhcp4,
    address6,
    answer,
    dhcp6,
    guest,
    ia_na,
    ns,
    ones,
    option6,
    with_,
)
from tests.dhcpd.test_boot import BOOT, BOOT6, IPXE, asks6, firmware
from tests.dhcpd.test_golden import CASES

TFTP = "192.0.2.7"
PARTS, FRAMES = 10, 100_000
LONGEST = 300
"""Seconds until it is a failure; it takes about ten on two processors."""
SEEDS = [frame for _, frame in CASES.values()]
SEEDS += [
    dhcp6(kind, CLIENT_ID + (SERVER_ID if kind in (3, 5, 8, 9) else b"") + ia_na(1, address6("2001:db8::5")))
    for kind in (1, 3, 4, 5, 6, 8, 9)
]
SEEDS += [
    dhcp6(1, CLIENT_ID + ia_na() + option6(39, b"\1\1a\0")),
    Dhcp4(kind=4).frame(),
    Dhcp4(kind=7).frame(),
    Dhcp4(kind=8, ciaddr="198.51.100.99").frame(),
    ns("2001:db8:1::5", "::", None),
    ns(LINK_LOCAL),
]
SEEDS += [
    Dhcp4(options=options).frame()
    for options in (firmware(0), firmware(7, more=IPXE), firmware(16, "HTTPClient"))
]
SEEDS += [
    dhcp6(11, CLIENT_ID + asks6(7, b"", b"")),
    dhcp6(1, CLIENT_ID + ia_na() + asks6(16, b"HTTPClient", b"x")),
]
GUESTS = (
    guest(),
    guest(settings=CONF.replace("[ipv6]", "[ipv6]\nmode = managed")),
    guest(with_(NEXT_SERVER=TFTP, BOOT=BOOT, BOOT6=BOOT6, SUBNET="198.51.100.10/32", GATEWAY="169.254.1.1")),
    guest(with_(RELAY="203.0.113.67", ALLOWED="192.0.2.0/24")),
)
EDGES = (0, 1, 2, 4, 7, 8, 127, 128, 254, 255)
GROUPS = (b"\xff" * 6, b"\x33\x33\0\0\0\1")


def mutated(source: random.Random) -> Iterator[bytes]:
    """Frames without end, each a broken one of SEEDS."""
    while True:
        frame = bytearray(source.choice(SEEDS))
        kind = source.random()
        if kind < 0.7:
            for _ in range(source.choice((1, 1, 2, 4, 16))):
                frame[source.randrange(12, len(frame))] = source.choice(
                    (source.randrange(256), source.choice(EDGES))
                )
        elif kind < 0.8:
            del frame[source.randrange(len(frame)) :]
        elif kind < 0.9:
            at = source.randrange(12, len(frame))
            frame[at : at + source.randrange(9)] = source.randbytes(source.randrange(9))
        else:
            other = source.choice(SEEDS)
            frame[source.randrange(54, len(frame)) :] = other[source.randrange(54, len(other)) :]
        if source.random() < 0.5:
            mend(frame)
        yield bytes(frame)


def mend(frame: bytearray) -> None:
    """Lengths and the ICMPv6 checksum made right again, so that what is inside is reached."""
    if len(frame) < 62:
        return
    if frame[12:14] == b"\x86\xdd":
        size = len(frame) - 54
        frame[18:20] = struct.pack("!H", size)
        if frame[20] == 17:
            frame[58:60] = struct.pack("!H", size)
        elif frame[20] == 58:
            frame[56:58] = b"\0\0"
            frame[56:58] = struct.pack(
                "!H", ones(bytes(frame[22:54]) + struct.pack("!II", size, 58) + bytes(frame[54:]))
            )
    elif frame[12:15] == b"\x08\x00\x45":
        frame[16:18] = struct.pack("!H", len(frame) - 14)
        frame[38:40] = struct.pack("!H", len(frame) - 34)


def check(sent: bytes, who: Answerer) -> None:
    """A reply goes to the guest's station and gives nothing but what is the guest's."""
    assert sent[:6] in (MAC, *GROUPS) and sent[6:12] == TAP_MAC and len(sent) <= 1514
    if sent[12:14] == b"\x08\x00":
        assert (
            sent[30:34] in (who.guest.ip, b"\xff" * 4)
            and sent[26:30] == who.dhcp4.server
            and sent[70:76] == MAC
        )
        assert (
            sent[54:58] in (bytes(4), who.guest.ip)
            and sent[58:62] in (bytes(4), who.guest.ip)
            and sent[62:66] in (bytes(4), *([who.dhcp4.boot.server] if who.dhcp4.boot else []))
            and sent[66:70] == bytes(4)
        )
        assert int.from_bytes(sent[16:18], "big") == len(sent) - 14 >= 328
        return
    advertised = sent[20] == 58 and sent[54] == 136
    assert int.from_bytes(sent[18:20], "big") == len(sent) - 54 and sent[22:38] == (
        sent[62:78] if advertised else who.guest.link_local
    )
    if sent[20] == 17:
        leased = sent.find(b"\0\5\0\x18", 66)
        assert (
            leased < 0
            or sent[leased + 4 : leased + 20] == who.guest.ip6
            or sent[leased + 20 : leased + 28] == bytes(8)
            or sent[62] in (2, 7)
        )
    elif sent[54] == 134:
        assert sent == who.nd.advertisement
    else:
        assert advertised and sent[62:78] not in who.guest.own6 and sent.endswith(b"\2\1" + TAP_MAC)


def part(seed: int) -> Counter[str]:
    """The words of one part's answers."""
    source = random.Random(seed)
    broken, words = mutated(source), Counter[str]()
    for number in range(FRAMES):
        who = GUESTS[number & 3]
        frame = next(broken)
        sent, word = answer(frame, who, source.choice((0, 0, 0, 0, 0, 0, 0, 5)))
        assert word != "error", f"seed {seed}, frame {number}: {frame.hex()}"
        assert bool(sent) == (word in answers.REPLIES)
        for reply in sent:
            check(reply, who)
        words[word] += 1
    return words


@pytest.mark.slow
def test_a_million_broken_frames() -> None:
    words: Counter[str] = Counter()
    with ProcessPoolExecutor(min(PARTS, os.cpu_count() or 1)) as pool:
        for found in pool.map(part, range(PARTS), timeout=LONGEST):
            words += found
    assert words.total() == 1_000_000
    reached = {*answers.WORDS} - {"oversized", "error"}
    assert {word for word in reached if words[word] < 100} == set(), (
        "the frames are not broken so that they reach everything"
    )
    assert words.keys() <= set(answers.WORDS)


def test_broken_replies_of_a_central_server() -> None:
    """Each is dropped, or becomes a frame for the guest alone that gives no address but its own."""
    who, source, words = GUESTS[3].guest, random.Random(0), Counter[str]()
    own, bound = (
        inet_aton("203.0.113.11"),
        binding.parse("tap0", with_(RELAY="203.0.113.67", ALLOWED="192.0.2.0/24"))[0],
    )
    head = struct.pack(
        "!BBBBIHH4s4s4s4s16s192x4s", 2, 1, 6, 1, 7, 0, 0, *[bytes(4), who.ip, bytes(4), own, MAC], COOKIE
    )
    said = head + b"\x35\1\2\x36\4\xcb\0\x71\x43\x33\4\0\0\x0e\x10\x52\6\1\4tap0\xff" + bytes(30)
    for _ in range(20_000):
        message = bytearray(said)
        for _ in range(source.choice((0, 1, 2, 4, 16))):
            message[source.choice((source.randrange(len(said)), source.randrange(240, len(said))))] = (
                source.randrange(256)
            )
        try:
            sent = relay.answer(bytes(message), who, bound, own)
        except Dropped as dropped:
            words[dropped.word] += 1
            continue
        words["returned"] += 1
        check_relayed(sent)
    assert min(words[word] for word in ("returned", "bad-reply", "not-allowed", "malformed")) > 100, words


def check_relayed(sent: bytes) -> None:
    assert (
        sent[:6] in (MAC, b"\xff" * 6) and sent[6:12] == TAP_MAC and sent[70:76] == MAC and len(sent) <= 1514
    )
    given = sent[58:62] if sent[58:62] != bytes(4) else sent[54:58]
    kind = read_options(sent, 282, len(sent))[53]
    assert kind == b"\6" or given == GUESTS[3].guest.ip or given[:3] == bytes((192, 0, 2))
    assert 82 not in read_options(sent, 282, len(sent))


def test_any_bytes_at_all_are_answered() -> None:
    source = random.Random(0)
    for size in [*range(100), *(source.randrange(3000) for _ in range(2000))]:
        assert answer(source.randbytes(size), GUESTS[0])[1] in answers.WORDS
    for name in CASES:
        frame = CASES[name][1]
        for size in range(len(frame)):
            assert answer(frame[:size], GUESTS[0])[1] in {"malformed", "spoofed-mac", "not-ours"}


def test_a_fault_of_the_program_is_counted_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol4, "answer", lambda protocol, frame: 1 // 0)
    assert answer(CASES["discover"][1], GUESTS[0]) == ((), "error")
