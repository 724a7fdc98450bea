"""Everything of ours on a machine, as a set of lines. Two moments are compared by set arithmetic, and the
difference is readable.

Also ways to disturb a call: a stand-in for a tool, a call that is started and not waited for, and ending what
a killed call left running.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lab
from lab import SCRIPTS, Machine
from snf_network.model.resources.nft import LEARNED

State = frozenset[str]
PROTOCOL = "148"
LOCAL_SBIN = "/usr/local/sbin"
PIN_SETS = (
    "routed",
    "guarded",
    "macs",
    "src4",
    "src6",
    "nets4",
    "nets6",
    "nets64",
    "prefixed",
    "owned",
    "prefixes",
    "ports",
    "served",
    "queued",
)
NOT_STATE = LEARNED
QUESTIONS = r"""
say() { printf '\n== %s\n' "$1"; shift; "$@" 2>/dev/null; }
say nft nft -j list ruleset
say links ip -N -d -j link show
say rules4 ip -N -j rule show
say rules6 ip -N -6 -j rule show
say routes4 ip -N -j route show table all
say routes6 ip -N -6 -j route show table all
say proxies4 ip -N -j neigh show proxy
say proxies6 ip -N -6 -j neigh show proxy
say neighbours4 ip -N -j neigh show nud permanent
say neighbours6 ip -N -6 -j neigh show nud permanent
say vlans bridge -j vlan show
say files find /var/lib/snf-network /var/lib/nfdhcpd -mindepth 1 ! -path '*/locks*' ! -path /var/lib/snf-network/shared -printf '%y %m %p\n'
say text grep -r '' /var/lib/snf-network /var/lib/nfdhcpd
"""


def snapshot(machine: Machine) -> State:
    """Everything of ours that the kernel and the two state directories have now. What only counts (drops) is
    left out.
    """
    sections = dict(
        part.split("\n", 1) for part in f"\n{machine.out('sh', '-c', QUESTIONS + 'true')}".split("\n== ")[1:]
    )
    return frozenset((*_nft(sections["nft"]), *_kernel(sections), *_files(sections)))


def without_base(state: State) -> State:
    """`state` without what is the node's and not a NIC's: the rules themselves, and the note of them."""
    return frozenset(
        line
        for line in state
        if not line.startswith("chain ") and not re.search(r"/snf-network/(\.base\.new|base)", line)
    )


def without_notes(state: State) -> State:
    """`state` without what a NIC that was refused leaves: a record that says so, and has nothing. And without
    what is the node's.
    """
    return frozenset(line for line in without_base(state) if not NOTE.fullmatch(line))


NOTE = re.compile(
    r"file f 644 /var/lib/snf-network/tap\d+|text /var/lib/snf-network/tap\d+:(?:(?:nic|variable|lacking)\t.*|end)"
)


def without_settings(state: State) -> State:
    """`state` without the settings of a link that outlive an ifdown: its MAC address and its MTU."""
    return frozenset(
        re.sub(r" m(ac|tu)=\S+", "", line) if line.startswith("link ") else line for line in state
    )


def difference(one: State, other: State) -> list[str]:
    """What `other` has more (+) and less (-) than `one`; empty if they are equal."""
    return sorted([f"+ {line}" for line in other - one] + [f"- {line}" for line in one - other])


def same(one: State, other: State, what: object = "") -> None:
    """Fail if `other` is not as `one`, and show how."""
    found = difference(one, other)
    assert not found, "\n".join([f"{what} {len(found)} differences", *(line[:200] for line in found[:20])])


def about(state: State, *words: str) -> list[str]:
    """The lines that have all `words`."""
    return sorted(line for line in state if all(word in line for word in words))


def pins(state: State, tap: str) -> State:
    """What the tap may be the source of, as the kernel has it."""
    return frozenset(
        line
        for line in state
        if line.startswith("element ") and line.split()[2] in PIN_SETS and f'"{tap}"' in line
    )


def is_up(state: State, tap: str) -> bool:
    """True if the interface is administratively up."""
    return any(line.startswith(f"link {tap} ") and " UP" in line for line in state)


def openings(state: State, tap: str, *allowed: State) -> list[str]:
    """What is wrong with a tap that is up: it must have all the pins of one of the `allowed` states, and its
    table's rules.
    """
    if not is_up(state, tap):
        return []
    found = []
    if pins(state, tap) not in [pins(whole, tap) for whole in allowed]:
        found.append(f"{tap} is up with the pins {sorted(pins(state, tap))}")
    for line in about(state, "element inet tables", f'"{tap}"'):
        table = line.rpartition(" ")[2].rstrip("]")
        if len(about(state, "rule ", f" fwmark {int(table):#x} ")) < 4:
            found.append(
                f"{tap} is up and marked for table {table}, which has no rules: its packets take the node's routes"
            )
    return found


def _nft(text: str) -> Iterator[str]:
    for item in json.loads(text or "{}").get("nftables", ()):
        ((kind, value),) = item.items()
        if kind in ("set", "map") and value["table"] == "snf_network" and value["name"] not in NOT_STATE:
            for member in value.get("elem", ()):
                yield f"element {value['family']} {value['name']} {json.dumps(member, sort_keys=True)}"
        elif kind == "rule" and value["table"] == "snf_network":
            yield f"chain {value['family']} {value['chain']} {json.dumps(value['expr'], sort_keys=True)}"


def _kernel(sections: Mapping[str, str]) -> Iterator[str]:
    rows = {
        name: json.loads(text.strip() or "[]")
        for name, text in sections.items()
        if name not in ("nft", "files", "text")
    }
    for link in rows["links"]:
        up = "UP" if "UP" in link["flags"] else "DOWN"
        yield f"link {link['ifname']} {up} master={link.get('master', '')} mtu={link['mtu']} mac={link['address']}"
    for port in rows["vlans"]:
        yield from (f"vlan {port['ifname']} {json.dumps(vlan, sort_keys=True)}" for vlan in port["vlans"])
    for family in "46":
        yield from _routing(
            {name.removesuffix(family): table for name, table in rows.items() if name.endswith(family)},
            family,
        )


def _routing(rows: Mapping[str, list[dict[str, object]]], family: str) -> Iterator[str]:
    for rule in _ours(rows["rules"]):
        yield f"rule -{family} {rule['priority']} fwmark {rule.get('fwmark')} {rule.get('action', rule.get('table'))}"
    for route in _ours(rows["routes"]):
        yield f"route {route['dst']} {route.get('gateway', '')} dev {route.get('dev')} table {route.get('table', 'main')}"
    for proxy in rows["proxies"]:
        yield f"proxy {proxy['dst']} dev {proxy['dev']}"
    for neighbour in rows["neighbours"]:
        yield f"neighbour {neighbour['dst']} {neighbour.get('lladdr')} dev {neighbour['dev']}"


def _ours(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [row for row in rows if str(row.get("protocol")) == PROTOCOL]


def _files(sections: Mapping[str, str]) -> Iterator[str]:
    yield from (f"file {line}" for line in sections["files"].splitlines() if line)
    yield from (f"text {line}" for line in sections["text"].splitlines() if line)


# --- ways to disturb a call


def command(machine: Machine, script: str, env: Mapping[str, str], *before: object) -> list[str]:
    """One of our scripts in the machine, with `env` and nothing else; `before` runs it (strace and the
    like).
    """
    return machine.command(
        "env", "-i", *(f"{key}={value}" for key, value in env.items()), *before, SCRIPTS / script
    )


def start(machine: Machine, script: str, env: Mapping[str, str], *before: object) -> subprocess.Popen[str]:
    """Begin a call and do not wait for it. It is waited for with `finish`."""
    return subprocess.Popen(
        command(machine, script, env, *before),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    )


def finish(*calls: subprocess.Popen[str], timeout: float = 30) -> list[tuple[int, str]]:
    """Exit status and stderr of each call."""
    ended = []
    for call in calls:
        said = call.communicate(timeout=timeout)[1]
        ended.append((call.returncode, said))
    return ended


def until(true: Callable[[], object], seconds: float = 5, what: str = "") -> None:
    """Wait until `true`, or fail."""
    assert lab.until(true, seconds), f"not within {seconds} s: {what or true}"


def settle(machine: Machine) -> None:
    """Wait for the tools that a killed call left behind: they end by themselves."""
    until(lambda: not _tools(machine), 10, f"tools still run in {machine.name}")


def _tools(machine: Machine) -> list[str]:
    there = os.stat(f"/proc/{machine.holder.pid}/ns/net").st_ino
    found = []
    for entry in Path("/proc").iterdir():
        try:
            name = (entry / "comm").read_text().strip() if entry.name.isdigit() else ""
            if name in ("nft", "ip", "bridge", "strace") and (entry / "ns/net").stat().st_ino == there:
                found.append(name)
        except OSError:
            continue
    return found


@contextmanager
def stand_in(machine: Machine, tool: str, text: str, mode: int = 0o755) -> Iterator[None]:
    """For a while `tool` is another program in this machine: the product looks into /usr/local/sbin first."""
    machine.run("mount", "-t", "tmpfs", "tmpfs", LOCAL_SBIN)
    try:
        machine.write(f"{LOCAL_SBIN}/{tool}", text)
        machine.run("chmod", f"{mode:o}", f"{LOCAL_SBIN}/{tool}")
        yield
    finally:
        machine.run("umount", "-l", LOCAL_SBIN)


WAITING = """#!/bin/sh
# the first call after /var/tmp/hold is made waits until /var/tmp/go is there; all others pass
if mv /var/tmp/hold /var/tmp/held 2>/dev/null; then
  until [ -e /var/tmp/go ] || [ "$((tries += 1))" -gt 400 ]; do sleep 0.01; done
fi
exec {tool} "$@"
"""


@contextmanager
def waiting(machine: Machine, tool: str) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """The next call of `tool` stops before it does anything. Gives `held`, which waits for that, and `go`,
    which lets it run on.
    """
    machine.run("sh", "-c", "rm -f /var/tmp/held /var/tmp/go; : > /var/tmp/hold")
    with stand_in(machine, tool, WAITING.format(tool=f"/usr/sbin/{tool}")):
        yield (
            lambda: until(
                lambda: not machine.run("test", "-e", "/var/tmp/held", check=False).returncode,
                what=f"{tool} was not called",
            ),
            lambda: machine.run("touch", "/var/tmp/go"),
        )


def one_line(said: str, *words: str) -> None:
    """Exactly one line, that has the words, and no traceback."""
    assert "Traceback" not in said, said
    assert len(said.splitlines()) == 1, said
    for word in words:
        assert word in said, f"{word!r} is not in {said!r}"


def wipe(machine: Machine, *taps: str, rules: bool = False) -> None:
    """Take away everything of ours by force, for a machine that serves many tests; `taps` are left, down and
    in no bridge.

    `rules`: the rules themselves are kept, without members, as on a node that has had a NIC before.
    """
    machine.run("nft", "-f", "-", input="".join(_emptied(machine)) if rules else REMOVED)
    machine.run("sh", "-c", WIPE, "sh", "! -name base" if rules else "", *taps)


def _emptied(machine: Machine) -> Iterator[str]:
    for item in json.loads(machine.out("nft", "-j", "list", "ruleset"))["nftables"]:
        ((kind, value),) = item.items()
        if kind in ("set", "map") and value["table"] == "snf_network":
            yield f"flush {kind} {value['family']} snf_network {value['name']}\n"
        elif kind == "chain" and value["table"] == "snf_network" and "-" in value["name"]:
            yield f"delete chain {value['family']} snf_network {value['name']}\n"


REMOVED = "".join(
    f"table {family} snf_network {{ }}\ndelete table {family} snf_network\n"
    for family in ("inet", "arp", "bridge", "netdev")
)
WIPE = r"""
spared=$1; shift
find /var/lib/snf-network /var/lib/nfdhcpd -mindepth 1 $spared -delete 2>/dev/null
[ "$spared" ] || rmdir /var/lib/snf-network /var/lib/nfdhcpd 2>/dev/null
for family in -4 -6; do
  ip $family rule flush protocol 148
  ip $family route flush table all proto 148 2>/dev/null
  ip $family neigh show proxy | while read -r address dev name rest; do ip $family neigh del proxy "$address" dev "$name"; done
done
for tap; do printf 'link set dev %s down alias ""\nlink set dev %s nomaster\n' "$tap" "$tap"; done | ip -batch -
true
"""
