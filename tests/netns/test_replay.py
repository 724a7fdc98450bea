"""Every call that a real Ganeti made, replayed in order on two nodes. Every intermediate state is checked.

Taps come and go as they did then. On a node of Ganeti 3.0, only hooks report that a NIC is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.netns.lab import ENVIRONMENTS, SCRIPTS, Lab, Machine, environment

CALLS = [line.split("\t") for line in (ENVIRONMENTS / "calls.tsv").read_text().splitlines()[1:]]
NODES = ("node1", "node2")
BOTH = "synnefo:network:0:unprotected synnefo:network:0:protected"
Owners = dict[str, tuple[str, str]]


class Replay:
    """Two nodes, and what each should know of its taps."""

    def __init__(self, lab: Lab) -> None:
        router = lab.router()
        self.nodes = {name: lab.node(name, router) for name in NODES}
        self.taps: dict[str, set[str]] = {name: set() for name in NODES}
        self.owners: dict[str, Owners] = {name: {} for name in NODES}
        for number, name in enumerate(NODES, 1):
            self.nodes[name].ip(
                f"addr add 192.0.2.1{number}/24 dev prv0"
            )  # a main table with a route, as nodes have

    def set_taps(self, name: str, wanted: set[str], fresh: str = "") -> None:
        """Make the taps of a node those; `fresh` is deleted and made again, as it is before each ifup."""
        node, present = self.nodes[name], self.taps[name]
        for tap in (present - wanted) | ({fresh} & present):
            node.ip(f"link del {tap}")
            present.discard(tap)
            self.owners[name].pop(tap, None)
        for tap in wanted - present:
            node.ip(f"link add {tap} type veth peer name g-{tap}")
        self.taps[name] = set(wanted)

    def call(self, script: str, name: str, env: dict[str, str]) -> None:
        """Run what Ganeti ran, with the node's own name."""
        programs = {
            "ifup": ["kvm-ifup-custom"],
            "ifdown": ["kvm-ifdown-custom"],
            "hook-pre": ["snf-network-hook"],
            "hook-post": ["snf-network-hook", "snf-network-reconfigure"],
        }[script]
        for program in programs:
            words = [f"{key}={value}" for key, value in env.items()]
            said = self.nodes[name].run(
                "unshare",
                "--uts",
                "sh",
                "-c",
                'hostname "$1"; shift; exec env -i "$@"',
                "sh",
                name,
                *words,
                SCRIPTS / program,
            )
            assert not said.stdout and "Traceback" not in said.stderr
        if script == "ifup":
            self.owners[name][env["INTERFACE"]] = env["INSTANCE"], env["INTERFACE_UUID"]
        if script == "ifdown" and self.owners[name].get(env["INTERFACE"]) == (
            env["INSTANCE"],
            env["INTERFACE_UUID"],
        ):
            del self.owners[name][env["INTERFACE"]]

    def records(self, name: str) -> Owners:
        """Whose each tap is, by the node's records, of the taps that are there."""
        said = self.nodes[name].out("sh", "-c", "grep -h ^nic /var/lib/snf-network/tap* 2>/dev/null || :")
        rows = [line.split("\t") for line in said.splitlines()]
        there = {
            tap: self.nodes[name].out("cat", f"/sys/class/net/{tap}/ifindex").strip()
            for tap in self.taps[name]
        }
        return {row[1]: (row[4], row[5]) for row in rows if there.get(row[1]) == row[2]}

    def check(self, name: str) -> dict[str, list[dict[str, str]]]:
        """What `snf-network check` finds."""
        return json.loads(
            self.nodes[name].run(SCRIPTS / "snf-network", "check", "--json", check=False).stdout
        )


@pytest.fixture
def replay() -> Iterator[Replay]:
    lab = Lab()
    try:
        yield Replay(lab)
    finally:
        lab.close()


def gone_instances(found: dict[str, list[dict[str, str]]]) -> list[str]:
    return [row["what"].split()[0] for row in found["gone"]]


def play(replay: Replay, calls: list[list[str]]) -> None:
    for file, script, name, taps in calls:
        env = environment(file)
        if BOTH in env.get(
            "TAGS", ""
        ):  # the recording has two profiles for one NIC from some point on, which is exit 1 here
            env["TAGS"] = "synnefo:network:0:protected"
        wanted = set(taps.split(",")) - {"-"}
        replay.set_taps(name, wanted, env["INTERFACE"] if script == "ifup" else "")
        replay.call(script, name, env)
        for node in NODES:
            assert replay.records(node) == replay.owners[node], f"{file} on {name}: {node}"
        if script in ("hook-post", "ifup", "ifdown"):
            found = replay.check(name)
            assert (
                not found["missing"] and not found["orphan"] and not found["rules"] and not found["lacking"]
            ), f"{file}: {found}"
            if script == "hook-post":
                assert env.get("GANETI_INSTANCE_NAME") not in gone_instances(found), f"{file}: {found}"


def leftovers(node: Machine) -> str:
    members = [
        line
        for line in node.out("nft", "-s", "list", "ruleset").splitlines()
        if "elements" in line and '"tap' in line
    ]
    return "\n".join(
        [
            *members,
            node.out("ip", "neigh", "show", "proxy"),
            node.out("sh", "-c", "ls /var/lib/nfdhcpd 2>/dev/null || :"),
            *(line for line in node.out("ip", "rule").splitlines() if "fwmark" in line),
        ]
    ).strip()


def test_every_call_of_ganeti_3_0_leaves_the_right_state(replay: Replay) -> None:
    play(replay, [call for call in CALLS if not call[0].startswith("v32-")])
    for name in NODES:
        assert not leftovers(replay.nodes[name])
        assert not any(replay.check(name).values())


def test_every_call_of_ganeti_3_2_leaves_the_right_state(replay: Replay) -> None:
    play(replay, [call for call in CALLS if call[0].startswith("v32-")])
    for name in NODES:
        replay.set_taps(name, set())
        replay.nodes[name].run(SCRIPTS / "snf-network", "gc")
        assert not leftovers(replay.nodes[name])


def test_no_proxy_stays_where_a_guest_has_left(replay: Replay) -> None:
    """Migration there and back: at each end the guest's address is proxied on exactly one node."""
    for operation, at in (
        ("add-routed", "node1"),
        ("migrate", "node2"),
        ("migrate-back", "node1"),
        ("failover", "node2"),
    ):
        calls = [call for call in CALLS if call[0].removesuffix(f"-{call[1]}-{call[0][-1]}") == operation]
        play(replay, [call for call in calls if call[1] != "hook-pre"])
        proxied = [
            name for name in NODES if replay.nodes[name].out("ip", "neigh", "show", "proxy", "dev", "eth1")
        ]
        assert proxied == [at], operation
