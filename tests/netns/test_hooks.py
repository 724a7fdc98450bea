"""The hooks, and calls in any order: what is gone is removed, what should be up comes up, and nothing
outlives its NIC.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.netns.lab import SCRIPTS, Lab, Machine, environment
from tests.netns.state import about, same, snapshot, stand_in, start, until, wipe, without_base

UP, DOWN, HOOK, RECONFIGURE = (
    "kvm-ifup-custom",
    "kvm-ifdown-custom",
    "snf-network-hook",
    "snf-network-reconfigure",
)
LIMIT = 5.0
HANGS = "#!/bin/sh\nexec sleep 60\n"
RT_TABLES = "/etc/iproute2/rt_tables"
STATE = "/var/lib/snf-network"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_node(lab: Lab) -> Machine:
    return lab.node("node1", lab.router())


@pytest.fixture
def node(shared_node: Machine) -> Iterator[Machine]:
    yield shared_node
    for tap in taps(shared_node):
        shared_node.ip(f"link del {tap}")
    wipe(shared_node)


def taps(node: Machine) -> list[str]:
    return [
        link["ifname"]
        for link in json.loads(node.out("ip", "-j", "link", "show"))
        if link["ifname"].startswith("tap")
    ]


def plug(node: Machine, name: str) -> None:
    node.ip(f"tuntap add {name} mode tap")


def nic(kind: str, number: int = 0, **changes: str) -> dict[str, str]:
    """An ifup's environment of instance `kind``number`, which has one NIC."""
    if kind == "routed":
        own = {"IP": f"203.0.113.{20 + number}", "MAC": f"aa:00:00:ad:35:{number:02x}"}
    else:
        own = {"MAC": f"aa:55:60:ad:35:{number:02x}", "LINK": "prv0", "BRIDGE": "prv0"}
    base = environment("add-routed-ifup-1" if kind == "routed" else "add-bridged-ifup-1")
    return {
        **base,
        **own,
        "INSTANCE": f"{kind}{number}.example.com",
        "INTERFACE_UUID": f"5ac0de00-0000-4000-8000-{number:012}",
        **changes,
    }


def after(
    operation: str, *nics: Mapping[str, str], instance: str = "", node: str = "node1", **more: str
) -> dict[str, str]:
    """A post hook's environment, in the words of Ganeti: the instance with the NICs it has from now on."""
    names = {"INTERFACE_UUID": "UUID", "INTERFACE_NAME": "NAME"}
    name = instance or nics[0]["INSTANCE"]
    env = {
        "GANETI_HOOKS_PHASE": "post",
        "GANETI_OP_CODE": f"OP_INSTANCE_{operation}",
        "GANETI_INSTANCE_NAME": name,
        "GANETI_POST_INSTANCE_NAME": name,
        "GANETI_INSTANCE_PRIMARY": node,
        "GANETI_POST_INSTANCE_NIC_COUNT": str(len(nics)),
        "GANETI_POST_INSTANCE_TAGS": nics[0].get("TAGS", "") if nics else "",
        **more,
    }
    for index, values in enumerate(nics):
        env |= {
            f"GANETI_POST_INSTANCE_NIC{index}_{names.get(name, name)}": value
            for name, value in values.items()
        }
    return env


def timed(node: Machine, script: str, env: Mapping[str, str]) -> tuple[int, float]:
    """Exit status, and seconds until the process and everybody who holds its output is gone, as Ganeti waits
    for.
    """
    began = time.monotonic()
    call = start(node, script, env)
    call.communicate(timeout=30)
    return call.returncode, time.monotonic() - began


def leftovers(node: Machine) -> list[str]:
    """What is ours on a node that has no NIC."""
    return [line for line in without_base(snapshot(node)) if not line.startswith("link ")]


def test_stop_takes_back_what_the_instance_had_and_nothing_of_another(node: Machine) -> None:
    ours, other = nic("routed", 1, INTERFACE="tap0"), nic("routed", 2, INTERFACE="tap1")
    for env in (other, ours):
        plug(node, env["INTERFACE"])
    node.up(other)
    before = snapshot(node)
    node.up(ours)
    node.ip("link del tap0")
    node.script(HOOK, after("SHUTDOWN", ours))
    same(before - set(about(before, "tap0")), snapshot(node))


def test_a_hook_for_one_nic_goes_on_after_another_failed(node: Machine) -> None:
    """The record of the first is locked by a call that hangs; the second is gone all the same."""
    first = nic("routed", 1, INTERFACE="tap0")
    second = {**nic("routed", 2, INTERFACE="tap1"), "INSTANCE": first["INSTANCE"]}
    for env in (first, second):
        plug(node, env["INTERFACE"])
        node.up(env)
        node.ip(f"link del {env['INTERFACE']}")
    holder = subprocess.Popen(
        node.command("sh", "-c", f"exec 9>{STATE}/locks/tap0; flock 9; echo; exec sleep 30"),
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout and holder.stdout.readline()
        said = node.script(HOOK, after("SHUTDOWN", first, second)).stderr
        assert "tap0" in said and "is held by another call" in said
        assert not about(snapshot(node), "tap1")
    finally:
        holder.kill()
        holder.communicate()
    node.script(HOOK, after("SHUTDOWN", first, second))
    assert not leftovers(node)


@pytest.mark.parametrize("phase", ["pre", ""])
def test_a_pre_hook_touches_nothing(node: Machine, phase: str) -> None:
    env = nic("routed", 1, INTERFACE="tap0")
    plug(node, "tap0")
    node.up(env)
    node.ip("link del tap0")
    before = snapshot(node)
    node.script(HOOK, {**after("SHUTDOWN", env), "GANETI_HOOKS_PHASE": phase})
    same(before, snapshot(node))


def test_reconfigure_gives_a_running_nic_its_new_profile_without_losing_it(node: Machine) -> None:
    env = nic("routed", 1, INTERFACE="tap0", TAGS="synnefo:network:0:unprotected")
    plug(node, "tap0")
    node.up(env)
    tagged = {**env, "TAGS": "synnefo:network:0:protected synnefo:network:0:reconfigure"}
    before = snapshot(node)
    node.script(RECONFIGURE, after("SET_PARAMS", {**tagged, "TAGS": "synnefo:network:0:protected"}))
    same(before, snapshot(node))  # nobody asked for it
    node.script(RECONFIGURE, after("SET_PARAMS", tagged))
    changed = {line for line in before ^ snapshot(node) if not line.startswith("text ")}
    assert {line.partition("goto")[0].split()[0] for line in changed} == {"element"} and len(changed) == 2, (
        changed
    )


def test_reconfigure_leaves_a_nic_alone_whose_guest_has_another_mac(node: Machine) -> None:
    env = nic("routed", 1, INTERFACE="tap0", TAGS="synnefo:network:0:reconfigure")
    plug(node, "tap0")
    node.up(env)
    before = snapshot(node)
    node.script(RECONFIGURE, after("SET_PARAMS", {**env, "MAC": "aa:00:00:00:00:99"}))
    same(before, snapshot(node))


def test_what_failed_in_a_migration_comes_up_by_the_next_hook(node: Machine) -> None:
    """Ganeti says nothing of an ifup that failed after the guest had moved: the record does."""
    env = nic("routed", 1, INTERFACE="tap0")
    plug(node, "tap0")
    node.run("nft", "flush", "ruleset")
    with stand_in(node, "nft", "#!/bin/sh\necho no memory; exit 1\n"):
        assert node.up(env, check=False).returncode == 1
    assert "not up" in node.out(SCRIPTS / "snf-network", "status")
    assert "203.0.113.21" not in node.out("ip", "route", "show", "table", "all")
    node.script(HOOK, after("SHUTDOWN", instance="other.example.com"))
    assert "203.0.113.21 dev tap0" in node.out("ip", "route", "show", "table", "all")
    node.run(SCRIPTS / "snf-network", "check")


def test_repair_pending_does_the_same_from_a_timer(node: Machine) -> None:
    env = nic("routed", 1, INTERFACE="tap0")
    plug(node, "tap0")
    node.run("nft", "flush", "ruleset")
    with stand_in(node, "nft", "#!/bin/sh\necho no memory; exit 1\n"):
        assert node.up(env, check=False).returncode == 1
        assert node.run(SCRIPTS / "snf-network", "repair", "--pending", check=False).returncode == 1
    node.run(SCRIPTS / "snf-network", "repair", "--pending", "--quiet")
    node.run(SCRIPTS / "snf-network", "check")


@pytest.mark.quiet
@pytest.mark.parametrize("script", [UP, DOWN, HOOK, RECONFIGURE])
def test_no_call_takes_over_5_seconds_when_nft_hangs(node: Machine, script: str) -> None:
    """Nor does anything it leaves behind hold Ganeti's pipe."""
    env = nic("routed", 1, INTERFACE="tap0", TAGS="synnefo:network:0:protected synnefo:network:0:reconfigure")
    others = [
        {
            **env,
            "INTERFACE": f"tap{number}",
            "INTERFACE_UUID": f"u{number}",
            "IP": f"203.0.113.{100 + number}",
            "MAC": f"aa:00:00:00:01:{number:02x}",
        }
        for number in range(1, 4)
    ]
    for each in (env, *others):
        plug(node, each["INTERFACE"])
        node.up(each)
    if script == HOOK:
        for each in (env, *others):
            node.ip(f"link del {each['INTERFACE']}")
    given = {
        UP: env,
        DOWN: env,
        HOOK: after("SHUTDOWN", env, *others),
        RECONFIGURE: after("SET_PARAMS", env, *others),
    }[script]
    node.run("nft", "flush", "ruleset")  # else nobody needs nft
    with stand_in(node, "nft", HANGS):
        status, seconds = timed(node, script, given)
    assert seconds < LIMIT and status == (script == UP), (seconds, status)
    node.run(SCRIPTS / "snf-network", "gc")
    node.run(SCRIPTS / "snf-network", "repair")
    node.run(SCRIPTS / "snf-network", "check")


def test_no_call_takes_over_5_seconds_when_its_disk_hangs(node: Machine) -> None:
    """A file that never opens, as on a file system whose server is away: the kernel ends the call, and Ganeti
    sees a failure.
    """
    env = nic("routed", 1, INTERFACE="tap0")
    plug(node, "tap0")
    # Debian 13 has none
    node.run("sh", "-ec", f"[ ! -e {RT_TABLES} ] || mv {RT_TABLES} {RT_TABLES}.kept; mkfifo {RT_TABLES}")
    try:
        status, seconds = timed(node, UP, env)
    finally:
        node.run("sh", "-ec", f"rm {RT_TABLES}; [ ! -e {RT_TABLES}.kept ] || mv {RT_TABLES}.kept {RT_TABLES}")
    assert LIMIT - 1 < seconds < LIMIT + 0.5 and status, (status, seconds)
    node.up(env)
    node.run(SCRIPTS / "snf-network", "check")


def test_200_cycles_in_random_order_leave_nothing(node: Machine) -> None:
    """Starts and stops of six instances on four tap names, with hooks and downs before, after, twice, late or
    never.
    """
    chance = random.Random(148)
    running: dict[str, dict[str, str]] = {}
    late: list[tuple[str, dict[str, str]]] = []
    for cycle in range(200):
        tap = f"tap{chance.randrange(4)}"
        old = running.pop(tap, None)
        if old:
            calls = chance.sample(
                [(DOWN, old), (HOOK, after("SHUTDOWN", old)), (DOWN, old)], chance.randrange(4)
            )
            early = [call for call in calls if chance.random() < 0.5]
            for script, env in early:
                if script == DOWN:
                    node.script(script, env)
            node.ip(f"link del {tap}")
            late += [call for call in calls if call not in early or call[0] == HOOK]
        busy = {env["INSTANCE"] for env in running.values()}
        env = chance.choice(
            [
                env
                for env in (
                    nic(kind, number, INTERFACE=tap)
                    for kind in ("routed", "filtered")
                    for number in (1, 2, 3)
                )
                if env["INSTANCE"] not in busy
            ]
        )
        plug(node, tap)
        late = [
            call for call in late if call[0] == HOOK or call[1]["INSTANCE"] != env["INSTANCE"]
        ]  # Ganeti's lock keeps these in order
        node.up(env)
        running[tap] = env
        while late and chance.random() < 0.6:
            script, words = late.pop(chance.randrange(len(late)))
            node.script(script, words)
            assert f"tap{tap[3:]}\t" in node.read(f"{STATE}/{tap}"), (
                f"cycle {cycle}: {script} took the new owner of {tap}"
            )
        if cycle % 20 == 19:
            found = json.loads(node.run(SCRIPTS / "snf-network", "check", "--json", check=False).stdout)
            assert not found["missing"] and not found["orphan"] and not found["rules"], (
                f"cycle {cycle}: {found}"
            )
    for tap in running:
        node.ip(f"link del {tap}")
    node.run(SCRIPTS / "snf-network", "gc")
    assert not leftovers(node)


def test_repeats_of_an_announcement_hold_no_pipe(node: Machine) -> None:
    plug(node, "tap0")
    status, seconds = timed(node, UP, nic("routed", 1, INTERFACE="tap0"))
    assert status == 0 and seconds < 0.9, seconds  # the repeats come after 1 s and 3 s
    until(lambda: node.read(f"{STATE}/tap0"))


HOSTILE = [
    "",
    "-1",
    "9" * 5000,
    "\u00b2",
    "1.5",
    "$(touch /var/tmp/pwned)",
    "x" * 300,
    "\x1b[31m",
    "\udcff",
    "..",
    "a\nb",
    "*",
]


@pytest.mark.parametrize(
    "name",
    [
        "GANETI_HOOKS_PHASE",
        "GANETI_OP_CODE",
        "GANETI_INSTANCE_NAME",
        "GANETI_POST_INSTANCE_NIC_COUNT",
        "GANETI_POST_INSTANCE_TAGS",
        "GANETI_POST_INSTANCE_NIC0_MAC",
        "GANETI_POST_INSTANCE_NIC0_UUID",
        "GANETI_POST_INSTANCE_NIC0_IP",
        "GANETI_POST_INSTANCE_NIC0_LINK",
        "GANETI_OLD_PRIMARY",
    ],
)
def test_a_hook_with_a_hostile_variable_fails_no_operation(node: Machine, name: str) -> None:
    """And takes nothing from a NIC that lives."""
    env = nic("routed", 1, INTERFACE="tap0", TAGS="synnefo:network:0:reconfigure")
    plug(node, "tap0")
    node.up(env)
    before = snapshot(node)
    for value in HOSTILE[name.endswith(("_IP", "_LINK")) :]:  # without one of these is what a NIC may be
        for script in (HOOK, RECONFIGURE):
            ran = node.script(script, {**after("SET_PARAMS", env), name: value})
            assert "Traceback" not in ran.stderr and len(ran.stderr.splitlines()) < 2, (value, ran.stderr)
    same(
        *(
            frozenset(line for line in state if ":variable\t" not in line)
            for state in (before, snapshot(node))
        )
    )
    assert node.run("test", "-e", "/var/tmp/pwned", check=False).returncode == 1
