"""Read the kernel back as the same Resources that were put there. Slow and thorough: never on the up/down
path.

Ours are: every member of the tables snf_network, every rule, route, neighbour and proxy entry with proto 148,
and the bindings.
"""

from __future__ import annotations

import json
import os
from functools import cached_property

from pyroute2 import IPRoute

from snf_network.errors import KernelError
from snf_network.host.kernel import read_file, run
from snf_network.model.resources import (
    PROTOCOL,
    RULE_PRIORITY,
    Binding,
    BridgeOption,
    BridgeVlan,
    Element,
    Link,
    Neighbour,
    NeighProxy,
    OvsPort,
    Port,
    Resource,
    Route,
    Rule,
    SharedElement,
    Sysctl,
)
from snf_network.observe.members import listed, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FAMILIES = {2: "-4", 10: "-6"}
ANYWHERE = {2: "0.0.0.0", 10: "::"}
ACTIONS = {RULE_PRIORITY: "lookup", RULE_PRIORITY + 1: "unreachable"}


class Kernel:
    """One look at everything of ours."""

    def __init__(self) -> None:
        self.links = {link["ifname"]: link for link in listed("ip", "-j", "link", "show")}
        self.names = {link["ifindex"]: name for name, link in self.links.items()}
        with IPRoute() as route:
            self.found: set[Resource] = {*self._rules(route), *self._routes(route)}
        self.found |= {*neighbours(), *members()}

    def has(self, resource: Resource) -> bool:
        """True if it is in place, as it was recorded."""
        if isinstance(resource, (Link, Port)):
            return self._link(resource)
        if isinstance(resource, Sysctl):
            return _says(f"/proc/sys/{resource.key}", resource.value)
        if isinstance(resource, Binding):
            return read_file(resource.path) == resource.content
        if isinstance(resource, BridgeOption):
            return _says(f"/sys/class/net/{resource.bridge}/bridge/{resource.option}", resource.value)
        if isinstance(resource, BridgeVlan):
            return self._vlan(resource)
        if isinstance(resource, OvsPort):
            return resource in self._ovs_ports
        return as_listed(resource) in self.found

    def _link(self, resource: Link | Port) -> bool:
        link = self.links.get(resource.interface)
        if link is None:
            return False
        if isinstance(resource, Port):
            return bool(link.get("master", "") == resource.bridge)
        mac = resource.mac in ("", link.get("address"))
        return "UP" in link["flags"] and mac and resource.mtu in ("", str(link["mtu"]))

    def _vlan(self, resource: BridgeVlan) -> bool:
        flags = self._vlans.get((resource.interface, int(resource.vid)))
        if resource.flags in ("absent", "uplink"):
            return (flags is None) is (resource.flags == "absent")
        return flags == ({"PVID", "Egress Untagged"} if resource.flags else set())

    @cached_property
    def _vlans(self) -> dict[tuple[str, int], set[str]]:
        """Ports and VLANs that they are in, and how. Asked only where a NIC has a VLAN."""
        return {
            (port["ifname"], vlan["vlan"]): set(vlan.get("flags", ()))
            for port in listed("bridge", "-j", "vlan", "show")
            for vlan in port["vlans"]
        }

    @cached_property
    def _ovs_ports(self) -> set[OvsPort]:
        return set(ovs_ports())

    def _rules(self, route: IPRoute) -> Iterator[Resource]:
        for family, flag in FAMILIES.items():
            for rule in route.get_rules(family=family):
                action = ACTIONS.get(rule.get_attr("FRA_PRIORITY"))
                if rule.get_attr("FRA_PROTOCOL") == PROTOCOL and action and rule.get_attr("FRA_FWMARK"):
                    yield Rule(flag, str(rule.get_attr("FRA_FWMARK")), action)

    def _routes(self, route: IPRoute) -> Iterator[Resource]:
        for family in FAMILIES:
            for found in route.get_routes(family=family):
                if found["proto"] == PROTOCOL:
                    prefix = f"{found.get_attr('RTA_DST') or ANYWHERE[family]}/{found['dst_len']}"
                    yield Route(
                        prefix,
                        self.names.get(found.get_attr("RTA_OIF"), ""),
                        str(found.get_attr("RTA_TABLE")),
                        found.get_attr("RTA_GATEWAY") or "",
                    )


def as_listed(resource: Resource) -> Resource:
    """A Resource as the kernel would list it: kinds that differ only for us are one kind to it."""
    return Element(*resource.fields()) if isinstance(resource, SharedElement) else resource


def neighbours() -> Iterator[Resource]:
    """Permanent and proxy entries of ours, by ip(8): pyroute2 0.7 does not tell the protocol of an entry."""
    for family in FAMILIES.values():
        for kind in (("nud", "permanent"), ("proxy",)):
            for entry in listed("ip", family, "-j", "neigh", "show", *kind):
                if str(entry.get("protocol")) == str(PROTOCOL):
                    proxy = kind == ("proxy",)
                    yield (
                        NeighProxy(entry["dst"], entry["dev"])
                        if proxy
                        else Neighbour(entry["dst"], entry["lladdr"], entry["dev"])
                    )


def ovs_ports() -> Iterator[OvsPort]:
    """Every port of Open vSwitch, with its VLANs; none where it is not installed or does not answer."""
    columns = (
        ("--columns=name,ports", "list", "Bridge"),
        ("--columns=_uuid,name,tag,trunks", "list", "Port"),
    )
    try:
        status, said = run(
            ("ovs-vsctl", "--timeout=3", "--format=json", "--", *columns[0], "--", *columns[1])
        )
    except KernelError:
        return
    if not status:
        bridges, ports = (json.loads(line)["data"] for line in said.splitlines())
        bridge_of = {uuid: name for name, members in bridges for uuid in _set(members)}
        for uuid, name, tag, trunks in ports:
            yield OvsPort(
                name,
                bridge_of.get(uuid[1], ""),
                *(",".join(map(str, sorted(_set(value)))) for value in (tag, trunks)),
            )


def _set(value: Any) -> list[Any]:
    """The members of a column, written as RFC 7047, 5.1 has it: a set of one is that one, and a UUID is a
    pair.
    """
    members = value[1] if isinstance(value, list) and value[0] == "set" else [value]
    return [member[1] if isinstance(member, list) else member for member in members]


def bindings(directory: str) -> Iterator[Binding]:
    """Binding files in NFDHCPD_STATE_DIR: what begins as ours do, and those of the bash package. Another file
    there is nobody's binding.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        content = None if name.startswith(".") else read_file(f"{directory}/{name}")
        if content and content.startswith("INDEV="):
            yield Binding(f"{directory}/{name}", content)


def _says(path: str, value: str) -> bool:
    return (read_file(path) or "").strip() == value
