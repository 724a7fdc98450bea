"""What a network of the node means: pure generators of Resources, one module for each kind."""

from __future__ import annotations

from functools import lru_cache

from snf_network.model.networks import Bridge, Overlay, Routed, WireGuard
from snf_network.model.resources.frr import FrrBlock
from snf_network.networks import bridge, evpn, overlay, routed, wireguard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.networks import Network, Networks, Site
    from snf_network.model.resources import Resource

UNDERLAY = "underlay"
"""The name under which what all overlays share is on record."""
EVPN = "evpn"
"""The name under which our block in frr.conf is on record."""
FRR_CONF = "/etc/frr/frr.conf"
"""FRR has no directory of such files, and no include (facts of FRR 8.4 and 10.3)."""


def resources(network: Network, networks: Networks, site: Site) -> Iterator[Resource]:
    """What one network puts on the node."""
    if isinstance(network, Routed):
        yield from routed.resources(network, site)
    elif isinstance(network, Bridge):
        yield from bridge.resources(network, site)
    elif isinstance(network, Overlay):
        yield from overlay.resources(network, networks.underlay, site)
    elif isinstance(network, WireGuard):
        yield from wireguard.resources(network)


@lru_cache(1)  # it is asked for again under the lock
def wanted(networks: Networks, site: Site) -> dict[str, tuple[Resource, ...]]:
    """What each network puts on the node, by name: what overlays share comes first, then tunnels, which keep
    what is for the other nodes from going in the clear; our block in frr.conf is last.
    """
    shared = {UNDERLAY: tuple(overlay.members(networks.underlay, site))} if networks.has_overlays else {}
    ordered = sorted(networks.networks, key=lambda one: not isinstance(one, WireGuard))
    made = shared | {one.name: tuple(resources(one, networks, site)) for one in ordered}
    if networks.evpn and networks.evpn.block:
        made[EVPN] = (FrrBlock(FRR_CONF, "\n".join(evpn.lines(networks.evpn, site))),)
    return made
