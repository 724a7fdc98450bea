"""Announce a guest's location on an uplink: gratuitous ARP (RFC 5227, 3) and unsolicited neighbour
advertisements (RFC 4861, 7.2.6).

Sent at once and again after 1 s and 3 s, by a child that nobody waits for: after one lost frame, the guest
would be unreachable until the router's cache entry expires. ARP is sent as request and as reply, as some
routers heed only one of them.
"""

from __future__ import annotations

import posix
from _socket import AF_INET6, AF_PACKET, SOCK_RAW, inet_aton, inet_pton, socket
from _struct import pack
from fcntl import ioctl
from time import monotonic, sleep

from snf_network.wire import checksum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from snf_network.model.resources import Announcement

PAUSES = (1.0, 2.0)
"""Seconds to wait before each further round."""
SPACING = 0.0025
"""Seconds between two addresses: a switch that has lost its table is not flooded by the guests of a node. 200
guests with two families take a second.
"""
SIOCGIFHWADDR = 0x8927
ARP, IPV6 = 0x0806, 0x86DD
BROADCAST = b"\xff" * 6
ALL_NODES = inet_pton(AF_INET6, "ff02::1")


def gratuitous_arp(mac: bytes, address: str) -> tuple[bytes, bytes]:
    """An ARP request and a reply, both announcing `address` at `mac`. Complete Ethernet frames."""
    ip = inet_aton(address)
    head = BROADCAST + mac + pack("!HHHBB", ARP, 1, 0x0800, 6, 4)
    return (head + pack("!H", 1) + mac + ip + bytes(6) + ip, head + pack("!H", 2) + mac + ip + BROADCAST + ip)


def unsolicited_na(mac: bytes, address: str) -> bytes:
    """A neighbour advertisement to all nodes, with the override flag and the target link-layer address. A
    complete Ethernet frame.

    The source is `address` itself: the node has none in the guest's network (RFC 4861, 4.4 permits that to a
    proxy).
    """
    target = inet_pton(AF_INET6, address)
    body = pack("!BBHI", 136, 0, 0, 0x20000000) + target + bytes((2, 1)) + mac
    pseudo_header = target + ALL_NODES + pack("!II", len(body), 58)  # RFC 8200, 8.1
    body = body[:2] + pack("!H", checksum(pseudo_header + body)) + body[4:]
    header = pack("!IHBB", 0x60000000, len(body), 58, 255) + target + ALL_NODES
    return b"\x33\x33\x00\x00\x00\x01" + mac + pack("!H", IPV6) + header + body


def send(announcement: Announcement, door: socket) -> None:
    """Send all frames of one announcement now, by a packet socket. Raises OSError if the uplink is gone."""
    name = announcement.interface
    mac = ioctl(door.fileno(), SIOCGIFHWADDR, pack("16s24x", name.encode()))[18:24]
    ip6 = ":" in announcement.address
    frames = (
        (unsolicited_na(mac, announcement.address),) if ip6 else gratuitous_arp(mac, announcement.address)
    )
    for frame in frames:
        door.sendto(frame, (name, IPV6 if ip6 else ARP))


def announce(announcements: Iterable[Announcement], still: Callable[[Announcement], bool]) -> int:
    """Send from a detached child, and repeat those for which `still` is true. Returns its PID at once;
    failures are not reported.
    """
    if child := posix.fork():
        return child
    try:
        posix.setsid()
        null = posix.open("/dev/null", posix.O_RDWR)
        for descriptor in range(3):
            posix.dup2(null, descriptor)
        posix.closerange(3, 256)
        door = socket(AF_PACKET, SOCK_RAW, 0)  # one for all: closing one takes 7 ms (synchronize_net)
        sent = _round(announcements, door)
        for pause in PAUSES:
            if sent:
                sleep(pause)
                sent = _round(filter(still, sent), door)
    finally:
        posix._exit(0)


def _round(announcements: Iterable[Announcement], door: socket) -> list[Announcement]:
    """Send each, and return them. What sending takes is part of the pause, but no pause is made up for."""
    sent: list[Announcement] = []
    due = monotonic()
    for announcement in announcements:
        sleep(max(0.0, due - monotonic()))
        now = monotonic()
        due = (due if now - due < SPACING else now) + SPACING
        try:
            send(announcement, door)
        except OSError:
            pass
        sent.append(announcement)
    return sent
