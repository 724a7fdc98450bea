"""What the node itself is in a network: its addresses there, and where what comes in from it may not go. Only
networks use these kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snf_network.addresses import canonical6
from snf_network.lean import dataclass
from snf_network.model.resources.base import Rtnetlink
from snf_network.model.resources.routes import ACTIONS, PolicyRule, address_message, is_ours
from snf_network.model.resources.underlay import FRA_IIFNAME, IIF_PRIORITY
from snf_network.wire import attribute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import ClassVar

    from snf_network.model.resources.base import Index, Request


@dataclass(frozen=True)
class HostAddress(Rtnetlink):
    """An address of the node on a device, with the prefix that is reached there. Other nodes have the same
    one, so nobody asks whether it is free (RFC 4862, 5.4).
    """

    of_device: ClassVar[bool] = True
    interface: str
    prefix: str
    """The address, and the length of its prefix."""

    def add(self) -> str:
        """Adding it again does nothing."""
        nodad = " nodad" if ":" in self.prefix else ""
        return f"addr replace {self.prefix} dev {self.interface}{nodad}"

    def delete(self) -> str:
        """The line of ip-address(8)."""
        return f"addr del {self.prefix} dev {self.interface}"

    def message(self, add: bool, index: Index) -> Request:
        """The message that ip(8) sends."""
        return address_message(self.prefix, index(self.interface), 0, add)

    @staticmethod
    def listed(links: list[dict[str, Any]]) -> Iterator[HostAddress]:
        """All that the node has, from the output of `ip -j addr show`, whoever gave them."""
        for link in links:
            for found in link.get("addr_info", ()):
                if "local" in found:
                    address = found["local"]
                    plain = canonical6(address) if ":" in address else address
                    yield HostAddress(link["ifname"], f"{plain}/{found['prefixlen']}")


@dataclass(frozen=True)
class IifEnd(PolicyRule):
    """A policy rule: what comes in by a device and its own table has no route for goes nowhere, rather than
    where the node's own packets go.
    """

    interface: str

    @property
    def priority(self) -> int:
        """Right after the rule that leads to the table."""
        return IIF_PRIORITY + 1

    def selects(self) -> str:
        """All that comes in by the device."""
        return f"iif {self.interface} unreachable"

    def terms(self) -> tuple[int, bytes]:
        """The device by its name: the rule outlives the device."""
        return ACTIONS["unreachable"], attribute(FRA_IIFNAME, self.interface.encode() + b"\0")

    @staticmethod
    def listed(rules: Iterable[dict[str, Any]]) -> Iterator[IifEnd]:
        """Our rules among all, as readback.policy_rules has them."""
        for rule in rules:
            if is_ours(rule, IIF_PRIORITY + 1) and "iif" in rule:
                yield IifEnd(rule["family"], rule["iif"])
