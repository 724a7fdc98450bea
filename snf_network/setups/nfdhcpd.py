"""Tag nfdhcpd: a binding file that tells nfdhcpd how to answer the guest's DHCP, RS and NS, and the guard
that keeps both to the tap.
"""

from __future__ import annotations

from snf_network.model.resources import Binding, Element, Resource

# what a Ganeti tag is made of; anything else could end the quotes in the file
TAG = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+*/:@-")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """The keys and their order are the bash package's; an empty value is written."""
    yield from _guard(nic, config)
    network = nic.network
    values = {
        "INDEV": nic.interface if nic.mode == "routed" else nic.link,  # what the guest has for its neighbour
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


def _guard(nic: Nic, config: Config) -> Iterator[Resource]:
    """Who is served is no server; and what nfdhcpd answers drops where its engine has had it, so guests of
    another server are heard.
    """
    if nic.mode not in ("routed", "bridged"):
        return
    tap, bridged = nic.interface, nic.mode == "bridged"
    if bridged:  # a routed NIC is never a server
        from snf_network.setups.port import port

        yield Element("bridge", "guarded", tap)
        yield from port(nic)
    if config.nfdhcpd_engine != "none":
        yield Element(
            "bridge" if bridged else "inet", "queued" if config.nfdhcpd_engine == "nfqueue" else "served", tap
        )
