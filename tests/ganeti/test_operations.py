"""What Ganeti does with an instance in its life, and after each step: the guest's own network, both nodes' records, the kernels' leftovers.

A test takes its instance as it finds it and brings it up first, so that any of them runs alone.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.ganeti.cluster import Cluster
from tests.ganeti.instance import GATEWAYS, Instance, Nic, private, public
from tests.netns.lab import until

KINDS: dict[str, tuple[Callable[[int], Nic], Callable[[int], Nic], int]]
KINDS = {"routed": (public, private, 10), "filtered": (private, public, 20)}
"""By what an instance is: its NIC, the other kind, which is plugged in later, and its number."""


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, cluster: Cluster) -> Instance:
    first, _, number = KINDS[request.param]
    return Instance(cluster, request.param, first(number))


@pytest.fixture
def vm(made: Instance, peer: Instance) -> Instance:
    """An instance that runs; peer is there, too."""
    made.running()
    return made


def well(vm: Instance, peer: Instance) -> None:
    """Assert that the guest has its network, in both directions, and that both nodes are in order."""
    theirs = {nic.network: nic for nic in peer.nics}
    for nic in vm.nics:
        vm.reaches(*GATEWAYS[nic.network], *({theirs[nic.network].ip, theirs[nic.network].ip6} - {""}))
        if nic.network == "public":
            assert all(vm.cluster.router.ping(address, count=3) for address in (nic.ip, nic.ip6))
    vm.cluster.check()


def test_add(vm: Instance, peer: Instance) -> None:
    well(vm, peer)


def test_stop_rename_and_start(vm: Instance, peer: Instance) -> None:
    vm.gnt("stop", "--timeout=20")
    vm.cluster.check()
    vm.rename(f"{vm.name.partition('.')[0]}-2")
    vm.cluster.check()
    vm.gnt("start")
    vm.awake()
    well(vm, peer)


def test_reboot(vm: Instance, peer: Instance) -> None:
    vm.gnt("reboot", "-t", "hard", "--shutdown-timeout=20")
    vm.cluster.check()
    vm.awake()
    well(vm, peer)


def test_poweroff_from_inside(vm: Instance, peer: Instance) -> None:
    node = vm.node
    taps = {row["interface"] for row in json.loads(node.out("snf-network", "status", "--json")) if row["instance"] == vm.name}
    vm.ask("poweroff -f")
    assert until(lambda: not taps & set(node.out("ls", "/sys/class/net").split()), 30)
    assert node.run("snf-network", "check", check=False).returncode == 1
    node.run("snf-network", "gc")
    vm.cluster.check()
    vm.gnt("start")
    vm.awake()
    well(vm, peer)


def test_hotplug(vm: Instance, peer: Instance) -> None:
    other, number = next((other, number) for first, other, number in KINDS.values() if first(number).network == vm.nics[0].network)
    vm.plug(other(number + 1))
    vm.cluster.check()
    vm.set_up(1)
    well(vm, peer)
    vm.change(1, ip=other(number + 2).ip)
    vm.cluster.check()
    vm.set_up(1)
    well(vm, peer)
    vm.unplug(1)
    well(vm, peer)


def test_live_migration_there_and_back(vm: Instance, peer: Instance) -> None:
    for _ in range(2):
        old = vm.node
        vm.gnt("migrate", "-f")
        assert vm.node is not old
        well(vm, peer)


def test_failover(vm: Instance, peer: Instance) -> None:
    old = vm.node
    vm.gnt("failover", "-f", "--shutdown-timeout=20")
    assert vm.node is not old
    vm.cluster.check()
    vm.awake()
    well(vm, peer)


@contextmanager
def no_ping_is_lost(vm: Instance) -> Iterator[None]:
    """The router pings the guest all the time."""
    words = vm.cluster.router.command("ping", "-n", "-q", "-i", "0.05", "-W", "5", vm.nics[0].ip)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ping:
        yield
        ping.send_signal(2)
        said = ping.communicate(timeout=30)[0]
    assert " 0% packet loss" in said, said


def answer(vm: Instance) -> type[OSError]:
    """How the guest answers a TCP connection to a port where nobody listens."""
    with vm.cluster.router.inside():
        try:
            socket.create_connection((vm.nics[0].ip, 9), timeout=2).close()
        except OSError as error:
            return type(error)
    raise AssertionError("who listens there?")


@pytest.mark.parametrize("made", ("routed",), indirect=True)
def test_a_profile_changes_while_the_guest_runs(vm: Instance, peer: Instance) -> None:
    assert answer(vm) is ConnectionRefusedError
    vm.cluster.gnt("instance", "add-tags", vm.name, "synnefo:network:0:protected", "synnefo:network:0:reconfigure")
    with no_ping_is_lost(vm):
        vm.gnt("modify", "--net", "0:modify,name=front")
    assert answer(vm) is TimeoutError
    well(vm, peer)
    vm.cluster.gnt("instance", "remove-tags", vm.name, "synnefo:network:0:protected")
    vm.cluster.gnt("instance", "add-tags", vm.name, "synnefo:network:0:unprotected")
    with no_ping_is_lost(vm):
        vm.gnt("modify", "--net", "0:modify,name=back")
    assert answer(vm) is ConnectionRefusedError
    well(vm, peer)


def test_remove(vm: Instance) -> None:
    vm.gnt("remove", "-f", "--shutdown-timeout=20")
    vm.cluster.check()
