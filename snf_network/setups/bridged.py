"""Mode bridged: the tap is a port of the bridge that LINK names. Applies to every bridged NIC, with or
without tags.
"""

from __future__ import annotations

from snf_network.errors import BadEnvironment
from snf_network.model.resources import Alias, BridgeOption, BridgeVlan, Element, Link, Port, Resource, Sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """The bridge's MTU and, on KVM, a MAC that starts with fe: so that it is never the lowest, which the
    bridge would adopt as its own. What a guest makes the node remember is bounded (rules/bounds.nft).
    """
    yield Element("bridge", "guests", nic.interface)
    mac = "" if nic.xen else f"fe{nic.mac[2:]}"
    if node.ipv6:  # an address on the tap itself would reach the guest past all bridge hooks
        yield Sysctl(f"net/ipv6/conf/{nic.interface}/addr_gen_mode", "1")
    yield BridgeOption(nic.link, "no_linklocal_learn", "1")  # they pass no hook before they are learned
    yield Port(nic.interface, nic.link, str(node.mtu))
    yield from _vlans(nic, node)
    yield Link(nic.interface, mac)
    yield Alias(nic.interface, nic.alias)


def _vlans(nic: Nic, node: Node) -> Iterator[Resource]:
    """As stock Ganeti: untagged, then tagged; and the tap leaves the VLAN that the bridge puts new ports
    into.
    """
    untagged, tagged = vlans(nic.vlan)
    if not untagged and not tagged:
        return
    if not node.vlan_aware:
        raise BadEnvironment(
            f"VLAN={nic.vlan}: bridge {nic.link} does not filter VLANs",
            f"ip link set {nic.link} type bridge vlan_filtering 1",
        )
    for vid, device in node.vlan_devices:
        if vid in (untagged, *tagged):
            raise BadEnvironment(
                f"VLAN={nic.vlan}: {device} takes VLAN {vid} before bridge {nic.link} sees it",
                f"ip link del {device}",
            )
    if untagged:
        yield BridgeVlan(nic.interface, untagged, "pvid untagged")
    for vid in tagged:
        yield BridgeVlan(nic.interface, vid)
    if node.default_pvid and str(node.default_pvid) not in (untagged, *tagged):
        yield BridgeVlan(nic.interface, str(node.default_pvid), "absent")
    for uplink in node.vlan_uplinks:
        for vid in dict.fromkeys((untagged, *tagged) if untagged else tagged):
            yield BridgeVlan(uplink, vid, "uplink")


def vlans(text: str) -> tuple[str, tuple[str, ...]]:
    """Ganeti's VLAN as untagged and tagged VLANs: `.N`, `N` untagged; `:N:M` trunk; `.N:M` both."""
    first, *rest = (part and str(int(part)) for part in text.lstrip(".").split(":"))
    return first, tuple(vid for vid in dict.fromkeys(rest) if vid != first)
