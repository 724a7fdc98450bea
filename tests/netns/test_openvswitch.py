"""Pins in mode openvswitch, at the hooks of the tap: they come before it is a port, and go after it.

There is no Open vSwitch here: a bridge takes its place, and a script that of ovs-vsctl. tests/qemu has the
real one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.dhcpd.clients import Dhcp4
from tests.dhcpd.netns.daemon import running
from tests.netns import frames as f
from tests.netns.lab import SCRIPTS, Ear, Lab, Machine, drops, environment, send, settled, traces, until
from tests.netns.watching import Watching, own_run

COMMAND = SCRIPTS / "snf-network"
OVS_VSCTL = r"""#!/usr/bin/python3 -IS
import json, os, subprocess, sys
PORTS = "/var/ports"
os.makedirs(PORTS, exist_ok=True)
text = " ".join(sys.argv[1:])
for words in map(str.split, text.split(" -- ")):
    if "del-port" in words and os.path.exists(f"{PORTS}/{words[-1]}"):
        os.remove(f"{PORTS}/{words[-1]}")
        subprocess.run(("ip", "link", "set", words[-1], "nomaster"), stderr=subprocess.DEVNULL)
    if "add-port" in words:
        open(f"{PORTS}/{words[-1]}", "w").write(words[-2])
        if subprocess.run(("ip", "link", "set", words[-1], "master", words[-2])).returncode:
            sys.exit(1)
    if words[:2] == ["set", "port"]:
        open(f"{PORTS}/{words[2]}", "a").write(" ".join(words))
if "list" in text.split():
    ports = {name: open(f"{PORTS}/{name}").read() for name in os.listdir(PORTS)}
    uuid = lambda name: ["uuid", name]
    protected = lambda name: "protected=true" in ports[name]
    print(json.dumps({"data": [["prv0", ["set", [uuid(name) for name in ports]]]]}))
    print(json.dumps({"data": [[uuid(name), name, ["set", []], ["set", []], protected(name)] for name in ports]}))
"""
STAND_IN = """
mkdir /mnt/bin /mnt/bin.work
mount -t overlay overlay -o lowerdir=/usr/bin,upperdir=/mnt/bin,workdir=/mnt/bin.work /usr/bin
cat > /usr/bin/ovs-vsctl
chmod 755 /usr/bin/ovs-vsctl
"""
MAC, OTHER_MAC, ANOTHER_NETWORK = "aa:55:60:00:00:12", "aa:55:60:00:00:11", "aa:55:70:00:00:13"
IP, OTHER = "203.0.113.12", "203.0.113.11"
TAGS = "ip-filtered private-filtered nfdhcpd"
PINNED = environment(
    "start-nonet-ifup-1",
    INTERFACE="tap1",
    MAC=MAC,
    IP=IP,
    TAGS="",
    MODE="openvswitch",
    BRIDGE=None,
    NETWORK_SUBNET="203.0.113.0/24",
    NETWORK_TAGS=TAGS,
)
HOOKS = {"from-tap1": ["from_port"], "to-tap1": ["to_port"]}


class Site:
    """A pinned guest, another one, and somebody on the same switch."""

    def __init__(self, lab: Lab) -> None:
        self.node = lab.node("node1", lab.router())
        self.node.run("sh", "-ec", STAND_IN, input=OVS_VSCTL)
        self.guest = lab.guest(self.node, "tap1", MAC)
        self.other = lab.guest(self.node, "port9", OTHER_MAC)
        self.node.ip("link set port9 master prv0 up")

    def up(self, **changes: str) -> None:
        self.node.up({**PINNED, **changes})
        settled(self.node)


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with closing(Lab()) as lab:
        yield Site(lab)


def hooks(node: Machine) -> dict[str, list[str]]:
    """The chains at devices, each with where its rules go."""
    ran = node.run("nft", "-j", "list", "table", "netdev", "snf_network", check=False)
    entries = json.loads(ran.stdout)["nftables"] if not ran.returncode else []
    found: dict[str, list[str]] = {
        entry["chain"]["name"]: [] for entry in entries if "hook" in entry.get("chain", ())
    }
    for rule in (entry["rule"] for entry in entries if "rule" in entry):
        if rule["chain"] in found:
            found[rule["chain"]].append(str(rule["expr"][-1].get("jump", {}).get("target")))
    return found


def master(node: Machine) -> str:
    return str(json.loads(node.out("ip", "-j", "link", "show", "tap1"))[0].get("master", ""))


def check(node: Machine) -> str:
    return node.run(COMMAND, "check", check=False).stdout


FORGED = f.ethernet(MAC, OTHER_MAC, f.udp("203.0.113.66", OTHER))
OWN = f.ethernet(MAC, OTHER_MAC, f.udp(IP, OTHER))
SERVER = f.ethernet(MAC, f.BROADCAST, f.dhcp(MAC, 2, IP))


def heard(sender: Machine, receiver: Machine, *frames: bytes) -> set[int]:
    """The places of those frames that come through; the last one does."""
    ear = Ear(receiver, "eth0")
    with closing(ear.socket):
        send(sender, "eth0", *(f.stamp(frame, number) for number, frame in enumerate(frames, 1)))
        return ear.tokens(len(frames)) & set(range(1, len(frames) + 1))


def test_pins_come_change_and_go_with_the_nic(place: Site) -> None:
    node = place.node
    before = traces(node)
    for mode, tags, wanted in (
        ("openvswitch", TAGS, HOOKS),
        ("openvswitch", "nfdhcpd", {"from-tap1": ["from_port"]}),
        ("openvswitch", "", {}),
        ("openvswitch", "isolated", {"to-tap1": ["to_port"]}),
        ("bridged", TAGS, {}),
        ("openvswitch", TAGS, HOOKS),
    ):
        place.up(MODE=mode, NETWORK_TAGS=tags)
        assert hooks(node) == wanted, tags
        assert master(node) == "prv0"
    assert not [line for line in traces(node) if line.startswith("set bridge")]
    node.run(COMMAND, "load")
    assert hooks(node) == HOOKS and check(node) == "clean\n"
    node.down(PINNED)
    assert traces(node) == before and master(node) == ""


def test_a_guest_sends_and_hears_what_it_may(place: Site) -> None:
    place.up()
    assert heard(place.guest, place.other, FORGED, SERVER, OWN) == {3}
    assert (
        drops(place.node, "netdev")["tap1", "ip4-src"]
        == drops(place.node, "netdev")["tap1", "dhcp-server"]
        == 1
    )
    to = f.udp(OTHER, IP)
    assert heard(
        place.other,
        place.guest,
        f.ethernet(ANOTHER_NETWORK, MAC, to),
        f.ethernet(ANOTHER_NETWORK, f.BROADCAST, to),
        f.ethernet(OTHER_MAC, MAC, to),
    ) == {3}
    assert drops(place.node, "netdev")["tap1", "mac-prefix"] >= 2  # also what the node says by itself
    assert '"reason": "mac-prefix"' in place.node.out(COMMAND, "drops", "tap1", "--json")


def test_nfdhcpd_answers_a_guest_of_a_private_network(place: Site) -> None:
    """Its own MAC is that of the switch, which is in no private network: its mark lets it pass."""
    place.up()
    mac = bytes.fromhex(MAC.replace(":", ""))
    ear = Ear(place.guest, "eth0")
    with running(place.node) as daemon:
        assert until(lambda: daemon.states() == {"tap1": "served"})
        send(place.guest, "eth0", Dhcp4(mac=mac, chaddr=mac).frame())
        offers = [data for _, data in ear.frames(3, lambda data: data[34:38] == b"\0\x43\0\x44")]
    ear.socket.close()
    assert offers and offers[-1][6:12].hex(":") == place.node.read("/sys/class/net/prv0/address").strip()


@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "flush chain netdev snf_network to-tap1",
        "insert rule netdev snf_network from-tap1 accept",
    ],
)
def test_what_is_lost_is_seen_and_put_back(place: Site, harm: str) -> None:
    node = place.node
    place.up()
    node.run("nft", "-f", "-", input=f"{harm}\n")
    assert check(node) != "clean\n"
    node.run(COMMAND, "repair")
    assert check(node) == "clean\n" and hooks(node) == HOOKS
    assert heard(place.guest, place.other, FORGED, OWN) == {2}


def test_the_watch_puts_rules_and_chains_back_at_once(place: Site) -> None:
    """In one transaction: it says so once, before it has compared anything."""
    node = place.node
    own_run(node)
    place.up()
    watching = Watching(node)
    try:
        for harm in ("flush ruleset", "delete chain netdev snf_network from-tap1"):
            node.run("nft", "-f", "-", input=f"{harm}\n")
            assert until(lambda: hooks(node) == HOOKS, 3), watching.said()
        assert watching.end() == ""
    finally:
        if watching.process.poll() is None:
            watching.kill()


def test_without_its_hook_no_nic_comes_up(place: Site) -> None:
    """A chain of that name that is at no hook: the kernel refuses ours."""
    node = place.node
    node.down(PINNED)
    node.run("nft", "add chain netdev snf_network from-tap1")
    try:
        ran = node.up(PINNED, check=False)
        assert ran.returncode == 1 and ran.stderr.count("\n") == 1 and "from-tap1" in ran.stderr, ran.stderr
        assert master(node) == "" and "state DOWN" in node.out("ip", "link", "show", "tap1")
        assert not [line for line in traces(node, records=False) if "tap1" in line and "chain" not in line]
    finally:
        node.run("nft", "delete chain netdev snf_network from-tap1", check=False)
    place.up()
    assert hooks(node) == HOOKS
