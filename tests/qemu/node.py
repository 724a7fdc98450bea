"""The QEMU machine itself as a node, with systemd as its first process and the built package installed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from lab.package import PACKAGES
from tests.netns.lab import Lab, Machine
from tests.package.node import PURGE, UNITS, Node
from tests.qemu.taps import CLEAN, snf_network

PATIENCE = 300
"""Seconds for what an interpreter or several are started for: each needs some here, and a tenth of one on a
real machine.
"""
BARE = """
# where a package may start no service, as in a container, this one may
rm -f /usr/sbin/policy-rc.d
printf 'flush ruleset\\n' > /etc/nftables.conf
mkdir -p /etc/iproute2/rt_tables.d /var/log/ganeti
# else the metrics' timer runs, and takes most of each minute here
rm -rf /var/lib/prometheus/node-exporter
ip link set lo up
"""


class Itself(Machine):
    """The machine that this runs in, and no namespace of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.holder = subprocess.Popen(("cat",), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Booted(Node):
    """A node whose services systemd starts. Its router and guests are namespaces."""

    def made(self) -> Machine:
        machine = self.lab.machines["node1"] = Itself("node1")
        machine.run("sh", "-ec", BARE + PURGE, timeout=60)
        self.lab.networks(machine, self.router)
        return machine

    def systemctl(self, *words: object, check: bool = True) -> str:
        """What it prints; a failure shows what the units have logged."""
        ran = self.machine.run("systemctl", *words, check=False, timeout=PATIENCE)
        assert not check or ran.returncode == 0, (
            f"systemctl {words}: {ran.returncode}\n{ran.stderr}{self.journal()}"
        )
        return ran.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit)

    def journal(self, *words: object) -> str:
        """What has been logged."""
        return self.machine.out("journalctl", "--no-pager", "-n", 60, *words)

    def with_lines(self, unit: str, *lines: str) -> None:
        """A drop-in of the administrator's; without lines it goes."""
        path = f"/etc/systemd/system/{unit}.d/test.conf"
        if lines:
            self.machine.write(path, "\n".join((*lines, "")))
        else:
            self.machine.run("rm", "-f", path)
        self.systemctl("daemon-reload")

    def idle(self, seconds: float = PATIENCE) -> None:
        """Wait until systemd has nothing to do. Seldom asked: who asks takes the time from who works."""
        end = time.monotonic() + seconds
        while jobs := self.systemctl("list-jobs", "--no-legend"):
            assert time.monotonic() < end, jobs + self.journal()
            time.sleep(1)

    def is_clean(self) -> bool:
        """True if, now that nothing is under way, the kernel is as recorded."""
        self.idle()
        status, said = snf_network(self.machine, "check")
        lines = [line for line in said.splitlines(True) if "nfdhcpd" not in line]  # it may be stopped
        return (status, "".join(lines)) == CLEAN


def installed(lab: Lab) -> Booted:
    """A node with the package."""
    node = Booted(lab)
    node.dpkg("-i", *(f"/run/{name}.deb" for name in PACKAGES))
    return node


def units(*endings: str) -> Sequence[str]:
    """Names of the packages' units; with `endings`, of those that end so."""
    return sorted(name for name in UNITS if name.endswith(endings))


ENABLED = tuple(
    name for name in units(".service", ".timer", ".path") if "[Install]" in UNITS[name].read_text()
)
"""Those that are started by themselves."""
ACTIVE = tuple(name for name in ENABLED if "\nConditionPath" not in UNITS[name].read_text())
"""Without those that wait for another package."""
