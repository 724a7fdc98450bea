"""DHCPv4 (RFC 2131, options of RFC 2132): from a request and the guest's terms alone to the reply."""

from __future__ import annotations

from socket import inet_aton
from struct import Struct, pack

from snf_network.dhcpd import packets
from snf_network.dhcpd.boot import NOTHING, Boot
from snf_network.dhcpd.guest import shared
from snf_network.dhcpd.packets import Dropped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.boot import Options
    from snf_network.dhcpd.guest import TapGuest
    from snf_network.dhcpd.packets import Answer
    from snf_network.dhcpd.terms import Terms

SERVER, CLIENT = 67, 68
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = (bytes((kind,)) for kind in range(1, 9))
# options
MASK, ROUTER, RESOLVERS, HOSTNAME, DOMAIN, MTU, SUBNET_BROADCAST, NTP = 1, 3, 6, 12, 15, 26, 28, 42
REQUESTED, LEASE, KIND, SERVER_ID, LARGEST_MESSAGE, RENEWAL, REBINDING, CLIENT_ID = (
    50,
    51,
    53,
    54,
    57,
    58,
    59,
    61,
)
RELAY_AGENT, SEARCH, ROUTES, ROUTES_OF_MICROSOFT = 82, 119, 121, 249
PAD, END = 0, 255
COOKIE = b"\x63\x82\x53\x63"
NOWHERE, EVERYWHERE = bytes(4), b"\xff" * 4
EVERYBODY = b"\xff" * 6
BROADCAST = 0x8000
SMALLEST = 300
"""Minimum bytes of a BOOTP message. Old relays and clients drop shorter ones (RFC 1542, 2.1)."""
PROMISED = 576 - 28
"""Bytes of a message that every client accepts: the payload of a datagram of 576 (RFC 2131, 2)."""
LARGEST = 1500 - 28
_REQUEST = Struct("!BBBxIHH4s8x4s6s")
_REPLY = Struct("!BBBxIHH4s4s4s4s16s64x128s4s")
FIXED = 236 + 4
OVERLOAD, FIELDS = 52, ((1, 108, 236), (2, 44, 108))
"""For each field that option 52 can mark as holding options: its bit, and where it starts and ends."""
IDENTIFIER, LEASED = 6, 6 + 3 * 6
"""In the options of an offer, the end of the server identifier, and the end of the three times after it."""
MASK_OPTION = 6
"""Octets of the subnet mask, which is next."""


class Dhcp4:
    """Answers the DHCPv4 messages of one guest."""

    __slots__ = ("boot", "guest", "lease", "server")

    def __init__(self, guest: TapGuest) -> None:
        self.guest = guest
        self.server = shared(inet_aton(guest.terms.server))
        """The source address of replies; it also identifies the server (option 54)."""
        self.lease = _lease(self.server, guest.terms) if guest.ip else b""
        """The options of an offer, without its message type."""
        self.boot = Boot(guest.terms) if guest.ip and guest.terms.boot else None

    def answer(self, frame: bytes) -> Answer:
        """The reply to an IPv4 frame. Raises Dropped if there is none."""
        guest = self.guest
        target, start, end = packets.read_udp4(frame, SERVER)
        if end - start < FIXED:
            raise Dropped("malformed")
        xid, flags, ciaddr, giaddr, chaddr = _header(frame, start, guest)
        asked = _asked(frame, start, end)
        if guest.relayed:
            raise Dropped("giaddr" if RELAY_AGENT in asked else "relayed")  # RFC 3046, 2.1
        if not guest.ip:
            raise Dropped("not-served")
        if target not in (EVERYWHERE, self.server) and not frame[0] & 1:
            raise Dropped("other-server")
        word = self._decide(asked, ciaddr, frame[26:30])
        yiaddr = guest.ip if word in ("offer", "ack") else NOWHERE
        client = ciaddr if word == "ack" else guest.ip if word == "inform" else NOWHERE
        server, file, more = self.boot.chosen(asked) if self.boot and word != "nak" else NOTHING
        message = _REPLY.pack(2, 1, 6, xid, 0, flags, client, yiaddr, server, giaddr, chaddr, file, COOKIE)
        message = (message + self._options(word, asked, more)).ljust(SMALLEST, b"\0")
        if giaddr != NOWHERE:
            station, address, port = frame[6:12], giaddr, SERVER
        elif word == "nak" or (flags & BROADCAST and client == NOWHERE):
            station, address, port = EVERYBODY, EVERYWHERE, CLIENT
        else:
            station, address, port = chaddr, guest.ip, CLIENT
        ethernet = station + guest.source_mac
        return (packets.udp4(ethernet, self.server, address, (SERVER, port), message),), word

    def _decide(self, options: dict[int, bytes], ciaddr: bytes, source: bytes) -> str:
        """The reply to a message by the table in RFC 2131, 4.3: `offer`, `ack`, `nak` or `inform`. Raises
        Dropped if there is none.
        """
        kind = options.get(KIND, b"")
        if kind == DISCOVER:
            return "offer"
        if kind != INFORM and options.get(SERVER_ID, self.server) != self.server:
            raise Dropped("other-server")
        if kind == REQUEST:
            return _decide_request(options, ciaddr, self.guest.ip)
        if kind == INFORM:
            if self.guest.ip != (source if ciaddr == NOWHERE else ciaddr):
                raise Dropped("other-address")
            return "inform"
        if kind == DECLINE:
            raise Dropped("decline")
        if kind == RELEASE:
            raise Dropped("release")
        raise Dropped("bootp" if not kind else "malformed")

    def _options(self, word: str, asked: dict[int, bytes], more: Options) -> bytes:
        """The options of a reply, those of `more` right after the lease. Options that identify the client, or
        that a relay added, are sent back (RFC 6842; RFC 3046, 2.2).
        """
        echo = _option(CLIENT_ID, asked[CLIENT_ID]) if CLIENT_ID in asked else b""
        if RELAY_AGENT in asked and len(echo) + len(asked[RELAY_AGENT]) < 256:
            echo += _option(RELAY_AGENT, asked[RELAY_AGENT])
        own = self.lease
        if word == "nak":
            own = own[:IDENTIFIER]
        elif word == "inform":
            own = own[:IDENTIFIER] + own[LEASED:]
        if more:
            at = IDENTIFIER if word == "inform" else LEASED
            others = own[at + MASK_OPTION :] if MASK in dict(more) else own[at:]
            own = b"".join((own[:at], *(_option(code, value) for code, value in more), others))
        room = PROMISED - FIXED - 4 - len(echo)
        if len(own) > room:
            largest = int.from_bytes(asked.get(LARGEST_MESSAGE, b""), "big") - 28
            own = fit(own, room + min(max(largest, PROMISED), LARGEST) - PROMISED)
        return b"".join((KINDS[word], own, echo, _END))


def _header(frame: bytes, start: int, guest: TapGuest) -> tuple[int, int, bytes, bytes, bytes]:
    """Transaction, flags, ciaddr, giaddr and chaddr of a request from the guest. Raises Dropped."""
    operation, hardware, size, xid, _, flags, ciaddr, giaddr, chaddr = _REQUEST.unpack_from(frame, start)
    if operation != 1 or hardware != 1 or size != 6:
        raise Dropped("malformed")
    if chaddr != guest.mac and not guest.terms.any_mac:
        raise Dropped("spoofed-mac")
    if giaddr != NOWHERE and not guest.terms.relay:
        raise Dropped("giaddr")
    if frame[start + 236 : start + FIXED] != COOKIE:
        raise Dropped("bootp")
    return xid, flags, ciaddr, giaddr, chaddr


def _asked(frame: bytes, start: int, end: int) -> dict[int, bytes]:
    """All options of a message: option 52 says that the fields file and sname hold some, read in this order
    (RFC 2131, 4.1; RFC 2132, 9.3). Raises Dropped.
    """
    found = read_options(frame, start + FIXED, end)
    if OVERLOAD not in found:
        return found
    if found[OVERLOAD] not in (b"\1", b"\2", b"\3"):
        raise Dropped("malformed")
    for bit, first, last in FIELDS:
        if found[OVERLOAD][0] & bit:
            found = read_options(frame, start + first, start + last) | found
    return found


def read_options(frame: bytes, at: int, end: int) -> dict[int, bytes]:
    """The options between two positions; of each code the first. Raises Dropped for one that exceeds the
    message.
    """
    found: dict[int, bytes] = {}
    while at < end:
        code = frame[at]
        if code == END:
            break
        if code == PAD:
            at += 1
            continue
        if at + 2 > end or (after := at + 2 + frame[at + 1]) > end:
            raise Dropped("malformed")
        if code not in found:
            found[code] = frame[at + 2 : after]
        at = after
    return found


def without(options: bytes, unwanted: int) -> bytes:
    """Valid options up to their end, without those of one code, and without padding."""
    found, at = [], 0
    while at < len(options) and options[at] != END:
        after = at + 1 if options[at] == PAD else at + 2 + options[at + 1]
        if options[at] not in (PAD, unwanted):
            found.append(options[at:after])
        at = after
    return b"".join(found)


def _decide_request(options: dict[int, bytes], ciaddr: bytes, ip: bytes) -> str:
    """`ack` or `nak`. A client in SELECTING names the server, one in INIT-REBOOT only the address; in
    RENEWING and REBINDING it already uses the address (RFC 2131, 4.3.2).
    """
    claimed = {address for address in (options.get(REQUESTED, NOWHERE), ciaddr) if address != NOWHERE}
    if not claimed:
        raise Dropped("malformed")
    return "ack" if claimed == {ip} else "nak"


def _option(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value


KINDS = {
    "offer": _option(KIND, OFFER),
    "ack": _option(KIND, ACK),
    "nak": _option(KIND, NAK),
    "inform": _option(KIND, ACK),
}
_END = bytes((END,))


def fit(options: bytes, room: int) -> bytes:
    """The options that fit into `room` bytes, in order: a client need not accept more than it announced
    (option 57).
    """
    found, at = b"", 0
    while at < len(options):
        after = at + 2 + options[at + 1]
        if len(found) + after - at <= room:
            found += options[at:after]
        at = after
    return found


def _lease(server: bytes, terms: Terms) -> bytes:
    """The options of an offer, the most important first, since `fit` drops the last ones first."""
    renew, rebind, whole = terms.lease
    times = pack("!BBIBBIBBI", LEASE, 4, whole, RENEWAL, 4, renew, REBINDING, 4, rebind)
    return _option(SERVER_ID, server) + times + _configuration(terms)


def _configuration(terms: Terms) -> bytes:
    """The options that a guest gets both with a lease and without one (INFORM)."""
    network, _, length = terms.subnet.partition("/")
    mask = 0xFFFFFFFF << (32 - int(length)) & 0xFFFFFFFF
    broadcast = (int.from_bytes(inet_aton(network), "big") | ~mask & 0xFFFFFFFF).to_bytes(4, "big")
    routes = b"".join(_route(prefix, gateway) for prefix, gateway in terms.routes)
    found = [
        (MASK, mask.to_bytes(4, "big")),
        (ROUTER, inet_aton(terms.router) if terms.router else b""),
        (ROUTES, routes),
        (RESOLVERS, b"".join(map(inet_aton, terms.resolvers))),
        (MTU, pack("!H", terms.mtu) if terms.mtu else b""),
        (HOSTNAME, terms.hostname.encode("ascii")),
        (DOMAIN, terms.domain.encode("ascii")),
        (SUBNET_BROADCAST, broadcast if int(length) <= 30 else b""),  # a /31 has none (RFC 3021)
        (NTP, b"".join(map(inet_aton, terms.ntp))),
        (SEARCH, packets.names(terms.search)),
        (ROUTES_OF_MICROSOFT, routes),
    ]
    return b"".join(_option(code, value) for code, value in found if value)


def _route(prefix: str, gateway: str) -> bytes:
    network, _, length = prefix.partition("/")
    return bytes((int(length),)) + inet_aton(network)[: (int(length) + 7) // 8] + inet_aton(gateway)
