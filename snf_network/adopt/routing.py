"""The old policy rules by tap, routes, proxy entries and addresses of taps, and what removes them."""

from __future__ import annotations

import json
from typing import Any

from snf_network.adopt import Line, Unknown
from snf_network.host.kernel import ask, read_file
from snf_network.lean import dataclass
from snf_network.model.resources import PROTOCOL, NeighProxy, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.adopt import Mine
    from snf_network.model.nic import Nic

FAMILIES = ("-4", "-6")
RULE = {"priority", "src", "iif", "iif_detached", "table", "protocol"}
"""What `ip -j rule` tells of a rule that matches nothing but an incoming device."""
OURS, KERNELS = str(PROTOCOL), ("kernel", "2")


@dataclass(frozen=True)
class Routing:
    """What the kernel has, as ip -j lists it: pairs of address family and entry."""

    rules: tuple[tuple[str, dict[str, Any]], ...]
    routes: tuple[tuple[str, dict[str, Any]], ...]
    proxies: tuple[tuple[str, dict[str, Any]], ...]
    addresses: tuple[tuple[str, dict[str, Any]], ...] = ()


def read() -> Routing:
    """What is there now, without what is ours. Raises KernelError."""
    return Routing(
        tuple(_listed("rule", "show")),
        tuple(_listed("route", "show", "table", "all")),
        tuple(_listed("neigh", "show", "proxy")),
        tuple(_listed("address", "show", "scope", "link")),
    )


def _listed(*words: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Entries by address family; numbers for the names in /etc/iproute2."""
    for family in FAMILIES:
        for entry in json.loads(ask(("ip", "-N", family, "-j", *words)) or "[]"):
            yield family, entry


def rules_of_taps(routing: Routing, mine: Mine) -> Iterator[Line]:
    """The rules that look up in a table what comes from a tap."""
    for family, rule in routing.rules:
        tap = rule.get("iif", "")
        bare = rule.keys() <= RULE and rule.get("src") == "all" and "table" in rule
        if bare and rule.get("protocol") != OURS and mine(tap):
            words = ("pref", str(rule["priority"]), "iif", tap, "lookup", str(rule["table"]))
            yield Line(tap, ("ip", family, "rule", "del", *words))


def routes_of(routing: Routing, nic: Nic) -> Iterator[Line | Unknown]:
    """The routes to the addresses of a NIC by its tap; those to others are left."""
    for family, route in routing.routes:
        if route.get("dev") != nic.interface or route.get("protocol") in (OURS, *KERNELS):
            continue
        if route.get("type", "unicast") not in ("unicast", "1"):
            continue
        address, table = route["dst"], str(route.get("table", "254"))
        words = (address, "dev", nic.interface, "table", table)
        if "via" in route or "gateway" in route or address not in (nic.ip, nic.ip6):
            yield Unknown(nic.interface, " ".join(("ip", family, "route add", *words)))
            continue
        slot = Route(f"{address}/{'128' if ':' in address else '32'}", nic.interface, table).slot
        yield Line(nic.interface, ("ip", family, "route", "del", *words), slot)


def proxies_of(routing: Routing, nic: Nic) -> Iterator[Line]:
    """The entries with which the node answers for the NIC's IPv6 address."""
    for family, entry in routing.proxies:
        if entry["dst"] == nic.ip6 and str(entry.get("protocol")) != OURS:
            words = ("neigh", "del", "proxy", entry["dst"], "dev", entry["dev"])
            yield Line(nic.interface, ("ip", family, *words), NeighProxy(nic.ip6, entry["dev"]).slot)


def leads_to(routing: Routing, address: str, interface: str) -> bool:
    """True if a route to exactly this address leads to the interface."""
    return any(route.get("dev") == interface and route["dst"] == address for _, route in routing.routes)


def addresses_of(routing: Routing, nic: Nic) -> Iterator[Line]:
    """The link-local addresses that the tap of a bridged NIC has, as it was up before it was in its bridge:
    what the node sends from them passes no hook of the bridge.
    """
    for family, link in routing.addresses if nic.mode == "bridged" else ():
        if family == "-6" and link.get("ifname") == nic.interface:
            for told in link["addr_info"]:
                address = f"{told['local']}/{told['prefixlen']}"
                yield Line(nic.interface, ("ip", family, "address", "del", address, "dev", nic.interface))


def first_of(nic: Nic) -> Iterator[Line]:
    """What must be run before the tap gets another MAC address. A bridge that has the tap's would then take
    that of another port, and guests that know the node by it would lose the node. Once set, it stays.
    """
    if nic.mode == "bridged":
        bridge, tap = (read_file(f"/sys/class/net/{name}/address") for name in (nic.link, nic.interface))
        if bridge and bridge == tap:
            words = ("link", "set", "dev", nic.link, "address", bridge.strip())
            yield Line(nic.interface, ("ip", *words))
