"""The networks of a node: what /etc/snf-network/networks.yaml says, as plain data that has been checked.

`file.read` makes it. Nothing here is used while a NIC goes up or down.
"""

from __future__ import annotations

from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

VXLAN_PORT = 4789
"""RFC 7348, 5."""


@dataclass(frozen=True)
class Underlay:
    """What all overlays of a node have below them."""

    addresses: str = ""
    """The file of Ganeti's ssconf with the nodes' addresses; empty: secondary ones, else primary ones."""
    peers: tuple[str, ...] = ()
    """Addresses of nodes that are in no such file."""
    port: int = VXLAN_PORT


@dataclass(frozen=True)
class Evpn:
    """Where FRR's BGP finds the other nodes of overlays of engine evpn. One of three ways."""

    number: int
    """The AS."""
    reflectors: tuple[str, ...] = ()
    """Addresses of route reflectors."""
    mesh: bool = False
    """Each node has a session with each other one."""
    unnumbered: tuple[str, ...] = ()
    """Devices with a router at the other end, by RFC 5549."""
    block: bool = False
    """We keep the lines in frr.conf; else its admin does."""


@dataclass(frozen=True)
class Routed:
    """A routing table for routed guests, and its way out."""

    name: str
    table: int
    uplink: str
    gateways: tuple[str, ...] = ()
    iif_rule: bool = True
    """What comes in by the uplink is looked up in the table."""
    forwarding: bool = True
    rp_filter: str = ""
    """Settings of the uplink; empty ones stay as they are."""
    accept_ra: str = ""
    arp_source: str = ""
    """The sender address of the node's ARP requests on the uplink."""


@dataclass(frozen=True)
class Bridge:
    """A bridge over ports of the node."""

    name: str
    bridge: str
    ports: tuple[str, ...] = ()
    mtu: int = 1500


@dataclass(frozen=True)
class Overlay:
    """Bridges that span all nodes: one for each VNI."""

    name: str
    vnis: tuple[int, ...]
    bridge: str
    """The bridge's name; `{vni}` in it stands for the VNI."""
    mtu: int = 1500
    engine: str = "list"
    """Who tells the devices where the other nodes are: list (we do) or evpn (FRR does)."""

    def bridges(self) -> Iterator[tuple[int, str]]:
        """Each VNI, and its bridge."""
        return ((vni, self.bridge.replace("{vni}", str(vni))) for vni in self.vnis)


if TYPE_CHECKING:
    Network: TypeAlias = Routed | Bridge | Overlay


@dataclass(frozen=True)
class Site:
    """Where a node stands among the others."""

    address: str = ""
    """Its own address on the underlay; empty if it needs none."""
    others: tuple[str, ...] = ()
    """Those of all other nodes that are not offline."""
    ipv6: bool = True
    """The node's kernel has IPv6."""


@dataclass(frozen=True)
class Networks:
    """The networks of one node."""

    underlay: Underlay
    networks: tuple[Network, ...]
    evpn: Evpn | None = None
    """Only if an overlay of engine evpn is among them."""

    @property
    def has_overlays(self) -> bool:
        """True if this node needs an address on the underlay."""
        return any(isinstance(network, Overlay) for network in self.networks)
