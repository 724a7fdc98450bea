"""What deciding needs to know of the host. Data only; observe.facts reads it."""

from __future__ import annotations

from snf_network.lean import dataclass


@dataclass(frozen=True)
class Node:
    """The host as one NIC meets it."""

    table: int = 0
    """Number of the routing table LINK names (routed)."""
    uplink: str = ""
    """Device of the table's IPv4 default route; empty where there is none."""
    uplink6: str = ""
    ipv6: bool = True
    """False where the kernel has no IPv6 or the tap has it switched off."""
    ipv6_possible: bool = True
    """False where the kernel was built or booted without IPv6: no repair can bring it."""
    mtu: int = 0
    """MTU of the bridge (bridged)."""
    wan: str = ""
    """Device of the node's own IPv4 default route; read for masq only."""
    vlan_aware: bool = False
    """The bridge filters VLANs; read for VLAN only."""
    vlan_uplinks: tuple[str, ...] = ()
    """Ports of a VLAN-aware bridge that lead off the node; read for VLAN only."""
    vlan_devices: tuple[tuple[str, str], ...] = ()
    """VLANs that never reach the bridge, because a device of their own takes them off one of its uplinks; and
    that device.
    """
    default_pvid: int = 0
    """VLAN that the bridge puts a new port into, 0 for none; read for VLAN only."""
    profiles: tuple[str, ...] = ()
    """Names of the firewall profiles there are; read for a NIC with a profile tag only."""

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What of it a plan depends on, as a record keeps it: not the profiles, which the ruleset looks
        after.
        """
        values = {name: value for name, value in self.__dict__.items() if name != "profiles"}
        return tuple((name, str(value)) for name, value in values.items())
