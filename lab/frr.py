"""FRR in a machine, as Debian packages it, with files and sockets of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.machine import Machine

CONF = "/etc/frr/frr.conf"
DAEMONS = "zebra", "bgpd"
SECONDS = 10
PRIVATE = """
if ! mountpoint -q /run/frr; then
	mount -t tmpfs tmpfs /run # where no FRR was ever started, there is no /run/frr
	mkdir /run/frr
	mount -t tmpfs tmpfs /run/frr
fi
chown frr:frr /run/frr
echo "service integrated-vtysh-config" > /etc/frr/vtysh.conf
cat > "$1"
chown frr:frr /etc/frr/*
chmod 640 /etc/frr/*
"""
QUIETLY = '"$@" > /run/frr/said 2>&1 || { cat /run/frr/said; exit 1; }'
"""Start what keeps its stderr open as a daemon, as FRR 10 does: whoever reads a pipe from it would wait."""


class Frr:
    """zebra and bgpd of a machine. Nothing restarts them: watchfrr would, after 5 s."""

    def __init__(self, machine: Machine, text: str) -> None:
        self.machine = machine
        machine.run("sh", "-ec", PRIVATE, "sh", CONF, input=text)

    def start(self, *daemons: str) -> None:
        """Start daemons, or both, then give them the file, as watchfrr does."""
        for daemon in daemons or DAEMONS:
            argv = f"/usr/lib/frr/{daemon}", "-d", "-A", "127.0.0.1", "-P", 0
            self.machine.run("sh", "-c", QUIETLY, "sh", *argv)
        self.vtysh("-b")

    def vtysh(self, *words: str) -> str:
        """What vtysh(1) prints."""
        return self.machine.out("vtysh", *words)

    def pid(self, daemon: str) -> int:
        """The process of a daemon; 0 if it has ended."""
        said = self.machine.read(f"/run/frr/{daemon}.pid").strip()
        number = int(said) if said.isdigit() else 0
        try:
            with open(f"/proc/{number}/comm", encoding="ascii") as file:
                return number if file.read().strip() == daemon else 0
        except OSError:
            return 0

    def kill(self, daemon: str, number: int = signal.SIGKILL) -> None:
        """End a daemon, and wait until it is gone."""
        if process := self.pid(daemon):
            os.kill(process, number)
            end = time.monotonic() + SECONDS
            while self.pid(daemon) == process and time.monotonic() < end:
                time.sleep(0.01)

    def stop(self) -> None:
        """End what runs, whatever state it is in."""
        for daemon in reversed(DAEMONS):
            self.kill(daemon, signal.SIGTERM)
            self.kill(daemon)


@contextmanager
def running(*all_of_them: Frr, later: bool = False) -> Iterator[None]:
    """They run, or are started `later`, and are ended whatever happens."""
    try:
        for one in () if later else all_of_them:
            one.start()
        yield
    finally:
        for one in all_of_them:
            one.stop()


def reflector(address: str, number: int = 65000) -> str:
    """The file of a route reflector for all nodes of 10.99.0.0/24."""
    return f"""\
frr defaults datacenter
router bgp {number}
 bgp router-id {address}
 no bgp default ipv4-unicast
 neighbor nodes peer-group
 neighbor nodes remote-as {number}
 neighbor nodes timers 3 9
 bgp listen range 10.99.0.0/24 peer-group nodes
 address-family l2vpn evpn
  neighbor nodes activate
  neighbor nodes route-reflector-client
 exit-address-family
"""


def floods(machine: Machine, device: str) -> set[str]:
    """The nodes that a device sends broadcasts to."""
    lines = machine.out("bridge", "fdb", "show", "dev", device).splitlines()
    return {line.split()[2] for line in lines if line.startswith("00:00:00:00:00:00 dst ")}
