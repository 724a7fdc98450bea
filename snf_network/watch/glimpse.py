"""The kernel's state of one device, as the kinds of Resource compare themselves with it: a few messages, with
1000 NICs as with one, where observe.readback reads everything.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, if_indextoname
from functools import cached_property
from typing import TYPE_CHECKING, Any

from snf_network.host.kernel import read_file
from snf_network.host.netlink import Netlink
from snf_network.model.resources import NeighProxy, Resource
from snf_network.observe.readback import ovs_ports, port_vlans

if TYPE_CHECKING:
    from collections.abc import Iterator


class Glimpse:
    """One device, its proxy entries and VLANs, and files. Of other devices it knows nothing."""

    def __init__(self, interface: str) -> None:
        self.interface = interface

    @cached_property
    def links(self) -> dict[str, dict[str, Any]]:
        """The device, in the words of `ip -j link`."""
        with Netlink() as netlink:
            device = netlink.device(self.interface)
        if not device:
            return {}
        found: dict[str, Any] = {"mtu": device.mtu, "address": device.mac, "flags": ["UP"] * device.up}
        if device.alias:
            found["ifalias"] = device.alias
        if device.master:
            found["master"] = _name(device.master)
        return {self.interface: found}

    @cached_property
    def found(self) -> set[Resource]:
        """Proxy entries on the device: the kernel reports no loss of these, so they have to be asked for."""
        with Netlink() as netlink:
            return set(self._proxies(netlink))

    def _proxies(self, netlink: Netlink) -> Iterator[Resource]:
        for family in (AF_INET, AF_INET6):
            yield from (
                NeighProxy(address, self.interface) for address in netlink.proxies(self.interface, family)
            )

    @cached_property
    def vlans(self) -> dict[tuple[str, int], set[str]]:
        """Ports and VLANs that they are in, and how. Asked only where a NIC has a VLAN."""
        return port_vlans()

    @cached_property
    def ovs_ports(self) -> set[Resource]:
        """Every port of Open vSwitch. Asked only where a NIC is one."""
        return set(ovs_ports())

    def content(self, path: str) -> str | None:
        """What a file holds; None if it cannot be read."""
        return read_file(path)


def _name(device: int) -> str:
    try:
        return if_indextoname(device)
    except OSError:
        return ""
