"""Machines made of namespaces, each with its own network and mount namespace: the real machine is neither
changed nor visible.

A machine lives as long as the process that holds its namespaces. That process reads from its parent, and so
ends with it, whatever ends the parent.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import groupby
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
"""Receive buffer in octets: it must hold all frames until the last one is sent."""
SECONDS = 30
LOST = "a frame cannot be sent"
"""How the error begins."""
COVER = """
umask 022
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
for name in etc var; do
  mkdir -p /mnt/$name /mnt/$name.work
  mount -t overlay overlay -o lowerdir=/$name,upperdir=/mnt/$name,workdir=/mnt/$name.work /$name
done
mount -t sysfs sysfs /sys
[ ! -d /run/snf-network ] || mount -t tmpfs tmpfs /run/snf-network
"""
"""Shell lines that give a mount namespace its own /etc, /var and /sys, overlays that vanish with it, and hide
what our programs on the real machine count and say in /run.
"""
_libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    """A guest, a node, a router or a peer."""

    setup = """
rm -rf /var/lib/snf-network /var/lib/nfdhcpd /etc/snf-network /etc/iproute2
mkdir -p /etc/iproute2/rt_tables.d
echo LOGFILE= > /etc/default/snf-network
echo IFUP_EXTRA_SCRIPT= >> /etc/default/snf-network
"""
    """Shell lines that make its /etc and /var those of a machine that never had the package."""

    def __init__(self, name: str) -> None:
        self.name = name
        lines = f"{COVER}{self.setup}ip link set lo up\necho ready\nexec cat\n"
        self.holder = subprocess.Popen(
            ("unshare", "--net", "--mount", "sh", "-ec", lines),
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
        """End it: its namespaces, and everything in them, go with the process that holds them."""
        self.holder.kill()
        self.holder.wait(SECONDS)
        for end in (self.holder.stdin, self.holder.stdout):
            if end:
                end.close()

    @property
    def enter(self) -> tuple[str, ...]:
        """Command prefix that runs a command in the machine."""
        return "nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--root", "--wd=/"

    def command(self, *argv: object) -> list[str]:
        """`argv` with the prefix that runs it in this machine."""
        return [*self.enter, *map(str, argv)]

    def run(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        input: str = "",
        timeout: float = SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine to its end. Raises KernelError if it fails and `check` is true."""
        ran = subprocess.run(
            self.command(*argv),
            env={**ENVIRONMENT, **(env or {})},
            input=input,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        if check and ran.returncode:
            said = (ran.stdout + ran.stderr).strip()
            raise KernelError(f"{self.name}: {' '.join(map(str, argv))}: {ran.returncode}: {said}")
        return ran

    def out(self, *argv: object) -> str:
        """The stdout of a command. Raises KernelError if it fails."""
        return self.run(*argv).stdout

    def ip(self, *lines: str) -> None:
        """Run lines of ip(8), each without the word ip."""
        for family, some in groupby(lines, lambda line: line[: 3 * line.startswith("-")].strip()):
            text = "\n".join(line.removeprefix(family) for line in some)
            ran = self.run("ip", *filter(None, (family,)), "-batch", "-", input=text, check=False)
            if ran.returncode:
                raise KernelError(f"{self.name}: ip {family} {text}: {ran.stdout}{ran.stderr}")

    def load(self, text: str) -> None:
        """Load a text with nft, in one transaction."""
        self.run("nft", "-I", RULES, "-f", "-", input=text)

    def script(
        self, name: str, env: Mapping[str, str], *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one of our scripts as Ganeti would: its environment is `env` and nothing else. If `check` is
        true, raises KernelError if it fails.
        """
        found = next((directory for directory in LAUNCHERS if os.access(f"{directory}/{name}", os.X_OK)), "")
        if not found:
            raise KernelError(
                f"{name} is neither in {' nor in '.join(LAUNCHERS)}", "is the package installed whole?"
            )
        words = (f"{key}={value}" for key, value in env.items())
        return self.run("env", "-i", *words, f"{found}/{name}", *arguments, check=check)

    def write(self, path: str, text: str) -> None:
        """Make a file in the machine, with its directories."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path, input=text)

    def read(self, path: str) -> str:
        """The content of a file in the machine; empty if there is none."""
        return self.run("cat", path, check=False).stdout

    def sysctl(self, key: str, value: object) -> None:
        """Set a sysctl; the key has slashes."""
        self.run("sh", "-c", 'echo "$2" > "/proc/sys/$1"', "sh", key, value)

    def inside(self) -> AbstractContextManager[None]:
        """A context in which this thread is in the machine's network: sockets made in it belong there."""
        return network_of(self.holder.pid)

    def packet_socket(self, device: str, kind: int = EVERY_KIND) -> socket.socket:
        """A raw socket that sends and receives complete frames on one device of this machine, or on all ("").

        With EVERY_KIND it sees frames as they arrive; with a single ethertype, after the bridge and its hooks
        have passed them to the node.
        """
        with self.inside():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
            if device:
                made.bind((device, kind))
        return made


@contextmanager
def network_of(process: int) -> Iterator[None]:
    """A context in which this thread is in the network namespace of a process."""
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
    """True if br_netfilter is loaded, which can pass bridged packets to iptables."""
    return machine.out("sh", "-c", f"test -e {BRIDGE_NETFILTER}iptables && echo yes || echo no") == "yes\n"


def bridge_netfilter(machine: Machine, on: bool) -> None:
    """Set whether iptables, ip6tables and arptables see bridged packets (bridge-nf-call-*, per namespace). If
    they do, the kernel drops malformed IP before any receiver, so some rows can be open only without it.
    """
    for tool in ("iptables", "ip6tables", "arptables"):
        machine.sysctl(f"net/bridge/bridge-nf-call-{tool}", str(int(on)))


def until(condition: Callable[[], object], seconds: float = 3.0) -> bool:
    """Poll until `condition` holds; False if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def settle(*machines: Machine) -> None:
    """Wait until every port of every bridge forwards: the kernel may take a second to notice that a cable is
    plugged in.

    Raises KernelError for a port that does not come up.
    """

    def forwards() -> bool:
        return not any("state disabled" in machine.out("bridge", "link") for machine in machines)

    if not until(forwards, SECONDS):
        raise KernelError("a port of a bridge does not come up")


class Ear:
    """Receives every frame that arrives at a device from now on, but not frames that the machine itself sends
    there.
    """

    def __init__(self, machine: Machine, device: str, kind: int = EVERY_KIND) -> None:
        self.socket = machine.packet_socket(device, kind)

    def frames(
        self, seconds: float, last: Callable[[bytes], bool] = lambda frame: False
    ) -> list[tuple[float, bytes]]:
        """The frames that arrive within `seconds`, each with its time, up to and including the first that is
        the `last`.
        """
        end, heard = time.monotonic() + seconds, []
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                frame, (*_, kind, _, _) = self.socket.recvfrom(65536)
            except TimeoutError:
                break
            if kind != PACKET_OUTGOING:
                heard.append((time.monotonic(), frame))
                if last(frame):
                    break
        return heard

    def up_to(self, last: int, seconds: float = 5.0) -> list[bytes]:
        """The frames up to and including number `last`. Raises KernelError if that one does not arrive."""
        heard = [frame for _, frame in self.frames(seconds, lambda frame: token(frame) == last)]
        if not heard or token(heard[-1]) != last:
            words = f"frame {last} did not come within {seconds:g} s"
            raise KernelError(words, "is the machine overloaded?")
        return heard

    def tokens(self, last: int, seconds: float = 5.0) -> set[int]:
        """The numbers of the frames up to `last`. Raises KernelError if that one does not arrive."""
        return set(map(token, self.up_to(last, seconds)))


def send(machine: Machine, device: str, *frames: bytes) -> None:
    """Send complete frames from a device of a machine."""
    with closing(machine.packet_socket(device)) as nic:
        speak(nic, frames)


def speak(nic: socket.socket, frames: Iterable[bytes]) -> None:
    """Send complete frames, all from one CPU, so that they arrive in order: a receiver of the last one has
    either received the others or never will.
    """
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        for frame in frames:
            nic.send(frame)
    except OSError as error:
        raise KernelError(f"{LOST}: {error.strerror}", "is it dropped on its own device?") from error
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
	set encapsulated { typeof @nh,16,16; flags dynamic; size 65535; }
	set delivered { typeof @nh,16,16; flags dynamic; size 65535; }
	chain deliver { type filter hook input priority 300; policy accept
		udp dport 4789 meta nfproto ipv4 add @encapsulated { @nh,32,16 }
		udp dport 4789 meta nfproto ipv6 add @encapsulated { @nh,16,16 }
		meta nfproto ipv4 add @delivered { @nh,32,16 }
		ip6 nexthdr 44 add @delivered { @nh,368,16 }
		ip6 nexthdr != 44 add @delivered { @nh,16,16 }
	}
}
table arp witness {
	set seen { typeof @nh,16,16; flags dynamic; size 65535; }
	chain look { type filter hook input priority 300; policy accept; add @seen { @nh,176,16 }; }
}
"""


def watch(machine: Machine) -> None:
    """From now on, record what the machine's own stack receives after all our chains: IPv4 and IPv6 in
    prerouting, ARP in input; and what a VXLAN device or a program would receive. Its own packets to itself
    have random numbers.
    """
    machine.run("nft", "-f", "-", input=WITNESS)


def witnessed(machine: Machine) -> set[int]:
    """The numbers of all packets that the stack has received so far."""
    return {number for family in ("inet", "arp") for number in members(machine, family, "seen", "witness")}


def encapsulated(machine: Machine) -> set[int]:
    """The numbers of all packets so far that a VXLAN device of the machine would receive."""
    return set(members(machine, "inet", "encapsulated", "witness"))


def delivered(machine: Machine) -> set[int]:
    """The numbers of all packets so far that a program of the machine would receive."""
    return set(members(machine, "inet", "delivered", "witness"))


def members(machine: Machine, family: str, name: str, table: str = "snf_network") -> list[Any]:
    """The members of an nft set or map, as in nft -j."""
    listed = json.loads(machine.out("nft", "-j", "list", "set", family, table, name))["nftables"]
    return [element for entry in listed for element in entry.get("set", entry.get("map", {})).get("elem", ())]


def drops(machine: Machine, *families: str) -> Counter[tuple[str, str]]:
    """The number of drops so far, by interface and reason, in these table families or in all."""
    found: Counter[tuple[str, str]] = Counter()
    for family in families or ("bridge", "inet", "arp", "netdev"):
        for element in members(machine, family, "drops"):
            interface, reason = element["elem"]["val"]["concat"]
            found[interface, reason] += element["elem"]["counter"]["packets"]
    return found
