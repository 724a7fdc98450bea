"""What a guest asks goes no further than its tap, with each engine; the answer neither. And no guest answers
in the daemon's place.

On a bridge: an uplink, a second guest, and a node that has an address of the network, as in the slides of
Ganeti's authors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import pytest

from tests.dhcpd.netns.daemon import BINDINGS, bind, running
from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, drops, environment, members, send, settled, until

MAC, IP, NODE_IP = "aa:00:00:00:00:01", "192.168.1.2", "192.168.1.1"
OTHER_MAC = "aa:00:00:00:00:02"
BRIDGED = environment(
    "add-bridged-ifup-1",
    INTERFACE="tap0",
    MAC=MAC,
    IP=IP,
    NETWORK_SUBNET="192.168.1.0/24",
    NETWORK_GATEWAY=NODE_IP,
    NETWORK_TAGS="nfdhcpd",
    NETWORK_MAC_PREFIX=None,
    NETWORK_SUBNET6="2001:db8:1::/64",
    NETWORK_GATEWAY6="2001:db8:1::1",
)
ROUTED = environment("add-routed-ifup-1", MAC=MAC)
ENGINES = ("packet", "nfqueue", "none")
QUEUES = {
    "iptables": "-t mangle -A PREROUTING -i {} -p udp -m udp --dport 67 -j NFQUEUE --queue-num 42",
    "ip6tables": "-t mangle -A PREROUTING -i {} -p icmpv6 --icmpv6-type 133 -j NFQUEUE --queue-num 43",
}
NEIGHBOURS = "-t mangle -A PREROUTING -i {} -p icmpv6 --icmpv6-type 135 -j NFQUEUE --queue-num 44"
LAST = 65000


def node_with(lab: Lab, engine: str) -> Machine:
    """A node that is set up for an engine, its uplink in the bridge prv0."""
    router = lab.router()
    node = lab.node("node1", router)
    node.write("/etc/default/snf-network", f"NFDHCPD_ENGINE={engine}\n")
    settled(router)
    return node


def started_by(engine: str) -> tuple[str, ...]:
    """The daemon's own arguments."""
    return ("--engine", "nfqueue") if engine == "nfqueue" else ()


def queue_rules(node: Machine, device: str) -> None:
    """The lines of the old nfdhcpd's documentation, but the one for neighbour solicitations."""
    node.run(
        "sh",
        "-c",
        "for i in iptables ip6tables; do echo 1 > /proc/sys/net/bridge/bridge-nf-call-$i; done",
        check=False,
    )
    for tool, rule in QUEUES.items():
        node.run(tool, *rule.format(device).split())


def leases(guest: Machine) -> None:
    """The guest gets a lease; on a busy machine the kernel may take seconds to believe that its cable is
    plugged in.
    """
    assert until(lambda: "state UP" in guest.out("ip", "link", "show", "eth0"), 20)
    guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1")


def sent_dhcp(frames: Sequence[bytes]) -> list[bytes]:
    """Those to or from a DHCP server."""
    return [
        frame
        for frame in frames
        if frame[12:14] == b"\x08\x00" and frame[23] == f.UDP and b"\0\x43" in (frame[34:36], frame[36:38])
    ]


def until_last(ear: Ear) -> list[bytes]:
    """What is heard up to the sentinel, which must come."""
    heard = [frame for _, frame in ear.frames(8, lambda frame: f.token(frame) == LAST)]
    assert heard and f.token(heard[-1]) == LAST
    return heard


@pytest.mark.parametrize("engine", ENGINES)
def test_bridged_guest_gets_its_lease_and_nobody_else_hears_of_it(lab: Lab, engine: str) -> None:
    node = node_with(lab, engine)
    node.ip("link set eth1 master prv0", f"addr add {NODE_IP}/24 dev prv0")
    guest = lab.guest(node, "tap0", MAC)
    other = lab.guest(node, "tap1", OTHER_MAC)
    node.ip("link set tap1 master prv0 up")
    node.up(BRIDGED)
    if engine == "nfqueue":
        queue_rules(node, "prv+")
    settled(node)
    ears = [Ear(lab.machines["router"], "node1"), Ear(other, "eth0")]
    with running(node, *started_by(engine)) as daemon:
        leases(guest)
        assert f"{IP}/24" in guest.out("ip", "addr", "show", "eth0")
        assert node.ping(IP) and guest.ping(NODE_IP)
        assert daemon.counts("tap0")["ack"] == 1
    send(guest, "eth0", f.stamp(f.ethernet(MAC, f.BROADCAST, f.udp(IP, "192.168.1.255", 9, 9)), LAST))
    heard = [sent_dhcp(until_last(ear)) for ear in ears]
    for ear in ears:
        ear.socket.close()
    if engine == "none":
        assert all(heard), "without the guard the requests go everywhere, which shows that the ears hear"
        assert not [frame for frames in heard for frame in frames if frame[34:36] == b"\0\x43"], (
            "but answers never do"
        )
    else:
        assert heard == [[], []]


ROGUE = {
    "dhcp-server": f.ethernet(MAC, f.BROADCAST, f.udp("192.168.1.66", "255.255.255.255", 67, 68, bytes(300))),
    "dhcp6-server": f.ethernet(
        MAC, f.BROADCAST, f.udp("fe80::a800:ff:fe00:1", "fe80::a800:ff:fe00:2", 547, 546, bytes(60))
    ),
    "ra": f.ethernet(
        MAC,
        "33:33:00:00:00:01",
        f.ip("fe80::a800:ff:fe00:1", f.ALL_NODES, f.ICMP6, bytes((f.RA, 0)) + bytes(14), hops=255),
    ),
    "redirect": f.ethernet(
        MAC,
        "33:33:00:00:00:01",
        f.ip("fe80::a800:ff:fe00:1", f.ALL_NODES, f.ICMP6, bytes((f.REDIRECT, 0)) + bytes(38), hops=255),
    ),
    "dhcp6-client": f.ethernet(
        MAC, "33:33:00:01:00:02", f.udp("fe80::a800:ff:fe00:1", f.DHCP6_SERVERS, 546, 547, bytes(60))
    ),
    "rs": f.ethernet(
        MAC,
        "33:33:00:00:00:02",
        f.ip("fe80::a800:ff:fe00:1", f.ALL_ROUTERS, f.ICMP6, bytes((f.RS, 0)) + bytes(6), hops=255),
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_bridged_guest_cannot_answer_in_the_daemons_place(lab: Lab, engine: str) -> None:
    node = node_with(lab, engine)
    guest, other = lab.guest(node, "tap0", MAC), lab.guest(node, "tap1", OTHER_MAC)
    node.ip("link set tap1 master prv0 up")
    node.up(BRIDGED)
    settled(node)
    frames = [f.stamp(frame, 1000 + number) for number, frame in enumerate(ROGUE.values())]
    ear = Ear(other, "eth0")
    with closing(ear.socket):
        send(
            guest,
            "eth0",
            *frames,
            f.stamp(f.ethernet(MAC, f.BROADCAST, f.udp(IP, "192.168.1.255", 9, 9)), LAST),
        )
        heard = {f.token(frame) for frame in until_last(ear)} - {LAST}
    asks = {1000 + number for number, kind in enumerate(ROGUE) if kind in ("dhcp6-client", "rs")}
    assert {token for token in heard if 1000 <= token < 1000 + len(ROGUE)} == (
        asks if engine == "none" else set()
    )
    reasons = {reason for interface, reason in drops(node, "bridge") if interface == "tap0"}
    assert reasons == {"dhcp-server", "ra", "redirect", *(() if engine == "none" else ("answered",))}


@pytest.mark.parametrize("engine", ENGINES)
def test_routed_guest_gets_its_lease_and_the_node_does_not_hear_of_it(lab: Lab, engine: str) -> None:
    """With strict rp_filter, though the guest asks from no address."""
    node = node_with(lab, engine)
    guest = lab.guest(node, "tap0", MAC)
    node.up(ROUTED)
    for name in ("all", "tap0"):
        node.sysctl(f"net/ipv4/conf/{name}/rp_filter", 1)
    if engine == "nfqueue":
        queue_rules(node, "tap+")
    node.run(
        "nft",
        "-f",
        "-",
        input="table inet after { chain c { type filter hook prerouting priority 300; udp dport 67 counter; }; }",
    )
    with running(node, *started_by(engine)) as daemon:
        leases(guest)
        assert guest.ping("198.51.100.1")
        assert "from fe80::ce47:52ff:fe4e:4554" in guest.out("rdisc6", "-1", "eth0")
        assert daemon.counts("tap0")["ack"] == 1
    came_through = "packets 0 bytes" not in node.out("nft", "list", "table", "inet", "after")
    assert came_through is (engine == "none")


@pytest.mark.parametrize("engine", ENGINES)
def test_guard_is_taken_back(lab: Lab, engine: str) -> None:
    node = node_with(lab, engine)
    lab.guest(node, "tap0", MAC)
    node.script("snf-network", {}, "load")
    node.up(BRIDGED)
    assert members(node, "bridge", "served") == (["tap0"] if engine == "packet" else [])
    assert members(node, "bridge", "queued") == (["tap0"] if engine == "nfqueue" else [])
    node.script("snf-network", {}, "check")
    node.run("nft", "flush", "set", "bridge", "snf_network", "queued")
    assert node.script("snf-network", {}, "check", check=False).returncode == int(engine == "nfqueue"), (
        "it is missed"
    )
    node.script("snf-network", {}, "repair")
    node.down(BRIDGED)
    assert members(node, "bridge", "served") == members(node, "bridge", "queued") == []


def test_queues_go_on_when_a_guest_sends_nonsense(lab: Lab) -> None:
    """Each packet gets its verdict, however bad: with the old daemon, 5000 of them stopped the queue for all
    guests.
    """
    node = node_with(lab, "nfqueue")
    guest = lab.guest(node, "tap0", MAC)
    node.up(ROUTED)
    queue_rules(node, "tap+")
    with running(node, "--engine", "nfqueue", "--rate", "1000000") as daemon:
        nonsense = f.ethernet(MAC, f.BROADCAST, f.udp("0.0.0.0", "255.255.255.255", 68, 67, b"x"))
        for number in range(1, 13):
            send(guest, "eth0", *[nonsense] * 500)
            assert until(lambda number=number: daemon.counts("tap0").get("malformed", 0) > number * 450)
        leases(guest)


def test_filters_let_an_advertisement_for_the_gateway_to_a_bridged_guest(lab: Lab) -> None:
    """It has the gateway's IPv6 address and the bridge's MAC address, which is neither of the guest's prefix
    nor the gateway's own.
    """
    node = node_with(lab, "packet")
    guest = lab.guest(node, "tap0", MAC)
    node.up(
        {**BRIDGED, "NETWORK_TAGS": "nfdhcpd private-filtered ip-filtered", "NETWORK_MAC_PREFIX": "aa:00:00"}
    )
    settled(node)
    bind(node, "tap0", node.read(f"{BINDINGS}/tap0") + "GATEWAY6_MAC=00:11:22:33:44:55\n")
    with running(node):
        assert until(lambda: "state UP" in guest.out("ip", "link", "show", "eth0"), 20)
        assert "00:11:22:33:44:55" in guest.out("ndisc6", "-1", "-r", "5", "2001:db8:1::1", "eth0").lower()


@pytest.mark.parametrize("engine", ("packet", "nfqueue"))
def test_bridged_guest_finds_its_neighbours(lab: Lab, engine: str) -> None:
    """What it asks of others reaches them, its own addresses are asked for, too, and the node answers for
    itself.
    """
    node = node_with(lab, engine)
    guest = lab.guest(node, "tap0", MAC)
    other = lab.guest(node, "tap1", OTHER_MAC, "2001:db8:1::77/64")
    node.ip("link set tap1 master prv0 up")
    node.up(BRIDGED)
    if engine == "nfqueue":
        queue_rules(node, "prv+")
        node.run("ip6tables", *NEIGHBOURS.format("prv+").split())
    settled(node)
    with running(node, *started_by(engine)) as daemon:
        assert until(
            lambda: (
                "2001:db8:1:0:a800:ff:fe00:1/64"
                in guest.out("ip", "-6", "addr", "show", "eth0", "-tentative")
            ),
            20,
        )
        assert guest.ping("2001:db8:1::77") and other.ping("2001:db8:1:0:a800:ff:fe00:1")
        link_local = f.eui64(node.read("/sys/class/net/prv0/address").strip())
        assert guest.out("ndisc6", "-1", "-r", "5", link_local, "eth0")
        counts = daemon.counts("tap0")
        assert counts["na"] and counts["not-served"], "it has heard all of them"


def test_duplicate_address_is_noticed_with_queues(lab: Lab) -> None:
    node = node_with(lab, "nfqueue")
    guest = lab.guest(node, "tap0", MAC)
    lab.guest(node, "tap1", OTHER_MAC, "2001:db8:1::77/64")
    node.ip("link set tap1 master prv0 up")
    node.up(BRIDGED)
    queue_rules(node, "prv+")
    node.run("ip6tables", *NEIGHBOURS.format("prv+").split())
    settled(node)
    with running(node, "--engine", "nfqueue"):
        assert until(lambda: "state UP" in guest.out("ip", "link", "show", "eth0"), 20)
        guest.sysctl("net/ipv6/conf/eth0/accept_dad", 1)
        guest.ip("addr add 2001:db8:1::77/64 dev eth0")
        assert until(lambda: "dadfailed" in guest.out("ip", "-6", "addr", "show", "eth0"), 10)


def test_unbound_guest_is_left_to_others(lab: Lab) -> None:
    """A packet of a tap that has no binding goes on, to whoever serves it."""
    node = lab.machine("node")
    guest = lab.guest(node, "tap0", MAC)
    node.ip("link set tap0 up", "addr add 192.168.1.1/24 dev tap0")
    queue_rules(node, "tap+")
    node.run(
        "nft",
        "-f",
        "-",
        input="table inet after { chain c { type filter hook prerouting priority 300; udp dport 67 counter; }; }",
    )
    with running(node, "--engine", "nfqueue"):
        guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "1", "-T", "1", check=False)
    assert "packets 1 bytes" in node.out("nft", "list", "table", "inet", "after")
