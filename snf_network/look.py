"""Read the kernel back as the same Resources that were put there. Slow and thorough: never on the up/down path.

Ours are: every member of the tables snf_network, every rule, route, neighbour and proxy entry with proto 148, and the bindings.
"""

from __future__ import annotations

import json
from pathlib import Path

from pyroute2 import IPRoute

from snf_network.kernel import run
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
    Sysctl,
)
from snf_network.switches import BridgeOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

FAMILIES = {2: "-4", 10: "-6"}
LENGTHS = {"ndmacs": 12, "targets": 32, "tgtnets": 32, "router_targets": 32}
"""Hexadecimal digits of the numbers that nft lists for raw payload."""
COUNTERS = "drops"


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
            return _content(Path("/proc/sys", resource.key)).strip() == resource.value
        if isinstance(resource, Binding):
            return _content(Path(resource.path)) == resource.content
        if isinstance(resource, BridgeOption):
            return _content(Path("/sys/class/net", resource.bridge, "bridge", resource.option)).strip() == resource.value
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
                mark = str(rule.get_attr("FRA_FWMARK"))
                if rule.get_attr("FRA_PROTOCOL") == PROTOCOL:
                    yield Rule(flag, mark, "lookup" if rule.get_attr("FRA_PRIORITY") == RULE_PRIORITY else "unreachable")

    def _routes(self, route: IPRoute) -> Iterator[Resource]:
        for family in FAMILIES:
            for found in route.get_routes(family=family):
                if found["proto"] == PROTOCOL:
                    prefix = f"{found.get_attr('RTA_DST')}/{found['dst_len']}"
                    yield Route(prefix, self.names.get(found.get_attr("RTA_OIF"), ""), str(found.get_attr("RTA_TABLE")),
                                found.get_attr("RTA_GATEWAY") or "")


def as_listed(resource: Resource) -> Resource:
    """A Resource as the kernel would list it: kinds that differ only for us are one kind to it."""
    return Element(*resource.fields()) if isinstance(resource, Element) else resource


def neighbours() -> Iterator[Resource]:
    """Permanent and proxy entries of ours; pyroute2 0.7 gives neither the protocol of the one nor the other (docs/design.md)."""
    for family in FAMILIES.values():
        for kind in (("nud", "permanent"), ("proxy",)):
            for entry in _json("ip", family, "-j", "neigh", "show", *kind):
                if str(entry.get("protocol")) == str(PROTOCOL):
                    proxy = kind == ("proxy",)
                    yield NeighProxy(entry["dst"], entry["dev"]) if proxy else Neighbour(entry["dst"], entry["lladdr"], entry["dev"])


def members() -> Iterator[Resource]:
    """Members of our sets and maps, except the counters of drops."""
    for family in ("bridge", "inet", "arp"):
        for entry in _json("nft", "-j", "list", "table", family, "snf_network").get("nftables", ()):
            kind = entry.get("set") or entry.get("map")
            if kind and kind["name"] != COUNTERS:
                for member in kind.get("elem", ()):
                    yield _member(family, kind["name"], member)


def _member(family: str, name: str, member: Any) -> Element:
    key, value = member if isinstance(member, list) else (member, "")
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    words = [_word(part, name) for part in parts]
    if not name.startswith("masq"):
        words[0] = f'"{words[0]}"'
    elif len(words) > 1:
        words[1] = f'"{words[1]}"'
    return Element(family, name, " . ".join(words), f"goto {value['goto']['target']}" if isinstance(value, dict) else str(value))


def _word(part: Any, name: str) -> str:
    if isinstance(part, dict) and "range" in part:  # how a prefix of raw payload is listed
        low, high = (int(str(end), 0) for end in part["range"])
        return f"0x{low:0{LENGTHS[name]}x}/{LENGTHS[name] * 4 - (low ^ high).bit_length()}"
    if isinstance(part, dict):
        prefix = part["prefix"]
        return f"{prefix['addr']}/{prefix['len']}"
    if name in LENGTHS and (isinstance(part, int) or part.startswith("0x")):
        return f"0x{int(str(part), 0):0{LENGTHS[name]}x}"
    return str(part)


def drops() -> dict[tuple[str, str], tuple[int, int]]:
    """What was dropped, by interface and reason: frames and octets. An interface that is gone is a number."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for family in ("bridge", "inet", "arp"):
        for entry in _json("nft", "-j", "list", "set", family, "snf_network", COUNTERS).get("nftables", ()):
            for member in entry.get("set", {}).get("elem", ()):
                interface, reason = map(str, member["elem"]["val"]["concat"])
                counter, (frames, octets) = member["elem"]["counter"], found.get((interface, reason), (0, 0))
                found[interface, reason] = frames + counter["packets"], octets + counter["bytes"]
    return found


def bindings(directory: str) -> Iterator[Binding]:
    """Binding files in NFDHCPD_STATE_DIR."""
    for path in sorted(Path(directory).glob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield Binding(str(path), _content(path))


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _json(*argv: str) -> Any:
    """What a tool says in JSON; nothing if it fails, as nft does for a table that is not there."""
    status, said = run(argv)
    return json.loads(said or "{}") if not status else {}


def owned(resources: Iterable[Resource]) -> set[Resource]:
    """What of `resources` the kernel can be searched for: the rest cannot be left over."""
    return {as_listed(resource) for resource in resources}
