"""What the kernel reports, reduced to what a record may care about: rtnetlink(7), and nftables' own
notifications (NFNLGRP_NFTABLES, linux/netfilter/nf_tables.h). Pure: `listen` has the sockets.

Read raw: 1000 NICs that come up together cause 30 000 messages, which pyroute2 would parse for 20 s.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop
from struct import error as struct_error
from struct import unpack_from
from typing import TYPE_CHECKING

from snf_network.errors import shown
from snf_network.lean import dataclass, replace
from snf_network.model.resources import PROTOCOL
from snf_network.model.resources.nft import HOOK, NAMED
from snf_network.wire import (
    FIB_RULE_HDR,
    FRA_PROTOCOL,
    IFF_UP,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    NDA_DST,
    NDA_PROTOCOL,
    NDMSG,
    NUD_LEARNED,
    RTA_DST,
    RTA_OIF,
    RTA_TABLE,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTMSG,
    attribute_list,
    attributes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NETCONF, NETCONFA_IFINDEX, ALL_DEVICES = 80, 1, -1
IFF_LOWER_UP, AF_BRIDGE = 0x10000, 7
IFLA_LINK, IFLA_LINK_NETNSID, IFLA_CARRIER_UP_COUNT, IFLA_BOND_ACTIVE_SLAVE = 5, 37, 47, 2
NFT, DELTABLE, DELRULE, DELSET, DELCHAIN, DELSETELEM, NEWGEN = 10, 2, 8, 11, 5, 14, 15
GEN_PID, GEN_NAME = 2, 3
LIST_ELEM, ELEM_KEY, DATA_VALUE = 1, 1, 1
IFNAMSIZ = 16
ADDRESS = "address"
"""What of a link has changed if it is its MAC address alone."""
BROKEN = (struct_error, ValueError, IndexError, KeyError)
"""Errors of a message that cannot be parsed."""


@dataclass(frozen=True)
class Event:
    """One change."""

    kind: str
    """flushed, rules, member, shared (a member that names no NIC), route, neighbour, heard, policy, link,
    down, carrier, gone, setting, default, proxy or lost.

    heard: a neighbour on the device has told where an address is, unasked or not; proxy: somebody has deleted
    a proxy entry, of which no more is known.
    """
    device: int = 0
    """ifindex, 0 if it is about none."""
    interface: str = ""
    """Its name, where the kernel gave that instead."""
    what: str = ""
    """The set of a member, the address of a route or a neighbour, or ADDRESS of a link."""
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
    ups: int
    """How often it got its carrier: the kernel may report a loss and a return in one message."""
    active: int
    """ifindex of the active port of a bond; 0: it has none, or is none."""
    alias: bytes


class Parser:
    """Messages to Events. It remembers devices, as a message says what is, and not what has changed."""

    def __init__(self) -> None:
        self.links: dict[int, LinkState] = {}
        self.actor = ""
        """The process of the last nft transaction: name and PID (NFT_MSG_NEWGEN)."""

    def route(self, kind: int, body: bytes) -> Iterator[Event]:
        """What a message of rtnetlink says; one that cannot be parsed is a lost event."""
        try:
            yield from self._route(kind, body)
        except BROKEN:
            yield Event("lost")

    def nft(self, kind: int, body: bytes) -> Iterator[Event]:
        """What a message of nftables says; one that cannot be parsed is a lost event."""
        try:
            yield from self._nft(kind, body)
        except BROKEN:
            yield Event("lost")

    def gone(self, device: int, name: str = "") -> Event:
        """A device is there no more."""
        before = self.links.pop(device, None)
        return Event("gone", device, before.name if before else name)

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
        now, before = _state(flags, attributes(body[IFINFOMSG.size :])), self.links.get(device)
        if kind == RTM_DELLINK:
            yield self.gone(device, now.name)
            return
        self.links[device] = now
        if now != before:
            yield Event("link", device, now.name, "" if _differs_by_more(before, now) else ADDRESS)
        if before and before.up and not now.up:
            yield Event("down", device, now.name)
        if before and _is_back(before, now):
            yield Event("carrier", device, now.name)

    # --- nftables

    def _nft(self, kind: int, body: bytes) -> Iterator[Event]:
        subsystem, verb = kind >> 8, kind & 0xFF
        if subsystem != NFT:
            return
        fields = attributes(body[4:])
        if verb == NEWGEN:
            pid = int.from_bytes(fields.get(GEN_PID, b""), "big")
            self.actor = f"{shown(_text(fields.get(GEN_NAME, b'')))[1:-1]}[{pid}]"
        elif _text(fields.get(1, b"")) == "snf_network":
            if verb == DELTABLE:
                yield Event("flushed")
            elif verb in (DELRULE, DELCHAIN, DELSET):
                chain = _text(fields.get(2 if verb == DELRULE else 3, b""))
                _, dash, interface = chain.partition("-")
                yield Event("member", interface=interface, what=HOOK) if dash else Event("rules")
            elif verb == DELSETELEM:
                yield from _members(fields)


def _is_back(before: LinkState, now: LinkState) -> bool:
    """True if a device has a carrier again, or leads to the network through another port of a bond."""
    failed_over = now.active not in (0, before.active)
    return now.carrier and (not before.carrier or now.ups != before.ups or failed_over)


def _differs_by_more(before: LinkState | None, now: LinkState) -> bool:
    """True if a device has changed in more than its MAC address. A bridge changes its own with its ports."""
    return not before or replace(before, mac=now.mac) != now


def _state(flags: int, fields: dict[int, bytes]) -> LinkState:
    master, lower, mtu, ups = (
        _number(fields, name) for name in (IFLA_MASTER, IFLA_LINK, IFLA_MTU, IFLA_CARRIER_UP_COUNT)
    )
    lower *= IFLA_LINK_NETNSID not in fields  # else it is the number of a device of another namespace
    name, mac = _text(fields.get(IFLA_IFNAME, b"")), fields.get(IFLA_ADDRESS, b"")
    alias, up, carrier = fields.get(IFLA_IFALIAS, b""), bool(flags & IFF_UP), bool(flags & IFF_LOWER_UP)
    return LinkState(name, master, lower, mtu, mac, up, carrier, ups, _active(fields), alias)


def _active(fields: dict[int, bytes]) -> int:
    """The active port of a bond (linux/if_link.h: IFLA_BOND_ACTIVE_SLAVE); 0 for any other device."""
    info = attributes(fields.get(IFLA_LINKINFO, b""))
    if _text(info.get(IFLA_INFO_KIND, b"")) != "bond":
        return 0
    return _number(attributes(info.get(IFLA_INFO_DATA, b"")), IFLA_BOND_ACTIVE_SLAVE)


def _number(fields: dict[int, bytes], name: int) -> int:
    return int(unpack_from("=I", fields.get(name, bytes(4)))[0])


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


def _members(fields: dict[int, bytes]) -> Iterator[Event]:
    """The interfaces of the members that went; in a few sets the key does not begin with one."""
    name = _text(fields.get(2, b""))
    for kind, element in attribute_list(fields.get(3, b"")):
        key = attributes(attributes(element).get(ELEM_KEY, b"")).get(DATA_VALUE, b"")
        if kind == LIST_ELEM and name not in NAMED:
            yield Event("member", interface=_text(key[:IFNAMSIZ]), what=name)
        else:
            yield Event("shared")


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("utf-8", "backslashreplace")
