"""Devices that a network of the node makes, and how the node has them. Only networks use these kinds.

All are in group 148 (ip-link(8)): by that they are known as ours.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_pton
from _struct import pack
from functools import cache
from typing import TYPE_CHECKING, Any

from snf_network.addresses import family_of
from snf_network.errors import KernelError
from snf_network.lean import dataclass
from snf_network.model.resources.base import PROTOCOL, Rtnetlink
from snf_network.wire import (
    IFINFOMSG,
    IFLA_AF_SPEC,
    IFLA_BR_MULTI_BOOLOPT,
    IFLA_BR_VLAN_DEFAULT_PVID,
    IFLA_BR_VLAN_FILTERING,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELLINK,
    RTM_NEWLINK,
    U32,
    attribute,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from snf_network.model.resources.base import Index, Request, View

GROUP = PROTOCOL
"""The group of our devices."""
IFLA_GROUP, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 27, 4, 5
IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE = 8, 1
IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6 = 4, 17
PORT_OPTIONS = {"learning": 8, "neigh_suppress": 32, "isolated": 33}
"""IFLA_BRPORT_* of linux/if_link.h."""
FLAGS = ("learning",)
"""Options without a value."""


def _number(kind: int, layout: str) -> Callable[[str], bytes]:
    return lambda value: attribute(kind, pack(layout, int(value, 0)))


def _local(value: str) -> bytes:
    family = family_of(value)
    return attribute(IFLA_VXLAN_LOCAL6 if family == AF_INET6 else IFLA_VXLAN_LOCAL, inet_pton(family, value))


OPTIONS: dict[str, dict[str, Callable[[str], bytes]]] = {
    "vxlan": {
        "id": _number(1, "=I"),
        "local": _local,
        "ttl": _number(5, "=B"),
        "tos": _number(6, "=B"),
        "learning": lambda value: attribute(7, b"\1"),
        "dstport": _number(15, "!H"),
    },
    "bridge": {
        "forward_delay": _number(1, "=I"),
        "stp_state": _number(5, "=I"),
        "mcast_snooping": _number(23, "=B"),
        "no_linklocal_learn": lambda value: attribute(IFLA_BR_MULTI_BOOLOPT, pack("=II", int(value), 1)),
        "vlan_filtering": _number(IFLA_BR_VLAN_FILTERING, "=B"),
        "vlan_default_pvid": _number(IFLA_BR_VLAN_DEFAULT_PVID, "=H"),
    },
    "wireguard": {},
}
"""The options of each type, as netlink attributes."""
READ = {"dstport": ("port",), "local": ("local", "local6"), "learning": ("learning",)}
"""What `ip -d -j link` calls an option, where its name is another."""


BIRTH_MTU = {"bridge": "65535"}
"""A bridge keeps an MTU that was set after its birth, and that differed from the one it had (dev_set_mtu does
nothing otherwise). Any other follows its ports: then one tap of 1400 would make it drop full frames unseen.
"""


@dataclass(frozen=True)
class Device(Rtnetlink):
    """A bridge, a VXLAN or a WireGuard device. It is never remade: what can change is changed, and another of
    that name is not touched.
    """

    early: ClassVar[bool] = True
    rank: ClassVar[int] = 2
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    type: str
    """bridge, vxlan or wireguard."""
    fixed: str = ""
    """Options that are those of its whole life, as ip(8) takes them."""
    changeable: str = ""
    """Options that can be set later."""

    def add(self) -> str:
        """Makes it, down and in our group."""
        mtu = f" mtu {BIRTH_MTU[self.type]}" if self.type in BIRTH_MTU else ""
        words = " ".join(filter(None, (self.type, self.fixed, self.changeable)))
        return f"link add name {self.interface}{mtu} group {GROUP} type {words}"

    def amend(self) -> str:
        """Sets what can be changed of one that is there."""
        options = f" type {self.type} {self.changeable}" if self.changeable else ""
        return f"link set dev {self.interface} group {GROUP}{options}"

    def delete(self) -> str:
        """Takes with it its ports' membership and its entries."""
        return f"link del dev {self.interface}"

    def message(self, add: bool, index: Index) -> Request:
        """As `add` if there is no such device, else as `amend`."""
        if not add:
            return RTM_DELLINK, 0, IFINFOMSG.pack(0, 0, index(self.interface), 0, 0)
        try:
            number = index(self.interface)
        except KernelError:
            body = self._body(0, f"{self.fixed} {self.changeable}")
            body += attribute(IFLA_IFNAME, self.interface.encode() + b"\0")
            mtu = BIRTH_MTU.get(self.type)
            body += attribute(IFLA_MTU, U32.pack(int(mtu))) if mtu else b""
            return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body
        return RTM_NEWLINK, 0, self._body(number, self.changeable)

    def _body(self, number: int, options: str) -> bytes:
        known = OPTIONS[self.type]
        data = b"".join(known[name](value) for name, value in pairs(options))
        info = attribute(IFLA_INFO_KIND, self.type.encode()) + attribute(IFLA_INFO_DATA, data)
        group = attribute(IFLA_GROUP, U32.pack(GROUP))
        linkinfo = attribute(IFLA_LINKINFO, info) if options.strip() or not number else b""
        return IFINFOMSG.pack(0, 0, number, 0, 0) + group + linkinfo

    def is_in(self, view: View) -> bool:
        """True if it is there, in our group, with all options."""
        return not self.obstacle(view) and self._has(view, self.changeable) and self.is_ours(view)

    def is_ours(self, view: View) -> bool:
        """True if a device of that name is in our group."""
        return str(view.links.get(self.interface, {}).get("group", "")) == str(GROUP)

    def obstacle(self, view: View) -> str:
        """How a device of that name differs in what cannot be changed; empty if it does not, or is absent."""
        link = view.links.get(self.interface)
        if link is None:
            return ""
        found = link.get("linkinfo", {}).get("info_kind", "")
        if found != self.type:
            return f"is no {self.type}{f' but a {found}' if found else ''}"
        return "" if self._has(view, self.fixed) else f"has not {self.fixed}"

    def _has(self, view: View, options: str) -> bool:
        link = view.links.get(self.interface)
        said: dict[str, Any] = link.get("linkinfo", {}).get("info_data", {}) if link else {}
        return link is not None and all(_is(said, name, value) for name, value in pairs(options))


@cache
def pairs(options: str) -> tuple[tuple[str, str], ...]:
    """Options as ip(8) takes them, each with its value."""
    words = iter(options.split())
    return tuple((word, "" if word in FLAGS else next(words, "")) for word in words)


def _is(said: dict[str, Any], name: str, value: str) -> bool:
    if name not in READ:
        return str(said.get(name)) == value
    found = [said[key] for key in READ[name] if key in said]
    return [bool(one) if name in FLAGS else str(one) for one in found] == [value or True]


@dataclass(frozen=True)
class NoAddress(Rtnetlink):
    """The node has no link-local address on a device: it is for its guests alone."""

    of_device: ClassVar[bool] = True
    interface: str

    def add(self) -> str:
        """The line of ip-link(8)."""
        return f"link set dev {self.interface} addrgenmode none"

    def message(self, add: bool, index: Index) -> Request:
        """A device gets none while it is made, only later."""
        mode = attribute(IFLA_INET6_ADDR_GEN_MODE, bytes((IN6_ADDR_GEN_MODE_NONE,)))
        spec = attribute(IFLA_AF_SPEC, attribute(AF_INET6, mode))
        return RTM_NEWLINK, 0, IFINFOMSG.pack(0, 0, index(self.interface), 0, 0) + spec

    def is_in(self, view: View) -> bool:
        """True if the device makes no address by itself."""
        return view.links.get(self.interface, {}).get("inet6_addr_gen_mode") == "none"


@dataclass(frozen=True)
class PortOption(Rtnetlink):
    """An option of a port of a bridge: on or off."""

    of_device: ClassVar[bool] = True
    place: ClassVar[tuple[str, ...]] = ("interface", "option")
    interface: str
    option: str
    value: str

    def add(self) -> str:
        """The line of ip-link(8)."""
        return f"link set dev {self.interface} type bridge_slave {self.option} {self.value}"

    def message(self, add: bool, index: Index) -> Request:
        """Raises KeyError for an option that is not in PORT_OPTIONS."""
        option = attribute(PORT_OPTIONS[self.option], bytes((self.value == "on",)))
        info = attribute(IFLA_INFO_SLAVE_KIND, b"bridge") + attribute(IFLA_INFO_SLAVE_DATA, option)
        return (
            RTM_NEWLINK,
            0,
            IFINFOMSG.pack(0, 0, index(self.interface), 0, 0) + attribute(IFLA_LINKINFO, info),
        )

    def is_in(self, view: View) -> bool:
        """True if the port has it so."""
        info = view.links.get(self.interface, {}).get("linkinfo", {})
        return info.get("info_slave_data", {}).get(self.option) is (self.value == "on")
