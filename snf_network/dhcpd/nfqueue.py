"""Engine for nodes that keep the iptables rules of the old nfdhcpd: NFQUEUE, spoken as plain netlink
(nfnetlink_queue.h).

The verdict is given before the packet is parsed, so nothing that a guest sends can hold up the queue: drop
where the guest is served, as its answer comes from here; accept for all others. Neighbour solicitations are
known by two bytes at fixed places and are accepted of everybody: the neighbour may be another guest of the
bridge. That is what becomes of them with the other engine, whose guard leaves them. Replies go out through
the guest's own tap, as with the other engine.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Container
from socket import AF_NETLINK, SO_RCVBUF, SOCK_RAW, SOL_SOCKET, socket

from snf_network.dhcpd.conf import Settings
from snf_network.dhcpd.engine import Received, Sender
from snf_network.errors import KernelError

NETLINK_NETFILTER, SOL_NETLINK, NO_ENOBUFS = 12, 270, 5
PACKET, VERDICT, CONFIG = 0x300, 0x301, 0x302
REQUEST, ACK, ERROR = 0x1, 0x4, 2
CMD, PARAMS, QUEUE_MAXLEN = 1, 2, 3
BIND, COPY_PACKET, SNAP, WAITING = 1, 2, 2048, 4096
PACKET_HDR, VERDICT_HDR, INDEV, PHYSINDEV, HWADDR, PAYLOAD = 1, 2, 5, 7, 9, 10
DROP, ACCEPT = 0, 1
BATCH = 64
BUFFER = 4 << 20
EVERYBODY, SOMEBODY = b"\xff" * 6, bytes(6)
MULTICAST = b"\xff"
SOLICITATION = bytes((58, 135))
"""ICMPv6, type; IPv6 has the protocol at 6, and ends at 40."""
_MESSAGE, _ATTRIBUTE, _NUMBER, _PARAMS = (
    struct.Struct("=IHHIIBBH"),
    struct.Struct("=HH"),
    struct.Struct("!I"),
    struct.Struct("!IB"),
)


class QueueEngine(Sender):
    """Engine `nfqueue`. Raises PermissionError without CAP_NET_RAW and CAP_NET_ADMIN, KernelError if a queue
    is somebody else's.
    """

    name = "nfqueue"
    capabilities = 1 << 13 | 1 << 12  # CAP_NET_RAW, CAP_NET_ADMIN

    def __init__(self, settings: Settings, served: Container[int]) -> None:
        super().__init__()
        self._served = served
        self._lost = 0
        self._queues = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
        self._queues.setsockopt(SOL_NETLINK, NO_ENOBUFS, 1)
        self._queues.setsockopt(SOL_SOCKET, SO_RCVBUF, BUFFER)
        self._queues.settimeout(5)
        for number in sorted(wanted(settings)):
            self._take(number)
        self._queues.setblocking(False)

    def _take(self, number: int) -> None:
        for kind, value in (
            (CMD, struct.pack("!BxH", BIND, 0)),
            (PARAMS, _PARAMS.pack(SNAP, COPY_PACKET)),
            (QUEUE_MAXLEN, _NUMBER.pack(WAITING)),
        ):
            body = _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)
            self._queues.send(
                _MESSAGE.pack(20 + len(body), CONFIG, REQUEST | ACK, 0, 0, 0, 0, _big(number)) + body
            )
            error = self._acknowledged()
            if error == 1:
                raise PermissionError(f"queue {number}: not permitted")
            if error:
                raise KernelError(
                    f"queue {number} cannot be had: error {error}",
                    "another nfdhcpd may have it; modprobe nfnetlink_queue",
                )

    def _acknowledged(self) -> int:
        """Packets that a queue already has may come before the answer: they get their verdict."""
        while True:
            datagram = self._queues.recv(1 << 16)
            if struct.unpack_from("=H", datagram, 4)[0] == ERROR:
                return -int(struct.unpack_from("=i", datagram, 16)[0])
            self._judged(datagram)

    def fileno(self) -> int:
        """To be waited for."""
        return self._queues.fileno()

    def receive(self) -> list[Received]:
        """At most one batch of frames; none if none waits."""
        found: list[Received] = []
        try:
            for _ in range(BATCH):
                found += self._judged(self._queues.recv(1 << 16))
        except BlockingIOError:
            pass
        except OSError:
            self._lost += 1
        return found

    def _judged(self, datagram: bytes) -> list[Received]:
        """Give a verdict on each packet of a datagram; what is to be answered, as a frame again."""
        found, at = [], 0
        while at + 20 <= len(datagram):
            length, kind, _, _, _, _, _, queue = _MESSAGE.unpack_from(datagram, at)
            if kind == PACKET:
                attributes = _attributes(datagram[at + 20 : at + length])
                index = _index(attributes)
                taken, packet = index in self._served, attributes.get(PAYLOAD, b"")
                self._say(
                    attributes[PACKET_HDR][:4],
                    queue,
                    DROP if taken and not _is_for_neighbours(packet) else ACCEPT,
                )
                if taken and packet and HWADDR in attributes:
                    found.append((index, _frame(attributes[HWADDR], packet), 0))
            at += (length + 3) & ~3 or len(datagram)
        return found

    def _say(self, packet: bytes, queue: int, verdict: int) -> None:
        """NFQNL_MSG_VERDICT: nfqnl_msg_verdict_hdr has the verdict and the packet's number, both
        big-endian.
        """
        header = _MESSAGE.pack(32, VERDICT, REQUEST, 0, 0, 0, 0, queue)
        self._queues.send(header + _ATTRIBUTE.pack(12, VERDICT_HDR) + _NUMBER.pack(verdict) + packet)

    def mute(self, indexes: Collection[int]) -> None:
        """A queue cannot be told: those that ask too much cost a verdict each."""

    def lost(self) -> int:
        """Errors of the queues' socket since this was last asked."""
        lost, self._lost = self._lost, 0
        return lost

    def close(self) -> None:
        """Once. Packets that wait are dropped."""
        super().close()
        self._queues.close()


def wanted(settings: Settings) -> set[int]:
    """The queues that the settings name."""
    queues = {settings.dhcp_queue} if settings.enable_dhcp else set()
    if settings.enable_ipv6:
        queues |= {settings.rs_queue, settings.ns_queue}
        queues |= {settings.dhcpv6_queue} if settings.mode != "slaac" else set()
    return queues


def _big(number: int) -> int:
    """A 16-bit number as the bytes of network order make it here."""
    return int(struct.unpack("=H", struct.pack("!H", number))[0])


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3 or len(data)
    return found


def _index(attributes: dict[int, bytes]) -> int:
    """The tap: the port of a bridge, by br_netfilter, else the device."""
    raw = attributes.get(PHYSINDEV) or attributes.get(INDEV)
    return int(_NUMBER.unpack(raw)[0]) if raw else 0


def _is_for_neighbours(packet: bytes) -> bool:
    """Whether it is a neighbour solicitation, right behind its IPv6 header: nobody takes one from anywhere
    else.
    """
    return packet[:1] >= b"\x60" and packet[6:7] + packet[40:41] == SOLICITATION


def _frame(hardware: bytes, packet: bytes) -> bytes:
    """The packet with an Ethernet header again: nfqnl_msg_packet_hw has the source's MAC; whom it was for,
    the packet knows.
    """
    source = hardware[4 : 4 + min(int.from_bytes(hardware[:2], "big"), 6)].ljust(6, b"\0")
    if packet[:1] and packet[0] >> 4 == 6:
        return (EVERYBODY if packet[24:25] == MULTICAST else SOMEBODY) + source + b"\x86\xdd" + packet
    return (EVERYBODY if packet[16:20] == b"\xff" * 4 else SOMEBODY) + source + b"\x08\x00" + packet
