"""A Ganeti cluster of two nodes with the package under test on each, and what its hypervisor needs to run
without KVM.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lab import Lab, laboratory, traces
from lab.ganeti.base import base
from lab.ganeti.node import Node

if TYPE_CHECKING:
    from lab.ganeti.instance import Instance, Nic

DOMAIN = "example.com"
NODES = ("node1", "node2")
HOSTS = {"cluster": "192.0.2.10", "node1": "192.0.2.11", "node2": "192.0.2.12"}
PUBLIC = {
    "network": "198.51.100.0/24",
    "gateway": "198.51.100.1",
    "network6": "2001:db8:1::/64",
    "gateway6": "2001:db8:1::1",
    "tags": "nfdhcpd,ip-less-routed",
}
PRIVATE = {"network": "203.0.113.0/24", "mac-prefix": "aa:55:60", "tags": "nfdhcpd,private-filtered"}
NETWORKS = {"public": (PUBLIC, "mode=routed,link=snf_public"), "private": (PRIVATE, "mode=bridged,link=prv0")}

QEMU = """#!/bin/bash
# stock QEMU, without the words that ask for hardware acceleration
words=()
for word; do
  case $word in -enable-kvm | -disable-kvm) ;; *) words+=("${word//,accel=kvm/}") ;; esac
done
exec /usr/bin/qemu-system-x86_64 "${words[@]}"
"""
SSH = "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
KEYS = """
# the tree has one key for every host; it does for its root, too, of another type than Ganeti makes
cp /etc/ssh/ssh_host_ed25519_key /root/.ssh/id_ed25519
cp /etc/ssh/ssh_host_ed25519_key.pub /root/.ssh/authorized_keys
chmod -R go= /root/.ssh
"""
HYPERVISOR = {
    "kvm_path": "/usr/local/bin/kvm",
    "kvm_flag": "",
    "kernel_path": "/guest/vmlinux",
    "initrd_path": "/guest/initrd",
    "root_path": "/dev/ram0",
    "serial_console": "true",
    "vnc_bind_address": "",
    "vhost_net": "false",
    "nic_type": "paravirtual",
    "migration_downtime": "30",
    "migration_bandwidth": "128",
}
"""No disk and no display; a guest that does nothing is copied in one pass."""
STANDARD = "memory-size=96,disk-size=0,disk-count=0,cpu-count=1,nic-count=1,spindle-use=1"
BOUNDS = (
    "min:memory-size=32,disk-size=0,disk-count=0,cpu-count=1,nic-count=0,spindle-use=0/"
    "max:memory-size=512,disk-size=512,disk-count=1,cpu-count=1,nic-count=4,spindle-use=1"
)
OS = "/usr/share/ganeti/os/none"


class Cluster:
    """Two nodes, the router of their public network, and Ganeti. Node 1 is the master.

    `known` are all instances that were ever made, `words` all addresses that their NICs ever had.
    """

    def __init__(self, lab: Lab, debs: list[Path], suite: str = "") -> None:
        self.lab, self.debs, self.tree = lab, debs, base(suite)
        self.known: list[Instance] = []
        self.words: set[str] = set()
        self.router = lab.router()
        self.router.ip(
            *(
                line
                for name in ("mgmt0", "prv0")
                for line in (f"link add {name} type bridge forward_delay 0", f"link set {name} up")
            )
        )
        self.router.ip(
            "link set br0 address 02:00:00:00:00:fe"
        )  # else it is that of a port, and changes with them
        for key in (
            "ipv4/ip_forward",
            "ipv6/conf/all/forwarding",
        ):  # guests that are no neighbours meet there
            self.router.sysctl(f"net/{key}", 1)
        with ThreadPoolExecutor() as pool:
            self.nodes = dict(zip(NODES, pool.map(self._node, NODES)))
        self.master = self.nodes["node1"]
        self._init()

    def _node(self, name: str) -> Node:
        """One that runs, has its networks and our package, and can be logged into."""
        node = Node(name, self.tree, f"{name}.{DOMAIN}")
        self.lab.machines[name] = node
        self.lab.networks(node, self.router)
        for device, bridge in (("eth0", "mgmt0"), ("eth2", "prv0")):
            self.lab.cable(self.router, f"{name}-{device}", node, device)
            self.router.ip(f"link set {name}-{device} master {bridge} up")
        node.ip(f"addr add {HOSTS[name]}/24 dev eth0", "link set eth0 up", "link set eth2 master prv0 up")
        self._files(node)
        self._install(node)
        node.run("/usr/sbin/sshd")
        return node

    def _files(self, node: Node) -> None:
        """What an administrator has set up before Ganeti comes."""
        node.write(
            "/etc/hosts",
            "127.0.0.1 localhost\n" + "".join(f"{ip} {name}.{DOMAIN} {name}\n" for name, ip in HOSTS.items()),
        )
        node.write("/etc/resolv.conf", "")
        node.write("/root/.ssh/config", SSH)
        node.run("sh", "-ec", KEYS)
        node.write("/usr/local/bin/kvm", QEMU)
        for name in ("create", "export", "import", "rename", "verify"):
            node.write(f"{OS}/{name}", "#!/bin/sh\nexit 0\n")
        for name, text in (
            ("ganeti_api_version", "20\n"),
            ("variants.list", "default\n"),
            ("parameters.list", ""),
        ):
            node.write(f"{OS}/{name}", text)
        node.run("sh", "-c", f"chmod +x /usr/local/bin/kvm {OS}/*")

    def _install(self, node: Node) -> None:
        for deb in self.debs:
            node.path(f"/root/{deb.name}").write_bytes(deb.read_bytes())
        node.run("dpkg", "-i", *(f"/root/{deb.name}" for deb in self.debs))

    def _init(self) -> None:
        self.gnt(
            "cluster",
            "init",
            "--enabled-hypervisors=kvm",
            "--enabled-disk-templates=diskless",
            "--no-etc-hosts",
            "--master-netdev=eth0",
            "--master-netmask=32",
            "--nic-parameters=mode=bridged,link=prv0",
            "--mac-prefix=aa:00:00",
            f"--ipolicy-std-specs={STANDARD}",
            f"--ipolicy-bounds-specs={BOUNDS}",
            "-H",
            "kvm:" + ",".join(f"{name}={value}" for name, value in HYPERVISOR.items()),
            f"cluster.{DOMAIN}",
        )
        self.gnt("node", "add", "--no-ssh-key-check", f"node2.{DOMAIN}")
        for name, (settings, nic) in NETWORKS.items():
            self.gnt("network", "add", *(f"--{option}={value}" for option, value in settings.items()), name)
            self.gnt("network", "connect", f"--nic-parameters={nic}", name, "default")

    def gnt(self, kind: str, *arguments: object, check: bool = True) -> str:
        """Run gnt-<kind> on the master; what it printed, stderr too."""
        ran = self.master.run(f"gnt-{kind}", *arguments, check=check)
        return ran.stdout + ran.stderr

    @property
    def version(self) -> tuple[int, int]:
        """Of Ganeti: major and minor."""
        found = re.search(r"ganeti v?(\d+)\.(\d+)", self.master.out("gnt-cluster", "--version"))
        assert found, "gnt-cluster --version"
        return int(found[1]), int(found[2])

    def instances(self) -> dict[str, tuple[str, str]]:
        """Primary node and status of every instance, by its name."""
        told = self.gnt("instance", "list", "--no-headers", "--separator=:", "-o", "name,pnode,status")
        return {
            name: (node.partition(".")[0], status)
            for name, node, status in (line.split(":") for line in told.splitlines())
        }

    def check(self) -> None:
        """Assert that both nodes are as recorded, have the NICs that Ganeti says run there, and nothing of
        any other.
        """
        told = self.instances()
        here = {
            name: [known for known in self.known if told.get(known.name) == (name, "running")]
            for name in self.nodes
        }
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda name: self._check(self.nodes[name], here[name]), self.nodes):
                pass

    def _check(self, node: Node, here: list[Instance]) -> None:
        ran = node.run("snf-network", "check", check=False)
        # only some tests start nfdhcpd
        said = [line for line in ran.stderr.splitlines() if "nfdhcpd" not in line]
        assert (ran.returncode, ran.stdout, said) == (0, "clean\n", []), (
            f"{node.name}: {ran.stdout}{ran.stderr}"
        )
        states = sorted(
            (row["instance"], row["mac"], row["state"])
            for row in json.loads(node.out("snf-network", "status", "--json"))
        )
        assert states == sorted((known.name, nic.mac, "up") for known in here for nic in known.nics), (
            node.name
        )
        assert leftovers(node, [nic for known in here for nic in known.nics], self.words) == [], node.name

    def kill(self, name: str) -> None:
        """A node dies: its processes, its network, its files."""
        self.nodes.pop(name).close()

    def replace(self, name: str) -> None:
        """Another machine for a node that is lost."""
        self.nodes[name] = self._node(name)
        self.gnt("node", "add", "--readd", "--no-ssh-key-check", f"{name}.{DOMAIN}")


def leftovers(node: Node, nics: list[Nic], words: set[str]) -> list[str]:
    """What a node holds, by the kernel's own word, of a tap that it has not, or of an address (all are in
    `words`) that is not here.

    What names neither, such as a rule of a routing table, is there for routed NICs, and left over without.
    """
    taps = set(re.findall(r"tap\d+", node.out("ls", "/sys/class/net")))
    gone = words - {word for nic in nics for word in nic.words}
    routed = any(nic.network == "public" for nic in nics)

    def is_left(trace: str) -> bool:
        named = set(re.findall(r"\btap\d+\b", trace))
        return bool(named - taps or gone & set(re.findall(r"[0-9a-f.:]+", trace))) or not (routed or named)

    return [trace for trace in traces(node) if is_left(trace)]


@contextmanager
def cluster(debs: list[Path], suite: str = "") -> Iterator[Cluster]:
    """One of a release of Debian, or else of this machine's. It is gone afterwards, whatever happens."""
    with laboratory() as lab:
        yield Cluster(lab, debs, suite)
