"""The interfaces of the node, as the kernel tells of them: one dump, then each change (rtnetlink(7)). Nothing
is asked per packet.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from socket import AF_NETLINK, SO_RCVBUF, SOCK_RAW, SOL_SOCKET, socket

from snf_network.lean import dataclass

NETLINK_ROUTE, GROUP_LINK = 0, 1
ERROR, DONE, NEWLINK, DELLINK, GETLINK = 2, 3, 16, 17, 18
REQUEST, DUMP = 0x1, 0x300
ADDRESS, IFNAME, MASTER, LINKINFO, EXT_MASK = 1, 3, 10, 18, 29
OPEN_VSWITCH = struct.pack("=HH", 16, 1) + b"openvswitch\0"
"""IFLA_INFO_KIND, which comes first, of a bridge of Open vSwitch."""
SKIP_STATS = 1 << 3
RUNNING = 0x40
BUFFER = 4 << 20
"""Bytes of changes that may wait; beyond that the kernel drops some, says so, and everything is asked for
again.
"""
_HEADER, _LINK, _ATTRIBUTE, _NUMBER = (
    struct.Struct("=IHHII"),
    struct.Struct("=BxHiII"),
    struct.Struct("=HH"),
    struct.Struct("=I"),
)


@dataclass(frozen=True)
class Link:
    """One interface."""

    index: int
    name: str
    mac: bytes
    master: int
    """Index of the bridge that it is a port of, or 0."""
    running: bool
    """Up, and somebody at the other end."""
    ovs: bool = False
    """A bridge of Open vSwitch, or the device that is master of all its ports."""


class Links:
    """All interfaces, by index and by name."""

    def __init__(self) -> None:
        self.by_index: dict[int, Link] = {}
        self.by_name: dict[str, Link] = {}
        self.socket = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
        self.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, BUFFER)
        self.socket.bind((0, GROUP_LINK))
        self.socket.settimeout(10)
        for _ in self._dump():
            pass
        self.socket.setblocking(False)

    def fileno(self) -> int:
        """To be waited for."""
        return self.socket.fileno()

    def changes(self) -> Iterator[tuple[Link | None, Link | None]]:
        """What has changed since: each interface as it was, and as it is; None before it came and after it
        went.
        """
        while True:
            try:
                datagram = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: some are lost
                yield from self._again()
                return
            for kind, body in _messages(datagram):
                yield from self._heard(kind, body)

    def _again(self) -> Iterator[tuple[Link | None, Link | None]]:
        """All of them anew: those that are not told of are gone."""
        before = dict(self.by_index)
        self.socket.settimeout(10)
        told = set()
        for old, new in self._dump():
            told.add(new.index if new else 0)
            yield old, new
        self.socket.setblocking(False)
        for index in before.keys() - told:
            yield self._forget(index), None

    def _dump(self) -> Iterator[tuple[Link | None, Link | None]]:
        """Ask for all, and take what comes up to the end. A change in between comes by the same socket, in
        its order.
        """
        body = _LINK.pack(0, 0, 0, 0, 0) + _ATTRIBUTE.pack(8, EXT_MASK) + _NUMBER.pack(SKIP_STATS)
        self.socket.send(_HEADER.pack(16 + len(body), GETLINK, REQUEST | DUMP, 1, 0) + body)
        while True:
            try:
                datagram = self.socket.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError:  # changes were lost before the answer; it is newer than they
                continue
            for kind, message in _messages(datagram):
                if kind in (DONE, ERROR):
                    return
                yield from self._heard(kind, message, always=True)

    def _heard(
        self, kind: int, body: bytes, always: bool = False
    ) -> Iterator[tuple[Link | None, Link | None]]:
        family, _, index, flags, _ = _LINK.unpack_from(body)
        if family or kind not in (NEWLINK, DELLINK):  # AF_BRIDGE tells of a port's place in its bridge
            return
        if kind == DELLINK:
            yield self._forget(index), None
            return
        old, new = self.by_index.get(index), _link(index, flags, body)
        if old != new or always:
            self._forget(index)
            self.by_index[index] = self.by_name[new.name] = new
            yield old, new

    def _forget(self, index: int) -> Link | None:
        link = self.by_index.pop(index, None)
        if link and self.by_name.get(link.name) is link:
            del self.by_name[link.name]
        return link


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(datagram):
        length, kind = _HEADER.unpack_from(datagram, at)[:2]
        yield kind, datagram[at + 16 : at + length]
        at += (length + 3) & ~3 or len(datagram)


def _link(index: int, flags: int, body: bytes) -> Link:
    """ifinfomsg with its attributes."""
    name, mac, master, ovs, at = "", b"", 0, False, 16
    while at + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind == IFNAME:
            name = body[at + 4 : at + length - 1].decode("utf-8", "surrogateescape")
        elif kind == ADDRESS:
            mac = body[at + 4 : at + length]
        elif kind == MASTER:
            master = _NUMBER.unpack_from(body, at + 4)[0]
        elif kind == LINKINFO:
            ovs = body.startswith(OPEN_VSWITCH, at + 4)
        at += (length + 3) & ~3 or len(body)
    return Link(index, name, mac, master, bool(flags & RUNNING), ovs)
