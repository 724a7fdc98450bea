"""A fabric: a top-of-rack switch and nodes with one uplink each, and no network between them but BGP. Either
side runs BIRD 2 or FRR, the nodes with the configurations that we ship (examples/).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.machine import ROOT, Machine
from lab.network import Lab
from snf_network.selftest.world import until

WORLD, WORLD6 = "203.0.113.1", "2001:db8:f::1"
"""Addresses of the switch, as if they were somewhere in the world."""
DAEMONS = "zebra", "bgpd"
NODE_AS, TOR_AS = "65001", "65100"
BIRD_TOR = """router id 10.255.0.254;
protocol device { }
protocol static way4 { ipv4; route 0.0.0.0/0 unreachable; }
protocol static way6 { ipv6; route ::/0 unreachable; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; }
"""
BIRD_PEER = """protocol bgp {
	local as TOR_AS; neighbor PEER as NODE_AS; hold time 90; connect delay time 1;
	ipv4 { extended next hop on; import all; export where source = RTS_STATIC; };
	ipv6 { import all; export where source = RTS_STATIC; };
}
"""
FRR_TOR = """router bgp TOR_AS
 bgp router-id 10.255.0.254
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
"""
FRR_PEER = """ neighbor PEER remote-as NODE_AS
 neighbor PEER timers connect 2
 neighbor PEER capability extended-nexthop
 address-family ipv4 unicast
  neighbor PEER activate
  neighbor PEER default-originate
 exit-address-family
 address-family ipv6 unicast
  neighbor PEER activate
  neighbor PEER default-originate
 exit-address-family
"""


class Daemon:
    """A routing daemon in a machine."""

    def __init__(self, machine: Machine, kind: str) -> None:
        self.machine, self.kind = machine, kind
        self.processes: list[subprocess.Popen[bytes]] = []

    def begin(self, text: str) -> None:
        """Start it, with this configuration."""
        self.machine.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        {"bird": self._bird, "frr": self._frr}[self.kind](text)

    def _start(self, *argv: str) -> None:
        words = self.machine.command(*argv)
        quiet = subprocess.DEVNULL
        self.processes.append(subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet))

    def _bird(self, text: str) -> None:
        self.machine.write("/etc/bird/bird.conf", text)
        self.machine.run("mkdir", "-p", "/var/lib/snf-network-bird")
        self.machine.run("install", "-d", "-o", "bird", "-g", "bird", "/run/bird")
        self._start("bird", "-f", "-u", "bird", "-g", "bird")
        assert until(lambda: "is up" in self.say("show status")), self.machine.read("/etc/bird/bird.conf")

    def _frr(self, text: str) -> None:
        self.machine.write("/etc/frr/frr.conf", text)
        self.machine.write("/etc/frr/vtysh.conf", "")
        self.machine.run("install", "-d", "-o", "frr", "-g", "frr", "/run/frr", "/var/log/frr")
        for name in DAEMONS:
            self._begin_of_frr(name)

    def _begin_of_frr(self, name: str) -> None:
        """Start it and give it the file, as watchfrr does."""
        self._start(f"/usr/lib/frr/{name}", "-A", "127.0.0.1", "-P", "0", "-f", "/dev/null")
        words = ("vtysh", "-d", name, "-c", "show version")
        assert until(lambda: not self.machine.run(*words, check=False).returncode)
        self.machine.run("vtysh", "-b", "-d", name)

    def restart(self, name: str) -> None:
        """Kill a daemon of FRR, and start it again."""
        place = DAEMONS.index(name)
        process = self.processes.pop(place)
        process.kill()
        process.wait(10)
        self._begin_of_frr(name)
        self.processes.insert(place, self.processes.pop())

    def say(self, words: str) -> str:
        """What birdc or vtysh answers."""
        tool = ("birdc", *words.split()) if self.kind == "bird" else ("vtysh", "-c", words)
        return self.machine.run(*tool, check=False).stdout

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It tells its peers nothing."""
        if self.kind == "bird":
            text = self.machine.read("/etc/bird/bird.conf")
            self.configure(text.replace("export filter snf_guests_out", "export none"))
            yield
            self.configure(text)
            return
        rules = [f"route-map SNF-GUESTS{family} deny 5" for family in (4, 6)]
        self.machine.run("vtysh", "-c", "configure", *(word for rule in rules for word in ("-c", rule)))
        yield
        gone = [f"no {rule}" for rule in rules]
        self.machine.run("vtysh", "-c", "configure", *(word for rule in gone for word in ("-c", rule)))

    def configure(self, text: str) -> None:
        """Let BIRD have another configuration."""
        self.machine.write("/etc/bird/bird.conf", text)
        self.machine.run("birdc", "configure")

    def close(self) -> None:
        """End it, and wait for it."""
        for process in self.processes:
            process.kill()
            process.wait(10)


class Fabric:
    """A switch and nodes 1, 2 ..., each with uplinks eth1, eth2 ... to it, and a session on each."""

    def __init__(self, lab: Lab, kind: str, nodes: int = 2, uplinks: int = 1) -> None:
        self.lab, self.kind, self.uplinks = lab, kind, range(1, uplinks + 1)
        self.daemons: list[Daemon] = []
        self.tor = self._machine("tor")
        self.tor.ip(f"addr add {WORLD}/32 dev lo", f"-6 addr add {WORLD6}/128 dev lo nodad")
        self.nodes = [self._node(number) for number in range(1, nodes + 1)]
        numbers = range(1, nodes + 1)
        texts = [self._tor_text(numbers), *(node_text(kind, number, uplinks) for number in numbers)]
        try:
            for machine, text in zip((self.tor, *self.nodes), texts, strict=True):
                self.daemons.append(Daemon(machine, kind))
                self.daemons[-1].begin(text)
        except BaseException:
            self.close()
            raise

    def _machine(self, name: str) -> Machine:
        machine = self.lab.machine(name)
        for key in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
            machine.sysctl(f"net/{key}", 1)
        for key in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"):
            machine.sysctl(f"net/{key}", 0)
        return machine

    def _node(self, number: int) -> Machine:
        node = self._machine(f"node{number}")
        node.ip(f"addr add 10.255.0.{number}/32 dev lo")
        for uplink in self.uplinks:
            far, near = f"node{number}" if uplink == 1 else f"node{number}-{uplink}", f"eth{uplink}"
            self.lab.cable(self.tor, far, node, near)
            self.tor.ip(f"link set {far} up", f"-6 addr add {tor_address(number, uplink)}/64 dev {far} nodad")
            node.ip(f"link set {near} up", f"-6 addr add {node_address(number, uplink)}/64 dev {near} nodad")
        return node

    def _tor_text(self, numbers: range) -> str:
        head, peer = (BIRD_TOR, BIRD_PEER) if self.kind == "bird" else (FRR_TOR, FRR_PEER)
        peers = [node_address(number, uplink) for number in numbers for uplink in self.uplinks]
        text = head + "".join(peer.replace("PEER", address) for address in peers)
        return text.replace("TOR_AS", TOR_AS).replace("NODE_AS", NODE_AS)

    def on(self, machine: Machine) -> Daemon:
        """The daemon of a machine."""
        return next(one for one in self.daemons if one.machine is machine)

    def ready(self) -> bool:
        """True once each node has its ways out."""
        return until(lambda: all(map(has_ways_out, self.nodes)), 20)

    def route(self, address: str) -> str:
        """The device by which the switch sends to an address; empty if it has no route of its own to it."""
        words = self.tor.out("ip", "-6" if ":" in address else "-4", "route", "show", address).split()
        return words[words.index("dev") + 1] if "dev" in words else ""

    def close(self) -> None:
        """End the daemons. The machines are the lab's."""
        for daemon in self.daemons:
            daemon.close()


def tor_address(number: int, uplink: int = 1) -> str:
    """The switch's address towards a node."""
    return f"2001:db8:ff{number:02}:{uplink}::1"


def node_address(number: int, uplink: int = 1) -> str:
    """The node's address on its uplink."""
    return f"2001:db8:ff{number:02}:{uplink}::2"


def has_ways_out(node: Machine) -> bool:
    """True if the node has a default route of each family."""
    return all("default" in node.out("ip", family, "route", "show", "default") for family in ("-4", "-6"))


def node_text(kind: str, number: int, uplinks: int = 1) -> str:
    """What we ship, filled in as an admin does: the lines with TOR are there for each uplink."""
    text = (ROOT / "examples" / f"{kind}-guests.conf").read_text(encoding="utf-8")
    if kind == "bird":
        text = f"router id 10.255.0.{number};\nprotocol device {{ }}\n{text}"
    text = text.replace("NODE_AS", NODE_AS).replace("NODE_ID", f"10.255.0.{number}").replace("TOR_AS", TOR_AS)
    lines = []
    for line in text.splitlines():
        for uplink in range(1, uplinks + 1) if " TOR " in line else (1,):
            ours = line.replace("TOR", tor_address(number, uplink))
            lines.append(ours.replace("snf_tor", f"snf_tor{uplink}"))
    return "\n".join(lines) + "\n"
