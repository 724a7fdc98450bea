"""Neighbour discovery (RFC 4861): router advertisements, asked for and not, and advertisements for neighbours
the guest cannot see.
"""

from __future__ import annotations

from socket import AF_INET6, inet_pton
from struct import Struct, pack

from snf_network.dhcpd import dhcp6, wire
from snf_network.dhcpd.wire import HEADER6, ICMP6, Dropped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.binding import Binding
    from snf_network.dhcpd.conf import Settings
    from snf_network.dhcpd.guest import Guest

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = (
    133,
    134,
    135,
    136,
)
# options
SOURCE, TARGET, PREFIX, MTU, RESOLVERS, SEARCH = 1, 2, 3, 5, 25, 31
SILENT = bytes(16)
ALL_NODES = inet_pton(AF_INET6, "ff02::1")
ALL_NODES_MAC = b"\x33\x33\x00\x00\x00\x01"
SOLICITED_NODE = inet_pton(AF_INET6, "ff02::1:ff00:0")[:13]
ROUTER_LIFETIME = 9000
"""Seconds; the most that RFC 4861, 6.2.1 allows, so that a guest outlives a pause of the daemon."""
VALID, PREFERRED = 86400, 14400
"""Seconds that an address may be used, and used for something new, after the last advertisement."""
LOW = 0x18
"""Router preference (RFC 4191, 2.1): on a bridge there may be a router, which is then the better one."""
SMALLEST_MTU = 1280
SOLICITED_ROUTER = 0xC0000000
_NEIGHBOUR = Struct("!BBHI16sBB6s")
Answer = tuple[tuple[bytes, ...], str]


def answer(frame: bytes, guest: Guest, hops: int, source: bytes, target: bytes, end: int) -> Answer:
    """The reply to an ICMPv6 frame, whose addresses are given, and its name. Raises Dropped for what has
    none.
    """
    body = frame[HEADER6:end]
    if len(body) < 8:
        raise Dropped("malformed")
    kind = body[0]
    if kind not in (ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION):
        raise Dropped("not-ours")
    if hops != 255 or body[1] or source[0] == 0xFF or wire.checksum6(source, target, ICMP6, body) != 0xFFFF:
        raise Dropped("malformed")
    if kind == ROUTER_SOLICITATION:
        return _solicited_router(body, guest, source)
    return _solicited_neighbour(frame[6:12], body, guest, source, target)


def _solicited_router(body: bytes, guest: Guest, source: bytes) -> Answer:
    """The advertisement goes to all nodes of the link, of which there is one. From any source (RFC 4861,
    6.1.1).
    """
    _check_options(body, 8, source)
    if not guest.advertisement:
        raise Dropped("not-served")
    return (guest.advertisement,), "ra"


def _check_options(body: bytes, at: int, source: bytes) -> None:
    """No option leaves the message or is empty; who has no address yet names no station (RFC 4861, 6.1.1 and
    7.1.1).
    """
    while at < len(body):
        if (
            at + 2 > len(body)
            or not body[at + 1]
            or at + body[at + 1] * 8 > len(body)
            or (body[at] == SOURCE and source == SILENT)
        ):
            raise Dropped("malformed")
        at += body[at + 1] * 8


def _solicited_neighbour(asking: bytes, body: bytes, guest: Guest, source: bytes, target: bytes) -> Answer:
    """The advertisement comes from the address that it tells of, as from the neighbour itself: stacks and
    ndisc6 take it from no other.
    """
    if len(body) < 24:
        raise Dropped("malformed")
    wanted = body[8:24]
    _check_options(body, 24, source)
    if wanted[0] == 0xFF or (source == SILENT and target[:13] != SOLICITED_NODE):
        raise Dropped("malformed")
    if source == SILENT:
        raise Dropped("dad")
    mac = _station(wanted, source, guest)
    message = _NEIGHBOUR.pack(NEIGHBOUR_ADVERTISEMENT, 0, 0, SOLICITED_ROUTER, wanted, TARGET, 1, mac)
    return (wire.icmp6(asking + guest.source_mac, wanted, source, message),), "na"


def _station(wanted: bytes, source: bytes, guest: Guest) -> bytes:
    """The MAC that answers for an address; never for one that the guest itself has. Raises Dropped where
    another neighbour may.
    """
    if wanted == source or wanted in guest.own6:
        raise Dropped("own-address")
    if wanted in guest.link_locals:
        return guest.source_mac
    if wanted == guest.gateway6 and guest.gateway6_mac:
        return guest.gateway6_mac
    if guest.prefix6 and (
        wanted == guest.gateway6 or int.from_bytes(wanted, "big") >> guest.prefix6[1] == guest.prefix6[0]
    ):
        return guest.source_mac
    raise Dropped("not-served")


def is_on_link(binding: Binding, settings: Settings) -> bool:
    """Whether the guest is told to reach others of its prefix directly, rather than by the node."""
    return not binding.routed if settings.on_link is None else settings.on_link


def proxied_prefix(binding: Binding, settings: Settings) -> tuple[int, int] | None:
    """The prefix all of whose addresses the node answers for, as a number and how far to shift an address to
    compare.

    None where neighbours answer for themselves: an answer in their place would lead what guests of one bridge
    send each other here.
    """
    if is_on_link(binding, settings):
        return None
    network, _, length = binding.subnet6.partition("/")
    beyond = 128 - int(length)
    return int.from_bytes(inet_pton(AF_INET6, network), "big") >> beyond, beyond


def is_stateful(guest: Guest) -> bool:
    """Whether the guest is told to ask for its address: in mode `managed`, and where it would form none or
    another by itself.
    """
    if guest.configuration6 is None or not guest.ip6:
        return False
    formed = guest.own6[1][8:] if guest.binding.subnet6.endswith("/64") else b""
    return guest.settings.mode == "managed" or guest.ip6[8:] != formed


def advertisement(guest: Guest, *, last: bool = False) -> bytes:
    """A router advertisement to all nodes (RFC 4861, 4.2), a whole frame. With `last`, all that it tells of
    ends now.
    """
    binding, settings = guest.binding, guest.settings
    stateful = is_stateful(guest)
    flags = (
        (0x80 if stateful else 0)
        | (0x40 if guest.configuration6 is not None else 0)
        | (0 if binding.routed else LOW)
    )
    lifetime = 0 if last or binding.private else ROUTER_LIFETIME
    body = [
        pack("!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, 64, flags, lifetime, 0, 0),
        pack("!BB6s", SOURCE, 1, guest.source_mac),
    ]
    if binding.mtu >= SMALLEST_MTU:
        body.append(pack("!BBxxI", MTU, 1, binding.mtu))
    body.append(_prefix(binding, is_on_link(binding, settings), stateful, last))
    body += _resolvers(binding, settings, 0 if last else 3 * settings.ra_period)
    return wire.icmp6(ALL_NODES_MAC + guest.source_mac, guest.link_local, ALL_NODES, b"".join(body))


def _prefix(binding: Binding, on_link: bool, stateful: bool, last: bool) -> bytes:
    """Addresses are formed from a /64 only (RFC 4862, 5.5.3), and only where none is leased."""
    network, _, length = binding.subnet6.partition("/")
    flags = (0x80 if on_link else 0) | (0x40 if length == "64" and not stateful else 0)
    valid, preferred = (0, 0) if last else (VALID, PREFERRED)
    return pack("!BBBBII4x", PREFIX, 4, int(length), flags, valid, preferred) + inet_pton(AF_INET6, network)


def _resolvers(binding: Binding, settings: Settings, lifetime: int) -> list[bytes]:
    """Name servers and search list (RFC 8106, 5)."""
    found = []
    servers = b"".join(
        inet_pton(AF_INET6, address) for address in binding.nameservers6 or settings.nameservers6
    )
    if servers:
        found.append(pack("!BBxxI", RESOLVERS, 1 + len(servers) // 8, lifetime) + servers)
    names = wire.names(dhcp6.domains(binding, settings))
    names = names.ljust(-(-len(names) // 8) * 8, b"\0")
    found.append(pack("!BBxxI", SEARCH, 1 + len(names) // 8, lifetime) + names)
    return found
