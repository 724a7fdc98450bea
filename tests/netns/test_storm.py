"""Everything at once, at random, and half of it killed: eight workers on ten NICs for a minute, links that
come and go beside them, and guests that forge all the time.

    sudo tests/run tests/netns/test_storm.py -s

The seed is printed; SNF_NETWORK_STORM sets the seconds, SNF_NETWORK_SEED the seed. On a busy machine it goes
on until it has killed as many calls as a quiet one would in that time.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.netns import test_concurrency
from tests.netns.lab import SCRIPTS, Ear, Lab, Machine, laboratory
from tests.netns.traffic import FORGED, PERIOD, Forger

pytestmark = pytest.mark.slow
SECONDS, WORKERS, NICS, KILLED = float(os.environ.get("SNF_NETWORK_STORM", "60")), 8, 10, 0.3
CALLS, KILLS, LONGEST = 10 * SECONDS, 5 * SECONDS, 5 * SECONDS
SUBCOMMANDS = ("gc", "repair", "load", "check", "status")


def nic(number: int) -> dict[str, str]:
    """Odd ones are routed, even ones filtered by all that there is."""
    more = {} if number % 2 else {"NETWORK_TAGS": "private-filtered ip-filtered nfdhcpd"}
    return test_concurrency.nic(number, **more)


class Storm:
    """A node in one, and what went wrong."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.router = lab.router()
        self.node = lab.node("node1", self.router)
        self.guests = {
            number: lab.guest(self.node, f"tap{number}", nic(number)["MAC"]) for number in range(NICS)
        }
        self.peer = lab.guest(self.node, "peer0", "aa:55:60:00:00:ff", "203.0.113.5/24")
        self.node.ip("link set peer0 master prv0 up")
        self.seed, self.began = seed, time.monotonic()
        self.calls, self.kills, self.said = 0, 0, list[str]()
        self.acts: list[tuple[float, float, str]] = []

    def goes_on(self) -> bool:
        """True until it has lasted long enough and enough was done in it."""
        lasted = time.monotonic() - self.began
        return lasted < SECONDS or (lasted < LONGEST and (self.calls < CALLS or self.kills < KILLS))

    def work(self, number: int) -> None:
        """Calls at random, one after the other, and some of them killed."""
        chance = random.Random(self.seed * 100 + number)
        while self.goes_on():
            script, env, words = self.choose(chance)
            began, killed = time.monotonic(), ""
            argv = self.node.command(
                "env", "-i", *(f"{key}={value}" for key, value in env.items()), SCRIPTS / script
            )
            call = subprocess.Popen(
                (*argv, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if chance.random() < KILLED:
                time.sleep(chance.random() * 0.15)
                call.kill()
                killed = f"killed after {time.monotonic() - began:.3f} s"
                self.kills += 1
            said, _ = call.communicate(timeout=90)
            self.note(began, script, *words, env.get("GANETI_INSTANCE_NAME", ""), killed, said)
            self.calls += 1
            if "Traceback" in said:
                self.said.append(f"{script} {' '.join(words)}: {said}")

    def note(self, began: float, *words: str) -> None:
        """An act since `began`, for who must find out what let a frame pass."""
        self.acts.append((began, time.monotonic(), " ".join(words).strip()))

    def around(self, moment: float) -> str:
        """What was going on within a second of a moment."""
        return "\n".join(
            f"{began - moment:+.3f} to {ended - moment:+.3f}: {words}"
            for began, ended, words in sorted(self.acts)
            if began < moment + 0.2 and ended > moment - 1.0
        )

    def choose(self, chance: random.Random) -> tuple[str, dict[str, str], tuple[str, ...]]:
        """A script, its environment and its arguments."""
        env = nic(chance.randrange(NICS))
        kind = chance.choice(("up", "up", "up", "down", "hook", "command"))
        if kind == "command":
            return "snf-network", {}, (chance.choice(SUBCOMMANDS),)
        if kind == "hook":
            return "snf-network-hook", hook(env["INSTANCE"]), ()
        return f"kvm-if{kind}-custom", env, (env["INTERFACE"],)

    def flap(self) -> None:
        """Taps go and come, as when guests end and start."""
        chance = random.Random(self.seed)
        while self.goes_on():
            number = chance.randrange(NICS)
            guest, tap, mac = self.guests[number], f"tap{number}", nic(number)["MAC"]
            began = time.monotonic()
            self.node.run("ip", "link", "del", tap, check=False)
            self.note(began, tap, "deleted")
            time.sleep(chance.random() * 0.3)
            words = ("link", "add", tap, "type", "veth", "peer", "name", "eth0", "address", mac)
            began = time.monotonic()
            self.node.run("ip", *words, "netns", guest.holder.pid)
            self.note(began, tap, "made")
            guest.ip("link set eth0 up")
            time.sleep(chance.random())


def hook(instance: str) -> dict[str, str]:
    """A post hook's environment: the instance was stopped."""
    return {
        "PATH": "/usr/bin:/bin",
        "GANETI_HOOKS_PHASE": "post",
        "GANETI_OP_CODE": "OP_INSTANCE_SHUTDOWN",
        "GANETI_INSTANCE_NAME": instance,
        "GANETI_INSTANCE_PRIMARY": "node1",
        "GANETI_INSTANCE_NIC_COUNT": "0",
    }


class Guest(Forger):
    """Forges whatever becomes of its link."""

    def __init__(self, machine: Machine, ear: Ear, number: int) -> None:
        self.machine = machine
        source = f"198.51.100.{200 + number}" if number % 2 else f"203.0.113.{200 + number}"
        self.moments: list[float] = []
        super().__init__(machine, FORGED, source, "255.255.255.255", ear, PERIOD * 10)

    def _send(self) -> None:
        while not self.ended.wait(self.period):
            try:
                self.socket.send(self.frame)
            except OSError:  # the link is down, or another one by now
                self.socket.close()
                self.socket = self._socket()

    def _hear(self) -> None:
        while not self.ended.is_set():
            heard = [when for when, frame in self.ear.frames(0.1) if self.mark in frame]
            self.heard += len(heard)
            self.moments += heard

    def _socket(self) -> object:
        while not self.ended.wait(self.period):
            try:
                return self.machine.packet_socket("eth0")
            except OSError:
                continue
        return self.socket


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


def test_a_storm(lab: Lab) -> None:
    seed = int(os.environ.get("SNF_NETWORK_SEED", random.randrange(10**6)))
    print(f"SNF_NETWORK_SEED={seed}")
    storm = Storm(lab, seed)
    with ExitStack() as stack:
        forgers = []
        for number, machine in storm.guests.items():
            ear = Ear(storm.router, "br0") if number % 2 else Ear(storm.peer, "eth0")
            forgers.append(Guest(machine, ear, number))
            stack.callback(forgers[-1].close)
        threads = [threading.Thread(target=storm.work, args=(number,)) for number in range(WORKERS)]
        threads.append(threading.Thread(target=storm.flap))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONGEST + 120)
    print(f"{storm.calls} calls, {storm.kills} of them killed")
    assert storm.said == []
    for number, forger in enumerate(forgers):
        for moment in forger.moments[:1]:
            print(f"{forger.heard} frames of tap{number} passed; around the first:\n{storm.around(moment)}")
    assert [forger.heard for forger in forgers] == [0] * NICS
    for words in (("gc",), ("repair",), ("gc",)):
        storm.node.script("snf-network", {}, *words, check=False)
    ran = storm.node.script("snf-network", {}, "check", check=False)
    assert (ran.returncode, ran.stdout) == (0, "clean\n"), ran.stdout + ran.stderr
    assert storm.kills >= KILLS and storm.calls >= CALLS
