"""DHCPv4 (RFC 2131, options of RFC 2132): a request in, the reply out, from the guest's binding and nothing
else.
"""

from __future__ import annotations

from socket import inet_aton
from struct import Struct, pack

from snf_network.addresses import within
from snf_network.dhcpd import wire
from snf_network.dhcpd.wire import Dropped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.binding import Binding
    from snf_network.dhcpd.conf import Settings
    from snf_network.dhcpd.guest import Guest

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
"""Bytes of a BOOTP message: shorter ones are dropped by old relays and clients (RFC 1542, 2.1)."""
PROMISED = 576 - 28
"""Bytes of a message that every client takes: a datagram of 576 (RFC 2131, 2)."""
LARGEST = 1500 - 28
_REQUEST = Struct("!BBBxIHH4s8x4s6s")
_REPLY = Struct("!BBBxIHH4s4s4x4s16s192x4s")
FIXED = 236 + 4


def answer(frame: bytes, guest: Guest) -> tuple[tuple[bytes, ...], str]:
    """The reply to a frame for UDP port 67, and its name in lower case. Raises Dropped for what has none."""
    target, port, start, end = wire.read_udp4(frame, SERVER)
    if end - start < FIXED:
        raise Dropped("malformed")
    xid, flags, ciaddr, giaddr, chaddr = _header(frame, start, guest)
    asked = read_options(frame, start + FIXED, end)
    if not guest.ip:
        raise Dropped("not-served")
    if target not in (EVERYWHERE, guest.server) and not frame[0] & 1:
        raise Dropped("other-server")
    word = decide(asked, ciaddr, frame[26:30], guest)
    yiaddr = guest.ip if word in ("offer", "ack") else NOWHERE
    client = ciaddr if word == "ack" else guest.ip if word == "inform" else NOWHERE
    message = _REPLY.pack(2, 1, 6, xid, 0, flags, client, yiaddr, giaddr, chaddr, COOKIE) + _options(
        word, asked, guest
    )
    message = message.ljust(SMALLEST, b"\0")
    if giaddr != NOWHERE:
        return (
            wire.udp4(frame[6:12] + guest.source_mac, guest.server, giaddr, (SERVER, SERVER), message),
        ), word
    broadcast = word == "nak" or (flags & BROADCAST and client == NOWHERE)
    station, address = (EVERYBODY, EVERYWHERE) if broadcast else (chaddr, guest.ip)
    return (
        wire.udp4(station + guest.source_mac, guest.server, address, (SERVER, port or CLIENT), message),
    ), word


def _header(frame: bytes, start: int, guest: Guest) -> tuple[int, int, bytes, bytes, bytes]:
    """Transaction, flags, ciaddr, giaddr and chaddr of a request that is the guest's own."""
    operation, hardware, size, xid, _, flags, ciaddr, giaddr, chaddr = _REQUEST.unpack_from(frame, start)
    if operation != 1 or hardware != 1 or size != 6:
        raise Dropped("malformed")
    if chaddr != guest.mac and not guest.binding.macspoof:
        raise Dropped("spoofed-mac")
    if giaddr != NOWHERE and not guest.settings.allow_relay:
        raise Dropped("giaddr")
    if frame[start + 236 : start + FIXED] != COOKIE:
        raise Dropped("bootp")
    return xid, flags, ciaddr, giaddr, chaddr


def read_options(frame: bytes, at: int, end: int) -> dict[int, bytes]:
    """The options between two positions, the first of each code. Raises Dropped for one that leaves the
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


def decide(options: dict[int, bytes], ciaddr: bytes, source: bytes, guest: Guest) -> str:
    """`offer`, `ack`, `nak` or `inform`: what a message gets, by the table of RFC 2131, 4.3. Raises Dropped
    for what has no reply.
    """
    kind = options.get(KIND, b"")
    if kind == DISCOVER:
        return "offer"
    if kind != INFORM and options.get(SERVER_ID, guest.server) != guest.server:
        raise Dropped("other-server")
    if kind == REQUEST:
        return _decide_request(options, ciaddr, guest)
    if kind == INFORM:
        if guest.ip != (source if ciaddr == NOWHERE else ciaddr):
            raise Dropped("other-address")
        return "inform"
    if kind == DECLINE:
        raise Dropped("decline")
    if kind == RELEASE:
        raise Dropped("release")
    raise Dropped("bootp" if not kind else "malformed")


def _decide_request(options: dict[int, bytes], ciaddr: bytes, guest: Guest) -> str:
    """SELECTING names the server, INIT-REBOOT only the address, RENEWING and REBINDING have it already (RFC
    2131, 4.3.2).
    """
    claimed = {address for address in (options.get(REQUESTED, NOWHERE), ciaddr) if address != NOWHERE}
    if not claimed:
        raise Dropped("malformed")
    return "ack" if claimed == {guest.ip} else "nak"


def _option(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value


KINDS = {
    "offer": _option(KIND, OFFER),
    "ack": _option(KIND, ACK),
    "nak": _option(KIND, NAK),
    "inform": _option(KIND, ACK),
}
_END = bytes((END,))


def _options(word: str, asked: dict[int, bytes], guest: Guest) -> bytes:
    """Those of a reply. What the client said of itself, or a relay of it, is said back (RFC 6842; RFC 3046,
    2.2).
    """
    echo = _option(CLIENT_ID, asked[CLIENT_ID]) if CLIENT_ID in asked else b""
    if RELAY_AGENT in asked and len(echo) + len(asked[RELAY_AGENT]) < 256:
        echo += _option(RELAY_AGENT, asked[RELAY_AGENT])
    own = guest.lease4 if word in ("offer", "ack") else _option(SERVER_ID, guest.server)
    if word == "inform":
        own += guest.configuration4
    room = PROMISED - FIXED - 4 - len(echo)
    if len(own) > room:
        room += (
            min(max(int.from_bytes(asked.get(LARGEST_MESSAGE, b""), "big") - 28, PROMISED), LARGEST)
            - PROMISED
        )
        own = fit(own, room)
    return b"".join((KINDS[word], own, echo, _END))


def fit(options: bytes, room: int) -> bytes:
    """The options that `room` bytes hold, the first ones first: a client need not take more than it said
    (option 57).
    """
    found, at = b"", 0
    while at < len(options):
        after = at + 2 + options[at + 1]
        if len(found) + after - at <= room:
            found += options[at:after]
        at = after
    return found


def lease(guest: Guest) -> bytes:
    """The options of an offer, after its kind: the most needed first, since the last ones are the first to be
    left out.
    """
    renew, rebind, whole = guest.times
    return (
        pack(
            "!BB4sBBIBBIBBI",
            SERVER_ID,
            4,
            guest.server,
            LEASE,
            4,
            whole,
            RENEWAL,
            4,
            renew,
            REBINDING,
            4,
            rebind,
        )
        + guest.configuration4
    )


def configuration(binding: Binding, settings: Settings) -> bytes:
    """The options that a guest gets with a lease and without (INFORM)."""
    network, _, length = (binding.subnet or f"{binding.ip}/32").partition("/")
    mask = 0xFFFFFFFF << (32 - int(length)) & 0xFFFFFFFF
    broadcast = int.from_bytes(inet_aton(network), "big") | ~mask & 0xFFFFFFFF
    nameservers = binding.nameservers or settings.nameservers
    search, ntp = binding.domain_search or settings.domain_search, binding.ntp or settings.ntp
    routes = classless_routes(binding)
    found = [
        (MASK, mask.to_bytes(4, "big")),
        (ROUTER, inet_aton(binding.gateway) if binding.gateway and not binding.private else b""),
        (ROUTES, routes),
        (RESOLVERS, b"".join(map(inet_aton, nameservers))),
        (MTU, pack("!H", binding.mtu) if binding.mtu else b""),
        (HOSTNAME, binding.hostname.encode("ascii")),
        (DOMAIN, (binding.domain or settings.domain or domain_of(binding.hostname)).encode("ascii")),
        (SUBNET_BROADCAST, broadcast.to_bytes(4, "big")),
        (NTP, b"".join(map(inet_aton, ntp))),
        (SEARCH, wire.names(search)),
        (ROUTES_OF_MICROSOFT, routes),
    ]
    return b"".join(_option(code, value) for code, value in found if value)


def domain_of(hostname: str) -> str:
    """What is after the first dot; of a name without one, the name itself, as the old nfdhcpd had it."""
    return hostname.split(".", 1)[-1]


def classless_routes(binding: Binding) -> bytes:
    """Option 121 (RFC 3442), and 249, which Windows before Vista has for it: empty where the gateway alone
    says it all.

    A client that knows it does not look at option 3, so the way out is among them. A gateway that is not in
    the guest's subnet, as that of a /32 never is, first needs a route of its own, on the link.
    """
    routes = [
        *binding.routes,
        *([("0.0.0.0/0", binding.gateway)] if binding.gateway and not binding.private else []),
    ]
    far = [
        gateway
        for gateway in dict.fromkeys(gateway for _, gateway in routes)
        if not _is_near(gateway, binding.subnet)
    ]
    if not far and not binding.routes:
        return b""
    return b"".join(
        _route(prefix, gateway)
        for prefix, gateway in [*((f"{gateway}/32", "0.0.0.0") for gateway in far), *routes]
    )


def _is_near(gateway: str, subnet: str) -> bool:
    return bool(subnet) and not subnet.endswith("/32") and within(gateway, subnet)


def _route(prefix: str, gateway: str) -> bytes:
    network, _, length = prefix.partition("/")
    return bytes((int(length),)) + inet_aton(network)[: (int(length) + 7) // 8] + inet_aton(gateway)
