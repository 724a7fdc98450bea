"""Three nodes of a cluster with an underlay between them, and an outsider who is on it as well."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lab.machine import Machine
from lab.network import Lab
from snf_network.model.networks import VXLAN_PORT

FILE = "/etc/snf-network/networks.yaml"
SSCONF = "/var/lib/ganeti"


class Cluster:
    """Nodes named node1 ... with addresses 10.99.0.1 ... (or fd99::1 ...) on eth0, and outside, .66."""

    def __init__(self, lab: Lab, size: int = 3, prefix: str = "10.99.0.", mtu: int = 1500) -> None:
        self.lab, self.prefix = lab, prefix
        self.switch = lab.machine("switch")
        self.switch.ip("link add us type bridge forward_delay 0 mcast_snooping 0", "link set us up")
        self.nodes = [self.joined(f"node{number}", number, mtu) for number in range(1, size + 1)]
        self.outsider = self.joined("outside", 66, mtu)
        self.tell(range(1, size + 1))

    def joined(self, name: str, number: int, mtu: int) -> Machine:
        """A machine on the underlay."""
        machine = self.lab.machine(name)
        self.lab.cable(self.switch, name, machine, "eth0")
        self.switch.ip(f"link set {name} mtu {mtu} master us up")
        length = 64 if ":" in self.prefix else 24
        nodad = " nodad" if ":" in self.prefix else ""
        machine.ip(f"link set eth0 mtu {mtu} up", f"addr add {self.address(number)}/{length} dev eth0{nodad}")
        return machine

    def address(self, number: int) -> str:
        """The address of node<number>."""
        return f"{self.prefix}{number}"

    def tell(self, numbers: Iterator[int] | range | list[int], offline: str = "", *to: Machine) -> None:
        """Write Ganeti's list of nodes, on these machines or on all nodes."""
        lines = "".join(f"node{number}.example.com {self.address(number)}\n" for number in numbers)
        for node in to or self.nodes:
            node.write(f"{SSCONF}/ssconf_node_secondary_ips", lines)
            node.write(f"{SSCONF}/ssconf_offline_nodes", offline)

    def say(self, text: str, *to: Machine) -> None:
        """Write networks.yaml, on these nodes or on all."""
        for node in to or self.nodes:
            node.write(FILE, text)

    def silent(self, place: int, bridge: str, mac: str, tap: str = "tap9", address: str = "") -> Machine:
        """A guest on node<place> that says nothing by itself; with an IPv4 address it answers."""
        node, guest = self.nodes[place - 1], self.lab.machine(f"silent{place}{tap}")
        guest.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        self.lab.cable(node, tap, guest, "eth0")
        guest.ip(f"link set eth0 address {mac} arp {'on' if address else 'off'}", "link set eth0 up")
        if address:
            guest.ip(f"addr add {address} dev eth0")
        node.up(environment(tap, mac, bridge))
        return guest

    def leave(self, place: int, tap: str = "tap9") -> None:
        """That guest's end."""
        node = self.nodes[place - 1]
        node.ip(f"link del {tap}")
        node.script("snf-network", {}, "gc")
        self.lab.machines.pop(f"silent{place}{tap}").close()


def forge(sender: Machine, target: str, vni: int, frame: bytes) -> None:
    """Send a frame in VXLAN (RFC 7348, 5) from a machine's own address, as no node does."""
    kind = socket.AF_INET6 if ":" in target else socket.AF_INET
    with sender.inside(), socket.socket(kind, socket.SOCK_DGRAM) as outer:
        outer.sendto(bytes((8, 0, 0, 0)) + vni.to_bytes(3, "big") + b"\0" + frame, (target, VXLAN_PORT))


@contextmanager
def cluster(**how: object) -> Iterator[Cluster]:
    """A cluster that is ended whatever happens."""
    made = Lab()
    try:
        yield Cluster(made, **how)  # type: ignore[arg-type]
    finally:
        made.close()


def environment(tap: str, mac: str, bridge: str, tags: str = "", ip: str = "") -> Mapping[str, str]:
    """What Ganeti says of a bridged NIC."""
    return {
        "INTERFACE": tap,
        "INSTANCE": f"{tap}.example.com",
        "INTERFACE_UUID": f"uuid-{tap}",
        "INTERFACE_INDEX": "0",
        "MAC": mac,
        "MODE": "bridged",
        "LINK": bridge,
        "NETWORK_TAGS": tags,
        **({"IP": ip, "NETWORK_SUBNET": "10.1.0.0/24"} if ip else {}),
    }
