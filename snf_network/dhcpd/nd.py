"""Neighbour discovery (RFC 4861): router advertisements, solicited and unsolicited, and neighbour
advertisements for addresses behind the node.
"""

from __future__ import annotations

from struct import Struct, pack

from snf_network.dhcpd import packets
from snf_network.dhcpd.guest import as_ip6, as_mac, shared
from snf_network.dhcpd.packets import HEADER6, ICMP6, Dropped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.guest import TapGuest
    from snf_network.dhcpd.packets import Answer
    from snf_network.dhcpd.terms import Terms

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = (
    133,
    134,
    135,
    136,
)
# options
SOURCE, TARGET, PREFIX, MTU, RESOLVERS, SEARCH = 1, 2, 3, 5, 25, 31
SILENT = bytes(16)
ALL_NODES = as_ip6("ff02::1")
ALL_NODES_MAC = b"\x33\x33\x00\x00\x00\x01"
SOLICITED_NODE = as_ip6("ff02::1:ff00:0")[:13]
ROUTER_LIFETIME = 9000
"""Seconds: the most that RFC 4861, 6.2.1 allows, so that guests survive a pause of the daemon."""
VALID, PREFERRED = 86400, 14400
"""Seconds after the last advertisement for which an address may be used, and used for new connections."""
MANAGED, OTHER, LOW = 0x80, 0x40, 0x18
"""Flags of a router advertisement: M, O, and low preference (RFC 4191, 2.1): if a bridge has a router of its
own, that one is better.
"""
ON_LINK, AUTONOMOUS = 0x80, 0x40
"""Flags of a prefix: L and A."""
SMALLEST_MTU = 1280
SOLICITED_ROUTER = 0xC0000000
_NEIGHBOUR = Struct("!BBHI16sBB6s")


class Nd:
    """Answers the solicitations of one guest, and advertises the node to it."""

    __slots__ = ("advertisement", "gateway", "gateway_mac", "guest", "prefix")

    def __init__(self, guest: TapGuest) -> None:
        terms = guest.terms
        self.guest = guest
        self.prefix = _proxied_prefix(terms) if terms.ipv6 else None
        self.gateway = shared(as_ip6(terms.gateway6)) if terms.ipv6 else b""
        self.gateway_mac = as_mac(terms.gateway6_mac)
        self.advertisement = shared(_advertisement(guest)) if terms.ipv6 else b""
        """The router advertisement, a complete frame; empty if the guest has no IPv6."""

    def answer(self, frame: bytes, hops: int, source: bytes, target: bytes, end: int) -> Answer:
        """The reply to an ICMPv6 frame with these addresses. Raises Dropped if there is none."""
        body = frame[HEADER6:end]
        if len(body) < 8:
            raise Dropped("malformed")
        kind = body[0]
        if kind not in (ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION):
            raise Dropped("not-ours")
        if (
            hops != 255
            or body[1]
            or source[0] == 0xFF
            or packets.checksum6(source, target, ICMP6, body) != 0xFFFF
        ):
            raise Dropped("malformed")
        if kind == ROUTER_SOLICITATION:
            return self._solicited_router(body, source)
        return self._solicited_neighbour(frame[6:12], body, source, target)

    def farewell(self) -> bytes:
        """The final advertisement: the node is not a router any more, and the prefix and the name servers
        expire. Empty if the guest has no IPv6.
        """
        return _advertisement(self.guest, last=True) if self.advertisement else b""

    def _solicited_router(self, body: bytes, source: bytes) -> Answer:
        """The advertisement, sent to all nodes on the link; only the guest receives it. Any source may
        solicit it (RFC 4861, 6.1.1).
        """
        _check_options(body, 8, source)
        if not self.advertisement:
            raise Dropped("not-served")
        return (self.advertisement,), "ra"

    def _solicited_neighbour(self, asking: bytes, body: bytes, source: bytes, target: bytes) -> Answer:
        """The advertisement, sent from the address that it is about, as if the neighbour had sent it: stacks
        and ndisc6 accept it from no other source.
        """
        if len(body) < 24:
            raise Dropped("malformed")
        wanted = body[8:24]
        _check_options(body, 24, source)
        if wanted[0] == 0xFF or (source == SILENT and target[:13] != SOLICITED_NODE):
            raise Dropped("malformed")
        if source == SILENT:
            raise Dropped("dad")
        mac = self._station(wanted, source)
        message = _NEIGHBOUR.pack(NEIGHBOUR_ADVERTISEMENT, 0, 0, SOLICITED_ROUTER, wanted, TARGET, 1, mac)
        return (packets.icmp6(asking + self.guest.source_mac, wanted, source, message),), "na"

    def _station(self, wanted: bytes, source: bytes) -> bytes:
        """The MAC to answer with for an address, which is never one of the guest's own. Raises Dropped if
        another neighbour may answer.
        """
        guest = self.guest
        if wanted == source or wanted in guest.own6:
            raise Dropped("own-address")
        if wanted in guest.link_locals:
            return guest.source_mac
        if wanted == self.gateway and self.gateway_mac:
            return self.gateway_mac
        if self.prefix and (
            wanted == self.gateway or int.from_bytes(wanted, "big") >> self.prefix[1] == self.prefix[0]
        ):
            return guest.source_mac
        raise Dropped("not-served")


def _check_options(body: bytes, at: int, source: bytes) -> None:
    """Raise Dropped for an option that exceeds the message or is empty, and for a MAC from a sender without
    an address (RFC 4861, 6.1.1 and 7.1.1).
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


def _proxied_prefix(terms: Terms) -> tuple[int, int] | None:
    """The prefix in which the node answers for every address: a number, and how far to shift an address
    before the comparison.

    None if neighbours answer for themselves: answering in their place would draw traffic between guests of
    one bridge to the node.
    """
    if terms.on_link:
        return None
    network, _, length = terms.subnet6.partition("/")
    beyond = 128 - int(length)
    return int.from_bytes(as_ip6(network), "big") >> beyond, beyond


def _is_stateful(guest: TapGuest) -> bool:
    """True if the guest is told to request its address: in mode `managed`, where only one address is routed
    to it, and where it would form another address or none by itself.
    """
    terms = guest.terms
    if not terms.dhcpv6 or not guest.ip6:
        return False
    formed = guest.own6[-1][8:] if terms.subnet6.endswith("/64") else b""
    return terms.managed or not terms.slaac or len(guest.leased6) > 1 or guest.ip6[8:] != formed


def _advertisement(guest: TapGuest, *, last: bool = False) -> bytes:
    """A router advertisement to all nodes (RFC 4861, 4.2), a complete frame. If `last`, everything in it
    expires now.
    """
    terms = guest.terms
    stateful = _is_stateful(guest)
    flags = (MANAGED if stateful else 0) | (OTHER if terms.dhcpv6 else 0) | (0 if terms.routed else LOW)
    lifetime = 0 if last or not terms.router6 else ROUTER_LIFETIME
    body = [
        pack("!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, 64, flags, lifetime, 0, 0),
        pack("!BB6s", SOURCE, 1, guest.source_mac),
    ]
    if terms.mtu >= SMALLEST_MTU:
        body.append(pack("!BBxxI", MTU, 1, terms.mtu))
    body.append(_prefix(terms, stateful, last))
    body += _resolvers(terms, 0 if last else terms.resolver_lifetime)
    return packets.icmp6(ALL_NODES_MAC + guest.source_mac, guest.link_local, ALL_NODES, b"".join(body))


def _prefix(terms: Terms, stateful: bool, last: bool) -> bytes:
    """The prefix option. Guests form addresses only in a /64 (RFC 4862, 5.5.3), if none is leased."""
    network, _, length = terms.subnet6.partition("/")
    flags = (ON_LINK if terms.on_link else 0) | (AUTONOMOUS if length == "64" and not stateful else 0)
    valid, preferred = (0, 0) if last else (VALID, PREFERRED)
    return pack("!BBBBII4x", PREFIX, 4, int(length), flags, valid, preferred) + as_ip6(network)


def _resolvers(terms: Terms, lifetime: int) -> list[bytes]:
    """Name servers and search list (RFC 8106, 5)."""
    found = []
    servers = b"".join(map(as_ip6, terms.resolvers6))
    if servers:
        found.append(pack("!BBxxI", RESOLVERS, 1 + len(servers) // 8, lifetime) + servers)
    names = packets.names(terms.search6)
    names = names.ljust(-(-len(names) // 8) * 8, b"\0")
    if names:
        found.append(pack("!BBxxI", SEARCH, 1 + len(names) // 8, lifetime) + names)
    return found
