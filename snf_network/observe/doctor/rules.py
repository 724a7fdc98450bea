"""nftables: whether it takes our rules, and who else has rules in a guest's path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from snf_network.model.resources.routes import RULE_PRIORITY
from snf_network.observe import ahead, readback
from snf_network.observe.doctor.finding import CRITICAL, WARNING, Finding
from snf_network.observe.doctor.look import GUESTS, Look, installed, said, setting
from snf_network.rules.ruleset import Ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEN_BY = {"ip": "iptables", "ip6": "ip6tables"}
"""The tool in the name of bridge-nf-call-TOOL, which shows bridged frames to the tables of a family. That of
arptables shows them to a hook that nftables does not have.
"""
OUR_MARKS = -150
"""Priority of the chain that marks a routed guest's packets (mangle)."""


def our_rules(look: Look) -> Iterator[Finding]:
    """Let nft and the kernel check our rules, without loading them: tables bridge, inet and arp, and each
    expression in them.
    """
    if not installed("nft"):
        yield Finding(CRITICAL, "nft", "nft is not installed: no NIC can come up", "apt install nftables")
        return
    closed, told = Ruleset(look.config).refused_profiles()
    for line in closed.values():
        what = f"a firewall profile does not load, and its NICs receive nothing: {line}"
        yield Finding(CRITICAL, "profile", what, "snf-network load  # after its file is put right")
    if told:
        line = told.strip().partition("\n")[0]
        what = f"nft refuses our rules: a NIC that needs them loaded does not come up: {line}"
        yield Finding(
            CRITICAL, "rules", what, "snf-network load  # shows more; nftables 1.0.6 and Linux 6.1 are enough"
        )


def closed_chains(look: Look) -> Iterator[Finding]:
    """Chains of others with policy drop in a guest's path, without a rule that accepts what is a guest's."""
    for chain in look.chains:
        for words in ahead.closed_chains([chain], look.modes):
            if not _lets_guests_pass(chain):
                place = f"{chain['family']} {chain['table']} {chain['name']}"
                back = 'iifname "UPLINK"' if chain["hook"] == "prerouting" else 'oifname "tap*"'
                lines = (f"insert rule {place} {way} accept" for way in ('iifname "tap*"', back))
                yield _closed(words, f"nft '{'; '.join(lines)}'")
    for words in ahead.legacy_chains(look.modes) if installed("iptables-legacy") else ():
        tool = words.split()[1].rstrip(":")
        if "tap" not in said(tool, "-S"):
            yield _closed(words, f"{tool} -I FORWARD -i tap+ -j ACCEPT; {tool} -I FORWARD -o tap+ -j ACCEPT")


def _closed(words: str, mend: str) -> Finding:
    return Finding(WARNING, "policy-drop", words.rpartition(" (")[0], mend)


def _lets_guests_pass(chain: dict[str, Any]) -> bool:
    """True if it has rules of somebody who thought of guests: they accept by a tap's name, in each direction
    that the hook knows, or by physdev.
    """
    rules = [*readback.rules_of(chain["family"], chain["table"])]
    ways = set[str]()
    for rule in _called(rules, chain["name"]):
        if any("accept" in one for one in rule["expr"]):
            ways |= {way for one in rule["expr"] for way in _ways(one)}
    return ways >= ({"iifname"} if chain["hook"] == "prerouting" else {"iifname", "oifname"})


def _ways(expression: dict[str, Any]) -> Iterator[str]:
    """The directions in which an expression matches guests."""
    match = expression.get("match", {})
    left = match.get("left")
    key = left.get("meta", {}).get("key") if isinstance(left, dict) else ""
    if key in ("iifname", "oifname") and any(f'"{guest}' in json.dumps(match["right"]) for guest in GUESTS):
        yield key
    if expression.get("xt", {}).get("name") == "physdev":
        yield from ("iifname", "oifname")


def rules_before(look: Look) -> Iterator[Finding]:
    """Policy rules of others that are asked before ours."""
    for words in ahead.rules_before(look.rules, look.live):
        what, _, hint = words.rpartition(" (")
        mend = f"{hint.rstrip(')')}  # then make it one with a preference over {RULE_PRIORITY + 1}"
        yield Finding(WARNING, "policy-rule", what, mend)


def bridge_netfilter(look: Look) -> Iterator[Finding]:
    """br_netfilter shows bridged frames to tables that know nothing of them. Where there are no such tables,
    nobody is hurt.
    """
    if "bridged" not in look.modes:
        return
    for family, tool in SEEN_BY.items():
        key = f"net/bridge/bridge-nf-call-{tool}"
        chains = [chain for chain in look.chains if _judges(chain, family)] if setting(key) == "1" else []
        if chains:
            words = f"{family} {chains[0]['table']} {chains[0]['name']}"
            what = (
                f"bridged guests' frames pass {tool}, too (br_netfilter), where chain {words} may drop them"
            )
            yield Finding(WARNING, "br-netfilter", what, f"sysctl -w {key.replace('/', '.')}=0")


def _judges(chain: dict[str, Any], family: str) -> bool:
    """True for a foreign filter in the path; those with policy drop are reported by closed_chains."""
    foreign = chain["table"] != "snf_network" and chain.get("policy") != "drop"
    return foreign and (chain["family"], chain.get("hook"), chain.get("type")) == (
        family,
        "forward",
        "filter",
    )


def marks(look: Look) -> Iterator[Finding]:
    """Chains of others at the hook of our mark, after or beside it, that set another: the mark of a packet is
    the number of its routing table.
    """
    if "routed" not in look.modes:
        return
    taps = {record.interface for record in look.live}
    for chain in look.chains:
        if chain["family"] in ("ip", "ip6", "inet") and _is_beside_our_mark(chain):
            rules = [*readback.rules_of(chain["family"], chain["table"])]
            if any(_sets_mark(rule, taps) for rule in _called(rules, chain["name"])):
                place = f"{chain['family']} {chain['table']} {chain['name']}"
                what = (
                    f"chain {place} (priority {chain['prio']}) sets packet marks after ours ({OUR_MARKS}): "
                    "a routed guest's packets are looked up in another table"
                )
                yield Finding(WARNING, "mark", what, f"nft 'insert rule {place} iifname \"tap*\" return'")


def _is_beside_our_mark(chain: dict[str, Any]) -> bool:
    foreign = chain["table"] != "snf_network" and chain.get("hook") == "prerouting"
    return foreign and int(chain["prio"]) >= OUR_MARKS


def _called(rules: list[dict[str, Any]], chain: str) -> Iterator[dict[str, Any]]:
    """The rules of a chain, and of those that it jumps to."""
    seen, todo = set[str](), [chain]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            for rule in (rule for rule in rules if rule["chain"] == name):
                yield rule
                todo += [verdict["target"] for one in rule["expr"] for verdict in _jumps(one)]


def _jumps(expression: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (expression[verb] for verb in ("jump", "goto") if isinstance(expression.get(verb), dict))


def _sets_mark(rule: dict[str, Any], taps: set[str]) -> bool:
    """True if a rule sets the mark of a packet that may come from a guest, by nft's own statement or a target
    of iptables.
    """
    for one in rule["expr"]:
        match = one.get("match", {})
        device = match.get("left") in ({"meta": {"key": "iifname"}}, {"meta": {"key": "iif"}})
        if device and match["op"] == "==" and isinstance(match["right"], str):
            name = match["right"]
            if name not in taps and not name.endswith("*"):
                return False
        if one.get("mangle", {}).get("key") == {"meta": {"key": "mark"}}:
            return True
        if one.get("xt", {}).get("name") in ("MARK", "CONNMARK"):
            return True
    return False
