"""What a plan needs to know about the host. Data only; observe.facts reads it."""

from __future__ import annotations

from snf_network.addresses import is_name
from snf_network.lean import dataclass

OVERLAY = "snf-network overlay "
"""How the alias of an overlay's bridge begins. The network's name follows, then words and their values. A
NIC's plan reads it with the bridge itself, so it costs nothing.
"""
GUEST_MTU = "guest_mtu"
SMALLEST_MTU, LARGEST_MTU = 1280, 65535


@dataclass(frozen=True)
class Node:
    """The host, as far as it matters to one NIC."""

    table: int = 0
    """Number of the routing table that LINK names (routed)."""
    uplink: str = ""
    """Device of the table's IPv4 default route; empty if there is none."""
    uplink6: str = ""
    more_uplinks: tuple[str, ...] = ()
    """The devices of its further next hops, if there are several (ECMP)."""
    more_uplinks6: tuple[str, ...] = ()
    ipv6: bool = True
    """False if the kernel has no IPv6 or IPv6 is disabled on the tap."""
    ipv6_possible: bool = True
    """False if the kernel was built or booted without IPv6: no repair can enable it."""
    mtu: int = 0
    """MTU of the bridge (bridged)."""
    overlay: str = ""
    """The overlay whose bridge LINK is (bridged)."""
    guest_mtu: int = 0
    """What its guests are told as their MTU; 0: nothing else than that of the bridge."""
    wan: str = ""
    """Device of the node's own IPv4 default route; read for masq only."""
    vlan_aware: bool = False
    """The bridge filters VLANs; read for VLAN only."""
    vlan_uplinks: tuple[str, ...] = ()
    """Ports of a VLAN-aware bridge that lead out of the node; read for VLAN only."""
    vlan_devices: tuple[tuple[str, str], ...] = ()
    """VLANs that never reach the bridge because a VLAN device on one of its uplinks takes their frames, each
    with that device.
    """
    default_pvid: int = 0
    """VLAN that the bridge adds a new port to, 0 for none; read for VLAN only."""
    came: str = ""
    """The metric of the NIC's routes: the lower, the later the guest came to this node. Empty: none."""
    profiles: tuple[str, ...] = ()
    """Names of the available firewall profiles; read for a NIC with a profile tag only."""

    def facts(self) -> tuple[tuple[str, str], ...]:
        """The fields that a plan depends on, as a record keeps them: without the profiles, which the ruleset
        keeps track of, and the metric, which the routes have.
        """
        values = {name: value for name, value in self.__dict__.items() if name not in ("profiles", "came")}
        return tuple((name, str(value)) for name, value in values.items())


def overlay_of(alias: str) -> tuple[str, int]:
    """The overlay that the alias of a bridge tells of, and the MTU of its guests; empty and 0 if it tells of
    none. Anybody with the right to configure the bridge may have written it.
    """
    if not alias.startswith(OVERLAY):
        return "", 0
    words = alias[len(OVERLAY) :].split()
    name = words[0] if words and is_name(words[0]) else ""
    said = dict(zip(words[1::2], words[2::2]))
    value = said.get(GUEST_MTU, "")
    valid = value.isascii() and value.isdigit() and len(value) < 6
    return name, int(value) if valid and SMALLEST_MTU <= int(value) <= LARGEST_MTU else 0
