"""The node's interfaces as the kernel reports them: one dump, then each change (rtnetlink(7)). No queries per
packet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from socket import AF_NETLINK, SO_RCVBUF, SOCK_RAW, SOL_SOCKET, socket
from struct import Struct

from snf_network import wire

NETLINK_ROUTE, GROUP_LINK = 0, 1
NEWLINK, DELLINK, GETLINK = 16, 17, 18
ADDRESS, IFNAME, MTU, MASTER, LINKINFO, EXT_MASK = 1, 3, 4, 10, 18, 29
OPEN_VSWITCH = wire.ATTRIBUTE.pack(16, 1) + b"openvswitch\0"
"""First bytes of IFLA_LINKINFO for an Open vSwitch bridge: IFLA_INFO_KIND."""
SKIP_STATS = 1 << 3
RUNNING = 0x40
BUFFER = 4 << 20
"""Receive buffer in bytes for changes. If it overflows, the kernel drops some and reports that; then
everything is requested again.
"""
_LINK = Struct("=BxHiII")
"""ifinfomsg: family, type, index, flags, change."""
Change = tuple["Interface | None", "Interface | None"]
"""An interface before and after; None before it appeared and after it disappeared."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of the node."""

    index: int
    name: str
    mac: bytes
    master: int
    """The index of the bridge that it is a port of, or 0."""
    running: bool
    """Up, and with a carrier."""
    mtu: int
    ovs: bool = False
    """An Open vSwitch bridge, or the device that is the master of all its ports."""


class Links:
    """All interfaces, by index and by name."""

    def __init__(self) -> None:
        self.by_index: dict[int, Interface] = {}
        self.by_name: dict[str, Interface] = {}
        self.socket = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
        self.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, BUFFER)
        self.socket.bind((0, GROUP_LINK))
        self.socket.settimeout(10)
        for _ in self._dump():
            pass
        self.socket.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.socket.fileno()

    def changes(self) -> Iterator[Change]:
        """The changes since the last call."""
        while True:
            try:
                datagram = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: some are lost
                yield from self._again()
                return
            for kind, _, body in wire.messages(datagram):
                yield from self._heard(kind, body)

    def _again(self) -> Iterator[Change]:
        """Request all interfaces again; those that the kernel does not list are gone."""
        before = dict(self.by_index)
        self.socket.settimeout(10)
        named = set()
        for old, new in self._dump():
            named.add(new.index if new else 0)
            yield old, new
        self.socket.setblocking(False)
        for index in before.keys() - named:
            yield self._forget(index), None

    def _dump(self) -> Iterator[Change]:
        """Request all interfaces and read the complete answer. Changes in between arrive on the same socket,
        in order.
        """
        body = _LINK.pack(0, 0, 0, 0, 0) + wire.attribute(EXT_MASK, _as_bytes(SKIP_STATS))
        self.socket.send(wire.message(GETLINK, wire.NLM_F_DUMP, body))
        while True:
            try:
                datagram = self.socket.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError:  # changes were lost before the answer, which is newer
                continue
            for kind, _, message in wire.messages(datagram):
                if kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                    return
                yield from self._heard(kind, message, always=True)

    def _heard(self, kind: int, body: bytes, always: bool = False) -> Iterator[Change]:
        family, _, index, flags, _ = _LINK.unpack_from(body)
        if family or kind not in (NEWLINK, DELLINK):  # AF_BRIDGE messages report a port's state in its bridge
            return
        if kind == DELLINK:
            yield self._forget(index), None
            return
        old, new = self.by_index.get(index), _interface(index, flags, body)
        if old != new or always:
            self._forget(index)
            self.by_index[index] = self.by_name[new.name] = new
            yield old, new

    def _forget(self, index: int) -> Interface | None:
        old = self.by_index.pop(index, None)
        if old and self.by_name.get(old.name) is old:
            del self.by_name[old.name]
        return old


def _interface(index: int, flags: int, body: bytes) -> Interface:
    """Parse an ifinfomsg and its attributes."""
    get = wire.attributes(body[_LINK.size :]).get
    return Interface(
        index,
        get(IFNAME, b"\0")[:-1].decode("utf-8", "surrogateescape"),
        get(ADDRESS, b""),
        _number(get(MASTER, bytes(4))),
        bool(flags & RUNNING),
        _number(get(MTU, b"")),
        get(LINKINFO, b"").startswith(OPEN_VSWITCH),
    )


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _as_bytes(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)
