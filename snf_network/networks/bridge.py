"""Kind bridge: a bridge over ports of the node, which are another's: their own settings stay as they are."""

from __future__ import annotations

from snf_network.model.resources import BridgeVlan, Link, Port
from snf_network.model.resources.devices import Device, NoAddress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.networks import Bridge, Site
    from snf_network.model.resources import Resource

OPTIONS = "forward_delay 0 stp_state 0 mcast_snooping 0 no_linklocal_learn 1"
"""A port forwards at once; multicast goes everywhere, so no querier is needed; frames to 01:80:c2:00:00:0x,
which come past all filters of a NIC, teach it nothing.
"""


FILTERS = {
    None: "",
    True: " vlan_filtering 1 vlan_default_pvid 0",
    False: " vlan_filtering 0 vlan_default_pvid 1",
}
"""A bridge that filters puts no port into a VLAN by itself: a NIC without VLAN is then in none."""


def resources(network: Bridge, site: Site) -> Iterator[Resource]:
    """The bridge, then its ports and their VLANs."""
    yield from bridge(network.bridge, network.mtu, site, FILTERS[network.vlan_aware])
    for port in network.ports:
        yield Port(port, network.bridge)
        for vid in network.vlans:
            yield BridgeVlan(port, str(vid))


def bridge(name: str, mtu: int, site: Site, more: str = "", mac: str = "") -> Iterator[Resource]:
    """A bridge without an address of the node, up. An MTU that was set stays when ports come, and so does a
    MAC. `more`: further options.
    """
    yield Device(name, "bridge", "", OPTIONS + more)
    if site.ipv6:
        yield NoAddress(name)
    yield Link(name, mac, str(mtu))
