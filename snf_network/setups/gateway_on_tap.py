"""Tag gateway-on-tap: the node has the network's gateway as an address of its own on the tap, as on each node
whose guests have no other gateway (a fabric).
"""

from __future__ import annotations

from snf_network.addresses import is_link_local, width
from snf_network.errors import BadEnvironment
from snf_network.model.resources import Address, Resource
from snf_network.setups.tags import tags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """The gateways of a routed NIC. Raises BadEnvironment if one is the guest's own address, or that of
    a router on the uplink.
    """
    if nic.mode != "routed":
        return
    if config.ip_less_routed_tag in tags_of(nic, config):
        both = f"tags {config.ip_less_routed_tag} and {config.gateway_on_tap_tag}"
        raise BadEnvironment(f"{both}: the gateway is a router on the uplink, or here", "take one away")
    for gateway in filter(None, (nic.network.gateway, nic.network.gateway6 if node.ipv6 else "")):
        if gateway in (nic.ip, nic.ip6):
            raise BadEnvironment(f"IP={gateway} is the gateway's", "with this tag the node itself has it")
        length = 64 if is_link_local(gateway) else width(gateway)
        yield Address(f"{gateway}/{length}", nic.interface)
