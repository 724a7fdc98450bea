"""Nodes with many NICs (lab/nodes.py), each brought up by the real script, and what a process took."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import ROOT, SCRIPTS, Lab, Machine, environment, laboratory  # noqa: E402, F401
from lab.nodes import PORTS, UPLINK, Environment, address_of, bridges, fabric, filtered, node, pinned, routed  # noqa: E402, F401

UP, DOWN = str(SCRIPTS / "kvm-ifup-custom"), str(SCRIPTS / "kvm-ifdown-custom")
SETTLE = 4.0
"""Seconds that the announcements of an ifup take."""


@dataclass(frozen=True)
class Ran:
    """What one process and the children it waited for took, in ms."""

    cpu: float
    wall: float


def start(argv: Sequence[str], env: Environment) -> int:
    """Start a process whose output goes nowhere; its number."""
    return os.posix_spawn(
        argv[0],
        argv,
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        ],
    )


def finish(pid: int, argv: Sequence[str], env: Environment, began: float = 0.0) -> Ran:
    """Wait for a process; a failure is an error, as a figure of what did not work is none."""
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise RuntimeError(
            f"{' '.join(argv)} for {env.get('INTERFACE')}: exit status {os.waitstatus_to_exitcode(status)}"
        )
    return Ran((used.ru_utime + used.ru_stime) * 1e3, wall * 1e3)


def run(argv: Sequence[str], env: Environment) -> Ran:
    """One process to its end."""
    began = time.perf_counter()
    return finish(start(argv, env), argv, env, began)


def nics(count: int) -> str:
    """So many NICs, in words."""
    return f"{count} NIC{'s' * (count != 1)}"


def crowd(machine: Machine, far: Machine, taps: Sequence[str]) -> None:
    """Veth ends named as the taps. The far ends, in a machine of their own, are up and drop all they get."""
    far.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    added = (f"link add {tap} type veth peer name {tap} netns {far.holder.pid}" for tap in taps)
    machine.run("ip", "-batch", "-", input="\n".join(added), timeout=300)
    far.run("ip", "-batch", "-", input="\n".join(f"link set {tap} up arp off" for tap in taps), timeout=300)


def bring_up(machine: Machine, everybody: Sequence[Environment], script: str = UP) -> None:
    """The real ifup for each NIC: the first alone, as it loads the ruleset, then as many at once as there are
    CPUs.
    """
    running: list[tuple[int, Environment]] = []
    with machine.entered():
        run([script], everybody[0])
        for nic in everybody[1:]:
            if len(running) >= (os.cpu_count() or 1):
                pid, earlier = running.pop(0)
                finish(pid, [script], earlier)
            running.append((start([script], nic), nic))
        for pid, earlier in running:
            finish(pid, [script], earlier)


def at_once(machine: Machine, script: str, everybody: Sequence[Environment]) -> float:
    """Seconds from the first start to the last end of one script for each NIC, all at once."""
    with machine.entered():
        began = time.perf_counter()
        running = [(start([script], nic), nic) for nic in everybody]
        for pid, nic in running:
            finish(pid, [script], nic)
        return time.perf_counter() - began
