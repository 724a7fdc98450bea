"""Devices: a tap's own settings, its bridge, and the bridge's settings for it."""

from __future__ import annotations

from _struct import pack

from snf_network.lean import dataclass
from snf_network.model.resources.base import Rtnetlink
from snf_network.wire import (
    IFF_UP,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_BR_MULTI_BOOLOPT,
    IFLA_BRPORT_ISOLATED,
    IFLA_IFALIAS,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    RTM_DELLINK,
    RTM_DELQDISC,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTM_SETLINK,
    TCA_KIND,
    TCA_OPTIONS,
    TCMSG,
    U32,
    attribute,
    nested,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from snf_network.model.resources.base import Index, Request, View

AF_BRIDGE = 7
BOOLEAN_OPTIONS = {"no_linklocal_learn": 0}
"""Options of a bridge that are bits of IFLA_BR_MULTI_BOOLOPT (linux/if_bridge.h, br_boolopt_id)."""
IFLA_BRIDGE_FLAGS, IFLA_BRIDGE_VLAN_INFO, MASTER = 0, 2, 1
VLAN_FLAGS = {"": 0, "uplink": 0, "absent": 0, "pvid untagged": 0x2 | 0x4}
ROOT, HANDLE = 0xFFFFFFFF, 0x01480000
"""TC_H_ROOT; and 148:, which marks our queueing disciplines."""
CREATE, REPLACE = 0x400, 0x100
"""NLM_F_* of linux/netlink.h."""
TBF_PARMS, TBF_RATE64, TBF_BURST, ETHERNET = 1, 4, 6, 1
"""TCA_TBF_* of linux/pkt_sched.h; and a link layer, as for none the kernel wants a table of times."""
BURST, LONGEST_QUEUE = 16384, 8 << 20


@dataclass(frozen=True)
class Port(Rtnetlink):
    """The bridge of a tap; empty: none. The tap gets its MTU first, as a bridge whose MTU nobody has set
    takes the smallest of its ports.
    """

    of_device: ClassVar[bool] = True
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    bridge: str = ""
    mtu: str = ""

    def add(self) -> str:
        """Moves the tap out of another bridge."""
        mtu = self.mtu and f" mtu {self.mtu}"
        return f"link set dev {self.interface}{mtu} {f'master {self.bridge}' if self.bridge else 'nomaster'}"

    def delete(self) -> str:
        """Only a tap in a bridge has anything to undo."""
        return f"link set dev {self.interface} nomaster" if self.bridge else ""

    def message(self, add: bool, index: Index) -> Request:
        """The kernel sets the MTU before the master (do_setlink)."""
        bridge = index(self.bridge) if add and self.bridge else 0
        mtu = attribute(IFLA_MTU, U32.pack(int(self.mtu))) if add and self.mtu else b""
        return RTM_NEWLINK, 0, _link(index(self.interface)) + mtu + attribute(IFLA_MASTER, U32.pack(bridge))

    def is_in(self, view: View) -> bool:
        """True if the bridge and the MTU match."""
        link = view.links.get(self.interface)
        return (
            link is not None and link.get("master", "") == self.bridge and self.mtu in ("", str(link["mtu"]))
        )


@dataclass(frozen=True)
class Link(Rtnetlink):
    """The tap itself: its MAC address, its MTU, and that it is up. Empty fields are left unchanged."""

    of_device: ClassVar[bool] = True
    rank: ClassVar[int] = 0
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    mac: str = ""
    mtu: str = ""

    def add(self) -> str:
        """The kernel sets the address before it sets the tap up, so a guest never sees another one."""
        mac, mtu = self.mac and f" address {self.mac}", self.mtu and f" mtu {self.mtu}"
        return f"link set dev {self.interface}{mac}{mtu} up"

    def delete(self) -> str:
        """Sets the tap down before its filters are removed."""
        return f"link set dev {self.interface} down"

    def message(self, add: bool, index: Index) -> Request:
        """RTM_NEWLINK changes a device that exists."""
        body = _link(index(self.interface), IFF_UP if add else 0, IFF_UP)
        if add and self.mac:
            body += attribute(IFLA_ADDRESS, bytes.fromhex(self.mac.replace(":", "")))
        return (
            RTM_NEWLINK,
            0,
            body + (attribute(IFLA_MTU, U32.pack(int(self.mtu))) if add and self.mtu else b""),
        )

    def is_in(self, view: View) -> bool:
        """True if it is up and has the MAC and MTU given here."""
        link = view.links.get(self.interface)
        if link is None:
            return False
        mac = self.mac in ("", link.get("address"))
        return "UP" in link["flags"] and mac and self.mtu in ("", str(link["mtu"]))


@dataclass(frozen=True)
class Alias(Rtnetlink):
    """What `ip link` and SNMP (ifAlias, RFC 2863) tell of a tap. Its characters are those of
    addresses.as_alias, so that a batch of ip(8), which knows no escapes, can quote it.

    Not a field of Link: a Link that is put back sets its MAC, and the kernel then forgets the neighbours.
    """

    of_device: ClassVar[bool] = True
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    alias: str

    def add(self) -> str:
        """The line of ip-link(8)."""
        return f'link set dev {self.interface} alias "{self.alias}"'

    def delete(self) -> str:
        """An empty alias is none."""
        return f'link set dev {self.interface} alias ""'

    def message(self, add: bool, index: Index) -> Request:
        """RTM_NEWLINK changes a device that exists."""
        alias = attribute(IFLA_IFALIAS, self.alias.encode() if add else b"")
        return RTM_NEWLINK, 0, _link(index(self.interface)) + alias

    def is_in(self, view: View) -> bool:
        """True if the tap has this alias."""
        return str(view.links.get(self.interface, {}).get("ifalias", "")) == self.alias


@dataclass(frozen=True)
class BridgeOption(Rtnetlink):
    """An option that a bridge must have for all its ports; never reset."""

    place: ClassVar[tuple[str, ...]] = ("bridge", "option")
    bridge: str
    option: str
    value: str

    def add(self) -> str:
        """The line of ip-link(8)."""
        return f"link set dev {self.bridge} type bridge {self.option} {self.value}"

    def message(self, add: bool, index: Index) -> Request:
        """Raises KeyError for an option that is not in BOOLEAN_OPTIONS."""
        bit = 1 << BOOLEAN_OPTIONS[self.option]
        option = attribute(IFLA_BR_MULTI_BOOLOPT, U32.pack(bit * int(self.value)) + U32.pack(bit))
        info = attribute(IFLA_INFO_KIND, b"bridge") + attribute(IFLA_INFO_DATA, option)
        return RTM_NEWLINK, 0, _link(index(self.bridge)) + attribute(IFLA_LINKINFO, info)

    def is_in(self, view: View) -> bool:
        """Compares with the value in sysfs."""
        return view.content(f"/sys/class/net/{self.bridge}/bridge/{self.option}") == self.value


@dataclass(frozen=True)
class Isolated(Rtnetlink):
    """A port that reaches no other isolated port of its bridge (bridge(8)), as long as it is a port."""

    of_device: ClassVar[bool] = True
    interface: str

    def add(self) -> str:
        """The line of ip-link(8)."""
        return self._line("on")

    def delete(self) -> str:
        """For a NIC that stays, without the tag."""
        return self._line("off")

    def _line(self, value: str) -> str:
        return f"link set dev {self.interface} type bridge_slave isolated {value}"

    def message(self, add: bool, index: Index) -> Request:
        """The message that ip(8) sends."""
        option = attribute(IFLA_BRPORT_ISOLATED, bytes((add,)))
        info = attribute(IFLA_INFO_SLAVE_KIND, b"bridge") + attribute(IFLA_INFO_SLAVE_DATA, option)
        return RTM_NEWLINK, 0, _link(index(self.interface)) + attribute(IFLA_LINKINFO, info)

    def is_in(self, view: View) -> bool:
        """Compares with the value in sysfs."""
        return view.content(f"/sys/class/net/{self.interface}/brport/isolated") == "1"


@dataclass(frozen=True)
class Shaper(Rtnetlink):
    """The queue of a tap, from which what goes to the guest is taken at a rate (tbf of tc(8))."""

    heading: ClassVar[str] = "tc -batch -"
    tool: ClassVar[str] = "tc"
    of_device: ClassVar[bool] = True
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    rate: str
    """Bits a second."""

    @property
    def burst(self) -> int:
        """Octets that may go at once: 10 ms of the rate, and any frame. The kernel divides a GSO packet that
        is larger.
        """
        return max(BURST, int(self.rate) // 800)

    @property
    def queue(self) -> int:
        """Octets that may wait: 50 ms of the rate, and one GSO packet with all its headers."""
        return self.burst + min(max(6 * BURST, int(self.rate) // 160), LONGEST_QUEUE)

    def add(self) -> str:
        """Replaces whatever queueing discipline the tap has."""
        words = f"tbf rate {self.rate}bit burst {self.burst} limit {self.queue}"
        return f"qdisc replace dev {self.interface} root handle 148: {words}"

    def delete(self) -> str:
        """The tap then has the one that the kernel gives it; another's stays."""
        return f"qdisc del dev {self.interface} root handle 148:"

    def message(self, add: bool, index: Index) -> Request:
        """The message that tc(8) sends. Raises ValueError for a rate that is no number."""
        body = TCMSG.pack(0, index(self.interface), HANDLE, ROOT, 0)
        if not add:
            return RTM_DELQDISC, 0, body
        octets = int(self.rate) // 8
        rate = pack("=BBHhHI", 0, ETHERNET, 0, 0, 0, min(octets, 2**32 - 1))  # struct tc_ratespec
        options = attribute(TBF_PARMS, rate + bytes(len(rate)) + pack("=III", self.queue, 0, 0))
        options += attribute(TBF_BURST, U32.pack(self.burst))
        if octets >= 2**32:
            options += attribute(TBF_RATE64, pack("=Q", octets))
        body += attribute(TCA_KIND, b"tbf\0") + nested(TCA_OPTIONS, options)
        return RTM_NEWQDISC, CREATE | REPLACE, body

    def is_in(self, view: View) -> bool:
        """True if ours is the root of the tap, with this rate."""
        found = view.qdiscs.get(self.interface, {})
        rate = found.get("options", {}).get("rate")
        return (found.get("kind"), found.get("handle"), rate) == ("tbf", "148:", int(self.rate) // 8)


@dataclass(frozen=True)
class BridgeVlan(Rtnetlink):
    """Membership of a port in a VLAN of a VLAN-aware bridge; `flags` are those of bridge(8), or `absent`, or
    `uplink`.
    """

    heading: ClassVar[str] = "bridge -batch -"
    tool: ClassVar[str] = "bridge"
    of_device: ClassVar[bool] = True
    place: ClassVar[tuple[str, ...]] = ("interface", "vid")
    interface: str
    vid: str
    flags: str = ""

    def add(self) -> str:
        """Adds the membership with `flags`; if they are `absent`, removes it."""
        return self._line(self.flags != "absent", self.flags)

    def delete(self) -> str:
        """Removes the tap's membership, or restores the one that `absent` removed. An uplink's stays: it may
        have been there before.
        """
        absent = self.flags == "absent"
        return "" if self.flags == "uplink" else self._line(absent, "pvid untagged" if absent else "")

    def _line(self, there: bool, flags: str) -> str:
        words = f" {flags}" if VLAN_FLAGS[flags] else ""
        return f"vlan {'add' if there else 'del'} dev {self.interface} vid {self.vid}{words} master"

    def message(self, add: bool, index: Index) -> Request:
        """The message that bridge(8) sends; `master` addresses the bridge rather than the device."""
        absent = self.flags == "absent"
        there, flags = (not absent, self.flags) if add else (absent, "pvid untagged" if absent else "")
        flag, vid = VLAN_FLAGS[flags] if there else 0, int(self.vid)
        spec = attribute(IFLA_BRIDGE_FLAGS, MASTER.to_bytes(2, "little"))
        spec += attribute(IFLA_BRIDGE_VLAN_INFO, flag.to_bytes(2, "little") + vid.to_bytes(2, "little"))
        body = _link(index(self.interface), family=AF_BRIDGE) + attribute(IFLA_AF_SPEC, spec)
        return RTM_SETLINK if there else RTM_DELLINK, 0, body

    def is_in(self, view: View) -> bool:
        """The tap's membership must match exactly; an uplink only has to be in the VLAN."""
        flags = view.vlans.get((self.interface, int(self.vid)))
        if self.flags in ("absent", "uplink"):
            return (flags is None) is (self.flags == "absent")
        return flags == ({"PVID", "Egress Untagged"} if self.flags else set())


def _link(index: int, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return IFINFOMSG.pack(family, 0, index, flags, change)
