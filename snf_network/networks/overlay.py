"""Kind overlay: for each VNI a bridge and a VXLAN device. With engine list a broadcast goes to each node of
the list; with engine evpn, FRR says to which. Where a MAC is, the device learns from what comes in, with
either.

docs/networks.md says what this promises.
"""

from __future__ import annotations

from snf_network.model.resources import Element, Link, Port
from snf_network.model.resources.devices import Device, NoAddress, PortOption
from snf_network.model.resources.frr import ByFrr
from snf_network.model.resources.underlay import Flood
from snf_network.networks.bridge import bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.networks import Overlay, Site, Underlay
    from snf_network.model.resources import Resource

TTL = 64
"""Hops that the underlay may have."""
TOS = "0x2"
"""Keeps the kernel from remembering the route of each MAC. It does not forget that route when the MAC moves
to another node (vxlan_snoop changes remote_ip only), so where nodes are behind different routers, or on
different devices, a guest that moved was cut off. A TOS that is not 0 makes it look each packet's route up.
These two bits are ECN, which the kernel fills in from the frame within, so nothing of this is on the wire.
"""


def members(underlay: Underlay, site: Site) -> Iterator[Element]:
    """Who may send VXLAN to this node, and to which address. In place before any device is up."""
    suffix = "6" if ":" in site.address else ""
    for address in site.others:
        yield Element("inet", f"vteps{suffix}", "", address)
    yield Element("inet", f"vtep_self{suffix}", "", site.address)
    yield Element("inet", "vxlan_ports", "", str(underlay.port))


def resources(network: Overlay, underlay: Underlay, site: Site) -> Iterator[Resource]:
    """Bridges and devices of all VNIs; a device is up when all its entries are there."""
    for vni, name in network.bridges():
        yield from bridge(name, network.mtu, site)
        yield from _device(network, vni, name, underlay, site)


def _device(
    network: Overlay, vni: int, bridge_name: str, underlay: Underlay, site: Site
) -> Iterator[Resource]:
    device = f"vx{vni}"
    fixed = f"id {vni} dstport {underlay.port}"
    yield Device(device, "vxlan", fixed, f"local {site.address} ttl {TTL} tos {TOS} learning")
    if site.ipv6:
        yield NoAddress(device)
    yield Port(device, bridge_name, str(network.mtu))
    # with evpn too: a guest that moved is found by its first frame, before BGP has told of it
    yield PortOption(device, "learning", "on")
    yield PortOption(
        device, "neigh_suppress", "off"
    )  # on, it keeps back ARP probes and DAD (docs/networks.md)
    if network.engine == "evpn":
        yield ByFrr(device, str(vni))
    else:
        yield from (Flood(device, address) for address in site.others)
    yield Link(device)
