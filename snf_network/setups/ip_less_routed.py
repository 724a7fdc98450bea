"""Tag ip-less-routed: the node answers for its guests on the uplink, without having an address in their
network.
"""

from __future__ import annotations

from snf_network.addresses import as_bits
from snf_network.errors import BadEnvironment
from snf_network.model.resources import Element, NeighProxy, Resource, Sysctl
from snf_network.setups.allow import extra

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """Proxy ARP and NDP on the uplinks; towards the guest, the node asks and answers with the gateway's
    address.
    """
    if nic.mode != "routed":
        return
    _refuse_what_is_not_the_guests(nic)
    if nic.network.gateway:
        yield Element("arp", "gateways", nic.interface, value=nic.network.gateway)
    for uplink in filter(None, (node.uplink, *node.more_uplinks)) if nic.ip else ():
        yield Sysctl(f"net/ipv4/conf/{uplink}/forwarding", "1")
        yield Sysctl(f"net/ipv4/neigh/{uplink}/proxy_delay", "0")
        for address in (nic.ip, *(address for address in extra(nic, config).addresses if ":" not in address)):
            yield NeighProxy(address, uplink)
    if nic.network.gateway6 and node.ipv6:
        yield NeighProxy(nic.network.gateway6, nic.interface)
    for uplink in filter(None, (node.uplink6, *node.more_uplinks6)) if nic.ip6 and node.ipv6 else ():
        yield Sysctl(f"net/ipv6/conf/{uplink}/forwarding", "1")
        yield Sysctl(f"net/ipv6/conf/{uplink}/proxy_ndp", "1")
        yield Sysctl(f"net/ipv6/neigh/{uplink}/proxy_delay", "0")
        for address in (nic.ip6, *(address for address in extra(nic, config).addresses if ":" in address)):
            yield NeighProxy(address, uplink)


def _refuse_what_is_not_the_guests(nic: Nic) -> None:
    """Raise BadEnvironment for an address that is the gateway's or the subnet's own: announcing it would
    hijack traffic.
    """
    for address, gateway in ((nic.ip, nic.network.gateway), (nic.ip6, nic.network.gateway6)):
        if address and address == gateway:
            raise BadEnvironment(
                f"IP={address} is the gateway's", "the node would tell the network that the router is here"
            )
    if nic.ip and nic.network.subnet:
        first, length = as_bits(nic.network.subnet)
        if length < 31 and as_bits(nic.ip)[0] in (first, first + (1 << 32 - length) - 1):
            raise BadEnvironment(
                f"IP={nic.ip} is no host's in {nic.network.subnet}",
                "first and last are the subnet's own (RFC 1122)",
            )
