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


def resources(network: Routed, site: Site) -> Iterator[Resource]:
    """Settings first: with IPv6 forwarding off, the kernel would take default routes from advertisements."""
    families = ("-4", "-6") if site.ipv6 else ("-4",)
    yield from _settings(network, site)
    if network.arp_source:
        yield Element("arp", "gateways", network.uplink, value=network.arp_source)
    for family in families if network.iif_rule else ():
        yield IifRule(family, network.uplink, str(network.table))
    for gateway in network.gateways:
        if ":" not in gateway or site.ipv6:
            anywhere = "::/0" if ":" in gateway else "0.0.0.0/0"
            yield Route(anywhere, network.uplink, str(network.table), gateway)


def _settings(network: Routed, site: Site) -> Iterator[Resource]:
    uplink = network.uplink
    if network.forwarding:
        yield Sysctl(f"net/ipv4/conf/{uplink}/forwarding", "1")
    if network.rp_filter:
        yield Sysctl(f"net/ipv4/conf/{uplink}/rp_filter", network.rp_filter)
    if not site.ipv6:
        return
    if network.accept_ra:
        yield Sysctl(f"net/ipv6/conf/{uplink}/accept_ra", network.accept_ra)
    if network.forwarding:
        yield Sysctl("net/ipv6/conf/all/forwarding", "1")
        yield Sysctl(f"net/ipv6/conf/{uplink}/forwarding", "1")
