"""Ganeti nodes with many NICs, each brought up by the real script, in machines made of namespaces
(tests/netns/lab.py).
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.netns.lab import SCRIPTS, Lab, Machine, environment  # noqa: E402, F401

UP, DOWN = str(SCRIPTS / "kvm-ifup-custom"), str(SCRIPTS / "kvm-ifdown-custom")
UPLINK, TABLE = "eth1", 222
PORTS = 1000
"""Taps in one bridge; the kernel takes 1023."""
SETTLE = 4.0
"""Seconds that the announcements of an ifup take."""
Environment = dict[str, str]
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Ran:
    """What one process and the children it waited for took, in ms."""

    cpu: float
    wall: float


@contextmanager
def inside(machine: Machine) -> Iterator[None]:
    """This process is in the machine: its network and its files."""

    def enter(handles: Sequence[int]) -> None:
        for handle in handles:
            if _libc.setns(handle, 0):
                raise OSError(ctypes.get_errno(), "setns")
            os.close(handle)

    def handles(process: object) -> list[int]:
        return [os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]

    home, here = handles("self"), str(Path.cwd())
    enter(handles(machine.holder.pid))
    os.chdir("/")
    try:
        yield
    finally:
        enter(home)
        os.chdir(here)


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


def routed(number: int) -> Environment:
    """Dual stack, ip-less-routed with a firewall profile and a binding."""
    return environment(
        "add-routed-ifup-1",
        INTERFACE=f"tap{number}",
        MAC=f"aa:00:01:{_octets(number)}",
        IP=f"198.18.{1 + number // 250}.{1 + number % 250}",
        NETWORK_SUBNET="198.18.0.0/16",
        NETWORK_GATEWAY="198.18.0.1",
        INSTANCE=f"inst{number}.example.com",
        INTERFACE_UUID=f"5ac0de01-0000-4000-8000-{number:012}",
        TAGS="synnefo:network:0:protected",
    )


def filtered(number: int, profile: str = "") -> Environment:
    """private-filtered with a binding. All have one MAC prefix: a broadcast is for everybody."""
    bridge = f"prv{number // PORTS}"
    return environment(
        "add-bridged-ifup-1",
        INTERFACE=f"tap{number}",
        MAC=f"aa:55:60:{_octets(number)}",
        LINK=bridge,
        BRIDGE=bridge,
        IP=f"198.19.{1 + number // 250}.{1 + number % 250}",
        NETWORK_SUBNET="198.19.0.0/16",
        INSTANCE=f"inst{number}.example.com",
        INTERFACE_UUID=f"5ac0de03-0000-4000-8000-{number:012}",
        TAGS=profile and f"synnefo:network:0:{profile}",
    )


def pinned(number: int, profile: str = "") -> Environment:
    """The same with all addresses pinned, dual stack: the dearest that a bridged NIC can have."""
    return {
        **filtered(number, profile),
        "NETWORK_TAGS": "ip-filtered nfdhcpd private-filtered",
        "NETWORK_SUBNET6": "2001:db8:2::/64",
    }


def nics(count: int) -> str:
    """So many NICs, in words."""
    return f"{count} NIC{'s' * (count != 1)}"


def _octets(number: int) -> str:
    return ":".join(f"{octet:02x}" for octet in number.to_bytes(3, "big"))


def node(lab: Lab, name: str, uplink_to: Machine, far: str) -> Machine:
    """A node whose table 222 leads to `far` in `uplink_to`, with that router's MAC address known for good."""
    made = lab.machine(name)
    lab.cable(made, UPLINK, uplink_to, far)
    uplink_to.ip(f"link set {far} up")
    made.write("/etc/iproute2/rt_tables.d/snf.conf", f"{TABLE} snf_public\n")
    made.ip(
        f"link set {UPLINK} up",
        f"rule add iif {UPLINK} lookup {TABLE}",
        f"-6 rule add iif {UPLINK} lookup {TABLE}",
    )
    for family, gateway in (("-4", "198.51.100.1"), ("-6", "2001:db8:ffff::1")):
        made.ip(
            f"{family} route add default via {gateway} dev {UPLINK} table {TABLE} onlink",
            f"neigh replace {gateway} lladdr {address_of(uplink_to, far)} dev {UPLINK} nud permanent",
        )
    for key in ("all", UPLINK):
        made.sysctl(f"net/ipv4/conf/{key}/rp_filter", 0)
    for name in ("iptables", "ip6tables", "arptables") if Path("/proc/sys/net/bridge").exists() else ():
        made.sysctl(f"net/bridge/bridge-nf-call-{name}", 0)
    return made


def bridges(machine: Machine, everybody: Sequence[Environment]) -> None:
    """The bridges that the NICs name."""
    for name in {nic["LINK"]: None for nic in everybody if nic["MODE"] == "bridged"}:
        machine.ip(f"link add {name} type bridge forward_delay 0 mcast_snooping 0", f"link set {name} up")


def address_of(machine: Machine, device: str) -> str:
    """The MAC address of a device."""
    words = machine.out("ip", "-o", "link", "show", device).split()
    return words[words.index("link/ether") + 1]


def bring_up(machine: Machine, everybody: Sequence[Environment]) -> None:
    """The real ifup for each NIC: the first alone, as it loads the ruleset, then as many at once as there are
    CPUs.
    """
    running: list[tuple[int, Environment]] = []
    with inside(machine):
        run([UP], everybody[0])
        for nic in everybody[1:]:
            if len(running) >= (os.cpu_count() or 1):
                pid, earlier = running.pop(0)
                finish(pid, [UP], earlier)
            running.append((start([UP], nic), nic))
        for pid, earlier in running:
            finish(pid, [UP], earlier)


def at_once(machine: Machine, script: str, everybody: Sequence[Environment]) -> float:
    """Seconds from the first start to the last end of one script for each NIC, all at once."""
    with inside(machine):
        began = time.perf_counter()
        running = [(start([script], nic), nic) for nic in everybody]
        for pid, nic in running:
            finish(pid, [script], nic)
        return time.perf_counter() - began


@contextmanager
def laboratory() -> Iterator[Lab]:
    """A lab that is closed whatever happens."""
    lab = Lab()
    try:
        yield lab
    finally:
        lab.close()
