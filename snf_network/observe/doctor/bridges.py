"""Bridges, and how large a frame may be on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snf_network.host.kernel import read_file
from snf_network.observe.doctor.finding import CRITICAL, WARNING, Finding
from snf_network.observe.doctor.look import Look, several
from snf_network.observe.facts import is_tap

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST = 1280
"""The least MTU of a link with IPv6, in octets (RFC 8200, 5)."""


def missing(look: Look) -> Iterator[Finding]:
    """Bridges that NICs belong to, and that are not here."""
    for name, nics in look.bridges.items():
        if name not in look.ports:
            taps = several([nic.interface for nic in nics])
            what = f"bridge {name} is missing: no network for {taps}"
            yield Finding(CRITICAL, "bridge", what, f"ip link add {name} up type bridge; snf-network repair")


def default_vlan(look: Look) -> Iterator[Finding]:
    """VLAN-aware bridges that put each new port into a VLAN, although their NICs say which are theirs."""
    for name, (bridge, _) in look.ports.items():
        if bridge.vlan_aware and bridge.default_pvid and any(nic.vlan for nic in look.bridges[name]):
            what = (
                f"bridge {name} puts each new port into VLAN {bridge.default_pvid}: one without its own VLAN "
                "meets the node and all others in it"
            )
            mend = (
                f"ip link set {name} type bridge vlan_default_pvid 0  # before: bridge vlan add dev PORT vid "
                f"{bridge.default_pvid} pvid untagged, for each port that needs it"
            )
            yield Finding(WARNING, "default-pvid", what, mend)


def sizes(look: Look) -> Iterator[Finding]:
    """Bridges with another MTU than their ports: a bridge drops what does not fit the port that it leaves by,
    and tells nobody.
    """
    for name, (bridge, ports) in look.ports.items():
        others: dict[int, list[str]] = {}
        for port in ports:
            if not is_tap(port.name) and port.mtu != bridge.mtu:
                others.setdefault(port.mtu, []).append(port.name)
        for mtu, names in others.items():
            lost = "from guests" if mtu < bridge.mtu else "to guests"
            mtus = f"bridge {name} has an MTU of {bridge.mtu}, its port {several(names)} of {mtu}"
            what = f"{mtus}: larger frames {lost} are lost"
            yield Finding(WARNING, "mtu", what, _equal(name, bridge.mtu, names, mtu))
        larger = [port.name for port in ports if is_tap(port.name) and port.mtu > bridge.mtu]
        if larger:
            what = f"bridge {name} has an MTU of {bridge.mtu}, less than {several(larger)}: frames are lost"
            yield Finding(WARNING, "mtu", what, "snf-network repair")


def _equal(bridge: str, its: int, ports: list[str], mtu: int) -> str:
    """Raise the smaller one; repair then gives the taps the MTU of their bridge."""
    if mtu < its:
        return "; ".join(f"ip link set {port} mtu {its}" for port in ports)
    return f"ip link set {bridge} mtu {mtu}; snf-network repair"


def too_small(look: Look) -> Iterator[Finding]:
    """Uplinks of guests with an MTU that IPv6 does not work with."""
    ports = {port.name for _, ports in look.ports.values() for port in ports if not is_tap(port.name)}
    for device in sorted({*look.uplinks.values(), *ports} - {""}):
        mtu = int((read_file(f"/sys/class/net/{device}/mtu") or str(SMALLEST)).strip())
        if mtu < SMALLEST:
            what = f"the MTU of {device} is {mtu}: IPv6 needs {SMALLEST}, and the kernel turns it off there"
            yield Finding(WARNING, "mtu-ipv6", what, f"ip link set {device} mtu 1500")
