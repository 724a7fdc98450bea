"""One network of the node as it is now, for people: its devices, the other nodes, and which MAC is behind
which. What it should be is its record's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snf_network.host.kernel import read_file
from snf_network.model.networks.keys import LISTS
from snf_network.model.node import overlay_of
from snf_network.model.resources import Port
from snf_network.model.resources.devices import Device
from snf_network.model.resources.hosts import HostAddress
from snf_network.model.resources.underlay import Flood, Learned
from snf_network.observe import readback
from snf_network.observe.nodes import SSCONF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.host.record import Record


def bridges(record: Record) -> list[dict[str, Any]]:
    """The bridges of a network, with what is on them. Raises KernelError."""
    links = {link["ifname"]: link for link in readback.ip("-N", "-d", "link", "show")}
    there = set(HostAddress.listed(readback.ip("-N", "addr", "show")))
    devices = [one.interface for one in record.resources if isinstance(one, Device)]
    ports = {one.interface: one.bridge for one in record.resources if isinstance(one, Port)}
    found = []
    for name in devices:
        if name in ports:
            continue
        mine = [port for port, bridge in ports.items() if bridge == name]
        link = links.get(name, {})
        up = all("UP" in links.get(device, {}).get("flags", ()) for device in (name, *mine))
        addresses = [one for one in record.resources if isinstance(one, HostAddress) and one in there]
        found.append(
            {
                "bridge": name,
                "state": "up" if up else "down",
                "vni": next(filter(None, (_vni(links.get(port, {})) for port in mine)), None),
                "ports": mine,
                "mtu": link.get("mtu", 0),
                "guest_mtu": overlay_of(link.get("ifalias", ""))[1] or link.get("mtu", 0),
                "mac": link.get("address", ""),
                "gateway": [one.prefix for one in addresses if one.interface == name],
            }
        )
    return found


def _vni(link: dict[str, Any]) -> int | None:
    found = link.get("linkinfo", {}).get("info_data", {}).get("id")
    return found if isinstance(found, int) else None


def peers(record: Record, directory: str = SSCONF) -> list[dict[str, Any]]:
    """The other nodes of an overlay, and the MACs that its devices saw behind each. Raises KernelError."""
    mine = {one.interface for one in record.resources if isinstance(one, Device) and one.type == "vxlan"}
    known = dict.fromkeys(one.address for one in record.resources if isinstance(one, Flood))
    if not mine:
        return []
    entries = [entry for entry in readback.bridge("fdb", "show") if entry.get("ifname") in mine]
    macs: dict[str, set[tuple[str, str]]] = {address: set() for address in known}
    for one in Learned.listed(entries):
        macs.setdefault(one.address, set()).add((one.mac, one.interface))
    names = dict(_names(directory))
    return [
        {
            "address": address,
            "node": names.get(address, ""),
            "listed": address in known,
            "macs": [{"mac": mac, "device": device} for mac, device in sorted(seen)],
        }
        for address, seen in macs.items()
    ]


def _names(directory: str) -> Iterator[tuple[str, str]]:
    """The nodes' names by address, as Ganeti's lists have them."""
    for path in reversed(LISTS):
        for line in (read_file(f"{directory}/{path}") or "").splitlines():
            name, _, address = line.strip().partition(" ")
            if address:
                yield address, name
