"""Tag ip-filtered: a NIC that is a port of a switch may use only its own MAC and addresses in ARP, IPv4, IPv6
and neighbour discovery, and send no other protocols.
"""

from __future__ import annotations

from snf_network.addresses import eui64
from snf_network.model.resources import Resource
from snf_network.setups.allow import extra, gateway_within, gives_up_link_local
from snf_network.setups.pins import PORTS, addresses4, addresses6, macs, routers
from snf_network.setups.port import port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """Only the NIC's own sources; EUI-64 link-local addresses of its MACs, unless tags allow any."""
    if nic.mode == "routed":
        return  # already pinned as tightly
    family, allowed = PORTS[nic.mode], extra(nic, config)
    local = (nic.link_local, *(eui64("fe80::/64", mac) for mac in allowed.macs))
    own = (nic.ip6, *(() if gives_up_link_local(allowed) else local))
    yield from macs(nic, family, allowed)
    yield from addresses4(nic, family, allowed)
    yield from addresses6(nic, family, allowed, own)
    yield from routers(nic, family, filter(None, (gateway_within(nic, allowed),)))
    yield from port(nic)
