"""Frames: bounds-checked reading of Ethernet, IP and UDP, and building of the same. Nothing here knows DHCP
or a guest.

Readers raise Dropped, whose word says why; they never look beyond the length that a header gives, and never
believe a length that leaves the frame. Checksums of UDP are not read: those of a guest on the same host are
often only begun (checksum offload).
"""

from __future__ import annotations

from struct import Struct, pack

ETHERNET = 14
IP4, IP6 = b"\x08\x00", b"\x86\xdd"
UDP, ICMP6, FRAGMENT = 17, 58, 44
EXTENSIONS = frozenset((0, 43, 50, 51, 60, 135, 139, 140, 253, 254))
"""IPv6 extension headers (RFC 7045, 4) other than the fragment header. No client puts one before what is
answered here.
"""
_IP4 = Struct("!BxHxxHxBxx4s4s")
_IP6 = Struct("!IHBB16s16s")
_UDP = Struct("!HHH")


class Dropped(Exception):
    """A frame that is not answered; `word` says why and names the counter."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of `data`, as the number to put into the header; never 0, which UDP
    takes for none.

    A sum of 16-bit words with end-around carry is the number modulo 65535, and Python divides long numbers
    faster than it loops.
    """
    number = int.from_bytes(data, "big")
    return 0xFFFF - (number << 8 if len(data) & 1 else number) % 0xFFFF


def checksum6(source: bytes, target: bytes, protocol: int, body: bytes) -> int:
    """That of an upper layer over IPv6, with the pseudo-header (RFC 8200, 8.1)."""
    return checksum(b"".join((source, target, pack("!II", len(body), protocol), body)))


def read_udp4(frame: bytes, port: int) -> tuple[bytes, int, int, int]:
    """Destination address, source port, and start and end of what a UDP datagram to `port` carries."""
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
    source_port, target_port, size = _UDP.unpack_from(frame, at)
    if target_port != port:
        raise Dropped("not-ours")
    if size < 8 or header + size > total:
        raise Dropped("malformed")
    return target, source_port, at + 8, at + size


def read_ip6(frame: bytes) -> tuple[int, int, bytes, bytes, int]:
    """Protocol, hop limit, source, destination and the end of the packet, which starts its body at
    HEADER6.
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
    """A frame: `ethernet` is both MAC addresses, `ports` the source's and the destination's."""
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
    """A frame: `ethernet` is both MAC addresses, `ports` the source's and the destination's."""
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
    """A frame with hop limit 255, as neighbour discovery wants it; the checksum in `body` is 0 and filled
    in.
    """
    total = checksum6(source, target, ICMP6, body).to_bytes(2, "big")
    return b"".join(
        (ethernet, IP6, _IP6.pack(6 << 28, len(body), ICMP6, 255, source, target), body[:2], total, body[4:])
    )


def names(domains: tuple[str, ...]) -> bytes:
    """Domain names as a resolver has them, one after the other, not compressed (RFC 1035, 3.1)."""
    labels = [label for domain in domains for label in (*domain.split("."), "")]
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in labels)
