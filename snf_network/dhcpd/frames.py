"""A frame of a guest in, what to send back out. Pure: the only thing that an answer depends on is the frame
and the guest.

An answer is the frames to send on the guest's own tap, and a word that names the counter: of a reply `offer`,
`ack`, `nak`, `inform`, `ra`, `na`, `advertise6`, `reply6`, `information6`, `confirm6`, `release6`,
`decline6`; without one, what was noted (`release`, `decline`, `dad`, `own-address`) or why it was dropped
(DROPS).
"""

from __future__ import annotations

from snf_network.dhcpd import dhcp4, dhcp6, nd
from snf_network.dhcpd.wire import ICMP6, IP4, IP6, UDP, Dropped, read_ip6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.guest import Guest

Answer = tuple[tuple[bytes, ...], str]
LONGEST = 2048
"""Bytes of a frame that is looked at. Requests fit 1500; a tap with offloads could hand over 64 kB, all of it
options.
"""
VLAN_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
REPLIES = (
    "offer",
    "ack",
    "nak",
    "inform",
    "ra",
    "na",
    "advertise6",
    "reply6",
    "information6",
    "confirm6",
    "release6",
    "decline6",
)
NOTED = ("release", "decline", "dad", "own-address")
DROPS = (
    "malformed",
    "oversized",
    "spoofed-mac",
    "vlan",
    "fragment",
    "extension",
    "giaddr",
    "bootp",
    "other-server",
    "other-address",
    "unicast",
    "not-served",
    "not-ours",
    "error",
)
WORDS = REPLIES + NOTED + DROPS
"""Every word that an answer can have. `error` is a fault of this program: it is never expected, and never
stops it.
"""


def answer(frame: bytes, guest: Guest, vid: int = 0) -> Answer:
    """What a frame that came from the guest's tap gets; `vid` is the VLAN the kernel took off it. Never
    raises.
    """
    try:
        return _answer(frame, guest, vid)
    except Dropped as dropped:
        return (), dropped.word
    except Exception:  # one guest's frame must not end the service of all
        return (), "error"


def _answer(frame: bytes, guest: Guest, vid: int) -> Answer:
    if len(frame) > LONGEST:
        raise Dropped("oversized")
    kind = frame[12:14]
    if vid or kind in VLAN_TAGS:
        raise Dropped("vlan")
    if frame[6:12] != guest.mac and not guest.binding.macspoof:
        raise Dropped("spoofed-mac")
    if kind == IP4:
        return dhcp4.answer(frame, guest)
    if kind != IP6:
        raise Dropped("not-ours")
    protocol, hops, source, target, end = read_ip6(frame)
    if protocol == ICMP6:
        return nd.answer(frame, guest, hops, source, target, end)
    if protocol != UDP:
        raise Dropped("not-ours")
    return dhcp6.answer(frame, guest, source, target, end)


def advertise(guest: Guest) -> bytes:
    """The router advertisement that the guest gets unasked; empty if it has no IPv6."""
    return guest.advertisement


def farewell(guest: Guest) -> bytes:
    """The advertisement that ends all others: the node is no router any more, the prefix and the name servers
    are over.
    """
    return nd.advertisement(guest, last=True) if guest.advertisement else b""
