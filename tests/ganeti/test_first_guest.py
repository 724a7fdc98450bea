"""docs/first-guest.md, line by line, on two nodes that have nothing but Debian, Ganeti and cables; then the
how-tos, on the same nodes.

Each block is run as it stands there. What stands for a reader's machines is made here: names and keys, the
cables, and an OS definition `debootstrap` that puts nothing on the disk, as the guest's root is in its initrd.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import laboratory
from lab.ganeti.cluster import HOSTS, Cluster
from lab.ganeti.instance import BOOT, Instance, Nic
from lab.ganeti.node import Node
from tests.blocks import block
from tests.ganeti.test_slides import nfdhcpd
from tests.netns.lab import Machine, until

BOOK = "docs/first-guest.md"
OS = "/usr/share/ganeti/os"
MACHINE = f"""
mv {OS}/none {OS}/debootstrap
ln -s /guest/vmlinux /vmlinuz; ln -s /guest/initrd /initrd.img
rm /usr/bin/kvm; mv /usr/local/bin/kvm /usr/bin/kvm
"""
KERNEL = "kvm:kernel_args=console=ttyS0 quiet panic=1 rdinit=/init ask0=dhcp"
"""The guest's way of asking by DHCP; a guest on a disk has it in a file."""
CABLES = {"eth0": "mgmt0", "eth1": "br0", "eth2": "prv0", "eth4": "br0"}
"""Where each NIC of a node leads to; eth4 is for the how-tos."""


class Empty(Cluster):
    """Two nodes and a router, and no cluster yet."""

    def _node(self, name: str) -> Node:
        node = Node(name, self.tree, f"{name}.example.com")
        self.lab.machines[name] = node
        for device, bridge in CABLES.items():
            self.lab.cable(self.router, f"{name}-{device}", node, device)
            self.router.ip(f"link set {name}-{device} master {bridge} up")
            node.ip(f"link set {device} up")
        node.ip(f"addr add {HOSTS[name]}/24 dev eth0")
        self._files(node)
        node.run("sh", "-ec", MACHINE)
        self._install(node)
        node.run("/usr/sbin/sshd")
        return node

    def _install(self, node: Node) -> None:
        """The second line of the block; the first is what the tree was made with."""
        for deb in self.debs:
            node.path(f"/root/{deb.name}").write_bytes(deb.read_bytes())
        ganeti, ours = block(BOOK, "Install").splitlines()
        assert ganeti == "apt-get -y install ganeti qemu-system-x86"
        self.type(node, ours)

    def _init(self) -> None:
        """That is what the reader does."""

    def type(self, node: Machine, lines: str) -> str:
        """Run lines in /root, as they stand; what they said."""
        ran = node.run("bash", "-exc", f"cd /root\n{lines}", check=False, timeout=300)
        assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
        return ran.stdout

    def read(self, key: str, document: str = BOOK) -> str:
        """Type a block of a document on node 1."""
        return self.type(self.master, block(document, key))


@pytest.fixture(scope="module")
def pair(root: None, request: pytest.FixtureRequest, debs: list[Path]) -> Iterator[Empty]:
    with laboratory() as lab:
        yield Empty(lab, debs, request.config.getoption("debian"))


@pytest.fixture(scope="module")
def served(pair: Empty) -> Iterator[None]:
    """nfdhcpd runs on both nodes, as systemd would have it."""
    with contextlib.ExitStack() as stack:
        for node in pair.nodes.values():
            stack.enter_context(nfdhcpd(node))
        yield


def known(pair: Empty, name: str, *networks: str) -> Instance:
    """An instance that a block has made."""
    made = Instance(pair, name, *(Nic(network, "", "pool") for network in networks), asks=True)
    made.chosen()
    made.awake()
    return made


def test_the_cluster_is_made(pair: Empty) -> None:
    pair.read("Tell the nodes their networks")
    pair.read("Make the cluster")
    pair.read("Make the cluster #2")
    pair.gnt("cluster", "modify", "-H", KERNEL)
    for node in pair.nodes.values():
        assert "default via 198.51.100.1 dev eth1" in node.out("ip", "route", "show", "table", "222")
        assert "master prv0" in node.out("ip", "link", "show", "eth2")


def test_the_first_guest_answers(pair: Empty, served: None) -> None:
    pair.read("Make the public network")
    pair.read("Start the guest")
    web = known(pair, "web", "public")
    assert web.nics[0].ip == "198.51.100.2"
    assert until(lambda: pair.router.ping("198.51.100.2"), BOOT), web.ask("ip addr")
    pair.type(pair.router, block(BOOK, "Start the guest #2"))
    said = pair.read("Look at what the node did")
    assert "web.example.com" in said and "clean" in said and "served" in said, said


def test_so_it_does_by_ipv6(pair: Empty, served: None) -> None:
    told = pair.master.out("snf-network", "map", "--json")
    address = next(word.strip('",] ') for word in told.split() if word.startswith('"2001:db8:1:0:'))
    assert until(lambda: pair.router.ping(address), 30)


def test_a_private_network(pair: Empty, served: None) -> None:
    pair.read("And a private network")
    private = known(pair, "db", "private")
    assert private.nics[0].ip == "10.0.0.1" and private.nics[0].mac.startswith("aa:55:60:")
    assert until(lambda: "10.0.0.1/24" in private.ask("ip addr")[1], 30)


def test_howto_public(pair: Empty, served: None) -> None:
    """A second network by a second uplink: its lines come below those of the first."""
    pair.router.ip("addr add 203.0.113.1/24 dev br0", "addr add 2001:db8:2::1/64 dev br0 nodad")
    before = pair.master.read("/etc/snf-network/networks.yaml")
    pair.type(pair.master, block("docs/howto/public.md", "On the nodes").replace("networks:\n", before, 1))
    pair.read("In Ganeti", "docs/howto/public.md")
    pair.gnt("instance", "modify", *hotplug(pair), "--net", "add:ip=pool,network=internet", "web.example.com")
    web = known(pair, "web", "public", "internet")
    assert until(lambda: web.ask("set_up eth1 ask0=dhcp")[0] == 0, 30)
    assert until(lambda: "203.0.113.2/24" in web.ask("ip addr")[1], 30), web.ask("ip addr")


def hotplug(pair: Empty) -> tuple[str, ...]:
    """Ganeti 3.1 does that by default, and has no such option."""
    return ("-f", "--hotplug") if pair.version < (3, 1) else ("-f",)


def test_howto_private(pair: Empty, served: None) -> None:
    pair.read("In Ganeti", "docs/howto/private.md")
    line = block("docs/howto/private.md", "A NIC for a guest that runs")
    pair.type(pair.master, line if pair.version < (3, 1) else line.replace(" --hotplug", ""))
    assert "10.0.1.1" in pair.master.out("snf-network", "status")


def test_howto_trunk(pair: Empty) -> None:
    """A guest in it needs a bridge that filters VLANs: tests/qemu/test_vlans.py, for a kernel that has them."""
    pair.read("In Ganeti", "docs/howto/trunk.md")
    assert "vlan:.5:6:7" in pair.gnt("network", "info", "edge")


def test_howto_dns(pair: Empty) -> None:
    pair.read("The tag", "docs/howto/dns.md")
    assert "dns" in pair.gnt("network", "list-tags", "public")


def test_howto_upgrade(pair: Empty) -> None:
    """Guests of node 2 have their disks in files there, which no other node sees."""
    for name in [name for name, (node, _) in pair.instances().items() if node == "node2"]:
        pair.gnt("instance", "remove", "-f", "--shutdown-timeout=0", name)
    for key in ("Upgrade a node to the next Debian", "Upgrade a node to the next Debian #3"):
        pair.read(key, "docs/howto/upgrade.md")
    assert pair.type(pair.nodes["node2"], "snf-network net check") == "clean\n"


def test_a_private_network_over_all_nodes(pair: Empty) -> None:
    """docs/networks.md, on nodes without guests and without networks."""
    for name in pair.instances():
        pair.gnt("instance", "remove", "-f", "--shutdown-timeout=0", name)
    pair.gnt("cluster", "command", "snf-network net down --all")
    pair.read("A private network over all nodes, from nothing", "docs/networks.md")
    for node in pair.nodes.values():
        assert "vx100" in node.out("ip", "link", "show", "master", "ov100")
