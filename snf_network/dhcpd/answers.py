"""A guest's frame in, its answer out. Pure: an answer depends on the frame and on the guest alone.

An answer is the frames to send on the guest's own tap, and a word that names the counter: one of REPLIES with
a reply; without one, what was noted (NOTED) or why the frame was dropped (DROPS).
"""

from __future__ import annotations

from snf_network.dhcpd.dhcp4 import Dhcp4
from snf_network.dhcpd.dhcp6 import Dhcp6
from snf_network.dhcpd.nd import Nd
from snf_network.dhcpd.packets import ICMP6, IP4, IP6, UDP, Dropped, read_ip6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.guest import TapGuest
    from snf_network.dhcpd.packets import Answer

LONGEST = 2048
"""Maximum bytes of a frame that is examined. Requests fit into 1500; a tap with offloads could deliver 64 kB,
all of it options.
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
NOTED = ("release", "decline", "relayed", "dad", "own-address")
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
"""Every word that an answer can have. `error` is a fault of this program: never expected, and never fatal."""


class Answerer:
    """Answers one guest. It prepares the answers once, so that each is mostly a concatenation of bytes."""

    __slots__ = ("dhcp4", "dhcp6", "guest", "nd")

    def __init__(self, guest: TapGuest) -> None:
        self.guest = guest
        self.dhcp4, self.dhcp6, self.nd = Dhcp4(guest), Dhcp6(guest), Nd(guest)

    def answer(self, frame: bytes, vid: int = 0) -> Answer:
        """The answer to a frame from the guest's tap; `vid` is the VLAN tag that the kernel removed from it.
        Never raises.
        """
        try:
            return self._answer(frame, vid)
        except Dropped as dropped:
            return (), dropped.word
        except Exception:  # one guest's frame must not end the service for all
            return (), "error"

    def _answer(self, frame: bytes, vid: int) -> Answer:
        if len(frame) > LONGEST:
            raise Dropped("oversized")
        kind = frame[12:14]
        if vid or kind in VLAN_TAGS:
            raise Dropped("vlan")
        if frame[6:12] != self.guest.mac and not self.guest.terms.any_mac:
            raise Dropped("spoofed-mac")
        if kind == IP4:
            return self.dhcp4.answer(frame)
        if kind != IP6:
            raise Dropped("not-ours")
        protocol, hops, source, target, end = read_ip6(frame)
        if protocol == ICMP6:
            return self.nd.answer(frame, hops, source, target, end)
        if protocol != UDP:
            raise Dropped("not-ours")
        return self.dhcp6.answer(frame, source, target, end)
