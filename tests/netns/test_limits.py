"""Limits by tag, with real packets: the rate is kept, a storm is cut, and nobody else notices."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.netns import frames as f
from tests.netns.lab import SCRIPTS, Lab, Machine, drops, environment, settled, until
from tests.netns.watching import Watching, own_run

COMMAND = SCRIPTS / "snf-network"
BRIDGED = environment(
    "start-nonet-ifup-1", INTERFACE="tap1", MAC="aa:55:60:00:00:12", IP="203.0.113.12", TAGS=""
)
ROUTED = environment("add-routed-ifup-1", TAGS="")
OTHER_MAC = "aa:55:60:00:00:11"


class Site:
    """A router, a node, a guest on a routed tap, and two guests on a bridge, the second without limits."""

    def __init__(self, lab: Lab) -> None:
        self.router = lab.router()
        self.node = lab.node("node1", self.router)
        self.routed = lab.guest(self.node, "tap0", ROUTED["MAC"], "198.51.100.10/24", gateway="198.51.100.1")
        self.bridged = lab.guest(self.node, "tap1", BRIDGED["MAC"], "203.0.113.12/24")
        self.other = lab.guest(self.node, "tap9", OTHER_MAC, "203.0.113.11/24")
        other = {"INTERFACE": "tap9", "MAC": OTHER_MAC, "IP": "203.0.113.11", "INSTANCE": "other"}
        self.node.up({**BRIDGED, **other, "INTERFACE_UUID": "other"})
        settled(self.router, self.node)

    def up(self, env: dict[str, str], *limits: str) -> None:
        """Bring a NIC up with these limits."""
        self.node.up({**env, "TAGS": " ".join(f"snf-network:0:limit:{one}" for one in limits)})
        settled(self.node)


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with closing(Lab()) as lab:
        yield Site(lab)


@contextmanager
def storm(machine: Machine, frame: bytes, device: str = "eth0", pause: float = 0.0) -> Iterator[None]:
    """Send a frame again and again, as fast as it goes or with pauses."""
    stop = threading.Event()

    def send() -> None:
        with closing(machine.packet_socket(device)) as door:
            while not stop.is_set():
                for _ in range(1 if pause else 50):
                    door.send(frame)
                if pause:
                    time.sleep(pause)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def received(machine: Machine, device: str = "eth0") -> tuple[int, int]:
    """Octets and frames that a device has received."""
    with machine.inside():
        lines = open("/proc/thread-self/net/dev", encoding="ascii").read().splitlines()[2:]
    words = next(line.split() for line in lines if line.split()[0] == f"{device}:")
    return int(words[1]), int(words[2])


def rate(machine: Machine, seconds: float, device: str = "eth0") -> tuple[float, float]:
    """Octets and frames a second that it receives now."""
    began, before = time.monotonic(), received(machine, device)
    time.sleep(seconds)
    after, took = received(machine, device), time.monotonic() - began
    return (after[0] - before[0]) / took, (after[1] - before[1]) / took


def to_other(size: int = 1400) -> bytes:
    """From the limited guest to the other one."""
    packet = f.udp("203.0.113.12", "203.0.113.11", 4000, 4000)
    return f.ethernet(
        BRIDGED["MAC"], OTHER_MAC, f.ip("203.0.113.12", "203.0.113.11", 17, packet[1][20:28] + bytes(size))
    )


def to_guest(size: int = 1400) -> bytes:
    """From the other guest to the limited one."""
    packet = f.udp("203.0.113.11", "203.0.113.12", 4000, 4000)
    return f.ethernet(
        OTHER_MAC, BRIDGED["MAC"], f.ip("203.0.113.11", "203.0.113.12", 17, packet[1][20:28] + bytes(size))
    )


@pytest.mark.parametrize("mbit", [1, 10, 100])
@pytest.mark.parametrize("way", ["out", "in"])
def test_a_rate_is_kept(place: Site, way: str, mbit: int) -> None:
    """Once the bucket of the first second is empty."""
    place.up(BRIDGED, f"{way}:{mbit}mbit")
    sender, receiver, frame = (
        (place.bridged, place.other, to_other()) if way == "out" else (place.other, place.bridged, to_guest())
    )
    with storm(sender, frame):
        time.sleep(0.5)
        octets, _ = rate(receiver, 2.0)
    assert octets * 8 / (mbit * 1e6) == pytest.approx(1, abs=0.05)
    assert drops(place.node, "netdev")["tap1", f"limit-{way}"] > 100


def test_a_rate_is_kept_on_a_routed_tap(place: Site) -> None:
    place.up(ROUTED, "out:10mbit")
    packet = f.udp("198.51.100.10", "198.51.100.1", 4000, 4000)
    packet = f.ip("198.51.100.10", "198.51.100.1", 17, packet[1][20:28] + bytes(1000))
    with storm(place.routed, f.ethernet(ROUTED["MAC"], "cc:47:52:4e:45:54", packet)):
        time.sleep(0.5)
        octets, _ = rate(place.router, 2.0, "node1")
    assert octets * 8 / 10e6 == pytest.approx(1, abs=0.05)
    assert drops(place.node, "netdev")["tap0", "limit-out"] > 100


@pytest.mark.parametrize("way", ["out", "in"])
def test_frames_a_second(place: Site, way: str) -> None:
    place.up(BRIDGED, "pps:2k")
    sender, receiver, frame = (
        (place.bridged, place.other, to_other(20))
        if way == "out"
        else (place.other, place.bridged, to_guest(20))
    )
    with storm(sender, frame):
        time.sleep(0.3)
        _, frames = rate(receiver, 2.0)
    assert frames == pytest.approx(2000, rel=0.05)
    assert drops(place.node, "netdev")["tap1", {"out": "limit-pps", "in": "limit-pps-in"}[way]] > 100


def test_a_storm_reaches_the_others_at_the_limit_and_what_they_say_is_heard(place: Site) -> None:
    """Broadcast and multicast together; unicast of the same guest, and of others, is not limited by it."""
    place.up(BRIDGED, "broadcast:100")
    arp = f.ethernet(BRIDGED["MAC"], f.BROADCAST, f.arp(1, BRIDGED["MAC"], "203.0.113.12", "203.0.113.99"))
    multicast = f.ethernet(BRIDGED["MAC"], "01:00:5e:00:00:fb", f.udp("203.0.113.12", "224.0.0.251", 53))
    with storm(place.bridged, arp), storm(place.bridged, multicast):
        time.sleep(0.3)
        _, frames = rate(place.other, 2.0)
        assert frames == pytest.approx(100, rel=0.08)
        assert place.other.ping("203.0.113.12"), "it answers, and is heard by those who ask"
    with storm(place.bridged, to_other(20), pause=0.001):
        _, frames = rate(place.other, 1.0)
    assert frames > 300
    with storm(place.other, arp, pause=0.001):
        _, frames = rate(place.bridged, 1.0)
    assert frames > 300
    assert drops(place.node, "netdev")["tap1", "limit-broadcast"] > 1000


def test_new_connections(place: Site) -> None:
    """SYN without ACK counts, whatever else is set; no other segment does."""
    place.up(BRIDGED, "new:50")

    def segment(flags: int) -> bytes:
        return f.ethernet(BRIDGED["MAC"], OTHER_MAC, f.tcp("203.0.113.12", "203.0.113.11", 4000, 80, flags))

    for flags in (f.SYN, f.SYN | f.FIN):
        with storm(place.bridged, segment(flags)):
            time.sleep(0.3)
            _, frames = rate(place.other, 2.0)
        assert frames == pytest.approx(50, rel=0.1)
    for flags in (f.ACK, f.SYN | f.ACK):
        with storm(place.bridged, segment(flags), pause=0.001):
            _, frames = rate(place.other, 1.0)
        assert frames > 300
    tagged = f.ethernet(
        BRIDGED["MAC"], OTHER_MAC, f.tcp("203.0.113.12", "203.0.113.11", 4000, 80), (f.VLAN, 0)
    )
    with storm(place.bridged, tagged):
        time.sleep(0.3)
        assert rate(place.other, 1.0)[1] < 60


@pytest.fixture
def node() -> Iterator[Machine]:
    """A node with two taps and no NIC yet."""
    with closing(Lab()) as lab:
        made = lab.node("node1", lab.router())
        made.ip("tuntap add tap0 mode tap", "tuntap add tap1 mode tap")
        yield made


LIMITED = {**BRIDGED, "NETWORK_TAGS": "limit:out:100mbit limit:in:50mbit limit:broadcast:100"}


def limits(node: Machine) -> dict[str, object]:
    """The members with limits, and the rules of the chains of NICs: the rate, and where it goes."""
    found: dict[str, object] = {}
    for entry in json.loads(node.out("nft", "-j", "list", "table", "netdev", "snf_network"))["nftables"]:
        for element in entry.get("set", {}).get("elem", ()):
            member = {"val": element, "limit": {"rate": 0}} if isinstance(element, str) else element["elem"]
            if "limit" in member:
                found[f"{entry['set']['name']} {member['val']}"] = member["limit"]["rate"]
        if "-" in entry.get("rule", {}).get("chain", ""):
            rules = found.setdefault(entry["rule"]["chain"], [])
            assert isinstance(rules, list)
            rules.append([word for said in entry["rule"]["expr"] for word in _words(**said)])
    return found


def _words(
    limit: dict[str, int] | None = None,
    goto: dict[str, str] | None = None,
    jump: dict[str, str] | None = None,
) -> list[object]:
    return [limit["rate"]] if limit else [(goto or jump or {})["target"]]


WANTED = {
    "limited tap1": 0,
    "broadcasts tap1": 100,
    "out-tap1": [[12500000, "no_limit_out"], ["broadcast"]],
    "in-tap1": [[6250000, "no_limit_in"]],
}


def check(node: Machine) -> str:
    return node.run(COMMAND, "check", check=False).stdout


def test_limits_come_change_and_go_with_the_nic(node: Machine) -> None:
    node.up(LIMITED)
    assert limits(node) == WANTED
    changed = {**LIMITED, "TAGS": "snf-network:0:limit:out:10mbit snf-network:0:no-limit:broadcast"}
    node.up(changed)
    assert limits(node) == {
        "limited tap1": 0,
        "out-tap1": [[1250000, "no_limit_out"]],
        "in-tap1": [[6250000, "no_limit_in"]],
    }
    node.up({**changed, "NETWORK_TAGS": "", "TAGS": ""})
    assert limits(node) == {}
    node.up(LIMITED)
    assert limits(node) == WANTED
    assert check(node) == "clean\n"
    node.down(LIMITED)
    assert limits(node) == {}


@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "delete table netdev snf_network",
        "delete chain netdev snf_network in-tap1",
        "flush chain netdev snf_network out-tap1",
        "insert rule netdev snf_network in-tap1 accept",
        "flush chain netdev snf_network out-tap1\n"
        "add rule netdev snf_network out-tap1 limit rate over 9 bytes/second goto no_limit_out\n"
        "add rule netdev snf_network out-tap1 jump broadcast",
        'delete element netdev snf_network broadcasts { "tap1" }',
        'delete element netdev snf_network broadcasts { "tap1" }\n'
        'add element netdev snf_network broadcasts { "tap1" limit rate over 1/second burst 1 packets }',
        "flush chain netdev snf_network broadcast",
    ],
)
def test_what_is_lost_is_seen_and_put_back(node: Machine, harm: str) -> None:
    node.up(LIMITED)
    before = limits(node)
    node.run("nft", "-f", "-", input=f"{harm}\n")
    assert check(node) != "clean\n"
    node.run(COMMAND, "repair")
    assert check(node) == "clean\n"
    assert limits(node) == before == WANTED


def test_a_shaper_comes_changes_and_goes_with_the_nic(node: Machine) -> None:
    def root() -> str:
        return node.out("tc", "qdisc", "show", "dev", "tap1")

    for rate, shown in (("1mbit", "rate 1Mbit"), ("2gbit", "rate 2Gbit")):
        node.up({**BRIDGED, "NETWORK_TAGS": f"shape:in:{rate}"})
        assert "tbf 148: root" in root() and shown in root()
        assert check(node) == "clean\n"
    node.run("tc", "qdisc", "replace", "dev", "tap1", "root", "pfifo")
    assert check(node) != "clean\n"
    node.run(COMMAND, "repair")
    assert shown in root() and check(node) == "clean\n"
    node.down(BRIDGED)
    assert "tbf" not in root()


def test_a_reload_of_the_rules_keeps_limits(node: Machine) -> None:
    node.up(LIMITED)
    node.run(COMMAND, "load")
    assert limits(node) == WANTED
    assert check(node) == "clean\n"


def test_the_limits_of_a_tap_that_is_gone_are_swept(node: Machine) -> None:
    node.up(LIMITED)
    node.ip("link del tap1")
    node.run(COMMAND, "gc")
    assert limits(node) == {}
    node.ip("tuntap add tap1 mode tap")
    node.up(LIMITED)
    assert limits(node) == WANTED
    node.run("rm", "/var/lib/snf-network/tap1")
    node.ip("link del tap1")
    node.run(COMMAND, "gc")
    assert limits(node) == {}


def test_a_tag_that_cannot_be_read_is_refused(node: Machine) -> None:
    for value in ("out:0mbit", "out:100", "out:1tbit", "pps:0", "pps:99m", "new", "inn:1mbit"):
        ran = node.up({**BRIDGED, "NETWORK_TAGS": f"limit:{value}"}, check=False)
        assert ran.returncode == 1 and "limit" in ran.stderr and len(ran.stderr.splitlines()) == 1, ran.stderr


def test_default_limits(node: Machine) -> None:
    node.write("/etc/default/snf-network", 'LIMITS="broadcast:1k out:1gbit"\n')
    node.up({**BRIDGED, "NETWORK_TAGS": "limit:out:2gbit"})
    assert limits(node) == {
        "limited tap1": 0,
        "broadcasts tap1": 1000,
        "out-tap1": [[250000000, "no_limit_out"], ["broadcast"]],
    }


def test_what_was_cut_is_shown(place: Site) -> None:
    """By status, drops, top and metrics."""
    place.node.run("mount", "-t", "tmpfs", "tmpfs", "/run")  # `metrics` counts ifups there from now on
    place.up(BRIDGED, "pps:100", "broadcast:50")
    with storm(place.bridged, to_other(20)):
        assert until(lambda: drops(place.node, "netdev")["tap1", "limit-pps"] > 1000)
        top = json.loads(place.node.out(COMMAND, "top", "--json", "--count", 1, "--interval", "0.5"))
    (nic,) = [nic for nic in top["nics"] if nic["interface"] == "tap1"]
    assert nic["drops"]["limit-pps"] > 1000
    wide = place.node.out(COMMAND, "status", "--wide")
    assert "tap1: limit:pps:100 limit:broadcast:50 cut limit-" in wide and "limit-pps " in wide
    facts = {
        nic["interface"]: nic["limits"] for nic in json.loads(place.node.out(COMMAND, "status", "--json"))
    }
    assert (
        facts["tap1"]["set"] == {"pps": "100", "broadcast": "50"} and facts["tap1"]["cut"]["limit-pps"] > 1000
    )
    assert facts["tap9"] == {"set": {}, "cut": {}}
    assert "limit-pps" in place.node.out(COMMAND, "drops", "tap1")
    assert 'snf_network_nic_dropped_packets_total{interface="tap1"' in place.node.out(COMMAND, "metrics")
    assert 'reason="limit-pps"' in place.node.out(COMMAND, "metrics")


@pytest.mark.parametrize(
    "harm",
    [
        "delete chain netdev snf_network in-tap1",
        "flush chain netdev snf_network out-tap1",
        'delete element netdev snf_network broadcasts { "tap1" }',
        "delete table netdev snf_network",
    ],
)
def test_the_watch_puts_limits_back(watched: tuple[Machine, Watching], harm: str) -> None:
    node, watching = watched
    node.run("nft", "-f", "-", input=f"{harm}\n")
    assert until(lambda: limits_now(node) == WANTED, 3), watching.said()


def limits_now(node: Machine) -> dict[str, object]:
    """Also while the table is gone."""
    there = node.run("nft", "list", "table", "netdev", "snf_network", check=False).returncode == 0
    return limits(node) if there else {}


@pytest.fixture
def watched(node: Machine) -> Iterator[tuple[Machine, Watching]]:
    """A node with a NIC with limits, and a watch that has nothing else to do."""
    own_run(node)
    node.up(LIMITED)
    watching = Watching(node)
    try:
        yield node, watching
        assert watching.end() == ""
    finally:
        if watching.process.poll() is None:
            watching.kill()


def test_changes_of_limits_are_no_work_for_the_watch(watched: tuple[Machine, Watching]) -> None:
    node, watching = watched
    before = watching.comparisons()
    node.up({**LIMITED, "NETWORK_TAGS": "limit:out:10mbit"})
    node.up(LIMITED)
    node.down(LIMITED)
    time.sleep(1.5)
    assert watching.said() == []
    assert watching.comparisons() == before
