"""A guest: what Ganeti does with it, and what it says on its console."""

from __future__ import annotations

import itertools
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from lab import until
from lab.ganeti.cluster import DOMAIN, Cluster
from lab.ganeti.node import Node

CONSOLES = "/run/ganeti/kvm-hypervisor/ctrl"
BOOT = 90.0
"""Seconds that a guest may take to boot; an idle machine needs four."""
ANSWER = 20.0
"""Seconds that it may take for one command."""
TURNS = itertools.count(1)


@dataclass(frozen=True)
class Nic:
    """One NIC as it is asked for; `ip6` is what RFC 4291 makes of the MAC in the network's subnet. Ganeti may
    choose the MAC.
    """

    network: str
    mac: str
    ip: str
    ip6: str = ""

    @property
    def words(self) -> set[str]:
        """By which anything of it is known."""
        return {self.mac, self.ip, self.ip6} - {""}

    def option(self) -> str:
        """As gnt-instance takes it."""
        return f"ip={self.ip},network={self.network}{self.mac and f',mac={self.mac}'}"


GATEWAYS = {"public": ("198.51.100.1", "2001:db8:1::1"), "private": ()}


def public(number: int) -> Nic:
    """A NIC in the public network."""
    return Nic(
        "public",
        f"aa:00:00:12:34:{number:02x}",
        f"198.51.100.{number}",
        f"2001:db8:1:0:a800:ff:fe12:34{number:02x}",
    )


def private(number: int) -> Nic:
    """A NIC in the private network."""
    return Nic("private", f"aa:55:60:12:34:{number:02x}", f"203.0.113.{number}")


class Instance:
    """One instance of the cluster; `nics` is what it has now. If it `asks`, its guest knows no address but
    what DHCP and SLAAC give it. `tags` are those it is made with.
    """

    def __init__(self, cluster: Cluster, name: str, *nics: Nic, asks: bool = False, tags: str = "") -> None:
        self.tags = tags
        self.cluster, self.name, self.nics, self.asks = cluster, f"{name}.{DOMAIN}", list(nics), asks
        cluster.known.append(self)
        for nic in nics:
            cluster.words |= nic.words

    def gnt(self, verb: str, *arguments: object) -> str:
        """gnt-instance <verb> of it."""
        return self.cluster.gnt("instance", verb, *arguments, self.name)

    def add(self, node: str = "node1") -> None:
        """Make it, and start it."""
        words = (
            [f"ask{number}=dhcp" for number, _ in enumerate(self.nics)]
            if self.asks
            else _addresses(self.nics)
        )
        kernel = " ".join(("console=ttyS0 quiet panic=1 rdinit=/init", *words))
        networks = [
            word for number, nic in enumerate(self.nics) for word in ("--net", f"{number}:{nic.option()}")
        ]
        self.gnt(
            "add",
            "--disk-template=diskless",
            "--os-type=none+default",
            "--no-name-check",
            "--no-ip-check",
            "--no-conflicts-check",
            "-n",
            f"{node}.{DOMAIN}",
            "-B",
            "minmem=96M,maxmem=96M,vcpus=1",
            "-H",
            f"kvm:kernel_args={kernel}",
            *([f"--tags={self.tags}"] if self.tags else []),
            *networks,
        )

    def chosen(self) -> None:
        """Note what Ganeti chose for its NICs: addresses out of the network's pool, MACs."""
        told = self.cluster.gnt(
            "instance", "list", "--no-headers", "--separator=|", "-o", "nic.ips,nic.macs", self.name
        ).strip()
        pairs = zip(*(values.split(",") for values in told.split("|")))
        self.nics = [replace(nic, ip=ip, mac=mac) for nic, (ip, mac) in zip(self.nics, pairs, strict=True)]
        for nic in self.nics:
            self.cluster.words |= nic.words

    def status(self) -> tuple[str, str]:
        """Its primary node, and Ganeti's word for how it is; empty if there is no such instance."""
        return self.cluster.instances().get(self.name, ("", ""))

    @property
    def node(self) -> Node:
        """Where it is."""
        return self.cluster.nodes[self.status()[0]]

    def running(self) -> None:
        """Whatever it was before, it is there now, runs, and answers."""
        node, status = self.status()
        if not node:
            self.add()
        elif status != "running":
            self.gnt("start")
        self.awake()

    def awake(self) -> None:
        """Wait until its console answers: its addresses are set then."""
        assert until(lambda: self.ask("true", 1.0) == (0, ""), BOOT), (
            f"{self.name} has not booted in {BOOT:.0f} s"
        )

    def ask(self, command: str, seconds: float = ANSWER) -> tuple[int, str]:
        """Run a command in it: exit status and what it printed; -1 if it did not answer."""
        turn = next(TURNS)
        end, heard = time.monotonic() + seconds, ""
        try:
            with self._console() as line:
                # what the terminal echoes has no number after the second word
                line.sendall(f"\necho begin {turn} 0; {command}; echo end {turn} $?\n".encode())
                while not (
                    found := re.search(
                        rf"^begin {turn} 0\s*$(.*)^end {turn} (\d+)\s*$", heard, re.MULTILINE | re.DOTALL
                    )
                ):
                    line.settimeout(max(0.01, end - time.monotonic()))
                    if not (more := line.recv(4096)):
                        return -1, heard
                    heard = (heard + more.decode(errors="replace")).replace("\r", "")
        except OSError as error:  # the guest boots still, or is being stopped
            return -1, f"{error}: {heard}"
        return int(found[2]), found[1].strip()

    def _console(self) -> socket.socket:
        """Its serial port, on whatever node. Raises OSError if it runs on none."""
        for node in self.cluster.nodes.values():
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(5)
            with suppress(OSError):  # not there, or left by one that ended
                line.connect(str(node.path(f"{CONSOLES}/{self.name}.serial")))
                return line
            line.close()
        raise ConnectionError("no console")

    def reaches(self, *addresses: str) -> None:
        """Assert that it gets answers from all these."""
        pings = "; ".join(
            f"{{ ping -q -c 1 -W 2 {address} || ping -q -c 2 -W 2 {address}; }} > /dev/null || echo {address}"
            for address in addresses
        )
        said = self.ask(pings)
        assert said == (0, ""), f"{self.name} cannot reach {said}"

    def rename(self, name: str) -> None:
        """Give it another name; it must be stopped."""
        # Ganeti 3.1 checks neither, unless it is told to, and does not ask
        words = ("-f", "--no-name-check", "--no-ip-check") if self.cluster.version < (3, 1) else ()
        self.cluster.gnt("instance", "rename", *words, self.name, f"{name}.{DOMAIN}")
        self.name = f"{name}.{DOMAIN}"

    def modify(self, change: str, hotplug: bool = True) -> None:
        """Change a NIC, while the guest runs or, without `hotplug`, for Ganeti alone."""
        default = self.cluster.version >= (3, 1)
        words = () if hotplug == default else ("--hotplug",) if hotplug else ("--no-hotplug",)
        self.gnt("modify", "-f", *words, "--net", change)

    def plug(self, nic: Nic) -> None:
        """Hotplug one more NIC."""
        self.modify(f"add:{nic.option()}")
        self.nics.append(nic)
        self.cluster.words |= nic.words

    def change(self, number: int, **values: str) -> None:
        """Change one by hotplug: the guest loses it, and gets another."""
        self.modify(f"{number}:modify,{','.join(f'{key}={value}' for key, value in values.items())}")
        self.nics[number] = replace(self.nics[number], **values)
        self.cluster.words |= self.nics[number].words

    def unplug(self, number: int) -> None:
        """Take one away."""
        self.modify(f"{number}:remove")
        del self.nics[number]

    def set_up(self, number: int) -> None:
        """Give a NIC that was plugged in its addresses, in the guest."""
        nic = self.nics[number]
        assert until(lambda: self.ask(f"grep -q {nic.mac} /sys/class/net/eth{number}/address")[0] == 0, 30), (
            f"no eth{number} in the guest"
        )
        words = " ".join(word.replace("\\", "") for word in _addresses([nic]))
        said = self.ask(f"set_up eth{number} {words}")
        assert said == (0, ""), said


def _prefixes(nic: Nic) -> list[str]:
    """Addresses with their lengths. A routed guest has the node as its only IPv6 neighbour."""
    return [f"{nic.ip}/24", *([f"{nic.ip6}/128"] if nic.ip6 else [])]


def _addresses(nics: list[Nic]) -> list[str]:
    """The words for the kernel's command line that guest/init reads."""
    found = [f"net{number}={','.join(_prefixes(nic))}" for number, nic in enumerate(nics)]
    # a comma ends a hypervisor parameter of Ganeti's
    return [
        word.replace(",", "\\,")
        for word in (
            *found,
            *(
                f"gw{number}={','.join(GATEWAYS[nic.network])}"
                for number, nic in enumerate(nics)
                if GATEWAYS[nic.network]
            ),
        )
    ]
