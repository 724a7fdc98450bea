"""What GRNET's bash package left: it matches by the name of a tap, and so hits the tap's next guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snf_network.errors import shown
from snf_network.host.kernel import read_file
from snf_network.model.resources.base import PROTOCOL
from snf_network.observe.doctor.finding import WARNING, Finding
from snf_network.observe.doctor.look import GUESTS, Look, said, several

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

COMMENT, ARP = "snf-network_", "--mangle-ip-s"
TOOLS = {"iptables": "ip", "ip6tables": "ip6", "arptables": "arp"}
"""Each tool with the family of its tables in nftables."""
LEGACY = {"iptables-legacy": "/proc/net/ip_tables_names", "ip6tables-legacy": "/proc/net/ip6_tables_names"}
"""Each tool with the file that lists its tables; running it would make them."""
EBTABLES = ("FROM", "TO")
"""The chains of a tap are these words and its name, in capitals in some versions."""
STATES = ("-env", "-cmds")


def rules(look: Look) -> Iterator[Finding]:
    """Rules in tables of iptables, ip6tables and arptables, in either backend."""
    families = {chain["family"] for chain in look.chains if chain["table"] != "snf_network"}
    tools = [tool for tool, family in TOOLS.items() if family in families]
    tools += [tool for tool, names in LEGACY.items() if (read_file(names) or "").strip()]
    for tool in tools:
        word = ARP if tool == "arptables" else COMMENT
        count = sum(word in line for line in said(f"{tool}-save").splitlines())
        if count:
            what = f"{tool} has rules of the bash package ({count}): they drop what a tap's next guest sends"
            mend = f"{tool}-restore < <(grep -v -e {word} <({tool}-save))"
            yield Finding(WARNING, "leftovers", what, mend)


def chains(look: Look) -> Iterator[Finding]:
    """Its ebtables chains, one pair for each tap."""
    found = [
        chain["name"] for chain in look.chains if chain["family"] == "bridge" and _is_of_tap(chain["name"])
    ]
    if found:
        what = f"ebtables has chains of the bash package, {shown(several(found))}: they drop frames"
        mend = "ebtables-restore < <(grep -viE '(FROM|TO)(tap|vif)' <(ebtables-save))"
        yield Finding(WARNING, "leftovers", what, mend)


def _is_of_tap(chain: str) -> bool:
    return any(chain.lower().startswith(f"{word}{tap}".lower()) for word in EBTABLES for tap in GUESTS)


def policy_rules(look: Look) -> Iterator[Finding]:
    """Its policy rules, one for each tap and family."""
    found = [rule["iif"] for rule in look.rules if _by_tap(rule)]
    if found:
        what = f"policy rules of the bash package: {shown(several(found))} uses the table of an earlier guest"
        lines = "; ".join(f"ip {option} rule del iif {shown(found[0])[1:-1]}" for option in ("-4", "-6"))
        yield Finding(WARNING, "leftovers", what, f"{lines}  # for each tap that ip rule has")


def _by_tap(rule: dict[str, Any]) -> bool:
    return str(rule.get("iif", "")).startswith(GUESTS) and rule.get("protocol") != str(PROTOCOL)


def files(look: Look) -> Iterator[Finding]:
    """Its state files, which nobody reads any more."""
    folder = look.config.state_dir
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    found = [name for name in names if name.endswith(STATES) and os.path.isfile(f"{folder}/{name}")]
    if found:
        what = f"files of the bash package in STATE_DIR: {shown(several(found))}; nobody reads them"
        mend = " ".join(f"{folder}/*{ending}" for ending in STATES)
        yield Finding(WARNING, "leftovers", what, f"rm -f {mend}")
