"""The kinds of Resource that a NIC puts on a node. Each is plain data, defined in one place: its add and
delete line, its netlink message, how it is read back, which NIC owns it and when it is removed. base.py has
the common part.
"""

from __future__ import annotations

from snf_network.lean import dataclass
from snf_network.model.resources.base import PROTOCOL, Resource
from snf_network.model.resources.links import Alias, BridgeOption, BridgeVlan, Isolated, Link, Port, Shaper
from snf_network.model.resources.nft import Element, Hook, SharedElement
from snf_network.model.resources.routes import (
    RULE_PRIORITY,
    Address,
    FloatingRoute,
    Neighbour,
    NeighProxy,
    Route,
    Rule,
)
from snf_network.model.resources.settings import Binding, BirdFile, File, FrrFile, OvsPort, Sysctl

__all__ = [
    "KINDS",
    "PROTOCOL",
    "RULE_PRIORITY",
    "Address",
    "Alias",
    "Announcement",
    "Binding",
    "BirdFile",
    "BridgeOption",
    "BridgeVlan",
    "Element",
    "File",
    "FloatingRoute",
    "FrrFile",
    "Hook",
    "Isolated",
    "Link",
    "NeighProxy",
    "Neighbour",
    "OvsPort",
    "Port",
    "Resource",
    "Route",
    "Rule",
    "Shaper",
    "SharedElement",
    "Sysctl",
]


@dataclass(frozen=True)
class Announcement:
    """An address of the guest that this node answers for on an uplink, announced to all hosts there. Not a
    Resource: it leaves nothing to remove.
    """

    address: str
    interface: str


KINDS: dict[str, type[Resource]] = {
    kind.__name__: kind
    for kind in (
        *(Element, SharedElement, Hook),
        *(Port, Link, Alias, BridgeOption, BridgeVlan, Isolated, Shaper),
        *(Route, FloatingRoute, Rule, Neighbour, NeighProxy, Address),
        *(Sysctl, Binding, BirdFile, FrrFile, OvsPort),
    )
}
"""Every kind by its name, as written in a record."""
