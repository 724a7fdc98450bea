"""What the kernel reports, reduced to what a record may care about: rtnetlink(7), and nftables' own
notifications (NFNLGRP_NFTABLES, linux/netfilter/nf_tables.h).

Read raw: 1000 NICs that come up together cause 30 000 messages, which pyroute2 would parse for 20 s.
"""

from __future__ import annotations

from errno import EAGAIN, ENOBUFS
from socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, inet_ntop, socket
from struct import error as struct_error
from struct import unpack_from
from typing import TYPE_CHECKING

from snf_network.errors import KernelError
from snf_network.host.netlink import Netlink
from snf_network.lean import dataclass
from snf_network.model.resources import PROTOCOL
from snf_network.model.resources.nft import NAMED
from snf_network.wire import (
    FIB_RULE_HDR,
    FRA_PROTOCOL,
    IFF_UP,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_MASTER,
    IFLA_MTU,
    NDA_CACHE,
    NDA_CACHEINFO,
    NDA_DST,
    NDA_PROTOCOL,
    NDMSG,
    NLM_F_DUMP,
    NUD_LEARNED,
    RTA_DST,
    RTA_OIF,
    RTA_TABLE,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTMSG,
    attribute_list,
    attributes,
    message,
    messages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_ROUTE, NETLINK_NETFILTER = 270, 1, 0, 12
SO_RCVBUFFORCE = 33
ROOM = 1 << 25
"""Octets of notifications that may wait: the ends of 4000 guests."""
ROUTE_GROUPS = (1, 3, 7, 8, 11, 19, 24, 25)
"""RTNLGRP_LINK, NEIGH, IPV4_ROUTE, IPV4_RULE, IPV6_ROUTE, IPV6_RULE, IPV4_NETCONF, IPV6_NETCONF."""
NFT_GROUPS = (7,)
NETCONF, NETCONFA_IFINDEX, ALL_DEVICES = 80, 1, -1
IFF_LOWER_UP, AF_BRIDGE = 0x10000, 7
IFLA_LINK = 5
NFT, DELTABLE, DELRULE, DELSET, DELCHAIN, DELSETELEM, NEWGEN = 10, 2, 8, 11, 5, 14, 15
GEN_PID, GEN_NAME = 2, 3
LIST_ELEM, ELEM_KEY, DATA_VALUE = 1, 1, 1
IFNAMSIZ = 16


@dataclass(frozen=True)
class Event:
    """One change."""

    kind: str
    """flushed, rules, member, route, neighbour, heard, policy, link, carrier, gone, setting, default or lost.

    heard: a neighbour on the device has told where an address is, unasked or not.
    """
    device: int = 0
    """ifindex, 0 if it is about none."""
    interface: str = ""
    """Its name, where the kernel gave that instead."""
    what: str = ""
    """The set of a member, or the address of a route or a neighbour."""
    added: bool = False


@dataclass(frozen=True)
class LinkState:
    """What of a device is compared between two notifications."""

    name: str
    master: int
    lower: int
    mtu: int
    mac: bytes
    up: bool
    carrier: bool
    alias: bytes


class Source:
    """One netlink socket that listens to groups."""

    def __init__(self, protocol: int, groups: tuple[int, ...]) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)
        self.socket.setsockopt(1, SO_RCVBUFFORCE, ROOM)
        self.socket.bind((0, 0))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.socket.fileno()

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Type and body of each waiting message; type 0 if some were lost (ENOBUFS)."""
        while True:
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


class Events:
    """Both sockets, and what is known of devices."""

    def __init__(self) -> None:
        self.route, self.nft = Source(NETLINK_ROUTE, ROUTE_GROUPS), Source(NETLINK_NETFILTER, NFT_GROUPS)
        self.links: dict[int, LinkState] = {}
        self.actor = ""
        """The process of the last nft transaction: name and PID (NFT_MSG_NEWGEN)."""

    def ask_links(self) -> None:
        """Have the kernel list all devices: the answers come as notifications do."""
        self.route.socket.send(message(RTM_GETLINK, NLM_F_DUMP, bytes(IFINFOMSG.size)))

    def read(self) -> Iterator[Event]:
        """All that happened since the last call. A message that cannot be parsed is one lost event."""
        for source, parse in ((self.route, self._route), (self.nft, self._nft)):
            for kind, body in source.read():
                try:
                    yield from parse(kind, body) if kind else (Event("lost"),)
                except (struct_error, ValueError, IndexError, KeyError):
                    yield Event("lost")

    # --- rtnetlink

    def _route(self, kind: int, body: bytes) -> Iterator[Event]:
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            yield from self._link(kind, body)
        elif kind in (RTM_NEWROUTE, RTM_DELROUTE):
            yield from _routed(kind == RTM_NEWROUTE, body)
        elif kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            yield from _neighbour(kind == RTM_NEWNEIGH, body)
        elif kind == RTM_DELRULE:
            if attributes(body[FIB_RULE_HDR.size :]).get(FRA_PROTOCOL) == bytes((PROTOCOL,)):
                yield Event("policy")
        elif kind == NETCONF:
            device = unpack_from("=i", attributes(body[4:])[NETCONFA_IFINDEX])[0]
            yield Event("setting", 0 if device == ALL_DEVICES else device)

    def _link(self, kind: int, body: bytes) -> Iterator[Event]:
        family, _, device, flags, _ = IFINFOMSG.unpack_from(body)
        if family == AF_BRIDGE:  # a port's settings or VLANs, or it left its bridge
            yield Event("link", device)
            return
        before = self.links.get(device)
        if kind == RTM_DELLINK:
            self.links.pop(device, None)
            yield Event("gone", device, before.name if before else "")
            return
        now = self.links[device] = _state(flags, attributes(body[IFINFOMSG.size :]))
        if now != before:
            yield Event("link", device, now.name)
        if before and now.carrier and not before.carrier:
            yield Event("carrier", device, now.name)

    # --- nftables

    def _nft(self, kind: int, body: bytes) -> Iterator[Event]:
        subsystem, verb = kind >> 8, kind & 0xFF
        if subsystem != NFT:
            return
        fields = attributes(body[4:])
        if verb == NEWGEN:
            pid = int.from_bytes(fields.get(GEN_PID, b""), "big")
            self.actor = f"{_text(fields.get(GEN_NAME, b''))}[{pid}]"
        elif _text(fields.get(1, b"")) == "snf_network":
            if verb == DELTABLE:
                yield Event("flushed")
            elif verb in (DELRULE, DELCHAIN, DELSET):
                yield Event("rules")
            elif verb == DELSETELEM:
                yield from _members(fields)


def _state(flags: int, fields: dict[int, bytes]) -> LinkState:
    master, lower, mtu = (
        unpack_from("=I", fields.get(number, bytes(4)))[0] for number in (IFLA_MASTER, IFLA_LINK, IFLA_MTU)
    )
    name, mac = _text(fields.get(IFLA_IFNAME, b"")), fields.get(IFLA_ADDRESS, b"")
    alias = fields.get(IFLA_IFALIAS, b"")
    return LinkState(name, master, lower, mtu, mac, bool(flags & IFF_UP), bool(flags & IFF_LOWER_UP), alias)


def _routed(added: bool, body: bytes) -> Iterator[Event]:
    family, length, _, _, table, protocol, *_ = RTMSG.unpack_from(body)
    fields = attributes(body[RTMSG.size :])
    device = unpack_from("=i", fields.get(RTA_OIF, bytes(4)))[0]
    if family in (AF_INET, AF_INET6) and not length:
        yield Event("default", device)
    elif protocol == PROTOCOL and family in (AF_INET, AF_INET6):
        number = unpack_from("=I", fields.get(RTA_TABLE, bytes((table, 0, 0, 0))))[0]
        prefix = f"{inet_ntop(family, fields[RTA_DST])}/{length}"
        yield Event("route", device, what=f"{prefix} {number}", added=added)


def _neighbour(added: bool, body: bytes) -> Iterator[Event]:
    family, device, state, _, _ = NDMSG.unpack_from(body)
    fields = attributes(body[NDMSG.size :])
    if family not in (AF_INET, AF_INET6):
        return
    if fields.get(NDA_PROTOCOL) == bytes((PROTOCOL,)):
        yield Event("neighbour", device, what=inet_ntop(family, fields[NDA_DST]), added=added)
    elif added and state & NUD_LEARNED:
        yield Event("heard", device, what=inet_ntop(family, fields[NDA_DST]))


def heard_before() -> list[Event]:
    """What neighbours told before anybody listened, the latest last. Raises KernelError."""
    try:
        with Netlink() as netlink:
            replies = netlink.ask(RTM_GETNEIGH, NLM_F_DUMP, bytes(NDMSG.size))
    except OSError as error:
        raise KernelError(f"rtnetlink: {error.strerror or error}") from error
    bodies = sorted((body for kind, body in replies if kind == RTM_NEWNEIGH), key=_age, reverse=True)
    return [event for body in bodies for event in _neighbour(True, body) if event.kind == "heard"]


def _age(body: bytes) -> int:
    """Ticks since an entry of the neighbour table changed."""
    told = attributes(body[NDMSG.size :]).get(NDA_CACHEINFO, bytes(NDA_CACHE.size))
    return int(NDA_CACHE.unpack_from(told)[2])


def _members(fields: dict[int, bytes]) -> Iterator[Event]:
    """The interfaces of the members that went; in a few sets the key does not begin with one."""
    name = _text(fields.get(2, b""))
    for kind, element in attribute_list(fields.get(3, b"")):
        key = attributes(attributes(element).get(ELEM_KEY, b"")).get(DATA_VALUE, b"")
        if kind == LIST_ELEM and name not in NAMED:
            yield Event("member", interface=_text(key[:IFNAMSIZ]), what=name)
        else:
            yield Event("lost")


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("utf-8", "backslashreplace")
