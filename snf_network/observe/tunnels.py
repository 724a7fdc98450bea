"""Which member of a tunnel this node is, and how large packets the way to the others takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snf_network.addresses import family_of
from snf_network.host.netlink import Netlink
from snf_network.lean import replace
from snf_network.model.networks import Networks, WireGuard
from snf_network.observe.readback import ip

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from snf_network.model.networks import Member, Network

OVERHEAD = 80
"""What WireGuard adds to a packet over IPv6: 40, 8 of UDP, 32 of its own. wg-quick(8) counts the same."""
ETHERNET, LEAST = 1500, 1280
"""The MTU of a way of which nothing is known, and the least that IPv6 may have (RFC 8200, 5)."""


def placed(networks: Networks, names: Sequence[str]) -> tuple[Networks, list[tuple[str, str]]]:
    """The networks, with tunnels that know this node and their MTU; and those that it is not in, each with
    the reason.
    """
    found: list[Network] = []
    left_out = []
    for network in networks.networks:
        if not isinstance(network, WireGuard):
            found.append(network)
        elif me := member(network.nodes, names):
            others = (one.endpoint for one in network.nodes if one.name != me)
            found.append(replace(network, me=me, mtu=network.mtu or way_mtu(others) - OVERHEAD))
        else:
            left_out.append(
                (network.name, f"{names[0]} is none of the nodes of {network.name} (snf-network net key)")
            )
    return replace(networks, networks=tuple(found)), left_out


def member(nodes: Iterable[Member], names: Sequence[str]) -> str:
    """The member with one of these names, or the only one with such a name without its domain; or none."""
    known = [one.name for one in nodes]
    short = [name for name in known if name.partition(".")[0] in names]
    whole = next((name for name in names if name in known), "")
    return whole or (short[0] if len(short) == 1 else "")


def way_mtu(endpoints: Iterable[str]) -> int:
    """The smallest MTU of the devices that lead to these places."""
    mtus = {link["ifindex"]: int(link["mtu"]) for link in ip("link", "show")}
    found = []
    with Netlink() as netlink:
        for address in (one.rpartition(":")[0].strip("[]") for one in endpoints if one):
            route = netlink.route(family_of(address), 0, address)
            found += [mtus[route.device]] if route and route.device in mtus else []
    return max(min(found, default=ETHERNET), LEAST + OVERHEAD)
