"""Tag trunk: a pinned or served NIC may send tagged frames, but only in the tagged VLANs of Ganeti's VLAN."""

from __future__ import annotations

from snf_network.model.resources import Element, Resource
from snf_network.setups.bridged import vlans
from snf_network.setups.pins import PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """Its MAC is pinned there too; addresses and servers in these VLANs are not checked. Never the untagged
    VLAN, nor 0.
    """
    if nic.mode in PORTS and nic.vlan:
        for vid in vlans(nic.vlan)[1]:
            yield Element(PORTS[nic.mode], "trunks", nic.interface, vid)
