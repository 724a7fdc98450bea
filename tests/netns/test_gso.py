"""Packets of 64 KiB that a guest's virtio device leaves to the node to cut (GSO, struct virtio_net_hdr): they pass
all filters and limits with every octet, and a rate counts their octets.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.lab import Lab, Machine, drops, environment, settled

HEADER = struct.Struct("=BBHHHH")
"""struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset."""
NEEDS_CSUM, TCPV4, TCPV6 = 1, 1, 4
CSUM, TSO4, TSO6 = 1, 2, 4
"""TUN_F_* of linux/if_tun.h: what the receiving guest takes whole."""
MSS, SIZE, ROUNDS, PORT = 1440, 64 * 1000, 8, 40000
MAC, OTHER_MAC, STRANGER = "aa:55:60:00:00:12", "aa:55:60:00:00:11", "02:00:00:00:00:99"
BELOW = "limit:out:10gbit limit:in:10gbit limit:pps:10k limit:broadcast:1k limit:new:1k"
ROUTED = environment("add-routed-ifup-1")
BRIDGED = environment("start-nonet-ifup-1", INTERFACE="tap0", MAC=MAC, IP="203.0.113.12")
BRIDGED |= {"NETWORK_SUBNET6": "2001:db8:b::/64"}
TAP_MAC = "cc:47:52:4e:45:54"
KINDS = {
    "routed": ("ip-less-routed", ""),
    "routed, limits": (f"ip-less-routed {BELOW}", ""),
    "ip-filtered": ("ip-filtered nfdhcpd", ""),
    "isolated": ("isolated ip-filtered", ""),
    "limits": (f"ip-filtered {BELOW}", ""),
    "protected": ("ip-filtered", "protected"),
    "limited": ("private-filtered", "limited"),
    "to limits": (BELOW, ""),
    "shape": ("ip-filtered shape:in:10gbit", ""),
}
"""The tags of the network of the NIC that sends, and of the one that gets it if both are on the bridge; and
its profile.
"""


class Pair(NamedTuple):
    """A guest's tap, and where its packets come out."""

    node: Machine
    tap: int
    far: int
    header: int
    """The octets before each frame at the far end."""
    macs: tuple[str, str]
    addresses: tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with closing(Lab()) as made:
        made.node("node1", made.router())
        yield made


def routed(lab: Lab, tags: str) -> Iterator[Pair]:
    node, router = lab.machines["node1"], lab.machines["router"]
    tap = node.tap("tap0", CSUM | TSO4 | TSO6)
    node.up({**ROUTED, "INTERFACE": "tap0", "NETWORK_TAGS": tags, "TAGS": ""})
    uplink = router.read("/sys/class/net/br0/address").strip()
    for address in ("198.51.100.1", "2001:db8:1::1"):
        node.ip(f"neigh replace {address} lladdr {uplink} dev eth1 nud permanent")
    with closing(router.packet_socket("br0")) as ear:
        own6 = "2001:db8:1:0:a800:ff:fead:35c9"
        addresses = (ROUTED["IP"], "198.51.100.1"), (own6, "2001:db8:1::1")
        yield Pair(node, tap, ear.fileno(), 0, (ROUTED["MAC"], TAP_MAC), addresses)
    os.close(tap)


def bridged(lab: Lab, tags: str, profile: str, offloads: int) -> Iterator[Pair]:
    node = lab.machines["node1"]
    tap, far = node.tap("tap0", CSUM | TSO4 | TSO6), node.tap("tap9", offloads)
    stranger = STRANGER if "isolated" in tags else OTHER_MAC
    other = {"INTERFACE": "tap9", "MAC": OTHER_MAC, "IP": "203.0.113.11", "INSTANCE": "other"}
    other["INTERFACE_UUID"] = "other"
    node.up({**BRIDGED, "NETWORK_TAGS": tags, "TAGS": ""})
    if "isolated" in tags:
        node.ip("link set tap9 master prv0 up")
    else:
        profiles = f"synnefo:network:0:{profile}" if profile else ""
        node.up({**BRIDGED, **other, "NETWORK_TAGS": tags, "TAGS": profiles})
    settled(node)
    addresses = (
        ("203.0.113.12", "203.0.113.11"),
        (f.eui64(MAC, "2001:db8:b::"), f.eui64(OTHER_MAC, "2001:db8:b::")),
    )
    yield Pair(node, tap, far, HEADER.size, (MAC, stranger), addresses)
    node.down({**BRIDGED, **other})
    os.close(tap)
    os.close(far)


CUT = ("ip-filtered", "limits", "protected", "shape")
"""Kinds that are also tried with a receiver that takes no packet whole."""


@pytest.fixture(params=[(kind, on) for kind in KINDS for on in (True, False) if on or kind in CUT], ids=str)
def pair(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Pair]:
    kind, on = request.param
    tags, profile = KINDS[kind]
    if "routed" in kind:
        yield from routed(lab, tags)
    else:
        yield from bridged(lab, tags, profile, CSUM | TSO4 | TSO6 if on else 0)


def giant(pair: Pair, source: str, target: str, sequence: int, payload: bytes) -> bytes:
    """A TCP segment that is to be cut, with the header in which the guest says so."""
    six = ":" in source
    family = socket.AF_INET6 if six else socket.AF_INET
    length, ends = 20 + len(payload), socket.inet_pton(family, source) + socket.inet_pton(family, target)
    pseudo = ends + (struct.pack("!IxxxB", length, 6) if six else struct.pack("!xBH", 6, length))
    partial = 0xFFFF - f.checksum(pseudo)
    tcp = struct.pack("!HHIIBBHHH", 443, PORT, sequence, 1, 0x50, 0x10, 65535, partial, 0)
    frame = f.ethernet(*pair.macs, f.ip(source, target, 6, tcp + payload))
    start = 54 if six else 34
    return HEADER.pack(NEEDS_CSUM, TCPV6 if six else TCPV4, start + 20, MSS, start, 16) + frame


def segment(frame: bytes) -> tuple[int, bytes] | None:
    """Sequence number and payload of a segment of ours."""
    if frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
        return None
    at, kind = (54, frame[20]) if frame[12:14] == b"\x86\xdd" else (34, frame[23])
    if kind != 6 or frame[at + 2 : at + 4] != PORT.to_bytes(2, "big"):
        return None
    end = 54 + int.from_bytes(frame[18:20], "big") if at == 54 else 14 + int.from_bytes(frame[16:18], "big")
    return int.from_bytes(frame[at + 4 : at + 8], "big"), frame[at + 20 : end]


def heard(pair: Pair, octets: int, seconds: float = 3.0) -> dict[int, bytes]:
    """The segments that come out, by sequence number, until there are so many octets."""
    found: dict[int, bytes] = {}
    end = time.monotonic() + seconds
    while sum(map(len, found.values())) < octets and (left := end - time.monotonic()) > 0:
        if select.select([pair.far], [], [], left)[0]:
            said = segment(os.read(pair.far, 1 << 17)[pair.header :])
            if said:
                found[said[0]] = said[1]
    return found


def test_what_goes_in_comes_out(pair: Pair) -> None:
    for source, target in pair.addresses:
        before, data = drops(pair.node), os.urandom(ROUNDS * SIZE)
        found: dict[int, bytes] = {}
        for start in range(0, len(data), SIZE):
            os.write(pair.tap, giant(pair, source, target, start, data[start : start + SIZE]))
            found |= heard(pair, SIZE)
        out = b"".join(found[number] for number in sorted(found))
        assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
        whole = max(map(len, found.values())) == SIZE
        assert whole or len(found) == ROUNDS * -(-SIZE // MSS), "all whole, or cut as the guest asked"
        more = drops(pair.node) - before
        assert not [key for key in more if key[1] not in ("mac-prefix", "dst-mac", "answered")], more


@pytest.mark.parametrize(
    ("mbit", "tag"), [(8, "limit:out"), (8, "limit:in"), (1, "shape:in"), (100, "shape:in")]
)
def test_a_rate_counts_the_octets_of_giants(lab: Lab, mbit: int, tag: str) -> None:
    """And lets them pass, however small its bucket is."""
    for pair in bridged(lab, f"ip-filtered {tag}:{mbit}mbit", "", 0):
        source, target = pair.addresses[0]
        packet = giant(pair, source, target, 0, bytes(SIZE))
        began, got, last = time.monotonic(), 0, 0.0
        counting = 0
        while (now := time.monotonic() - began) < 2:
            os.write(pair.tap, packet)
            while select.select([pair.far], [], [], 0.001)[0]:
                got += len(os.read(pair.far, 1 << 17)) - HEADER.size
                if not counting and time.monotonic() - began > 0.6:
                    counting, last = got, time.monotonic()
            assert got or now < 0.6, "the first passes"
        rate = (got - counting) * 8 / (time.monotonic() - last)
        assert rate / (mbit * 1e6) == pytest.approx(1, abs=0.05 + 0.06 * ("limit" in tag))
