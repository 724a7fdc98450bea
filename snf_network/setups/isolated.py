"""Tag isolated: a guest of a shared switch talks to what is beyond the uplink, and to no other guest."""

from __future__ import annotations

from snf_network.errors import BadEnvironment
from snf_network.model.resources import Element, Isolated, Resource
from snf_network.setups.pins import PORTS
from snf_network.setups.private_filtered import masked
from snf_network.setups.tags import tags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """The bridge itself keeps isolated ports of one node apart. The guests of other nodes come by the uplink:
    they are known by their MAC prefix, which all guests of a cluster share (MAC_MASK). Open vSwitch has its
    own word for it (setups/openvswitch.py).
    """
    if nic.mode not in PORTS:
        raise BadEnvironment(
            f"MODE={nic.mode}: guests cannot be isolated there", "bridged and openvswitch NICs only"
        )
    private = {config.mac_filtered_tag, "mac-filtered"} & set(tags_of(nic, config))
    if private:
        raise BadEnvironment(
            f"tags {config.isolated_tag} and {min(private)} contradict each other",
            "a guest of a private network talks to guests alone",
        )
    if nic.mode == "bridged":
        yield Isolated(nic.interface)
    yield Element(PORTS[nic.mode], "apart", nic.interface, masked(nic.mac, config.mac_mask))
