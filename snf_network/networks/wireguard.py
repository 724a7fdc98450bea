"""Kind wireguard: a device with this node's key, and each other node as its peer, from which and to which
nothing passes but its own inner address.
"""

from __future__ import annotations

from snf_network.model.resources import Link, Route
from snf_network.model.resources.devices import Device
from snf_network.model.resources.hosts import HostAddress
from snf_network.model.resources.routes import MAIN
from snf_network.model.resources.tunnel import TunnelKey, TunnelPeer, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.networks import WireGuard
    from snf_network.model.resources import Resource


def resources(network: WireGuard) -> Iterator[Resource]:
    """Before anything can be sent to another node it is unreachable but by the tunnel."""
    device = network.device
    others = [(one, host(one.address)) for one in network.nodes if one.name != network.me]
    (mine,) = (one for one in network.nodes if one.name == network.me)
    for _, prefix in others:
        yield Unreachable(prefix)
    yield Device(device, "wireguard")
    yield TunnelKey(device, str(network.port), network.key, mine.public)
    for other, prefix in others:
        yield TunnelPeer(device, other.public, prefix, str(network.keepalive), other.endpoint)
    yield HostAddress(device, host(mine.address))
    yield Link(device, mtu=str(network.mtu))
    for _, prefix in others:
        yield Route(prefix, device, MAIN)


def host(address: str) -> str:
    """The prefix of one address."""
    return f"{address}/{128 if ':' in address else 32}"
