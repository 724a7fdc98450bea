"""Machines made of namespaces: a network and a mount namespace each, with an overlay over /etc and /var, gone
when they are closed.

Nothing of the real machine is changed, so the scripts run in them exactly as shipped, with their real paths.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from snf_network.selftest.world import COVER, PACKET_OUTGOING, WITNESS, network_of
from snf_network.selftest.world import send as send
from tests.netns.frames import token

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
ENVIRONMENTS = ROOT / "tests" / "environments"
IPV6 = Path("/proc/sys/net/ipv6").exists()
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SETUP = (
    COVER
    + """
rm -rf /var/lib/snf-network /var/lib/nfdhcpd /etc/snf-network /etc/default/snf-network /etc/ganeti
mkdir -p /var/log/ganeti /etc/iproute2/rt_tables.d
[ ! -e /proc/sys/net/ipv6 ] || echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up
echo ready
exec sleep infinity
"""
)


class Machine:
    """One host, router or guest. Processes in it are started with `run`; sockets in it are made with
    `socket`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.holder = subprocess.Popen(
            ("unshare", "--net", "--mount", "sh", "-ec", SETUP), stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout and self.holder.stdout.readline() == "ready\n", f"{name} did not start"

    def close(self) -> None:
        """End the machine: its namespaces, and all that is in them, go with the process that holds them."""
        self.holder.send_signal(signal.SIGKILL)
        self.holder.wait(10)
        if self.holder.stdout:
            self.holder.stdout.close()

    def command(self, *argv: object) -> list[str]:
        """`argv`, to be run in this machine."""
        return [
            "nsenter",
            f"--target={self.holder.pid}",
            "--net",
            "--mount",
            "--root",
            "--wd=/",
            *map(str, argv),
        ]

    def run(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        input: str | None = None,
        timeout: float = 30,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with `check`, a failure is an AssertionError that shows what it said."""
        ran = subprocess.run(
            self.command(*argv),
            env=env,
            input=input,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
        )
        assert not check or ran.returncode == 0, (
            f"{self.name}: {' '.join(map(str, argv))}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        )
        return ran

    def ip(self, *lines: str) -> None:
        """Run lines of ip(8), each without the word ip."""
        for line in lines:
            self.run("ip", *line.split())

    def out(self, *argv: object) -> str:
        """What a command prints on stdout."""
        return self.run(*argv).stdout

    def write(self, path: str, text: str) -> None:
        """Make a file in the machine, with its directories."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path, input=text)

    def read(self, path: str) -> str:
        """The content of a file in the machine; empty if there is none."""
        return self.run("cat", path, check=False).stdout

    def sysctl(self, key: str, value: object) -> None:
        """Set one, with slashes."""
        self.run("sh", "-c", 'echo "$2" > "/proc/sys/$1"', "sh", key, value)

    def script(
        self, name: str, env: Mapping[str, str], *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one of our scripts from the checkout, as Ganeti would: its environment is `env` and nothing
        else.
        """
        return self.run(
            "env",
            "-i",
            *(f"{key}={value}" for key, value in env.items()),
            SCRIPTS / name,
            *arguments,
            check=check,
        )

    def up(self, env: Mapping[str, str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """kvm-ifup-custom."""
        return self.script("kvm-ifup-custom", env, check=check)

    def down(self, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """kvm-ifdown-custom, which never fails."""
        return self.script("kvm-ifdown-custom", env)

    def ping(self, address: str, count: int = 1, wait: float = 2, source: str = "") -> bool:
        """True if `address` answers at least once."""
        bind = ("-I", source) if source else ()
        return (
            self.run(
                "ping", "-n", "-c", count, "-W", wait, "-i", 0.2, *bind, address, check=False, timeout=60
            ).returncode
            == 0
        )

    def inside(self) -> AbstractContextManager[None]:
        """This thread is in the machine's network namespace: sockets made here stay in it."""
        return network_of(self.holder.pid)

    def packet_socket(self, device: str, timeout: float = 1.0) -> socket.socket:
        """A raw socket that sends and receives whole frames on one device of this machine."""
        with self.inside():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            made.bind((device, 0x0003))
        made.settimeout(timeout)
        return made

    def tap(self, name: str) -> int:
        """A real tap, as QEMU opens it: the file descriptor writes what the guest sends, and reads what it
        gets. Closing ends it.
        """
        import fcntl
        import struct

        with self.inside():
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        return descriptor


class Lab:
    """All machines of one test. Closing it ends them."""

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}

    def machine(self, name: str) -> Machine:
        """A new one."""
        self.machines[name] = Machine(name)
        return self.machines[name]

    def cable(self, one: Machine, device: str, other: Machine, far: str) -> None:
        """Join two machines by a veth pair; both ends are left down."""
        one.ip(f"link add {device} type veth peer name {far} netns {other.holder.pid}")

    def close(self) -> None:
        """End all machines."""
        for machine in self.machines.values():
            machine.close()

    def node(self, name: str, router: Machine, uplink: str = "eth1") -> Machine:
        """A Ganeti node: table 222 (snf_public) with its uplink to `router`, which has a bridge br0; and a
        private bridge prv0.
        """
        node = self.machine(name)
        self.networks(node, router, uplink)
        return node

    def networks(self, node: Machine, router: Machine, uplink: str = "eth1") -> None:
        """Make a machine one that is a node."""
        self.cable(router, node.name, node, uplink)
        router.ip(f"link set {node.name} master br0 up")
        node.ip(f"link set {uplink} up", "link add prv0 type bridge forward_delay 0", "link set prv0 up")
        node.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_public\n")
        node.ip(
            f"route add 198.51.100.0/24 dev {uplink} table 222",
            f"route add default via 198.51.100.1 dev {uplink} table 222 onlink",
            f"-6 route add default via 2001:db8:1::1 dev {uplink} table 222 onlink",
            f"rule add iif {uplink} lookup 222",
            f"-6 rule add iif {uplink} lookup 222",
            f"route add 198.51.100.0/24 dev {uplink}",
            f"-6 route add 2001:db8:1::/64 dev {uplink}",
        )
        for family in ("ipv4/conf/all/rp_filter", f"ipv4/conf/{uplink}/rp_filter"):
            node.sysctl(f"net/{family}", 0)

    def router(self, name: str = "router") -> Machine:
        """The external gateway of the public network: 198.51.100.1 and 2001:db8:1::1 on its bridge br0."""
        router = self.machine(name)
        router.ip(
            "link add br0 type bridge forward_delay 0",
            "link set br0 up",
            "addr add 198.51.100.1/24 dev br0",
            "addr add 2001:db8:1::1/64 dev br0 nodad",
        )
        return router

    def guest(
        self, node: Machine, tap: str, mac: str, *addresses: str, gateway: str = "", gateway6: str = ""
    ) -> Machine:
        """A guest with a network stack: its eth0 is the far end of `tap`. Addresses as ip(8) takes them;
        configured, not announced.
        """
        guest = self.machine(f"guest-{tap}-{len(self.machines)}")
        self.cable(node, tap, guest, "eth0")
        guest.ip(
            f"link set eth0 address {mac}",
            "link set eth0 up",
            *(f"addr add {address} dev eth0{' nodad' if ':' in address else ''}" for address in addresses),
        )
        if gateway:
            guest.ip(f"route add default via {gateway} dev eth0 onlink")
        if gateway6:
            guest.ip(f"-6 route add default via {gateway6} dev eth0 onlink")
        return guest


def environment(name: str, **changes: str | None) -> dict[str, str]:
    """The recorded environment tests/environments/<name>.env, with some variables changed or (None) taken
    out.
    """
    lines = (ENVIRONMENTS / f"{name}.env").read_text().splitlines()
    values: dict[str, str | None] = {**dict(line.split("=", 1) for line in lines), **changes}
    return {key: value for key, value in values.items() if value is not None}


def lines(text: str, *words: str) -> Sequence[str]:
    """The lines of `text` that have all `words`."""
    return [line for line in text.splitlines() if all(word in line for word in words)]


def until(condition: Callable[[], object], seconds: float = 3.0) -> bool:
    """Ask again and again, until `condition` holds; False if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Ear:
    """Hears every frame that comes in at a device of a machine, from now on; what the machine itself sends is
    not heard.
    """

    def __init__(self, machine: Machine, device: str) -> None:
        self.socket = machine.packet_socket(device)

    def frames(
        self, seconds: float, last: Callable[[bytes], bool] = lambda frame: False
    ) -> list[tuple[float, bytes]]:
        """What comes within `seconds`, with the time of each, up to and with the first frame that is the
        `last`.
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

    def tokens(self, last: int, seconds: float = 3.0) -> set[int]:
        """The numbers of the frames that come, up to and with the `last`, which must come."""
        heard = [token(frame) for _, frame in self.frames(seconds, lambda frame: token(frame) == last)]
        assert last in heard, f"frame {last} did not come: {heard}"
        return set(heard)

    def first(self, wanted: Callable[[bytes], bool], seconds: float = 2.0) -> bytes:
        """The first frame that is `wanted`; empty if none comes."""
        heard = self.frames(seconds, wanted)
        return heard[-1][1] if heard and wanted(heard[-1][1]) else b""


class Witness:
    """Sees what a machine's own stack gets, after all our chains: IPv4 and IPv6 in prerouting, ARP in input.
    Tokens: frames.py.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run("nft", "-f", "-", input=WITNESS)

    def seen(self) -> set[int]:
        """The tokens of all packets so far."""
        return {
            token for family in ("inet", "arp") for token in members(self.machine, family, "seen", "witness")
        }


def members(machine: Machine, family: str, name: str, table: str = "snf_network") -> list[Any]:
    """The elements of an nft set or map, as nft -j gives them."""
    listed = json.loads(machine.out("nft", "-j", "list", "set", family, table, name))["nftables"]
    return [element for entry in listed for element in entry.get("set", entry.get("map", {})).get("elem", ())]


def drops(machine: Machine, family: str) -> Counter[tuple[str, str]]:
    """How many frames were dropped, by interface and reason."""
    found: Counter[tuple[str, str]] = Counter()
    for element in members(machine, family, "drops"):
        interface, reason = element["elem"]["val"]["concat"]
        found[interface, reason] = element["elem"]["counter"]["packets"]
    return found


def without_rules(machine: Machine) -> None:
    """Take our tables away, as an admin's `nft flush ruleset` would: what then passes was dropped by them."""
    for family in ("bridge", "inet", "arp"):
        machine.run("nft", "delete", "table", family, "snf_network", check=False)


def traces(machine: Machine, records: bool = True) -> list[str]:
    """All that our scripts have put on a machine and must take back, a line each: members, rules, routes,
    neighbours, files.

    Without `records`: a NIC that was refused has one, which says so, and nothing else.
    """
    found = []
    for entry in json.loads(machine.out("nft", "-j", "list", "ruleset"))["nftables"]:
        for kind in set(entry) & {"set", "map"}:
            what = entry[kind]
            if what["table"] == "snf_network" and what["name"] != "drops":
                found += [
                    f"{kind} {what['family']} {what['name']} {element}" for element in what.get("elem", ())
                ]
    for family in ("-4", "-6") if IPV6 else ("-4",):
        for words in (("rule",), ("route", "show", "table", "all"), ("neigh", "show", "nud", "permanent")):
            found += lines(machine.out("ip", family, *words), "proto 148")
        found += [
            f"proxy {entry}"
            for entry in json.loads(machine.out("ip", family, "-j", "neigh", "show", "proxy") or "[]")
        ]
    found += machine.run("sh", "-c", FILES, check=False).stdout.split()
    return [trace for trace in found if records or not trace.startswith("/var/lib/snf-network/tap")]


FILES = "find /var/lib/nfdhcpd /var/lib/snf-network -mindepth 1 | grep -vE '^/var/lib/snf-network/(locks(/.*)?|shared|base)$'"


def settled(*machines: Machine) -> None:
    """Wait until every port of every bridge forwards: the kernel may take a second to believe that a cable
    was plugged in.
    """
    for machine in machines:
        assert until(lambda machine=machine: "disabled" not in machine.out("bridge", "link")), machine.out(
            "bridge", "link"
        )
