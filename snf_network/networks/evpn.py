"""Engine evpn: the lines of FRR's configuration that find the other nodes.

They stand beside lines of the node's admin, who may have a `router bgp` of the same AS: FRR merges the two.
So nothing here is a setting of the whole router, but for its ID: neighbours have policies and families of
their own.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.networks import Evpn, Site

NAME = "snf-network"
"""Of our peer group, prefix lists and route maps."""
TIMERS = ("timers 3 9", "timers connect 2")
"""Seconds: a neighbour that is silent for 9 is gone; one that refused is tried again after 2."""


def neighbours(evpn: Evpn, site: Site) -> tuple[str, ...]:
    """Whom the node has a session with, as FRR calls them. A node may be a reflector itself."""
    return (
        tuple(one for one in evpn.reflectors if one != site.address)
        or evpn.unnumbered
        or (site.others if evpn.mesh else ())
    )


def lines(evpn: Evpn, site: Site) -> Iterator[str]:
    """All lines, top-level ones not indented."""
    if evpn.unnumbered:
        yield from _policies(site)
    yield f"router bgp {evpn.number}"
    yield f" bgp router-id {site.address}"
    yield from _unnumbered(evpn, site) if evpn.unnumbered else _group(evpn, site)
    yield " exit-address-family"
    yield "exit"


def _group(evpn: Evpn, site: Site) -> Iterator[str]:
    """Reflectors, or all other nodes, of our own AS."""
    yield f" neighbor {NAME} peer-group"
    yield f" neighbor {NAME} remote-as {evpn.number}"
    yield from (f" neighbor {NAME} {timers}" for timers in TIMERS)
    yield from (f" neighbor {one} peer-group {NAME}" for one in neighbours(evpn, site))
    yield " address-family ipv4 unicast"
    yield f"  no neighbor {NAME} activate"
    yield " exit-address-family"
    yield " address-family l2vpn evpn"
    yield f"  neighbor {NAME} activate"
    yield "  advertise-all-vni"


def _policies(site: Site) -> Iterator[str]:
    """A router gets our own address alone, and gives no default route nor any other but to single hosts. A
    neighbour of another AS needs a policy (RFC 8212), unless that is switched off for all.
    """
    yield f"ip prefix-list {NAME}-in seq 5 permit 0.0.0.0/0 ge 32"
    yield f"ip prefix-list {NAME}-out seq 5 permit {site.address}/32"
    for way in ("in", "out"):
        yield f"route-map {NAME}-{way} permit 10"
        yield f" match ip address prefix-list {NAME}-{way}"
        yield "exit"
    yield f"route-map {NAME}-evpn permit 10"
    yield "exit"


def _unnumbered(evpn: Evpn, site: Site) -> Iterator[str]:
    """Routers at the other end of devices. Nodes may have one AS: then each takes routes with its own in the
    path.
    """
    for one in evpn.unnumbered:
        yield f" neighbor {one} interface remote-as external"
        yield from (f" neighbor {one} {timers}" for timers in TIMERS)
    yield " address-family ipv4 unicast"
    yield f"  network {site.address}/32"
    for one in evpn.unnumbered:
        yield from (f"  neighbor {one} {words}" for words in ("activate", "allowas-in 1"))
        yield from (f"  neighbor {one} route-map {NAME}-{way} {way}" for way in ("in", "out"))
    yield " exit-address-family"
    yield " address-family l2vpn evpn"
    for one in evpn.unnumbered:
        yield from (f"  neighbor {one} {words}" for words in ("activate", "allowas-in 1"))
        yield from (f"  neighbor {one} route-map {NAME}-evpn {way}" for way in ("in", "out"))
    yield "  advertise-all-vni"
