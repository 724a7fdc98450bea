"""The nodes of this node's overlays: Ganeti's own list, and which of them this node is.

Ganeti keeps ssconf files on all nodes: a line a node, its name and address, the offline ones included. They
are replaced by rename. A node that has left the cluster keeps its old ones.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from snf_network.addresses import canonical6, family_of, is_global6, is_ip4, is_name
from snf_network.errors import KernelError, shown
from snf_network.host.kernel import read_file
from snf_network.lean import dataclass, replace
from snf_network.model.networks import Networks, Overlay, Site, Underlay, WireGuard
from snf_network.model.networks.keys import LISTS
from snf_network.observe.facts import kernel_has_ipv6
from snf_network.observe.readback import ip
from snf_network.observe.tunnels import placed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from snf_network.model.networks.file import File

SSCONF = "/var/lib/ganeti"
OFFLINE = "ssconf_offline_nodes"
ASKED = 4
"""How many nodes' routes are looked up for the MTU of a routed underlay: all lead through the same fabric."""


@dataclass(frozen=True)
class Here:
    """This node, and what the file says for it."""

    name: str
    networks: Networks
    site: Site
    left_out: tuple[tuple[str, str], ...] = ()
    """Overlays and tunnels, if the node's place among the others is not known, each with the reason; the
    other networks do not need it.
    """


def here(file: File, directory: str = SSCONF) -> Here:
    """Which node of the file this is, its networks, and the other nodes. Raises KernelError if all of its
    networks need a place among the nodes, and it has none.
    """
    links = ip("addr", "show")
    own = _addresses(links)
    path, known = _listed(file.common.underlay, directory)
    names = names_of([(name, address) for name, address in known if address in own])
    networks, left_out = placed(file.of(*names), names)
    site = Site(ipv6=kernel_has_ipv6())
    if networks.has_overlays:
        try:
            site = _site(networks, path, known, own, directory)
            if networks.evpn and ":" in site.address:
                raise KernelError(f"{path}: {site.address} is of IPv6", "engine evpn needs IPv4 below")
            uplinks = networks.evpn.unnumbered if networks.evpn else ()
            site = replace(site, mtu=site.mtu or _mtu(site, links, uplinks))
        except KernelError as error:
            overlays = [one.name for one in networks.networks if isinstance(one, Overlay)]
            left_out += [(name, str(error)) for name in overlays]
            plain = tuple(one for one in networks.networks if not isinstance(one, Overlay))
            networks = Networks(networks.underlay, plain)
    if left_out and not networks.networks:
        raise KernelError(left_out[0][1])
    return Here(names[0], networks, site, tuple(left_out))


def myself(directory: str = SSCONF) -> tuple[list[str], str]:
    """What this node may be called, and its primary address in Ganeti's list, if it is there. Raises
    KernelError.
    """
    own = _addresses(ip("addr", "show"))
    mine = [one for one in _listed(Underlay(LISTS[1]), directory)[1] if one[1] in own]
    return names_of(mine), mine[0][1] if mine else ""


def names_of(mine: Sequence[tuple[str, str]]) -> list[str]:
    """What this node may be called: as in Ganeti's list, by its own name, and both without their domain."""
    names = [*(name for name, _ in mine[:1]), os.uname().nodename]
    return names + [name.partition(".")[0] for name in names]


def _addresses(links: Iterable[dict[str, Any]]) -> set[str]:
    """All addresses that the node has, as the kernel writes them."""
    return {found["local"] for link in links for found in link["addr_info"] if "local" in found}


def _listed(underlay: Underlay, directory: str) -> tuple[str, list[tuple[str, str]]]:
    """The list's path, and its lines: names and addresses. Raises KernelError for a line of another form."""
    names = (underlay.addresses,) if underlay.addresses in LISTS else LISTS
    for path in (f"{directory}/{name}" for name in names):
        text = read_file(path)
        if text and text.strip():
            return path, [
                _line(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line
            ]
    return f"{directory}/{names[0]}", []


def _line(path: str, number: int, line: str) -> tuple[str, str]:
    name, _, address = line.strip().partition(" ")
    if not is_name(name) or not (is_ip4(address) or is_global6(address)):
        raise KernelError(f"{path}:{number}: {shown(line)} is not the name and the address of a node")
    return name, canonical6(address) if ":" in address else address


def _site(
    networks: Networks, path: str, known: Iterable[tuple[str, str]], own: set[str], directory: str
) -> Site:
    """Where this node stands. The list may have this node under several addresses only as a peer."""
    underlay = networks.underlay
    offline = set((read_file(f"{directory}/{OFFLINE}") or "").split())
    if underlay.addresses not in ("", *LISTS):
        return _within(networks, offline)
    peers = [canonical6(peer) if ":" in peer else peer for peer in underlay.peers]
    every = [(name, address) for name, address in known] + [("", peer) for peer in peers]
    mine = next((address for _, address in every if address in own), "")
    if not mine:
        listed = (
            "underlay.peers has no address of this node, either" if peers else "is this the right cluster?"
        )
        raise KernelError(f"{path}: no address there is one of this node's", listed)
    others = [address for name, address in every if address not in own and name not in offline]
    for address in others:
        if family_of(address) != family_of(mine):
            raise KernelError(f"{path}: {address} and this node's {mine} are of different families")
    return Site(mine, tuple(dict.fromkeys(others)), kernel_has_ipv6())


def _within(networks: Networks, offline: set[str]) -> Site:
    """Where this node stands within a tunnel. Raises KernelError if it is not there."""
    name = networks.underlay.addresses
    tunnel = next((one for one in networks.networks if one.name == name and isinstance(one, WireGuard)), None)
    if tunnel is None:
        raise KernelError(
            f"{name}, which is below all overlays, is not on this node", "snf-network net check"
        )
    gone = {tunnel.me, *offline, *(one.partition(".")[0] for one in offline)}
    others = (one for one in tunnel.nodes if one.name not in gone)
    (mine,) = (one.address for one in tunnel.nodes if one.name == tunnel.me)
    known = tuple(one.address for one in others)
    for address in known:
        if family_of(address) != family_of(mine):
            raise KernelError(f"{name}: {address} and this node's {mine} are of different families")
    return Site(mine, known, kernel_has_ipv6(), tunnel.device, tunnel.mtu)


def _mtu(site: Site, links: Sequence[dict[str, Any]], uplinks: Iterable[str] = ()) -> int:
    """The MTU of the device with the node's address there. If that is on lo, as with a routed underlay, that
    of its `uplinks`, which are there before any route is, or else of the devices that lead to the other
    nodes; 0 if there is no way to any.
    """
    by_name = {link["ifname"]: link["mtu"] for link in links}
    own = {found.get("local"): link for link in links for found in link["addr_info"]}
    device = own.get(site.address, {})
    if "LOOPBACK" not in device.get("flags", ()) and not device.get("ifname", "").startswith("dummy"):
        return int(device.get("mtu", 0))
    ways = tuple(uplinks) or (route for other in site.others[:ASKED] for route in _ways(other))
    return min((int(by_name[way]) for way in ways if by_name.get(way)), default=0)


def _ways(address: str) -> Iterator[str]:
    """The device that leads to an address; none if it cannot be reached now."""
    try:
        yield from (found["dev"] for found in ip("route", "get", address) if "dev" in found)
    except KernelError:
        return
