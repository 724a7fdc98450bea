"""The kernel's state of one device, as the kinds of Resource compare themselves with it: a few messages, with
1000 NICs as with one, where observe.readback reads everything.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from functools import cached_property
from typing import TYPE_CHECKING, Any

from snf_network.host.kernel import ifindex, ifname
from snf_network.host.netlink import Netlink
from snf_network.model.resources import NeighProxy, Resource
from snf_network.observe.readback import OnDemand, addresses

if TYPE_CHECKING:
    from collections.abc import Iterator


class Glimpse(OnDemand):
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
            found["master"] = ifname(device.master)
        return {self.interface: found}

    @cached_property
    def found(self) -> set[Resource]:
        """Proxy entries on the device: the kernel reports no loss of these, so they have to be asked for."""
        with Netlink() as netlink:
            return set(self._proxies(netlink))

    @cached_property
    def addresses(self) -> set[tuple[str, str]]:
        """Those of the device, if it is there."""
        return addresses("dev", self.interface) if ifindex(self.interface) else set()

    def _proxies(self, netlink: Netlink) -> Iterator[Resource]:
        for family in (AF_INET, AF_INET6):
            yield from (
                NeighProxy(address, self.interface)
                for address in netlink.proxies(ifindex(self.interface), family)
            )
