"""What the demo plays with: a router, two nodes and guests, and how to do something in one of them for all to
see.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping

from demo.stage import Stage, only
from lab import ROOT, SCRIPTS, Lab, Machine, drops, until

GATEWAY, GATEWAY6 = "198.51.100.1", "2001:db8:1::1"
LOST = re.compile(r"(\d+) packets transmitted, (\d+) received")
Ran = subprocess.CompletedProcess[str]


def prompt(machine: Machine) -> str:
    """The colour of a machine's prompt."""
    return "yellow" if machine.name == "router" else "cyan" if machine.name.startswith("node") else "magenta"


class Hands:
    """Do something in a machine, for all to see."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def sh(self, machine: Machine, command: str) -> Ran:
        """Run a shell line in a machine, from the checkout, and show it; what it says is for the caller to
        show.
        """
        self.stage.command(machine.name, prompt(machine), command)
        return machine.run("sh", "-c", f"cd '{ROOT}'; {command}", check=False)

    def show(self, machine: Machine, command: str, *words: str) -> Ran:
        """The same, and the lines of its output that have one of `words` (without words: all)."""
        ran = self.sh(machine, command)
        self.stage.output(only(ran.stdout + ran.stderr, *(words or ("",))))
        return ran

    def script(self, node: Machine, name: str, env: Mapping[str, str], note: str, *arguments: str) -> Ran:
        """Call one of Ganeti's scripts with a recorded environment and nothing else, as Ganeti does."""
        self.stage.command(node.name, prompt(node), " ".join((f"scripts/{name}", *arguments)), note)
        began = time.monotonic()
        ran = node.script(name, env, *arguments, check=False)
        milliseconds = (time.monotonic() - began) * 1000
        self.stage.output(
            [*(ran.stdout + ran.stderr).splitlines(), f"exit status {ran.returncode}, {milliseconds:.0f} ms"]
        )
        return ran

    def ping(self, machine: Machine, address: str, options: str = "-c1 -W2") -> str:
        """Ping, and show what matters of it; what it said."""
        ran = self.sh(machine, f"ping -n {options} {address}")
        said = ran.stdout + ran.stderr
        self.stage.output(
            [
                line
                for line in said.splitlines()
                if "bytes from" in line or "transmitted" in line or "ping:" in line
            ]
        )
        return said

    def dropped(self, node: Machine, family: str, interface: str, reason: str) -> int:
        """How many frames of a NIC were dropped for a reason."""
        return drops(node, family)[interface, reason]


class Cluster(Hands):
    """The machines of the first act."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.lab = Lab()
        self.router = self.lab.router()
        self.node1, self.node2 = (self.lab.node(name, self.router) for name in ("node1", "node2"))

    def guest(self, env: Mapping[str, str], *addresses: str) -> Machine:
        """The guest that a NIC's environment is of, on node1, with these addresses."""
        guest = self.lab.guest(self.node1, env["INTERFACE"], env["MAC"], *addresses)
        guest.name = env["INSTANCE"].partition(".")[0]
        return guest

    def serve(self, node: Machine) -> None:
        """Start nfdhcpd on a node; it ends with the demo."""
        self.stage.command(node.name, prompt(node), "scripts/nfdhcpd --foreground &")
        socket = "/var/lib/nfdhcpd.control"
        node.run("mkdir", "-p", "/var/lib/nfdhcpd")
        subprocess.Popen(
            node.command(SCRIPTS / "nfdhcpd", "--foreground", "--socket", socket), stderr=subprocess.DEVNULL
        )
        asked = (SCRIPTS / "nfdhcpctl", "--socket", socket, "list")
        until(lambda: node.run(*asked, check=False).returncode == 0, 10)


def answered(said: str) -> bool:
    """True if every ping was."""
    found = LOST.search(said)
    return bool(found and found[1] == found[2])


def unanswered(said: str) -> bool:
    """True if pings were sent and none was answered: a ping that could not even be sent proves nothing."""
    found = LOST.search(said)
    return bool(found and int(found[1]) and not int(found[2]))
