"""Routed guests behind a switch that knows them by BGP alone (docs/fabric.md): BIRD and FRR, with the
configurations that we ship.

A guest that moves is on both nodes for a moment, as the old one still has its tap and its route: the switch
must follow the newest route, and lose nothing.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from lab.fabric import WORLD, WORLD6, Daemon, Fabric
from snf_network.observe.newest import STEP
from tests.blocks import block
from tests.netns.corpus import GATEWAY, GATEWAY6, IP, MAC
from tests.netns.lab import ROOT, SCRIPTS, Lab, Machine, environment, until

(TAGS,) = re.findall("add-tags guests (.*)", block("docs/fabric.md", "A network, from nothing"))
IP6 = "2001:db8:1:0:198:51:100:10"
"""By tag v6-from-v4."""
ENV = environment("add-routed-ifup-1", LINK=None, NETWORK_TAGS=TAGS, TAGS="")
SETTINGS = "/etc/default/snf-network"
NEWEST = block("docs/fabric.md", "A network, from nothing #2")
COMMAND = SCRIPTS / "snf-network"
SENT = 1000


@pytest.fixture(scope="module", params=("bird", "frr"))
def switched(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    """A switch and two nodes, for all tests here."""
    with closing(Lab()) as lab, closing(Fabric(lab, request.param)) as made:
        assert made.ready()
        yield made


@pytest.fixture
def fabric(switched: Fabric) -> Iterator[Fabric]:
    """The same, without a guest, before and after."""
    for node in switched.nodes:
        node.write(SETTINGS, f"NFDHCPD_ENGINE=none\n{NEWEST}\n")
    yield switched
    for node in switched.nodes:
        node.run("ip", "link", "del", "tap0", check=False)
        node.run(COMMAND, "gc")
        node.run(COMMAND, "frr")  # as the path unit does
    assert leads_to(switched, "")


def guest(fabric: Fabric, node: Machine, tap: str = "tap0", *addresses: str) -> Machine:
    """A guest that has only its own addresses, and the gateway on its link."""
    own = addresses or (f"{IP}/32", f"{IP6}/128")
    return fabric.lab.guest(node, tap, MAC, *own, gateway=GATEWAY, gateway6=GATEWAY6)


def leads_to(fabric: Fabric, device: str, *addresses: str) -> bool:
    return until(lambda: all(fabric.route(one) == device for one in addresses or (IP, IP6)), 10)


class Pings:
    """Pings from the world to an address of the guest, one each ms."""

    def __init__(self, fabric: Fabric, address: str, count: int = SENT) -> None:
        source = WORLD6 if ":" in address else WORLD
        words = ("ping", "-nq", "-I", source, "-i", "0.001", "-c", count, "-W", 1, address)
        self.process = subprocess.Popen(fabric.tor.command(*words), stdout=subprocess.PIPE, text=True)

    def lost(self) -> tuple[int, int]:
        """How many were sent, and how many of them were not answered."""
        said = self.process.communicate(timeout=60)[0]
        found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        assert found, said
        return int(found[1]), int(found[1]) - int(found[2])


def metrics(node: Machine) -> set[int]:
    """Those of the guests' routes."""
    shown = [
        json.loads(node.out("ip", "-j", family, "route", "show", "proto", "148")) for family in ("-4", "-6")
    ]
    return {route.get("metric", 0) for routes in shown for route in routes}


# --- the newest route


def until_the_next_step() -> None:
    """A guest that comes now has another metric than one that came before."""
    time.sleep(STEP - time.time() % STEP + 0.01)


def med(fabric: Fabric) -> int:
    """What the switch has heard of the guest's route."""
    said = fabric.on(fabric.tor).say(
        {"bird": f"show route all for {IP}", "frr": f"show bgp ipv4 unicast {IP}/32"}[fabric.kind]
    )
    found = re.search(r"(?:BGP.med: |, metric )(\d+)", said)
    assert found, said
    return int(found[1])


def test_a_guest_that_moves_loses_no_packet(fabric: Fabric) -> None:
    """There and back: each time its route is the newest, though the other node has had one before."""
    one, two = fabric.nodes
    guest(fabric, one)
    one.up(ENV)
    assert leads_to(fabric, "node1")
    for old, new, device in ((one, two, "node2"), (two, one, "node1")):
        until_the_next_step()
        if new is two:
            guest(fabric, new)
        pings = [Pings(fabric, address) for address in (IP, IP6)]
        time.sleep(0.2)
        new.up(ENV)
        assert leads_to(fabric, device)
        time.sleep(0.1)
        old.down(ENV)
        assert [ping.lost() for ping in pings] == [(SENT, 0), (SENT, 0)]
        assert leads_to(fabric, device)
        if new is two:
            old.ip("link set tap0 up")  # the stage is set again: the guest's end was never gone
    one.down(ENV)
    assert leads_to(fabric, "")


@pytest.mark.quiet
def test_a_guest_that_starts_again_elsewhere_is_reached_within_a_second(fabric: Fabric) -> None:
    """Its node has lost all but its carrier: the switch believes in its routes until the hold time is over."""
    one, two = fabric.nodes
    guest(fabric, one)
    one.up(ENV)
    assert leads_to(fabric, "node1")
    until_the_next_step()
    one.load("table inet dead { chain everything { type filter hook prerouting priority -500; drop; }; }")
    guest(fabric, two)
    try:
        assert not fabric.tor.ping(IP, wait=0.3, source=WORLD)
        two.up(ENV)
        begun = time.monotonic()  # its route is there
        assert until(lambda: fabric.tor.ping(IP, wait=0.1, source=WORLD), 5)
        assert time.monotonic() - begun < 1
        assert fabric.route(IP) == "node2"
    finally:
        one.run("nft", "delete", "table", "inet", "dead")
        assert fabric.ready()


def test_without_the_setting_the_old_route_stays(fabric: Fabric) -> None:
    """The control: it is the metric that the switch follows."""
    one, two = fabric.nodes
    for node in fabric.nodes:
        node.write(SETTINGS, "NFDHCPD_ENGINE=none\n")
        guest(fabric, node)
    one.up(ENV)
    assert leads_to(fabric, "node1")
    two.up(ENV)
    time.sleep(1)
    assert fabric.route(IP) == "node1"
    assert metrics(one) == metrics(two) == {0, 1024}


def test_a_nic_that_is_brought_up_again_keeps_its_metric(fabric: Fabric) -> None:
    """Its guest may be on its way to another node, which must stay the newest. A new tap is a new guest here."""
    node = fabric.nodes[0]
    guest(fabric, node)
    node.up(ENV)
    (first,) = metrics(node)
    assert until(lambda: fabric.route(IP) == "node1", 10) and med(fabric) == first, "as it is in any daemon"
    until_the_next_step()
    node.up(ENV)
    node.run(COMMAND, "repair")
    assert metrics(node) == {first}
    node.run(COMMAND, "check")
    node.ip("link del tap0")
    guest(fabric, node)
    node.up(ENV)
    (second,) = metrics(node)
    assert 0 < first - second < 60 / STEP
    node.down(ENV)
    assert not metrics(node)


# --- the doctor


def findings(node: Machine) -> list[str]:
    said = json.loads(node.run(COMMAND, "doctor", "--json", check=False).stdout)
    return [one["what"] for one in said if one["check"] == "fabric"]


def test_the_doctor_sees_what_is_told_to_no_peer(fabric: Fabric) -> None:
    """A daemon that is told to keep the guests' routes to itself."""
    node = fabric.nodes[0]
    assert findings(node) == []
    guest(fabric, node)
    node.up(ENV)
    assert leads_to(fabric, "node1")
    assert findings(node) == []
    daemon = fabric.on(node)
    name = {"bird": "BIRD", "frr": "FRR"}[daemon.kind]
    with daemon.silent():
        assert until(lambda: findings(node), 10)
        assert findings(node) == [
            f"{name} tells no BGP peer of {IP}/32 and 1 more: nobody finds the way to these guests"
        ]
    assert leads_to(fabric, "node1")
    assert until(lambda: findings(node) == [], 5)


# --- several uplinks


@pytest.mark.parametrize("kind", ("bird", "frr"))
def test_a_node_with_two_uplinks(kind: str) -> None:
    """Two ways out and in; with one of them down, the guest has the other. Nothing is told on either but BGP."""
    with closing(Lab()) as lab, closing(Fabric(lab, kind, 1, 2)) as fabric:
        (node,) = fabric.nodes
        node.write(SETTINGS, f"NFDHCPD_ENGINE=none\n{NEWEST}\n")
        assert until(lambda: ways_out(node) == {"-4": {"eth1", "eth2"}, "-6": {"eth1", "eth2"}}, 20)
        inside = guest(fabric, node)
        node.up(ENV)
        assert until(lambda: fabric.route(IP) and fabric.route(IP6), 10)
        assert all(inside.ping(address) for address in (WORLD, WORLD6))
        assert fabric.tor.ping(IP, source=WORLD) and fabric.tor.ping(IP6, source=WORLD6)
        for family in ("-4", "-6"):
            assert node.out("ip", family, "neigh", "show", "proxy") == ""
        assert node.run(COMMAND, "check").stdout.endswith("clean\n")
        fabric.tor.ip("link set node1 down")
        assert until(lambda: ways_out(node) == {"-4": {"eth2"}, "-6": {"eth2"}}, 10)
        assert leads_to(fabric, "node1-2")
        assert all(inside.ping(address) for address in (WORLD, WORLD6))
        assert fabric.tor.ping(IP, source=WORLD) and fabric.tor.ping(IP6, source=WORLD6)
        node.run(COMMAND, "repair")
        assert node.run(COMMAND, "check").stdout.endswith("clean\n")


def ways_out(node: Machine) -> dict[str, set[str]]:
    """The devices of the next hops of each family's default route that are up."""
    found = {}
    for family in ("-4", "-6"):
        routes = json.loads(node.out("ip", "-j", family, "route", "show", "default"))
        hops = [hop for route in routes for hop in route.get("nexthops", [route])]
        found[family] = {hop["dev"] for hop in hops if not {"dead", "linkdown"} & {*hop.get("flags", ())}}
    return found


# --- BGP with a guest

GUEST_AS, OWN, OWN6 = "4200000010", "203.0.114.0/24", "2001:db8:7::/48"
OTHERS, OTHERS6 = "198.51.100.66", "2001:db8:1::66"
SPEAKER = """router id 198.51.100.10;
protocol device { }
protocol static { ipv4; route 203.0.114.0/24 blackhole; route 203.0.114.7/32 blackhole;
	route 198.51.100.66/32 blackhole; route 0.0.0.0/0 blackhole; route 203.0.0.0/16 blackhole; }
protocol bgp { local 198.51.100.10 as GUEST_AS; neighbor 198.51.100.1 as 65001; multihop 1; connect delay time 1;
	SECRET ipv4 { import none; export where source = RTS_STATIC; }; }
protocol static { ipv6; route 2001:db8:7::/48 blackhole; route 2001:db8:1::66/128 blackhole; }
protocol bgp { local 2001:db8:1:0:198:51:100:10 as GUEST_AS; neighbor 2001:db8:1::1 as 65001; multihop 1;
	SECRET connect delay time 1; ipv6 { import none; export where source = RTS_STATIC; }; }
"""
PEER = {**ENV, "TAGS": f"snf-network:0:bgp:{GUEST_AS} snf-network:0:allow:{OWN} snf-network:0:allow:{OWN6}"}


SERVICES = {"bird": "snf-network-bird", "frr": "snf-network-frr"}
DIRECTORIES = {name: f"/var/lib/{service}" for name, service in SERVICES.items()}


@pytest.fixture
def peered(fabric: Fabric) -> Iterator[tuple[Fabric, Daemon]]:
    """A fabric, and the daemon of a guest."""
    inside = guest(fabric, fabric.nodes[0])
    fabric.nodes[0].write(SETTINGS, f"NFDHCPD_ENGINE=none\n{NEWEST}\nBGP_DAEMON={fabric.kind}\n")
    speaker = Daemon(inside, "bird")
    speaker.begin(SPEAKER.replace("GUEST_AS", GUEST_AS).replace("SECRET", ""))
    yield fabric, speaker
    speaker.close()


def sessions(fabric: Fabric) -> set[str]:
    """The peers of established sessions with guests, by family."""
    node = fabric.nodes[0]
    if fabric.kind == "bird":
        shown = (line.split() for line in fabric.on(node).say("show protocols").splitlines())
        return {
            words[0][-1] for words in shown if words[0].startswith("snf_guest") and "Established" in words
        }
    said = json.loads(fabric.on(node).say("show bgp summary json"))
    found = {name: peer for family in said.values() for name, peer in family.get("peers", {}).items()}
    ours = {IP: "4", IP6: "6"}
    up = {name for name, peer in found.items() if peer["state"] == "Established"}
    assert all(found[name]["pfxSnt"] == 0 for name in up & ours.keys()), "a guest is told nothing"
    return {ours[name] for name in up & ours.keys()}


def configure(fabric: Fabric, check: bool = True) -> str:
    """What the path unit has its service do."""
    unit = (ROOT / "debian" / f"snf-network.{SERVICES[fabric.kind]}.service").read_text(encoding="utf-8")
    (command,) = re.findall("ExecStart=(.*)", unit)
    assert "CapabilityBoundingSet=CAP_DAC_OVERRIDE\n" in unit
    words = ("setpriv", "--bounding-set=-all,+dac_override", "--inh-caps=-all")
    argv = command.replace("/usr/sbin/snf-network", str(COMMAND)).split()
    return fabric.nodes[0].run(*words, *argv, check=check).stderr


def test_a_guest_announces_what_it_may_use_and_nothing_else(peered: tuple[Fabric, Daemon]) -> None:
    fabric = peered[0]
    node, name = fabric.nodes[0], {"bird": "BIRD", "frr": "FRR"}[fabric.kind]
    node.up(PEER)
    finding = f"{name}'s BGP session with the guest of tap0 is not there, or not as it should be"
    assert finding in findings(node)
    configure(fabric)
    assert until(lambda: sessions(fabric) == {"4", "6"}, 15), fabric.on(node).say("show bgp summary")
    assert findings(node) == []
    assert leads_to(fabric, "node1", OWN, "203.0.114.7", IP, OWN6, IP6)
    assert [fabric.route(one) for one in (OTHERS, "203.0.0.0/16", OTHERS6)] == ["", "", ""]
    assert not node.out("ip", "route", "show", OTHERS) + node.out("ip", "-6", "route", "show", OTHERS6)
    assert "via 198.51.100.10 dev tap0" in node.out("ip", "route", "show", OWN)
    assert fabric.tor.ping(IP, source=WORLD), "the way out is not the guest's"
    assert node.run(COMMAND, "check").stdout.endswith("clean\n")
    node.down(PEER)
    configure(fabric)
    assert sessions(fabric) == set()
    assert leads_to(fabric, "", OWN, IP, OWN6, IP6)
    assert "snf-guest-" not in fabric.on(node).say("show running-config")


def test_a_password_is_the_templates(peered: tuple[Fabric, Daemon]) -> None:
    """Without it, there is no session. The file goes with a tap that is gone."""
    fabric, speaker = peered
    node, daemon = fabric.nodes[0], fabric.on(fabric.nodes[0])
    text = node.read("/etc/bird/bird.conf")
    if daemon.kind == "bird":
        node.write("/etc/bird/bird.conf", text.replace('# password "..."', 'password "secret"'))
    else:
        assert "neighbor SNF-GUEST password ..." in node.read("/etc/frr/frr.conf")
        vty(node, "router bgp", "neighbor SNF-GUEST password secret")
    node.up(PEER)
    configure(fabric)
    try:
        assert node.out("ls", DIRECTORIES[fabric.kind]) == "tap0\n"
        time.sleep(3)
        assert sessions(fabric) == set()
        speaker.configure(SPEAKER.replace("GUEST_AS", GUEST_AS).replace("SECRET", 'password "secret";'))
        assert until(lambda: sessions(fabric) == {"4", "6"}, 20)
        node.ip("link del tap0")
        node.run(COMMAND, "gc")
        assert not node.out("ls", DIRECTORIES[fabric.kind])
    finally:
        if daemon.kind == "bird":
            daemon.configure(text)
        else:
            vty(node, "router bgp", "no neighbor SNF-GUEST password")


def vty(node: Machine, *lines: str) -> None:
    """Configure bgpd."""
    node.run(
        "vtysh", "-d", "bgpd", "-c", "configure terminal", *(word for line in lines for word in ("-c", line))
    )


# --- FRR, which includes no files

OF_FRR = pytest.mark.parametrize("switched", ("frr",), indirect=True)


def of_guests(daemon: Daemon) -> list[str]:
    """What bgpd has of guests' sessions."""
    said = daemon.machine.out("vtysh", "-d", "bgpd", "-c", "show running-config")
    return sorted(line for line in said.splitlines() if "snf-guest-" in line)


@OF_FRR
def test_frr_is_told_again_of_what_it_has_lost(peered: tuple[Fabric, Daemon]) -> None:
    """By whatever: a restart, a reload, a hand. What it has no longer to have goes, too."""
    fabric, node = peered[0], peered[0].nodes[0]
    daemon = fabric.on(node)
    node.up(PEER)
    assert node.run(COMMAND, "frr").stdout == "tap0: BGP session made in FRR\n"
    before = of_guests(daemon)
    assert node.run(COMMAND, "frr").stdout == "clean: FRR has them all\n"
    for lost in (
        ("router bgp", "no neighbor snf-guest-tap0-4 peer-group"),
        ("no ip prefix-list snf-guest-tap0-4 seq 1", "ip prefix-list snf-guest-tap0-4 seq 9 permit any"),
        ("router bgp", "address-family ipv6", "no neighbor snf-guest-tap0-6 prefix-list snf-guest-tap0-6 in"),
        ("ipv6 prefix-list snf-guest-tap9-6 seq 1 permit any",),
    ):
        vty(node, *lost)
    assert node.run(COMMAND, "repair").stdout == (
        "tap0: BGP session made in FRR\ntap9: BGP session taken away in FRR\n"
    )
    assert of_guests(daemon) == before
    daemon.restart("bgpd")
    assert of_guests(daemon) == []
    assert (
        json.loads(node.run(COMMAND, "frr", "--json").stdout)["done"][0]["what"] == "BGP session made in FRR"
    )
    assert until(lambda: sessions(fabric) == {"4", "6"}, 15)
    assert until(fabric.ready, 10) and leads_to(fabric, "node1", OWN, IP, OWN6, IP6)


@OF_FRR
def test_without_its_filters_frr_has_no_session(peered: tuple[Fabric, Daemon]) -> None:
    """What is refused, or hangs, keeps nobody from anything else; and no ifup waits for it."""
    fabric, node = peered[0], peered[0].nodes[0]
    daemon = fabric.on(node)
    vty(node, "router bgp", "no neighbor SNF-GUEST peer-group")
    try:
        node.up(PEER)
        assert (
            configure(fabric, False) == "snf-network: -: FRR has no peer group SNF-GUEST (docs/fabric.md)\n"
        )
        vty(node, "router bgp", "neighbor SNF-GUEST peer-group", "bgp default ipv4-unicast")
        assert "FRR has no line `no bgp default ipv4-unicast`" in configure(fabric, False)
    finally:
        vty(node, "router bgp", "no bgp default ipv4-unicast")
        vty(node, "router bgp", "neighbor SNF-GUEST peer-group", "neighbor SNF-GUEST timers 10 30")
    assert sessions(fabric) == set() and IP not in daemon.say("show bgp summary")
    process = daemon.processes[1].pid
    os.kill(process, signal.SIGSTOP)
    try:
        node.down(PEER)
        began = time.monotonic()
        node.up(PEER)
        assert time.monotonic() - began < 4
    finally:
        os.kill(process, signal.SIGCONT)
    configure(fabric)
    assert until(lambda: sessions(fabric) == {"4", "6"}, 15)
