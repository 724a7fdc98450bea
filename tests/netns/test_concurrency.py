"""Many calls at once: after a power cut Ganeti starts all instances of a node together, and an up and a down
of one NIC may overlap.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from snf_network.host.lock import Lock
from tests.netns.lab import ROOT, SCRIPTS, Lab, Machine, environment
from tests.netns.state import (
    State,
    about,
    difference,
    finish,
    is_up,
    one_line,
    same,
    snapshot,
    stand_in,
    start,
    until,
    waiting,
    wipe,
    without_base,
)

pytestmark = pytest.mark.quiet
UP, DOWN = "kvm-ifup-custom", "kvm-ifdown-custom"
MANY = 50
STRACE = ("strace", "-o", "/dev/null")
LOCK = "/var/lib/snf-network/locks/tap0"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def storm_node(lab: Lab) -> Machine:
    return with_taps(lab.node("storm", lab.router("storm-router")))


@pytest.fixture(scope="module")
def calm_node(lab: Lab) -> Machine:
    """The twin where everything happens one after the other: what the other one has to look like."""
    return with_taps(lab.node("calm", lab.router("calm-router")))


@pytest.fixture(autouse=True)
def nothing_there(storm_node: Machine, calm_node: Machine) -> None:
    for node in (storm_node, calm_node):
        wipe(node, *(f"tap{number}" for number in range(MANY)))


def with_taps(node: Machine) -> Machine:
    lines = "".join(
        f"tuntap add dev tap{n} mode tap\nlink set tap{n} address 02:00:00:00:01:{n:02x}\n"
        for n in range(MANY)
    )
    node.run("ip", "-batch", "-", input=lines)
    node.ip("link set eth1 address 02:00:00:00:02:01", "link set prv0 address 02:00:00:00:02:02")
    return node


def nic(number: int, **changes: str) -> dict[str, str]:
    """NIC `number`: odd ones are routed, even ones filtered."""
    mine = {
        "INTERFACE": f"tap{number}",
        "INSTANCE": f"inst{number}.example.com",
        "INTERFACE_UUID": f"5ac0de01-0000-4000-8000-{number:012}",
    }
    if number % 2:
        routed = {"IP": f"198.51.100.{50 + number}", "MAC": f"aa:00:00:00:00:{number:02x}"}
        return environment("add-routed-ifup-1", **{**mine, **routed, **changes})
    filtered = {"IP": f"203.0.113.{50 + number}", "MAC": f"aa:55:60:00:00:{number:02x}"}
    return environment("add-bridged-ifup-1", **{**mine, **filtered, **changes})


def at_once(node: Machine, *calls: tuple[str, Mapping[str, str]]) -> list[tuple[int, str]]:
    return finish(*[start(node, script, env) for script, env in calls])


def alike(storm: Machine, calm: Machine) -> list[str]:
    """How the two machines differ. The cables' state is none of ours, nor is that of a tap that is down."""
    return difference(in_use(snapshot(calm)), in_use(snapshot(storm)))


def in_use(state: State) -> State:
    return frozenset(
        line
        for line in state
        if not line.startswith(("link eth1 ", "link prv0 ")) and not re.match(r"link \S+ DOWN", line)
    )


@pytest.mark.parametrize("turn", range(3))
def test_fifty_first_nics_of_a_node_at_once(storm_node: Machine, calm_node: Machine, turn: int) -> None:
    """Nothing is there before: no rules, no policy rules, no directory. Each call finds what another is about
    to make.
    """
    began = time.monotonic()
    ended = at_once(storm_node, *[(UP, nic(number)) for number in range(MANY)])
    took = time.monotonic() - began
    print(f"{MANY} first ifups at once: {took:.2f} s")
    assert {said for said in ended if said != (0, "")} == set()
    for number in range(MANY):
        calm_node.up(nic(number))
    assert alike(storm_node, calm_node) == []
    assert took < 20


SLOW = {
    "the rules of the table": (1, '#!/bin/sh\nsleep 0.5\nexec /usr/sbin/ip "$@"\n', ()),
    "the note of the ruleset": (
        0,
        "",
        ("-P", "/var/lib/snf-network/.base.new", "-e", "inject=rename:delay_enter=500000"),
    ),
    "the directory of bindings": (
        0,
        "",
        ("-P", "/var/lib/nfdhcpd", "-e", "inject=mkdir:delay_enter=1000000"),
    ),
    "the state directory": (0, "", ("-P", "/var/lib/snf-network", "-e", "inject=mkdir:delay_enter=500000")),
    "the directory of locks": (
        0,
        "",
        ("-P", "/var/lib/snf-network/locks", "-e", "inject=mkdir:delay_enter=500000"),
    ),
    "the directory of what is shared": (
        1,
        "",
        ("-P", "/var/lib/snf-network/shared", "-e", "inject=mkdir:delay_enter=300000:when=1"),
    ),
}


@pytest.mark.parametrize("what", SLOW)
def test_two_first_nics_meet(storm_node: Machine, calm_node: Machine, what: str) -> None:
    """Both have found that something is not there, and both make it."""
    number, text, options = SLOW[what]
    pair = [nic(number), nic(number + 2)]
    before = (*STRACE, *options) if options else ()
    with stand_in(storm_node, "ip" if text else "no-tool", text):
        assert finish(*[start(storm_node, UP, env, *before) for env in pair]) == [(0, "")] * 2
    for env in pair:
        calm_node.up(env)
    assert alike(storm_node, calm_node) == []


def test_fifty_again_and_fifty_down_at_once(storm_node: Machine, calm_node: Machine) -> None:
    for number in range(MANY):
        storm_node.up(nic(number))
    before = snapshot(storm_node)
    began = time.monotonic()
    assert set(at_once(storm_node, *[(UP, nic(number)) for number in range(MANY)])) == {(0, "")}
    print(f"{MANY} repeated ifups at once: {time.monotonic() - began:.2f} s")
    same(before, snapshot(storm_node))
    began = time.monotonic()
    assert set(at_once(storm_node, *[(DOWN, nic(number)) for number in range(MANY)])) == {(0, "")}
    print(f"{MANY} ifdowns at once: {time.monotonic() - began:.2f} s")
    left = [line for line in without_base(snapshot(storm_node)) if not line.startswith(("link ", "vlan "))]
    assert left == []


@pytest.mark.parametrize("number", [1, 2])
def test_the_same_nic_eight_times_at_once(storm_node: Machine, calm_node: Machine, number: int) -> None:
    calm_node.up(nic(number))
    assert at_once(storm_node, *[(UP, nic(number))] * 8) == [(0, "")] * 8
    assert alike(storm_node, calm_node) == []


def test_whoever_lists_the_rules_is_not_disturbed_by_who_tries_them(storm_node: Machine) -> None:
    """`check` lists the rules, and has nft try them: the kernel dumps some twice, or not at all, while others
    are tried (it counts those of an unfinished transaction). Neither `check` nor a note may believe that.
    """
    storm_node.up(nic(1))
    command = storm_node.command(SCRIPTS / "snf-network", "check")
    for _ in range(3):
        checks = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
        storm_node.script("snf-network", {}, "load")
        for check in checks:
            assert (check.communicate(timeout=60)[0], check.returncode) == ("clean\n", 0)
    assert storm_node.script("snf-network", {}, "check").stdout == "clean\n"


def test_one_nic_with_two_addresses_at_once(storm_node: Machine, calm_node: Machine) -> None:
    """Either may be the last; nothing of the other is left."""
    changes = {
        "IP": "198.51.100.99",
        "MAC": "aa:00:00:00:00:99",
        "NETWORK_GATEWAY": "198.51.100.2",
        "TAGS": "synnefo:network:0:protected",
    }
    values = [nic(1), nic(1, **changes)]
    wanted = []
    for env in values:
        calm_node.up(env)
        wanted.append(in_use(snapshot(calm_node)))
        calm_node.down(env)
    for _ in range(3):
        assert at_once(storm_node, *[(UP, env) for env in values * 4]) == [(0, "")] * 8
        found = [difference(state, in_use(snapshot(storm_node))) for state in wanted]
        assert [] in found, min(found, key=len)


def test_up_and_down_of_one_nic_at_once_ends_whole_or_with_nothing(storm_node: Machine) -> None:
    for number in (1, 2) * 4:
        storm_node.up(nic(number))
        whole = snapshot(storm_node)
        storm_node.down(nic(number))
        nothing = snapshot(storm_node)
        storm_node.up(nic(number))
        assert at_once(storm_node, (DOWN, nic(number)), (UP, nic(number))) == [(0, "")] * 2
        now = snapshot(storm_node)
        assert [] in (difference(whole, now), difference(nothing, now)), min(
            difference(whole, now), difference(nothing, now), key=len
        )
        storm_node.down(nic(number))


def test_the_rules_of_a_table_are_there_while_a_nic_uses_them(
    storm_node: Machine, calm_node: Machine
) -> None:
    """The last NIC goes while the next comes, again and again."""
    pair = [nic(1), nic(3)]
    wanted = []
    for env in pair:
        calm_node.up(env)
        wanted.append(snapshot(calm_node))
        calm_node.down(env)
    storm_node.up(pair[0])
    for coming, going in itertools.islice(itertools.cycle([(1, 0), (0, 1)]), 20):
        assert at_once(storm_node, (DOWN, pair[going]), (UP, pair[coming])) == [(0, "")] * 2
        now = frozenset(line for line in snapshot(storm_node) if not line.startswith("link "))
        same(frozenset(line for line in wanted[coming] if not line.startswith("link ")), now)
    storm_node.down(pair[0])
    storm_node.down(pair[1])
    assert about(snapshot(storm_node), "rule ") == []


def test_rules_that_another_nic_came_for_are_never_gone(storm_node: Machine) -> None:
    """The last NIC of a table has decided to take the rules away; another one is up before it does. Without
    rules its packets would take the node's own routes.
    """
    going, coming = nic(1), nic(3)
    storm_node.up(going)
    down = start(storm_node, DOWN, going, *STRACE, "-e", "inject=rmdir:delay_exit=200000")
    until(lambda: not _has(storm_node, LAST_RULE))
    storm_node.up(coming)
    assert len(about(snapshot(storm_node), "rule ")) == 4
    watch = subprocess.Popen(storm_node.command("ip", "monitor", "rule"), stdout=subprocess.PIPE, text=True)
    until(lambda: "nsenter" not in _name(watch.pid))
    assert finish(down) == [(0, "")]
    watch.send_signal(signal.SIGINT)
    assert "Deleted" not in watch.communicate(timeout=5)[0], "the rules of a live NIC were gone for a while"
    assert len(about(snapshot(storm_node), "rule ")) == 4


def test_rules_stay_if_the_one_that_took_them_away_is_killed(storm_node: Machine) -> None:
    going, coming = nic(1), nic(3)
    storm_node.up(going)
    paths = ("-P", "/var/lib/snf-network/tap1", "-P", LAST_RULE)
    injected = ("-e", "inject=rmdir:delay_exit=200000", "-e", "inject=unlink:signal=KILL")
    down = start(storm_node, DOWN, going, *STRACE, *paths, *injected)
    until(lambda: not _has(storm_node, LAST_RULE))
    storm_node.up(coming)
    finish(down)
    assert len(about(snapshot(storm_node), "rule ")) == 4


LAST_RULE = "/var/lib/snf-network/shared/Rule+-4+222+lookup"
"""Goes when the last NIC of the table gives its rules up; then the rules go."""


def _has(machine: Machine, path: str) -> bool:
    return not machine.run("test", "-e", path, check=False).returncode


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read()


def test_two_nics_with_one_address_at_once(storm_node: Machine) -> None:
    """The address is free when the first looks, and taken when it comes to take it."""
    storm_node.up(nic(5))  # so that the rules are there, and with them the directory of locks
    holder = hold_lock(storm_node, LOCK.replace("tap0", "tap1"))
    first = start(storm_node, UP, nic(1, IP="198.51.100.77"))
    time.sleep(0.5)
    storm_node.up(nic(3, IP="198.51.100.77"))
    holder.kill()
    holder.wait()
    ((status, said),) = finish(first)
    routes = about(snapshot(storm_node), "route 198.51.100.77 ")
    assert routes == ["route 198.51.100.77  dev tap3 table 222"], "the route of a live NIC was stolen"
    assert status == 1
    one_line(said, "198.51.100.77")


def test_a_storm_of_ups_and_downs(storm_node: Machine, calm_node: Machine) -> None:
    some = range(12)
    for _ in range(2):
        calls = [(script, nic(number)) for number in some for script in (UP, DOWN, UP)]
        assert {ended for ended in at_once(storm_node, *calls)} == {(0, "")}
    assert set(at_once(storm_node, *[(UP if number < 6 else DOWN, nic(number)) for number in some])) == {
        (0, "")
    }
    for number in range(12):
        calm_node.up(nic(number))
    for number in range(6, 12):
        calm_node.down(nic(number))
    assert alike(storm_node, calm_node) == []


# --- locks


def hold_lock(node: Machine, lock: str = LOCK) -> subprocess.Popen[bytes]:
    """Somebody who has the lock and does not let go."""
    holder = subprocess.Popen(node.command("flock", "--no-fork", lock, "sleep", "60"))
    until(lambda: node.run("flock", "--nonblock", lock, "true", check=False).returncode == 1)
    return holder


def test_a_held_lock_is_waited_for_and_then_named(storm_node: Machine) -> None:
    storm_node.up(nic(0))
    before = snapshot(storm_node)
    holder = hold_lock(storm_node)
    try:
        began = time.monotonic()
        assert set(at_once(storm_node, (UP, nic(1)))) == {(0, "")}
        assert time.monotonic() - began < 2, "another NIC had to wait"
        storm_node.down(nic(1))
        began = time.monotonic()
        up, down = at_once(storm_node, (UP, nic(0, IP="203.0.113.9")), (DOWN, nic(0)))
        assert 1 < time.monotonic() - began < 6
    finally:
        holder.kill()
        holder.wait()
    assert (up[0], down[0]) == (1, 0)
    one_line(up[1], LOCK, "held")
    one_line(down[1], LOCK, "held")
    same(before, snapshot(storm_node))


def test_a_lock_that_is_let_go_in_time_is_taken(storm_node: Machine) -> None:
    storm_node.up(nic(0))
    holder = hold_lock(storm_node)
    call = start(storm_node, UP, nic(0))
    time.sleep(0.3)
    assert call.poll() is None
    holder.kill()
    holder.wait()
    assert finish(call) == [(0, "")]


def test_a_killed_holder_leaves_no_lock(storm_node: Machine) -> None:
    with waiting(storm_node, "nft") as (held, go):
        call = start(storm_node, UP, nic(0))
        held()
        child = int(
            subprocess.run(("pgrep", "-P", str(call.pid)), capture_output=True, text=True).stdout or 0
        )
        os.kill(call.pid, signal.SIGKILL)
        call.wait()
        began = time.monotonic()
        assert storm_node.up(nic(0)).stderr == ""
        assert time.monotonic() - began < 2, "a tool that a dead call left keeps its lock"
        go()
        until(lambda: not child or not os.path.exists(f"/proc/{child}"))
    assert is_up(snapshot(storm_node), "tap0")


HOLDER = """
import sys, threading, time
from snf_network.host import kernel
from snf_network.host.lock import Lock
assert Lock(sys.argv[1], "tap0", 0).take()
threading.Thread(target=kernel.run, args=(("sleep", sys.argv[2]),)).start()
time.sleep(0.02)  # until it has started the tool
print(flush=True)
"""


def test_a_tool_that_ends_while_it_is_looked_for_does_not_keep_the_lock(tmp_path: Path) -> None:
    """Its call is dead; it may end by itself before, while or after all processes are looked at."""
    for number in range(60):
        seconds = f"{0.03 + number / 3000:.4f}"
        command = (sys.executable, "-c", HOLDER, tmp_path, seconds)
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            holder.stdout.readline()
            holder.kill()
            holder.wait()
        lock = Lock(str(tmp_path), "tap0", 0)
        assert lock.take_now(), f"{number} of 60: the tool ran for {seconds} s"
        lock.__exit__()


MASQ = {"NETWORK_TAGS": "private-filtered masq"}
"""A NIC whose network has members that only nft knows how to write."""


@pytest.fixture
def masq_node(storm_node: Machine) -> Iterator[Machine]:
    storm_node.write("/etc/default/snf-network", "MASQ=yes\n")
    yield storm_node
    storm_node.run("rm", "/etc/default/snf-network")


def test_a_tool_of_a_killed_ifdown_does_nothing_to_the_next_nic(masq_node: Machine) -> None:
    """Its nft was about to remove the members that the next ifup adds: the guest would be up without them."""
    masq_node.up(nic(0, **MASQ))
    whole = snapshot(masq_node)
    with waiting(masq_node, "nft") as (held, go):
        call = start(masq_node, DOWN, nic(0, **MASQ))
        held()
        os.kill(call.pid, signal.SIGKILL)
        call.wait()
        masq_node.up(nic(0, **MASQ))
        go()
        time.sleep(0.3)
    assert snapshot(masq_node) == whole


def test_a_tap_made_anew_during_its_ifup_stays_down(storm_node: Machine) -> None:
    """gc would remove the members of the NIC that is gone, from under the new tap. `repair` brings it up."""
    with waiting(storm_node, "nft") as (held, go):
        call = start(storm_node, UP, nic(0))
        held()
        storm_node.ip("link del tap0", "tuntap add dev tap0 mode tap")
        go()
        ((status, said),) = finish(call)
    assert status == 1 and "No such device" in said, said
    storm_node.script("snf-network", {}, "gc")
    assert not is_up(snapshot(storm_node), "tap0")
    storm_node.script("snf-network", {}, "repair")
    assert is_up(snapshot(storm_node), "tap0")
    assert storm_node.script("snf-network", {}, "check").stdout == "clean\n"


def test_gc_does_not_wait_for_a_tool_of_a_killed_call(masq_node: Machine) -> None:
    masq_node.up(nic(0, **MASQ))
    with waiting(masq_node, "nft") as (held, _):
        call = start(masq_node, DOWN, nic(0, **MASQ))
        held()
        os.kill(call.pid, signal.SIGKILL)
        call.wait()
        masq_node.ip("link del tap0", "tuntap add dev tap0 mode tap")
        assert masq_node.script("snf-network", {}, "gc").stderr == ""
        assert masq_node.script("snf-network", {}, "check").stdout == "clean\n"


def test_nobody_else_can_hold_a_lock(storm_node: Machine) -> None:
    storm_node.up(nic(0))
    modes = storm_node.out(
        "stat",
        "-c",
        "%a %U",
        "/var/lib/snf-network/locks",
        LOCK,
        "/var/lib/snf-network",
        "/var/lib/snf-network/tap0",
    )
    assert modes.split("\n")[:4] == ["700 root", "600 root", "755 root", "644 root"]
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    for attempt in (
        ("flock", "--nonblock", LOCK, "true"),
        ("cat", LOCK),
        ("touch", "/var/lib/snf-network/locks/tap9"),
        ("touch", "/var/lib/snf-network/tap9"),
        ("flock", "--nonblock", "/var/lib/snf-network/locks", "true"),
    ):
        assert storm_node.run(*nobody, *attempt, check=False).returncode != 0, attempt
    assert storm_node.run(*nobody, "cat", "/var/lib/snf-network/tap0").stdout
