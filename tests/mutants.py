"""Weaken the rules in every small way, one at a time, and see that `snf-network selftest` notices each.

    tests/run --mutants                      all, some minutes
    tests/run --mutants --sample 50          every so many, as CI does
    tests/run --mutants --only 'chain ns'    those whose place and edit match

A mutant is a rule removed, a drop that accepts, a condition left out, a set, map, range or mask thinned. One
that changes nothing that a frame could show is in EQUIVALENT, with the reason.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from snf_network.errors import KernelError  # noqa: E402
from snf_network.host.kernel import RULES  # noqa: E402
from snf_network.lean import replace  # noqa: E402
from snf_network.model.config import Config  # noqa: E402
from snf_network.model.resources.nft import LEARNED  # noqa: E402
from snf_network.rules.ruleset import Ruleset  # noqa: E402
from snf_network.selftest import run  # noqa: E402
from snf_network.selftest.matrix import OPEN_PORT, UNDERLAY, UNDERLAY6  # noqa: E402
from snf_network.selftest.site import ROOM, Heard, Site  # noqa: E402
from snf_network.selftest.world import LOST, bridge_netfilter, drops  # noqa: E402

FILES = (
    "base.nft",
    "pins.nft",
    "pin_arp.nft",
    "port.nft",
    "netdev.nft",
    "services.nft",
    "limits.nft",
    "profiles/protected.nft",
    "profiles/limited.nft",
    "profiles/unprotected.nft",
)
"""masq.nft is not among them: source NAT is off in the self-test, tests/netns/test_masq.py has it. Nor is
underlay.nft, as the self-test has VXLAN from guests alone: tests/netns/test_networks.py has the rest. Nor is
overlay.nft: tests/netns/test_gateway.py and test_overlay_guests.py have what no guest of the self-test sees.
"""


class Rule(NamedTuple):
    """A statement of a chain: where it stands in its file."""

    file: str
    chain: str
    start: int
    end: int
    text: str


class Mutant(NamedTuple):
    """A rule, what is done to it, and what then stands in its place."""

    rule: Rule
    edit: str
    text: str

    @property
    def name(self) -> str:
        """For people, and for EQUIVALENT."""
        place = ", ".join(filter(None, (self.rule.file, self.rule.chain)))
        return f"{place}: {' '.join(self.rule.text.split())}: {self.edit}"


def rules(file: str, content: str) -> Iterator[Rule]:
    """All statements in the chains of a file; a profile is the body of a chain."""
    plain = re.sub(r"#[^\n]*", lambda found: " " * len(found[0]), content)
    if file.startswith("profiles/"):
        yield from _statements(file, Path(file).stem, plain, 0, len(plain))
    for found in re.finditer(r"\bchain (\w+) +\{", plain):
        yield from _statements(file, found[1], plain, found.end(), _closing(plain, found.end()))


def _closing(text: str, at: int) -> int:
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at - 1


def _statements(file: str, chain: str, text: str, start: int, end: int) -> Iterator[Rule]:
    depth, begin = 0, start
    for at in range(start, end + 1):
        sign = text[at] if at < end else ";"
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign in ";\n" and not depth:
            words = text[begin:at]
            if words.strip() and not re.match(r"\s*(type (filter|nat) hook|policy )", words):
                lead = len(words) - len(words.lstrip())
                yield Rule(file, chain, begin + lead, begin + len(words.rstrip()), words.strip())
            begin = at + 1


CONDITIONS = (
    r"ip6 length \d+ ",
    r"@th,\d+,\d+ (!= )?0x[0-9a-f]+ ",
    r"@th,\d+,\d+ != 0 ",
    r"@nh,\d+,\d+ 0x[0-9a-f]+ ",
    r"(iifname|oifname) @\w+ ",
    r"iifname \. @\w+,\d+,\d+ (!= )?@\w+ ",
    r"iifname \. vlan id @\w+ ",
    r"arp operation request ",
    r"arp saddr ip 0\.0\.0\.0 ",
    r"frag frag-off (!= 0|1) ",
    r"ip frag-off & 0x[0-9a-f]+ (!= 0|== 1) ",
    r"frag nexthdr \{[^}]*\} ",
    r"meta l4proto (!= )?\w+ ",
    r"ip6 nexthdr \{[^}]*\} ",
    r"ip6 saddr fe80::/10 ",
    r"(udp|th|tcp) [sd]port (>= )?\d+ ",
    r"(udp|th|tcp) [sd]port \{[^}]*\} ",
    r"tcp flags & \([^)]*\) [!=]= syn ",
    r"ether daddr & [0-9a-f:]+ [!=]= [0-9a-f:]+ ",
    r"ether type \w+ ",
)
"""What can be left out of a rule."""
SWAPS = (
    (r"& 0x1fff", "& 0x0fff"),
    (r"& 0x3fff", "& 0x1fff"),
    (r"& ff:ff:ff:ff:ff:f0", "& ff:ff:ff:ff:ff:ff"),
    (r"& \$MAC_MASK", "& ff:00:00:00:00:00"),
    (r"& \(syn \| ack\)", "& (fin | syn | rst | ack)"),
    (r"fe80::/10", "fe80::/8"),
    (r"@th,64,10 0x3fa", "@th,64,8 0xfe"),
    (r">= 1024", ">= 1"),
    (r"< 0x0600", "< 0x0020"),
    (r"== 1\b", "== 2"),
)


def mutants(rule: Rule) -> Iterator[Mutant]:
    """All edits of a rule."""
    text = rule.text
    yield Mutant(rule, "removed", "")
    if re.search(r"\bdrop$", text):
        yield Mutant(rule, "accepts", re.sub(r"\bdrop$", "accept", text))
    for item in re.finditer(r"(?<=: )drop\b", text):
        yield Mutant(
            rule, f"{_label(text, item.start())} accepts", f"{text[: item.start()]}accept{text[item.end() :]}"
        )
    for pattern in CONDITIONS:
        for found in re.finditer(pattern, text):
            yield Mutant(rule, f"without {found[0].strip()}", text[: found.start()] + text[found.end() :])
    for pattern, put in SWAPS:
        if re.search(pattern, text):
            yield Mutant(rule, f"with {put}", re.sub(pattern, put, text))
    for found in re.finditer(r"\{([^{}]*)\}", text):
        yield from _thinned(rule, found)


def _label(text: str, at: int) -> str:
    return text[:at].replace("{", ",").rpartition(",")[2].strip(" :")


def _thinned(rule: Rule, found: re.Match[str]) -> Iterator[Mutant]:
    """A set or map without each of its items, and with its ranges one shorter at each end."""
    items = [item.strip() for item in found[1].split(",")]
    if ";" in found[1] or "iif" in found[1].split():
        return

    def put(chosen: Iterable[str]) -> str:
        return f"{rule.text[: found.start()]}{{ {', '.join(chosen)} }}{rule.text[found.end() :]}"

    for number, item in enumerate(items):
        if len(items) > 1:
            yield Mutant(rule, f"without {' '.join(item.split())}", put(items[:number] + items[number + 1 :]))
        ends = re.match(r"(\d+)-(\d+)\b", item)
        if ends:
            for low, high in ((int(ends[1]) + 1, int(ends[2])), (int(ends[1]), int(ends[2]) - 1)):
                shorter = f"{low}-{high}" if low < high else str(low)
                yield Mutant(
                    rule,
                    f"{ends[0]} is {shorter}",
                    put([*items[:number], shorter + item[ends.end() :], *items[number + 1 :]]),
                )


SETS = re.compile(r"\b(set|map) (\w+) +\{ type")


def emptied() -> Iterator[Mutant]:
    """Each set and map without its members, as if no setup put any there: in each family that has it."""
    for family, names in _sets().items():
        for kind, name in names:
            yield Mutant(Rule("", f"{family} {kind} {name}", 0, 0, "all members"), "emptied", "")


def _sets() -> dict[str, list[tuple[str, str]]]:
    texts = {name: (Path(RULES) / f"{name}.nft").read_text() for name in ("base", "netdev", "sets", "port")}
    found = {}
    for family, body in re.findall(
        r"\ntable (\w+) snf_network \{\n(.*?)\n\}", texts["base"] + texts["netdev"], re.DOTALL
    ):
        whole = body + "".join(texts[name] for name in ("sets", "port") if f'include "{name}.nft"' in body)
        found[family] = [
            pair for pair in SETS.findall(whole.replace("typeof", "type")) if pair[1] not in LEARNED
        ]
    return found


def everything() -> list[Mutant]:
    """All mutants of all files, in the order of the files; then all sets, emptied."""
    return [*_edited(), *emptied()]


def _edited() -> list[Mutant]:
    return [
        mutant
        for file in FILES
        for rule in rules(file, (Path(RULES) / file).read_text())
        for mutant in mutants(rule)
    ]


class Field:
    """A site on which mutants are tried, one after the other; its NICs stay as they are."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.open: list[Heard] = []
        with ExitStack() as other:
            site = Site(other)
            site.without_rules()
            self.open, self.taught = site.plays(1), site.taught
        self.site = Site(stack)
        self.site.make_trunks()
        self.directory = directory
        self.text = Ruleset(
            replace(Config(), underlay=f"{UNDERLAY} {UNDERLAY6}", node_services=f"{OPEN_PORT}/tcp")
        ).text()

    def complaint(self, mutant: Mutant) -> str:
        """What the self-test says of it first; empty if nothing. Raises KernelError if nft refuses it."""
        with self._changed(mutant):
            return self._complaint()

    def _complaint(self) -> str:
        for number in range(len(self.open)):
            bridge_netfilter(self.site.node, bool(number))
            said = self._judge(number)
            if said:
                return said
        return ""

    @contextmanager
    def _changed(self, mutant: Mutant) -> Iterator[None]:
        if mutant.rule.file:
            self._load(mutant)
            yield
            return
        node, (family, kind, name) = self.site.node, mutant.rule.chain.split()
        node.run("nft", "-I", RULES, "-f", "-", input=self.text)
        listed = node.out("nft", "list", "table", family, "snf_network")  # "tables" is a word of nft's
        members = re.findall(rf"\t{kind} {name} {{[^}}]*elements = {{ ([^}}]*) }}", listed)
        keys = [re.sub(r" : [^,]*", "", text) for text in members]
        node.load("".join(f"delete element {family} snf_network {name} {{ {text} }}\n" for text in keys))
        yield
        node.load("".join(f"add element {family} snf_network {name} {{ {text} }}\n" for text in members))

    def _load(self, mutant: Mutant) -> None:
        rules = self.directory / "rules"
        shutil.rmtree(rules, ignore_errors=True)
        shutil.copytree(RULES, rules, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        file, rule = rules / mutant.rule.file, mutant.rule
        text = file.read_text()
        file.write_text(text[: rule.start] + mutant.text + text[rule.end :])
        self.site.node.run("nft", "-I", str(rules), "-f", "-", input=self.text.replace(RULES, str(rules)))

    def _judge(self, number: int) -> str:
        node = self.site.node
        for family, name in (("inet", "seen"), ("arp", "seen"), ("inet", "delivered")):
            node.run("nft", "flush", "set", family, "witness", name)
        node.ip("link set br0 type bridge fdb_flush")
        self.site.taught = set()
        before = drops(node)
        heard = self.site.play(1 + ROOM * number)
        cells = tuple(
            run._cells(self.site.guests, [(heard, self.open[number])], self.site.taught, self.taught)
        )
        wrong = [f"{cell.guest.column.name}: {cell.row.name}" for cell in cells if cell.verdict == run.WRONG]
        return next(iter([*wrong, *run._miscounted(cells, drops(node) - before)]), "")


fields: list[Field] = []
"""That of this process."""


def make_field(directory: str) -> None:
    """Make it, with its files in a directory; its namespaces go with the process."""
    fields.append(Field(ExitStack(), Path(directory, str(os.getpid()))))


def tried(mutant: Mutant) -> tuple[Mutant, str]:
    """A mutant and what was said of it; `refused` where nft does not take it."""
    try:
        return mutant, fields[0].complaint(mutant)
    except KernelError as error:
        if str(error).startswith(LOST):  # also of a mark: what the play has left must not be the next one's
            sum(1 for _ in fields[0].site._listen())
            return mutant, str(error)
        if "nft -I" not in str(error):
            raise
        return mutant, "refused"


EQUIVALENT = (
    (
        r"(guard|router|querier|server|icmp_redirect|icmp4|igmp4|dhcp_client|to_server|guard_nd|behind_ah|net_sender|isolated|unprotected): "
        r"accept: removed",
        "the end of a chain that is gone to is that of its base chain, whose policy is accept; written to be seen",
    ),
    (
        r"to_node: udp dport { 67, 547 } accept: (removed|without \d+)|rs_from: jump asker: removed",
        "nfdhcpd serves all routed NICs of the self-test; tests/netns/test_guard.py has one that it does not",
    ),
    (r"netdev set queued: all members: emptied", "iptables sees no frame from a port of Open vSwitch"),
    (r"mac_pins: ether type ip6? goto \w+: removed", "a fast path: guard, where it goes then, says the same"),
    (r"guard6: meta l4proto tcp accept: removed", "a fast path past rules about other protocols"),
    (r"tagged: .*: without ether type 8021q", "nft adds it to `vlan id` by itself (1.0.6)"),
    (
        r"marks: .*: with fe80::/8",
        "only a NIC with an address in the deprecated fec0::/10 (RFC 3879) would lose its mark, too",
    ),
    (
        r"router_source: .*: with fe80::/8",
        "only the reason counted for a gateway in fec0::/10 would be another",
    ),
    (
        r"(ext6|guard6): frag frag-off != 0 meta l4proto != udp accept: removed|"
        r"guard_udp: (ip frag-off & 0x1fff|frag frag-off) != 0 accept: (removed|with & 0x0fff)",
        "this kernel reads a header where a last fragment has none, and finds one that passes; others read nothing",
    ),
)
"""Mutants that no frame can tell from the rules: what their names match, and why."""


def is_equivalent(mutant: Mutant) -> bool:
    """True if the mutant is listed."""
    return any(re.search(f"{pattern}$", mutant.name) for pattern, _ in EQUIVALENT)


def main(argv: list[str]) -> int:
    """Exit status 1 if one is not noticed and not listed, or listed and noticed."""
    parser = argparse.ArgumentParser(prog="tests/run --mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="about so many of them")
    parser.add_argument("--only", default="", metavar="REGEX", help="those whose name matches")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--list", action="store_true", help="print their names, and try none")
    parser.add_argument("--verbose", action="store_true", help="say what was noticed of each")
    options = parser.parse_args(argv)
    chosen = [mutant for mutant in everything() if re.search(options.only, mutant.name)]
    if options.sample:
        chosen = chosen[:: max(1, len(chosen) // options.sample)]
    if options.list:
        print("\n".join(mutant.name for mutant in chosen))
        return 0
    return report(chosen, options.jobs, options.verbose)


def report(chosen: list[Mutant], jobs: int, verbose: bool = False) -> int:
    """Try them and print what is wrong."""
    start, found = time.monotonic(), []
    with (
        tempfile.TemporaryDirectory() as directory,
        ProcessPoolExecutor(jobs, initializer=make_field, initargs=(directory,)) as pool,
    ):
        for mutant, said in pool.map(tried, chosen):
            found.append((mutant, said))
            if verbose:
                print(f"{mutant.name}\n    {said or 'NOT NOTICED'}", flush=True)
    missed = [mutant.name for mutant, said in found if not said and not is_equivalent(mutant)]
    known = [mutant.name for mutant, said in found if said not in ("", "refused") and is_equivalent(mutant)]
    print("".join(f"not noticed: {name}\n" for name in missed), end="")
    print("".join(f"listed as equivalent, and noticed: {name}\n" for name in known), end="")
    refused = sum(said == "refused" for _, said in found)
    print(
        f"{len(found)} mutants in {time.monotonic() - start:.0f} s: {len(missed)} not noticed, "
        f"{sum(not said for _, said in found) - len(missed)} equivalent, {refused} that nft refuses"
    )
    return int(bool(missed or known))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
