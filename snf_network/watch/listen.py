"""Listens to the kernel: two netlink sockets (netlink(7)), the function tracer where it has one for us, and a
list of all devices after a loss.
"""

from __future__ import annotations

from errno import EAGAIN, ENOBUFS
from socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, socket
from typing import TYPE_CHECKING

from snf_network.errors import KernelError
from snf_network.host.netlink import Netlink
from snf_network.watch.events import Event, Parser
from snf_network.watch.traced import Deletions
from snf_network.wire import (
    IFINFOMSG,
    NDA_CACHE,
    NDA_CACHEINFO,
    NDMSG,
    NLM_F_DUMP,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    attributes,
    messages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_ROUTE, NETLINK_NETFILTER = 270, 1, 0, 12
SO_RCVBUFFORCE = 33
ROOM = 1 << 25
"""Octets of notifications that may wait: the ends of 4000 guests."""
MOST = 1 << 16
"""Datagrams that are read at once, more than ROOM holds: a storm must not keep the reader forever."""
ROUTE_GROUPS = (1, 3, 7, 8, 11, 19, 24, 25)
"""RTNLGRP_LINK, NEIGH, IPV4_ROUTE, IPV4_RULE, IPV6_ROUTE, IPV6_RULE, IPV4_NETCONF, IPV6_NETCONF."""
NFT_GROUPS = (7,)


class Source:
    """One netlink socket that listens to groups."""

    def __init__(self, protocol: int, groups: tuple[int, ...], room: int) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)
        self.socket.setsockopt(1, SO_RCVBUFFORCE, room)
        self.socket.bind((0, 0))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.socket.fileno()

    def close(self) -> None:
        """Listen no more."""
        self.socket.close()

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Type and body of each waiting message; type 0 if some were lost (ENOBUFS)."""
        for _ in range(MOST):
            try:
                datagram = self.socket.recv(1 << 17)
            except OSError as error:
                if error.errno == ENOBUFS:
                    yield 0, b""
                    continue
                if error.errno == EAGAIN:
                    return
                raise
            yield from ((kind, body) for kind, _, body in messages(datagram))


def heard_before() -> list[Event]:
    """What neighbours told before anybody listened, the latest last. Raises KernelError."""
    try:
        with Netlink() as netlink:
            replies = netlink.ask(RTM_GETNEIGH, NLM_F_DUMP, bytes(NDMSG.size))
    except OSError as error:
        raise KernelError(f"rtnetlink: {error.strerror or error}") from error
    bodies = sorted((body for kind, body in replies if kind == RTM_NEWNEIGH), key=_age, reverse=True)
    told = (event for body in bodies for event in Parser().route(RTM_NEWNEIGH, body))
    return [event for event in told if event.kind == "heard"]


def _age(body: bytes) -> int:
    """Ticks since an entry of the neighbour table changed."""
    told = attributes(body[NDMSG.size :]).get(NDA_CACHEINFO, bytes(NDA_CACHE.size))
    return int(NDA_CACHE.unpack_from(told)[2])


class Events:
    """All sources. `room`: octets of notifications that may wait at each socket."""

    def __init__(self, room: int = ROOM) -> None:
        self.parser = Parser()
        self.route = Source(NETLINK_ROUTE, ROUTE_GROUPS, room)
        self.nft = Source(NETLINK_NETFILTER, NFT_GROUPS, room)
        self.proxies: Deletions | None = None
        self.deaf = ""
        """Why nobody reports proxy entries that are deleted."""
        try:
            self.proxies = Deletions()
        except OSError as error:
            self.deaf = str(error)

    def sources(self) -> list[Source | Deletions]:
        """What to wait for."""
        return [self.route, self.nft, *([self.proxies] if self.proxies else ())]

    def read(self) -> Iterator[Event]:
        """All that happened since the last call."""
        for kind, body in self.route.read():
            yield from self.parser.route(kind, body) if kind else (Event("lost"),)
        for kind, body in self.nft.read():
            yield from self.parser.nft(kind, body) if kind else (Event("lost"),)
        if self.proxies and self.proxies.read():
            yield Event("proxy")

    def close(self) -> None:
        """Listen no more."""
        for source in self.sources():
            source.close()

    def relist(self) -> Iterator[Event]:
        """What has become of devices, if notifications were lost: as if they came now. Raises KernelError."""
        try:
            with Netlink() as netlink:
                found = netlink.ask(RTM_GETLINK, NLM_F_DUMP, bytes(IFINFOMSG.size))
        except OSError as error:
            raise KernelError(f"rtnetlink: {error.strerror or error}") from error
        there = {IFINFOMSG.unpack_from(body)[2] for kind, body in found if kind == RTM_NEWLINK}
        for device in self.parser.links.keys() - there:
            yield self.parser.gone(device)
        for kind, body in found:
            yield from self.parser.route(kind, body)
