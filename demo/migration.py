"""Step 6: a guest moves to node 2 while the router pings it and listens."""

from __future__ import annotations

import itertools
import re
import shlex
import signal
import subprocess
import time

from demo.cluster import Cluster
from lab import Machine, environment

UP, DOWN = "v32-migrate-ifup-1", "v32-migrate-ifdown-1"
EVERY = 0.02
BOUND = 1000
"""Silence in milliseconds that is still called going on. A busy machine may need some; without announcements
it is for ever.
"""
ADDRESSES = ("198.51.100.10", "2001:db8:1:0:a800:ff:fe26:7714")
LISTEN = (
    "tcpdump",
    "-lnqttti",
    "br0",
    "--immediate-mode",
    "-c6",
    f"ether multicast and (src {ADDRESSES[0]} or src {ADDRESSES[1]})",
)
"""Six announcements: gratuitous ARP request and reply, unsolicited NA, and all again a second later."""


class Pinger:
    """Pings an address from the router, until it is asked how that went."""

    def __init__(self, router: Machine, address: str) -> None:
        self.words = f"ping -n -i {EVERY} {address}"
        self.process = subprocess.Popen(
            router.command(*self.words.split()), stdout=subprocess.PIPE, text=True
        )

    def result(self) -> tuple[str, int]:
        """How many were lost, in words, and the most milliseconds in a row."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=5)
        found = re.search(r"(\d+) packets transmitted", said)
        sent = int(found[1]) if found else 0
        seen = {int(number) for number in re.findall(r"icmp_seq=(\d+)", said)}
        gaps = [after - before - 1 for before, after in itertools.pairwise((0, *sorted(seen), sent + 1))]
        silence = round(max(gaps) * EVERY * 1000) if seen else BOUND
        return f"{sent - len(seen)} of {sent} pings lost, {silence} ms of silence", silence


def listener(cluster: Cluster) -> subprocess.Popen[str]:
    """tcpdump on the router; it has begun to listen."""
    cluster.stage.command("router", "yellow", shlex.join(LISTEN) + " &")
    dump = subprocess.Popen(
        cluster.router.command(*LISTEN), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert dump.stderr
    while "listening on" not in (line := dump.stderr.readline()):
        assert line, "tcpdump did not start"
    return dump


def neighbours(router: Machine) -> dict[str, str]:
    """Which MAC address the router sends to, for each address."""
    found = (line.split() for line in router.out("ip", "neigh", "show", "dev", "br0").splitlines())
    return {words[0]: words[2] for words in found if words[0] in ADDRESSES and words[1] == "lladdr"}


def migrate(cluster: Cluster) -> None:
    """Move, and check what the router noticed."""
    router = cluster.router
    cluster.show(cluster.node2, "scripts/snf-network load")
    dump = listener(cluster)
    pingers = [Pinger(router, address) for address in ADDRESSES]
    for pinger in pingers:
        cluster.stage.command("router", "yellow", f"{pinger.words} &")
    time.sleep(0.3)
    before = neighbours(router)
    move(cluster)
    announced(cluster, dump)
    moved(cluster, before, neighbours(router))
    for pinger, family in zip(pingers, ("IPv4", "IPv6")):
        words, silence = pinger.result()
        cluster.stage.claim(silence < BOUND, f"{family} goes on: {words}", words)


def move(cluster: Cluster) -> None:
    """The tap goes over, node2 is told to bring it up, node1 to take back what it had."""
    up, down = environment(UP), environment(DOWN)
    cluster.stage.command("node1", "cyan", "ip link set tap0 netns node2", "as QEMU hands the guest over")
    cluster.node1.ip(f"link set tap0 netns {cluster.node2.holder.pid}")
    ran = cluster.script(cluster.node2, "kvm-ifup-custom", up, f"{UP}.env")
    cluster.stage.claim(ran.returncode == 0, "the NIC is up on node2", ran.stderr)
    cluster.script(cluster.node1, "kvm-ifdown-custom", down, f"{DOWN}.env", "tap0", "true")
    left = cluster.node1.out("ip", "neigh", "show", "proxy", "dev", "eth1")
    cluster.stage.claim(f"{ADDRESSES[0]} " not in left, "node1 does not answer for it any more", left)


def announced(cluster: Cluster, dump: subprocess.Popen[str]) -> None:
    """What the router heard."""
    try:
        said, _ = dump.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        dump.terminate()
        said, _ = dump.communicate()
    cluster.stage.say("   the router heard:")
    cluster.stage.output(said.splitlines())
    arp, na = said.count("ARP"), said.count("neighbor advertisement")
    cluster.stage.claim(
        (arp, na) == (4, 2), "node2 announced both addresses, at once and again a second later", said
    )


def moved(cluster: Cluster, before: dict[str, str], after: dict[str, str]) -> None:
    """The router sends to node2 now, and did not before."""
    cluster.stage.output(
        [
            f"{address:31} was at {before.get(address, '-')}, is at {after.get(address, '-')}"
            for address in ADDRESSES
        ]
    )
    node2 = cluster.node2.read("/sys/class/net/eth1/address").strip()
    holds = node2 not in before.values() and after == dict.fromkeys(ADDRESSES, node2)
    cluster.stage.claim(holds, "the router sends both to node2 now", f"{before} {after}")
