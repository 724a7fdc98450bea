"""The nodes of this node's overlays: Ganeti's own list, and which of them this node is.

Ganeti keeps ssconf files on all nodes: a line a node, its name and address, the offline ones included. They
are replaced by rename. A node that has left the cluster keeps its old ones.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snf_network.addresses import canonical6, family_of, is_global6, is_ip4, is_name
from snf_network.errors import KernelError, shown
from snf_network.host.kernel import read_file
from snf_network.lean import dataclass
from snf_network.model.networks import Networks, Overlay, Site
from snf_network.observe.facts import kernel_has_ipv6
from snf_network.observe.readback import ip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from snf_network.model.networks import Underlay
    from snf_network.model.networks.file import File

SSCONF = "/var/lib/ganeti"
LISTS = ("ssconf_node_secondary_ips", "ssconf_node_primary_ips")
OFFLINE = "ssconf_offline_nodes"


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
    own = addresses()
    path, known = _listed(file.common.underlay, directory)
    mine = [(name, address) for name, address in known if address in own]
    names = [*(name for name, _ in mine[:1]), os.uname().nodename]
    names += [name.partition(".")[0] for name in names]
    networks = file.of(*names)
    if not networks.has_overlays:
        return Here(names[0], networks, Site(ipv6=kernel_has_ipv6()))
    try:
        site = _site(networks.underlay, path, known, own, directory)
        if networks.evpn and ":" in site.address:
            raise KernelError(f"{path}: {site.address} is of IPv6", "engine evpn needs IPv4 below")
        return Here(names[0], networks, site)
    except KernelError as error:
        others = tuple(one for one in networks.networks if not isinstance(one, Overlay))
        if not others:
            raise
        left_out = tuple(one.name for one in networks.networks if isinstance(one, Overlay))
        plain = Networks(networks.underlay, others)
        return Here(names[0], plain, Site(ipv6=kernel_has_ipv6()), left_out, str(error))


def addresses() -> set[str]:
    """All addresses that the node has, as the kernel writes them."""
    return {found["local"] for link in ip("addr", "show") for found in link["addr_info"] if "local" in found}


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
