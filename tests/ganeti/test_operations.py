"""Ganeti's operations on an instance, and after each step: the guest's own network, the records of both
nodes, and leftovers in the kernels.

There are always two instances, a routed and a filtered one. Each test brings them up first, so each also runs
alone.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lab.ganeti.cluster import Cluster
from lab.ganeti.instance import GATEWAYS, Instance, private, public
from tests.netns.lab import until

PLUGGED = {"public": private, "private": public}
"""The NIC that is plugged into an instance whose own is in this network."""


class Pair:
    """The two instances, and the one that they talk to."""

    def __init__(self, cluster: Cluster, peer: Instance) -> None:
        self.cluster, self.peer = cluster, peer
        self.routed, self.filtered = (
            Instance(cluster, "routed", public(10)),
            Instance(cluster, "filtered", private(20)),
        )

    def each(self, act: Callable[[Instance], object]) -> None:
        """Do something with both, at once; and then the nodes are in order."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(act, (self.routed, self.filtered)))
        self.cluster.check()

    def gnt(self, verb: str, *arguments: object) -> None:
        """gnt-instance <verb>, for each."""
        self.each(lambda vm: vm.gnt(verb, *arguments))

    def well(self) -> None:
        """Assert that both guests have their network, in both directions, when they are awake."""
        self.each(self._well)

    def _well(self, vm: Instance) -> None:
        vm.awake()
        theirs = {nic.network: nic for nic in self.peer.nics}
        for nic in vm.nics:
            vm.reaches(*GATEWAYS[nic.network], *({theirs[nic.network].ip, theirs[nic.network].ip6} - {""}))
            if nic.network == "public":
                assert all(self.cluster.router.ping(address, count=3) for address in (nic.ip, nic.ip6)), nic

    def moves(self, verb: str, *arguments: object) -> None:
        """Assert that each is on the other node after that."""
        before = {vm.name: vm.node for vm in (self.routed, self.filtered)}
        self.gnt(verb, "-f", *arguments)
        assert all(vm.node is not before[vm.name] for vm in (self.routed, self.filtered))
        self.well()


@pytest.fixture(scope="module")
def made(cluster: Cluster, peer: Instance) -> Pair:
    return Pair(cluster, peer)


@pytest.fixture
def pair(made: Pair) -> Pair:
    """Two instances that run."""
    made.each(Instance.running)
    return made


def test_add(pair: Pair) -> None:
    pair.well()


def test_stop_rename_and_start(pair: Pair) -> None:
    pair.gnt("stop", "--timeout=20")
    pair.each(lambda vm: vm.rename(f"{vm.name.partition('.')[0]}-2"))
    pair.gnt("start")
    pair.well()


def test_reboot(pair: Pair) -> None:
    pair.gnt("reboot", "-t", "hard", "--shutdown-timeout=20")
    pair.well()


def test_poweroff_from_inside(pair: Pair) -> None:
    def poweroff(vm: Instance) -> None:
        vm.ask("poweroff -f")
        # nobody is told, so the node has it still, and knows that it is gone
        assert until(lambda: (vm.name, "gone") in {(row["instance"], row["state"]) for row in status(vm)}, 30)

    nodes = {node.name: node for node in (pair.routed.node, pair.filtered.node)}
    with pytest.raises(AssertionError, match="is not here any more: snf-network gc"):
        pair.each(poweroff)
    for node in nodes.values():
        node.run("snf-network", "gc")
    pair.cluster.check()
    pair.gnt("start")
    pair.well()


def status(vm: Instance) -> list[dict[str, str]]:
    """What all nodes say of all NICs."""
    return [
        row
        for node in vm.cluster.nodes.values()
        for row in json.loads(node.out("snf-network", "status", "--json"))
    ]


def number(vm: Instance) -> int:
    """The last number of its own address."""
    return int(vm.nics[0].ip.rpartition(".")[2])


def test_hotplug(pair: Pair) -> None:
    pair.each(lambda vm: vm.plug(PLUGGED[vm.nics[0].network](number(vm) + 1)))
    pair.each(lambda vm: vm.set_up(1))
    pair.well()
    pair.each(lambda vm: vm.change(1, ip=PLUGGED[vm.nics[0].network](number(vm) + 2).ip))
    pair.each(lambda vm: vm.set_up(1))
    pair.well()
    pair.each(lambda vm: vm.unplug(1))
    pair.well()


def test_live_migration_there_and_back(pair: Pair) -> None:
    pair.moves("migrate")
    pair.moves("migrate")


def test_failover(pair: Pair) -> None:
    pair.moves("failover", "--shutdown-timeout=20")


@contextmanager
def no_ping_is_lost(vm: Instance) -> Iterator[None]:
    """The router pings the guest all the time. The last ping may still be on its way when it ends."""
    words = vm.cluster.router.command("ping", "-n", "-i", "0.05", "-W", "5", vm.nics[0].ip)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ping:
        try:
            yield
        finally:  # else a failure would wait for it for ever
            ping.send_signal(signal.SIGINT)
        said = ping.communicate(timeout=30)[0]
    answered = {int(number) for number in re.findall(r"bytes from .* icmp_seq=(\d+) ", said)}
    sent = int(re.findall(r"(\d+) packets transmitted", said)[0])
    assert sent > 20 and answered >= {*range(1, sent)}, said


def answer(vm: Instance) -> type[OSError]:
    """How the guest answers a TCP connection to a port where nobody listens."""
    with vm.cluster.router.inside():
        try:
            socket.create_connection((vm.nics[0].ip, 9), timeout=2).close()
        except OSError as error:
            return type(error)
    raise AssertionError("who listens there?")


def test_a_profile_changes_while_the_guest_runs(pair: Pair) -> None:
    vm, tag = pair.routed, "synnefo:network:0"
    assert answer(vm) is ConnectionRefusedError
    vm.cluster.gnt("instance", "add-tags", vm.name, f"{tag}:protected", f"{tag}:reconfigure")
    with no_ping_is_lost(vm):
        vm.modify("0:modify,name=front", hotplug=False)
    assert answer(vm) is TimeoutError
    vm.cluster.gnt("instance", "remove-tags", vm.name, f"{tag}:protected")
    vm.cluster.gnt("instance", "add-tags", vm.name, f"{tag}:unprotected")
    with no_ping_is_lost(vm):
        vm.modify("0:modify,name=back", hotplug=False)
    assert answer(vm) is ConnectionRefusedError
    pair.well()


def test_remove(pair: Pair) -> None:
    pair.gnt("remove", "-f", "--shutdown-timeout=20")


def test_ganeti_copies_our_script_to_a_node_that_it_adds(cluster: Cluster) -> None:
    """The link that the package made there is a file then, and the package must know it:
    tests/package/test_install.py.
    """
    path = cluster.nodes["node2"].path("/etc/ganeti/kvm-vif-bridge")
    assert not path.is_symlink()
    assert path.read_text() == cluster.nodes["node2"].path("/usr/lib/snf-network/kvm-ifup-custom").read_text()
