"""Read the kernel back as the same Resources that were put there. Slow and thorough: never on the up/down path.

Ours are: every member of the tables snf_network, every rule, route, neighbour and proxy entry with proto 148, and the bindings.
"""

from __future__ import annotations

import json
import os

from pyroute2 import IPRoute

from snf_network.kernel import read_file, run
from snf_network.resources import (
    PROTOCOL,
    RULE_PRIORITY,
    Binding,
    Element,
    Link,
    Neighbour,
    NeighProxy,
    Port,
    Resource,
    Route,
    Rule,
    SharedElement,
    Sysctl,
)
from snf_network.switches import BridgeOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

FAMILIES = {2: "-4", 10: "-6"}
ANYWHERE = {2: "0.0.0.0", 10: "::"}
ACTIONS = {RULE_PRIORITY: "lookup", RULE_PRIORITY + 1: "unreachable"}
LENGTHS = {"ndmacs": 12, "targets": 32, "tgtnets": 32, "router_targets": 32}
"""Hexadecimal digits of the numbers that nft lists for raw payload."""
NOT_OURS = ("drops", "underlay")
"""Sets that no NIC has members in: counters, and the tunnel endpoints that an administrator names."""
NAMED = {"masq": 1, "masq_networks": None}
"""Which part of a member is the name of an interface: the first, in all other sets."""


class Kernel:
    """One look at everything of ours."""

    def __init__(self) -> None:
        with IPRoute() as route:
            self.links = {link.get_attr("IFLA_IFNAME"): link for link in route.get_links()}
            self.names = {link["index"]: name for name, link in self.links.items()}
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
        return as_listed(resource) in self.found or resource.door in ("bridge", "ovs")

    def _link(self, resource: Link | Port) -> bool:
        link = self.links.get(resource.interface)
        if link is None:
            return False
        if isinstance(resource, Port):
            return bool(self.names.get(link.get_attr("IFLA_MASTER") or 0, "") == resource.bridge)
        mac = resource.mac in ("", link.get_attr("IFLA_ADDRESS"))
        return bool(link["flags"] & 1) and mac and resource.mtu in ("", str(link.get_attr("IFLA_MTU")))

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
                    yield Route(prefix, self.names.get(found.get_attr("RTA_OIF"), ""), str(found.get_attr("RTA_TABLE")),
                                found.get_attr("RTA_GATEWAY") or "")


def as_listed(resource: Resource) -> Resource:
    """A Resource as the kernel would list it: kinds that differ only for us are one kind to it."""
    return Element(*resource.fields()) if isinstance(resource, SharedElement) else resource


def neighbours() -> Iterator[Resource]:
    """Permanent and proxy entries of ours; pyroute2 0.7 gives neither the protocol of the one nor the other (docs/design.md)."""
    for family in FAMILIES.values():
        for kind in (("nud", "permanent"), ("proxy",)):
            for entry in _json("ip", family, "-j", "neigh", "show", *kind):
                if str(entry.get("protocol")) == str(PROTOCOL):
                    proxy = kind == ("proxy",)
                    yield NeighProxy(entry["dst"], entry["dev"]) if proxy else Neighbour(entry["dst"], entry["lladdr"], entry["dev"])


def members() -> Iterator[Resource]:
    """Members of our sets and maps."""
    for family in ("bridge", "inet", "arp"):
        for entry in _json("nft", "-j", "list", "table", family, "snf_network").get("nftables", ()):
            kind = entry.get("set") or entry.get("map")
            if kind and kind["name"] not in NOT_OURS:
                for member in kind.get("elem", ()):
                    yield _member(family, kind["name"], member)


def _member(family: str, name: str, member: Any) -> Element:
    key, value = member if isinstance(member, list) else (member, "")
    if isinstance(key, dict) and "elem" in key:  # somebody's, with a comment
        key = key["elem"]["val"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    named = NAMED.get(name, 0)
    words = [f'"{part}"' if position == named else _word(part, name) for position, part in enumerate(parts)]
    return Element(family, name, " . ".join(words), _verdict(value) if isinstance(value, dict) else str(value))


def _verdict(value: dict[str, Any]) -> str:
    (verdict, target), = value.items()
    return f"{verdict} {target['target']}" if target else verdict


def _word(part: Any, name: str) -> str:
    if isinstance(part, dict) and "range" in part:
        return "-".join(map(str, part["range"]))
    if isinstance(part, dict):
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    if name in LENGTHS and (isinstance(part, int) or part.startswith("0x")):
        return f"0x{int(str(part), 0):0{LENGTHS[name]}x}"
    return str(part)


def bindings(directory: str) -> Iterator[Binding]:
    """Binding files in NFDHCPD_STATE_DIR: what begins as ours do, and those of the bash package. Another file there is nobody's binding."""
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


def _json(*argv: str) -> Any:
    """What a tool says in JSON; nothing if it fails, as nft does for a table that is not there."""
    status, said = run(argv)
    return json.loads(said or "{}") if not status else {}


def owned(resources: Iterable[Resource]) -> set[Resource]:
    """What of `resources` the kernel can be searched for: the rest cannot be left over."""
    return {as_listed(resource) for resource in resources}
