"""What instance tags do to one NIC, with real packets: firewall profiles, and added or removed tags."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from snf_network.selftest.world import bridge_netfilter
from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, Witness, environment, lines, send, settled, traces, until

TAP_MAC, OTHER_MAC, GATEWAY, GATEWAY6 = (
    "cc:47:52:4e:45:54",
    "aa:55:60:00:00:11",
    "198.51.100.1",
    "2001:db8:1::1",
)
ROUTED = environment("add-routed-ifup-1", INTERFACE_NAME="pub0", TAGS="")
BRIDGED = environment("start-nonet-ifup-1", MAC="aa:55:60:00:00:12", IP="203.0.113.12")
FILTERED = environment(
    "add-bridged-ifup-1", INTERFACE=BRIDGED["INTERFACE"], MAC=BRIDGED["MAC"], IP=BRIDGED["IP"]
)
PREFIX = "synnefo:network"
IP6 = f.eui64(ROUTED["MAC"], "2001:db8:1::")
START = 5000
"""Number of the first frame."""


class Site(NamedTuple):
    """A router and a guest on a routed tap; two guests on a bridge, the second without any tag."""

    router: Machine
    node: Machine
    routed: Machine
    bridged: Machine
    other: Machine


def site(lab: Lab) -> Site:
    router = lab.router()
    node = lab.node("node1", router)
    routed = lab.guest(
        node,
        ROUTED["INTERFACE"],
        ROUTED["MAC"],
        f"{ROUTED['IP']}/24",
        f"{IP6}/64",
        gateway=GATEWAY,
        gateway6=GATEWAY6,
    )
    bridged = lab.guest(node, BRIDGED["INTERFACE"], BRIDGED["MAC"], "203.0.113.12/24", "2001:db8:b::12/64")
    other = lab.guest(node, "tap9", OTHER_MAC, "203.0.113.11/24", "2001:db8:b::11/64")
    node.up(
        {
            **BRIDGED,
            "INTERFACE": "tap9",
            "MAC": OTHER_MAC,
            "INTERFACE_UUID": "other",
            "INSTANCE": "other",
            "TAGS": "",
        }
    )
    settled(router, node)
    return Site(router, node, routed, bridged, other)


@pytest.fixture(scope="module")
def still(bridge_nf: bool) -> Iterator[Site]:
    """One site for all tests that bring their own NIC up."""
    with closing(Lab()) as lab:
        made = site(lab)
        bridge_netfilter(made.node, bridge_nf)
        yield made


class Way(NamedTuple):
    """How frames come to a guest: from whom, over what."""

    env: dict[str, str]
    source: str
    target: str

    def play(self, place: Site, packets: dict[str, f.Packet]) -> set[str]:
        """The names of those packets that the guest hears; an echo request, which all profiles let through,
        is the last.
        """
        if self.env["MODE"] == "routed":
            sender, guest, device, far = place.router, place.routed, "br0", mac_of(place.node, "eth1")
        else:
            sender, guest, device, far = place.other, place.bridged, "eth0", BRIDGED["MAC"]
        source = mac_of(sender, device)
        packets = {**packets, "end": f.ping(self.source, self.target)}
        ear = Ear(guest, "eth0")
        send(
            sender,
            device,
            *(
                f.stamp(f.ethernet(source, far, packet), number)
                for number, packet in enumerate(packets.values(), START)
            ),
        )
        heard = ear.tokens(START + len(packets) - 1)
        return {name for number, name in enumerate(packets, START) if number in heard} - {"end"}


def mac_of(machine: Machine, device: str) -> str:
    return machine.read(f"/sys/class/net/{device}/address").strip()


WAYS = {
    "routed": Way(ROUTED, GATEWAY, ROUTED["IP"]),
    "routed, IPv6": Way(ROUTED, GATEWAY6, IP6),
    "bridged": Way(BRIDGED, "203.0.113.11", "203.0.113.12"),
    "bridged, IPv6": Way(BRIDGED, "2001:db8:b::11", "2001:db8:b::12"),
    "filtered": Way(FILTERED, "203.0.113.11", "203.0.113.12"),
    "filtered, IPv6": Way(FILTERED, "2001:db8:b::11", "2001:db8:b::12"),
}
ANSWERS = {
    "SYN+ACK",
    "ACK",
    "RST",
    "FIN",
    "DNS answer",
    "HTTP/3 answer",
    "NTP answer",
    "DHCP answer",
    "DHCP answer from another port",
    "NTP to NTP",
    "ICMP error",
    "fragment",
}
BEGUN = {"SSH", "SSH, SYN+FIN", "RDP", "RDP over UDP"}
REST = {
    "HTTP",
    "DHCP request",
    "SYN+FIN",
    "SYN+RST",
    "UDP",
    "DNS answer to a server's port",
    "GRE",
    "rest of a TCP header",
}
PASSES = {
    "protected": ANSWERS,
    "limited": ANSWERS | BEGUN,
    "unprotected": ANSWERS | BEGUN | REST,
    "": ANSWERS | BEGUN | REST,
}


def packets(source: str, target: str) -> dict[str, f.Packet]:
    error = bytes(4) + f.udp(target, source)[1][:48]
    ip6 = ":" in source
    return {
        "SSH": f.tcp(source, target, 40000, 22),
        "RDP": f.tcp(source, target, 40000, 3389),
        "HTTP": f.tcp(source, target, 40000, 80),
        "SYN+FIN": f.tcp(source, target, 40000, 80, f.SYN | f.FIN),
        "SYN+RST": f.tcp(source, target, 40000, 80, f.SYN | f.RST),
        "SSH, SYN+FIN": f.tcp(source, target, 40000, 22, f.SYN | f.FIN),
        "SYN+ACK": f.tcp(source, target, 80, 40000, f.SYN | f.ACK),
        "ACK": f.tcp(source, target, 80, 40000, f.ACK),
        "RST": f.tcp(source, target, 80, 40000, 0x04),
        "FIN": f.tcp(source, target, 80, 40000, 0x11),
        "DNS answer": f.udp(source, target, 53, 40000),
        "HTTP/3 answer": f.udp(source, target, 443, 40000),
        "NTP answer": f.udp(source, target, 123, 40000),
        "NTP to NTP": f.udp(source, target, 123, 123),
        "DHCP answer": f.udp(source, target, 547, 546) if ip6 else f.udp(source, target, 67, 68),
        "DHCP answer from another port": f.udp(source, target, 4000, 546 if ip6 else 68),
        "DHCP request": f.udp(source, target, 546, 547) if ip6 else f.udp(source, target, 68, 67),
        "DNS answer to a server's port": f.udp(source, target, 53, 111),
        "UDP": f.udp(source, target, 40000, 40000),
        "RDP over UDP": f.udp(source, target, 40000, 3389),
        "GRE": f.ip(source, target, 47, b"\0\0\x08\0rest"),
        "ICMP error": f.icmp6(source, target, 1, error, 64) if ip6 else icmp_error(source, target, error),
        "fragment": f.behind(f.udp(source, target), f.FRAGMENT, bytes((0, 0, 64, 0, 0, 0, 9)))
        if ip6
        else f.ip(source, target, f.UDP, b"rest of it", fragment=100),
        "rest of a TCP header": f.behind(
            rest_of_tcp(source, target), f.FRAGMENT, bytes((0, 0, 9, 0, 0, 0, 9))
        )
        if ip6
        else f.ip(source, target, f.TCP, rest_of_tcp(source, target)[1][-12:], fragment=0x2001),
    }


def rest_of_tcp(source: str, target: str) -> f.Packet:
    """What follows the first eight octets of a TCP header, where flags would stand: a SYN whose first
    fragment says nothing of that (RFC 1858).
    """
    head = f.tcp(source, target, 40000, 80)
    return f.ip(source, target, f.TCP, head[1][-12:] + b"\x10" * 12)


def icmp_error(source: str, target: str, body: bytes) -> f.Packet:
    data = b"\x03\x03\0\0" + body
    return f.ip(source, target, f.ICMP, data[:2] + f.checksum(data).to_bytes(2) + data[4:])


def tag(profile: str, identifier: str = "0") -> str:
    return f"{PREFIX}:{identifier}:{profile}" if profile else ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("profile", PASSES)
def test_what_a_profile_lets_through(still: Site, way: str, profile: str) -> None:
    """One site for all: each call changes the profile of a live NIC. Without a profile everything passes: the
    control.
    """
    road = WAYS[way]
    still.node.up({**road.env, "TAGS": tag(profile, road.env["INTERFACE_INDEX"])})
    assert road.play(still, packets(road.source, road.target)) == PASSES[profile]


SSH_HTTP = {"SSH": f.tcp(GATEWAY, ROUTED["IP"], 40000, 22), "HTTP": f.tcp(GATEWAY, ROUTED["IP"], 40000, 80)}
OPEN_PORTS = {"protected": set(), "limited": {"SSH"}, "unprotected": {"SSH", "HTTP"}, "": {"SSH", "HTTP"}}
UUID = ROUTED["INTERFACE_UUID"]


@pytest.mark.parametrize(
    ("tags", "profile"),
    (
        (tag("limited", "0"), "limited"),
        (tag("limited", "pub0"), "limited"),
        (tag("limited", UUID), "limited"),
        (f"{tag('protected', 'pub0')} {tag('limited', '0')}", "protected"),
        (f"{tag('unprotected', '0')} {tag('protected', UUID)} {tag('limited', 'pub0')}", "protected"),
        (f"{tag('protected', '1')} {tag('protected', 'other')} {tag('limited', '0')}", "limited"),
        (f"{tag('limited', '0')} {tag('limited', '0')} {tag('reconfigure', '0')}", "limited"),
        (
            f"{tag('protected', '1')} unrelated elsewhere:0:protected {PREFIX}:protected {PREFIX}:10:protected",
            "",
        ),
    ),
    ids=(
        "index",
        "name",
        "uuid",
        "name over index",
        "uuid over both",
        "of another NIC",
        "twice, reconfigure",
        "not of this NIC",
    ),
)
def test_which_profile_a_nic_has(still: Site, tags: str, profile: str) -> None:
    still.node.up({**ROUTED, "TAGS": tags})
    assert WAYS["routed"].play(still, SSH_HTTP) == OPEN_PORTS[profile]


@pytest.mark.parametrize(
    ("tags", "said"),
    (
        (tag("lmited"), "'lmited' is no firewall profile (there are limited, protected, unprotected"),
        (f"{tag('limited')} {tag('protected')}", "'limited' and 'protected' for one NIC"),
        (
            f"{tag('limited', UUID)} {tag('protected', UUID)} {tag('limited', '0')}",
            "'limited' and 'protected' for one NIC",
        ),
    ),
    ids=("unknown", "two by index", "two by uuid"),
)
@pytest.mark.parametrize("env", (ROUTED, FILTERED), ids=("routed", "filtered"))
def test_profile_that_cannot_be(lab: Lab, env: dict[str, str], tags: str, said: str) -> None:
    """Closed: exit 1 with a line that says why, and the tap is left as Ganeti made it, down and in
    nothing.
    """
    node, tap = lab.node("node1", lab.router()), env["INTERFACE"]
    lab.guest(node, tap, env["MAC"])
    env = {**env, "INTERFACE_INDEX": "0", "INTERFACE_UUID": UUID}
    ran = node.up({**env, "TAGS": tags}, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("kvm-ifup-custom: TAGS: ")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "state DOWN" in node.out("ip", "link", "show", "dev", tap)
    assert traces(node, records=False) == []


def test_profile_that_cannot_be_leaves_the_earlier_one(still: Site) -> None:
    still.node.up({**ROUTED, "TAGS": tag("protected")})
    assert still.node.up({**ROUTED, "TAGS": tag("lmited")}, check=False).returncode == 1
    assert WAYS["routed"].play(still, SSH_HTTP) == set()


@pytest.mark.parametrize("loaded", (False, True), ids=("before the rules are loaded", "while they are"))
def test_own_profile(lab: Lab, loaded: bool) -> None:
    """A file in /etc/snf-network/profiles is a profile, routed and bridged; one of a name that we ship
    replaces ours.
    """
    place = site(lab)
    if not loaded:
        place.node.run("nft", "flush", "ruleset")
    place.node.write(
        "/etc/snf-network/profiles/web.nft",
        "tcp dport 80 accept\nmeta l4proto { icmp, icmpv6 } accept\ndrop\n",
    )
    for env in (ROUTED, BRIDGED, FILTERED):
        place.node.up({**env, "TAGS": tag("web", env["INTERFACE_INDEX"])})
        source, target = (
            ("203.0.113.11", "203.0.113.12") if env["MODE"] == "bridged" else (GATEWAY, ROUTED["IP"])
        )
        ports = {
            "SSH": f.tcp(source, target, 40000, 22),
            "HTTP": f.tcp(source, target, 40000, 80),
            "ACK": f.tcp(source, target, 80, 22, f.ACK),
        }
        assert Way(env, source, target).play(place, ports) == {"HTTP"}


def test_own_profile_of_a_name_that_we_ship(lab: Lab) -> None:
    place = site(lab)
    place.node.run("nft", "flush", "ruleset")
    place.node.write(
        "/etc/snf-network/profiles/limited.nft", "tcp dport 80 accept\nmeta l4proto icmp accept\ndrop\n"
    )
    place.node.up({**ROUTED, "TAGS": tag("limited")})
    assert WAYS["routed"].play(place, SSH_HTTP) == {"HTTP"}


def test_profile_that_does_not_load(lab: Lab) -> None:
    place = site(lab)
    place.node.write("/etc/snf-network/profiles/bad.nft", "tcp dport eighty accept\n")
    ran = place.node.up({**ROUTED, "TAGS": tag("bad")}, check=False)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "bad.nft" in ran.stderr
    assert not lines("\n".join(traces(place.node, records=False)), ROUTED["INTERFACE"])
    assert "state DOWN" in place.node.out("ip", "link", "show", "dev", ROUTED["INTERFACE"])


@pytest.mark.parametrize("env", (BRIDGED, FILTERED), ids=("bridged", "filtered"))
@pytest.mark.parametrize("address", ("203.0.113.12", "2001:db8:b::12"))
def test_neighbours_find_a_protected_guest(still: Site, env: dict[str, str], address: str) -> None:
    """ARP and neighbour discovery pass, in both directions."""
    still.node.up({**env, "TAGS": tag("protected", env["INTERFACE_INDEX"])})
    for guest in (still.bridged, still.other):
        guest.ip("neigh flush all")
    assert still.other.ping(address)
    for guest in (still.bridged, still.other):
        guest.ip("neigh flush all")
    assert still.bridged.ping(address.replace("12", "11"))


@pytest.mark.parametrize(
    "tags", ([(f.VLAN, 0)], [(f.QINQ, 0)], [(f.VLAN, 0), (f.VLAN, 0)]), ids=("802.1Q", "802.1ad", "two")
)
def test_profile_holds_for_priority_tagged_frames(lab: Lab, tags: list[tuple[int, int]]) -> None:
    """A guest takes a frame with VLAN 0 as one without a tag (802.1Q, 6.9): behind such a tag a SYN must not
    pass.
    """
    place = site(lab)
    witness = Witness(place.bridged)

    def get(number: int) -> set[int]:
        knock = f.tcp("203.0.113.11", "203.0.113.12", 40000, 22)
        send(
            place.other,
            "eth0",
            f.stamp(f.ethernet(OTHER_MAC, BRIDGED["MAC"], knock, *tags), number),
            f.stamp(
                f.ethernet(OTHER_MAC, BRIDGED["MAC"], f.ping("203.0.113.11", "203.0.113.12")), number + 1
            ),
        )
        assert until(lambda: number + 1 in witness.seen())
        return witness.seen() & {number}

    place.node.up({**BRIDGED, "TAGS": ""})
    assert get(START), "the guest does not take it: this test shows nothing"
    place.node.up({**BRIDGED, "TAGS": tag("protected")})
    assert not get(START + 10)


KNOCK = f.tcp("203.0.113.11", "203.0.113.12", 40000, 22)[1]
HIDDEN = {
    "SNAP": (8 + len(KNOCK), b"\xaa\xaa\3\0\0\0\x08\0" + KNOCK),
    "a PPPoE session": (0x8864, b"\x11\0\0\1" + (2 + len(KNOCK)).to_bytes(2) + b"\0\x21" + KNOCK),
    "PPPoE discovery": (0x8863, b"\x11\x09\0\0\0\4\1\1\0\0"),
    "MPLS": (0x8847, b"\0\1\1\x40" + KNOCK),
    "a tag of 0x9100": (0x9100, b"\0\5\x08\0" + KNOCK),
}
"""What some guests take IPv4 out of; a profile cannot look into it."""


@pytest.mark.parametrize("packet", HIDDEN.values(), ids=list(HIDDEN))
def test_profile_holds_for_what_is_hidden_in(still: Site, packet: f.Packet) -> None:
    """RFC 1042, RFC 2516, RFC 3032, and tags as they were before 802.1ad. The profile that lets in everything
    lets them in.
    """
    ear = Ear(still.bridged, "eth0")
    ping = f.ping("203.0.113.11", "203.0.113.12")

    def get(number: int) -> bool:
        frame = f.ethernet(OTHER_MAC, BRIDGED["MAC"], packet)
        end = f.stamp(f.ethernet(OTHER_MAC, BRIDGED["MAC"], ping), number)
        send(still.other, "eth0", frame, end)
        heard = [found for _, found in ear.frames(2, lambda found: f.token(found) == number)]
        assert number in map(f.token, heard)
        return frame in heard

    for name, passes in (("", True), ("protected", False), ("limited", False)):
        still.node.up({**BRIDGED, "TAGS": tag(name, BRIDGED["INTERFACE_INDEX"])})
        assert get(START) is passes, name
    still.node.up({**BRIDGED, "TAGS": tag("unprotected", BRIDGED["INTERFACE_INDEX"])})
    assert get(START) is (packet[0] > f.SHORTEST)


class Talk:
    """Connections and questions between two machines, through their own stacks."""

    def __init__(self, asker: Machine, server: Machine, address: str) -> None:
        self.asker, self.server, self.address = asker, server, address

    def tcp(self, port: int) -> bool:
        """True if a connection comes about and carries something both ways."""
        with (
            self.server.inside(),
            closing(socket.create_server((self.address, port))) as listening,
            self.asker.inside(),
        ):
            try:
                asking = socket.create_connection((self.address, port), timeout=0.3)
            except TimeoutError:
                return False
            with closing(asking), closing(listening.accept()[0]) as answering:
                answering.settimeout(2)
                asking.sendall(b"question")
                answering.sendall(answering.recv(100) + b", answer")
                return asking.recv(100) == b"question, answer"

    def udp(self, port: int) -> bool:
        """True if a question is answered."""
        with self.server.inside():
            answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            answering.bind((self.address, port))
        with self.asker.inside():
            asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with closing(answering), closing(asking):
            answering.settimeout(0.3)
            asking.settimeout(0.3)
            asking.sendto(b"question", (self.address, port))
            try:
                answering.sendto(b"answer", answering.recvfrom(100)[1])
                return asking.recv(100) == b"answer"
            except TimeoutError:
                return False


@pytest.mark.parametrize("mode", ("routed", "bridged"))
def test_protected_guest_begins_and_others_do_not(still: Site, mode: str) -> None:
    env, far, near = WAYS[mode]
    guest, other = (still.routed, still.router) if mode == "routed" else (still.bridged, still.other)
    still.node.up({**env, "TAGS": tag("protected", env["INTERFACE_INDEX"])})
    out, back = Talk(guest, other, far), Talk(other, guest, near)
    assert (out.tcp(80), out.udp(53), out.udp(5353)) == (True, True, False)
    assert (back.tcp(80), back.tcp(22), back.udp(53)) == (False, False, False)
    still.node.up({**env, "TAGS": ""})
    assert (out.udp(5353), back.tcp(22), back.udp(53)) == (True, True, True)


# --- setups

FORGED = f.ethernet(
    "aa:55:60:66:66:66", f.BROADCAST, f.arp(1, "aa:55:60:66:66:66", "203.0.113.66", "203.0.113.9")
)


@pytest.mark.parametrize(
    ("network", "tags", "filtered"),
    (
        ("", "", False),
        ("private-filtered", "", True),
        ("", "snf-network:0:private-filtered", True),
        ("", "snf-network:priv0:mac-filtered", True),
        ("", f"snf-network:{UUID}:private-filtered", True),
        ("", "snf-network:1:private-filtered other:0:private-filtered snf-network:private-filtered", False),
        ("private-filtered", "snf-network:0:no-private-filtered", False),
        ("private-filtered", "snf-network:priv0:no-private-filtered", False),
        ("private-filtered", f"snf-network:0:no-private-filtered snf-network:{UUID}:private-filtered", True),
        ("", f"snf-network:0:private-filtered snf-network:{UUID}:no-private-filtered", False),
    ),
)
def test_tag_for_one_bridged_nic(still: Site, network: str, tags: str, filtered: bool) -> None:
    """A forged MAC reaches the node's bridge, or not."""
    names = {"INTERFACE_INDEX": "0", "INTERFACE_NAME": "priv0", "INTERFACE_UUID": UUID}
    still.node.up({**BRIDGED, **names, "NETWORK_TAGS": network, "TAGS": tags})
    ear = Ear(still.node, "prv0")
    own = f.ethernet(BRIDGED["MAC"], f.BROADCAST, f.arp(1, BRIDGED["MAC"], "203.0.113.12", "203.0.113.9"))
    send(still.bridged, "eth0", f.stamp(FORGED, 7001), f.stamp(own, 7002))
    assert (7001 not in ear.tokens(7002)) is filtered


def test_prefix_of_instance_tags_is_a_setting(lab: Lab) -> None:
    place = site(lab)
    place.node.write("/etc/default/snf-network", "TAG_PREFIX=acme:net\nFIREWALL_TAG_PREFIX=acme:fw\n")
    place.node.up(
        {**FILTERED, "TAGS": "acme:net:0:no-private-filtered snf-network:0:mac-filtered acme:fw:0:protected"}
    )
    assert not [line for line in traces(place.node) if "macs" in line]
    assert [line for line in traces(place.node) if "profile_protected" in line]


def test_setups_contradict_each_other(lab: Lab) -> None:
    node = lab.node("node1", lab.router())
    lab.guest(node, FILTERED["INTERFACE"], FILTERED["MAC"])
    ran = node.up({**FILTERED, "TAGS": "snf-network:0:masq snf-network:0:no-masq"}, check=False)
    assert ran.returncode == 1
    assert "masq" in ran.stderr
    assert traces(node, records=False) == []


def test_tag_for_one_routed_nic(still: Site) -> None:
    """Without ip-less-routed nobody answers for the guest on the uplink; and without nfdhcpd it has no
    binding.
    """
    node, router, tap = still.node, still.router, ROUTED["INTERFACE"]

    def state(tags: str) -> tuple[bool, bool]:
        node.up({**ROUTED, "TAGS": tags})
        router.ip("neigh flush all")
        return router.ping(ROUTED["IP"], wait=0.3), bool(node.read(f"/var/lib/nfdhcpd/{tap}"))

    assert state("") == (True, True)
    assert state("snf-network:0:no-ip-less-routed") == (False, True)
    assert state("snf-network:pub0:no-nfdhcpd snf-network:1:no-ip-less-routed") == (True, False)


def test_tag_for_a_nic_without_a_network(lab: Lab) -> None:
    env = environment("start-nonet-ifup-2")
    router = lab.router()
    node = lab.node("node1", router)
    guest = lab.guest(node, env["INTERFACE"], env["MAC"], f"{env['IP']}/32", gateway="203.0.115.1")
    router.ip(f"route add {env['IP']} dev br0")
    settled(router)
    node.up(env)
    assert not router.ping(env["IP"], wait=0.3)
    node.up({**env, "TAGS": "snf-network:1:ip-less-routed"})
    assert router.ping(env["IP"])
    assert guest.ping(GATEWAY)
