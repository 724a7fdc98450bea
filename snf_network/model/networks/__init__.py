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
WIREGUARD_PORT = 51820
WIREGUARD_KEY = "/etc/snf-network/wireguard.key"
"""Where a node's private key is, unless networks.yaml says otherwise."""
KEEPALIVE = 10
"""Seconds after which a node that has nothing to say shows the others where it is: they follow it to another
address that late at the most.
"""


@dataclass(frozen=True)
class Underlay:
    """What all overlays of a node have below them."""

    addresses: str = ""
    """The file of Ganeti's ssconf with the nodes' addresses; empty: secondary ones, else primary ones. Or the
    network of kind wireguard whose inner addresses they are.
    """
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
    families: tuple[str, ...] = ("-4", "-6")
    """As in ip(8): a stanza of ifupdown is for one of them."""
    routes: tuple[str, ...] = ()
    """Prefixes on the uplink's link, for guests and for the node itself."""
    proxies: bool = False
    """The node answers on the uplink for all addresses that it has routes to."""


@dataclass(frozen=True)
class Bridge:
    """A bridge over ports of the node."""

    name: str
    bridge: str
    ports: tuple[str, ...] = ()
    mtu: int = 1500
    vlan_aware: bool | None = None
    """It filters VLANs; None: as somebody has set it."""
    vlans: tuple[int, ...] = ()
    """Those that its ports are in, tagged, whether or not a guest is."""


@dataclass(frozen=True)
class Dhcp:
    """What a DHCP server other than nfdhcpd tells the guests of a network, besides their addresses."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    lease: int = 3600
    """Seconds."""
    next_server: str = ""
    """Where a guest that boots by network finds its file."""
    filename: str = ""
    uefi_filename: str = ""
    """The same for one whose firmware is UEFI, x86-64."""


@dataclass(frozen=True)
class Overlay:
    """Bridges that span all nodes: one for each VNI."""

    name: str
    vnis: tuple[int, ...]
    bridge: str
    """The bridge's name; `{vni}` in it stands for the VNI."""
    mtu: int = 1500
    guest_mtu: int = 0
    """What guests are told; 0: as much as passes the underlay in one packet, and at most `mtu`."""

    gateway: tuple[str, ...] = ()
    """Addresses with prefix lengths that every node has on the bridge; empty: the node is not in it."""
    dhcp: Dhcp = Dhcp()
    table: int = 0
    """Where what the guests send to the gateway is looked up; 0: where the node's own packets are."""
    engine: str = "list"
    """Who tells the devices where the other nodes are: list (we do) or evpn (FRR does)."""

    def bridges(self) -> Iterator[tuple[int, str]]:
        """Each VNI, and its bridge."""
        return ((vni, self.bridge.replace("{vni}", str(vni))) for vni in self.vnis)


@dataclass(frozen=True)
class Member:
    """A node of a tunnel."""

    name: str
    address: str
    """Its inner address."""
    public: str
    """Its public key, in base64."""
    endpoint: str = ""
    """Where it can be reached, as 192.0.2.1:51820 or [2001:db8::1]:51820; empty: it has to speak first."""


@dataclass(frozen=True)
class WireGuard:
    """A device whose packets to the other nodes are encrypted."""

    name: str
    device: str
    nodes: tuple[Member, ...]
    port: int = WIREGUARD_PORT
    key: str = WIREGUARD_KEY
    """The file with this node's private key."""
    keepalive: int = KEEPALIVE
    mtu: int = 0
    """0: as the way to the other nodes allows, which `observe.nodes` finds out."""
    me: str = ""
    """The member that is this node; `observe.nodes` finds it out."""


if TYPE_CHECKING:
    Network: TypeAlias = Routed | Bridge | Overlay | WireGuard


@dataclass(frozen=True)
class Site:
    """Where a node stands among the others."""

    address: str = ""
    """Its own address on the underlay; empty if it needs none."""
    others: tuple[str, ...] = ()
    """Those of all other nodes that are not offline."""
    ipv6: bool = True
    """The node's kernel has IPv6."""
    tunnel: str = ""
    """The only device that packets of the underlay come in by; empty: any."""
    mtu: int = 0
    """The MTU of the device that leads to the others; 0: not known."""


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
