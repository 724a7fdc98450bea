"""Every call of a real Ganeti, replayed in order on two nodes. The zones are compared after each call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.dns.lab import ADDRESS, FORWARD, NameServer, Place, call, configure, registered
from tests.netns.lab import ENVIRONMENTS, Lab, environment

CALLS = [line.split("\t") for line in (ENVIRONMENTS / "calls.tsv").read_text().splitlines()[1:]]
NODES = ("node1", "node2")
BOTH = "synnefo:network:0:unprotected synnefo:network:0:protected"
HOOKS = {"OP_INSTANCE_SHUTDOWN", "OP_INSTANCE_REMOVE", "OP_INSTANCE_RENAME", "OP_INSTANCE_SET_PARAMS"}
MOVES = {"OP_INSTANCE_MIGRATE", "OP_INSTANCE_FAILOVER"}
Nics = dict[tuple[str, str], dict[str, str]]


class Replay:
    """Two nodes on one name server, and what each instance should have in DNS."""

    def __init__(self, lab: Lab) -> None:
        router = lab.router()
        nodes = {name: lab.node(name, router) for name in NODES}
        self.server = NameServer(lab, nodes["node1"])
        switch = self.server.machine
        switch.ip(
            "link add br1 type bridge forward_delay 0",
            f"addr del {ADDRESS}/24 dev eth0",
            f"addr add {ADDRESS}/24 dev br1",
            "link set br1 up",
            "link set eth0 master br1",
        )
        lab.cable(switch, "eth1", nodes["node2"], "eth-ns")
        switch.ip("link set eth1 master br1 up")
        nodes["node2"].ip("addr add 10.53.0.3/24 dev eth-ns", "link set eth-ns up")
        self.places = {name: Place(lab, node, self.server) for name, node in nodes.items()}
        for node in nodes.values():
            configure(node)
        self.nics: Nics = {}
        self.nodes: dict[tuple[str, str], str] = {}

    def taps(self, name: str, wanted: set[str], fresh: str) -> None:
        place = self.places[name]
        for tap in (place.taps - wanted) | ({fresh} & place.taps):
            place.node.ip(f"link del {tap}")
            place.taps.discard(tap)
        for tap in wanted - place.taps:
            place.tap(tap)

    def call(self, script: str, name: str, env: dict[str, str]) -> None:
        """Run what Ganeti ran: hooks are linked where the package puts them."""
        opcode = env.get("GANETI_OP_CODE", "")
        programs = {"ifup": ["kvm-ifup-custom"], "ifdown": ["kvm-ifdown-custom"], "hook-pre": []}.get(script)
        if programs is None:
            programs = ["snf-network-hook", *(["snf-network-dnshook"] if opcode in HOOKS else [])]
        for program in programs:
            call(self.places[name].node, name, program, env)

    def arrives(self, script: str, name: str, env: dict[str, str]) -> bool:
        """True if a NIC with names is up on another node than it was: its stamp is the new node's then."""
        key = (env.get("INSTANCE", ""), env.get("INTERFACE_UUID", ""))
        if script != "ifup" or key not in self.nics:
            return False
        before, self.nodes[key] = self.nodes.get(key, name), name
        return before != name

    def expect(self, script: str, name: str, env: dict[str, str]) -> None:
        """What the operation means for DNS, said without our code."""
        if script == "ifup" and "dns" in env.get("NETWORK_TAGS", "").split():
            self.nics[env["INSTANCE"], env["INTERFACE_UUID"]] = env
        opcode, instance = env.get("GANETI_OP_CODE", ""), env.get("GANETI_INSTANCE_NAME", "")
        if script == "hook-post" and opcode in HOOKS:
            count = (
                int(env.get("GANETI_POST_INSTANCE_NIC_COUNT", "0"))
                if opcode == "OP_INSTANCE_SET_PARAMS"
                else 0
            )
            left = {
                env[f"GANETI_POST_INSTANCE_NIC{number}_UUID"]: env.get(
                    f"GANETI_POST_INSTANCE_NIC{number}_IP", ""
                )
                for number in range(count)
            }
            self.nics = {key: nic for key, nic in self.nics.items() if key[0] != instance or key[1] in left}
            for (owner, uuid), nic in list(
                self.nics.items()
            ):  # what does not run has what Ganeti says from now on
                if owner == instance and nic["INTERFACE"] not in self.places[name].taps:
                    self.nics[owner, uuid] = {**nic, "IP": left[uuid]}

    def expected(self) -> dict[str, dict[str, set[str]]]:
        rows = []
        for (instance, _), nic in self.nics.items():
            mac = nic["MAC"].split(":")
            eui64 = f"{int(mac[0], 16) ^ 2:x}{mac[1]}:{int(mac[2] + 'ff', 16):x}:fe{mac[3]}:{int(mac[4] + mac[5], 16):x}"
            rows.append((instance.removesuffix(f".{FORWARD}"), nic["IP"].rpartition(".")[2], eui64))
        found: dict[str, dict[str, set[str]]] = {}
        for row in rows:
            for zone, names in registered(row).items():
                for name, records in names.items():
                    found.setdefault(zone, {}).setdefault(name, set()).update(records)
        return found

    def content(self) -> dict[str, Any]:
        self.places["node2"].settle()
        return self.places["node1"].content()


@pytest.fixture
def replay(root: None) -> Iterator[Replay]:
    lab = Lab()
    try:
        made = Replay(lab)
        made.server.start()
        yield made
        made.server.stop()
    finally:
        lab.close()


def play(replay: Replay, calls: list[list[str]]) -> None:
    for file, script, name, taps in calls:
        env = environment(file)
        if BOTH in env.get("TAGS", ""):
            env["TAGS"] = "synnefo:network:0:protected"
        replay.taps(name, set(taps.split(",")) - {"-"}, env["INTERFACE"] if script == "ifup" else "")
        serial = replay.server.serial(FORWARD)
        before = replay.expected()
        replay.call(script, name, env)
        replay.expect(script, name, env)
        assert replay.content() == replay.expected(), f"{file} on {name}"
        arrived = replay.arrives(script, name, env)
        if before == replay.expected():
            assert replay.server.serial(FORWARD) == serial + arrived, (
                f"{file} on {name}: something was sent, and nothing had changed"
            )


def test_every_call_of_ganeti_3_0(replay: Replay) -> None:
    play(replay, [call for call in CALLS if not call[0].startswith("v32-") and call[1] != "hook-pre"])
    assert replay.expected() == {}
    assert not any(
        place.node.run("sh", "-c", "ls /var/lib/snf-network/dns/known").stdout
        for place in replay.places.values()
    )


def test_every_call_of_ganeti_3_2(replay: Replay) -> None:
    """Its downs do not tell a stop from a reboot or a migration: names stay until the hooks of Ganeti say
    that they go.
    """
    play(replay, [call for call in CALLS if call[0].startswith("v32-")])
    assert replay.expected()
    for place in replay.places.values():
        place.hook("stop-hook-post-1")
        place.hook(
            "stop-hook-post-1",
            GANETI_INSTANCE_NAME="inst2.example.com",
            GANETI_POST_INSTANCE_NAME="inst2.example.com",
        )
    assert replay.content() == {}
