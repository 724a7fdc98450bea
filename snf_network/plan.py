"""What a NIC shall have on this node. Pure: it asks nobody and changes nothing."""

from __future__ import annotations

from snf_network import setups
from snf_network.errors import BadEnvironment, shown
from snf_network.model.resources import Announcement, Element, NeighProxy, Port, Route
from snf_network.setups import firewall, pins
from snf_network.setups.allow import setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from dataclasses import dataclass
    from typing import Optional

    from snf_network.model.config import Config
    from snf_network.model.names import Names
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node
    from snf_network.model.resources import Resource
else:
    from snf_network.lean import dataclass


@dataclass(frozen=True)
class Plan:
    """All that one NIC needs."""

    resources: tuple[Resource, ...]
    announcements: tuple[Announcement, ...] = ()
    lacking: tuple[str, ...] = ()
    """What could not be decided yet, in words; `snf-network repair` tries again."""
    warnings: tuple[str, ...] = ()
    """What this node cannot do at all, in words: nothing to try again."""
    ignored: tuple[str, ...] = ()
    """Tags that mean nothing here."""
    names: Optional[Names] = None
    """What shall be in DNS; None: nothing is said of it, for now or at all."""


def plan_for(nic: Nic, node: Node, config: Config) -> Plan:
    """The plan of `nic`. Raises BadEnvironment where what was asked for cannot be done in full."""
    tags = tags_of(nic, config)
    chosen = {tag: setups.for_tag(tag, config) for tag in tags}
    resources = list(setups.for_mode(nic.mode)(nic, node, config))
    for setup in dict.fromkeys(filter(None, chosen.values())):
        resources += setup(nic, node, config)
    if nic.arriving:
        resources = [resource for resource in resources if not _draws_traffic(resource, nic)]
    members = {resource.set for resource in resources if isinstance(resource, Element)}
    resources += pins.ingress(nic, members)
    resources += firewall.setup(nic, node, config, "prefixed" in members)
    resources = list(dict.fromkeys(_options_first(resources)))
    told = (
        Announcement(one.address, one.interface)
        for one in resources
        if isinstance(one, NeighProxy) and _draws_traffic(one, nic)
    )
    return Plan(
        tuple(resources),
        tuple(told),
        tuple(_lacking(nic, node, config, tags)),
        tuple(_warnings(nic, node)),
        tuple(tag for tag, setup in chosen.items() if setup is None),
        names_for(nic, config, node.ipv6),
    )


def _options_first(resources: list[Resource]) -> list[Resource]:
    """A bridge is set before a tap becomes its port: a frame that came in between would be learned from."""
    options = [resource for resource in resources if type(resource).__name__ == "BridgeOption"]
    port = next((number for number, resource in enumerate(resources) if isinstance(resource, Port)), 0)
    return [*resources[:port], *options, *resources[port:]] if options else resources


def tags_of(nic: Nic, config: Config) -> tuple[str, ...]:
    """The network's tags, customised by instance tags `snf-network:<ident>:<tag>` and `...:no-<tag>`, uuid
    before name before index.
    """
    wanted = dict.fromkeys(nic.network.tags, True)
    for said_of_it in reversed(nic.customised(config.tag_prefix)):
        words = [word for word in said_of_it if not setting(word)[0]]
        said = {word.removeprefix("no-"): not word.startswith("no-") for word in words}
        if len(said) < len(words):
            raise BadEnvironment(
                f"TAGS: {shown(' '.join(words))} contradict each other", "say a tag or no-tag, not both"
            )
        wanted.update(said)
    return tuple(sorted(tag for tag, on in wanted.items() if on))


def _draws_traffic(resource: Resource, nic: Nic) -> bool:
    """True if it leads the guest's traffic to this node: a route, or a proxy entry on an uplink."""
    return isinstance(resource, Route) or (
        isinstance(resource, NeighProxy) and resource.interface != nic.interface
    )


def names_for(nic: Nic, config: Config, ipv6: bool) -> Optional[Names]:
    """What `nic` should have in DNS; None without the tag. `ipv6`: whether its interface can have IPv6.

    None, too, for a guest that is still on its way: the node it comes from has its names in place.
    """
    if nic.arriving or config.dns_tag not in tags_of(nic, config):
        return None
    from snf_network.model.names import names_of  # 0.2 ms, for few

    return names_of(nic, ipv6=nic.mode != "routed" or ipv6)


def _lacking(nic: Nic, node: Node, config: Config, tags: tuple[str, ...]) -> Iterator[str]:
    if nic.arriving:
        yield "the guest is still on its way here (MIGRATION_PHASE=pre): no route and no announcement yet"
    if nic.mode == "routed" and config.ip_less_routed_tag in tags:
        if nic.ip and not node.uplink:
            yield f"table {nic.link} has no IPv4 default route: no proxy ARP and no announcement for {nic.ip}"
        if nic.ip6 and node.ipv6 and not node.uplink6:
            yield f"table {nic.link} has no IPv6 default route: no proxy NDP and no announcement for {nic.ip6}"
    if nic.network.subnet6 and nic.mode == "routed" and not node.ipv6 and node.ipv6_possible:
        yield f"IPv6 is off on {nic.interface}: nothing of IPv6 for this NIC"
    if config.masq and config.masq_tag in tags and nic.network.subnet and not node.wan:
        yield f"the node has no IPv4 default route: no source NAT for {nic.network.subnet}"


def _warnings(nic: Nic, node: Node) -> Iterator[str]:
    if nic.network.subnet6 and nic.mode == "routed" and not node.ipv6_possible:
        yield "the kernel of this node has no IPv6: nothing of IPv6 for this NIC"
