"""The gateway of an overlay: every node is it. What guests reach by it, what of it crosses the overlay, which is
nothing, and who else can be it, which is nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from lab.overlay import Cluster, cluster, environment
from snf_network.selftest import frames as f
from tests.dhcpd.netns.daemon import running
from tests.netns.lab import Ear, Machine, until
from tests.netns.test_networks import MACS, command, killed, listening, local, net

GATEWAY, GATEWAY6, LOCAL6 = "10.1.0.254", "2001:db8:9::fe", "fe80::53:4eff:fe00:64"
MAC = "02:53:4e:00:00:64"
FILE = """\
networks:
  public:
    kind: routed
    table: 222
    uplink: eth1
    gateways: [198.18.0.254, "2001:db8:ff::fe"]
    sysctl: {rp_filter: 0, accept_ra: 0}
  prv0:
    kind: overlay
    vni: 100
    bridge: ov100
    gateway: [10.1.0.254/24, "2001:db8:9::fe/64"]
    table: 222
"""
WORLD, WORLD6 = "192.0.2.99", "2001:db8:99::99"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(size=2) as made:
        world(made)
        yield made


def world(made: Cluster) -> Machine:
    """A router beyond all nodes' uplinks, which knows by which node each guest is reached."""
    found = made.lab.machine("world")
    found.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up")
    found.ip("addr add 198.18.0.254/24 dev br0", "addr add 2001:db8:ff::fe/64 dev br0 nodad")
    found.ip(f"addr add {WORLD}/32 dev lo", f"addr add {WORLD6}/128 dev lo")
    for number, node in enumerate(made.nodes, 1):
        made.lab.cable(found, f"w{number}", node, "eth1")
        found.ip(f"link set w{number} master br0 up")
        node.ip("link set eth1 up", f"addr add 198.18.0.{number}/24 dev eth1")
        node.ip(f"addr add 2001:db8:ff::{number}/64 dev eth1 nodad")
        node.sysctl("net/ipv4/conf/all/rp_filter", 0)
        lead(found, number, number)
    return found


def lead(router: Machine, guest: int, node: int) -> None:
    """The router knows that a guest is on a node."""
    router.ip(f"route replace 10.1.0.{guest}/32 via 198.18.0.{node}")
    router.ip(f"-6 route replace 2001:db8:9::{guest}/128 via 2001:db8:ff::{node}")


@pytest.fixture(autouse=True)
def whole(nodes: Cluster) -> Iterator[None]:
    """Each test finds all nodes whole, and leaves nothing behind."""
    nodes.say(FILE)
    for node in nodes.nodes:
        assert net(node, "up")[0] == 0
        assert net(node, "check") == (0, "clean\n") and net(node, "up") == (0, "")
    yield


@contextmanager
def guest(made: Cluster, number: int, node: Machine, tags: str = "") -> Iterator[Machine]:
    """The guest 10.1.0.<number>, on a node."""
    tap, addresses = f"tap{number}", (f"10.1.0.{number}/24", f"2001:db8:9::{number}/64")
    found = made.lab.guest(node, tap, MACS[number], *addresses, gateway=GATEWAY, gateway6=GATEWAY6)
    try:
        node.up(environment(tap, MACS[number], "ov100", tags, f"10.1.0.{number}"))
        yield found
    finally:
        node.run("ip", "link", "del", tap, check=False)
        found.close()
        command(node, "gc")


def neighbours(guest: Machine) -> dict[str, str]:
    """Who a guest thinks has which address."""
    said = json.loads(guest.out("ip", "-j", "neigh", "show"))
    return {one["dst"]: one.get("lladdr", "") for one in said}


def test_each_guest_has_the_gateway_on_its_own_node_and_reaches_the_world_by_it(nodes: Cluster) -> None:
    router = nodes.lab.machines["world"]
    with guest(nodes, 1, nodes.nodes[0]) as one, guest(nodes, 2, nodes.nodes[1]) as two:
        for machine in (one, two):
            for address in (GATEWAY, GATEWAY6, WORLD, WORLD6):
                assert machine.ping(address), address
            known = neighbours(machine)
            assert known[GATEWAY] == known[GATEWAY6] == MAC
        for address in ("10.1.0.1", "10.1.0.2", "2001:db8:9::1", "2001:db8:9::2"):
            assert router.ping(address)
        assert one.ping("10.1.0.2") and two.ping("2001:db8:9::1")


def test_what_the_table_has_no_route_for_goes_nowhere(nodes: Cluster) -> None:
    node, router = nodes.nodes[0], nodes.lab.machines["world"]
    node.ip("route del default table 222", "-6 route del default table 222")
    node.ip("route add default via 198.18.0.254", "-6 route add default via 2001:db8:ff::fe")
    try:
        with guest(nodes, 1, node) as one:
            assert one.ping(GATEWAY) and not one.ping(WORLD, wait=0.5) and not one.ping(WORLD6, wait=0.5)
            assert not one.ping("10.99.0.2", wait=0.5), "the underlay's other nodes"
            assert router.ping("10.1.0.1", wait=0.5) is False
    finally:
        node.ip("route del default", "-6 route del default")


# --- what crosses


MLD = f.octets("33:33:00:00:00:16")
"""Where a node tells at any time which groups it is in, in the same words on all nodes."""


def says(node: Machine) -> None:
    """All that a gateway may say to everybody: it asks for a guest, and announces itself."""
    for address in ("10.1.0.77", "2001:db8:9::77"):
        node.run("ping", "-n", "-c", 1, "-W", 1, address, check=False)
    with closing(node.packet_socket("ov100")) as speaker:
        for packet in (
            f.arp(1, MAC, GATEWAY, GATEWAY),
            f.arp(2, MAC, GATEWAY, "10.1.0.2"),
            f.na(GATEWAY6, GATEWAY6, f.option(f.TARGET, MAC)),
            f.na(LOCAL6, LOCAL6, f.option(f.TARGET, MAC)),
        ):
            speaker.send(f.ethernet(MAC, f.BROADCAST, packet))


def test_nothing_of_the_gateway_crosses(nodes: Cluster) -> None:
    one, two = nodes.nodes
    with guest(nodes, 1, one) as mine, guest(nodes, 2, two) as theirs:
        assert mine.ping("10.1.0.2")

        def crossed() -> set[str]:
            ears = {"vx100": Ear(two, "vx100"), "eth0": Ear(theirs, "eth0")}
            says(one)
            for address in (GATEWAY, GATEWAY6):
                mine.run("ip", "neigh", "flush", "dev", "eth0")
                assert mine.ping(address)
            found = {}
            for name, ear in ears.items():
                heard = {frame for _, frame in ear.frames(0.5) if frame[6:12] == f.octets(MAC)}
                found[name] = {frame for frame in heard if frame[:6] != MLD}
                ear.socket.close()
            found["eth0"] &= found["vx100"]  # not what the gateway of its own node says
            return {name for name, some in found.items() if some}

        with listening(mine) as heard:
            says(one)
        assert len([frame for frame in heard if frame[6:12] == f.octets(MAC)]) >= 5, "its own guests hear it"
        assert crossed() == set()
        one.run("nft", "delete", "element", "bridge", "snf_network", "prefixed", '{ "vx100" }')
        assert crossed() == {"vx100"}, "it would cross; the other node does not believe it"
        two.run("nft", "delete", "element", "bridge", "snf_network", "ingress", '{ "vx100" }')
        assert crossed() == {"vx100", "eth0"}
        for node in nodes.nodes:
            assert command(node, "repair")[0] == 0 and net(node, "check") == (0, "clean\n")
        assert crossed() == set()


def forged(mac: str) -> dict[str, bytes]:
    """What a guest beyond may say in the gateway's name."""
    own, lies = f.option(f.TARGET, mac), f.option(f.SOURCE, mac)
    packets = {
        "ARP reply": f.arp(2, mac, GATEWAY, "10.1.0.1"),
        "ARP request": f.arp(1, mac, GATEWAY, "10.1.0.1"),
        "gratuitous ARP": f.arp(1, mac, GATEWAY, GATEWAY),
        "NA": f.na(GATEWAY6, GATEWAY6, own),
        "NA, from another": f.na("2001:db8:9::2", GATEWAY6, own),
        "NA for its link-local": f.na("2001:db8:9::2", LOCAL6, own),
        "NS": f.ns(GATEWAY6, "2001:db8:9::1", lies),
        "NS of its link-local": f.ns(LOCAL6, "2001:db8:9::1", lies),
        "RA": f.icmp6("fe80::2", f.ALL_NODES, 134, bytes((64, 0, 7, 8)) + bytes(8) + lies, 255),
        "RA of its link-local": f.icmp6(LOCAL6, f.ALL_NODES, 134, bytes((64, 0, 7, 8)) + bytes(8), 255),
        "redirect": f.icmp6(LOCAL6, "2001:db8:9::1", 137, bytes(36), 255),
        "redirect of another": f.icmp6("fe80::2", "2001:db8:9::1", 137, bytes(36), 255),
        "IPv4": f.udp(GATEWAY, "10.1.0.1"),
        "IPv6": f.udp(GATEWAY6, "2001:db8:9::1"),
    }
    found = {name: f.ethernet(mac, f.BROADCAST, packet) for name, packet in packets.items()}
    return found | {
        "its MAC": local(1, MAC, f.BROADCAST),
        "its MAC, to one": local(1, MAC, MACS[1]),
        "its MAC, RARP": f.ethernet(MAC, f.BROADCAST, f.rarp(MAC)),
    }


def test_a_guest_beyond_cannot_be_the_gateway(nodes: Cluster) -> None:
    one, two = nodes.nodes
    with (
        guest(nodes, 1, one) as mine,
        guest(nodes, 2, two) as theirs,
        closing(theirs.packet_socket("eth0")) as mouth,
    ):
        assert mine.ping("10.1.0.2") and mine.ping(GATEWAY) and mine.ping(GATEWAY6)
        frames = forged(MACS[2])

        def heard() -> set[str]:
            found = set()
            for name, frame in frames.items():
                with listening(mine, 0.05) as caught:
                    mouth.send(frame)
                found |= {name for got in caught if got == frame or got[:40] == frame[:40]}
            return found

        assert heard() == set()
        assert neighbours(mine)[GATEWAY] == neighbours(mine)[GATEWAY6] == MAC
        drops = command(one, "drops")[1]
        assert "gateway" in drops and " ra" in drops and "redirect" in drops
        for good in (f.arp(1, MACS[2], "10.1.0.2", "10.1.0.1"), f.udp("10.1.0.2", "10.1.0.1")):
            with listening(mine) as caught:
                mouth.send(f.ethernet(MACS[2], f.BROADCAST, good))
            assert any(frame[6:12] == f.octets(MACS[2]) for frame in caught)
        assert mine.ping("10.1.0.2") and mine.ping("2001:db8:9::2")
        one.run("nft", "delete", "element", "bridge", "snf_network", "ingress", '{ "vx100" }')
        without = heard()
        assert without >= frames.keys() - {"its MAC", "its MAC, to one", "its MAC, RARP"}, (
            "they would be heard"
        )
        assert command(one, "repair")[0] == 0 and heard() == set()


def test_a_guest_that_moves_has_its_gateway_at_once(nodes: Cluster) -> None:
    """It knows the gateway's MAC, asks nobody, and its first packet is answered."""
    one, two = nodes.nodes
    router = nodes.lab.machines["world"]
    with guest(nodes, 1, one) as before:
        assert before.ping(WORLD) and before.ping(WORLD6)
        known = neighbours(before)
        before.ip("link set eth0 down")
        lead(router, 1, 2)
        try:
            with guest(nodes, 1, two) as after:
                for address in (GATEWAY, GATEWAY6):
                    after.ip(f"neigh replace {address} lladdr {known[address]} dev eth0 nud permanent")
                for address in (GATEWAY, GATEWAY6, WORLD, WORLD6):
                    assert after.run("ping", "-n", "-c", 1, "-W", 1, address, check=False).returncode == 0
        finally:
            lead(router, 1, 1)


# --- kept


def test_what_somebody_took_from_the_gateway_is_told_and_put_back(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    node.ip(
        f"addr del {GATEWAY}/24 dev ov100",
        f"addr del {LOCAL6}/64 dev ov100",
        "link set ov100 address 02:00:00:00:00:09",
        "rule del pref 14701",
        "-6 rule del pref 14700 iif ov100",
    )
    node.run("nft", "delete", "element", "bridge", "snf_network", "router_ips", f'{{ "vx100" . {GATEWAY} }}')
    node.sysctl("net/ipv4/conf/ov100/arp_ignore", 0)
    status, said = net(node, "check")
    assert status == 1 and {line.removeprefix("prv0: missing: ") for line in said.splitlines()} == {
        f'nft add element bridge snf_network router_ips {{ "vx100" . {GATEWAY} }}',
        f"ip link set dev ov100 address {MAC} mtu 1500 up",
        "sysctl net/ipv4/conf/ov100/arp_ignore=1",
        f"ip addr replace {GATEWAY}/24 dev ov100",
        f"ip addr replace {LOCAL6}/64 dev ov100 nodad",
        "ip -4 rule add pref 14701 iif ov100 unreachable proto 148",
        "ip -6 rule add pref 14700 iif ov100 lookup 222 proto 148",
        "ip route replace 10.1.0.0/24 dev ov100 table 222 proto 148",
    }
    assert command(node, "repair")[0] == 0 and net(node, "check") == (0, "clean\n")
    with guest(nodes, 1, node) as one:
        assert one.ping(GATEWAY) and one.ping(WORLD) and one.ping(WORLD6)
        node.run("nft", "flush", "ruleset")
        assert command(node, "load")[0] == 0 and net(node, "check") == (0, "clean\n")
        assert command(node, "repair")[0] == 0 and command(node, "check") == (0, "clean\n")
        assert command(node, "gc")[0] == 0 and command(node, "check") == (0, "clean\n")


def left(node: Machine) -> str:
    """All that names the overlay's devices."""
    said = node.out("nft", "list", "ruleset") + node.out("ip", "rule") + node.out("ip", "-6", "rule")
    said += node.out("ip", "route", "show", "table", "all") + node.out("ip", "link")
    return "\n".join(line for line in said.splitlines() if "vx100" in line or "ov100" in line)


def test_another_gateway_and_none(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    nodes.say(FILE.replace("10.1.0.254/24", "10.1.0.253/25"), node)
    assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n")
    said = left(node) + node.out("ip", "addr", "show", "ov100")
    assert GATEWAY not in said and "10.1.0.253/25" in said and "10.1.0.0/24" not in said
    nodes.say("\n".join(line for line in FILE.splitlines()[:-2]) + "\n", node)
    assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n")
    assert "inet" not in node.out("ip", "addr", "show", "ov100") and "14701" not in node.out("ip", "rule")
    assert "router_ips" in node.out("nft", "list", "ruleset") and "10.1.0" not in left(node)
    nodes.say(FILE, node)
    assert net(node, "up")[0] == 0 and net(node, "down", "prv0")[0] == 0
    assert left(node) == ""


def test_a_killed_call_is_completed_by_the_next(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    for step in (2, 3, 5):
        assert net(node, "down", "prv0")[0] == 0 and left(node) == ""
        killed(node, "up", step)
        assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n") and net(node, "up") == (0, "")
        killed(node, "down", step)
        net(node, "down", "--all")
        assert left(node) == ""
        assert net(node, "up")[0] == 0


def test_an_address_that_the_node_has_elsewhere_is_not_taken(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    assert net(node, "down", "prv0")[0] == 0
    node.ip(f"addr add {GATEWAY}/32 dev lo")
    try:
        status, said = net(node, "up")
        why = f"prv0: lo has {GATEWAY} (take it from there, or from networks.yaml)"
        assert status == 1 and said.splitlines()[-1] == f"snf-network: {why}"
        assert left(node) == ""
    finally:
        node.ip(f"addr del {GATEWAY}/32 dev lo")


def test_a_guest_with_nfdhcpd_is_led_to_the_gateway_of_its_node(nodes: Cluster) -> None:
    """By DHCP to its address; by an advertisement to its link-local one, which no node but its own has."""
    node = nodes.nodes[1]
    tap, said = "tap1", environment("tap1", MACS[1], "ov100", "nfdhcpd ip-filtered", "10.1.0.1")
    more = {
        "NETWORK_GATEWAY": GATEWAY,
        "NETWORK_SUBNET6": "2001:db8:9::/64",
        "NETWORK_GATEWAY6": GATEWAY6,
        "TAGS": "snf-network:0:allow:2001:db8:9::/64",
    }
    router = nodes.lab.machines["world"]
    machine = nodes.lab.guest(node, tap, MACS[1])
    lead(router, 1, 2)
    try:
        node.up({**said, **more})
        with running(node):
            machine.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1")
            assert until(lambda: LOCAL6 in machine.out("ip", "-6", "route", "show", "default"), 5)
            assert f"default via {GATEWAY}" in machine.out("ip", "route")
            machine.ip("addr add 2001:db8:9::1/64 dev eth0 nodad")
            for address in (GATEWAY, WORLD, LOCAL6 + "%eth0", WORLD6):
                source = "2001:db8:9::1" if address == WORLD6 else ""
                assert machine.ping(address, source=source), address
            assert neighbours(machine)[LOCAL6] == MAC
    finally:
        lead(router, 1, 1)
        node.run("ip", "link", "del", tap, check=False)
        machine.close()
        command(node, "gc")


def test_what_is_sent_to_the_gateway_s_mac_by_another_node_is_not_routed(nodes: Cluster) -> None:
    """As by a node that is not, or not yet, its gateway: each node would send it on."""
    one, two = nodes.nodes
    frame = f.ethernet(MACS[2], MAC, f.udp("10.1.0.2", WORLD))
    router = nodes.lab.machines["world"]

    def arrives() -> bool:
        ear = Ear(router, "w1")
        with closing(two.packet_socket("vx100")) as mouth, closing(ear.socket):
            mouth.send(frame)
            heard = [got for _, got in ear.frames(0.5)]
        return any(f.octets("10.1.0.2") + f.octets(WORLD) in got for got in heard)

    assert not arrives() and "gateway" in command(one, "drops")[1]
    one.run("nft", "delete", "element", "bridge", "snf_network", "ingress", '{ "vx100" }')
    assert arrives()
    assert command(one, "repair")[0] == 0 and not arrives()
