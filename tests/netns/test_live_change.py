"""A NIC that changes while it works: no forged frame passes at any moment, no packet is lost if nothing
changed, and a lost part comes back. Also a tap name that the next instance gets although no call reported the
end of the previous one.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from tests.netns.lab import Lab, Machine, environment
from tests.netns.state import State, about, same, snapshot, until, wipe, without_base

TAP = "tap0"
ANOTHER_UUID = "5ac0de99-0000-4000-8000-000000000099"
MAC, OTHER_MAC, FOREIGN_MAC = "aa:00:00:ad:35:c9", "aa:00:00:ad:35:ca", "aa:00:00:66:66:66"
IP, OTHER_IP, FOREIGN_IP = "198.51.100.10", "198.51.100.11", "198.51.100.66"
GATEWAY, GATEWAY6, NODE_IP, OUTSIDE = "198.51.100.1", "2001:db8:1::1", "192.0.2.9", "203.0.115.200"
IP6, OTHER_IP6, FOREIGN_IP6 = (f"2001:db8:1:0:a800:ff:fe{end}" for end in ("ad:35c9", "ad:35ca", "66:6666"))
PRIVATE_MAC, OTHER_PRIVATE, PEER_MAC, ALIEN_MAC = (
    f"aa:55:{end}" for end in ("60:25:ae:2e", "60:25:ae:2f", "60:00:00:99", "70:00:00:99")
)
ROUTED = environment("add-routed-ifup-1")
FILTERED = environment("add-bridged-ifup-1", INTERFACE=TAP, TAGS="synnefo:network:0:limited")
PLAIN = environment("start-nonet-ifup-1", INTERFACE=TAP)
MODES = {"routed": ROUTED, "filtered": FILTERED, "bridged": PLAIN}


class Scene:
    """A node with its router, a network that the node itself is in, and a guest behind tap0 with a peer on
    each private bridge.
    """

    def __init__(self, lab: Lab) -> None:
        self.router = lab.router()
        self.node = node = lab.node("node1", self.router)
        self.management = lab.machine("management")
        lab.cable(node, "eth2", self.management, "eth0")
        self.management.ip("addr add 192.0.2.1/24 dev eth0", "link set eth0 up")
        node.ip(
            f"addr add {NODE_IP}/24 dev eth2",
            "link set eth2 up",
            "route add default via 192.0.2.1 dev eth2",
            "link add prv1 type bridge forward_delay 0",
            "link set prv1 up",
            f"route add default via {GATEWAY} dev eth1 table 333 onlink",
            f"-6 route add default via {GATEWAY6} dev eth1 table 333 onlink",
        )
        node.write("/etc/iproute2/rt_tables.d/other.conf", "333 other\n")
        node.sysctl("net/ipv4/conf/eth2/rp_filter", 0)
        addresses = (f"{IP}/24", f"{OTHER_IP}/24", f"{IP6}/64", f"{OTHER_IP6}/64", "203.0.113.1/24")
        self.guest = lab.guest(node, TAP, MAC, *addresses, gateway=GATEWAY, gateway6=GATEWAY6)
        self.peers = {}
        for bridge in ("prv0", "prv1"):
            port = f"{bridge}-p"
            self.peers[bridge] = lab.guest(node, port, PEER_MAC, "203.0.113.99/24")
            node.ip(f"link set {port} master {bridge} up")

    def become(self, env: Mapping[str, str], guest: bool = True) -> None:
        """Bring the NIC up as `env` has it, and the guest's MAC address with it."""
        if guest:
            self.guest.ip(
                f"link set eth0 address {env['MAC']}",
                f"route replace default via {GATEWAY} dev eth0 onlink",
                f"-6 route replace default via {GATEWAY6} dev eth0 onlink",
            )
        assert self.node.up(env).stderr == ""


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    lab = Lab()
    try:
        yield Scene(lab)
    finally:
        lab.close()


@pytest.fixture(autouse=True)
def nothing_there(scene: Scene) -> None:
    wipe(scene.node, TAP)


# --- nothing is lost


PING = ("ping", "-n", "-q", "-i", "0.01", "-c", "150", "-W", "1")


@contextmanager
def pinging(*ways: tuple[Machine, str, str]) -> Iterator[list[tuple[str, int]]]:
    """Ping from each machine and source an address, a packet in 10 ms, while the block runs; tells how many
    got no answer.
    """
    assert [way for way in ways if not way[0].ping(way[2], 2, source=way[1])] == []
    begun = [
        (
            machine.name,
            address,
            subprocess.Popen(
                machine.command(*PING, "-I", source, address), stdout=subprocess.PIPE, text=True
            ),
        )
        for machine, source, address in ways
    ]
    lost: list[tuple[str, int]] = []
    yield lost
    for name, address, ping in begun:
        said = ping.communicate(timeout=20)[0]
        sent, received = (
            int(number) for number in re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()
        )  # type: ignore[union-attr]
        assert sent == 150
        lost.append((f"{name} to {address}", sent - received))


def test_the_same_values_again_lose_at_most_one_packet_routed(scene: Scene) -> None:
    scene.become(ROUTED)
    with pinging(*ways(scene)) as lost:
        assert scene.node.up(ROUTED).stderr == ""
    assert [count for count in lost if count[1] > 1] == []


def ways(scene: Scene) -> list[tuple[Machine, str, str]]:
    return [
        (scene.guest, IP, GATEWAY),
        (scene.guest, IP6, GATEWAY6),
        (scene.router, GATEWAY, IP),
        (scene.router, GATEWAY6, IP6),
    ]


def test_the_same_values_again_lose_at_most_one_packet_filtered(scene: Scene) -> None:
    scene.become(FILTERED)
    guest, peer = "203.0.113.1", "203.0.113.99"
    with pinging((scene.guest, guest, peer), (scene.peers["prv0"], peer, guest)) as lost:
        assert scene.node.up(FILTERED).stderr == ""
    assert [count for count in lost if count[1] > 1] == []


def test_another_profile_and_gateway_lose_at_most_one_packet(scene: Scene) -> None:
    scene.become(ROUTED)
    with pinging(*ways(scene)) as lost:
        scene.become(
            {**ROUTED, "TAGS": "synnefo:network:0:protected", "NETWORK_GATEWAY": "198.51.100.2"}, guest=False
        )
    assert [count for count in lost if count[1] > 1] == []


# --- nothing forged passes

WATCH = """
table netdev watch {{
  set seen4 {{ type ether_addr . ipv4_addr; flags dynamic; size 4096; }}
  set seen6 {{ type ether_addr . ipv6_addr; flags dynamic; size 4096; }}
  set arps {{ type ether_addr . ipv4_addr; flags dynamic; size 4096; }}
  chain look {{ type filter hook ingress device "{device}" priority -500; policy accept;
    ether type ip add @seen4 {{ ether saddr . ip saddr }}
    ether type ip6 add @seen6 {{ ether saddr . ip6 saddr }}
    ether type arp add @arps {{ ether saddr . arp saddr ip }}
  }}
}}
"""
WATCH_NODE = """
table inet watch {
  set seen4 { type ether_addr . ipv4_addr; flags dynamic; size 4096; }
  set seen6 { type ether_addr . ipv6_addr; flags dynamic; size 4096; }
  chain look { type filter hook input priority 300; policy accept;
    iifname "tap0" meta nfproto ipv4 add @seen4 { ether saddr . ip saddr }
    iifname "tap0" meta nfproto ipv6 add @seen6 { ether saddr . ip6 saddr }
  }
}
"""


class Watch:
    """Notes, in the kernel and so without a miss, which sources came in at a device (or were taken by the
    node itself).
    """

    def __init__(self, machine: Machine, device: str = "") -> None:
        self.machine, self.family = machine, "netdev" if device else "inet"
        machine.run("nft", "-f", "-", input=WATCH.format(device=device) if device else WATCH_NODE)

    def seen(self) -> set[tuple[str, str]]:
        """The MAC and the address of all who were heard, and forget them."""
        text = self.machine.out("nft", "list", "table", self.family, "watch")
        self.machine.run("nft", "delete", "table", self.family, "watch")
        return {(mac, address) for mac, address in re.findall(r"([0-9a-f:]{17}) \. ([0-9a-f.:]+)", text)}


def frame(mac: str, source: str, target: str, to: str = "cc:47:52:4e:45:54") -> bytes:
    """A UDP packet, to the tap's own MAC address unless another is given."""
    octets = [bytes.fromhex(address.replace(":", "")) for address in (to, mac)]
    udp = struct.pack("!HHHH", 6666, 6666, 16, 0) + b"NOTMINE!"
    if ":" in source:
        packed = [socket.inet_pton(socket.AF_INET6, address) for address in (source, target)]
        return (
            b"".join(octets)
            + b"\x86\xdd"
            + struct.pack("!IHBB", 0x60000000, len(udp), 17, 64)
            + b"".join(packed)
            + udp
        )
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(udp),
        1,
        0,
        64,
        17,
        0,
        socket.inet_aton(source),
        socket.inet_aton(target),
    )
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return b"".join(octets) + b"\x08\x00" + head[:10] + struct.pack("!H", 0xFFFF - total) + head[12:] + udp


def arp(mac: str, address: str, says: str = "") -> bytes:
    """An ARP request from `mac` that says that `address` is at `says`."""
    octets = [bytes.fromhex(text.replace(":", "")) for text in ("ff:ff:ff:ff:ff:ff", mac, says or mac)]
    return (
        octets[0]
        + octets[1]
        + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
        + octets[2]
        + socket.inet_aton(address)
        + bytes(6)
        + socket.inet_aton(GATEWAY)
    )


@contextmanager
def flood(machine: Machine, frames: Sequence[bytes]) -> Iterator[None]:
    """The guest sends these frames, over and over, as fast as it can, while the block runs."""
    sender = machine.packet_socket("eth0")
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    over, sent = threading.Event(), [0]

    def send() -> None:
        while not over.is_set():
            for one in frames:
                try:
                    sent[0] += sender.send(one) > 0
                except OSError:
                    over.wait(0.0005)  # the far end is down for a moment

    thread = threading.Thread(target=send)
    thread.start()
    try:
        until(lambda: sent[0] > 200)
        yield
        before = sent[0]
        until(
            lambda: (
                sent[0] > before + 200
                or not machine.run("ip", "link", "show", "eth0", "up").stdout.count("LOWER_UP")
            )
        )
    finally:
        over.set()
        thread.join()
        sender.close()


def forged(
    macs: Sequence[str], others: Sequence[str], addresses: Mapping[str, str], rest: Sequence[str]
) -> list[tuple[str, str]]:
    """All pairs of a MAC address and an IP address of which no mode ever allows both together."""
    pairs = [(mac, address) for mac in (*macs, *others) for address in (*addresses, *rest)]
    return [(mac, address) for mac, address in pairs if addresses.get(address) != mac]


ROUTED_PAIRS = {IP: MAC, OTHER_IP: OTHER_MAC, IP6: MAC, OTHER_IP6: OTHER_MAC}
"""Whose address is whose, before and after the change: never one's MAC address with the other's IP address.
"""
BOTH_CHANGED = {**ROUTED, "MAC": OTHER_MAC, "IP": OTHER_IP}


def check_nothing_passed(
    scene: Scene, bad: Sequence[tuple[str, str]], steps: Sequence[Mapping[str, str]]
) -> None:
    """Make the steps while the guest sends the `bad` pairs to the gateway, to the outside and to the node
    itself.
    """
    watches = [Watch(scene.router, "node1"), Watch(scene.management, "eth0"), Watch(scene.node)]
    frames = [
        frame(mac, address, target)
        for mac, address in bad
        for target in (
            (GATEWAY6, "fe80::ce47:52ff:fe4e:4554") if ":" in address else (GATEWAY, OUTSIDE, NODE_IP)
        )
    ]
    frames += [arp(mac, address) for mac, address in bad if ":" not in address]
    scene.become(steps[0])
    with flood(scene.guest, frames):
        for env in steps[1:]:
            assert scene.node.up(env).stderr == ""
    addresses = {address for _, address in bad if (MAC, address) in bad and (OTHER_MAC, address) in bad}
    arrived = [{pair for pair in watch.seen() if pair in bad or pair[1] in addresses} for watch in watches]
    assert arrived == [set(), set(), set()]


@pytest.mark.parametrize(
    "change", [{"IP": OTHER_IP}, {"TAGS": ""}, {"NETWORK_GATEWAY": "198.51.100.2"}, {"LINK": "other"}]
)
def test_forged_sources_during_a_change_routed(scene: Scene, change: Mapping[str, str]) -> None:
    bad = forged([MAC], [OTHER_MAC, FOREIGN_MAC], {}, [FOREIGN_IP, FOREIGN_IP6])
    bad += [(FOREIGN_MAC, address) for address in (IP, OTHER_IP, IP6)]
    check_nothing_passed(scene, bad, [ROUTED, {**ROUTED, **change}, ROUTED, {**ROUTED, **change}, ROUTED])


def test_old_and_new_address_are_never_mixed(scene: Scene) -> None:
    """One transaction: no moment has the old MAC address with the new IP address, or the other way round."""
    bad = forged([MAC, OTHER_MAC], [FOREIGN_MAC], ROUTED_PAIRS, [FOREIGN_IP, FOREIGN_IP6])
    check_nothing_passed(scene, bad, [ROUTED, BOTH_CHANGED, ROUTED, BOTH_CHANGED])


def test_forged_sources_while_it_goes_up_and_down(scene: Scene) -> None:
    bad = forged([MAC], [FOREIGN_MAC], {IP: MAC, IP6: MAC}, [FOREIGN_IP, FOREIGN_IP6])
    watches = [Watch(scene.router, "node1"), Watch(scene.management, "eth0"), Watch(scene.node)]
    scene.become(ROUTED)
    frames = [
        frame(mac, address, target)
        for mac, address in bad
        for target in ((GATEWAY6,) if ":" in address else (GATEWAY, OUTSIDE, NODE_IP))
    ]
    with flood(scene.guest, frames):
        for _ in range(3):
            scene.node.down(ROUTED)
            scene.node.up(ROUTED)
        scene.node.down(ROUTED)
    foreign = {FOREIGN_IP, FOREIGN_IP6}
    assert [{pair for pair in watch.seen() if pair in bad or pair[1] in foreign} for watch in watches] == [
        set()
    ] * 3


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([ROUTED, {**ROUTED, "LINK": "other"}, ROUTED], id="another table"),
        pytest.param([ROUTED, FILTERED, ROUTED, PLAIN, ROUTED], id="another mode"),
        pytest.param([ROUTED, None, ROUTED, None], id="down and up"),
    ],
)
def test_a_guest_never_takes_the_nodes_own_routes(
    scene: Scene, steps: Sequence[Mapping[str, str] | None]
) -> None:
    """The right source, and not even for a moment the wrong way: out of the node's own default route."""
    watch = Watch(scene.management, "eth0")
    scene.become(ROUTED)
    with flood(scene.guest, [frame(MAC, IP, OUTSIDE), frame(MAC, IP6, "2001:db8:99::1")]):
        for env in steps[1:]:
            if env:
                scene.node.up(env)
            else:
                scene.node.down(ROUTED)
    assert {pair for pair in watch.seen() if pair[1] in (IP, IP6)} == set()


def fdb(node: Machine) -> set[str]:
    """The MAC addresses that the bridges have learned."""
    return {
        line.split()[0]
        for line in node.out("bridge", "fdb", "show").splitlines()
        if "permanent" not in line and "master prv" in line
    }


MOVED = {**FILTERED, "LINK": "prv1"}
NEW_MAC = {**FILTERED, "MAC": OTHER_PRIVATE}


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([FILTERED, NEW_MAC, FILTERED, NEW_MAC], id="another MAC"),
        pytest.param([FILTERED, MOVED, FILTERED, MOVED], id="another bridge"),
        pytest.param([ROUTED, FILTERED, ROUTED, FILTERED], id="routed to filtered"),
        pytest.param([FILTERED, ROUTED, FILTERED, ROUTED], id="filtered to routed"),
        pytest.param([FILTERED, None, FILTERED, None], id="down and up"),
    ],
)
def test_forged_sources_during_a_change_filtered(
    scene: Scene, steps: Sequence[Mapping[str, str] | None]
) -> None:
    """Frames with a MAC address that is not the NIC's come to no port of either bridge, and the bridges do
    not learn it.
    """
    bad = [FOREIGN_MAC, PEER_MAC, ALIEN_MAC, *({MAC} if ROUTED in steps else ())]
    watches = [Watch(peer, "eth0") for peer in scene.peers.values()]
    assert steps[0]
    scene.become(steps[0])
    all_stations = "ff:ff:ff:ff:ff:ff"
    frames = [
        one
        for mac in bad
        for one in (
            frame(mac, "203.0.113.1", "203.0.113.255", all_stations),
            arp(mac, "203.0.113.1"),
            frame(mac, "203.0.113.1", "203.0.113.99", PEER_MAC),
            frame(mac, IP6, "ff02::1", "33:33:00:00:00:01"),
        )
    ]
    with flood(scene.guest, frames):
        for env in steps[1:]:
            if env:
                scene.node.up(env)
            else:
                scene.node.down(FILTERED)
    assert [{pair for pair in watch.seen() if pair[0] in bad} for watch in watches] == [set()] * 2
    assert fdb(scene.node) & (set(bad) - {PEER_MAC}) == set()
    assert [
        line
        for line in scene.node.out("bridge", "fdb", "show").splitlines()
        if PEER_MAC in line and f"dev {TAP} " in line
    ] == []


# --- after the change


def test_after_a_change_the_new_address_works_and_the_old_one_does_not(scene: Scene) -> None:
    scene.become(ROUTED)
    assert scene.guest.ping(GATEWAY, source=IP)
    scene.become({**ROUTED, "IP": OTHER_IP})
    assert scene.guest.ping(GATEWAY, source=OTHER_IP)
    assert scene.router.ping(OTHER_IP)
    assert not scene.guest.ping(GATEWAY, source=IP, wait=0.5)
    assert not scene.router.ping(IP, wait=0.5)
    scene.become(BOTH_CHANGED)
    assert scene.guest.ping(GATEWAY, source=OTHER_IP)
    assert scene.guest.ping(GATEWAY6, source=OTHER_IP6)
    assert not scene.guest.ping(GATEWAY6, source=IP6, wait=0.5)
    scene.become(FILTERED)
    assert scene.guest.ping("203.0.113.99")
    assert not scene.guest.ping(GATEWAY, source=OTHER_IP, wait=0.5)
    scene.become(MOVED)
    assert scene.guest.ping("203.0.113.99")
    scene.become(ROUTED)
    assert scene.guest.ping(GATEWAY, source=IP)
    assert scene.router.ping(IP6)


@pytest.mark.parametrize("old", MODES)
@pytest.mark.parametrize("new", MODES)
def test_a_change_of_mode_leaves_nothing_of_the_old_one(scene: Scene, old: str, new: str) -> None:
    scene.node.up(MODES[new])
    wanted = snapshot(scene.node)
    scene.node.down(MODES[new])
    scene.node.up({**MODES[old], "INSTANCE": "old.example.com"})
    scene.node.up(MODES[new])
    same(without_base(wanted), without_base(snapshot(scene.node)))


# --- what was lost comes back

LOSSES = {
    "all rules": "nft flush ruleset",
    "one table": "nft delete table inet snf_network",
    "all members of a set": "nft flush set inet snf_network src4",
    "a map's value": "nft delete element inet snf_network tables '{ tap0 }'; nft add element inet snf_network tables '{ tap0 : 99 }'",
    "a map's key": "nft delete element arp snf_network tables '{ tap0 }'",
    "policy rules": "ip rule flush protocol 148; ip -6 rule flush protocol 148",
    "one policy rule": "ip rule del pref 14801",
    "routes": "ip route flush table 222 proto 148; ip -6 route flush table 222 proto 148",
    "proxies": f"ip neigh del proxy {IP} dev eth1; ip -6 neigh del proxy {IP6} dev eth1",
    "neighbours": f"ip neigh flush dev {TAP} nud permanent; ip -6 neigh flush dev {TAP} nud permanent",
    "the link": f"ip link set {TAP} down",
    "the tap's MAC": f"ip link set {TAP} address 02:00:00:00:00:01",
    "the port": f"ip link set {TAP} master prv1",
    "the binding": f"rm /var/lib/nfdhcpd/{TAP}",
    "the record": f"rm /var/lib/snf-network/{TAP}",
    "the holds": "rm -r /var/lib/snf-network/shared",
    "the state directory": "rm -r /var/lib/snf-network/tap0 /var/lib/snf-network/shared /var/lib/snf-network/locks",
}


@pytest.mark.parametrize(
    ("mode", "loss"),
    [("routed", loss) for loss in (*LOSSES, "everything")]
    + [
        ("filtered", loss)
        for loss in ("all rules", "the link", "the port", "the binding", "the record", "everything")
    ],
)
def test_the_next_up_brings_back_what_was_lost(scene: Scene, mode: str, loss: str) -> None:
    scene.become(MODES[mode])
    whole = snapshot(scene.node)
    for name, text in LOSSES.items():
        if name == loss or (loss == "everything" and name not in ("the record", "the state directory")):
            scene.node.run("sh", "-c", text, check=False)
    assert scene.node.up(MODES[mode]).stderr == ""
    same(whole, snapshot(scene.node))
    assert scene.guest.ping(GATEWAY, source=IP) if mode == "routed" else scene.guest.ping("203.0.113.99")


# --- a tap name that is used again


def of_another(env: Mapping[str, str]) -> dict[str, str]:
    """The same kind of NIC, of another instance."""
    another = {
        **env,
        "INSTANCE": "another.example.com",
        "INTERFACE_UUID": ANOTHER_UUID,
        "MAC": env["MAC"][:-2] + "77",
    }
    return {**another, "IP": re.sub(r"\d+$", "77", env["IP"])} if "IP" in env else another


def without_number(state: State) -> State:
    """Without the device's number in the record and its first MAC address, which are new each time, and
    without the node's rules.
    """
    state = without_base(state)
    state = frozenset(re.sub(r":nic\ttap9\t\d+", ":nic\ttap9\t0", line) for line in state)
    return frozenset(re.sub(r"(link tap9 DOWN.*) mac=.*", r"\1", line) for line in state)


def new_tap(node: Machine, name: str = "tap9") -> None:
    """The tap of an instance that ended, and the one that the next instance gets."""
    node.run("ip", "link", "del", name, check=False)
    node.ip(f"tuntap add dev {name} mode tap")


@pytest.mark.parametrize("old", MODES)
@pytest.mark.parametrize("new", MODES)
def test_a_tap_that_another_instance_gets(scene: Scene, old: str, new: str) -> None:
    node = scene.node
    first, second = {**MODES[old], "INTERFACE": "tap9"}, of_another({**MODES[new], "INTERFACE": "tap9"})
    new_tap(node)
    nothing = snapshot(node)
    node.up(second)
    wanted = snapshot(node)
    node.down(second)
    new_tap(node)
    node.up(first)
    new_tap(node)
    assert node.up(second).stderr == ""
    same(without_number(wanted), without_number(snapshot(node)))
    assert node.down(first).stderr == ""  # it comes late, and is not meant for this one
    same(without_number(wanted), without_number(snapshot(node)))
    node.down(second)
    same(without_number(nothing), without_number(snapshot(node)))
    node.ip("link del tap9")


@pytest.mark.parametrize("end", ["replaced", "removed"])
def test_a_nic_that_started_again_on_another_tap_keeps_its_proxies(scene: Scene, end: str) -> None:
    """Nobody told of the end of the first run; its record goes when its tap's next owner comes, or by a late
    ifdown.
    """
    node = scene.node
    first, again = {**ROUTED, "INTERFACE": "tap9"}, ROUTED
    new_tap(node)
    node.up(first)
    node.ip("link del tap9")
    scene.become(again)
    assert scene.router.ping(IP)
    if end == "removed":
        node.down(first)
    else:
        new_tap(node)
        node.up(of_another({**FILTERED, "INTERFACE": "tap9"}))
    state = snapshot(node)
    assert about(state, "proxy ") == sorted(
        [f"proxy {IP} dev eth1", f"proxy {IP6} dev eth1", f"proxy {GATEWAY6} dev {TAP}"]
    )
    assert len(about(state, "rule ")) == 4
    assert scene.router.ping(IP)
    assert scene.router.ping(IP6)
    assert scene.guest.ping(GATEWAY, source=IP)
    node.run("ip", "link", "del", "tap9", check=False)


def test_a_late_down_of_the_same_nic_in_another_run_is_its_own(scene: Scene) -> None:
    """Without INSTANCE and INTERFACE_UUID (by hand) down means the NIC that is there."""
    scene.become(ROUTED)
    for values in ({"INSTANCE": "another.example.com"}, {"INTERFACE_UUID": ANOTHER_UUID}):
        before = snapshot(scene.node)
        scene.node.down({**ROUTED, **values})
        same(before, snapshot(scene.node))
    assert scene.node.down({"INTERFACE": TAP}).stderr == ""
    assert about(snapshot(scene.node), "element ", TAP) == []
