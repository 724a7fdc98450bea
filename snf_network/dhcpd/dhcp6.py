"""DHCPv6 (RFC 8415): configuration for every client and, for those that request a lease, the addresses that
are routed to the guest.
"""

from __future__ import annotations

from struct import Struct, pack

from snf_network.dhcpd import boot, packets
from snf_network.dhcpd.guest import as_ip6, shared
from snf_network.dhcpd.packets import HEADER6, Dropped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.guest import TapGuest
    from snf_network.dhcpd.packets import Answer
    from snf_network.dhcpd.terms import Terms

SERVER, CLIENT = 547, 546
SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST = 11
CLIENT_ID, SERVER_ID, IA_NA, IA_TA, IA_ADDRESS, PREFERENCE, STATUS, RAPID_COMMIT = 1, 2, 3, 4, 5, 7, 13, 14
RESOLVERS, SEARCH, IA_PD, FQDN = 23, 24, 25, 39
SUCCESS, NO_ADDRESSES, NOT_ON_LINK, NO_PREFIXES = 0, 2, 4, 6
TO_THIS_SERVER = frozenset((REQUEST, RENEW, RELEASE, DECLINE))
TO_ANY_SERVER = frozenset((SOLICIT, CONFIRM, REBIND))
MOST_ASSOCIATIONS = 8
"""Maximum number of associations answered per message; a client has one, or one and a prefix."""
LONGEST_DUID = 130
_OPTION = Struct("!HH")
Options = list[tuple[int, bytes]]


class Dhcp6:
    """Answers the DHCPv6 messages of one guest."""

    __slots__ = ("configuration", "guest", "server")

    def __init__(self, guest: TapGuest) -> None:
        self.guest = guest
        self.server = shared(duid(guest.source_mac))
        self.configuration = shared(_configuration(guest.terms)) if guest.terms.dhcpv6 else None
        """The options of every reply with configuration; None if the guest is not served."""

    def answer(self, frame: bytes, source: bytes, target: bytes, end: int) -> Answer:
        """The reply to a frame of UDP over IPv6 with these addresses. Raises Dropped if there is none."""
        kind, xid, options = _read(frame, end)
        if target[0] != 0xFF:
            raise Dropped("unicast")
        if source[0] != 0xFE or source[1] & 0xC0 != 0x80:
            raise Dropped("malformed")
        asked = dict(reversed(options))
        _check(kind, asked, self.server)
        if self.configuration is None:
            raise Dropped("not-served")
        reply_kind, word, content = self._reply(kind, options, asked)
        head = [bytes((reply_kind,)), xid, _option(SERVER_ID, self.server)]
        if CLIENT_ID in asked:
            head.append(_option(CLIENT_ID, asked[CLIENT_ID]))
        ethernet, message = frame[6:12] + self.guest.source_mac, b"".join(head) + content
        return (packets.udp6(ethernet, self.guest.link_local, source, (SERVER, CLIENT), message),), word

    def _reply(self, kind: int, options: Options, asked: dict[int, bytes]) -> tuple[int, str, bytes]:
        """Message type, name and options of the reply, without the identifiers."""
        guest = self.guest
        configuration = (self.configuration or b"") + _name(asked, guest.terms.hostname)
        if guest.terms.boot6:
            configuration += b"".join(_option(*one) for one in boot.options6(guest.terms, asked))
        if kind == INFORMATION_REQUEST:
            return REPLY, "information6", configuration
        if kind == CONFIRM:
            return REPLY, "confirm6", _confirmed(options, guest)
        if kind in (RELEASE, DECLINE):
            return REPLY, "release6" if kind == RELEASE else "decline6", _status(SUCCESS)
        leases = _associations(options, guest, with_old=kind in (RENEW, REBIND))
        if kind != SOLICIT:
            return REPLY, "reply6", leases + configuration
        if RAPID_COMMIT in asked and guest.ip6:
            return REPLY, "reply6", _option(RAPID_COMMIT, b"") + leases + configuration
        return ADVERTISE, "advertise6", _option(PREFERENCE, b"\xff") + leases + configuration


def _read(frame: bytes, end: int) -> tuple[int, bytes, Options]:
    """Message type, transaction and options of the datagram. Raises Dropped."""
    if end - HEADER6 < 12:
        raise Dropped("malformed")
    target_port, size = int.from_bytes(frame[56:58], "big"), int.from_bytes(frame[58:60], "big")
    if target_port != SERVER:
        raise Dropped("not-ours")
    if size < 12 or HEADER6 + size > end:
        raise Dropped("malformed")
    return frame[62], frame[63:66], read_options(frame[66 : HEADER6 + size])


def read_options(data: bytes) -> Options:
    """Codes and values, in order. Raises Dropped for one that exceeds the data."""
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


def _check(kind: int, asked: dict[int, bytes], own: bytes) -> None:
    """Raise Dropped for a message that lacks a required option, has a forbidden one (RFC 8415, 16), or is for
    a server other than `own`.
    """
    server = asked.get(SERVER_ID)
    if kind not in TO_THIS_SERVER | TO_ANY_SERVER and kind != INFORMATION_REQUEST:
        raise Dropped("not-ours")
    if kind == INFORMATION_REQUEST:
        bad = bool(asked.keys() & {IA_NA, IA_TA, IA_PD})
    else:
        bad = CLIENT_ID not in asked or (server is None) == (kind in TO_THIS_SERVER)
    if bad or not 0 < len(asked.get(CLIENT_ID, b"?")) <= LONGEST_DUID:
        raise Dropped("malformed")
    if server is not None and server != own:
        raise Dropped("other-server")


def _associations(options: Options, guest: TapGuest, *, with_old: bool) -> bytes:
    """The reply to each identity association: the first one for addresses gets the guest's addresses, every
    other one the status that there is none.

    If `with_old`, each other address that the client still has gets lifetimes of 0 (RFC 8415, 18.3.4).
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
                _association(
                    value[:4], guest, free, [address for address in old if address not in guest.leased6]
                )
            )
            free = False
        elif code == IA_TA:
            found.append(_option(IA_TA, value[:4] + _status(NO_ADDRESSES)))
        else:
            found.append(_option(IA_PD, value[:4] + bytes(8) + _status(NO_PREFIXES)))
    return b"".join(found)


def _association(identifier: bytes, guest: TapGuest, free: bool, old: list[bytes]) -> bytes:
    renew, rebind, whole = guest.terms.lease if free else (0, 0, 0)
    ours = (_option(IA_ADDRESS, address + pack("!II", whole, whole)) for address in guest.leased6)
    content = b"".join(ours) if free else _status(NO_ADDRESSES)
    over = b"".join(_option(IA_ADDRESS, address + bytes(8)) for address in old[:MOST_ASSOCIATIONS])
    return _option(IA_NA, identifier + pack("!II", renew, rebind) + content + over)


def _addresses(association: bytes) -> list[bytes]:
    """The addresses in an IA_NA."""
    return [
        value[:16]
        for code, value in read_options(association[12:])
        if code == IA_ADDRESS and len(value) >= 24
    ]


def _confirmed(options: Options, guest: TapGuest) -> bytes:
    """A status: whether all of the client's addresses are valid on this link. Raises Dropped for a client
    without any, which gets no reply (RFC 8415, 18.3.3).
    """
    held = [address for code, value in options if code == IA_NA for address in _addresses(value)]
    if not held:
        raise Dropped("malformed")
    return _status(SUCCESS if all(address in guest.leased6 for address in held) else NOT_ON_LINK)


def _name(asked: dict[int, bytes], hostname: str) -> bytes:
    """The guest's name for a client that sent its own (RFC 4704, 6). The server does no DNS update for it
    (N), and overrides the client's request for one (O).
    """
    if FQDN not in asked:
        return b""
    wished = asked[FQDN][:1]
    flags = 4 | (2 if wished and wished[0] & 1 else 0)
    name = packets.names((hostname,))
    return _option(FQDN, bytes((flags,)) + (name if "." in hostname else name[:-1]))


def _status(code: int) -> bytes:
    return _option(STATUS, code.to_bytes(2, "big"))


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value


def duid(mac: bytes) -> bytes:
    """The server's identifier, of the link-layer type (RFC 8415, 11.4): the same on every node whose taps
    have that MAC.
    """
    return pack("!HH", 3, 1) + mac


def _configuration(terms: Terms) -> bytes:
    """Name servers and search list (RFC 3646)."""
    servers = b"".join(map(as_ip6, terms.resolvers6))
    found = ((RESOLVERS, servers), (SEARCH, packets.names(terms.search6)))
    return b"".join(_option(code, value) for code, value in found if value)
