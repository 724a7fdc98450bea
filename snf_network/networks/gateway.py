"""The gateway of an overlay: every node is it, with the same addresses and the same MAC. Guests reach that of
their own node, and one that moves finds it on its new node as it left it. No frame of it crosses the overlay:
rules/overlay.nft.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_pton

from snf_network.addresses import eui64
from snf_network.model.resources import Element, Route, Sysctl
from snf_network.model.resources.hosts import HostAddress, IifEnd
from snf_network.model.resources.underlay import IifRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.networks import Overlay, Site
    from snf_network.model.resources import Resource

PREFIX = "02:53:4e"
"""First half of the gateways' MACs: a locally administered one (IEEE 802, 8.2.2). rules/overlay.nft has it,
too.
"""


def mac(vni: int) -> str:
    """The MAC of the gateway, by which guests know it on each node."""
    return f"{PREFIX}:{vni.to_bytes(3, 'big').hex(':')}"


def addresses(network: Overlay, vni: int, site: Site) -> list[str]:
    """All addresses of the gateway that this node can have, with their prefix lengths. The kernel asks for a
    guest's IPv6 neighbour only from a device with a link-local address.
    """
    found = [one for one in network.gateway if ":" not in one or site.ipv6]
    ipv6 = any(":" in one for one in found)
    return [*found, *((f"{eui64('fe80::/64', mac(vni))}/64",) if ipv6 else ())]


def guards(network: Overlay, vni: int, device: str, site: Site) -> Iterator[Resource]:
    """What keeps others from being the gateway, and the gateway from being heard by others."""
    mine = [one.partition("/")[0] for one in addresses(network, vni, site)]
    ipv6 = [one for one in mine if ":" in one]
    yield Element("bridge", "ingress", device, value=f"goto {'beyond' if ipv6 else 'beyond4'}")
    yield Element("bridge", "prefixed", device)
    for address in mine:
        if ":" in address:
            yield Element("bridge", "routers", device, address)
            yield Element("bridge", "router_targets", device, f"0x{inet_pton(AF_INET6, address).hex()}")
        else:
            yield Element("bridge", "router_ips", device, address)


def resources(network: Overlay, vni: int, bridge: str, site: Site) -> Iterator[Resource]:
    """The gateway on a bridge that is up. What its guests send is looked up in the network's table, if it has
    one, and nowhere else.
    """
    mine = addresses(network, vni, site)
    families = ("-4", "-6") if any(":" in one for one in mine) else ("-4",)
    yield from _settings(bridge, families)
    for address in mine:
        yield HostAddress(bridge, address)
    for family in families if network.table else ():
        yield IifRule(family, bridge, str(network.table))
        yield IifEnd(family, bridge)
    for address in mine if network.table else ():
        if not address.startswith("fe80:"):
            yield Route(network_of(address), bridge, str(network.table))


def network_of(address: str) -> str:
    """The prefix that an address with a prefix length is in."""
    from ipaddress import ip_interface  # nothing that a NIC waits for

    return str(ip_interface(address).network)


def _settings(bridge: str, families: tuple[str, ...]) -> Iterator[Resource]:
    """It answers ARP for its own addresses only, and asks in no other name."""
    yield Sysctl(f"net/ipv4/conf/{bridge}/forwarding", "1")
    yield Sysctl(f"net/ipv4/conf/{bridge}/arp_ignore", "1")
    yield Sysctl(f"net/ipv4/conf/{bridge}/arp_announce", "2")
    if "-6" in families:
        yield Sysctl("net/ipv6/conf/all/forwarding", "1")
        yield Sysctl(f"net/ipv6/conf/{bridge}/forwarding", "1")
        yield Sysctl(f"net/ipv6/conf/{bridge}/accept_ra", "0")
