"""Mode routed: the node is the guest's only neighbour. Applies to every routed NIC, with or without tags.

The guest's packets are marked with their table and looked up only there; only the guest's own addresses may
leave the tap; the guest's MAC is a permanent neighbour entry. docs/tags.md shows the lines.
"""

from __future__ import annotations

from snf_network.addresses import eui64, is_link_local, width
from snf_network.errors import BadEnvironment
from snf_network.model.resources import (
    Alias,
    Element,
    FloatingRoute,
    Link,
    Neighbour,
    Port,
    Resource,
    Route,
    Rule,
    Sysctl,
)
from snf_network.setups.allow import Extra, extra, gateway_within
from snf_network.setups.pins import addresses4, addresses6, macs, routers
from snf_network.setups.tags import tags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


XEN_VIF_MAC = "fe:ff:ff:ff:ff:ff"
"""The MAC that netback gives every vif; it may refuse another."""


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """Pins, mark, link, route and neighbours of a routed NIC."""
    allowed = _routable(nic, node, extra(nic, config))
    yield from _pins(nic, node, config, allowed)
    yield from _marks(nic, node)
    yield from _settings(nic.interface, node.ipv6)
    yield from _ways_out(node)
    yield from _heard(nic.interface, _shared(allowed))
    yield Port(nic.interface)
    yield Link(nic.interface, "" if nic.xen else config.tap_constant_mac)
    yield from _guest(nic, node, allowed)
    yield from _allowed(nic, node, allowed, config)
    yield Alias(nic.interface, nic.alias)  # after the routes, which the guest waits for


def _routable(nic: Nic, node: Node, allowed: Extra) -> Extra:
    """The allowed sources that can be routed: link-local ones, except the router's, are always permitted on a
    tap and need no route; the NIC's own addresses have one already.

    Raises BadEnvironment if the NIC has no address of its own to route by.
    """

    def mine(value: str) -> bool:
        if ":" not in value and not nic.ip:
            raise BadEnvironment(
                f"TAGS: allow:{value}: the NIC has no IPv4 address of its own to route it by", "give it one"
            )
        own = value in (nic.ip, nic.ip6)
        return not own and (":" not in value or (node.ipv6 and not is_link_local(value.partition("/")[0])))

    addresses, prefixes, own = (
        tuple(filter(mine, some)) for some in (allowed.addresses, allowed.prefixes, allowed.own)
    )
    return Extra(addresses, prefixes, allowed.macs, own)


def _shared(allowed: Extra) -> tuple[str, ...]:
    """The addresses that another NIC may have as well."""
    return tuple(value for value in allowed.addresses if value not in allowed.own)


def _pins(nic: Nic, node: Node, config: Config, allowed: Extra) -> Iterator[Resource]:
    tap = nic.interface
    yield Element("inet", "routed", tap)
    yield from macs(nic, "inet", allowed)
    yield from addresses4(nic, "inet", allowed)
    others = tuple(dict.fromkeys(_routers(nic, config, allowed)))
    own = (nic.ip6, *(() if nic.link_local in others else (nic.link_local,))) if node.ipv6 else ()
    yield from addresses6(nic, "inet", allowed, own)
    yield from routers(nic, "inet", others)
    yield Element("arp", "routed", tap)
    yield from macs(nic, "arp", allowed)
    yield from addresses4(nic, "arp", allowed)


def _routers(nic: Nic, config: Config, allowed: Extra) -> Iterator[str]:
    """Addresses that the guest must not use: the tap's own link-local address, and the gateway's if it is
    link-local or among those allowed to the guest.
    """
    yield eui64("fe80::/64", XEN_VIF_MAC if nic.xen else config.tap_constant_mac)
    if is_link_local(nic.network.gateway6) or gateway_within(nic, allowed):
        yield nic.network.gateway6


def _marks(nic: Nic, node: Node) -> Iterator[Resource]:
    """The mark is the table's number. ARP input sets it too: proxy ARP does a route lookup of its own."""
    tap, table = nic.interface, str(node.table)
    for family in ("inet", "arp"):
        yield Element(family, "tables", tap, value=table)
    for family in ("-4", "-6") if node.ipv6 else ("-4",):
        yield Rule(family, table, "lookup")
        yield Rule(family, table, "unreachable")


def _settings(tap: str, ipv6: bool) -> Iterator[Resource]:
    yield Sysctl(f"net/ipv4/conf/{tap}/forwarding", "1")
    yield Sysctl("net/ipv4/fwmark_reflect", "1")  # routes the node's own ICMP errors by the guest's table
    yield Sysctl(f"net/ipv4/conf/{tap}/proxy_arp", "1")
    yield Sysctl(f"net/ipv4/conf/{tap}/src_valid_mark", "1")  # makes a strict rp_filter use the marked table
    yield Sysctl(
        f"net/ipv4/neigh/{tap}/proxy_delay", "0"
    )  # the default delays the first answer by up to 0.8 s
    if ipv6:
        yield Sysctl("net/ipv6/conf/all/forwarding", "1")
        yield Sysctl("net/ipv6/fwmark_reflect", "1")
        yield Sysctl(f"net/ipv6/conf/{tap}/forwarding", "1")
        yield Sysctl(
            f"net/ipv6/conf/{tap}/addr_gen_mode", "0"
        )  # the pinned link-local address is the EUI-64 one
        # the node cannot answer before DAD ends, whose start is put off at random even with nothing to send
        yield Sysctl(f"net/ipv6/conf/{tap}/accept_dad", "0")
        yield Sysctl(f"net/ipv6/conf/{tap}/dad_transmits", "0")  # if conf/all has it on
        yield Sysctl(f"net/ipv6/conf/{tap}/proxy_ndp", "1")
        yield Sysctl(f"net/ipv6/neigh/{tap}/proxy_delay", "0")


def _ways_out(node: Node) -> Iterator[Resource]:
    """Of several ways out (ECMP), one whose cable is out is none: by default, the kernel uses it on."""
    ways = (("ipv4", node.uplink, node.more_uplinks), ("ipv6", node.uplink6, node.more_uplinks6))
    for family, first, more in ways:
        for uplink in (first, *more) if more else ():
            yield Sysctl(f"net/{family}/conf/{uplink}/ignore_routes_with_linkdown", "1")


def _heard(tap: str, shared: tuple[str, ...]) -> Iterator[Resource]:
    """The kernel notes who announces a shared address, by gratuitous ARP or unsolicited NA (RFC 9131): the
    watch lets the route follow. The pins have dropped all other announcements by then.
    """
    if any(":" not in address for address in shared):
        yield Sysctl(f"net/ipv4/conf/{tap}/arp_accept", "1")
    if any(":" in address for address in shared):
        yield Sysctl(f"net/ipv6/conf/{tap}/accept_untracked_na", "1")


def _guest(nic: Nic, node: Node, allowed: Extra) -> Iterator[Resource]:
    """A route to each address of the guest, and permanent neighbour entries for its MAC."""
    tap, table = nic.interface, str(node.table)
    ip6 = nic.ip6 if node.ipv6 else ""
    own = (*filter(None, (nic.ip, ip6)), *allowed.own)
    for address in own:
        yield Route(f"{address}/{width(address)}", tap, table, "", node.came)
    for address in (*own, *filter(None, (nic.link_local if node.ipv6 else "",))):
        yield Neighbour(address, nic.mac, tap)


def _allowed(nic: Nic, node: Node, allowed: Extra, config: Config) -> Iterator[Resource]:
    """Routes to the other allowed addresses, via an address of the guest, whose MAC is known. A single
    address may be allowed to several guests, which pass it on among themselves.

    For IPv6 via the link-local address: the kernel refuses a global gateway that table main routes to another
    device, even with `onlink`.
    """
    tap, table, shared = nic.interface, str(node.table), _shared(allowed)
    if (shared or allowed.prefixes) and f"{config.bgp_tag}:" in " ".join(tags_of(nic, config)):
        return  # the guest says by BGP what it has of them
    for value in shared:
        via = nic.link_local if ":" in value else nic.ip
        yield FloatingRoute(f"{value}/{width(value)}", tap, table, via)
    for value in allowed.prefixes:
        yield Route(value, tap, table, nic.link_local if ":" in value else nic.ip, node.came)
    gateway = gateway_within(nic, allowed)
    if gateway and node.uplink6:  # the gateway stays reachable by the uplink
        yield Route(f"{gateway}/128", node.uplink6, str(node.table))
