"""Machines made of namespaces, a network and a mount namespace each: nothing of the real machine is changed
or seen.

A machine lives as long as the process that holds its namespaces, and that one as long as its parent, whatever
ends it: it reads from it.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

from snf_network.errors import KernelError
from snf_network.host.kernel import ENVIRONMENT, LAUNCHERS, RULES
from snf_network.selftest.frames import token

CLONE_NEWNET = 0x40000000
PACKET_OUTGOING = 4
EVERY_KIND = 0x0003
"""ETH_P_ALL."""
SO_RCVBUFFORCE = 33
ROOM = 1 << 26
"""Octets of frames that may wait for us: all of them do, until the last was sent."""
SECONDS = 30
COVER = """
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
for name in etc var; do
  mkdir -p /mnt/$name /mnt/$name.work
  mount -t overlay overlay -o lowerdir=/$name,upperdir=/mnt/$name,workdir=/mnt/$name.work /$name
done
mount -t sysfs sysfs /sys
"""
"""Shell lines that give a mount namespace of its own an /etc, /var and /sys of its own: an overlay that is
gone with it.
"""
SETUP = (
    COVER
    + """
rm -rf /var/lib/snf-network /var/lib/nfdhcpd /etc/snf-network /etc/iproute2
mkdir -p /etc/iproute2/rt_tables.d
echo LOGFILE= > /etc/default/snf-network
echo IFUP_EXTRA_SCRIPT= >> /etc/default/snf-network
ip link set lo up
echo ready
exec cat
"""
)
_libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    """A guest, a node, a router or a peer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.holder = subprocess.Popen(
            ("unshare", "--net", "--mount", "sh", "-ec", SETUP),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
        )
        said = self.holder.stdout.readline() if self.holder.stdout else ""
        if said != "ready\n":
            self.close()
            raise KernelError(
                f"no namespaces for {name}: {said.strip()}", "it needs root, network namespaces and overlayfs"
            )

    def close(self) -> None:
        """End it: its namespaces, and all that is in them, go with the process that holds them."""
        self.holder.kill()
        self.holder.wait(SECONDS)
        for end in (self.holder.stdin, self.holder.stdout):
            if end:
                end.close()

    @property
    def enter(self) -> tuple[str, ...]:
        """What a command is put behind to be run in the machine."""
        return "nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--root", "--wd=/"

    def run(self, *argv: str, text: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run a command in the machine; what it says. Raises KernelError if it fails."""
        ran = subprocess.run(
            (*self.enter, *argv),
            env={**ENVIRONMENT, **(env or {})},
            input=text,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if ran.returncode:
            raise KernelError(f"{self.name}: {' '.join(argv)}: {(ran.stderr or ran.stdout).strip()}")
        return ran.stdout

    def ip(self, *lines: str) -> None:
        """Lines of ip(8), each without the word ip, of one family."""
        self.run("ip", "-batch", "-", text="\n".join(lines))

    def load(self, text: str) -> None:
        """Give nft a text, in one transaction."""
        self.run("nft", "-I", RULES, "-f", "-", text=text)

    def script(self, name: str, env: Mapping[str, str]) -> None:
        """Run one of our scripts as Ganeti would. Raises KernelError if it fails."""
        found = next((directory for directory in LAUNCHERS if os.access(f"{directory}/{name}", os.X_OK)), "")
        if not found:
            raise KernelError(
                f"{name} is neither in {' nor in '.join(LAUNCHERS)}", "is the package installed whole?"
            )
        self.run(f"{found}/{name}", env=env)

    def write(self, path: str, text: str) -> None:
        """Make a file in the machine."""
        self.run("sh", "-c", 'cat > "$1"', "sh", path, text=text)

    def read(self, path: str) -> str:
        """The content of a file in the machine."""
        return self.run("cat", path)

    def sysctl(self, key: str, value: str) -> None:
        """Set one, with slashes."""
        self.run("sh", "-c", 'echo "$2" > "/proc/sys/$1"', "sh", key, value)

    def inside(self) -> AbstractContextManager[None]:
        """This thread is in the machine's network: sockets made here stay in it."""
        return network_of(self.holder.pid)

    def packet_socket(self, device: str, kind: int = EVERY_KIND) -> socket.socket:
        """A raw socket that sends and receives whole frames on one device of this machine, or on all ("").

        One for every kind of frame sees them as they come; one for a single ethertype, when the bridge and
        its hooks have left them to the node.
        """
        with self.inside():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
            if device:
                made.bind((device, kind))
        return made


@contextmanager
def network_of(process: int) -> Iterator[None]:
    """This thread is in the network namespace of a process."""
    home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
    try:
        _setns(there)
        yield
    finally:
        _setns(home)
        os.close(home)
        os.close(there)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


BRIDGE_NETFILTER = "/proc/sys/net/bridge/bridge-nf-call-"


def has_bridge_netfilter(machine: Machine) -> bool:
    """True if the kernel has br_netfilter loaded, which can show iptables what a bridge forwards."""
    return machine.run("sh", "-c", f"test -e {BRIDGE_NETFILTER}iptables && echo yes || echo no") == "yes\n"


def bridge_netfilter(machine: Machine, on: bool) -> None:
    """Show iptables, ip6tables and arptables what the bridges forward, or do not: bridge-nf-call-*, which a
    namespace has for itself. It takes malformed IP away from everybody behind it, so what is open shows only
    without.
    """
    for tool in ("iptables", "ip6tables", "arptables"):
        machine.sysctl(f"net/bridge/bridge-nf-call-{tool}", str(int(on)))


def settle(machine: Machine) -> None:
    """Wait until every port of every bridge forwards: the kernel may take a second to believe that a cable
    was plugged in.
    """
    end = time.monotonic() + SECONDS
    while "state disabled" in machine.run("bridge", "link"):
        if time.monotonic() > end:
            raise KernelError(f"{machine.name}: a port of a bridge does not come up")
        time.sleep(0.02)


class Ear:
    """Hears every frame that comes in at a device from now on; what the machine itself sends there is not
    heard.
    """

    def __init__(self, machine: Machine, device: str, kind: int = EVERY_KIND) -> None:
        self.socket = machine.packet_socket(device, kind)

    def frames(self, last: int, seconds: float = 5.0) -> list[bytes]:
        """What comes, up to and with the frame of number `last`. Raises KernelError if that one does not."""
        end, heard = time.monotonic() + seconds, [b""]
        while token(heard[-1]) != last:
            self.socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                frame, (*_, kind, _, _) = self.socket.recvfrom(65536)
            except TimeoutError:
                raise KernelError(
                    f"frame {last} did not come within {seconds:g} s", "is the machine overloaded?"
                ) from None
            if kind != PACKET_OUTGOING:
                heard.append(frame)
        return heard[1:]

    def tokens(self, last: int, seconds: float = 5.0) -> set[int]:
        """The numbers of what comes, up to and with the `last`. Raises KernelError if that one does not."""
        return set(map(token, self.frames(last, seconds)))


def send(machine: Machine, device: str, *frames: bytes) -> None:
    """Send whole frames from a device of a machine."""
    with closing(machine.packet_socket(device)) as nic:
        speak(nic, frames)


def speak(nic: socket.socket, frames: Iterable[bytes]) -> None:
    """Send whole frames. One CPU sends them all, so they arrive in this order: who has the last has had the
    others, or never will.
    """
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        for frame in frames:
            nic.send(frame)
    finally:
        os.sched_setaffinity(0, cpus)


WITNESS = """
table inet witness {
	set seen { typeof @nh,16,16; flags dynamic; size 65535; }
	chain look { type filter hook prerouting priority 300; policy accept
		iifname "lo" accept
		meta nfproto ipv4 add @seen { @nh,32,16 }
		ip6 nexthdr 44 add @seen { @nh,368,16 }
		ip6 nexthdr != 44 add @seen { @nh,16,16 }
	}
}
table arp witness {
	set seen { typeof @nh,16,16; flags dynamic; size 65535; }
	chain look { type filter hook input priority 300; policy accept; add @seen { @nh,176,16 }; }
}
"""


def watch(machine: Machine) -> None:
    """From now on, note what the machine's own stack gets, behind all our chains: IPv4 and IPv6 in
    prerouting, ARP in input. What it says to itself has numbers by chance.
    """
    machine.run("nft", "-f", "-", text=WITNESS)


def witnessed(machine: Machine) -> set[int]:
    """The numbers of all packets that the stack got so far."""
    return {number for family in ("inet", "arp") for number in members(machine, family, "seen", "witness")}


def members(machine: Machine, family: str, name: str, table: str = "snf_network") -> list[Any]:
    """The members of an nft set, as nft -j gives them."""
    listed = json.loads(machine.run("nft", "-j", "list", "set", family, table, name))["nftables"]
    return [element for entry in listed for element in entry.get("set", {}).get("elem", ())]


def drops(machine: Machine) -> Counter[tuple[str, str]]:
    """How many frames were dropped so far, by interface and reason."""
    found: Counter[tuple[str, str]] = Counter()
    for family in ("bridge", "inet", "arp"):
        for element in members(machine, family, "drops"):
            interface, reason = element["elem"]["val"]["concat"]
            found[interface, reason] += element["elem"]["counter"]["packets"]
    return found
