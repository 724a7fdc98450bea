"""Frames as bytes, good and forged: Ethernet, ARP, IPv4, IPv6, UDP, TCP, ICMP, neighbour discovery, DHCP.

A Packet is an ethertype and its payload, as `ethernet` expects. `stamp` writes a number into a frame, and
`token` reads it at the receiver, whatever happened to the frame on the way: it is in the IPv4 identification,
the low bits of the IPv6 flow label, or the end of the target's hardware address in ARP, none of which is
checked.
"""

from __future__ import annotations

import socket
import struct

IP4, ARP, RARP, VLAN, IP6, QINQ = 0x0800, 0x0806, 0x8035, 0x8100, 0x86DD, 0x88A8
SHORTEST = 0x0600
"""Smaller values are not ethertypes but the length of an 802.3 frame."""
LOCAL = 0x88B5
"""A local experimental ethertype (IEEE 802.1): unknown to every stack."""
ICMP, TCP, UDP, ROUTING, FRAGMENT, AH, ICMP6, DSTOPTS, PIM, ESP = 1, 6, 17, 43, 44, 51, 58, 60, 103, 50
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
RS, RA, NS, NA, REDIRECT = 133, 134, 135, 136, 137
SOURCE, TARGET, NONCE = 1, 2, 14
BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES, ALL_ROUTERS, DHCP6_SERVERS = "ff02::1", "ff02::2", "ff02::1:2"

Packet = tuple[int, bytes]


def octets(address: str) -> bytes:
    """The bytes of a MAC, IPv4 or IPv6 address."""
    if len(address) == 17 and address.count(":") == 5:
        return bytes.fromhex(address.replace(":", ""))
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ethernet(source: str, target: str, packet: Packet, *tags: tuple[int, int]) -> bytes:
    """A complete frame; `tags` are its VLAN tags, the outermost first, as ethertype and VLAN."""
    kind, payload = packet
    head = b"".join(struct.pack("!HH", *tag) for tag in tags) + struct.pack("!H", kind)
    return octets(target) + octets(source) + head + payload.ljust(46, b"\0")


def stamp(frame: bytes, number: int) -> bytes:
    """A copy of the frame with a number from 1 to 65535 in it."""
    kind, at = _payload(frame)
    if kind == IP4:
        header = (
            frame[at : at + 4]
            + struct.pack("!H", number)
            + frame[at + 6 : at + 10]
            + b"\0\0"
            + frame[at + 12 : at + 20]
        )
        return frame[:at] + header[:10] + struct.pack("!H", checksum(header)) + header[12:] + frame[at + 20 :]
    where = at + _offset(kind, frame[at:])
    return frame[:where] + struct.pack("!H", number) + frame[where + 2 :]


def token(frame: bytes) -> int:
    """The number that `stamp` wrote; 0 if the frame is too short for one."""
    kind, at = _payload(frame)
    return int.from_bytes(frame[at + _offset(kind, frame[at:]) :][:2], "big")


def described(frame: bytes) -> str:
    """Addresses and ethertype, for people to read."""
    kind, _ = _payload(frame)
    name = NAMES.get(kind, f"ethertype {kind:#06x}")
    return f"{frame[6:12].hex(':')} > {frame[:6].hex(':')}, {name}, {len(frame)} octets"


NAMES = {IP4: "IPv4", ARP: "ARP", RARP: "RARP", IP6: "IPv6"}
OFFSETS = {IP4: 4, IP6: 2, ARP: 22, RARP: 22}


def _offset(kind: int, payload: bytes) -> int:
    if kind == IP6 and payload[6:7] == bytes((FRAGMENT,)):
        return 46
    return 10 if kind < SHORTEST else OFFSETS.get(kind, 0)  # 802.3: in the flow label of IPv6 behind SNAP


def _payload(frame: bytes) -> tuple[int, int]:
    at = 12
    while (kind := int.from_bytes(frame[at : at + 2], "big")) in (VLAN, QINQ):
        at += 4
    return kind, at + 2


def checksum(data: bytes) -> int:
    """The checksum of IPv4, UDP, TCP and ICMP (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def ip(source: str, target: str, protocol: int, payload: bytes, hops: int = 64, fragment: int = 0) -> Packet:
    """An IPv4 or IPv6 packet. `fragment` is the flags and offset field of IPv4."""
    if ":" in source:
        return IP6, struct.pack("!IHBB", 0x60000000, len(payload), protocol, hops) + octets(source) + octets(
            target
        ) + payload
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        0,
        fragment,
        hops,
        protocol,
        0,
        octets(source),
        octets(target),
    )
    return IP4, header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def _summed(source: str, target: str, protocol: int, data: bytes, at: int) -> bytes:
    """`data` with its checksum, including the pseudo-header, written at offset `at`."""
    pseudo = octets(source) + octets(target) + struct.pack("!II", len(data), protocol)
    return data[:at] + struct.pack("!H", checksum(pseudo + data)) + data[at + 2 :]


def udp_data(source: str, target: str, sport: int, dport: int, data: bytes = b"test") -> bytes:
    """A UDP datagram without its IP header."""
    return _summed(source, target, UDP, struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data, 6)


def udp(source: str, target: str, sport: int = 4000, dport: int = 4001, data: bytes = b"test") -> Packet:
    """A UDP datagram of either family."""
    return ip(source, target, UDP, udp_data(source, target, sport, dport, data))


def tcp(source: str, target: str, sport: int, dport: int, flags: int = SYN) -> Packet:
    """A TCP segment without data, of either family."""
    data = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, flags, 8192, 0, 0)
    return ip(source, target, TCP, _summed(source, target, TCP, data, 16))


def ping(source: str, target: str) -> Packet:
    """An echo request of either family."""
    if ":" in source:
        return icmp6(source, target, 128, struct.pack("!HH", 7, 1), hops=64)
    data = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    return ip(source, target, ICMP, data[:2] + struct.pack("!H", checksum(data)) + data[4:])


def is_echo_reply(frame: bytes, source: str, target: str) -> bool:
    """True if a frame is the answer to `ping(target, source)` in IPv6."""
    kind, at = _payload(frame)
    there = frame[at + 8 : at + 24], frame[at + 24 : at + 40], frame[at + 40 : at + 41]
    return kind == IP6 and there == (octets(source), octets(target), b"\x81")


def icmp4(source: str, target: str, kind: int, code: int, body: bytes) -> Packet:
    """An ICMP message; `body` is everything after the checksum."""
    data = struct.pack("!BBH", kind, code, 0) + body
    return ip(source, target, ICMP, data[:2] + struct.pack("!H", checksum(data)) + data[4:])


def icmp6_data(source: str, target: str, kind: int, body: bytes) -> bytes:
    """An ICMPv6 message without its IPv6 header."""
    return _summed(source, target, ICMP6, struct.pack("!BBH", kind, 0, 0) + body, 2)


def icmp6(source: str, target: str, kind: int, body: bytes, hops: int = 255) -> Packet:
    """An ICMPv6 message; neighbour discovery is valid only with hop limit 255 (RFC 4861)."""
    return ip(source, target, ICMP6, icmp6_data(source, target, kind, body), hops)


def option(kind: int, data: str | bytes) -> bytes:
    """An option of neighbour discovery, one unit long: a link-layer address, or a nonce."""
    return bytes((kind, 1)) + (octets(data) if isinstance(data, str) else data)


def ns(source: str, about: str, options: bytes = b"", to: str = "") -> Packet:
    """A neighbour solicitation for `about`, by default to its solicited-node group."""
    return icmp6(source, to or solicited_node(about), NS, bytes(4) + octets(about) + options)


def na(source: str, about: str, options: bytes = b"", to: str = ALL_NODES) -> Packet:
    """An unsolicited neighbour advertisement with the override flag."""
    return icmp6(source, to, NA, struct.pack("!I", 0x20000000) + octets(about) + options)


def rs(source: str, options: bytes = b"") -> Packet:
    """A router solicitation."""
    return icmp6(source, ALL_ROUTERS, RS, bytes(4) + options)


def ra(source: str) -> Packet:
    """A router advertisement for a default router, with a lifetime of half an hour."""
    return icmp6(source, ALL_NODES, RA, struct.pack("!BBHII", 64, 0, 1800, 0, 0))


def redirect(source: str, target: str, about: str, better: str) -> Packet:
    """An ICMPv6 redirect: `about` is reachable via `better`."""
    return icmp6(source, target, REDIRECT, bytes(4) + octets(better) + octets(about))


def mld(source: str, about: str) -> Packet:
    """An MLDv2 report to join a group, with the router alert option that every stack sends (RFC 3810)."""
    records = bytes((0, 0, 0, 1, 4, 0, 0, 0)) + octets(about)
    return with_router_alert(icmp6(source, "ff02::16", 143, records, 1))


def mld_query(source: str, hidden: int = 0) -> Packet:
    """An MLDv2 general query, whose sender counts as a multicast router (RFC 3810), behind `hidden`
    authentication headers.
    """
    packet = icmp6(source, ALL_NODES, 130, struct.pack("!HH", 1000, 0) + bytes(16) + bytes((2, 125, 0, 0)), 1)
    for _ in range(hidden):
        packet = behind_ah(packet)
    return with_router_alert(packet)


def igmp(source: str, kind: int, target: str = "224.0.0.1", fragment: int = 0) -> Packet:
    """An IGMP message of eight octets: 0x11 is a general query (RFC 2236), 0x30 a multicast router
    advertisement (RFC 4286).
    """
    data = struct.pack("!BBHI", kind, 100, 0, 0)
    return ip(source, target, 2, data[:2] + struct.pack("!H", checksum(data)) + data[4:], 1, fragment)


def igmp_query(source: str) -> Packet:
    """An IGMPv2 general query (RFC 2236)."""
    return igmp(source, 0x11)


def pim(source: str) -> Packet:
    """A PIM hello, to all PIM routers (RFC 7761, 4.9.2)."""
    target = "ff02::d" if ":" in source else "224.0.0.13"
    data = struct.pack("!BBHHHH", 0x20, 0, 0, 1, 2, 105)
    if ":" in source:
        return ip(source, target, PIM, _summed(source, target, PIM, data, 2), 1)
    return ip(source, target, PIM, data[:2] + struct.pack("!H", checksum(data)) + data[4:], 1)


def with_router_alert(packet: Packet) -> Packet:
    """An IPv6 packet with the hop-by-hop option that MLD uses (RFC 2711)."""
    return behind(packet, 0, bytes((0, 5, 2, 0, 0, 1, 0)))


def behind_ah(packet: Packet) -> Packet:
    """An IPv6 packet behind an authentication header, which receivers may skip unchecked (RFC 4302)."""
    return behind(packet, AH, bytes((4, 0, 0)) + bytes(20))


def behind(packet: Packet, header: int, body: bytes) -> Packet:
    """An IPv6 packet with an extension header inserted before its payload; `body` is that header without its
    first octet.
    """
    data = packet[1]
    return IP6, data[:4] + struct.pack("!HB", len(data) - 40 + len(body) + 1, header) + data[7:40] + data[
        6:7
    ] + body + data[40:]


def fragmented(packet: Packet, more: bool = False) -> Packet:
    """An IPv6 packet as the first fragment of a larger one, or as its only fragment (atomic, RFC 6946)."""
    return behind(packet, FRAGMENT, struct.pack("!BHI", 0, more, 77))


def with_dstopts(packet: Packet) -> Packet:
    """An IPv6 packet with empty destination options."""
    return behind(packet, DSTOPTS, bytes((0, 1, 4, 0, 0, 0, 0)))


def eui64(mac: str, prefix: str = "fe80::") -> str:
    """The EUI-64 address of a MAC in a /64 (RFC 4291, appendix A)."""
    raw = octets(mac)
    return socket.inet_ntop(
        socket.AF_INET6, octets(prefix)[:8] + bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:]
    )


def solicited_node(address: str) -> str:
    """The solicited-node group of an address (RFC 4291, 2.7.1)."""
    return "ff02::1:ff" + octets(address)[-3:].hex()[:2] + ":" + octets(address)[-2:].hex()


def group_mac(address: str) -> str:
    """The Ethernet group address of an IPv6 multicast address (RFC 2464, 7)."""
    return "33:33:" + octets(address)[-4:].hex(":")


def arp(
    operation: int, sender: str, sender_ip: str, target_ip: str, target: str = "00:00:00:00:00:00"
) -> Packet:
    """An ARP packet for IPv4 over Ethernet: 1 is a request, 2 a reply."""
    body = octets(sender) + octets(sender_ip) + octets(target) + octets(target_ip)
    return ARP, struct.pack("!HHBBH", 1, IP4, 6, 4, operation) + body


def is_arp(frame: bytes, operation: int, sender_ip: str, target_ip: str) -> bool:
    """True if a frame is such an ARP packet, with any MACs in it."""
    kind, at = _payload(frame)
    said = frame[at + 6 : at + 8], frame[at + 14 : at + 18], frame[at + 24 : at + 28]
    return kind == ARP and said == (operation.to_bytes(2, "big"), octets(sender_ip), octets(target_ip))


def asks_for(frame: bytes, address: str) -> bool:
    """True for an ARP request, or a neighbour solicitation, for this address."""
    kind, at = _payload(frame)
    if ":" in address:
        return (
            kind == IP6
            and frame[at + 40 : at + 41] == bytes((NS,))
            and frame[at + 48 : at + 64] == octets(address)
        )
    return kind == ARP and frame[at + 6 : at + 8] == b"\0\1" and frame[at + 24 : at + 28] == octets(address)


def snap(packet: Packet) -> Packet:
    """A packet in an 802.3 frame, which has a length instead of the ethertype (RFC 1042): some guests accept
    both.
    """
    return 8 + len(packet[1]), b"\xaa\xaa\3\0\0\0" + packet[0].to_bytes(2, "big") + packet[1]


def rarp(sender: str) -> Packet:
    """The RARP packet that QEMU sends for a guest that has just moved."""
    return RARP, struct.pack("!HHBBH", 1, IP4, 6, 4, 3) + octets(sender) + bytes(4) + octets(sender) + bytes(
        4
    )


def dhcp(
    mac: str,
    operation: int,
    source: str = "0.0.0.0",
    target: str = "255.255.255.255",
    kind: int = 0,
    port: int = 0,
    relay: str = "0.0.0.0",
) -> Packet:
    """DHCP: operation 1 is from a client, 2 from a server; DISCOVER or OFFER, unless `kind` is another
    message type (RFC 2131). `port` is a nonstandard source port; `relay` is giaddr.
    """
    body = (
        struct.pack("!BBBBIHH", operation, 1, 6, 0, 7, 0, 0x8000)
        + bytes(12)
        + octets(relay)
        + octets(mac).ljust(16, b"\0")
        + bytes(192)
    )
    usual, to = (68, 67) if operation == 1 else (67, 68)
    options = bytes.fromhex("63825363") + bytes((53, 1, kind or operation, 255))
    return udp(source, target, port or usual, to, body + options)


def dhcp6(source: str, operation: int, target: str = DHCP6_SERVERS) -> Packet:
    """DHCPv6: 1 is a client's SOLICIT, 2 a server's ADVERTISE (RFC 8415)."""
    return udp(source, target, *((546, 547) if operation == 1 else (547, 546)), bytes((operation, 0, 0, 7)))
