"""Ethernet, IP and UDP as bytes: parsing with every bound checked, and building. Knows neither DHCP nor
guests.

Parsers raise Dropped, whose word says why. They never look beyond the length in a header, and never trust a
length that exceeds the frame. They ignore UDP checksums: with checksum offload, those of a guest on the same
host are often incomplete.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, pack

from snf_network.wire import checksum

Answer = tuple[tuple[bytes, ...], str]
"""The frames to send on the guest's own tap, and the word that names the counter (answers.py)."""
ETHERNET = 14
IP4, IP6 = b"\x08\x00", b"\x86\xdd"
UDP, ICMP6, FRAGMENT = 17, 58, 44
EXTENSIONS = frozenset((0, 43, 50, 51, 60, 135, 139, 140, 253, 254))
"""IPv6 extension headers (RFC 7045, 4) other than the fragment header. No client uses one in a message that
this daemon answers.
"""
_IP4 = Struct("!BxHxxHxBxx4s4s")
_IP6 = Struct("!IHBB16s16s")
_UDP = Struct("!HHH")


class Dropped(Exception):
    """A frame that gets no answer; `word` says why and names the counter."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def checksum6(source: bytes, target: bytes, protocol: int, body: bytes) -> int:
    """The checksum of an upper layer over IPv6, with the pseudo-header (RFC 8200, 8.1)."""
    return checksum(b"".join((source, target, pack("!II", len(body), protocol), body)))


def read_udp4(frame: bytes, port: int) -> tuple[bytes, int, int]:
    """Parse a UDP datagram to `port`: its destination address, and where its payload starts and ends. Raises
    Dropped.
    """
    if len(frame) < ETHERNET + 28:
        raise Dropped("malformed")
    first, total, fragment, protocol, _, target = _IP4.unpack_from(frame, ETHERNET)
    header = (first & 15) * 4
    if first >> 4 != 4 or header < 20 or total < header + 8 or ETHERNET + total > len(frame):
        raise Dropped("malformed")
    if fragment & 0x3FFF:
        raise Dropped("fragment")
    if protocol != UDP:
        raise Dropped("not-ours")
    at = ETHERNET + header
    _, target_port, size = _UDP.unpack_from(frame, at)
    if target_port != port:
        raise Dropped("not-ours")
    if size < 8 or header + size > total:
        raise Dropped("malformed")
    return target, at + 8, at + size


def read_ip6(frame: bytes) -> tuple[int, int, bytes, bytes, int]:
    """Protocol, hop limit, source, destination and end of the packet, whose payload starts at HEADER6. Raises
    Dropped.
    """
    if len(frame) < HEADER6:
        raise Dropped("malformed")
    first, size, protocol, hops, source, target = _IP6.unpack_from(frame, ETHERNET)
    if first >> 28 != 6 or HEADER6 + size > len(frame):
        raise Dropped("malformed")
    if protocol == FRAGMENT:
        raise Dropped("fragment")
    if protocol in EXTENSIONS:
        raise Dropped("extension")
    return protocol, hops, source, target, HEADER6 + size


HEADER6 = ETHERNET + 40


def udp4(ethernet: bytes, source: bytes, target: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    """A complete frame. `ethernet` is both MAC addresses, `ports` the source and the destination port."""
    size = 8 + len(payload)
    udp = pack(
        "!HHHH",
        *ports,
        size,
        checksum(b"".join((source, target, pack("!HHHHHH", UDP, size, *ports, size, 0), payload))),
    )
    head = pack("!HHHHBBH", 0x4500, 20 + size, 0, 0x4000, 64, UDP, 0) + source + target
    return b"".join((ethernet, IP4, head[:10], checksum(head).to_bytes(2, "big"), head[12:], udp, payload))


def udp6(ethernet: bytes, source: bytes, target: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    """A complete frame. `ethernet` is both MAC addresses, `ports` the source and the destination port."""
    size = 8 + len(payload)
    total = checksum6(source, target, UDP, pack("!HHHH", *ports, size, 0) + payload)
    return b"".join(
        (
            ethernet,
            IP6,
            _IP6.pack(6 << 28, size, UDP, 64, source, target),
            pack("!HHHH", *ports, size, total),
            payload,
        )
    )


def icmp6(ethernet: bytes, source: bytes, target: bytes, body: bytes) -> bytes:
    """A complete frame with hop limit 255, as neighbour discovery requires. The checksum in `body` must be 0;
    it is filled in here.
    """
    total = checksum6(source, target, ICMP6, body).to_bytes(2, "big")
    return b"".join(
        (ethernet, IP6, _IP6.pack(6 << 28, len(body), ICMP6, 255, source, target), body[:2], total, body[4:])
    )


@lru_cache(128)
def names(domains: tuple[str, ...]) -> bytes:
    """Domain names in wire format, concatenated, without compression (RFC 1035, 3.1). All guests of a network
    have one search list, and each gets it three times.
    """
    labels = [label for domain in domains for label in (*domain.split("."), "")]
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in labels)
