"""Frames as guests send them, and a guest to send them to. This code is independent of the code under test:
it shares no reader or builder with it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from socket import AF_INET6 as V6
from socket import inet_aton, inet_pton

from snf_network.dhcpd import binding, conf
from snf_network.dhcpd.answers import Answerer
from snf_network.dhcpd.guest import TapGuest

MAC = bytes.fromhex("aa0000123456")
TAP_MAC = bytes.fromhex("cc47524e4554")
ROUTER = "fe80::ce47:52ff:fe4e:4554"
"""What TAP_MAC gives as link-local address."""
LINK_LOCAL = "fe80::a800:ff:fe12:3456"
PRIVACY = "fe80::1c2d:7a11:9be:44f0"
SERVER_DUID = bytes.fromhex("00030001") + TAP_MAC
CLIENT_DUID = bytes.fromhex("000100012a2b2c2d") + MAC
ALL_SERVERS, ALL_ROUTERS, ALL_NODES = "ff02::1:2", "ff02::2", "ff02::1"
BINDING = """\
INDEV=tap0
IP=198.51.100.10
MAC=aa:00:00:12:34:56
HOSTNAME=vm1.example.com
TAGS="ip-less-routed nfdhcpd"
GATEWAY=198.51.100.1
SUBNET=198.51.100.0/24
GATEWAY6=2001:db8:1::1
SUBNET6=2001:db8:1::/64
EUI64=2001:db8:1::a800:ff:fe12:3456
"""
CONF = """\
[dhcp]
nameservers = 192.0.2.2, 192.0.2.3
[ipv6]
nameservers = 2001:db8:100::1
domains = example.com
"""


def guest(
    text: str = BINDING, settings: str = CONF, tap: str = "tap0", source_mac: bytes = TAP_MAC, mtu: int = 1500
) -> Answerer:
    """Who answers the guest of a binding."""
    bound, settled = binding.parse(tap, text)[0], conf.read(settings)[0]
    return Answerer(TapGuest(bound, TAP_MAC, source_mac, settled, mtu))


def answer(frame: bytes, who: Answerer, vid: int = 0) -> tuple[tuple[bytes, ...], str]:
    """What a frame gets."""
    return who.answer(frame, vid)


def with_(text: str = BINDING, **keys: str) -> str:
    """A binding file with some keys set to other values, or added."""
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in keys]
    return "\n".join([*lines, *(f"{key}={value}" for key, value in keys.items())]) + "\n"


def ones(data: bytes) -> int:
    """The Internet checksum, word by word (RFC 1071, 4.1)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) & 1)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def ip4(
    payload: bytes,
    source: str = "0.0.0.0",
    target: str = "255.255.255.255",
    protocol: int = 17,
    fragment: int = 0,
    options: bytes = b"",
    mac: bytes = MAC,
    to: bytes = b"\xff" * 6,
) -> bytes:
    words = 5 + len(options) // 4
    head = (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | words,
            0,
            words * 4 + len(payload),
            7,
            fragment,
            64,
            protocol,
            0,
            inet_aton(source),
            inet_aton(target),
        )
        + options
    )
    head = head[:10] + struct.pack("!H", ones(head)) + head[12:]
    return to + mac + b"\x08\x00" + head + payload


def udp(payload: bytes, source: int, target: int, size: int | None = None) -> bytes:
    """A datagram whose checksum is not there, as that of a guest on the same host."""
    return struct.pack("!HHHH", source, target, 8 + len(payload) if size is None else size, 0) + payload


@dataclass
class Dhcp4:
    """A DHCPv4 message and the frame around it."""

    kind: int | None = 1
    options: bytes = b""
    ciaddr: str = "0.0.0.0"
    giaddr: str = "0.0.0.0"
    flags: int = 0
    chaddr: bytes = MAC
    mac: bytes = MAC
    source: str = "0.0.0.0"
    target: str = "255.255.255.255"
    port: int = 68
    op: int = 1
    htype: int = 1
    hlen: int = 6
    xid: int = 0x1F2E3D4C
    cookie: bytes = b"\x63\x82\x53\x63"
    to: bytes = b"\xff" * 6

    def message(self) -> bytes:
        head = struct.pack(
            "!BBBBIHH4s4s4s4s16s192x",
            self.op,
            self.htype,
            self.hlen,
            0,
            self.xid,
            3,
            self.flags,
            inet_aton(self.ciaddr),
            b"\1\2\3\4",
            b"\5\6\7\x08",
            inet_aton(self.giaddr),
            self.chaddr,
        )
        kind = b"" if self.kind is None else bytes((53, 1, self.kind))
        return head + self.cookie + kind + self.options + b"\xff"

    def frame(self) -> bytes:
        return ip4(udp(self.message(), self.port, 67), self.source, self.target, mac=self.mac, to=self.to)


def option(code: int, value: bytes | str) -> bytes:
    """One of DHCPv4; a text is an IPv4 address."""
    data = inet_aton(value) if isinstance(value, str) else value
    return bytes((code, len(data))) + data


def ip6(
    body: bytes,
    source: str,
    target: str,
    protocol: int,
    hops: int = 255,
    mac: bytes = MAC,
    to: bytes | None = None,
) -> bytes:
    destination = inet_pton(V6, target)
    to = (b"\x33\x33" + destination[12:] if destination[0] == 0xFF else TAP_MAC) if to is None else to
    return (
        to
        + mac
        + b"\x86\xdd"
        + struct.pack("!IHBB", 6 << 28, len(body), protocol, hops)
        + inet_pton(V6, source)
        + destination
        + body
    )


def icmp6(
    kind: int,
    rest: bytes,
    source: str,
    target: str,
    hops: int = 255,
    code: int = 0,
    mac: bytes = MAC,
    spoil: int = 0,
) -> bytes:
    """A neighbour discovery frame; `spoil` is added to its checksum."""
    body = struct.pack("!BBH", kind, code, 0) + rest
    total = ones(inet_pton(V6, source) + inet_pton(V6, target) + struct.pack("!II", len(body), 58) + body)
    return ip6(body[:2] + struct.pack("!H", total ^ spoil) + body[4:], source, target, 58, hops, mac)


def rs(source: str = LINK_LOCAL, station: bytes | None = MAC, **more: object) -> bytes:
    return icmp6(133, bytes(4) + (b"\1\1" + station if station else b""), source, ALL_ROUTERS, **more)  # type: ignore[arg-type]


def ns(
    wanted: str, source: str = LINK_LOCAL, station: bytes | None = MAC, target: str = "", **more: object
) -> bytes:
    address = inet_pton(V6, wanted)
    group = target or f"ff02::1:ff{address[13]:02x}:{address[14]:02x}{address[15]:02x}"
    return icmp6(135, bytes(4) + address + (b"\1\1" + station if station else b""), source, group, **more)  # type: ignore[arg-type]


def option6(code: int, value: bytes = b"") -> bytes:
    return struct.pack("!HH", code, len(value)) + value


CLIENT_ID, SERVER_ID = option6(1, CLIENT_DUID), option6(2, SERVER_DUID)
OTHER_SERVER = option6(2, bytes.fromhex("00030001020000000099"))


def address6(address: str, preferred: int = 100, valid: int = 200) -> bytes:
    return option6(5, inet_pton(V6, address) + struct.pack("!II", preferred, valid))


def ia_na(identifier: int = 7, content: bytes = b"") -> bytes:
    return option6(3, struct.pack("!III", identifier, 0, 0) + content)


def dhcp6(
    kind: int,
    options: bytes = CLIENT_ID,
    source: str = LINK_LOCAL,
    target: str = ALL_SERVERS,
    port: int = 546,
    mac: bytes = MAC,
) -> bytes:
    return ip6(udp(bytes((kind,)) + b"\x0a\x0b\x0c" + options, port, 547), source, target, 17, 1, mac)
