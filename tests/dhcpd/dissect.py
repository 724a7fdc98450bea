"""Frames as text that a person can check: each line has some bytes in hex and their meaning. It uses no code
of ours.

Checksums are verified by an independent sum (clients.ones).
"""

from __future__ import annotations

from collections.abc import Iterator
from socket import AF_INET as V4
from socket import AF_INET6 as V6
from socket import inet_ntop

from tests.dhcpd.clients import ones

Line = tuple[bytes, str]
KINDS4 = ("", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")
NAMES4 = {
    1: "subnet mask",
    3: "router",
    6: "name servers",
    12: "host name",
    15: "domain",
    26: "MTU",
    28: "broadcast",
    42: "NTP",
    50: "requested address",
    51: "lease",
    53: "kind",
    54: "server",
    55: "asked for",
    57: "largest message",
    58: "T1",
    59: "T2",
    61: "client identifier",
    82: "relay agent",
    119: "search list",
    121: "routes",
    249: "routes (Microsoft)",
}
KINDS6 = (
    "",
    "SOLICIT",
    "ADVERTISE",
    "REQUEST",
    "CONFIRM",
    "RENEW",
    "REBIND",
    "REPLY",
    "RELEASE",
    "DECLINE",
    "RECONFIGURE",
    "INFORMATION-REQUEST",
)
NAMES6 = {
    1: "client identifier",
    2: "server identifier",
    3: "IA_NA",
    4: "IA_TA",
    5: "address",
    6: "asked for",
    7: "preference",
    8: "elapsed",
    13: "status",
    14: "rapid commit",
    23: "name servers",
    24: "search list",
    25: "IA_PD",
    39: "FQDN",
}
STATUS = {0: "Success", 2: "NoAddrsAvail", 4: "NotOnLink", 6: "NoPrefixAvail"}
ND = {
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
}
ND_OPTIONS = {
    1: "source link-layer address",
    2: "target link-layer address",
    3: "prefix",
    5: "MTU",
    25: "name servers",
    31: "search list",
}


def text(frame: bytes) -> str:
    """The lines of a frame; together they have every byte of it, in order."""
    lines = list(_ethernet(frame))
    assert b"".join(data for data, _ in lines) == frame
    return "".join(f"{_hex(data)}  # {meaning}\n" for data, meaning in lines)


def _hex(data: bytes) -> str:
    return f"{data[:1].hex()}*{len(data)}" if len(data) > 16 and len(set(data)) == 1 else data.hex()


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _address(data: bytes) -> str:
    return inet_ntop(V4 if len(data) == 4 else V6, data)


def _addresses(data: bytes, size: int) -> str:
    return ", ".join(_address(data[at : at + size]) for at in range(0, len(data), size))


def _right(data: bytes) -> str:
    return "right" if ones(data) == 0 else "WRONG"


def _names(data: bytes) -> str:
    found, at, labels = [], 0, []
    while at < len(data):
        size = data[at]
        labels.append(data[at + 1 : at + 1 + size].decode())
        at += 1 + size
        if not size:
            found.append(".".join(labels))
            labels = []
    return " ".join(name for name in found if name) + (f" (not whole) {'.'.join(labels)}" if labels else "")


def _ethernet(frame: bytes) -> Iterator[Line]:
    yield frame[:6], f"to {frame[:6].hex(':')}"
    yield frame[6:12], f"from {frame[6:12].hex(':')}"
    yield frame[12:14], {0x800: "IPv4", 0x86DD: "IPv6"}.get(_number(frame[12:14]), "?")
    yield from _ip4(frame[14:]) if frame[12:14] == b"\x08\x00" else _ip6(frame[14:])


def _ip4(data: bytes) -> Iterator[Line]:
    yield data[:2], f"version {data[0] >> 4}, header {(data[0] & 15) * 4}, TOS {data[1]}"
    yield data[2:4], f"length {_number(data[2:4])}{'' if _number(data[2:4]) == len(data) else ' WRONG'}"
    yield data[4:8], f"identification {_number(data[4:6])}, fragment {_number(data[6:8]):#x}"
    yield data[8:10], f"TTL {data[8]}, protocol {data[9]}"
    yield data[10:12], f"checksum {_right(data[:20])}"
    yield data[12:16], f"source {_address(data[12:16])}"
    yield data[16:20], f"destination {_address(data[16:20])}"
    yield from _udp(data[20:], data[12:20] + b"\0\x11" + (len(data) - 20).to_bytes(2, "big"))
    yield from _bootp(data[28:])


def _ip6(data: bytes) -> Iterator[Line]:
    yield data[:4], f"version {data[0] >> 4}"
    yield data[4:6], f"length {_number(data[4:6])}{'' if _number(data[4:6]) == len(data) - 40 else ' WRONG'}"
    yield data[6:8], f"protocol {data[6]}, hop limit {data[7]}"
    yield data[8:24], f"source {_address(data[8:24])}"
    yield data[24:40], f"destination {_address(data[24:40])}"
    pseudo = data[8:40] + (len(data) - 40).to_bytes(4, "big") + bytes((0, 0, 0, data[6]))
    if data[6] == 58:
        yield from _icmp6(data[40:], pseudo)
    else:
        yield from _udp(data[40:], pseudo)
        yield from _dhcp6(data[48:])


def _udp(data: bytes, pseudo: bytes) -> Iterator[Line]:
    yield data[:4], f"ports {_number(data[:2])} to {_number(data[2:4])}"
    yield data[4:6], f"length {_number(data[4:6])}{'' if _number(data[4:6]) == len(data) else ' WRONG'}"
    yield data[6:8], "no checksum" if data[6:8] == b"\0\0" else f"checksum {_right(pseudo + data)}"


def _bootp(data: bytes) -> Iterator[Line]:
    yield data[:4], f"operation {data[0]}, hardware {data[1]} with {data[2]} octets, hops {data[3]}"
    yield data[4:8], "transaction"
    yield data[8:12], f"seconds {_number(data[8:10])}, flags {_number(data[10:12]):#x}"
    for at, name in ((12, "ciaddr"), (16, "yiaddr"), (20, "siaddr"), (24, "giaddr")):
        yield data[at : at + 4], f"{name} {_address(data[at : at + 4])}"
    yield data[28:44], f"chaddr {data[28:34].hex(':')}"
    yield data[44:236], "sname, file"
    yield data[236:240], "cookie" if data[236:240] == b"\x63\x82\x53\x63" else "no cookie"
    yield from _options4(data[240:])


def _options4(data: bytes) -> Iterator[Line]:
    at = 0
    while at < len(data) and data[at] != 255:
        size = data[at + 1]
        yield (
            data[at : at + 2 + size],
            f"option {data[at]} {NAMES4.get(data[at], '')}: {_value4(data[at], data[at + 2 : at + 2 + size])}",
        )
        at += 2 + size
    if at < len(data):
        yield data[at : at + 1], "end of options"
    if at + 1 < len(data):
        yield data[at + 1 :], f"padding, {len(data)} in all"


def _value4(code: int, value: bytes) -> str:
    if code == 53:
        return KINDS4[value[0]]
    if code in (1, 3, 6, 28, 42, 50, 54):
        return _addresses(value, 4)
    if code in (26, 51, 57, 58, 59):
        return str(_number(value))
    if code in (12, 15):
        return value.decode()
    if code == 119:
        return _names(value)
    return _routes(value) if code in (121, 249) else f"{len(value)} bytes"


def _routes(data: bytes) -> str:
    found, at = [], 0
    while at < len(data):
        size = (data[at] + 7) // 8
        network = _address(data[at + 1 : at + 1 + size].ljust(4, b"\0"))
        found.append(f"{network}/{data[at]} via {_address(data[at + 1 + size : at + 5 + size])}")
        at += 5 + size
    return ", ".join(found)


def _icmp6(data: bytes, pseudo: bytes) -> Iterator[Line]:
    yield data[:2], f"{ND.get(data[0], '?')}, code {data[1]}"
    yield data[2:4], f"checksum {_right(pseudo + data)}"
    at = {133: 8, 134: 16, 135: 24, 136: 24}[data[0]]
    if data[0] == 134:
        preference = ("medium", "high", "?", "low")[data[5] >> 3 & 3]
        yield (
            data[4:6],
            f"hop limit {data[4]}, M={data[5] >> 7} O={data[5] >> 6 & 1}, preference {preference}",
        )
        yield data[6:8], f"router for {_number(data[6:8])} s"
        yield data[8:16], "reachable, retransmission: not said"
    else:
        yield (
            data[4:8],
            f"R={data[4] >> 7} S={data[4] >> 6 & 1} O={data[4] >> 5 & 1}" if data[0] == 136 else "reserved",
        )
        if at == 24:
            yield data[8:24], f"target {_address(data[8:24])}"
    while at < len(data):
        size = data[at + 1] * 8
        yield (
            data[at : at + size],
            f"option {data[at]} {ND_OPTIONS[data[at]]}: {_nd_value(data[at : at + size])}",
        )
        at += size


def _nd_value(option: bytes) -> str:
    if option[0] == 3:
        return (
            f"{_address(option[16:32])}/{option[2]}, L={option[3] >> 7} A={option[3] >> 6 & 1} R={option[3] >> 5 & 1},"
            f" valid {_number(option[4:8])} s, preferred {_number(option[8:12])} s"
        )
    if option[0] == 5:
        return str(_number(option[4:8]))
    if option[0] in (25, 31):
        value = _addresses(option[8:], 16) if option[0] == 25 else _names(option[8:])
        return f"{value} for {_number(option[4:8])} s"
    return option[2:8].hex(":")


def _dhcp6(data: bytes) -> Iterator[Line]:
    yield data[:1], KINDS6[data[0]]
    yield data[1:4], "transaction"
    yield from _options6(data[4:], "")


def _options6(data: bytes, within: str) -> Iterator[Line]:
    at = 0
    while at < len(data):
        code, size = _number(data[at : at + 2]), _number(data[at + 2 : at + 4])
        value, head = data[at + 4 : at + 4 + size], data[at : at + 4]
        fixed = {3: 12, 4: 4, 25: 12}.get(code)
        name = f"{within}option {code} {NAMES6.get(code, '')}"
        if fixed is None:
            yield head + value, f"{name}: {_value6(code, value)}"
        else:
            seconds = f", T1 {_number(value[4:8])} s, T2 {_number(value[8:12])} s" if fixed == 12 else ""
            yield head + value[:fixed], f"{name} {_number(value[:4])}{seconds}"
            yield from _options6(value[fixed:], f"{within}  ")
        at += 4 + size


def _value6(code: int, value: bytes) -> str:
    if code == 5:
        return f"{_address(value[:16])}, preferred {_number(value[16:20])} s, valid {_number(value[20:24])} s"
    if code == 13:
        return STATUS[_number(value[:2])]
    if code == 23:
        return _addresses(value, 16)
    if code == 24:
        return _names(value)
    if code == 39:
        return f"S={value[0] & 1} O={value[0] >> 1 & 1} N={value[0] >> 2 & 1} {_names(value[1:])}"
    return str(value[0]) if code == 7 else f"{len(value)} bytes"
