"""What the kernel has of networks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from snf_network.host import wireguard
from snf_network.model.resources import Element, Port, Resource, Route
from snf_network.model.resources.devices import GROUP
from snf_network.model.resources.hosts import HostAddress, IifEnd
from snf_network.model.resources.tunnel import Seen, Unreachable
from snf_network.model.resources.underlay import Flood, IifRule
from snf_network.observe import readback
from snf_network.observe.readback import OnDemand, members_of, policy_rules, routes, unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable


class View(OnDemand):
    """What the kernel has of networks; each part is read if a Resource asks for it."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.asked = list(resources)

    @cached_property
    def links(self) -> dict[str, dict[str, Any]]:
        """Every device by name, with its options."""
        return {link["ifname"]: link for link in readback.ip("-N", "-d", "link", "show")}

    @cached_property
    def grouped(self) -> set[str]:
        """The devices in our group."""
        return {name for name, link in self.links.items() if str(link.get("group")) == str(GROUP)}

    @cached_property
    def own_addresses(self) -> list[HostAddress]:
        """Every address of the node."""
        return list(HostAddress.listed(readback.ip("-N", "addr", "show")))

    @cached_property
    def entries(self) -> list[dict[str, Any]]:
        """The forwarding entries of our VXLAN devices."""
        ours = {name for name, link in self.links.items() if _is_ours(link, "vxlan")}
        return [one for one in readback.bridge("fdb", "show") if one["ifname"] in ours] if ours else []

    @cached_property
    def tunnels(self) -> dict[str, Seen]:
        """Our WireGuard devices."""
        return {
            name: wireguard.read(name) for name, link in self.links.items() if _is_ours(link, "wireguard")
        }

    @cached_property
    def ports(self) -> dict[str, list[str]]:
        """The ports of each bridge."""
        ports: dict[str, list[str]] = {}
        for name, link in self.links.items():
            ports.setdefault(link.get("master", ""), []).append(name)
        return ports

    @cached_property
    def uplinks(self) -> set[str]:
        """The ports that networks put into their bridges."""
        return {one.interface for one in self.asked if isinstance(one, Port) and one.bridge}

    @cached_property
    def places(self) -> dict[str, list[Resource]]:
        """The entries of each device, and the members of each set, in an order."""
        places: dict[str, list[Resource]] = {}
        for one in self.found:
            if isinstance(one, (Flood, Element)):
                places.setdefault(_place(one), []).append(one)
        return {place: sorted(some, key=repr) for place, some in places.items()}

    @cached_property
    def vnis(self) -> dict[tuple[str, str], str]:
        """The device of each VNI and port, whoever made it."""
        infos = ((name, link.get("linkinfo", {})) for name, link in self.links.items())
        said = ((name, info.get("info_data", {})) for name, info in infos if info.get("info_kind") == "vxlan")
        return {(str(data.get("id")), str(data.get("port"))): name for name, data in said}

    @cached_property
    def found(self) -> set[Resource]:
        """Our Resources of the kinds that are asked for."""
        kinds = {type(one) for one in self.asked}
        members = (one for one in self.asked if isinstance(one, Element))
        sets = {(one.family, "map" if one.value else "set", one.set) for one in members}
        found: set[Resource] = {one for words in sets for one in members_of(*words)}
        found |= set(Flood.listed(self.entries))
        if IifRule in kinds:
            said = policy_rules()
            found |= {*IifRule.listed(said), *IifEnd.listed(said)}
        if HostAddress in kinds:
            found |= set(self.own_addresses)
        if Route in kinds:
            found |= set(routes())
        if Unreachable in kinds:
            found |= set(unreachable())
        return found


def _place(resource: Resource) -> str:
    return resource.set if isinstance(resource, Element) else resource.device


def _is_ours(link: dict[str, Any], kind: str) -> bool:
    return str(link.get("group")) == str(GROUP) and link.get("linkinfo", {}).get("info_kind") == kind
