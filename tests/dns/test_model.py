"""Random operations on the instances of two nodes, with a name server that fails in every way and with
senders that are killed: in the end the zones must be right. If a seed fails, it is printed with what it did.

    sudo tests/run tests/dns/test_model.py --dns-seeds=2000
    sudo tests/run tests/dns/test_model.py --dns-seeds=17:18    # one of them again

BIND is real and serves all seeds. A proxy in front of it causes the failures. The clocks are the test's: a
step is about a second. The test calls the same functions as Ganeti's hooks, on the same nodes.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from snf_network.dns import registry
from snf_network.model.names import Names, reverse
from tests.dns.lab import ADDRESS, FORWARD, REVERSE4, Place, forward
from tests.dns.proxy import PORT, Honest, Proxy
from tests.dns.sending import Node, killed

Zones = dict[str, dict[str, set[str]]]
STEPS, INSTANCES, ADDRESSES = 40, 5, 8
FOREIGN = {FORWARD: {"www": {"A 192.0.2.80"}}, REVERSE4: {"250": {"PTR printer.example.com."}}}
VIA = f"servers: '{ADDRESS}:{PORT}'"
UPDATE = 5
MOODS = ("well", "silent", "servfail", "no reverse", "no forward", "deaf", "not today")


class Moods:
    """The name server's moods, as a manner of the proxy."""

    def __init__(self) -> None:
        self.mood = "well"

    def __call__(self, message: bytes, ask: Honest) -> Iterable[bytes]:
        reversed_ = b"\x07in-addr\x04arpa" in message
        update = message[2] >> 3 & 15 == UPDATE
        if self.mood == "silent":
            return []
        if self.mood == "servfail" or (self.mood, reversed_) in (("no reverse", True), ("no forward", False)):
            return [failure(message, 2)]
        if self.mood == "not today" and update:
            return [failure(message, 2)]
        answer = ask(message)
        return [] if self.mood == "deaf" and update else [answer]  # done, and the answer is lost


def failure(message: bytes, rcode: int) -> bytes:
    return message[:2] + bytes((message[2] | 0x80, rcode)) + bytes(8)


@dataclass
class Guest:
    """An instance as Ganeti knows it: where it is, whether it runs, and the address of each NIC."""

    node: int
    running: bool
    nics: dict[str, str] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)
    """What the NICs that are up were brought up with."""


class Part(Node):
    """A node that knows which guests run on it, as its records and interfaces tell."""

    def __init__(self, place: Place, directory: Path, number: int, guests: dict[str, Guest]) -> None:
        super().__init__(place, directory / f"node{number + 1}", VIA, "timeout: 0.05")
        self.number, self.guests = number, guests

    def running(self) -> dict[str, set[str]]:
        here = {
            name: guest for name, guest in self.guests.items() if guest.node == self.number and guest.live
        }
        return {name: set(guest.live) for name, guest in here.items()}


class World:
    """Two nodes, their guests, and a name server."""

    def __init__(self, place: Place, directory: Path, seed: int, moods: Moods) -> None:
        self.chance, self.moods, self.seed = random.Random(seed), moods, seed
        self.guests: dict[str, Guest] = {}
        self.nodes = [Part(place, directory, number, self.guests) for number in range(2)]
        self.did: list[str] = []
        self.uuids = 0

    def tick(self) -> None:
        seconds = self.chance.choice((0.5, 2.0, 20.0, 700.0))
        for node in self.nodes:
            node.now += seconds

    def free(self) -> str:
        used = {address for guest in self.guests.values() for address in guest.nics.values()}
        addresses = [f"198.51.100.{number}" for number in range(1, ADDRESSES + 1)]
        return self.chance.choice([address for address in addresses if address not in used] or [""])

    def names(self, name: str, nics: dict[str, str]) -> list[Names]:
        return [Names(name, uuid, "pub1", (address,)) for uuid, address in nics.items()]

    # --- what Ganeti does

    def start(self, name: str, node: int) -> None:
        guest = self.guests[name]
        guest.node, guest.running, guest.live = node, True, dict(guest.nics)
        for names in self.names(name, guest.nics):
            self.nodes[node].spool.up(names)

    def stop(self, name: str) -> None:
        guest = self.guests[name]
        guest.running, guest.live = False, {}
        self.nodes[guest.node].spool.have(name, (), self.names(name, guest.nics))

    def add(self) -> None:
        free = [name for name in instances() if name not in self.guests]
        address = self.free()
        if free and address:
            name, self.uuids = self.chance.choice(free), self.uuids + 1
            self.guests[name] = Guest(0, True, {f"nic{self.uuids}": address})
            self.start(name, self.chance.randrange(2))
            self.say("add", name, address, f"on {self.guests[name].node}")

    def plug(self) -> None:
        name, address = self.one(running=True), self.free()
        if name and address:
            guest, self.uuids = self.guests[name], self.uuids + 1
            guest.nics[f"nic{self.uuids}"] = guest.live[f"nic{self.uuids}"] = address
            self.nodes[guest.node].spool.up(Names(name, f"nic{self.uuids}", "pub1", (address,)))
            self.say("plug", name, address)

    def unplug(self) -> None:
        name = self.one(running=True)
        if name and self.guests[name].live:
            guest = self.guests[name]
            uuid = self.chance.choice(sorted(guest.live))
            guest.nics.pop(uuid, None)
            del guest.live[uuid]
            self.nodes[guest.node].spool.down(name, uuid)
            self.say("unplug", name, uuid)

    def readdress(self) -> None:
        """A NIC gets another address by hotplug, or at the next start: then the running guest keeps the old
        one.
        """
        name, address = self.one(running=True), self.free()
        if name and address and self.guests[name].live:
            guest = self.guests[name]
            uuid = self.chance.choice(sorted(guest.live))
            guest.nics[uuid] = address
            hot = self.chance.random() < 0.7
            if hot:
                guest.live[uuid] = address
                self.nodes[guest.node].spool.up(Names(name, uuid, "pub1", (address,)))
            else:  # the old one is not given to anybody while the guest has it
                self.reserve(guest, uuid)
                wanted = self.names(name, guest.live)
                self.nodes[guest.node].spool.have(name, wanted, self.names(name, guest.nics))
            self.say("readdress", name, uuid, address, "hot" if hot else "cold")

    def reserve(self, guest: Guest, uuid: str) -> None:
        guest.nics = {**guest.nics, f"old of {uuid}": guest.live[uuid]}

    def release(self, guest: Guest) -> None:
        guest.nics = {uuid: address for uuid, address in guest.nics.items() if not uuid.startswith("old of ")}

    def reboot(self) -> None:
        name = self.one(running=True)
        if name:
            self.release(self.guests[name])
            self.start(name, self.guests[name].node)
            self.say("reboot", name)

    def halt(self) -> None:
        name = self.one(running=True)
        if name:
            self.release(self.guests[name])
            self.stop(name)
            self.say("stop", name)

    def remove(self) -> None:
        name = self.one()
        if name:
            self.release(self.guests[name])
            self.stop(name)
            if self.chance.random() < 0.5:
                self.send(self.guests[name].node)
                self.stop(name)  # the hook of stop, then that of remove
            del self.guests[name]
            self.say("remove", name)

    def rename(self) -> None:
        name = self.one(running=False)
        free = [other for other in instances() if other not in self.guests]
        if name and free:
            new = self.chance.choice(free)
            guest = self.guests[new] = self.guests.pop(name)
            self.nodes[guest.node].spool.move(name, new, (), self.names(name, guest.nics))
            self.say("rename", name, new)
            if self.chance.random() < 0.7:
                self.start(new, guest.node)

    def switch(self) -> None:
        """Migrate or fail over: the other node's ifup, then the hooks. A migration may be aborted before
        them.
        """
        name = self.one(running=True)
        if name:
            guest = self.guests[name]
            source, target = guest.node, 1 - guest.node
            if self.chance.random() < 0.2:
                for names in self.names(name, guest.live):
                    self.nodes[target].spool.up(names)
                self.say("aborted", name)
                self.sometimes()
                for _ in range(2):  # the timer runs each minute
                    self.nodes[0].now = self.nodes[1].now = self.nodes[0].now + 61
                    self.nodes[target].send()
                return
            self.release(guest)
            self.start(name, target)
            self.sometimes()
            self.nodes[source].spool.leave(name, self.names(name, guest.nics))
            self.say("switch", name, f"to {target}")

    def move(self) -> None:
        """OP_INSTANCE_MOVE of a stopped instance, which is then started."""
        name = self.one(running=False)
        if name:
            guest = self.guests[name]
            source, guest.node = guest.node, 1 - guest.node
            if self.chance.random() < 0.8:
                self.nodes[source].spool.leave(name, self.names(name, guest.nics))
            self.say("move", name, f"to {guest.node}")
            if self.chance.random() < 0.7:
                self.start(name, guest.node)

    def one(self, running: bool | None = None) -> str:
        found = [name for name, guest in self.guests.items() if running in (None, guest.running)]
        return self.chance.choice(sorted(found)) if found else ""

    # --- what happens to senders and servers

    def sometimes(self) -> None:
        for node in self.chance.sample((0, 1), 2):
            if self.chance.random() < 0.5:
                self.send(node)

    def send(self, node: int) -> None:
        if self.chance.random() < 0.1:
            step = self.chance.randrange(12)
            self.say("killed" if killed(self.nodes[node], step) else "sent", f"on {node} at {step}")
        else:
            self.nodes[node].send()
            self.say("sent", f"on {node}")

    def feel(self) -> None:
        self.moods.mood = self.chance.choice((*MOODS, "well", "well", "well"))
        self.say("the server is", self.moods.mood)

    def say(self, *words: str) -> None:
        self.did.append(" ".join(words))
        for number, node in enumerate(self.nodes):
            self.did += [f"    {number}: {line}" for line in node.said]
            node.said.clear()

    def step(self) -> None:
        what = self.chance.choices(
            (
                self.add,
                self.plug,
                self.unplug,
                self.readdress,
                self.reboot,
                self.halt,
                self.remove,
                self.rename,
                self.switch,
                self.move,
                self.feel,
            ),
            (4, 2, 2, 2, 1, 3, 3, 3, 4, 3, 4),
        )[0]
        what()
        self.tick()
        self.sometimes()

    # --- the end

    def settle(self) -> None:
        """The server is well, and nothing is left to do or parked."""
        self.moods.mood = "well"
        self.say("the end")
        for _ in range(6):
            for node in self.nodes:
                node.now += registry.LONGEST
                node.send()
        self.say("settled")

    def expected(self) -> Zones:
        zones = {
            zone: {name: set(records) for name, records in names.items()} for zone, names in FOREIGN.items()
        }
        for name, guest in self.guests.items():
            if guest.live:
                zones[FORWARD].update(forward(name.removesuffix(f".{FORWARD}"), *guest.live.values()))
            for address in guest.live.values():
                zones[REVERSE4][reverse(address).removesuffix(f".{REVERSE4}")] = {f"PTR {name}."}
        return zones

    def check(self) -> None:
        zones = self.nodes[0].zones()
        states = [
            (node.directory.name, name, trouble.state, trouble.reason)
            for node in self.nodes
            for known in node.sender().registry
            for name, trouble in known.troubles.items()
        ]
        if zones != self.expected() or states:
            pytest.fail(self.story((differences(zones, self.expected()), states)), pytrace=False)

    def clear(self) -> None:
        """Everything goes; then nothing of ours is left."""
        for name in list(self.guests):
            self.release(self.guests[name])
            self.stop(name)
            del self.guests[name]
        self.settle()
        self.say("all are removed")
        self.check()
        marks = {
            name: found
            for name, found in self.nodes[0].place.server.content(FORWARD).items()
            if name != "www"
        }
        if marks:
            pytest.fail(self.story(marks), pytrace=False)

    def story(self, more: object) -> str:
        return "\n".join((f"seed {self.seed}", *self.did, str(more)))


def differences(found: Zones, expected: Zones) -> list[str]:
    flat = [
        {
            f"{name} {record}"
            for names in zones.values()
            for name, records in names.items()
            for record in records
        }
        for zones in (found, expected)
    ]
    return [f"left: {one}" for one in sorted(flat[0] - flat[1])] + [
        f"lost: {one}" for one in sorted(flat[1] - flat[0])
    ]


def instances() -> list[str]:
    return [f"inst{number}.{FORWARD}" for number in range(INSTANCES)]


def seeds(text: str) -> range:
    first, _, last = text.rpartition(":")
    return range(int(first or 0), int(last))


@pytest.fixture(scope="module")
def moods(place: Place) -> Iterator[Moods]:
    place.clean()
    place.server.start()
    place.server.add(f"zone {FORWARD}", "update add www.example.com 60 A 192.0.2.80")
    place.server.add(f"zone {REVERSE4}", f"update add 250.{REVERSE4} 60 PTR printer.example.com.")
    made = Moods()
    with Proxy(place.server, made, made):
        yield made


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory: thousands of fsyncs are not what is tested."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def test_random_operations_end_with_the_zones_that_they_must(
    place: Place, moods: Moods, memory: Path, request: pytest.FixtureRequest
) -> None:
    done = steps = 0
    for seed in seeds(request.config.getoption("--dns-seeds")):
        world = World(place, memory / str(seed), seed, moods)
        for _ in range(STEPS):
            world.step()
        world.settle()
        world.check()
        world.clear()
        done, steps = done + 1, steps + len(world.did)
    print(f"{done} seeds, {steps} steps")
