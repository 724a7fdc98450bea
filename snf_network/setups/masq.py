"""Tag masq: the node gives a private network access to the outside."""

from __future__ import annotations

from snf_network.model.resources import Element, Resource, SharedElement, Sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """In a filtered network the node itself may talk to the tap; with MASQ=true the subnet is translated
    (source NAT) towards the default route.
    """
    if nic.mode == "bridged":
        yield Element("bridge", "hosts", nic.interface)
    if not config.masq or not nic.network.subnet:
        return
    yield SharedElement("inet", "masq_networks", "", nic.network.subnet)
    yield SharedElement("inet", "masq_pairs", "", f"{nic.network.subnet} . {nic.network.subnet}")
    if node.wan:
        yield SharedElement("inet", "masq", "", f'{nic.network.subnet} . "{node.wan}"')
        yield Sysctl(f"net/ipv4/conf/{node.wan}/forwarding", "1")
        yield Sysctl(f"net/ipv4/conf/{nic.link if nic.mode == 'bridged' else nic.interface}/forwarding", "1")
