"""Where packets go: routes, policy rules, neighbours that the node knows or answers for, and its addresses on
taps.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from snf_network.addresses import family_of
from snf_network.lean import dataclass
from snf_network.model.resources.base import PROTOCOL, Resource, Rtnetlink
from snf_network.wire import (
    FIB_RULE_HDR,
    FRA_FWMARK,
    FRA_PRIORITY,
    FRA_PROTOCOL,
    FRA_TABLE,
    IFA_ADDRESS,
    IFA_FLAGS,
    IFA_LOCAL,
    IFADDRMSG,
    NDA_DST,
    NDA_LLADDR,
    NDA_PROTOCOL,
    NDMSG,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NTF_PROXY,
    NUD_PERMANENT,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_DELADDR,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWADDR,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTMSG,
    U32,
    attribute,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, ClassVar

    from snf_network.model.resources.base import Index, Request, View

RULE_PRIORITY = 14800
"""Preference of the rule that looks a marked packet up in its table; the next preference is `unreachable`."""
FAMILIES = {"-4": AF_INET, "-6": AF_INET6}
MAIN = "254"
"""The number of table main."""
UNICAST, RTNH_F_ONLINK = 1, 4
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x02, 0x200
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_NOWHERE = 0, 253, 255
ACTIONS = {"lookup": 1, "unreachable": 7}
"""FR_ACT_TO_TBL, FR_ACT_UNREACHABLE."""
METRICS = {AF_INET: ("0",), AF_INET6: ("0", "1024")}
"""What the kernel lists for a route that was given no metric (IP6_RT_PRIO_USER)."""


@dataclass(frozen=True)
class Route(Rtnetlink):
    """A route to the guest, in a table."""

    prefix: str
    interface: str
    table: str
    via: str = ""
    metric: str = ""
    """Empty: the kernel's default. Two routes of a prefix with different metrics are two, side by side."""

    @property
    def slot(self) -> tuple[str, ...]:
        """The kernel replaces a route of the same prefix, table and metric."""
        return Route.__name__, self.prefix, self.table, *filter(None, (self.metric,))

    def _words(self) -> str:
        via, onlink = (f" via {self.via}", " onlink") if self.via else ("", "")
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{self.prefix}{via} dev {self.interface} table {self.table} proto {PROTOCOL}{metric}{onlink}"

    def add(self) -> str:
        """Replaces a route of the same prefix; facts.node_for has refused an address that a live tap has."""
        return f"route replace {self._words()}"

    def delete(self) -> str:
        """Deletes this route only, not one to another device."""
        return f"route del {self._words()}"

    def message(self, add: bool, index: Index) -> Request:
        """IPv4 has a scope: a destination without a gateway is on-link; a delete matches any scope."""
        family = family_of(self.prefix)
        scope, flags = (SCOPE_UNIVERSE, RTNH_F_ONLINK) if self.via else (SCOPE_LINK, 0)
        body = route_head(self.prefix, self.table, UNICAST, scope if add else SCOPE_NOWHERE, flags)
        body += attribute(RTA_OIF, U32.pack(index(self.interface)))
        body += attribute(RTA_PRIORITY, U32.pack(int(self.metric))) if self.metric else b""
        body += attribute(RTA_GATEWAY, inet_pton(family, self.via)) if self.via else b""
        return (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body) if add else (RTM_DELROUTE, 0, body)

    @staticmethod
    def listed(entries: list[dict[str, Any]], family: str) -> Iterator[Route]:
        """Our routes to a device in the output of `ip -N -j` with `family`; it names neither table main nor
        type unicast.
        """
        usual = METRICS[FAMILIES[family]]
        for entry in entries:
            if "type" in entry:
                continue
            prefix = listed_prefix(entry["dst"], family)
            device, table, via = entry.get("dev", ""), entry.get("table", MAIN), entry.get("gateway", "")
            metric = str(entry.get("metric", 0))
            yield Route(prefix, device, table, via, "" if metric in usual else metric)


def route_head(prefix: str, table: str, kind: int, scope: int, flags: int = 0) -> bytes:
    """How the message of a route begins; in IPv6 there are no scopes. Raises ValueError or OSError."""
    address, _, length = prefix.partition("/")
    family = family_of(address)
    scope = SCOPE_UNIVERSE if family == AF_INET6 else scope
    head = RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, scope, kind, flags)
    return head + attribute(RTA_DST, inet_pton(family, address)) + attribute(RTA_TABLE, U32.pack(int(table)))


def listed_prefix(destination: str, family: str) -> str:
    """The prefix of a route, as `ip -j` lists it with -4 or -6: a host's without a length."""
    anywhere, whole = ("::/0", "/128") if family == "-6" else ("0.0.0.0/0", "/32")
    prefix = anywhere if destination == "default" else destination
    return prefix if "/" in prefix else prefix + whole


@dataclass(frozen=True)
class FloatingRoute(Route):
    """A route to an address that several NICs may use, such as the virtual address of a VRRP pair (RFC 9568):
    it leads to the guest that was up first, then to the one that announced the address last. It has no
    metric, so its slot is that of the plain route: the kernel has one route of the prefix in a table.
    """

    shared: ClassVar[bool] = True
    floats: ClassVar[bool] = True

    @property
    def address(self) -> str:
        """The one address that it leads to."""
        return self.prefix.partition("/")[0]

    def is_in(self, view: View) -> bool:
        """True if it leads to this NIC now; the kernel lists it as a plain route."""
        return Route(*self.fields()) in view.found


@dataclass(frozen=True)
class PolicyRule(Rtnetlink):
    """A policy rule of ip-rule(8). Its kinds say what it selects, and where that leads."""

    family: str
    """-4 or -6, as in ip(8)."""

    @property
    def heading(self) -> str:  # type: ignore[override]
        """A batch of ip(8) has one address family for its rules."""
        return f"ip {self.family} -batch -"

    @property
    def tool(self) -> str:  # type: ignore[override]
        """ip with the address family option."""
        return f"ip {self.family}"

    @property
    def priority(self) -> int:
        """A fixed preference: without one, each repetition would add another rule."""
        raise NotImplementedError

    def selects(self) -> str:
        """What it selects and what becomes of it, as ip(8) takes it."""
        raise NotImplementedError

    def terms(self) -> tuple[int, bytes]:
        """The same as action and attributes of the message. Raises ValueError."""
        raise NotImplementedError

    def _words(self) -> str:
        return f"pref {self.priority} {self.selects()} proto {PROTOCOL}"

    def add(self) -> str:
        """Fails if the rule exists."""
        return f"rule add {self._words()}"

    def delete(self) -> str:
        """Deletes exactly this rule."""
        return f"rule del {self._words()}"

    def message(self, add: bool, index: Index) -> Request:
        """If the rule exists, the kernel answers EEXIST, which host.netlink treats as success."""
        action, terms = self.terms()
        body = FIB_RULE_HDR.pack(FAMILIES[self.family], 0, 0, 0, 0, action, 0)
        body += attribute(FRA_PRIORITY, U32.pack(self.priority)) + terms
        body += attribute(FRA_PROTOCOL, bytes((PROTOCOL,)))
        return (RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, body) if add else (RTM_DELRULE, 0, body)


def is_ours(rule: dict[str, Any], priority: int) -> bool:
    """True for a policy rule of ours with this preference."""
    return rule.get("protocol") == str(PROTOCOL) and rule["priority"] == priority


@dataclass(frozen=True)
class Rule(PolicyRule):
    """A policy rule for a table: its mark leads to the table (`lookup`) and nowhere else (`unreachable`)."""

    shared: ClassVar[bool] = True
    early: ClassVar[bool] = True
    table: str
    action: str

    @property
    def priority(self) -> int:
        """The rule that a mark leads nowhere else comes right after the one that it leads to its table."""
        return RULE_PRIORITY + (self.action != "lookup")

    def selects(self) -> str:
        """The mark is the number of the table."""
        action = f"lookup {self.table}" if self.action == "lookup" else self.action
        return f"fwmark {self.table} {action}"

    def terms(self) -> tuple[int, bytes]:
        """Raises KeyError for an action that is not in ACTIONS."""
        table = U32.pack(int(self.table))
        there = attribute(FRA_TABLE, table) if self.action == "lookup" else b""
        return ACTIONS[self.action], attribute(FRA_FWMARK, table) + there

    @staticmethod
    def listed(rules: Iterable[dict[str, Any]]) -> Iterator[Rule]:
        """Our rules among all, as readback.policy_rules has them."""
        for rule in rules:
            for priority, action in ((RULE_PRIORITY, "lookup"), (RULE_PRIORITY + 1, "unreachable")):
                if is_ours(rule, priority) and "fwmark" in rule:
                    yield Rule(rule["family"], str(int(rule["fwmark"], 16)), action)


@dataclass(frozen=True)
class Neighbour(Rtnetlink):
    """A permanent neighbour entry: the node knows its guest's MAC and never asks, so no other host can answer
    (docs/design.md).
    """

    place: ClassVar[tuple[str, ...]] = ("address", "interface")
    address: str
    mac: str
    interface: str

    def add(self) -> str:
        """The kernel deletes it when the tap's MAC changes or the tap goes down."""
        words = f"{self.address} lladdr {self.mac} dev {self.interface}"
        return f"neigh replace {words} nud permanent proto {PROTOCOL}"

    def delete(self) -> str:
        """Deletes the entry of that address."""
        return f"neigh del {self.address} dev {self.interface}"

    def message(self, add: bool, index: Index) -> Request:
        """The message that ip(8) sends."""
        mac = attribute(NDA_LLADDR, bytes.fromhex(self.mac.replace(":", ""))) if add else b""
        return _neighbour(self.address, index(self.interface), 0, mac, add)


@dataclass(frozen=True)
class NeighProxy(Rtnetlink):
    """The node answers ARP or neighbour solicitations for `address` on `interface`."""

    shared: ClassVar[bool] = True
    address: str
    interface: str

    def add(self) -> str:
        """Needs forwarding (IPv4) or proxy_ndp (IPv6) on the device."""
        return f"neigh replace proxy {self.address} dev {self.interface} proto {PROTOCOL}"

    def delete(self) -> str:
        """Works without the tap: the entry is on the uplink."""
        return f"neigh del proxy {self.address} dev {self.interface}"

    def message(self, add: bool, index: Index) -> Request:
        """Permanent, as ip(8) adds it: the kernel drops any other entry when the device loses its carrier."""
        return _neighbour(self.address, index(self.interface), NTF_PROXY, b"", add)


def _neighbour(address: str, index: int, flags: int, more: bytes, add: bool) -> Request:
    family = family_of(address)
    body = (
        NDMSG.pack(family, index, NUD_PERMANENT, flags, 0)
        + attribute(NDA_DST, inet_pton(family, address))
        + more
    )
    if not add:
        return RTM_DELNEIGH, 0, body
    return RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body + attribute(NDA_PROTOCOL, bytes((PROTOCOL,)))


@dataclass(frozen=True)
class Address(Rtnetlink):
    """An address of the node on a tap. It brings no route but the one in table local."""

    of_device: ClassVar[bool] = True
    place: ClassVar[tuple[str, ...]] = ("prefix", "interface")
    prefix: str
    interface: str

    def add(self) -> str:
        """Without DAD, which would find the same address on other taps of the guest's network."""
        dad = " nodad" if ":" in self.prefix else ""
        return f"address replace {self.prefix} dev {self.interface} noprefixroute{dad}"

    def delete(self) -> str:
        """Deletes the address from this device only."""
        return f"address del {self.prefix} dev {self.interface}"

    def message(self, add: bool, index: Index) -> Request:
        """The message that ip(8) sends."""
        return address_message(self.prefix, index(self.interface), IFA_F_NOPREFIXROUTE, add)

    def is_in(self, view: View) -> bool:
        """Addresses have no owner, so they are not among `found`."""
        return (self.interface, self.prefix) in view.addresses


def address_message(prefix: str, device: int, flags: int, add: bool) -> Request:
    """Adds or deletes an address of the node; nobody asks whether an IPv6 one is free (RFC 4862, 5.4), as
    other nodes have the same.
    """
    address, _, length = prefix.partition("/")
    family, packed = family_of(address), inet_pton(family_of(address), address)
    scope = SCOPE_LINK if address.startswith("fe80:") else SCOPE_UNIVERSE
    body = IFADDRMSG.pack(family, int(length), 0, scope, device)
    body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    if not add:
        return RTM_DELADDR, 0, body
    flags |= IFA_F_NODAD if family == AF_INET6 else 0
    return RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body + attribute(IFA_FLAGS, U32.pack(flags))


def listed_neighbours(entries: list[dict[str, Any]], proxy: bool) -> Iterator[Resource]:
    """Our entries in the output of `ip -j neigh show`: pyroute2's public calls return no proxy entries (0.7,
    0.9).
    """
    for entry in entries:
        if str(entry.get("protocol")) == str(PROTOCOL):
            address, device = entry["dst"], entry["dev"]
            yield NeighProxy(address, device) if proxy else Neighbour(address, entry["lladdr"], device)
