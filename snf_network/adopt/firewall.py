"""The old rules in iptables, ip6tables, arptables and ebtables, of both backends, and what removes them.

The tools print what they take: a line of `-save` with -D for -A removes that rule. python-iptables knows only
the legacy tables, and nothing of arptables and ebtables, so it would be a second way beside this one.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator

from snf_network.addresses import is_interface
from snf_network.adopt import Line, Unknown
from snf_network.errors import KernelError
from snf_network.host.kernel import PATHS, ask, read_file
from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.adopt import Mine

TABLE = "filter"
"""The bash package used no other table."""
NFT = {"iptables-nft": "ip", "ip6tables-nft": "ip6", "arptables-nft": "arp", "ebtables-nft": "bridge"}
"""Tools of the nft backend, and the family of their table."""
LEGACY = {
    "iptables-legacy": "/proc/net/ip_tables_names",
    "ip6tables-legacy": "/proc/net/ip6_tables_names",
    "arptables-legacy": "/proc/net/arp_tables_names",
    "ebtables-legacy": "/sys/module/ebtable_filter/refcnt",
}
"""Those of the legacy backend, and the file that tells whether their table exists: asking would make it."""
PACKAGES = ("snf-network_", "gnt-networking_")
"""How comments of its rules begin; gnt-networking is its later name."""
PROFILES = ("protected", "limited", "unprotected")
DEVICES = ("-i", "-o", "--physdev-in", "--physdev-out")
JUMPS = (("-i", "FROM", ("FORWARD", "INPUT")), ("-o", "TO", ("FORWARD", "OUTPUT")))
"""Option, prefix of the chain and base chains of the jumps in ebtables; bash wrote the tap in capitals."""
REQUEST = ("1", "Request", "request")
ARP = {"--h-length": "6", "--h-type": "1"}
"""What arptables-save adds by itself: Ethernet."""

Options = dict[str, str]
"""The options of a rule; the value of a negated one begins with `! `."""
Rule = tuple[str, tuple[str, ...], Options]
"""A rule's chain, its words as saved, and its options."""


@dataclass(frozen=True)
class Firewall:
    """The rules of all tools that concern guests' taps."""

    lines: tuple[Line, ...]
    unknown: tuple[Unknown, ...]
    profiles: tuple[tuple[str, str], ...]
    """Tap and firewall profile of each old rule that applies one."""


def read(mine: Mine) -> Firewall:
    """What is there now. Raises KernelError if a tool fails."""
    lines: list[Line] = []
    unknown: list[Unknown] = []
    profiles: list[tuple[str, str]] = []
    for tool in _in_use():
        text = saved(tool)
        if "is incompatible" in text:  # there are rules that only nft can print
            unknown.append(Unknown("-", f"table {NFT.get(tool, '')} {TABLE}: {tool} cannot read it"))
        sort = {"arptables": _arp, "ebtables": _bridge}.get(tool.partition("-")[0], _forward)
        for found in sort(tool, text, mine):
            if isinstance(found, Unknown):
                unknown.append(found)
            else:
                line, profile = found
                lines.append(line)
                profiles += [(line.interface, profile)] if profile else []
    return Firewall(tuple(lines), tuple(unknown), tuple(profiles))


def _in_use() -> Iterator[str]:
    """The tools whose table is in the kernel. Raises KernelError if nft does not tell."""
    tables = {" ".join(line.split()[:3]) for line in ask(("nft", "list", "tables")).splitlines()}
    yield from (tool for tool, family in NFT.items() if f"table {family} {TABLE}" in tables)
    for tool, path in LEGACY.items():
        content = read_file(path) or ""
        if TABLE in content.split() or (content and path.startswith("/sys/module/")):
            yield tool


def saved(tool: str) -> str:
    """The output of its -save. Raises KernelError, also if the tool is not installed: its rules are not seen
    then.
    """
    if not any(os.access(f"{directory}/{tool}-save", os.X_OK) for directory in PATHS.split(":")):
        raise KernelError(f"{tool} is not installed, but its table {TABLE} exists", "apt install iptables")
    return ask((f"{tool}-save",))


def rules(text: str) -> Iterator[Rule]:
    """The rules of table filter in the output of a -save."""
    for line in _of_table(text, "-A "):
        words = _words(line)
        yield words[1], tuple(words[2:]), options(words[2:])


def chains(text: str) -> list[str]:
    """Its chains."""
    return [line[1:].split()[0] for line in _of_table(text, ":")]


def _of_table(text: str, start: str) -> Iterator[str]:
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(start) and table == TABLE:
            yield line


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a comment with one quote: nothing that we know
        return line.split()


def options(words: Iterable[str]) -> Options:
    """A rule's words by option, without `-m`, which is repeated and says nothing."""
    found: Options = {}
    name, negated = "", False
    for word in words:
        if word == "!":
            negated = True
        elif word.startswith("-"):
            name = word
            found[name] = "! " if negated else ""
            negated = False
        else:
            found[name] = f"{'! ' * negated}{found.get(name, '')}{word}"
            negated = False
    found.pop("-m", "")
    return found


Found = Iterator[Unknown | tuple[Line, str]]


def _line(tool: str, interface: str, chain: str, words: Iterable[str], profile: str = "") -> tuple[Line, str]:
    return Line(interface, (tool, "-D", chain, *words)), profile


def _unknown(tool: str, rule: Rule, mine: Mine) -> Iterator[Unknown]:
    """A rule as it is, if it names a tap that is ours to judge."""
    chain, words, said = rule
    named = [name for option in DEVICES if mine(name := said.get(option, "").removeprefix("! "))]
    if named:
        extra = said.get("--comment", "") in [f"{package}extra" for package in PACKAGES]
        yield Unknown(named[0], f"{tool} {shlex.join(('-A', chain, *words))}", extra)


def _forward(tool: str, text: str, mine: Mine) -> Found:
    """iptables and ip6tables: source filters and jumps to profiles."""
    for rule in rules(text):
        chain, words, said = rule
        tap, profile = _known(said) if chain == "FORWARD" else ("", "")
        if tap and is_interface(tap) and ("--comment" in said or mine(tap)):
            yield _line(tool, tap, chain, words, profile)
        else:
            yield from _unknown(tool, rule, mine)


def _known(said: Options) -> tuple[str, str]:
    """The tap of a rule that the bash package makes, and the profile that it applies; empty for others."""
    comment, target = said.get("--comment", ""), said.get("-j", "")
    kind = next((comment.removeprefix(each) for each in PACKAGES if comment.startswith(each)), "")
    keys = said.keys() - {"--comment"}
    if keys == {"-i", "-s", "-j"} and (kind, target) == ("routed", "DROP") and said["-s"].startswith("! "):
        return said["-i"], ""
    if kind != "firewall" and (comment or target not in PROFILES):
        return "", ""
    if keys == {"-o", "-j"}:
        return said["-o"], target
    if keys - {"--physdev-is-bridged"} == {"--physdev-out", "-j"}:
        return said["--physdev-out"], target
    return "", ""


def _arp(tool: str, text: str, mine: Mine) -> Found:
    """arptables: the gateway's address as the sender of what the node asks on a tap."""
    for rule in rules(text):
        chain, words, said = rule
        rest = {key: value for key, value in said.items() if ARP.get(key) != value}
        known = (
            chain == "OUTPUT"
            and rest.keys() == {"-o", "--opcode", "-j", "--mangle-ip-s"}
            and rest["--opcode"] in REQUEST
            and rest["-j"] == "mangle"
        )
        if known and mine(said["-o"]):
            yield _line(tool, said["-o"], chain, words)
        else:
            yield from _unknown(tool, rule, mine)


def _bridge(tool: str, text: str, mine: Mine) -> Found:
    """ebtables: jumps to the chains FROM<TAP> and TO<TAP>, then these chains.

    A chain in which there is anything else, or which another rule uses too, stays, and so do its jumps.
    """
    jumps: dict[str, list[tuple[str, Rule]]] = {}
    others: dict[str, list[Rule]] = {}
    done = set()
    for rule in rules(text):
        chain, target, tap = rule[0], rule[2].get("-j", ""), _jumps(rule)
        if is_interface(tap):
            jumps.setdefault(target, []).append((tap, rule))
        else:
            for name in {chain, target}:
                others.setdefault(name, []).append(rule)
    for name in chains(text):
        users = jumps.get(name, [])
        odd = [rule for rule in others.get(name, ()) if _spoils(rule, name)]
        taps = sorted({tap for tap, _ in users}) or ([] if odd else _of_unused(name, mine))
        if not taps:
            continue
        done.add(name)
        if odd or len(taps) > 1:
            yield from (_odd(tool, tap, rule) for tap, rule in users)
            yield from (_odd(tool, taps[0], rule) for rule in odd)
            continue
        yield from (_line(tool, tap, rule[0], rule[1]) for tap, rule in users)
        yield Line(taps[0], (tool, "-F", name)), ""
        yield Line(taps[0], (tool, "-X", name)), ""
    for name, some in others.items():
        for rule in some if name not in done else ():
            if rule[0] == name and rule[2].get("-j", "") not in done:
                yield from _unknown(tool, rule, mine)


def _spoils(rule: Rule, name: str) -> bool:
    """True for a rule that the bash package has neither in nor to a chain of that name."""
    return (rule[0] == name and not _filters(rule[2])) or rule[2].get("-j", "") == name


def _of_unused(name: str, mine: Mine) -> list[str]:
    """The tap of a chain to which nothing jumps: a killed call, or an ifdown, has removed only the jumps."""
    plain = name.removeprefix("FROM") if name.startswith("FROM") else name.removeprefix("TO")
    return [plain.lower()] if plain != name and mine(plain.lower()) else []


def _odd(tool: str, tap: str, rule: Rule) -> Unknown:
    return Unknown(tap, f"{tool} {shlex.join(('-A', rule[0], *rule[1]))}")


def _jumps(rule: Rule) -> str:
    """The tap whose frames a rule sends to its chain; empty for any other rule."""
    chain, _, said = rule
    for option, prefix, chains in JUMPS:
        tap = said.get(option, "")
        own = f"{prefix}{tap}".upper() == said.get("-j", "").upper()
        if chain in chains and said.keys() == {option, "-j"} and own:
            return tap
    return ""


def _filters(said: Options) -> bool:
    """True for a rule that the bash package has in such a chain: only this MAC, or only this prefix."""
    return said.keys() == {"-s", "-j"} and said["-j"] == "DROP" and said["-s"].startswith("! ")
