"""The node's devices and the default routes of its tables, as a drawing needs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from snf_network.errors import KernelError
from snf_network.lean import dataclass, replace
from snf_network.observe import readback


@dataclass(frozen=True)
class Device:
    """A network device."""

    name: str
    kind: str
    """bridge, vlan, bond, vxlan, tun ...; empty for hardware."""
    up: bool
    """Administratively."""
    carrier: bool
    mtu: int
    master: str
    """The bridge or bond that it is in; may be empty."""
    lower: str
    """The device below, such as that of a VLAN; may be empty."""
    number: str
    """VLAN or VXLAN identifier; may be empty."""
    vlan_aware: bool
    """A bridge that filters VLANs."""
    addresses: tuple[str, ...]
    """The node's own, with prefix length, without link-local ones."""


@dataclass(frozen=True)
class Gateway:
    """A next hop of a default route."""

    address: str
    """Empty for a route to a device."""
    device: str


def devices(openvswitch: bool = False) -> dict[str, Device]:
    """Every device by its name; with `openvswitch`, ports of Open vSwitch are in its bridges. Raises
    KernelError.
    """
    found = {one["ifname"]: device(one) for one in readback.ip("-d", "addr", "show") if "ifname" in one}
    for port in readback.ovs_ports() if openvswitch else ():
        if port.interface in found and port.interface != port.bridge:
            found[port.interface] = replace(found[port.interface], master=port.bridge)
    return found


def device(listed: Mapping[str, Any]) -> Device:
    """From an entry of `ip -j -d addr show`."""
    info = listed.get("linkinfo", {})
    data, flags = info.get("info_data", {}), listed.get("flags", ())
    return Device(
        listed["ifname"],
        info.get("info_kind", ""),
        "UP" in flags,
        "LOWER_UP" in flags,
        int(listed.get("mtu", 0)),
        listed.get("master", ""),
        listed.get("link") or data.get("link") or "",
        str(data.get("id", "")),
        bool(data.get("vlan_filtering")),
        tuple(
            f"{one['local']}/{one['prefixlen']}"
            for one in listed.get("addr_info", ())
            if one.get("scope") != "link" and "local" in one
        ),
    )


def gateways(table: str) -> tuple[Gateway, ...]:
    """The next hops of a routing table's default routes, IPv4 first; none if the table is empty."""
    found: list[Gateway] = []
    for family in ("-4", "-6"):
        try:
            found += next_hops(readback.ip(family, "route", "show", "table", table, "default"))
        except KernelError:  # the kernel has no such table, or no such family
            continue
    return tuple(dict.fromkeys(found))


def next_hops(listed: Iterable[Mapping[str, Any]]) -> list[Gateway]:
    """From `ip -j route show`. An unreachable route has no device, or lo."""
    hops = [hop for route in listed for hop in route.get("nexthops", [route])]
    return [
        Gateway(hop.get("gateway") or hop.get("via", {}).get("host", ""), hop["dev"])
        for hop in hops
        if hop.get("dev", "lo") != "lo"
    ]
