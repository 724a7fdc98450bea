"""The default engine: one packet socket that receives from every interface and sends only through the guest's
own tap.

A packet socket gets a frame on the tap before any bridge, nft or iptables does, so the daemon does not depend
on them; the guard in base.nft stops the frame after that. Alternatives were measured: a socket for each tap,
of which 4000 take 33 s to close, and NFQUEUE, which costs twice as much with 4000 taps (docs/nfdhcpd.md).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Collection
from contextlib import suppress
from socket import AF_PACKET as PACKET
from socket import MSG_DONTWAIT, SO_RCVBUF, SOCK_RAW, SOL_SOCKET, socket
from typing import Protocol

from snf_network.dhcpd import syscalls
from snf_network.dhcpd.filter import SNAP, program

SO_ATTACH_FILTER, SO_RCVBUFFORCE, SOL_PACKET, PACKET_AUXDATA, PACKET_STATISTICS, PACKET_IGNORE_OUTGOING = (
    26,
    33,
    263,
    8,
    6,
    23,
)
SO_MARK, MARK = 36, 0x534E4644
"""What we send has this mark: rules/netdev.nft lets it pass to a port of Open vSwitch."""
VLAN_VALID = 1 << 4
BATCH = 64
"""Maximum number of frames read from the socket by one call."""
BUFFER = 1 << 20
"""Receive buffer in bytes. The kernel counts about 1 kB per frame."""
STRIDE = 128 + SNAP
_NAME, _CONTROL, _FRAME = 0, 32, 128
_AUXDATA = _CONTROL + ctypes.sizeof(ctypes.c_size_t) + 8
# sockaddr_ll: interface; cmsghdr; tpacket_auxdata: status, VLAN tag
_READ = struct.Struct(f"=4xi{_AUXDATA - 8}xI12xH")
_ADDRESS = struct.Struct("=H2si12x")
Received = tuple[int, bytes, int]
"""The index of the interface, the frame without its VLAN tag, and the VLAN of that tag (0: no tag, or a
priority tag).
"""


class Engine(Protocol):
    """Receives and sends frames: PacketEngine here, QueueEngine in nfqueue.py."""

    name: str

    def fileno(self) -> int:
        """The descriptor to wait for."""

    def receive(self) -> list[Received]:
        """At most one batch of frames; empty if none waits."""

    def send(self, index: int, frame: bytes) -> bool:
        """Send a frame through an interface. False if the interface does not accept it."""

    def mute(self, indexes: Collection[int]) -> None:
        """Ignore frames from exactly these interfaces from now on."""

    def lost(self) -> int:
        """The number of frames lost before they reached us since the last call."""


class FrameSender:
    """A packet socket that only sends."""

    def __init__(self) -> None:
        self.socket = socket(PACKET, SOCK_RAW, 0)
        with suppress(PermissionError):  # before Linux 5.17 it needs CAP_NET_ADMIN, not only CAP_NET_RAW
            self.socket.setsockopt(SOL_SOCKET, SO_MARK, MARK)
        self._descriptor = self.socket.fileno()

    def send(self, index: int, frame: bytes) -> bool:
        """Send a frame through an interface. False if it does not accept it, which does not affect others."""
        return bool(
            syscalls.sendto(
                self._descriptor,
                frame,
                len(frame),
                MSG_DONTWAIT,
                _ADDRESS.pack(PACKET, frame[12:14], index),
                20,
            )
            > 0
        )

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class PacketEngine(FrameSender):
    """The engine `packet`. Raises PermissionError without CAP_NET_RAW."""

    name = "packet"
    capabilities = 1 << 13  # CAP_NET_RAW

    def __init__(self) -> None:
        super().__init__()
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        try:
            self.socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except PermissionError:  # as much as net.core.rmem_max allows
            self.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, BUFFER)
        self._make_room()
        self.mute(())
        syscalls.bind_to_all(self._descriptor)

    def _make_room(self) -> None:
        """Allocate the buffers of one batch: address, control message and bytes of each frame."""
        self._room = ctypes.create_string_buffer(BATCH * STRIDE)
        self._view = memoryview(self._room).cast("B")
        start = ctypes.addressof(self._room)
        self._vectors = (syscalls.Iovec * BATCH)(
            *(syscalls.Iovec(start + number * STRIDE + _FRAME, SNAP) for number in range(BATCH))
        )
        self._headers = (syscalls.Mmsghdr * BATCH)()
        for number, header in enumerate(self._headers):
            at = start + number * STRIDE
            header.head = syscalls.Msghdr(
                at + _NAME, 20, ctypes.pointer(self._vectors[number]), 1, at + _CONTROL, _FRAME - _CONTROL
            )
        self._pristine = bytes(self._headers)
        size, length = ctypes.sizeof(syscalls.Mmsghdr), syscalls.Mmsghdr.length.offset
        self._lengths = struct.Struct("=" + f"{length}xI{size - length - 4}x" * BATCH)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._descriptor

    def receive(self) -> list[Received]:
        """At most one batch of frames; empty if none waits."""
        ctypes.memmove(self._headers, self._pristine, len(self._pristine))
        count = syscalls.recvmmsg(self._descriptor, self._headers, BATCH, MSG_DONTWAIT, None)
        if count <= 0:
            return []
        found = []
        for at, length in zip(range(0, count * STRIDE, STRIDE), self._lengths.unpack_from(self._headers)):
            index, status, tag = _READ.unpack_from(self._view, at)
            vid = tag & 0xFFF if status & VLAN_VALID else 0
            found.append((index, self._view[at + _FRAME : at + _FRAME + length].tobytes(), vid))
        return found

    def mute(self, indexes: Collection[int]) -> None:
        """Make the kernel drop all frames from exactly these interfaces from now on."""
        filter_program = program(indexes)
        buffer = ctypes.create_string_buffer(filter_program, len(filter_program))
        self.socket.setsockopt(
            SOL_SOCKET,
            SO_ATTACH_FILTER,
            struct.pack("HP", len(filter_program) // 8, ctypes.addressof(buffer)),
        )

    def lost(self) -> int:
        """The number of frames that did not fit into the socket's buffer since the last call."""
        return int(struct.unpack("=II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])
