"""Overlays of engine evpn, with the real FRR: sessions by a reflector, in a mesh and to a router; guests that
move; a bgpd that dies; our block in frr.conf.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from lab.frr import CONF, Frr, floods, reflector, running
from lab.network import Lab
from lab.overlay import SSCONF, Cluster, cluster, environment
from lab.stream import Stream, announce, local
from snf_network.model.resources.frr import BEGIN, END
from snf_network.selftest import frames as f
from tests.netns.lab import ROOT, Ear, Machine, until
from tests.netns.test_networks import COMMAND, MACS, command, guests, net, numbers

REFLECTOR = "10.99.0.66"
NETWORKS = """\
networks:
  prv0: {kind: overlay, vni: 100, bridge: ov100, engine: evpn}
  prv1: {kind: overlay, vni: 200, bridge: ov200, engine: evpn}
"""
WAYS = {"reflector": f"reflectors: [{REFLECTOR}]", "mesh": "mesh: true"}
FILES = {way: f"evpn: {{as: 65000, {words}}}\n{NETWORKS}" for way, words in WAYS.items()}
SECOND = 1.0
"""What an admin waits for `check` and for the fallback, at most."""
OTHERS = [{"10.99.0.2", "10.99.0.3"}, {"10.99.0.1", "10.99.0.3"}, {"10.99.0.1", "10.99.0.2"}]


class Site:
    """Three nodes with FRR, and a reflector if it is `way`."""

    def __init__(self, made: Cluster, way: str) -> None:
        self.cluster, self.nodes, self.file = made, made.nodes, FILES[way]
        made.say(self.file)
        self.frrs = []
        for node in self.nodes:
            assert net(node, "up")[0] == 0
            self.frrs.append(Frr(node, net(node, "plan", "--frr")[1]))
        self.reflectors = [Frr(made.outsider, reflector(REFLECTOR))] if way == "reflector" else []

    def is_whole(self) -> bool:
        """All nodes send broadcasts of both networks to all others."""
        found = [[floods(node, device) for node in self.nodes] for device in ("vx100", "vx200")]
        return found == [OTHERS, OTHERS]


@contextmanager
def site(way: str) -> Iterator[Site]:
    with cluster() as made:
        built = Site(made, way)
        with running(*built.reflectors, *built.frrs):
            assert until(built.is_whole, 15)
            yield built


@pytest.fixture(scope="module", params=WAYS)
def whole(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as built:
        yield built


@pytest.fixture(autouse=True)
def as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test leaves the site whole, and finds it so."""
    yield
    if "whole" in request.fixturenames:
        built: Site = request.getfixturevalue("whole")
        assert until(built.is_whole, 10)
        assert [net(node, "check") for node in built.nodes] == [(0, "clean\n")] * 3


def timed(node: Machine, *words: str) -> tuple[int, str]:
    """As `command`, which must not take longer than a second."""
    began = time.monotonic()
    found = command(node, *words)
    assert time.monotonic() - began < SECOND
    return found


# --- what crosses


def test_guests_talk_and_a_broadcast_arrives_once(whole: Site) -> None:
    where = (1, "ov100"), (2, "ov100"), (3, "ov100"), (3, "ov200")
    with guests(whole.cluster, *where) as (one, two, three, apart):
        for address in ("10.1.0.2", "10.1.0.3", "fd01::2", "fd01::3"):
            assert one.ping(address)
        assert not one.ping("10.1.0.4", wait=0.5)
        ears = [Ear(guest, "eth0") for guest in (two, three, apart)]
        with closing(one.packet_socket("eth0")) as sender:
            for number in range(1, 101):
                sender.send(local(number, MACS[1], f.BROADCAST))
        heard = [
            Counter(f.token(frame) for _, frame in ear.frames(0.5) if frame[12:14] == b"\x88\xb5")
            for ear in ears
        ]
        assert heard == [dict.fromkeys(range(1, 101), 1)] * 2 + [{}]
        for ear in ears:
            ear.socket.close()


def test_entries_of_frr_are_not_touched(whole: Site) -> None:
    node = whole.nodes[0]
    before = node.out("bridge", "fdb", "show"), numbers(node)
    for _ in range(2):
        assert net(node, "up") == (0, "")
        assert command(node, "repair") == (0, "clean: nothing to repair\n")
        assert command(node, "repair", "--fallback") == (0, "clean: nothing to repair\n")
    assert (node.out("bridge", "fdb", "show"), numbers(node)) == before
    rows = json.loads(net(node, "plan", "--json")[1])
    assert [row["network"] for row in rows if row["lines"]] == []


def test_a_network_that_goes_is_withdrawn_at_once(whole: Site) -> None:
    node = whole.nodes[1]
    assert net(node, "down", "prv1")[0] == 0
    assert until(lambda: floods(whole.nodes[0], "vx200") == {"10.99.0.3"}, SECOND)
    assert floods(whole.nodes[0], "vx100") == {"10.99.0.2", "10.99.0.3"}
    said = net(whole.nodes[0], "check")[1]
    assert said.startswith("evpn: 10.99.0.2 advertises no VNI 200 (") and len(said.splitlines()) == 1
    assert net(node, "check") == (1, "prv1: is not up: snf-network net up prv1\n")
    assert net(node, "up")[0] == 0 and until(whole.is_whole, 2)


def test_a_guest_that_moves_loses_nothing(whole: Site) -> None:
    """Before BGP has told of it: there and back, under traffic at 1 ms spacing."""
    with guests(whole.cluster, (1, "ov100")) as (one,):
        places = [whole.cluster.silent(place, "ov100", MACS[2]) for place in (2, 3)]
        announce(places[0], MACS[2])
        time.sleep(0.5)
        for old, new in (places, places[::-1]):
            moves(one, old, new)
        for place in (2, 3):
            whole.cluster.leave(place)


def moves(one: Machine, old: Machine, new: Machine) -> None:
    with Stream(one, MACS[1], MACS[2], old, new) as stream:
        moment = announce(new, MACS[2])
        time.sleep(0.3)  # BGP has told of it meanwhile
    assert stream.lost <= 1
    (before, after), began = stream.heard, stream.sent_by(moment)
    assert 0 <= min(after) - began <= 10 and max(before) <= min(after) + 1
    assert began > 50 and len(after) > 100, "and stays there"


# --- what dies


def test_bgpd_dies_and_the_fallback_stands_in_until_it_is_back(whole: Site) -> None:
    one, two, _ = whole.nodes
    with guests(whole.cluster, (1, "ov100"), (2, "ov100"), (3, "ov100")) as (first, second, third):
        assert first.ping("10.1.0.2")
        whole.frrs[1].kill("bgpd")
        assert net(two, "check") == (
            1,
            "evpn: bgpd does not run: guests here are cut off from other nodes (bgpd=yes in "
            "/etc/frr/daemons, systemctl restart frr; until then, on all nodes: snf-network repair --fallback)\n",
        )
        assert command(two, "check")[1].startswith("network    evpn            bgpd does not run: ")
        assert until(lambda: floods(one, "vx100") == {"10.99.0.3"} and not floods(two, "vx100"))
        first.ip("neigh flush dev eth0")  # what the devices have learned themselves outlives bgpd
        assert not first.ping("10.1.0.2", wait=0.5)
        assert command(one, "repair") == (0, "clean: nothing to repair\n"), "only if it is asked for"
        for node, count in zip(whole.nodes, (1, 2, 1), strict=True):
            assert command(node, "repair", "--fallback") == (
                0,
                f"network prv0: {count} changes\nnetwork prv1: {count} changes\n",
            )
        assert (
            whole.is_whole() and first.ping("10.1.0.2") and third.ping("10.1.0.2") and second.ping("fd01::3")
        )
        for action in (("net", "up"), ("repair",), ("repair", "--fallback")):
            for node in (one, two):
                assert command(node, *action)[0] == 0
            assert whole.is_whole(), "nothing of it is taken away while bgpd is dead"
        with counted(one) as asked:
            assert "prv0: fallback: entries of ours for 10.99.0.2 (" in net(one, "check")[1]
        assert [words.split()[1] for words in asked] == ["bgpd", "zebra"], "each of them once"
        with Stream(first, MACS[1], MACS[2], second) as stream:
            whole.frrs[1].start("bgpd")
            assert until(lambda: "advertises no VNI" not in net(one, "check")[1], 10)
            assert until(lambda: "Established" in whole.frrs[1].vtysh("-c", "show bgp neighbors"), 10)
            assert until(lambda: ended(two), 10)
            assert ended(one) and ended(whole.nodes[2])
        assert stream.lost == 0 and whole.is_whole()
        assert [net(node, "check") for node in whole.nodes] == [(0, "clean\n")] * 3


@contextmanager
def counted(node: Machine) -> Iterator[list[str]]:
    """The arguments of each vtysh that is run there meanwhile."""
    asked: list[str] = []
    node.run("cp", "/usr/bin/vtysh", "/run/frr/vtysh")
    node.write("/run/frr/counting", '#!/bin/sh\necho "$*" >> /run/frr/asked\nexec /run/frr/vtysh "$@"\n')
    node.run("chmod", "755", "/run/frr/counting")
    node.run("mount", "--bind", "/run/frr/counting", "/usr/bin/vtysh")
    try:
        yield asked
    finally:
        node.run("umount", "/usr/bin/vtysh")
        asked += node.read("/run/frr/asked").splitlines()


def ended(node: Machine) -> bool:
    """A repair, after which nothing of the fallback is left."""
    command(node, "repair")
    return "fallback" not in net(node, "check")[1]


@pytest.mark.quiet
def test_a_dead_bgpd_is_told_and_stood_in_for_within_a_second(whole: Site) -> None:
    """Start of the interpreter included."""
    whole.frrs[1].kill("bgpd")
    try:
        assert "bgpd does not run" in timed(whole.nodes[1], "net", "check")[1]
        assert "bgpd does not run" in timed(whole.nodes[1], "check")[1]
        for node in whole.nodes:
            assert timed(node, "repair", "--fallback")[0] == 0
        assert whole.is_whole()
    finally:
        whole.frrs[1].start("bgpd")
        assert until(lambda: all(map(ended, whole.nodes)), 20)


@pytest.mark.quiet
def test_a_bgpd_that_hangs_is_told_in_time(whole: Site) -> None:
    frr = whole.frrs[0]
    os.kill(frr.pid("bgpd"), signal.SIGSTOP)
    try:
        began = time.monotonic()
        said = net(whole.nodes[0], "check")[1]
        assert time.monotonic() - began < 2 * SECOND
    finally:
        os.kill(frr.pid("bgpd"), signal.SIGCONT)
    assert said.startswith("evpn: bgpd has not answered within 1 s: ") and len(said.splitlines()) == 1


def test_zebra_dies_and_no_frame_is_lost() -> None:
    with site("mesh") as built, guests(built.cluster, (1, "ov100"), (2, "ov100")) as (one, two):
        assert one.ping("10.1.0.2")
        with Stream(one, MACS[1], MACS[2], two) as stream:
            built.frrs[1].kill("zebra")
            said = net(built.nodes[1], "check")[1]
            time.sleep(0.5)
        assert stream.lost == 0
        assert said.startswith(
            "evpn: zebra does not run: entries stay as they are, and nothing new is learned ("
        )


OTHER_AS = """\
router bgp 65001
 neighbor 10.99.0.9 remote-as 65001
 address-family l2vpn evpn
  neighbor 10.99.0.9 activate
"""


def test_what_the_running_frr_lacks_is_told_in_a_line_each() -> None:
    with cluster(size=2) as made:
        made.say(FILES["mesh"])
        node = made.nodes[0]
        assert net(node, "up")[0] == 0
        frr = Frr(node, OTHER_AS)
        with running(frr):
            assert net(node, "check")[1].splitlines() == [
                "evpn: bgpd has AS 65001, and evpn.as is 65000 (snf-network net plan --frr)",
                "evpn: bgpd has no EVPN neighbour 10.99.0.2 (snf-network net plan --frr)",
                "evpn: bgpd advertises no VNI: advertise-all-vni is not there (snf-network net plan --frr)",
            ]
            frr.stop()
            frr = Frr(node, net(node, "plan", "--frr")[1])
            frr.start()
            assert net(node, "check")[1].startswith("evpn: session with 10.99.0.2 is down: ")
            node.ip("link set vx100 down")
            assert until(lambda: "prv0: bgpd does not advertise VNI 100 (" in net(node, "check")[1])
            node.ip("link del vx100")
            assert until(lambda: "prv0: zebra does not know VNI 100 (" in net(node, "check")[1])
        made.say(FILES["mesh"].replace("engine: evpn", "engine: list"), node)
        assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n"), "FRR is nobody's concern"


# --- from engine list and back


def test_from_list_to_evpn_nothing_is_lost_and_back_all_is_there() -> None:
    """An entry stays until FRR has it, and is FRR's then."""
    with cluster() as made:
        made.say(FILES["mesh"])
        frrs = [Frr(node, net(node, "plan", "--frr")[1]) for node in made.nodes]
        made.say(FILES["mesh"].replace("engine: evpn", "engine: list"))
        for node in made.nodes:
            assert net(node, "up")[0] == 0
        with guests(made, (1, "ov100"), (2, "ov100")) as (one, two), running(*frrs, later=True):
            with Stream(one, MACS[1], f.BROADCAST, two) as stream:
                made.say(FILES["mesh"])
                for node in made.nodes:
                    assert net(node, "up")[0] == 0 and len(floods(node, "vx100")) == 2
                said = net(made.nodes[0], "check")[1]
                assert "prv0: fallback: entries of ours for 10.99.0.2, 10.99.0.3 (" in said
                for frr in frrs:
                    frr.start()
                assert until(lambda: all(map(ended, made.nodes)), 30)
            assert stream.lost == 0 and [net(node, "check") for node in made.nodes] == [(0, "clean\n")] * 3
            made.say(FILES["mesh"].replace("engine: evpn", "engine: list"))
            for node in made.nodes:
                assert net(node, "up") == (0, "")
            frrs[0].kill("bgpd")
            assert until(lambda: not floods(made.nodes[0], "vx100")), "why all overlays have one engine"
            for frr in frrs:
                frr.stop()
        for node in made.nodes:
            assert command(node, "repair")[0] == 0 and net(node, "check") == (0, "clean\n")
            assert len(floods(node, "vx100")) == 2


# --- to a router


TOR = """\
router bgp 65100
 bgp router-id 10.255.0.254
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor nodes peer-group
 neighbor nodes remote-as external
 neighbor nodes timers 3 9
 neighbor node1 interface peer-group nodes
 neighbor node2 interface peer-group nodes
 address-family ipv4 unicast
  neighbor nodes activate
  neighbor nodes default-originate
 exit-address-family
 address-family l2vpn evpn
  neighbor nodes activate
 exit-address-family
"""


@pytest.mark.parametrize("numbers_", [(65001, 65002), (65001, 65001)], ids=("an AS each", "one AS"))
def test_unnumbered_to_a_router(lab: Lab, numbers_: tuple[int, int]) -> None:
    """Nodes whose addresses on the underlay are on lo, each with a link to the router."""
    router = lab.machine("tor")
    router.sysctl("net/ipv4/ip_forward", 1)
    nodes = [lab.machine(f"node{number}") for number in (1, 2)]
    for number, node in enumerate(nodes, 1):
        lab.cable(router, f"node{number}", node, "eth1")
        router.ip(f"link set node{number} up")
        node.ip("link set eth1 up", f"addr add 10.255.0.{number}/32 dev lo")
        node.write(f"{SSCONF}/ssconf_node_secondary_ips", "node1 10.255.0.1\nnode2 10.255.0.2\n")
        text = f"evpn: {{as: 65000, unnumbered: [eth1]}}\n{NETWORKS}nodes:\n"
        text += "".join(f"  node{n}: {{evpn: {{as: {one}}}}}\n" for n, one in enumerate(numbers_, 1))
        node.write("/etc/snf-network/networks.yaml", text)
        assert net(node, "up")[0] == 0
    frrs = [Frr(router, TOR), *(Frr(node, net(node, "plan", "--frr")[1]) for node in nodes)]
    with running(*frrs):
        assert until(
            lambda: [floods(node, "vx100") for node in nodes] == [{"10.255.0.2"}, {"10.255.0.1"}], 20
        )
        assert [net(node, "check") for node in nodes] == [(0, "clean\n")] * 2
        routes = [node.out("ip", "route", "show", "proto", "bgp") for node in nodes]
        assert [len(some.splitlines()) for some in routes] == [1, 1] and "default" not in "".join(routes)
        one, two = (lab.guest(node, "tap1", MACS[n], f"10.1.0.{n}/24") for n, node in enumerate(nodes, 1))
        for n, node in enumerate(nodes, 1):
            node.up(environment("tap1", MACS[n], "ov100"))
        assert one.ping("10.1.0.2") and two.ping("10.1.0.1")


# --- our block


THEIRS = """\
frr defaults datacenter
hostname theirs
router bgp 65000
 neighbor 10.99.0.66 remote-as 65000
 neighbor 10.99.0.66 description a router of the admin
exit
"""


def test_the_block_is_kept_and_goes_with_the_last_network() -> None:
    with cluster(size=2) as made:
        text = FILES["mesh"].replace("mesh: true", "mesh: true, frr: block")
        made.say(text)
        frrs = [Frr(node, THEIRS) for node in made.nodes]
        for node in made.nodes:
            rows = json.loads(net(node, "plan", "--json")[1])
            assert rows[-1] == {
                "network": "evpn",
                "lines": [f"# write our block in {CONF}: 15 lines of net plan --frr"],
                "refused": [],
            }
            status, said = net(node, "up", "prv0")
            assert net(node, "up")[0] == 0 == status
            assert f"evpn: {CONF} has changed: `vtysh -b` adds it" in said
            assert node.read(CONF) == f"{THEIRS}{BEGIN}\n{net(node, 'plan', '--frr')[1]}{END}\n"
            assert node.out("stat", "-c", "%U %G %a", CONF) == "frr frr 640\n"
            assert node.out("ls", "-A", "/etc/frr").split() == sorted(
                ["daemons", "frr.conf", "support_bundle_commands.conf", "vtysh.conf"]
            )
            assert net(node, "up") == (0, "") and net(node, "plan") == (0, "")
        with running(*frrs):
            assert until(lambda: floods(made.nodes[0], "vx100") == {"10.99.0.2"}, 15)
            assert [net(node, "check") for node in made.nodes] == [(0, "clean\n")] * 2
            shown = frrs[0].vtysh("-c", "show running-config")
            assert "description a router of the admin" in shown, "their neighbour has its IPv4 routes, too"
            frrs[0].vtysh("-c", "conf t", "-c", "no router bgp 65000")
            assert "evpn: bgpd advertises no VNI" in net(made.nodes[0], "check")[1]
            frrs[0].vtysh("-b")
            assert until(lambda: net(made.nodes[0], "check") == (0, "clean\n"), 15), "as net up says"
        node = made.nodes[0]
        node.run("sed", "-i", "/snf-network/d", CONF)
        assert f"evpn: missing: # write our block in {CONF}" in net(node, "check")[1]
        assert command(node, "repair")[0] == 0 and BEGIN not in node.read(CONF), "left to net up"
        node.write(CONF, THEIRS)
        assert net(node, "up")[0] == 0 and net(node, "down", "prv0")[0] == 0 and BEGIN in node.read(CONF)
        assert net(node, "down", "prv1")[0] == 0 and node.read(CONF) == THEIRS
        made.say(text.replace("engine: evpn", "engine: list"), made.nodes[1])
        assert net(made.nodes[1], "up")[0] == 0 and made.nodes[1].read(CONF) == THEIRS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("router bgp 65001\n", f"{CONF} has 'router bgp 65001', and a node has one AS (evpn.as must be it)"),
        (f"{BEGIN}\n", f"the markers of our block in {CONF} do not match (delete those lines by hand)"),
        ("", f"{CONF} is not there, or is no regular file (apt install frr)"),
    ],
)
def test_a_file_that_cannot_have_the_block_is_left_alone(text: str, why: str) -> None:
    with cluster(size=1) as made:
        node = made.nodes[0]
        made.say(FILES["mesh"].replace("mesh: true", "mesh: true, frr: block"))
        node.write(CONF, text)
        if not text:
            node.run("rm", CONF)
        status, said = net(node, "up")
        assert status == 1 and said.splitlines()[-1] == f"snf-network: evpn: {why}"
        assert node.read(CONF) == text and "ov100" in numbers(node), "the networks come up"
        assert f"evpn: {why}" in net(node, "check")[1]


def as_unit(node: Machine, name: str, *words: str) -> tuple[int, str]:
    """As `command`, with what the unit may do."""
    text = (ROOT / "debian" / f"snf-network.snf-network-{name}.service").read_text()
    (names,) = re.findall(r"^CapabilityBoundingSet=(.+)$", text, re.MULTILINE)
    kept = ",".join(f"+{one.removeprefix('CAP_').lower()}" for one in names.split())
    caps = ("setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all")
    ran = node.run(*caps, COMMAND, *words, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_the_units_capabilities_suffice() -> None:
    """frr.conf and the sockets of FRR are not root's."""
    with cluster(size=1) as made:
        node = made.nodes[0]
        made.say(FILES["mesh"].replace("mesh: true", "mesh: true, frr: block"))
        frr = Frr(node, THEIRS)
        node.run("chmod", "750", "/etc/frr")
        node.run("chown", "frr:frr", "/etc/frr")
        assert as_unit(node, "net", "net", "up")[0] == 0 and BEGIN in node.read(CONF)
        assert node.out("stat", "-c", "%U %G %a", CONF) == "frr frr 640\n"
        with running(frr):
            assert until(lambda: "zebra does not know" not in as_unit(node, "gc", "net", "check")[1])
            assert "does not run" not in as_unit(node, "gc", "net", "check")[1]


def test_an_underlay_of_ipv6_is_refused() -> None:
    with cluster(size=1, prefix="fd99::") as made:
        made.say(FILES["mesh"])
        status, said = net(made.nodes[0], "up")
        assert status == 1 and said.endswith("fd99::1 is of IPv6 (engine evpn needs IPv4 below)\n")


def test_without_evpn_there_are_no_lines() -> None:
    with cluster(size=1) as made:
        made.say("networks: {prv0: {kind: overlay, vni: 1}}")
        assert net(made.nodes[0], "plan", "--frr") == (
            1,
            "snf-network: no network of /etc/snf-network/networks.yaml has engine evpn (docs/networks.md)\n",
        )
