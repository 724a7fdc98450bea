"""What a NIC should have on this node, also as the lines an admin would type. Pure: reads and changes nothing
on the host.
"""

from __future__ import annotations

from itertools import groupby

from snf_network import setups
from snf_network.lean import dataclass
from snf_network.model.resources import Announcement, Element, Hook, NeighProxy, OvsPort, Port, Route
from snf_network.setups import firewall, pins
from snf_network.setups.allow import extra
from snf_network.setups.tags import tags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Optional

    from snf_network.model.config import Config
    from snf_network.model.names import Names
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node
    from snf_network.model.resources import Resource


@dataclass(frozen=True)
class Plan:
    """Everything that one NIC needs."""

    resources: tuple[Resource, ...]
    announcements: tuple[Announcement, ...] = ()
    lacking: tuple[str, ...] = ()
    """What could not be decided yet, in words; `snf-network repair` tries again."""
    warnings: tuple[str, ...] = ()
    """What this node cannot do at all, in words; it is not tried again."""
    ignored: tuple[str, ...] = ()
    """Tags that have no meaning here."""
    names: Optional[Names] = None
    """The desired DNS names; None: DNS is left as it is, for now or for good."""

    def text(self) -> str:
        """Everything that bringing the NIC up would do, in that order: what is printed is what runs."""
        told = [f"{one.address} on {one.interface}" for one in self.announcements]
        names = [f"{self.names.instance} {address}" for address in self.names.addresses] if self.names else []
        parts = [
            *_lines(self.resources),
            *_part("announce", told),
            *_part("dns", names),
            *_part("warnings", self.warnings),
            *_part("lacking", self.lacking),
            *_part("ignored tags", [ascii(tag)[1:-1] for tag in self.ignored]),
        ]
        return "\n".join(parts)

    def facts(self) -> dict[str, object]:
        """The same as data for JSON."""
        return {
            "resources": [
                {
                    "kind": type(one).__name__,
                    "fields": dict(one.__dict__),
                    "heading": one.heading,
                    "line": one.add(),
                }
                for one in _ordered(self.resources)
            ],
            "announcements": [dict(one.__dict__) for one in self.announcements],
            "names": dict(self.names.__dict__) if self.names else None,
            "warnings": self.warnings,
            "lacking": self.lacking,
            "ignored_tags": self.ignored,
        }


def _ordered(resources: Iterable[Resource]) -> list[Resource]:
    """First the targets of set members, then all members, then the rest in the plan's order."""
    return sorted(resources, key=lambda one: 0 if one.early else 1 if isinstance(one, Element) else 2)


def _lines(resources: Iterable[Resource]) -> Iterator[str]:
    """The add lines, under one heading per tool."""
    for heading, group in groupby(_ordered(resources), lambda resource: resource.heading):
        yield from _part(heading, [resource.add() for resource in group])


def _part(heading: str, lines: Iterable[str]) -> Iterator[str]:
    body = "".join(f"{line}\n" for line in lines)
    if body:
        yield f"# {heading}\n{body}"


def plan_for(nic: Nic, node: Node, config: Config) -> Plan:
    """The plan for `nic`. Raises BadEnvironment if the request cannot be met in full."""
    nic = setups.addressed(nic, config)
    tags = tags_of(nic, config)
    chosen = {tag: setups.for_tag(tag, config) for tag in tags}
    ignored = setups.ignored(chosen, config)
    if config.limits:
        chosen.setdefault("limit:", setups.for_tag("limit:", config))
    resources = list(setups.for_mode(nic.mode)(nic, node, config))
    for setup in dict.fromkeys(filter(None, chosen.values())):
        resources += setup(nic, node, config)
    if nic.arriving:
        resources = [resource for resource in resources if not _draws_traffic(resource, nic)]
    members = {resource.set for resource in resources if isinstance(resource, Element)}
    resources += pins.ingress(nic, members)
    resources += firewall.setup(nic, node, config, members)
    resources = list(dict.fromkeys(_filters_first(resources)))
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
        ignored,
        names_for(nic, config, node.ipv6),
    )


def _filters_first(resources: list[Resource]) -> list[Resource]:
    """Bridge options and pins at the device before the tap becomes a port: the switch would learn from a
    frame in between.
    """
    first = [one for one in resources if type(one).__name__ == "BridgeOption" or _is_pin(one)]
    ports = (number for number, one in enumerate(resources) if isinstance(one, (Port, OvsPort)))
    port = next(ports, 0)
    return [*resources[:port], *first, *resources[port:]] if first else resources


def _is_pin(resource: Resource) -> bool:
    return isinstance(resource, Hook) and resource.is_pin


def _draws_traffic(resource: Resource, nic: Nic) -> bool:
    """True if it attracts the guest's traffic to this node: a route, or a proxy entry on an uplink."""
    return isinstance(resource, Route) or (
        isinstance(resource, NeighProxy) and resource.interface != nic.interface
    )


def names_for(nic: Nic, config: Config, ipv6: bool) -> Optional[Names]:
    """The names `nic` should have in DNS; None without the tag. `ipv6`: whether its interface can have IPv6.

    Also None for a guest that is still migrating here: the source node has its names in place.
    """
    if nic.arriving or config.dns_tag not in tags_of(nic, config):
        return None
    from snf_network.model.names import names_of  # 0.2 ms that few NICs need

    nic = setups.addressed(nic, config)
    return names_of(nic, nic.mode != "routed" or ipv6, extra(nic, config).own)


def _lacking(nic: Nic, node: Node, config: Config, tags: tuple[str, ...]) -> Iterator[str]:
    if nic.arriving:
        yield "the guest is still on its way here (MIGRATION_PHASE=pre): no route and no announcement yet"
    if nic.mode == "routed" and config.ip_less_routed_tag in tags:
        if nic.ip and not node.uplink:
            yield f"table {nic.link} has no IPv4 default route: {nic.ip} has no proxy ARP, no announcement"
        if nic.ip6 and node.ipv6 and not node.uplink6:
            yield f"table {nic.link} has no IPv6 default route: {nic.ip6} has no proxy NDP, no announcement"
    if nic.network.subnet6 and nic.mode == "routed" and not node.ipv6 and node.ipv6_possible:
        yield f"IPv6 is off on {nic.interface}: nothing of IPv6 for this NIC"
    if config.masq and config.masq_tag in tags and nic.network.subnet and not node.wan:
        yield f"the node has no IPv4 default route: no source NAT for {nic.network.subnet}"


def _warnings(nic: Nic, node: Node) -> Iterator[str]:
    if nic.network.subnet6 and nic.mode == "routed" and not node.ipv6_possible:
        yield "the kernel of this node has no IPv6: nothing of IPv6 for this NIC"
    if nic.network.subnet6 and nic.mode == "routed" and not nic.ip6:
        yield (
            f"NETWORK_SUBNET6={nic.network.subnet6} is not a /64, so the NIC has no IPv6 address of its own: "
            "nothing of IPv6 for it"
        )
