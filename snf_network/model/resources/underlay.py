"""Where an overlay's frames go, and where packets that come in by an uplink are looked up. Only networks use
these kinds.
"""

from __future__ import annotations

from _socket import inet_pton
from typing import TYPE_CHECKING, Any

from snf_network.addresses import family_of
from snf_network.lean import dataclass
from snf_network.model.resources.base import Rtnetlink
from snf_network.model.resources.links import AF_BRIDGE
from snf_network.model.resources.routes import ACTIONS, PolicyRule, is_ours
from snf_network.wire import (
    FRA_TABLE,
    NDA_DST,
    NDA_LLADDR,
    NDMSG,
    NLM_F_CREATE,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
    U32,
    attribute,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import ClassVar

    from snf_network.model.resources.base import Index, Request

ANY_MAC = "00:00:00:00:00:00"
"""The entry for all frames whose destination is not known: broadcasts too."""
NLM_F_APPEND, NTF_SELF = 0x800, 0x02
FRA_IIFNAME = 3
IIF_PRIORITY = 14700
"""Preference of the rules for what comes in by an uplink: before those of marks."""


@dataclass(frozen=True)
class Flood(Rtnetlink):
    """A node that gets a copy of each broadcast of an overlay. A device has one entry for each other node."""

    heading: ClassVar[str] = "bridge -batch -"
    tool: ClassVar[str] = "bridge"
    of_device: ClassVar[bool] = True
    interface: str
    address: str

    def add(self) -> str:
        """Adding it again does nothing."""
        return f"fdb append {ANY_MAC} dev {self.interface} dst {self.address} self permanent"

    def delete(self) -> str:
        """Deletes the entry of that node alone."""
        return f"fdb del {ANY_MAC} dev {self.interface} dst {self.address} self"

    def message(self, add: bool, index: Index) -> Request:
        """The message that bridge(8) sends."""
        body = _entry(ANY_MAC, self.address, index(self.interface))
        return (RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, body) if add else (RTM_DELNEIGH, 0, body)

    @staticmethod
    def listed(entries: list[dict[str, Any]]) -> Iterator[Flood]:
        """Those among the output of `bridge -j fdb show`, whoever made them."""
        for entry in entries:
            if entry.get("mac") == ANY_MAC and "dst" in entry and entry.get("state") == "permanent":
                yield Flood(entry["ifname"], entry["dst"])


@dataclass(frozen=True)
class Learned(Rtnetlink):
    """A MAC that an overlay's device has seen behind a node. It is nobody's, and deleted with the node."""

    heading: ClassVar[str] = "bridge -batch -"
    tool: ClassVar[str] = "bridge"
    of_device: ClassVar[bool] = True
    interface: str
    mac: str
    address: str

    def add(self) -> str:
        """The kernel learns it again by itself."""
        return ""

    def delete(self) -> str:
        """The line of bridge(8)."""
        return f"fdb del {self.mac} dev {self.interface} dst {self.address} self"

    def message(self, add: bool, index: Index) -> Request:
        """The message that bridge(8) sends."""
        return RTM_DELNEIGH, 0, _entry(self.mac, self.address, index(self.interface))

    @staticmethod
    def listed(entries: list[dict[str, Any]]) -> Iterator[Learned]:
        """Those among the output of `bridge -j fdb show`."""
        for entry in entries:
            if "dst" in entry and entry.get("state", "") != "permanent" and entry.get("mac") != ANY_MAC:
                yield Learned(entry["ifname"], entry["mac"], entry["dst"])


def _entry(mac: str, address: str, index: int) -> bytes:
    return (
        NDMSG.pack(AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF, 0)
        + attribute(NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
        + attribute(NDA_DST, inet_pton(family_of(address), address))
    )


@dataclass(frozen=True)
class IifRule(PolicyRule):
    """A policy rule: what comes in by an uplink is looked up in a table."""

    interface: str
    table: str

    @property
    def priority(self) -> int:
        """Before the rules of marks."""
        return IIF_PRIORITY

    def selects(self) -> str:
        """All that comes in by the device."""
        return f"iif {self.interface} lookup {self.table}"

    def terms(self) -> tuple[int, bytes]:
        """The device by its name: the rule outlives the device."""
        device = attribute(FRA_IIFNAME, self.interface.encode() + b"\0")
        return ACTIONS["lookup"], device + attribute(FRA_TABLE, U32.pack(int(self.table)))

    @staticmethod
    def listed(rules: Iterable[dict[str, Any]]) -> Iterator[IifRule]:
        """Our rules among all, as readback.policy_rules has them."""
        for rule in rules:
            if is_ours(rule, IIF_PRIORITY) and "iif" in rule and "table" in rule:
                yield IifRule(rule["family"], rule["iif"], rule["table"])
