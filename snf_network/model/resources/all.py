"""Every kind of Resource, those of networks included: for readers of records that no NIC waits for."""

from __future__ import annotations

from snf_network.model.resources import KINDS, Resource
from snf_network.model.resources.devices import Device, NoAddress, PortOption
from snf_network.model.resources.frr import ByFrr, FrrBlock
from snf_network.model.resources.hosts import HostAddress, IifEnd
from snf_network.model.resources.tunnel import TunnelKey, TunnelPeer, Unreachable
from snf_network.model.resources.underlay import Flood, IifRule

ALL_KINDS: dict[str, type[Resource]] = KINDS | {
    kind.__name__: kind
    for kind in (
        *(Device, NoAddress, PortOption, Flood, IifRule, HostAddress, IifEnd),
        *(TunnelKey, TunnelPeer, Unreachable, ByFrr, FrrBlock),
    )
}
"""Every kind by its name, as written in the record of a network."""
