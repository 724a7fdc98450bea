"""Tags private-filtered and mac-filtered: many private networks on one switch, told apart by MAC prefix."""

from __future__ import annotations

from snf_network.errors import BadEnvironment
from snf_network.model.resources import Element, Resource
from snf_network.setups.allow import extra
from snf_network.setups.pins import PORTS, macs
from snf_network.setups.port import port
from snf_network.setups.tags import tags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """From the tap only its own MAC address, untagged; to the tap only sources with its own MAC prefix."""
    if nic.mode == "routed":
        return  # already pinned more tightly, and no other guest is on its link
    if nic.mode == "openvswitch" and config.masq_tag in tags_of(nic, config):
        raise BadEnvironment(
            f"MODE={nic.mode}: what the node itself sends cannot be told from other networks there",
            f"tag {config.masq_tag} for bridged NICs only, in a filtered network",
        )
    family, tap, allowed = PORTS[nic.mode], nic.interface, extra(nic, config)
    prefix = masked(nic.mac, config.mac_mask)
    wanted = nic.network.mac_prefix
    if wanted and masked(f"{wanted}:00:00:00", config.mac_mask) != prefix:
        raise BadEnvironment(
            f"MAC={nic.mac} is outside NETWORK_MAC_PREFIX={wanted} (MAC_MASK={config.mac_mask})",
            "the NIC would be in another private network",
        )
    for mac in allowed.macs:
        if masked(mac, config.mac_mask) != prefix:
            raise BadEnvironment(
                f"TAGS: mac:{mac} is outside the private network of {nic.mac} (MAC_MASK={config.mac_mask})",
                "nobody there would hear it",
            )
    yield from macs(nic, family, allowed)
    if nic.mode == "bridged":
        yield Element("bridge", "prefixed", tap)
    yield Element(family, "prefixes", tap, prefix)
    yield from port(nic)


def masked(mac_address: str, mask: str) -> str:
    """The part of a MAC address that identifies its private network."""
    pairs = zip(bytes.fromhex(mac_address.replace(":", "")), bytes.fromhex(mask.replace(":", "")))
    return ":".join(f"{octet & bits:02x}" for octet, bits in pairs)
