"""What may not be touched, and so keeps a network from coming up or going: devices, ports, addresses and
routes of others, and guests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snf_network.model.resources import Port, Resource, Route
from snf_network.model.resources.devices import GROUP, Device, pairs
from snf_network.model.resources.frr import FrrBlock
from snf_network.model.resources.hosts import HostAddress
from snf_network.model.resources.routes import MAIN
from snf_network.model.resources.tunnel import TunnelKey
from snf_network.observe import readback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snf_network.observe.held import View

NO_FRR = "is not there, or is no regular file (apt install frr)"
HINT = "give the network another name or bridge, or remove what is there"


def obstacles(name: str, wanted: Iterable[Resource], ours: set[str], view: View) -> Iterator[str]:
    """Why a network cannot come up without touching what is another's."""
    routes: dict[tuple[str, str], Route] = {}
    for one in wanted:
        if isinstance(one, Device):
            yield from _device(name, one, ours, view)
        elif isinstance(one, HostAddress):
            yield from _elsewhere(one, view)
        elif isinstance(one, (FrrBlock, TunnelKey)):
            yield from _file(one, view)
        elif isinstance(one, Port) and one.interface in view.links:
            master = view.links[one.interface].get("master", one.bridge)
            if master != one.bridge:
                yield f"{one.interface} is in {master} already (take it out there, or from the file)"
        elif isinstance(one, Route) and one not in view.found:
            routes[one.prefix, one.table] = one
    for route in routes.values():
        yield from _route(route)


def _file(one: FrrBlock | TunnelKey, view: View) -> Iterator[str]:
    if isinstance(one, FrrBlock):
        text = view.content(one.path)
        yield from filter(None, [f"{one.path} {NO_FRR}" if text is None else one.trouble(text)])
    elif one.interface not in view.links and view.content(one.path) is None:
        yield f"{one.path} is not there (snf-network net key makes it)"


def _device(name: str, device: Device, ours: set[str], view: View) -> Iterator[str]:
    wrong = device.obstacle(view)
    if device.interface in view.links and device.interface not in ours:
        yield f"{device.interface} is there, and not ours ({HINT})"
    elif wrong:
        yield f"{device.interface} {wrong}, which cannot be changed (snf-network net down {name}, then up)"
    elif device.type == "vxlan" and device.interface not in view.links:
        options = dict(pairs(device.fixed))
        other = view.vnis.get((options["id"], options["dstport"]))
        if other:
            yield f"{other} has VNI {options['id']} already, and is not ours ({HINT})"


def _elsewhere(address: HostAddress, view: View) -> Iterator[str]:
    plain = address.prefix.partition("/")[0]
    for one in view.own_addresses:
        if one.interface != address.interface and one.prefix.partition("/")[0] == plain:
            yield f"{one.interface} has {plain} (take it from there, or from networks.yaml)"


def foreign_routes(route: Route) -> list[str]:
    """The devices of routes to the same prefix, in the same table, that are not ours. Raises KernelError."""
    family = "-6" if ":" in route.prefix else "-4"
    listed = readback.ip("-N", family, "route", "show", "table", "all", "exact", route.prefix)
    return [
        found.get("dev", "no device")
        for found in listed
        if str(found.get("protocol")) != str(GROUP)
        and found.get("type", "unicast") == "unicast"
        and str(found.get("table", MAIN)) == route.table
    ]


def _route(route: Route) -> Iterator[str]:
    default = route.prefix in ("0.0.0.0/0", "::/0")
    what = "a default route" if default else f"a route to {route.prefix}"
    mine = "gateways from networks.yaml" if default else "the prefix from what asks for it"
    for device in foreign_routes(route):
        yield (
            f"table {route.table} has {what} by {device} that is not ours"
            f" (take it from the node's own files and delete it, or {mine})"
        )


def guests(resources: Iterable[Resource], view: View) -> Iterator[str]:
    """Ports of a network's bridges that it did not put there: guests."""
    ports = {one.interface for one in resources if isinstance(one, Port)}
    bridges = {one.interface for one in resources if isinstance(one, Device) and one.type == "bridge"}
    for bridge in sorted(bridges & view.links.keys()):
        there = [name for name in view.ports.get(bridge, ()) if name not in ports]
        if there:
            more = f" and {len(there) - 3} more" if len(there) > 3 else ""
            yield f"{bridge} has {', '.join(there[:3])}{more} (move or stop these guests first)"
