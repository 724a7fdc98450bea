"""Mode openvswitch: the tap is a port of the Open vSwitch bridge that LINK names, as in stock Ganeti."""

from __future__ import annotations

from snf_network.model.resources import Alias, Link, OvsPort, Resource
from snf_network.setups.bridged import vlans
from snf_network.setups.tags import tags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """The port with its access VLAN and its trunk VLANs; the switch keeps those with tag isolated apart."""
    untagged, tagged = vlans(nic.vlan)
    protected = "true" if config.isolated_tag in tags_of(nic, config) else ""
    yield OvsPort(nic.interface, nic.link, untagged, ",".join(tagged), protected)
    yield Link(nic.interface)
    yield Alias(nic.interface, nic.alias)
