"""Guests that talk and forge while something happens on their node, and what became of their packets."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.netns import frames as f
from tests.netns.lab import SCRIPTS, Ear, Lab, Machine, environment

ROUTED = environment("add-routed-ifup-1")
GATEWAY, GATEWAY6, IP = ROUTED["NETWORK_GATEWAY"], ROUTED["NETWORK_GATEWAY6"], ROUTED["IP"]
IP6 = "2001:db8:1:0:a800:ff:fead:35c9"
BRIDGED = environment("add-bridged-ifup-1", NETWORK_TAGS="private-filtered ip-filtered")
PEER = BRIDGED | {
    "INTERFACE": "tap2",
    "MAC": "aa:55:60:25:ae:2f",
    "IP": "203.0.113.77",
    "INSTANCE": "peer.example.com",
    "INTERFACE_UUID": "peer",
}
FORGED, PERIOD, SPACING = "aa:55:60:66:00:66", 0.001, 0.01


class Place(NamedTuple):
    """A node with a routed guest and two on one bridge."""

    router: Machine
    node: Machine
    guest: Machine
    bridged: Machine
    peer: Machine

    def command(self, *words: str) -> tuple[int, str]:
        """Run snf-network; its exit status and all that it says."""
        ran = self.node.run(SCRIPTS / "snf-network", *words, check=False, timeout=60)
        return ran.returncode, ran.stdout + ran.stderr

    def is_whole(self) -> None:
        """As recorded, and whoever has forgotten where the guest is finds it."""
        status, said = self.command("check")
        assert status == 0, said
        for machine in (self.router, self.guest, self.bridged):
            machine.ip("neigh flush all", "-6 neigh flush all")
        assert self.router.ping(IP) and self.router.ping(IP6)
        assert self.guest.ping(GATEWAY) and self.guest.ping(GATEWAY6)
        assert self.bridged.ping(PEER["IP"])


def guests_of(lab: Lab, router: Machine, node: Machine) -> Place:
    """A routed guest and two bridged ones, up."""
    guest = lab.guest(
        node, "tap0", ROUTED["MAC"], f"{IP}/24", f"{IP6}/64", gateway=GATEWAY, gateway6=GATEWAY6
    )
    bridged, peer = (
        lab.guest(node, env["INTERFACE"], env["MAC"], f"{env['IP']}/24") for env in (BRIDGED, PEER)
    )
    for env in (ROUTED | {"INTERFACE": "tap0"}, BRIDGED, PEER):
        node.up(env)
    made = Place(router, node, guest, bridged, peer)
    made.is_whole()
    return made


class Forger:
    """Sends frames with a forged source, one a period, and counts those that somebody hears."""

    def __init__(self, guest: Machine, mac: str, source: str, target: str, ear: Ear, period: float) -> None:
        self.socket, self.ear, self.ended = guest.packet_socket("eth0"), ear, threading.Event()
        self.frame = f.ethernet(
            mac, f.BROADCAST if mac == FORGED else "cc:47:52:4e:45:54", f.udp(source, target)
        )
        self.mark = bytes(map(int, source.split(".")))
        self.heard, self.period = 0, period
        self.threads = [threading.Thread(target=act) for act in (self._send, self._hear)]
        for thread in self.threads:
            thread.start()

    def _send(self) -> None:
        while not self.ended.wait(self.period):
            try:
                self.socket.send(self.frame)
            except OSError:
                continue  # the link is down

    def _hear(self) -> None:
        while not self.ended.is_set():
            self.heard += sum(self.mark in frame for _, frame in self.ear.frames(0.1))

    def close(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(10)
        self.socket.close()
        self.ear.socket.close()


class Pings:
    """Echo requests until the end."""

    def __init__(self, machine: Machine, address: str, spacing: float) -> None:
        argv = machine.command("ping", "-n", "-q", "-i", spacing, "-W", 1, address)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def lost(self) -> int:
        """End it; how many had no answer. The last one may be on its way."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=10)
        numbers = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        assert numbers and int(numbers[1]) > 20, said
        return int(numbers[1]) - int(numbers[2])


class Traffic:
    """What guests sent meanwhile: echo requests that were lost, by whom, and forged frames that passed."""

    lost: dict[str, int]
    forged: dict[str, int]

    def is_whole(self, most: int = 1) -> None:
        """Nothing but the last packet of each, which may be on its way."""
        assert all(lost <= most for lost in self.lost.values()), self.lost
        self.is_filtered()

    def is_filtered(self) -> None:
        """Nothing forged has passed."""
        assert not any(self.forged.values()), self.forged


@contextmanager
def traffic(place: Place, title: str, spacing: float = SPACING, period: float = PERIOD) -> Iterator[Traffic]:
    """Guests talk, in all directions, and forge, from here to the end: a packet each so many seconds."""
    made = Traffic()
    pings = {
        "out": Pings(place.guest, GATEWAY, spacing),
        "out, IPv6": Pings(place.guest, GATEWAY6, spacing),
        "in": Pings(place.router, IP, spacing),
        "bridged": Pings(place.bridged, PEER["IP"], spacing),
    }
    with ExitStack() as stack:
        forgers = {
            "routed": Forger(
                place.guest, ROUTED["MAC"], "198.51.100.66", GATEWAY, Ear(place.router, "br0"), period
            ),
            "bridged": Forger(
                place.bridged, FORGED, "203.0.113.66", PEER["IP"], Ear(place.peer, "eth0"), period
            ),
        }
        for forger in forgers.values():
            stack.callback(forger.close)
        time.sleep(30 * spacing)
        yield made
        time.sleep(30 * spacing)
        made.lost = {name: each.lost() for name, each in pings.items()}
    made.forged = {name: forger.heard for name, forger in forgers.items()}
    print(f"{title}: lost {made.lost}, forged {made.forged}")
