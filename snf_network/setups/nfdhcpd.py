"""Tag nfdhcpd: a binding file that tells nfdhcpd how to answer the guest's DHCP, RS and NS."""

from __future__ import annotations

from snf_network.resources import Binding, Element, Resource

# what a Ganeti tag is made of; anything else could end the quotes in the file
TAG = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+*/:@-")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.config import Config
    from snf_network.nic import Nic
    from snf_network.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """The keys and their order are the bash package's; an empty value is written."""
    if nic.mode == "bridged":  # who is served is no server: of a routed NIC that is always true
        from snf_network.setups.pins import quoted
        from snf_network.setups.port import port

        yield Element("bridge", "guarded", quoted(nic))
        yield from port(nic)
    network = nic.network
    values = {
        "INDEV": nic.link if nic.mode == "bridged" else nic.interface,
        "IP": nic.ip,
        "MAC": nic.mac,
        "HOSTNAME": nic.instance,
        "TAGS": f'"{" ".join(filter(TAG.issuperset, network.tags))}"',
        "GATEWAY": network.gateway,
        "SUBNET": network.subnet,
        "GATEWAY6": network.gateway6,
        "SUBNET6": network.subnet6,
        "EUI64": nic.ip6,
    }
    content = "".join(f"{key}={value}\n" for key, value in values.items())
    yield Binding(f"{config.nfdhcpd_state_dir}/{nic.interface}", content)
