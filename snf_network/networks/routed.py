"""Kind routed: the table of routed guests, its default routes, and the uplink's settings.

The uplink itself, its addresses and its being up, are the node's: ifupdown's or networkd's.
"""

from __future__ import annotations

from snf_network.model.resources import Element, Route, Sysctl
from snf_network.model.resources.underlay import IifRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.networks import Routed, Site
    from snf_network.model.resources import Resource

MAIN = "254"
"""The node's own table (ip-route(8))."""


def resources(network: Routed, site: Site) -> Iterator[Resource]:
    """Settings first: with IPv6 forwarding off, the kernel would take default routes from advertisements."""
    families = [one for one in network.families if one == "-4" or site.ipv6]
    for family in families:
        yield from (_settings6 if family == "-6" else _settings)(network)
    if network.arp_source:
        yield Element("arp", "gateways", network.uplink, value=network.arp_source)
    for family in families if network.iif_rule else ():
        yield IifRule(family, network.uplink, str(network.table))
    for prefix in network.routes:
        if ":" not in prefix or site.ipv6:
            yield Route(prefix, network.uplink, MAIN)
            yield Route(prefix, network.uplink, str(network.table))
    for gateway in network.gateways:
        if ":" not in gateway or site.ipv6:
            anywhere = "::/0" if ":" in gateway else "0.0.0.0/0"
            yield Route(anywhere, network.uplink, str(network.table), gateway)


def _settings(network: Routed) -> Iterator[Resource]:
    uplink = network.uplink
    if network.forwarding:
        yield Sysctl(f"net/ipv4/conf/{uplink}/forwarding", "1")
    if network.rp_filter:
        yield Sysctl(f"net/ipv4/conf/{uplink}/rp_filter", network.rp_filter)
    if network.proxies:
        yield Sysctl(f"net/ipv4/conf/{uplink}/proxy_arp", "1")


def _settings6(network: Routed) -> Iterator[Resource]:
    uplink = network.uplink
    if network.accept_ra:
        yield Sysctl(f"net/ipv6/conf/{uplink}/accept_ra", network.accept_ra)
    if network.forwarding:
        yield Sysctl("net/ipv6/conf/all/forwarding", "1")
        yield Sysctl(f"net/ipv6/conf/{uplink}/forwarding", "1")
    if network.proxies:
        yield Sysctl(f"net/ipv6/conf/{uplink}/proxy_ndp", "1")
