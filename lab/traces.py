"""What the scripts have put on a machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from snf_network.model.resources.nft import LEARNED
from snf_network.selftest.world import Machine

FILES = (
    "find /var/lib/nfdhcpd /var/lib/snf-network -mindepth 1"
    " | grep -vE '^/var/lib/snf-network/(locks(/.*)?|shared|base)$'"
)
IPV6 = Path("/proc/sys/net/ipv6").exists()


def lines(text: str, *words: str) -> Sequence[str]:
    """The lines of `text` that have all `words`."""
    return [line for line in text.splitlines() if all(word in line for word in words)]


def without_rules(machine: Machine) -> None:
    """Take our tables away, as an admin's `nft flush ruleset` would: what then passes was dropped by them."""
    for family in ("bridge", "inet", "arp", "netdev"):
        machine.run("nft", "delete", "table", family, "snf_network", check=False)


def traces(machine: Machine, records: bool = True) -> list[str]:
    """All that our scripts have put on a machine and must take back, a line each: members, rules, routes,
    neighbours, files.

    Without `records`: a NIC that was refused has one, which says so, and nothing else.
    """
    found = []
    for entry in json.loads(machine.out("nft", "-j", "list", "ruleset"))["nftables"]:
        for kind in set(entry) & {"set", "map"}:
            what = entry[kind]
            if what["table"] == "snf_network" and what["name"] not in LEARNED:
                found += [
                    f"{kind} {what['family']} {what['name']} {element}" for element in what.get("elem", ())
                ]
        if "-" in entry.get("chain", {}).get("name", "") and entry["chain"]["table"] == "snf_network":
            found.append(f"chain netdev {entry['chain']['name']}")
    for family in ("-4", "-6") if IPV6 else ("-4",):
        for words in (("rule",), ("route", "show", "table", "all"), ("neigh", "show", "nud", "permanent")):
            found += lines(machine.out("ip", family, *words), "proto 148")
        found += [
            f"proxy {entry}"
            for entry in json.loads(machine.out("ip", family, "-j", "neigh", "show", "proxy") or "[]")
        ]
    found += machine.run("sh", "-c", FILES, check=False).stdout.split()
    return [trace for trace in found if records or not trace.startswith("/var/lib/snf-network/tap")]
