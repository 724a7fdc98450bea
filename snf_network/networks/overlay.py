"""Kind overlay: for each VNI a bridge and a VXLAN device. With engine list a broadcast goes to each node of
the list; with engine evpn, FRR says to which. Where a MAC is, the device learns from what comes in, with
either.

docs/networks.md says what this promises.
"""

from __future__ import annotations

from snf_network.model.node import GUEST_MTU, OVERLAY, SMALLEST_MTU
from snf_network.model.resources import Alias, Element, Link, Port
from snf_network.model.resources.devices import Device, NoAddress, PortOption
from snf_network.model.resources.frr import ByFrr
from snf_network.model.resources.underlay import Flood
from snf_network.networks import gateway
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


OVERHEAD, OVERHEAD6 = 50, 70
"""Bytes that VXLAN adds to what a frame carries: its Ethernet header, VXLAN, UDP, and IPv4 or IPv6."""


def members(underlay: Underlay, site: Site) -> Iterator[Element]:
    """Who may send VXLAN to this node, and to which address. In place before any device is up."""
    suffix = "6" if ":" in site.address else ""
    for address in site.others:
        yield Element("inet", f"vteps{suffix}", "", address)
    if site.tunnel:
        yield Element("inet", f"vtep_tunnel{suffix}", site.tunnel, site.address)
    else:
        yield Element("inet", f"vtep_self{suffix}", "", site.address)
    yield Element("inet", "vxlan_ports", "", str(underlay.port))


def resources(network: Overlay, underlay: Underlay, site: Site) -> Iterator[Resource]:
    """Bridges and devices of all VNIs; a device is up when all its entries are there."""
    for vni, name in network.bridges():
        yield Element("bridge", "overlays", f"vx{vni}")
        if network.gateway:
            yield from gateway.guards(network, vni, f"vx{vni}", site)
        yield from bridge(name, network.mtu, site, mac=gateway.mac(vni) if network.gateway else "")
        yield Alias(name, alias(network, site))
        if network.gateway:
            yield from gateway.resources(network, vni, name, site)
        yield from _device(network, vni, name, underlay, site)


def alias(network: Overlay, site: Site) -> str:
    """What a bridge tells of itself: to an admin, and to the plans of its NICs (model/node.py)."""
    told = guest_mtu(network, site)
    return f"{OVERLAY}{network.name}{f' {GUEST_MTU} {told}' if told < network.mtu else ''}"


def guest_mtu(network: Overlay, site: Site) -> int:
    """What guests are told as their MTU: as much as crosses the underlay in one packet."""
    if network.guest_mtu or not site.mtu:
        return network.guest_mtu or network.mtu
    fitting = site.mtu - (OVERHEAD6 if ":" in site.address else OVERHEAD)
    return min(network.mtu, max(fitting, SMALLEST_MTU))


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
