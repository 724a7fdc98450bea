"""What others have set up that a guest's packets meet before our rules, or beside them: no record says so,
and no repair mends it.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any

from snf_network.addresses import within
from snf_network.host.kernel import read_file, run
from snf_network.model.resources import Port, Resource, Rule
from snf_network.model.resources.base import PROTOCOL
from snf_network.model.resources.routes import RULE_PRIORITY
from snf_network.observe.readback import base_chains

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from snf_network.host.record import Record

NET = "/proc/sys/net/bridge/bridge-nf-call-"
LEGACY = (
    ("iptables-legacy", "/proc/net/ip_tables_names", "ip"),
    ("ip6tables-legacy", "/proc/net/ip6_tables_names", "ip6"),
)
"""Tools, where the kernel lists the tables that were ever used, and nft's word for the family."""
FIB_RULE_INVERT = 2
FORWARDED = ("prerouting", "forward", "postrouting")
"""Hooks that every packet passes that the node forwards."""


def found(live: Collection[Record], rules: Iterable[Any]) -> Iterator[str]:
    """All of it, in words, for the NICs that are here. Raises KernelError."""
    modes = {mode for record in live for one in record.resources if (mode := _mode(one))}
    if modes:
        yield from rules_before(rules, live)
        yield from closed_chains(base_chains(), modes)
        yield from legacy_chains(modes)


def _mode(resource: Resource) -> str:
    """The mode of the NIC that has such a Resource, if it tells."""
    if isinstance(resource, Port) and resource.bridge:
        return "bridged"
    return "routed" if isinstance(resource, Rule) else ""


def closed_chains(chains: Iterable[dict[str, Any]], modes: Collection[str]) -> Iterator[str]:
    """Base chains of others, as nft -j lists them, that drop what none of their rules accepts.

    `modes` has those of the NICs that are here: routed ones pass the hooks of IP, bridged ones those of the
    bridge, and those of IP where bridge-nf-call-* is 1.
    """
    for chain in chains:
        family, hook = chain["family"], chain.get("hook")
        foreign = chain.get("policy") == "drop" and chain["table"] != "snf_network" and hook in FORWARDED
        if foreign and _met(family, modes):
            yield _words(family, chain["table"], chain["name"])


def legacy_chains(modes: Collection[str]) -> Iterator[str]:
    """The same of iptables-legacy, which nft does not list."""
    for tool, names, family in LEGACY:
        if "filter" in (read_file(names) or "").split() and _met(family, modes):
            _, said = run((tool, "-S", "FORWARD"))
            if "-P FORWARD DROP" in said.splitlines():
                yield _words(f"{tool}:", "filter", "FORWARD")


def _words(*chain: str) -> str:
    return (
        f"chain {' '.join(chain)} has policy drop: guests are cut off, unless it accepts what is theirs "
        "(operators.md, What else runs on the node)"
    )


def _met(family: str, modes: Collection[str]) -> bool:
    """True if the packets of such NICs pass the hooks of a family of tables."""
    if family == "bridge":
        return "bridged" in modes
    if family not in ("ip", "ip6", "inet"):
        return False
    tools = {"ip": ("iptables",), "ip6": ("ip6tables",)}.get(family, ("iptables", "ip6tables"))
    shown = any((read_file(NET + tool) or "0").strip() == "1" for tool in tools)
    return "routed" in modes or ("bridged" in modes and shown)


def rules_before(rules: Iterable[Any], live: Collection[Record]) -> Iterator[str]:
    """Policy rules of others, as pyroute2 reads them, that are asked before ours or at our preference, and
    that a guest's packet may match.
    """
    taps = {record.interface for record in live}
    guests = [dict(record.variables).get("IP", ":") for record in live]
    marks = {int(one.table) for record in live for one in record.resources if isinstance(one, Rule)}
    for rule in rules:
        priority = rule.get_attr("FRA_PRIORITY") or 0
        before = 0 < priority <= RULE_PRIORITY + 1 and rule.get_attr("FRA_PROTOCOL") != PROTOCOL
        if marks and before and _may_match(rule, taps, guests, marks):
            family = {AF_INET: "IPv4", AF_INET6: "IPv6"}[rule["family"]]
            yield (
                f"{family} rule {priority} of somebody else is asked before ours ({RULE_PRIORITY}): what it "
                f"matches is not looked up in the guest's table (ip rule show pref {priority})"
            )


def _may_match(rule: Any, taps: Collection[str], guests: Iterable[str], marks: Iterable[int]) -> bool:
    """Judged by device, mark and source; by the latter for IPv4, as a guest has many IPv6 addresses."""
    if rule.get_attr("FRA_L3MDEV"):  # of VRFs, which no tap is in
        return False
    if rule["flags"] & FIB_RULE_INVERT:
        return True
    device, mark, source = (rule.get_attr(f"FRA_{name}") for name in ("IIFNAME", "FWMARK", "SRC"))
    mask = rule.get_attr("FRA_FWMASK") or 0xFFFFFFFF
    if device and device not in taps:
        return False
    if mark and not any(table & mask == mark & mask for table in marks):
        return False
    prefix = f"{source}/{rule['src_len']}"
    return not source or ":" in source or any(within(guest, prefix) for guest in guests if ":" not in guest)
