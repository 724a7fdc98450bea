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
from snf_network.model.networks import Networks, Overlay, Site
from snf_network.observe.facts import kernel_has_ipv6
from snf_network.observe.readback import ip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from snf_network.model.networks import Underlay
    from snf_network.model.networks.file import File

SSCONF = "/var/lib/ganeti"
LISTS = ("ssconf_node_secondary_ips", "ssconf_node_primary_ips")
OFFLINE = "ssconf_offline_nodes"
ASKED = 4
"""How many nodes' routes are looked up for the MTU of a routed underlay: all lead through the same fabric."""


@dataclass(frozen=True)
class Here:
    """This node, and what the file says for it."""

    name: str
    networks: Networks
    site: Site
    left_out: tuple[str, ...] = ()
    """The overlays, if the node's place among the others is not known; the other networks do not need it."""
    problem: str = ""
    """Why it is not."""


def here(file: File, directory: str = SSCONF) -> Here:
    """Which node of the file this is, its networks, and the other nodes. Raises KernelError if all of its
    networks need an address on the underlay and none of the list is its own.
    """
    links = ip("addr", "show")
    own = {found["local"] for link in links for found in link["addr_info"] if "local" in found}
    path, known = _listed(file.common.underlay, directory)
    mine = [(name, address) for name, address in known if address in own]
    names = [*(name for name, _ in mine[:1]), os.uname().nodename]
    names += [name.partition(".")[0] for name in names]
    networks = file.of(*names)
    if not networks.has_overlays:
        return Here(names[0], networks, Site(ipv6=kernel_has_ipv6()))
    try:
        site = _site(networks.underlay, path, known, own, directory)
        return Here(names[0], networks, replace(site, mtu=_mtu(site, links)))
    except KernelError as error:
        others = tuple(one for one in networks.networks if not isinstance(one, Overlay))
        if not others:
            raise
        left_out = tuple(one.name for one in networks.networks if isinstance(one, Overlay))
        plain = Networks(networks.underlay, others)
        return Here(names[0], plain, Site(ipv6=kernel_has_ipv6()), left_out, str(error))


def _listed(underlay: Underlay, directory: str) -> tuple[str, list[tuple[str, str]]]:
    """The list's path, and its lines: names and addresses. Raises KernelError for a line of another form."""
    names = (underlay.addresses,) if underlay.addresses else LISTS
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
    underlay: Underlay, path: str, known: Iterable[tuple[str, str]], own: set[str], directory: str
) -> Site:
    """Where this node stands. The list may have this node under several addresses only as a peer."""
    offline = set((read_file(f"{directory}/{OFFLINE}") or "").split())
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


def _mtu(site: Site, links: Sequence[dict[str, Any]]) -> int:
    """The MTU of the device with the node's address there. If that is on lo, as with a routed underlay, that
    of the devices that lead to the other nodes; 0 if there is no way to any.
    """
    by_name = {link["ifname"]: link["mtu"] for link in links}
    own = {found.get("local"): link for link in links for found in link["addr_info"]}
    device = own.get(site.address, {})
    if "LOOPBACK" not in device.get("flags", ()) and not device.get("ifname", "").startswith("dummy"):
        return int(device.get("mtu", 0))
    ways = (route for other in site.others[:ASKED] for route in _ways(other))
    return min((int(by_name[way]) for way in ways if by_name.get(way)), default=0)


def _ways(address: str) -> Iterator[str]:
    """The device that leads to an address; none if it cannot be reached now."""
    try:
        yield from (found["dev"] for found in ip("route", "get", address) if "dev" in found)
    except KernelError:
        return
