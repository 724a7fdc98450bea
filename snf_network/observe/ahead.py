"""Foreign rules that affect a guest's packets before ours, or besides them: no record lists them, and no
repair changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snf_network.addresses import within
from snf_network.host.kernel import read_file, run
from snf_network.model.resources import Port, Resource, Rule
from snf_network.model.resources.base import PROTOCOL
from snf_network.model.resources.routes import RULE_PRIORITY
from snf_network.observe.readback import base_chains, policy_rules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from snf_network.host.record import Record

NET = "/proc/sys/net/bridge/bridge-nf-call-"
LEGACY = (
    ("iptables-legacy", "/proc/net/ip_tables_names", "ip"),
    ("ip6tables-legacy", "/proc/net/ip6_tables_names", "ip6"),
)
"""Tools, the file where the kernel lists every table ever used, and nft's name of the family."""
ANY = "all"
"""The source of a rule that has none."""
FORWARDED = ("prerouting", "forward", "postrouting")
"""Hooks that every forwarded packet passes."""


def found(live: Collection[Record]) -> Iterator[str]:
    """All such rules that affect the live NICs, in words. Raises KernelError."""
    modes = modes_of(live)
    if modes:
        yield from rules_before(policy_rules(), live)
        yield from closed_chains(base_chains(), modes)
        yield from legacy_chains(modes)


def modes_of(live: Iterable[Record]) -> set[str]:
    """The modes that these NICs are in: routed, bridged or both."""
    found: set[str] = set()
    for record in live:
        found.update(filter(None, map(_mode, record.resources)))
        if len(found) == 2:
            break
    return found


def _mode(resource: Resource) -> str:
    """The mode of a NIC with this Resource; empty if that does not follow from it."""
    if isinstance(resource, Port) and resource.bridge:
        return "bridged"
    return "routed" if isinstance(resource, Rule) else ""


def closed_chains(chains: Iterable[dict[str, Any]], modes: Collection[str]) -> Iterator[str]:
    """Foreign base chains, as nft -j lists them, with policy drop.

    `modes` are those of the live NICs: packets of routed ones pass the IP hooks, those of bridged ones pass
    the bridge hooks, and also the IP hooks if bridge-nf-call-* is 1.
    """
    for chain in chains:
        family, hook = chain["family"], chain.get("hook")
        foreign = chain.get("policy") == "drop" and chain["table"] != "snf_network" and hook in FORWARDED
        if foreign and _met(family, modes):
            yield _words(family, chain["table"], chain["name"])


def legacy_chains(modes: Collection[str]) -> Iterator[str]:
    """The same for iptables-legacy, which nft does not list."""
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
    """True if packets of NICs in these modes pass the hooks of this table family."""
    if family == "bridge":
        return "bridged" in modes
    if family not in ("ip", "ip6", "inet"):
        return False
    tools = {"ip": ("iptables",), "ip6": ("ip6tables",)}.get(family, ("iptables", "ip6tables"))
    shown = any((read_file(NET + tool) or "0").strip() == "1" for tool in tools)
    return "routed" in modes or ("bridged" in modes and shown)


def rules_before(rules: Iterable[dict[str, Any]], live: Collection[Record]) -> Iterator[str]:
    """Foreign policy rules, as readback.policy_rules has them, that come before ours or have our preference,
    and may match a guest's packet.
    """
    taps = {record.interface for record in live}
    guests = [dict(record.variables).get("IP", ":") for record in live]
    marks = {int(one.table) for record in live for one in record.resources if isinstance(one, Rule)}
    for rule in rules:
        priority = rule["priority"]
        before = 0 < priority <= RULE_PRIORITY + 1 and rule.get("protocol") != str(PROTOCOL)
        if marks and before and _may_match(rule, taps, guests, marks):
            family = {"-4": "IPv4", "-6": "IPv6"}[rule["family"]]
            yield (
                f"{family} rule {priority} of somebody else is asked before ours ({RULE_PRIORITY}): what it "
                f"matches is not looked up in the guest's table (ip rule show pref {priority})"
            )


def _may_match(
    rule: dict[str, Any], taps: Collection[str], guests: Iterable[str], marks: Iterable[int]
) -> bool:
    """By device, mark and source; the source only for IPv4, as a guest has many IPv6 addresses."""
    if "l3mdev" in rule:  # applies to VRFs, and no tap is in one
        return False
    if "not" in rule:
        return True
    device, source = rule.get("iif"), rule.get("src", ANY)
    mark, mask = (int(rule.get(name, other), 16) for name, other in (("fwmark", "0"), ("fwmask", "ffffffff")))
    if device and device not in taps:
        return False
    if mark and not any(table & mask == mark & mask for table in marks):
        return False
    prefix = f"{source}/{rule.get('srclen', 32)}"
    return (
        source == ANY or ":" in source or any(within(guest, prefix) for guest in guests if ":" not in guest)
    )
