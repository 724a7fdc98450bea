"""Tag ip-less-routed: the node answers for its guests on the uplink, without an address of its own in their network."""

from __future__ import annotations

from snf_network.resources import Element, NeighProxy, Resource, Sysctl
from snf_network.setups.allow import extra
from snf_network.setups.pins import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.config import Config
    from snf_network.nic import Nic
    from snf_network.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """Proxy ARP and NDP on the uplinks; towards the guest, the node asks and answers in the gateway's name."""
    if nic.mode != "routed":
        return
    if nic.network.gateway:
        yield Element("arp", "gateways", quoted(nic), nic.network.gateway)
    if nic.ip and node.uplink:
        yield Sysctl(f"net/ipv4/conf/{node.uplink}/forwarding", "1")
        yield Sysctl(f"net/ipv4/neigh/{node.uplink}/proxy_delay", "0")
        for address in (nic.ip, *(address for address in extra(nic, config).addresses if ":" not in address)):
            yield NeighProxy(address, node.uplink)
    if nic.network.gateway6 and node.ipv6:
        yield NeighProxy(nic.network.gateway6, nic.interface)
    if nic.ip6 and node.ipv6 and node.uplink6:
        yield Sysctl(f"net/ipv6/conf/{node.uplink6}/forwarding", "1")
        yield Sysctl(f"net/ipv6/conf/{node.uplink6}/proxy_ndp", "1")
        yield Sysctl(f"net/ipv6/neigh/{node.uplink6}/proxy_delay", "0")
        for address in (nic.ip6, *(address for address in extra(nic, config).addresses if ":" in address)):
            yield NeighProxy(address, node.uplink6)
