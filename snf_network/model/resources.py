"""The kinds of thing that a NIC puts on a node. Each is plain data that spells its own add and delete line.

A *slot* is the place that one Resource takes up in the kernel: adding a Resource replaces what was in its
slot, so an old one is deleted only if nothing new has its slot. A *shared* kind may be wanted by several
NICs, and goes with the last of them. A *lasting* kind is set if it is wrong and never taken back.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass
    from typing import ClassVar
else:
    from snf_network.lean import dataclass

PROTOCOL = 148
"""Marks our routes, rules and proxy neighbours in the kernel (RTPROT_*, free above 99 for administrators)."""
RULE_PRIORITY = 14800
"""Preference of the rule that looks a marked packet up in its table; the next one makes it unreachable."""


@dataclass(frozen=True)
class Resource:
    """One thing on the node."""

    door: ClassVar[str] = ""
    """Which tool takes the lines: nft, rule, sysctl, ovs, ip, bridge, neigh or file."""
    shared: ClassVar[bool] = False
    early: ClassVar[bool] = False
    """Has to be there before any member of a set leads to it."""
    place: ClassVar[tuple[str, ...]] = ()
    """The fields that make its slot; all of them, if empty."""

    @property
    def slot(self) -> tuple[str, ...]:
        """What it replaces when added: by default only itself."""
        return type(self).__name__, *(self.__dict__[name] for name in self.place or self.__dict__)

    def fields(self) -> tuple[str, ...]:
        """The values, in the order of the class: with the name of the kind, a line of the record."""
        return tuple(self.__dict__.values())

    def add(self) -> str:
        """The line that puts it in place; it may be said again at any time."""
        raise NotImplementedError

    def delete(self) -> str:
        """The line that takes it away; empty where there is nothing to take back."""
        return ""


@dataclass(frozen=True)
class Element(Resource):
    """A member of an nft set or, with a value, of a map: the only nft state that a NIC has."""

    door: ClassVar[str] = "nft"
    place: ClassVar[tuple[str, ...]] = ("family", "set", "key")
    family: str
    set: str
    key: str
    value: str = ""

    def add(self) -> str:
        """Adding a member again does nothing; adding another value for a key of a map fails."""
        member = f"{self.key} : {self.value}" if self.value else self.key
        return f"add element {self.family} snf_network {self.set} {{ {member} }}"

    def delete(self) -> str:
        """Fails where it is absent."""
        return f"delete element {self.family} snf_network {self.set} {{ {self.key} }}"


@dataclass(frozen=True)
class SharedElement(Element):
    """A member that stands for a network rather than for one NIC."""

    shared: ClassVar[bool] = True


@dataclass(frozen=True)
class Port(Resource):
    """The bridge that a tap is in; none, if empty."""

    door: ClassVar[str] = "ip"
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    bridge: str = ""

    def add(self) -> str:
        """Moves the tap out of another bridge."""
        return f"link set dev {self.interface} {f'master {self.bridge}' if self.bridge else 'nomaster'}"

    def delete(self) -> str:
        """Only a tap in a bridge has something to undo."""
        return f"link set dev {self.interface} nomaster" if self.bridge else ""


@dataclass(frozen=True)
class Link(Resource):
    """The tap itself: its MAC address, its MTU, and that it is up. Empty: left as it is."""

    door: ClassVar[str] = "ip"
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    mac: str = ""
    mtu: str = ""

    def add(self) -> str:
        """The kernel takes the address before the flag, so a guest never sees another one."""
        mac, mtu = self.mac and f" address {self.mac}", self.mtu and f" mtu {self.mtu}"
        return f"link set dev {self.interface}{mac}{mtu} up"

    def delete(self) -> str:
        """Down, before its filters go."""
        return f"link set dev {self.interface} down"


@dataclass(frozen=True)
class Route(Resource):
    """A route to the guest, in a table."""

    door: ClassVar[str] = "ip"
    place: ClassVar[tuple[str, ...]] = ("prefix", "table")
    prefix: str
    interface: str
    table: str
    via: str = ""

    def _words(self) -> str:
        via, onlink = (f" via {self.via}", " onlink") if self.via else ("", "")
        return f"{self.prefix}{via} dev {self.interface} table {self.table} proto {PROTOCOL}{onlink}"

    def add(self) -> str:
        """Replaces a route of the same prefix; host.node_for has refused an address that a live tap has."""
        return f"route replace {self._words()}"

    def delete(self) -> str:
        """Only this route, not one to another device."""
        return f"route del {self._words()}"


@dataclass(frozen=True)
class Rule(Resource):
    """A policy rule of a table: its mark leads to it (`lookup`) and nowhere else (`unreachable`)."""

    door: ClassVar[str] = "rule"
    shared: ClassVar[bool] = True
    early: ClassVar[bool] = True
    family: str
    """-4 or -6, as ip(8) takes it: a batch has one family for its rules."""
    table: str
    action: str

    def _words(self) -> str:
        action = f"lookup {self.table}" if self.action == "lookup" else self.action
        priority = RULE_PRIORITY + (self.action != "lookup")
        return f"pref {priority} fwmark {self.table} {action} proto {PROTOCOL}"

    def add(self) -> str:
        """A fixed preference: without one, each repeat would make another rule."""
        return f"rule add {self._words()}"

    def delete(self) -> str:
        """Exactly that rule."""
        return f"rule del {self._words()}"


@dataclass(frozen=True)
class Neighbour(Resource):
    """A permanent neighbour entry: the node knows its guest and never asks, so nobody else can answer
    (docs/design.md).
    """

    door: ClassVar[str] = "neigh"
    place: ClassVar[tuple[str, ...]] = ("address", "interface")
    address: str
    mac: str
    interface: str

    def add(self) -> str:
        """Deleted by the kernel when the tap's MAC changes or it goes down."""
        return f"neigh replace {self.address} lladdr {self.mac} dev {self.interface} nud permanent proto {PROTOCOL}"

    def delete(self) -> str:
        """The entry of that address."""
        return f"neigh del {self.address} dev {self.interface}"


@dataclass(frozen=True)
class NeighProxy(Resource):
    """The node answers ARP or neighbour solicitations for `address` on `interface`."""

    door: ClassVar[str] = "neigh"
    shared: ClassVar[bool] = True
    address: str
    interface: str

    def add(self) -> str:
        """Needs forwarding (IPv4) or proxy_ndp (IPv6) on the device."""
        return f"neigh replace proxy {self.address} dev {self.interface} proto {PROTOCOL}"

    def delete(self) -> str:
        """Works without the tap: it stands on the uplink."""
        return f"neigh del proxy {self.address} dev {self.interface}"


@dataclass(frozen=True)
class Announcement:
    """An address of the guest that this node answers for on an uplink: told to all who listen there. Not a Resource: it
    leaves nothing to take back.
    """

    address: str
    interface: str


@dataclass(frozen=True)
class Sysctl(Resource):
    """A setting of the kernel. A tap's dies with it; any other is set if wrong and left."""

    door: ClassVar[str] = "sysctl"
    place: ClassVar[tuple[str, ...]] = ("key",)
    key: str
    """With slashes: an interface name may hold a dot."""
    value: str

    def add(self) -> str:
        """As sysctl(8) takes it."""
        return f"{self.key}={self.value}"


@dataclass(frozen=True)
class Binding(Resource):
    """A file that tells nfdhcpd what to answer the guest with."""

    door: ClassVar[str] = "file"
    place: ClassVar[tuple[str, ...]] = ("path",)
    path: str
    content: str

    def add(self) -> str:
        """Written beside and renamed, mode 0644."""
        return f"write {self.path}\n" + "".join(f"    {line}\n" for line in self.content.splitlines()).rstrip(
            "\n"
        )

    def delete(self) -> str:
        """The whole file is ours."""
        return f"rm {self.path}"


@dataclass(frozen=True)
class BridgeOption(Resource):
    """An option of a bridge that has to be so for all its ports: set, and left."""

    door: ClassVar[str] = "ip"
    place: ClassVar[tuple[str, ...]] = ("bridge", "option")
    bridge: str
    option: str
    value: str

    def add(self) -> str:
        """As ip-link(8) has it."""
        return f"link set dev {self.bridge} type bridge {self.option} {self.value}"


@dataclass(frozen=True)
class BridgeVlan(Resource):
    """Membership of a port in a VLAN of a VLAN-aware bridge; `flags` are those of bridge(8), or `absent`, or
    `uplink`.
    """

    door: ClassVar[str] = "bridge"
    place: ClassVar[tuple[str, ...]] = ("interface", "vid")
    interface: str
    vid: str
    flags: str = ""

    def add(self) -> str:
        """In the way that `flags` say; `absent`: not at all."""
        return self._line(
            "del" if self.flags == "absent" else "add",
            "" if self.flags in ("absent", "uplink") else self.flags,
        )

    def delete(self) -> str:
        """The tap's own membership goes, and the one taken from it comes back; an uplink's stays, it may have
        been there before.
        """
        if self.flags == "uplink":
            return ""
        return self._line("add", "pvid untagged") if self.flags == "absent" else self._line("del", "")

    def _line(self, verb: str, flags: str) -> str:
        return f"vlan {verb} dev {self.interface} vid {self.vid}{flags and ' ' + flags} master"


@dataclass(frozen=True)
class OvsPort(Resource):
    """A port of an Open vSwitch bridge."""

    door: ClassVar[str] = "ovs"
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    bridge: str
    tag: str = ""
    trunks: str = ""

    def add(self) -> str:
        """One transaction of ovs-vsctl: a stale port of that name goes, the new one comes with its VLANs."""
        settings = (self.tag and f" tag={self.tag}") + (self.trunks and f" trunks={self.trunks}")
        port = f"add-port {self.bridge} {self.interface}"
        return f"--if-exists del-port {self.interface} -- {port}" + (
            settings and f" -- set port {self.interface}{settings}"
        )

    def delete(self) -> str:
        """No failure where it is gone; nor is the daemon waited for, which takes the port out of its tables
        when it can.
        """
        return f"--no-wait --if-exists del-port {self.interface}"


KINDS: dict[str, type[Resource]] = {
    kind.__name__: kind
    for kind in (
        Element,
        SharedElement,
        Port,
        Link,
        Route,
        Rule,
        Neighbour,
        NeighProxy,
        Sysctl,
        Binding,
        BridgeOption,
        BridgeVlan,
        OvsPort,
    )
}
"""Every kind by its name, as a record has it."""
