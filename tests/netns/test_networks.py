"""Networks of three nodes: what crosses an overlay, what does not, and what happens to those who talk while
nodes and guests come and go.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

import pytest

from lab import overlay
from lab.overlay import Cluster, cluster, environment
from lab.stream import Stream, announce, local
from snf_network.apply.networks import Networks
from snf_network.model.config import Config
from snf_network.model.resources import Link, Route
from snf_network.model.resources.devices import Device
from snf_network.model.resources.hosts import HostAddress
from snf_network.model.resources.routes import MAIN
from snf_network.model.resources.tunnel import Unreachable
from snf_network.networks.bridge import OPTIONS
from snf_network.observe.networks import ups
from snf_network.selftest import frames as f
from tests.netns.lab import SCRIPTS, Ear, Machine, until

COMMAND = SCRIPTS / "snf-network"
FILE = """\
networks:
  prv0: {kind: overlay, vni: 100, bridge: ov100}
  prv1: {kind: overlay, vni: 200, bridge: ov200}
"""
MACS = {number: f"aa:00:00:00:01:{number:02x}" for number in range(1, 10)}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster() as made:
        made.say(FILE)
        for node in made.nodes:
            assert net(node, "up")[0] == 0
        yield made


@pytest.fixture(autouse=True)
def as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test finds all nodes whole, and leaves them so."""
    yield
    if "nodes" in request.fixturenames:
        made: Cluster = request.getfixturevalue("nodes")
        made.say(FILE)
        made.tell(range(1, 4))
        for node in made.nodes:
            assert net(node, "up")[0] == 0
            assert net(node, "check") == (0, "clean\n")


def net(node: Machine, *words: str) -> tuple[int, str]:
    """Exit status of `snf-network net`, and all it says."""
    return command(node, "net", *words)


def command(node: Machine, *words: str) -> tuple[int, str]:
    ran = node.run(COMMAND, *words, check=False)
    return ran.returncode, ran.stdout + ran.stderr


@contextmanager
def guests(
    made: Cluster, *where: tuple[int, str], tags: str = "", macs: dict[int, str] | None = None
) -> Iterator[list[Machine]]:
    """A guest on each (node, bridge): the first is 10.1.0.1, and so on."""
    found, taps = [], []
    try:
        for number, (place, bridge) in enumerate(where, 1):
            node, mac, tap = made.nodes[place - 1], (macs or MACS)[number], f"tap{number}"
            taps.append((node, tap))
            found.append(made.lab.guest(node, tap, mac, f"10.1.0.{number}/24", f"fd01::{number}/64"))
            node.up(environment(tap, mac, bridge, tags))
        yield found
    finally:
        for node, tap in taps:
            node.run("ip", "link", "del", tap, check=False)
        for guest in found:
            guest.close()
        for node in {node.name: node for node, _ in taps}.values():
            command(node, "gc")


@contextmanager
def listening(machine: Machine, seconds: float = 0.3) -> Iterator[list[bytes]]:
    """The frames that come to its eth0 from now on, complete after the context."""
    found: list[bytes] = []
    ear = Ear(machine, "eth0")
    with closing(ear.socket):
        yield found
        found += [frame for _, frame in ear.frames(seconds)]


# --- what crosses


def test_guests_on_three_nodes_talk_and_a_broadcast_arrives_once(nodes: Cluster) -> None:
    with guests(nodes, (1, "ov100"), (2, "ov100"), (3, "ov100"), (1, "ov100")) as (one, two, three, beside):
        for address in ("10.1.0.2", "10.1.0.3", "10.1.0.4", "fd01::2", "fd01::3", "fd01::4"):
            assert one.ping(address)
        ears = [Ear(guest, "eth0") for guest in (one, two, three, beside)]
        with closing(one.packet_socket("eth0")) as sender:
            for number in range(1, 101):
                sender.send(local(number, MACS[1], f.BROADCAST))
        heard = [
            Counter(f.token(frame) for _, frame in ear.frames(0.5) if frame[12:14] == b"\x88\xb5")
            for ear in ears
        ]
        assert heard[0] == {} and heard[1] == heard[2] == heard[3] == dict.fromkeys(range(1, 101), 1)
        for ear in ears:
            ear.socket.close()


def test_known_macs_are_not_flooded(nodes: Cluster) -> None:
    with guests(nodes, (1, "ov100"), (2, "ov100"), (3, "ov100")) as (one, _, _):
        assert one.ping("10.1.0.2")
        with listening(nodes.nodes[2]) as third:
            assert one.ping("10.1.0.2", count=3)
        assert not [frame for frame in third if f.octets(MACS[2]) + f.octets(MACS[1]) in frame]


def test_full_frames_pass_over_an_underlay_of_the_same_mtu(nodes: Cluster) -> None:
    with guests(nodes, (1, "ov100"), (2, "ov100")) as (one, _):
        for size, how in ((1422, "do"), (1472, "dont"), (8000, "dont")):
            words = ("ping", "-n", "-c", 2, "-i", 0.2, "-W", 2, "-s", size, "-M", how, "10.1.0.2")
            assert one.run(*words, check=False).returncode == 0, size


def test_two_networks_with_equal_addresses_hear_nothing_of_each_other(nodes: Cluster) -> None:
    where = ((1, "ov100"), (2, "ov100"), (1, "ov200"))
    with guests(nodes, *where) as (one, _, other):
        other.ip("addr flush dev eth0", "addr add 10.1.0.1/24 dev eth0")
        assert one.ping("10.1.0.2") and not other.ping("10.1.0.2", wait=0.5)
        with listening(other) as heard, closing(one.packet_socket("eth0")) as sender:
            sender.send(local(7, MACS[1], f.BROADCAST))
        assert not heard


def test_private_filtered_keeps_tenants_of_one_vni_apart(nodes: Cluster) -> None:
    macs = {1: "aa:55:60:00:00:01", 2: "aa:55:60:00:00:02", 3: "aa:55:70:00:00:03", 4: "aa:55:70:00:00:04"}
    where = ((1, "ov100"), (2, "ov100"), (2, "ov100"), (3, "ov100"))
    with guests(nodes, *where, tags="private-filtered", macs=macs) as (one, _, other, _):
        assert one.ping("10.1.0.2") and other.ping("10.1.0.4")
        assert not one.ping("10.1.0.3", wait=0.5) and not one.ping("10.1.0.4", wait=0.5)
        assert "mac-prefix" in nodes.nodes[1].out(COMMAND, "drops")


# --- coming and going


def test_a_guest_that_moves_loses_nothing(nodes: Cluster) -> None:
    """As a migration does it: both taps are up, then the new one announces itself."""
    with guests(nodes, (1, "ov100")) as (one,):
        old, new = (nodes.silent(place, "ov100", MACS[2]) for place in (2, 3))
        announce(old, MACS[2])
        with Stream(one, MACS[1], MACS[2], old, new) as stream:
            moment = announce(new, MACS[2])
        assert stream.lost == 0
        (before, after), began = stream.heard, stream.sent_by(moment)
        assert 0 <= min(after) - began <= 10 and max(before) <= min(after) + 1
        assert began > 50 and len(after) > 100 and stream.change_over(moment, 1) < 0.02
        for place in (2, 3):
            nodes.leave(place)


def test_a_guest_that_moves_to_a_node_behind_a_router_is_reached(nodes: Cluster) -> None:
    """The kernel keeps the route to where a MAC was, and takes it for the new place too, unless told
    otherwise.
    """
    far, near = nodes.nodes[2], nodes.nodes[:2]
    router = nodes.lab.machine("router")
    nodes.lab.cable(nodes.switch, "router", router, "eth0")
    nodes.switch.ip("link set router master us up")
    nodes.lab.cable(router, "eth1", far, "eth9")
    router.ip(
        *("link set eth0 up", "link set eth1 up", "addr add 10.99.0.254/24 dev eth0"),
        *("addr add 10.98.0.1/24 dev eth1", "route add 10.99.0.3/32 via 10.98.0.3"),
    )
    router.sysctl("net/ipv4/ip_forward", 1)
    router.sysctl("net/ipv4/conf/all/send_redirects", 0)
    far.ip("link set eth0 down", "addr del 10.99.0.3/24 dev eth0", "addr add 10.99.0.3/32 dev lo")
    far.ip("addr add 10.98.0.3/24 dev eth9", "link set eth9 up", "route add default via 10.98.0.1")
    for node in near:
        node.ip("route add 10.99.0.3/32 via 10.99.0.254")
    try:
        with guests(nodes, (1, "ov100")) as (one,):
            old, new = (nodes.silent(place, "ov100", MACS[2]) for place in (2, 3))
            announce(old, MACS[2])
            with Stream(one, MACS[1], MACS[2], old, new) as stream:
                announce(new, MACS[2])
            assert stream.lost == 0 and len(stream.heard[1]) > 100
            for place in (2, 3):
                nodes.leave(place)
    finally:
        for node in near:
            node.ip("route del 10.99.0.3/32")
        far.ip("link del eth9", "addr del 10.99.0.3/32 dev lo")
        far.ip("link set eth0 up", "addr add 10.99.0.3/24 dev eth0")
        router.close()


def test_a_node_comes_goes_and_comes_back_and_others_lose_nothing(nodes: Cluster) -> None:
    with guests(nodes, (1, "ov100"), (2, "ov100"), (3, "ov100")) as (one, two, three):
        assert one.ping("10.1.0.2") and one.ping("10.1.0.3")
        with Stream(one, MACS[1], MACS[2], two) as stream:
            nodes.tell([1, 2], "", *nodes.nodes[:2])
            for node in nodes.nodes[:2]:
                status, said = net(node, "plan")
                gone = nodes.address(3)
                assert status == 0 and [line for line in said.splitlines() if "fdb del 00:" in line] == [
                    f"bridge fdb del 00:00:00:00:00:00 dev vx{vni} dst {gone} self" for vni in (100, 200)
                ]
                assert f"delete element inet snf_network vteps {{ {gone} }}" in said and " add " not in said
                assert net(node, "up")[0] == 0 and net(node, "up") == (0, "")
                assert gone not in node.out("bridge", "fdb", "show"), "nothing that was learned there stays"
            assert not one.ping("10.1.0.3", wait=0.5)
            with listening(one) as heard, closing(three.packet_socket("eth0")) as sender:
                sender.send(local(7, MACS[3], f.BROADCAST))  # its list is the old one, and it keeps sending
            assert not any(frame[6:12] == f.octets(MACS[3]) for frame in heard)
            nodes.tell([1, 2, 3], "", *nodes.nodes[:2])
            for node in nodes.nodes[:2]:
                assert net(node, "plan")[1].count("fdb append") == 2
                assert net(node, "up")[0] == 0 and net(node, "up") == (0, "")
            assert one.ping("10.1.0.3") and three.ping("10.1.0.2")
            nodes.tell([1, 2, 3], "node3.example.com\n", nodes.nodes[0])
            assert net(nodes.nodes[0], "plan")[1].count("fdb del 00:") == 2, "an offline node"
        assert stream.lost == 0 and stream.doubled == 0


# --- forged


def forge(sender: Machine, target: str, vni: int = 100) -> None:
    """A broadcast in VXLAN, in the name of the guest 2."""
    inner = f.ethernet(MACS[2], f.BROADCAST, f.arp(1, MACS[2], "10.1.0.99", "10.1.0.1"))
    overlay.forge(sender, target, vni, inner)


def test_vxlan_from_no_node_of_the_list_reaches_no_guest(nodes: Cluster) -> None:
    """From the underlay; from a routed guest to the node's address there, and to its own gateway's."""
    node = nodes.nodes[0]
    with guests(nodes, (1, "ov100"), (2, "ov100")) as (one, two):
        assert one.ping("10.1.0.2")
        routed = nodes.lab.machine("routed")
        nodes.lab.cable(node, "tap8", routed, "eth0")
        node.ip("link set tap8 up", "addr add 198.51.100.1/24 dev tap8", "addr add fd98::1/64 dev tap8 nodad")
        routed.ip(
            *("link set eth0 up", "addr add 198.51.100.8/24 dev eth0", "addr add fd98::8/64 dev eth0 nodad"),
            "route add default via 198.51.100.1",
        )
        ways = (
            (nodes.outsider, "10.99.0.1"),
            (routed, "10.99.0.1"),
            (routed, "198.51.100.1"),
            (routed, "fd98::1"),
        )

        def through() -> list[bool]:
            found = []
            for sender, target in ways:
                with listening(one) as heard:
                    forge(sender, target)
                found.append(any(f.octets("10.1.0.99") in frame for frame in heard))
            return found

        assert through() == [False] * 4 and one.ping("10.1.0.2")
        assert "vxlan" in node.out(COMMAND, "drops")
        node.run("nft", "flush", "ruleset")
        assert until(lambda: through()[:3] == [True] * 3), "what is forged would be heard"
        status, said = net(node, "check")
        assert (
            status == 1 and "underlay: missing: nft add element inet snf_network vteps { 10.99.0.2 }" in said
        )
        for mended in ("repair", "load"):
            assert command(node, mended)[0] == 0 and through() == [False] * 4
            assert until(lambda: two.ping("10.1.0.1"), 10), (
                "the frames of the true guest 2 are believed again"
            )
            node.run("nft", "flush", "ruleset")
        assert command(node, "repair")[0] == 0
        node.run("ip", "link", "del", "tap8")
        routed.close()


def test_without_an_overlay_of_ours_vxlan_of_others_passes() -> None:
    with cluster(size=2) as made:
        for number, node in enumerate(made.nodes, 1):
            command(node, "load")
            node.ip(
                f"link add vx1 type vxlan id 100 local 10.99.0.{number} dstport 4789 remote 10.99.0.{3 - number}",
                f"addr add 10.9.0.{number}/24 dev vx1",
                "link set vx1 up",
            )
        assert made.nodes[0].ping("10.9.0.2")
        assert "elements" not in made.nodes[0].out("nft", "list", "set", "inet", "snf_network", "vxlan_ports")


# --- the command


def test_a_second_up_does_nothing_and_a_change_only_what_differs(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    before = numbers(node)
    assert (
        net(node, "up") == (0, "") and net(node, "plan") == (0, "") and net(node, "check") == (0, "clean\n")
    )
    assert numbers(node) == before
    nodes.say(FILE.replace("vni: 100,", "vni: 100, mtu: 1400,"), node)
    assert net(node, "plan") == (
        0,
        "# prv0\nip link set dev ov100 mtu 1400 up\n"
        'ip link set dev ov100 alias "snf-network overlay prv0"\n'
        "ip link set dev vx100 mtu 1400 master ov100\n",
    )
    assert net(node, "up") == (0, "prv0: put in place: 3 changes\n")
    assert numbers(node) == before, "no device is made anew"


def numbers(node: Machine) -> dict[str, int]:
    links = json.loads(node.out("ip", "-j", "link", "show"))
    return {link["ifname"]: link["ifindex"] for link in links}


def test_a_port_of_a_smaller_mtu_leaves_the_bridge_s_as_it_is(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    node.ip("link add small mtu 1400 type veth peer name far", "link set small master ov100 up")
    assert json.loads(node.out("ip", "-j", "link", "show", "ov100"))[0]["mtu"] == 1500
    node.ip("link del small")


def test_what_somebody_changed_is_told_and_put_back(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    before = numbers(node)
    node.ip(
        *("link set ov100 group default", "link set vx100 nomaster", "link set vx200 down mtu 1300"),
        "link set vx200 type vxlan local 10.99.0.77 ttl 9",
        "link set ov200 type bridge mcast_snooping 1",
    )
    node.run(
        "bridge",
        "fdb",
        "append",
        "00:00:00:00:00:00",
        "dev",
        "vx200",
        "dst",
        "10.99.0.9",
        "self",
        "permanent",
    )
    node.run("bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "vx200", "dst", "10.99.0.2", "self")
    node.run("nft", "add", "element", "inet", "snf_network", "vteps", "{ 10.99.0.9 }")
    status, said = net(node, "check")
    assert status == 1 and said.splitlines() == TOLD.splitlines()
    assert [line.split(None, 2)[0::2] for line in command(node, "check")[1].splitlines()] == [
        ["network", line.partition(": ")[2]] for line in TOLD.splitlines()
    ]
    assert command(node, "repair")[0] == 0
    assert net(node, "check") == (0, "clean\n") and numbers(node) == before


TOLD = """\
underlay: left over: nft delete element inet snf_network vteps { 10.99.0.9 }
prv0: missing: ip link set dev ov100 group 148 type bridge forward_delay 0 stp_state 0 mcast_snooping 0 no_linklocal_learn 1
prv0: missing: ip link set dev vx100 mtu 1500 master ov100
prv0: missing: ip link set dev vx100 type bridge_slave learning on
prv0: missing: ip link set dev vx100 type bridge_slave neigh_suppress off
prv1: missing: ip link set dev ov200 group 148 type bridge forward_delay 0 stp_state 0 mcast_snooping 0 no_linklocal_learn 1
prv1: missing: ip link set dev vx200 group 148 type vxlan local 10.99.0.1 ttl 64 tos 0x2 learning
prv1: missing: ip link set dev vx200 mtu 1500 master ov200
prv1: missing: bridge fdb append 00:00:00:00:00:00 dev vx200 dst 10.99.0.2 self permanent
prv1: missing: ip link set dev vx200 up
prv1: left over: bridge fdb del 00:00:00:00:00:00 dev vx200 dst 10.99.0.9 self
"""


def test_down_refuses_while_a_guest_is_in_it(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    with guests(nodes, (1, "ov100"), (2, "ov100")) as (one, _):
        assert net(node, "down", "prv0") == (
            1,
            "snf-network: prv0: ov100 has tap1 (move or stop these guests first)\n",
        )
        assert one.ping("10.1.0.2")
        assert net(node, "down", "--all") == (
            1,
            "prv1: taken away: 3 changes\n"
            "snf-network: prv0: ov100 has tap1 (move or stop these guests first)\n",
        )
        assert one.ping("10.1.0.2") and "vteps" not in net(node, "check")[1]
    assert net(node, "down", "prv0")[0] == 0
    assert not {"ov100", "vx100", "ov200", "vx200"} & numbers(node).keys()
    assert "elements" not in node.out("nft", "list", "set", "inet", "snf_network", "vteps")
    assert net(node, "down", "prv0") == (1, "snf-network: 'prv0' is not up (snf-network net list)\n")
    assert net(node, "check") == (
        1,
        "prv0: is not up: snf-network net up prv0\nprv1: is not up: snf-network net up prv1\n",
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("link add ov100 type bridge", "ov100 is there, and not ours"),
        ("link add vx100 type vxlan id 9 dstport 4789", "vx100 is there, and not ours"),
        ("link add other type vxlan id 100 dstport 4789", "other has VNI 100 already, and is not ours"),
        (
            "link add vx100 group 148 type vxlan id 100 dstport 8472",
            "vx100 has not id 100 dstport 4789, which",
        ),
        ("link add vx100 group 148 type dummy", ""),
    ],
)
def test_what_is_another_s_is_not_touched(nodes: Cluster, line: str, why: str) -> None:
    node = nodes.nodes[0]
    assert net(node, "down", "prv0")[0] == 0
    if node.run("ip", *line.split(), check=False).returncode:
        assert not why
        return
    device = line.split()[2]
    before = node.out("ip", "-d", "link", "show", device)
    said = [net(node, action) for action in ("up", "plan")]
    after = node.out("ip", "-d", "link", "show", device)
    node.run("ip", "link", "del", device)
    assert all(status == 1 and why in words and len(words.splitlines()) < 3 for status, words in said), said
    assert after == before


def test_a_killed_call_is_completed_by_the_next(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    for step in range(1, 12):
        assert net(node, "down", "--all")[0] == 0
        killed(node, "up", step)
        assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n") and net(node, "up") == (0, "")
        killed(node, "down", step)
        net(node, "down", "--all")
        left = {name for name in numbers(node) if name.startswith(("ov", "vx"))}
        assert not left and not node.run("ls", "/var/lib/snf-network/networks/prv0", check=False).stdout
        assert "elements" not in node.out("nft", "list", "set", "inet", "snf_network", "vteps")
        assert net(node, "up")[0] == 0


def killed(node: Machine, action: str, step: int) -> None:
    """A call that ends by itself at its step-th use of the machine, as by kill -9."""
    words = "import os, sys\n" + KILLER.format(step=step)
    arguments = ("net", action, *(("--all",) if action == "down" else ()))
    node.run("/usr/bin/python3", "-c", words, COMMAND.parent.parent, *arguments, check=False)


KILLER = """
sys.path.insert(0, sys.argv[1])
from snf_network.host import kernel, record
from snf_network.commands.main import main
left = [{step}]
def fatal(done):
    def call(*words, **named):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), 9)
        return done(*words, **named)
    return call
for name in ("nft", "rtnetlink", "sysctl"):
    setattr(kernel, name, fatal(getattr(kernel, name)))
record.write_file = fatal(record.write_file)
record.withdraw_file = fatal(record.withdraw_file)
main(["snf-network", *sys.argv[2:]])
"""


def test_a_lost_record_is_made_again(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    before = numbers(node)
    node.run("rm", "-r", "/var/lib/snf-network/networks")
    nodes.tell([1, 2], "", node)
    assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n")
    assert numbers(node) == before and "10.99.0.3" not in node.out("bridge", "fdb", "show")


def test_a_broken_file_changes_nothing(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    nodes.say(FILE.replace("vni: 200", "vni: 100"), node)
    words = (
        "/etc/snf-network/networks.yaml:3: networks.prv1: VNI 100 is that of prv0 already; one network each"
    )
    for action in ("up", "plan", "list"):
        assert net(node, action) == (1, f"snf-network: {words}\n")
    assert net(node, "check") == (1, f"{words}\n")
    assert net(node, "check", "--file", "/etc/snf-network/networks.yaml") == (1, f"{words}\n")
    nodes.say(FILE, node)
    assert net(node, "check", "--file", "/etc/snf-network/networks.yaml") == (0, "clean\n")
    node.run("rm", "/etc/snf-network/networks.yaml")
    assert net(node, "up")[1].startswith("snf-network: /etc/snf-network/networks.yaml is not there (")
    status, said = net(node, "check")
    assert status == 1 and "is not there" in said


def test_a_node_that_is_not_in_the_list_is_told(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    nodes.tell([2, 3], "", node)
    status, said = net(node, "up")
    assert (status, said) == (
        1,
        "snf-network: /var/lib/ganeti/ssconf_node_secondary_ips: no address there is one of this node's "
        "(is this the right cluster?)\n",
    )
    node.write("/var/lib/ganeti/ssconf_node_secondary_ips", "node1 10.99.0.1; reboot\n")
    status, said = net(node, "up")
    assert status == 1 and "is not the name and the address of a node" in said and len(said.splitlines()) == 1


def test_an_address_that_changes_and_peers_of_another_cluster(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    before = numbers(node)
    node.ip("addr del 10.99.0.1/24 dev eth0", "addr add 10.99.0.11/24 dev eth0")
    node.write(
        "/var/lib/ganeti/ssconf_node_secondary_ips", "node1 10.99.0.11\nnode2 10.99.0.2\nnode3 10.99.0.3\n"
    )
    nodes.say("underlay: {peers: [10.99.0.66]}\n" + FILE, node)
    status, said = net(node, "plan")
    assert status == 0 and said.count("local 10.99.0.11") == 2 and " link add " not in said
    assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n") and numbers(node) == before
    assert "10.99.0.66" in node.out("bridge", "fdb", "show", "dev", "vx100")
    node.ip("addr del 10.99.0.11/24 dev eth0", "addr add 10.99.0.1/24 dev eth0")


# --- other kinds


ROUTED = """\
networks:
  public:
    kind: routed
    table: 222
    uplink: eth5
    gateways: [198.51.100.1, "2001:db8:1::1"]
    sysctl: {rp_filter: 0, accept_ra: 0}
    arp_source: 198.51.100.9
  trunk0: {kind: bridge, ports: [eth6]}
nodes: {node2: {public: {uplink: eth7, gateways: [198.51.100.2]}}}
"""


def test_a_table_a_bridge_and_what_differs_on_a_node() -> None:
    with cluster(size=2) as made:
        made.say(ROUTED)
        one, two = made.nodes
        for node, uplink in ((one, "eth5"), (two, "eth7")):
            node.ip(*(f"link add {name} type veth peer name far-{name}" for name in (uplink, "eth6")))
            node.ip(f"link set {uplink} up", "link set eth6 up")
            assert net(node, "up")[0] == 0 and net(node, "up") == (0, "")
            assert net(node, "check") == (0, "clean\n") and command(node, "check") == (0, "clean\n")
        assert one.out("ip", "route", "show", "table", "222").split()[:5] == [
            "default",
            "via",
            "198.51.100.1",
            "dev",
            "eth5",
        ]
        assert one.out("ip", "-6", "route", "show", "table", "222").startswith(
            "default via 2001:db8:1::1 dev eth5"
        )
        assert two.out("ip", "route", "show", "table", "222").split()[:5] == [
            "default",
            "via",
            "198.51.100.2",
            "dev",
            "eth7",
        ]
        assert "iif eth5 lookup 222" in one.out("ip", "rule") and "198.51.100.9" in one.out(
            "nft", "list", "ruleset"
        )
        assert command(one, "gc")[0] == 0 and net(one, "check") == (0, "clean\n")
        record = "/var/lib/snf-network/networks/public"
        one.write(record, "nic\n")
        assert command(one, "gc")[0] == 0 and "default" in one.out("ip", "route", "show", "table", "222")
        assert "public: its record cannot be read: snf-network net up public" in net(one, "check")[1]
        assert net(one, "up")[0] == 0 and net(one, "check") == (0, "clean\n")
        one.ip("route flush table 222", "rule del pref 14700")
        assert len(net(one, "check")[1].splitlines()) == 2 and command(one, "repair")[0] == 0
        assert net(one, "check") == (0, "clean\n")
        made.say(ROUTED.replace("eth5", "eth6").replace("ports: [eth6]", "ports: []"), one)
        assert net(one, "up")[0] == 0 and net(one, "check") == (0, "clean\n")
        assert "dev eth6" in one.out("ip", "route", "show", "table", "222")
        assert "iif eth5" not in one.out("ip", "rule") and "eth5" not in one.out("nft", "list", "ruleset")
        assert net(one, "down", "--all")[0] == 0
        assert "222" not in one.out("ip", "rule") and not numbers(one).keys() & {"trunk0"}


def test_without_a_place_among_the_nodes_all_but_overlays_come_up() -> None:
    """As at boot of a node that is in no cluster yet."""
    with cluster(size=1) as made:
        node = made.nodes[0]
        made.say("networks:\n  trunk0: {kind: bridge}\n  prv0: {kind: overlay, vni: 1}\n")
        node.run("rm", "-r", "/var/lib/ganeti")
        why = (
            "/var/lib/ganeti/ssconf_node_secondary_ips: no address there is one of this node's "
            "(is this the right cluster?)"
        )
        put = "trunk0: put in place: 3 changes\n"
        for said in (put, ""):
            assert net(node, "up") == (1, f"{said}snf-network: prv0: {why}\n")
            assert net(node, "check") == (1, f"prv0: {why}\n")
        assert "trunk0" in numbers(node) and net(node, "up", "trunk0") == (0, "")
        made.tell([1])
        assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n")
        node.run("rm", "-r", "/var/lib/ganeti")
        assert net(node, "check") == (1, f"prv0: {why}\n"), "what is up stays, and is compared"
        made.tell([1])
        made.say("networks: {trunk0: {kind: bridge}}")
        rows = json.loads(net(node, "list", "--json")[1])
        assert [(row["network"], row["state"]) for row in rows] == [
            ("trunk0", "up"),
            ("prv0", "up, and not in the file"),
        ]
        assert "prv0: is not in /etc/snf-network/networks.yaml any more" in net(node, "check")[1]
        done = json.loads(net(node, "down", "prv0", "--json")[1])
        assert [one["network"] for one in done["done"]] == ["prv0", "underlay"] and not done["failed"]
        assert net(node, "check") == (0, "clean\n") and json.loads(net(node, "check", "--json")[1]) == []
        assert json.loads(net(node, "plan", "--json")[1]) == [
            {"network": "trunk0", "lines": [], "refused": []}
        ]


def test_another_s_default_route_and_port_are_left_alone() -> None:
    with cluster(size=1) as made:
        made.say(ROUTED)
        node = made.nodes[0]
        node.ip(*(f"link add {name} type veth peer name far-{name}" for name in ("eth5", "eth6")))
        node.ip("link set eth5 up", "link add br9 type bridge", "link set eth6 master br9")
        node.ip("route add default dev eth5 table 222")
        status, said = net(node, "up")
        assert status == 1 and said.splitlines() == [
            "snf-network: public: table 222 has a default route by eth5 that is not ours "
            "(take it from the node's own files and delete it, or gateways from networks.yaml)",
            "snf-network: trunk0: eth6 is in br9 already (take it out there, or from the file)",
        ]
        assert "proto" not in node.out("ip", "route", "show", "table", "222") and "trunk0" not in numbers(
            node
        )


def test_without_a_place_in_a_tunnel_all_but_overlays_come_up() -> None:
    """And what is to go through a tunnel does not go without."""
    public = "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789+/aBcDE="
    wan = f"wan: {{kind: wireguard, nodes: {{node7: {{address: 10.97.0.7, public: '{public}'}}}}}}"
    prv = "prv0: {kind: overlay, vni: 1}"
    why = "node1.example.com is none of the nodes of wan (snf-network net key)"
    below = "wan, which is below all overlays, is not on this node (snf-network net check)"
    with cluster(size=1) as made:
        node = made.nodes[0]
        made.say(f"underlay: {{addresses: wan}}\nnetworks: {{trunk0: {{kind: bridge}}, {prv}, {wan}}}\n")
        status, said = net(node, "up")
        assert status == 1 and sorted(said.splitlines()) == [
            f"snf-network: prv0: {below}",
            f"snf-network: wan: {why}",
            "trunk0: put in place: 3 changes",
        ]
        assert net(node, "check") == (1, f"wan: {why}\nprv0: {below}\n")
        assert "vx1" not in numbers(node)
        rows = json.loads(net(node, "list", "--json")[1])
        assert [(row["kind"], row["state"]) for row in rows] == [
            ("bridge", "up"),
            ("wireguard", why),
            ("overlay", below),
        ]
        made.say(f"networks: {{{wan}}}\n")
        assert net(node, "up") == (1, f"snf-network: {why}\n")


def test_an_address_that_changes_takes_no_route_with_it() -> None:
    """The kernel deletes the routes of a device with its last address; tunnels have one of each family."""
    with closing(Machine("node1")) as node, node.entered():
        engine = Networks(Config.load())
        for address in ("10.97.0.1/32", "10.97.0.9/32"):
            wanted = (
                *(Device("b0", "bridge", "", OPTIONS), HostAddress("b0", address), Link("b0")),
                *(Route("10.97.0.2/32", "b0", MAIN), Unreachable("10.97.0.2/32")),
            )
            for _ in range(2):
                done = engine.change(partial(ups, {"wan": wanted}))
                assert [why for _, why in done] == [[]]
                with_it = node.out("ip", "route", "show", "proto", "148").splitlines()
                assert with_it[0].startswith("10.97.0.2 dev b0") and with_it[1].startswith("unreachable")
                assert address in node.out("ip", "addr", "show", "dev", "b0")
            assert not ups({"wan": wanted}, {one.interface: one for one in engine.records})[0].lines
        assert "10.97.0.1/" not in node.out("ip", "addr", "show", "dev", "b0")


def test_an_underlay_of_ipv6() -> None:
    with cluster(size=2, prefix="fd99::") as made:
        made.say(FILE)
        for node in made.nodes:
            assert (
                net(node, "up")[0] == 0
                and net(node, "up") == (0, "")
                and net(node, "check") == (0, "clean\n")
            )
        with guests(made, (1, "ov100"), (2, "ov100")) as (one, two):
            assert one.ping("10.1.0.2") and two.ping("fd01::1")
            with listening(one) as heard:
                forge(made.outsider, "fd99::1")
            assert not any(f.octets("10.1.0.99") in frame for frame in heard)
