"""DHCPv6 (RFC 8415): configuration for all, and the one address that is routed to the guest for those who ask
for a lease.
"""

from __future__ import annotations

from socket import AF_INET6, inet_pton
from struct import Struct, pack

from snf_network.dhcpd import wire
from snf_network.dhcpd.dhcp4 import domain_of
from snf_network.dhcpd.wire import HEADER6, Dropped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.binding import Binding
    from snf_network.dhcpd.conf import Settings
    from snf_network.dhcpd.guest import Guest

SERVER, CLIENT = 547, 546
SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST = 11
CLIENT_ID, SERVER_ID, IA_NA, IA_TA, IA_ADDRESS, PREFERENCE, STATUS, RAPID_COMMIT = 1, 2, 3, 4, 5, 7, 13, 14
RESOLVERS, SEARCH, IA_PD, FQDN = 23, 24, 25, 39
SUCCESS, NO_ADDRESSES, NOT_ON_LINK, NO_PREFIXES = 0, 2, 4, 6
TO_THIS_SERVER = frozenset((REQUEST, RENEW, RELEASE, DECLINE))
TO_ANY_SERVER = frozenset((SOLICIT, CONFIRM, REBIND))
MOST_ASSOCIATIONS = 8
"""Of one message that are answered; a client has one, or one and a prefix."""
LONGEST_DUID = 130
_OPTION = Struct("!HH")
Options = list[tuple[int, bytes]]
Answer = tuple[tuple[bytes, ...], str]


def answer(frame: bytes, guest: Guest, source: bytes, target: bytes, end: int) -> Answer:
    """The reply to a frame of UDP over IPv6, whose addresses are given, and its name. Raises Dropped for what
    has none.
    """
    port, kind, xid, options = _read(frame, end)
    if target[0] != 0xFF:
        raise Dropped("unicast")
    if source[0] != 0xFE or source[1] & 0xC0 != 0x80:
        raise Dropped("malformed")
    asked = dict(reversed(options))
    _check(kind, asked, guest)
    if guest.configuration6 is None:
        raise Dropped("not-served")
    reply_kind, word, content = _reply(kind, options, asked, guest)
    head = [bytes((reply_kind,)), xid, _option(SERVER_ID, guest.server_duid)]
    if CLIENT_ID in asked:
        head.append(_option(CLIENT_ID, asked[CLIENT_ID]))
    ethernet = frame[6:12] + guest.source_mac
    return (
        wire.udp6(ethernet, guest.link_local, source, (SERVER, port or CLIENT), b"".join(head) + content),
    ), word


def _read(frame: bytes, end: int) -> tuple[int, int, bytes, Options]:
    """Source port, message type, transaction and options of the datagram."""
    if end - HEADER6 < 12:
        raise Dropped("malformed")
    port, target_port, size = (
        int.from_bytes(frame[54:56], "big"),
        int.from_bytes(frame[56:58], "big"),
        int.from_bytes(frame[58:60], "big"),
    )
    if target_port != SERVER:
        raise Dropped("not-ours")
    if size < 12 or HEADER6 + size > end:
        raise Dropped("malformed")
    return port, frame[62], frame[63:66], read_options(frame[66 : HEADER6 + size])


def read_options(data: bytes) -> Options:
    """Codes and values, in order. Raises Dropped for one that leaves the data."""
    found, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            raise Dropped("malformed")
        code, size = _OPTION.unpack_from(data, at)
        if at + 4 + size > len(data):
            raise Dropped("malformed")
        found.append((code, data[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def _check(kind: int, asked: dict[int, bytes], guest: Guest) -> None:
    """What each message must and must not have (RFC 8415, 16)."""
    server = asked.get(SERVER_ID)
    if kind not in TO_THIS_SERVER | TO_ANY_SERVER and kind != INFORMATION_REQUEST:
        raise Dropped("not-ours")
    if kind == INFORMATION_REQUEST:
        bad = bool(asked.keys() & {IA_NA, IA_TA, IA_PD})
    else:
        bad = CLIENT_ID not in asked or (server is None) == (kind in TO_THIS_SERVER)
    if bad or not 0 < len(asked.get(CLIENT_ID, b"?")) <= LONGEST_DUID:
        raise Dropped("malformed")
    if server is not None and server != guest.server_duid:
        raise Dropped("other-server")


def _reply(kind: int, options: Options, asked: dict[int, bytes], guest: Guest) -> tuple[int, str, bytes]:
    """Kind, name and options of the reply, but for the identifiers."""
    configuration = (guest.configuration6 or b"") + _name(asked, guest)
    if kind == INFORMATION_REQUEST:
        return REPLY, "information6", configuration
    if kind == CONFIRM:
        return REPLY, "confirm6", _confirmed(options, guest)
    if kind in (RELEASE, DECLINE):
        return REPLY, "release6" if kind == RELEASE else "decline6", _status(SUCCESS)
    leases = associations(options, guest, with_old=kind in (RENEW, REBIND))
    if kind != SOLICIT:
        return REPLY, "reply6", leases + configuration
    if RAPID_COMMIT in asked and guest.ip6:
        return REPLY, "reply6", _option(RAPID_COMMIT, b"") + leases + configuration
    return ADVERTISE, "advertise6", _option(PREFERENCE, b"\xff") + leases + configuration


def associations(options: Options, guest: Guest, *, with_old: bool) -> bytes:
    """What each identity association gets: the first for addresses the guest's one, others that there is
    none.

    `with_old` says of each other address that the client still has that it is over (RFC 8415, 18.3.4).
    """
    found, free = [], bool(guest.ip6)
    for code, value in [option for option in options if option[0] in (IA_NA, IA_TA, IA_PD)][
        :MOST_ASSOCIATIONS
    ]:
        if len(value) < (4 if code == IA_TA else 12):
            raise Dropped("malformed")
        if code == IA_NA:
            old = _addresses(value) if with_old else []
            found.append(
                _association(value[:4], guest, free, [address for address in old if address != guest.ip6])
            )
            free = False
        elif code == IA_TA:
            found.append(_option(IA_TA, value[:4] + _status(NO_ADDRESSES)))
        else:
            found.append(_option(IA_PD, value[:4] + bytes(8) + _status(NO_PREFIXES)))
    return b"".join(found)


def _association(identifier: bytes, guest: Guest, free: bool, old: list[bytes]) -> bytes:
    renew, rebind, whole = guest.times if free else (0, 0, 0)
    content = _option(IA_ADDRESS, guest.ip6 + pack("!II", whole, whole)) if free else _status(NO_ADDRESSES)
    over = b"".join(_option(IA_ADDRESS, address + bytes(8)) for address in old[:MOST_ASSOCIATIONS])
    return _option(IA_NA, identifier + pack("!II", renew, rebind) + content + over)


def _addresses(association: bytes) -> list[bytes]:
    """The addresses in an IA_NA."""
    return [
        value[:16]
        for code, value in read_options(association[12:])
        if code == IA_ADDRESS and len(value) >= 24
    ]


def _confirmed(options: Options, guest: Guest) -> bytes:
    """Whether all addresses that the client has are right here. Without any there is no reply (RFC 8415,
    18.3.3).
    """
    held = [address for code, value in options if code == IA_NA for address in _addresses(value)]
    if not held:
        raise Dropped("malformed")
    return _status(SUCCESS if all(address == guest.ip6 for address in held) else NOT_ON_LINK)


def _name(asked: dict[int, bytes], guest: Guest) -> bytes:
    """The guest's name for one that told its own (RFC 4704, 6): no server updates DNS on its behalf (N),
    whatever it wished (O).
    """
    if FQDN not in asked:
        return b""
    wished = asked[FQDN][:1]
    flags = 4 | (2 if wished and wished[0] & 1 else 0)
    name = wire.names((guest.binding.hostname,))
    return _option(FQDN, bytes((flags,)) + (name if "." in guest.binding.hostname else name[:-1]))


def _status(code: int) -> bytes:
    return _option(STATUS, code.to_bytes(2, "big"))


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value


def duid(mac: bytes) -> bytes:
    """The server's identifier, of the link-layer kind (RFC 8415, 11.4): the same as long as the MAC is, on
    any node that has it.
    """
    return pack("!HH", 3, 1) + mac


def is_served(binding: Binding, settings: Settings) -> bool:
    """Whether the guest is told to ask by DHCPv6, and answered."""
    return settings.mode != "slaac" and not binding.nodhcp6


def domains(binding: Binding, settings: Settings) -> tuple[str, ...]:
    """The search list; without one in the binding or the settings, the guest's own domain."""
    return binding.domain_search or settings.domains or (binding.domain or domain_of(binding.hostname),)


def configuration(binding: Binding, settings: Settings) -> bytes:
    """The options that every guest gets, lease or not (RFC 3646)."""
    servers = b"".join(
        inet_pton(AF_INET6, address) for address in binding.nameservers6 or settings.nameservers6
    )
    return (_option(RESOLVERS, servers) if servers else b"") + _option(
        SEARCH, wire.names(domains(binding, settings))
    )
