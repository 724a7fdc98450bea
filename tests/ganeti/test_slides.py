"""The example of the slides that presented gnt-network, and a routed guest. Both guests are configured only
by what nfdhcpd tells them.

nfdhcpd is that of the package. It runs in the node, and is ended by its pid.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.ganeti.cluster import Cluster
from lab.ganeti.instance import BOOT, Instance, Nic, public
from lab.ganeti.node import Node
from tests.netns.lab import until

MANGLE = "PREROUTING -i prv+ -p udp -m udp --dport 67 -j NFQUEUE --queue-num 42"
GUEST, GATEWAY = "192.168.1.2", "192.168.1.1"
DEFAULTS = "/etc/default/snf-network"


@contextmanager
def nfdhcpd(node: Node, *arguments: str) -> Iterator[None]:
    """It runs on the node, and guests are served."""
    command = node.command("/usr/sbin/nfdhcpd", "--foreground", *arguments)
    entered = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True
    )  # nsenter, which waits for its child, the daemon
    try:
        assert until(lambda: node.run("nfdhcpctl", "list", check=False).returncode == 0, 30), (
            "it does not serve"
        )
        yield
    finally:
        for pid in Path(f"/proc/{entered.pid}/task/{entered.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGTERM)
        said = entered.communicate(timeout=30)[1]
        print(said)
    assert entered.returncode == 0
    assert "defect" not in said


def served(node: Node, vm: Instance) -> dict[str, int]:
    """What became of the frames that a guest sent to nfdhcpd."""
    rows = json.loads(node.out("snf-network", "status", "--json"))
    tap = next(row["interface"] for row in rows if row["instance"] == vm.name)
    return dict(json.loads(node.out("nfdhcpctl", "show", tap, "--json"))["counts"])


def seconds(vm: Instance, name: str) -> float:
    """When a guest had its address, in seconds since its kernel started."""
    assert until(lambda: vm.ask(f"[ -s /{name} ]")[0] == 0, 15), vm.ask("ip addr")
    return float(vm.ask(f"cat /{name}")[1])


@pytest.fixture(scope="module")
def inst1(cluster: Cluster) -> Iterator[Instance]:
    """The slides up to `gnt-instance add`, and `ip addr add`: the guest runs, has asked, and nobody has
    answered.

    Their `gnt-network connect net1 bridged prv0` is spelt with --nic-parameters in Ganeti 3.
    """
    node, made = cluster.master, Instance(cluster, "inst1", Nic("net1", "", "pool"), asks=True)
    cluster.gnt(
        "network", "add", "--network", "192.168.1.0/24", "--gateway", GATEWAY, "--tags", "nfdhcpd", "net1"
    )
    cluster.gnt("network", "connect", "--nic-parameters=mode=bridged,link=prv0", "net1", "default")
    made.add()
    made.chosen()
    node.ip(f"addr add {GATEWAY}/24 dev prv0")
    yield made
    made.gnt("remove", "-f", "--shutdown-timeout=0")
    cluster.gnt("network", "disconnect", "net1", "default")
    cluster.gnt("network", "remove", "net1")
    node.ip(f"addr del {GATEWAY}/24 dev prv0")
    cluster.check()


@contextmanager
def iptables_line(node: Node) -> Iterator[None]:
    """The slides' own."""
    node.sysctl("net/bridge/bridge-nf-call-iptables", 1)
    node.run("iptables", *f"-t mangle -A {MANGLE}".split())
    try:
        yield
    finally:
        node.run("iptables", *f"-t mangle -D {MANGLE}".split())


@contextmanager
def engine(node: Node, name: str) -> Iterator[None]:
    """nfdhcpd with this engine, and the scripts know of it."""
    before = node.read(DEFAULTS)
    node.write(DEFAULTS, f"{before}\nNFDHCPD_ENGINE={name}\n")
    try:
        with nfdhcpd(node, "--engine", name):
            yield
    finally:
        node.write(DEFAULTS, before)


def assert_answers(cluster: Cluster, inst1: Instance) -> None:
    """The slides' last page: `gnt-instance reboot inst1`, `ping 192.168.1.2`. All that the guest has came by
    one lease.
    """
    node = cluster.master
    inst1.gnt("reboot", "--shutdown-timeout=20")
    assert until(lambda: node.ping(GUEST), BOOT), inst1.ask("ip addr")
    inst1.awake()
    assert f"inet {GUEST}/24 " in inst1.ask("ip addr show eth0")[1]
    assert inst1.ask("ip route show default")[1].startswith(f"default via {GATEWAY} dev eth0")
    inst1.reaches(GATEWAY)
    counts = served(node, inst1)
    assert counts["ack"] == 1, counts
    cluster.check()
    print(f"net1: address {seconds(inst1, 'lease'):.1f} s after the guest's kernel started")


def test_nobody_answers_yet(cluster: Cluster, inst1: Instance) -> None:
    """Else the other tests would show nothing."""
    inst1.awake()
    assert inst1.ask("ip addr show eth0 | grep 192.168; test -e /lease") == (1, "")
    assert f" {GUEST}" in cluster.gnt("instance", "info", inst1.name)
    assert "192.168.1.0/24" in cluster.gnt("network", "info", "net1")


def test_without_the_iptables_line(cluster: Cluster, inst1: Instance) -> None:
    with nfdhcpd(cluster.master):
        assert_answers(cluster, inst1)


@pytest.mark.parametrize("name", ["nfqueue", "packet"])
def test_with_the_iptables_line(cluster: Cluster, inst1: Instance, name: str) -> None:
    """It feeds the engine that is made for it; the other one does not mind."""
    node = cluster.master
    with iptables_line(node), engine(node, name):
        assert_answers(cluster, inst1)
        taken = int(node.out("iptables", "-t", "mangle", "-nvxL", "PREROUTING").splitlines()[2].split()[0])
        assert (taken > 0) is (name == "nfqueue")


def test_routed_guest_gets_both_families(cluster: Cluster) -> None:
    tags = "snf-network:0:nfdhcpd:SLAAC:yes"  # a guest that forms its address and asks no DHCPv6 server
    vm = Instance(cluster, "asks", public(60), asks=True, tags=tags)
    with nfdhcpd(cluster.master):
        vm.add()
        vm.awake()
        nic = vm.nics[0]
        assert all(
            until(lambda address=address: cluster.router.ping(address), 30) for address in (nic.ip, nic.ip6)
        ), vm.ask("ip addr")
        ipv4, ipv6 = (seconds(vm, name) for name in ("lease", "advertised"))
        print(f"routed: IPv4 {ipv4:.1f} s and IPv6 {ipv6:.1f} s after the guest's kernel started")
        assert served(cluster.master, vm)["ack"] == 1
        cluster.check()
        vm.gnt("remove", "-f", "--shutdown-timeout=0")
    cluster.check()
