"""kill -9 before every step that changes something, in an up, a change and a down; and the same for the tools
that we start.

strace lists the steps of an undisturbed run. Then, for each step, another run is killed at that step, also by
strace. Afterwards the tap must never be up and open, the next up must give exactly the state of an
undisturbed up, and the next down must leave nothing.
"""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.netns.lab import Lab, Machine, environment
from tests.netns.state import (
    State,
    difference,
    finish,
    is_up,
    openings,
    pins,
    settle,
    snapshot,
    stand_in,
    start,
    wipe,
    without_base,
    without_notes,
    without_settings,
)

UP, DOWN = "kvm-ifup-custom", "kvm-ifdown-custom"
TAP = "tap0"
ROUTED = environment("add-routed-ifup-1")
CHANGED = environment(
    "add-routed-ifup-1",
    IP="198.51.100.11",
    MAC="aa:00:00:ad:35:ca",
    NETWORK_GATEWAY="198.51.100.2",
    LINK="other",
    TAGS="synnefo:network:0:protected",
)
FILTERED = environment("add-bridged-ifup-1", INTERFACE=TAP, TAGS="synnefo:network:0:limited")
MOVED = environment("add-bridged-ifup-1", INTERFACE=TAP, LINK="prv1", MAC="aa:55:60:25:ae:2f", TAGS="")
CASES: dict[str, tuple[dict[str, str] | None, str, dict[str, str]]] = {
    "first of the node": (None, UP, ROUTED),
    "all values changed": (ROUTED, UP, CHANGED),
    "routed to filtered": (ROUTED, UP, FILTERED),
    "filtered to routed": (FILTERED, UP, ROUTED),
    "filtered to another bridge": (FILTERED, UP, MOVED),
    "routed down": (ROUTED, DOWN, ROUTED),
    "filtered down": (FILTERED, DOWN, FILTERED),
}
TRACED = "rename,mkdir,unlink,rmdir,write,sendto,clone3,pidfd_open"


class Step(NamedTuple):
    """The `number`th use of a system call by the script changed something."""

    call: str
    number: int
    what: str
    tool: int = 0
    """The first pidfd_open after the start of a tool."""

    @property
    def kind(self) -> str:
        """Steps of one kind in a row are much alike."""
        return "shared" if "/shared/" in self.what else self.call


@pytest.fixture(scope="module")
def crash_node() -> Iterator[Machine]:
    lab = Lab()
    try:
        node = lab.node("crash", lab.router("crash-router"))
        node.ip(
            f"tuntap add dev {TAP} mode tap", "link add prv1 type bridge forward_delay 0", "link set prv1 up"
        )
        node.write("/etc/iproute2/rt_tables.d/other.conf", "333 other\n")
        node.ip(
            "route add default via 198.51.100.1 dev eth1 table 333 onlink",
            "-6 route add default via 2001:db8:1::1 dev eth1 table 333 onlink",
        )
        yield node
    finally:
        lab.close()


def prepare(node: Machine, before: Mapping[str, str] | None) -> None:
    wipe(node, TAP, rules=bool(before))
    if before:
        node.up(before)


def undisturbed(
    node: Machine, before: Mapping[str, str] | None, env: Mapping[str, str]
) -> tuple[State, State, State]:
    """The state before, after an up that nothing disturbs, and after the down that follows."""
    prepare(node, before)
    old = snapshot(node)
    prepare(node, env)
    wanted = snapshot(node)
    node.down(env)
    return old, wanted, snapshot(node)


def steps(node: Machine, script: str, env: Mapping[str, str]) -> list[Step]:
    """Run a script under strace; give what it did to the world, in order."""
    assert finish(
        start(node, script, env, "strace", "-y", "-o", "/var/tmp/trace", "-e", f"trace={TRACED}")
    ) == [(0, "")]
    counts: Counter[str] = Counter()
    found = []
    given = ""
    for line in node.read("/var/tmp/trace").splitlines():
        name = line.partition("(")[0]
        counts[name] += 1
        if name == "write" and "memfd:stdin" in line:
            given = line.partition('"')[2].partition('"')[0]  # a tool that is told nothing only reads
        elif name == "clone3" and given:
            found.append(Step(name, counts[name], f"the tool told {given}", counts["pidfd_open"] + 1))
            given = ""
        elif effect(name, line):
            found.append(Step(name, counts[name], effect(name, line)))
    return found


def effect(name: str, line: str) -> str:
    """In words, what a line of the trace does by itself; empty if it changes nothing."""
    if not re.search(r" = \d+$", line) or "/__pycache__/" in line:
        return ""
    if name in ("rename", "mkdir", "unlink", "rmdir"):
        return line.partition(" = ")[0].strip()
    if name == "write" and "/proc/sys/" in line:
        return f"write {line.partition('/proc/sys/')[2].partition('>')[0]}"
    if name == "sendto" and re.search(r"nlmsg_type=(0x10\b|NFNL_MSG_BATCH_BEGIN)", line):
        return "send members"
    found = re.search(r"nlmsg_type=RTM_((?:NEW|DEL|SET)\w+)", line) if name == "sendto" else None
    return f"send {found.group(1)}" if found else ""


def chosen(found: list[Step]) -> Iterator[tuple[str, str]]:
    """At which steps to be killed, as strace takes it, and in words: all but the inner ones of a long row of
    the same kind.

    A tool makes two: before it is started, and while it runs on its own (pidfd_open follows the start).
    """
    for position, step in enumerate(found):
        around = [near.kind for near in found[max(position - 1, 0) : position + 2]]
        if step.kind in ("rename", "clone3") or around != [step.kind] * 3 or position % 5 == 0:
            yield f"inject={step.call}:signal=KILL:when={step.number}", f"before {step.what}"
        if step.call == "clone3":
            yield f"inject=pidfd_open:signal=KILL:when={step.tool}", f"after the start of {step.what}"


def kill(node: Machine, script: str, env: Mapping[str, str], inject: str) -> list[str]:
    """Run a script that strace kills; what it had started is let run to its end."""
    status = finish(start(node, script, env, "strace", "-o", "/dev/null", "-e", inject))[0][0]
    settle(node)
    return [] if status == -signal.SIGKILL else [f"lived, exit status {status}"]


def then(node: Machine, script: str, env: Mapping[str, str], wanted: State) -> list[str]:
    """What is wrong after the next call. The rules themselves are the node's, and stay after a down."""
    ran = node.script(script, env, check=False)
    said = [f"exit {ran.returncode}: {ran.stderr}"] if ran.returncode or ran.stderr else []
    ends = [
        without_settings(state if script == UP else without_base(state)) for state in (wanted, snapshot(node))
    ]
    return [f"then {script}: {line[:200]}" for line in (*said, *difference(*ends))]


def brief(what: str, found: list[str]) -> list[str]:
    """The first lines of what was found wrong."""
    return [f"{what}: {line}" for line in found[:3]] + [f"{what}: and {len(found) - 3} more"] * (
        len(found) > 3
    )


@pytest.mark.parametrize("case", CASES)
def test_killed_at_every_step(crash_node: Machine, case: str) -> None:
    before, script, env = CASES[case]
    old, wanted, nothing = undisturbed(crash_node, before, env)
    prepare(crash_node, before)
    walk = list(chosen(steps(crash_node, script, env)))
    assert len(walk) > 3
    wrong: list[str] = []
    seen: set[State] = set()
    for inject, what in walk:
        prepare(crash_node, before)
        found = kill(crash_node, script, env, inject)
        state = snapshot(crash_node)
        if state not in seen:  # what another kill has left already needs no second look
            found += openings(state, TAP, old, wanted)
            found += then(crash_node, UP, env, wanted)
            prepare(crash_node, before)
            kill(crash_node, script, env, inject)
            found += then(crash_node, DOWN, dict(env, INSTANCE="", INTERFACE_UUID=""), nothing)
        seen.add(state)
        wrong += brief(what, found)
    assert wrong == [], f"{len(walk)} kills\n" + "\n".join(wrong[:40])


REPAIRED = {
    **{
        case: CASES[case]
        for case in ("all values changed", "routed to filtered", "filtered to another bridge", "routed down")
    },
    "another address": (ROUTED, UP, {**ROUTED, "IP": "198.51.100.11"}),
}


@pytest.mark.parametrize("case", REPAIRED)
def test_repaired_after_a_kill(crash_node: Machine, case: str) -> None:
    """`snf-network repair` may come before the next ifup: it must not bring back what was about to go, beside
    what has come.
    """
    before, script, env = REPAIRED[case]
    old, wanted, nothing = undisturbed(crash_node, before, env)
    prepare(crash_node, before)
    wrong: list[str] = []
    for inject, what in chosen(steps(crash_node, script, env)):
        if "/shared/" not in what and "sysctl" not in what:
            prepare(crash_node, before)
            kill(crash_node, script, env, inject)
            ran = crash_node.script("snf-network", {"PATH": "/usr/sbin:/usr/bin"}, "repair", check=False)
            state = snapshot(crash_node)
            found = openings(state, TAP, old, wanted)
            if pins(state, TAP) not in [pins(end, TAP) for end in (old, wanted, nothing)]:
                found.append(f"pins of both: {sorted(pins(state, TAP))}")
            wrong += brief(f"{what}: repair, exit {ran.returncode}", [line[:200] for line in found])
            crash_node.down(dict(env, INSTANCE="", INTERFACE_UUID=""))
    assert wrong == [], "\n".join(wrong[:40])


# --- the tools themselves are killed: by the administrator, or for want of memory

DYING = """#!/bin/sh
# the call with the number in /var/tmp/fatal is killed
n=$(($(cat /var/tmp/calls 2>/dev/null) + 1)); echo $n > /var/tmp/calls
[ "$n" = "$(cat /var/tmp/fatal)" ] || exec /usr/sbin/{tool} "$@"
"""
HOW = {"at once": "kill -9 $$", "at the end": '/usr/sbin/{tool} "$@"; kill -9 $$'}
FATAL = [("nft", "first of the node", how) for how in HOW]
"""Where the rules are there, no call needs a tool (tests/netns/test_bad_input.py)."""


@pytest.mark.parametrize(("tool", "case", "how"), FATAL)
def test_a_tool_is_killed(crash_node: Machine, tool: str, case: str, how: str) -> None:
    """An up says so, or has made up for it; a down leaves nothing open. The next call mends all."""
    before, script, env = CASES[case]
    old, wanted, nothing = undisturbed(crash_node, before, env)
    text = (DYING + HOW[how]).format(tool=tool)
    wrong: list[str] = []
    for number in range(1, 20):
        prepare(crash_node, before)
        crash_node.run("sh", "-c", f"rm -f /var/tmp/calls; echo {number} > /var/tmp/fatal")
        with stand_in(crash_node, tool, text):
            ran = crash_node.script(script, env, check=False)
        if int(crash_node.read("/var/tmp/calls") or 0) < number:
            break
        state = snapshot(crash_node)
        found = judged(script, ran.returncode, ran.stderr, state, old, wanted, nothing)
        if before and script == UP and not is_up(state, TAP):
            found.append("a NIC that was up is down, though it is filtered")
        found += then(crash_node, UP, env, wanted)
        found += then(crash_node, DOWN, env, nothing)
        wrong += brief(f"call {number}", found)
    assert wrong == [], f"{number - 1} calls\n" + "\n".join(wrong[:40])


def judged(
    script: str, status: int, said: str, state: State, old: State, wanted: State, nothing: State
) -> list[str]:
    """What is wrong with the end of a call in which a tool died."""
    found = openings(state, TAP, old, wanted)
    if script == UP and status == 0:
        found += [
            f"exit 0, but {line[:200]}" for line in difference(without_base(wanted), without_base(state))
        ]
    if script == UP and status == 1 and not is_up(old, TAP):
        ends = [
            difference(*(without_settings(without_notes(one)) for one in (end, state)))
            for end in (old, nothing)
        ]
        found += [f"exit 1, and {line[:200]}" for line in min(ends, key=len)]
    if status not in (0, 1) or "Traceback" in said or (status == 1 and len(said.splitlines()) != 1):
        found.append(f"exit {status}: {said}")
    return found
