"""The meaning of each network tag: one module per tag, with a `setup(nic, node, config)` that yields
Resources and changes nothing.

The configuration names each tag, so the table maps a setting to a module. A module is imported when a NIC has
its tag.
"""

from __future__ import annotations

from snf_network.lean import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Optional

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node
    from snf_network.model.resources import Resource
    from snf_network.setups.foreign import Setup


def for_mode(mode: str) -> Setup:
    """The setup for every NIC of a mode: the module of that name."""
    return _module(mode)


def for_tag(tag: str, config: Config) -> Optional[Setup]:
    """The setup for a network tag; None for an unknown tag."""
    known = (*without_effect(config), config.v6_from_v4_tag)  # see `addressed`
    if tag in known or tag.startswith((f"{config.nfdhcpd_tag}:", "dhcp:")):  # keys of the binding
        return _nothing
    if tag.startswith(("limit:", "shape:")):
        return _module("limit")
    if tag.startswith(f"{config.bgp_tag}:"):
        return _module("bgp")
    module = {
        config.ip_less_routed_tag: "ip_less_routed",
        config.mac_filtered_tag: "private_filtered",
        "mac-filtered": "private_filtered",
        config.ip_filtered_tag: "ip_filtered",
        config.trunk_tag: "trunk",
        config.isolated_tag: "isolated",
        config.nfdhcpd_tag: "nfdhcpd",
        config.masq_tag: "masq",
        config.gateway_on_tap_tag: "gateway_on_tap",
    }.get(tag)
    return _module(module) if module else _foreign(tag)


def addressed(nic: Nic, config: Config) -> Nic:
    """The NIC with the IPv6 address that a tag chooses for it, if any does. Raises BadEnvironment."""
    tags = " ".join((*nic.network.tags, *nic.tags))
    if config.v6_from_v4_tag not in tags and ":address" not in tags:
        return nic
    from snf_network.setups.address6 import address6

    return replace(nic, ip6=address6(nic, config))


def ignored(chosen: Mapping[str, Optional[Setup]], config: Config) -> tuple[str, ...]:
    """The tags without a setup. Raises BadEnvironment for one that looks like a misspelt filtering tag."""
    unknown = tuple(tag for tag, setup in chosen.items() if setup is None)
    if unknown:
        from snf_network.setups.misspelt import refuse_misspelt

        refuse_misspelt(unknown, config)
    return unknown


def without_effect(config: Config) -> tuple[str, ...]:
    """Our tags that put nothing on the node: they are information for people, or for other programs."""
    return config.public_tag, config.physical_vlan_tag, config.dns_tag


def _nothing(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    return iter(())


def _module(name: str) -> Setup:
    setup: Setup = __import__(f"snf_network.setups.{name}", fromlist=("setup",)).setup
    return setup


def _foreign(tag: str) -> Optional[Setup]:
    """A third party's setup: an executable in /etc/snf-network/setups or an entry point (docs/tags.md)."""
    from snf_network.setups import foreign

    return foreign.find(tag)
