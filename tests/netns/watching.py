"""A watch on a node of a lab, as the unit starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.netns.lab import SCRIPTS, Machine, until

WATCH = (SCRIPTS / "snf-network", "watch")
LOG = "/var/log/ganeti/snf-network.log"
STATE = "/run/snf-network/watch.json"
SECONDS = 1.5
"""Within which what is lost is back, on a machine that does other things, too; bench/watch measures."""


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used, without its children."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def own_run(node: Machine) -> Machine:
    """The node, with a /run that it shares with no other machine: the watch tells of itself there."""
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    return node


class Watching:
    """A watch that has made the comparison at its start. `env`: more words of the form KEY=VALUE; `under`:
    the command that runs it, which may kill it.
    """

    def __init__(self, node: Machine, *env: str, under: tuple[str, ...] = ()) -> None:
        self.node = node
        self.node.write(LOG, "")
        self.process = subprocess.Popen(
            self.node.command("env", *env, *under, *WATCH),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert until(lambda: self.comparisons() > 0 or self.is_dead(), 20), self.node.read(LOG)
        assert under or not self.is_dead(), self.process.communicate()[0]

    def is_dead(self) -> bool:
        """True if it has ended, as one that is killed at a step may have by now."""
        return self.process.poll() is not None

    def state(self) -> dict[str, Any]:
        """What it tells of itself."""
        return dict(json.loads(self.node.read(STATE) or "{}"))

    def comparisons(self) -> int:
        """How often it has compared the whole node."""
        state = self.state()
        return int(state.get("comparisons", 0)) if state.get("pid") == self.process.pid else 0

    def said(self) -> list[str]:
        """Its acts so far."""
        return [
            line for line in self.node.read(LOG).splitlines() if ": watch: " in line and "started" not in line
        ]

    def memory(self) -> int:
        """KB that it has in use."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    def children(self) -> int:
        """How many processes it has started that run."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return len(file.read().split())

    def signal(self, number: int) -> None:
        """Send it a signal: nsenter and env have become it."""
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> str:
        """End it as the unit does; what it has printed."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=30)[0]
