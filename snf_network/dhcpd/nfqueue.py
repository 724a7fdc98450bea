"""The engine for nodes that keep the old nfdhcpd's iptables rules: NFQUEUE, used as plain netlink
(nfnetlink_queue.h).

It sends the verdict before it parses the packet, so no guest can block the queue. The verdict is drop for
served guests, as their answers come from here, and accept for all others. Neighbour solicitations are
recognised by two bytes at fixed offsets and always accepted, because another guest on the bridge may have to
answer; with the other engine, the guard lets them pass. Replies leave through the guest's own tap, as with
the other engine.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Container
from socket import AF_NETLINK, SO_RCVBUF, SOCK_RAW, SOL_SOCKET, socket

from snf_network import wire
from snf_network.dhcpd.conf import Conf
from snf_network.dhcpd.packet_socket import FrameSender, Received
from snf_network.errors import KernelError

NETLINK_NETFILTER, SOL_NETLINK, NO_ENOBUFS = 12, 270, 5
PACKET, VERDICT, CONFIG = 0x300, 0x301, 0x302
CMD, PARAMS, QUEUE_MAXLEN = 1, 2, 3
BIND, COPY_PACKET, SNAP, WAITING = 1, 2, 2048, 4096
PACKET_HDR, VERDICT_HDR, INDEV, PHYSINDEV, HWADDR, PAYLOAD = 1, 2, 5, 7, 9, 10
DROP, ACCEPT = 0, 1
BATCH = 64
BUFFER = 4 << 20
EVERYBODY, SOMEBODY = b"\xff" * 6, bytes(6)
MULTICAST = b"\xff"
SOLICITATION = bytes((58, 135))
"""ICMPv6 and its message type; the IPv6 header has the protocol at offset 6, and ends at 40."""
_QUEUE, _NUMBER, _PARAMS = struct.Struct("!BBH"), struct.Struct("!I"), struct.Struct("!IB")
"""nfgenmsg (family, version, queue); a number; nfqnl_msg_config_params."""


class QueueEngine(FrameSender):
    """The engine `nfqueue`. `served` has the indexes of the interfaces to answer.

    Raises PermissionError without CAP_NET_RAW and CAP_NET_ADMIN, and KernelError if another process has a
    queue.
    """

    name = "nfqueue"
    capabilities = 1 << 13 | 1 << 12  # CAP_NET_RAW, CAP_NET_ADMIN

    def __init__(self, conf: Conf, served: Container[int]) -> None:
        super().__init__()
        self._served = served
        self._lost = 0
        self._queues = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
        self._queues.setsockopt(SOL_NETLINK, NO_ENOBUFS, 1)
        self._queues.setsockopt(SOL_SOCKET, SO_RCVBUF, BUFFER)
        self._queues.settimeout(5)
        for number in sorted(wanted(conf)):
            self._take(number)
        self._queues.setblocking(False)

    def _take(self, number: int) -> None:
        for kind, value in (
            (CMD, struct.pack("!BxH", BIND, 0)),
            (PARAMS, _PARAMS.pack(SNAP, COPY_PACKET)),
            (QUEUE_MAXLEN, _NUMBER.pack(WAITING)),
        ):
            body = _QUEUE.pack(0, 0, number) + wire.attribute(kind, value)
            self._queues.send(wire.message(CONFIG, wire.NLM_F_ACK, body))
            error = self._acknowledged()
            if error == 1:
                raise PermissionError(f"queue {number}: not permitted")
            if error:
                raise KernelError(
                    f"queue {number} cannot be opened: error {error}",
                    "does another nfdhcpd run? modprobe nfnetlink_queue",
                )

    def _acknowledged(self) -> int:
        """The error number of the next acknowledgement, 0 for success. Packets that were queued before may
        come first; they get their verdict.
        """
        while True:
            datagram = self._queues.recv(1 << 16)
            for kind, _, body in wire.messages(datagram):
                if kind == wire.NLMSG_ERROR:
                    return -int(struct.unpack_from("=i", body)[0])
            self._judged(datagram)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._queues.fileno()

    def receive(self) -> list[Received]:
        """At most one batch of frames; empty if none waits."""
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
        """Send a verdict for each packet of a datagram. Returns those to answer, as frames again."""
        found = []
        for kind, _, body in wire.messages(datagram):
            if kind != PACKET:
                continue
            attributes = wire.attributes(body[_QUEUE.size :])
            index = _index(attributes)
            served, packet = index in self._served, attributes.get(PAYLOAD, b"")
            drops = served and not _is_for_neighbours(packet)
            self._say(attributes[PACKET_HDR][:4], body[: _QUEUE.size], DROP if drops else ACCEPT)
            if served and packet and HWADDR in attributes:
                found.append((index, _frame(attributes[HWADDR], packet), 0))
        return found

    def _say(self, packet: bytes, queue: bytes, verdict: int) -> None:
        """Send NFQNL_MSG_VERDICT for the packet with that number; nfqnl_msg_verdict_hdr is big-endian."""
        body = queue + wire.attribute(VERDICT_HDR, _NUMBER.pack(verdict) + packet)
        self._queues.send(wire.message(VERDICT, 0, body))

    def mute(self, indexes: Collection[int]) -> None:
        """Does nothing: a queue has no filter, so every frame from muted interfaces costs a verdict."""

    def lost(self) -> int:
        """Errors of the queues' socket since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    def close(self) -> None:
        """Close the sockets. The kernel drops the waiting packets."""
        super().close()
        self._queues.close()


def wanted(conf: Conf) -> set[int]:
    """The queues that the settings name."""
    queues = {conf.dhcp_queue} if conf.enable_dhcp else set()
    if conf.enable_ipv6:
        queues |= {conf.rs_queue, conf.ns_queue}
        queues |= {conf.dhcpv6_queue} if conf.mode != "slaac" else set()
    return queues


def _index(attributes: dict[int, bytes]) -> int:
    """The index of the tap: the bridge port that br_netfilter names, else the device."""
    raw = attributes.get(PHYSINDEV) or attributes.get(INDEV)
    return int(_NUMBER.unpack(raw)[0]) if raw else 0


def _is_for_neighbours(packet: bytes) -> bool:
    """True for a neighbour solicitation right after its IPv6 header: no stack accepts one elsewhere."""
    return packet[:1] >= b"\x60" and packet[6:7] + packet[40:41] == SOLICITATION


def _frame(hardware: bytes, packet: bytes) -> bytes:
    """The packet with an Ethernet header again: source MAC from nfqnl_msg_packet_hw, destination derived from
    the packet.
    """
    source = hardware[4 : 4 + min(int.from_bytes(hardware[:2], "big"), 6)].ljust(6, b"\0")
    if packet[:1] and packet[0] >> 4 == 6:
        return (EVERYBODY if packet[24:25] == MULTICAST else SOMEBODY) + source + b"\x86\xdd" + packet
    return (EVERYBODY if packet[16:20] == b"\xff" * 4 else SOMEBODY) + source + b"\x08\x00" + packet
