"""Tag masq with real packets: a private network that reaches the world through the node, with the node's
address.
"""

from __future__ import annotations

import re
import socket
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.lab import SCRIPTS, Ear, Lab, Machine, drops, environment, lines, send, settled, traces

MAC = "aa:55:60:00:00:02"
ENV = environment(
    "add-bridged-ifup-1",
    MAC=MAC,
    IP="192.168.7.2",
    NETWORK_SUBNET="192.168.7.0/24",
    NETWORK_GATEWAY="192.168.7.1",
    NETWORK_TAGS="private-filtered masq",
)
OTHER = {
    **ENV,
    "INTERFACE": "tap8",
    "MAC": "aa:55:70:00:00:02",
    "IP": "192.168.8.2",
    "NETWORK_SUBNET": "192.168.8.0/24",
    "NETWORK_GATEWAY": "192.168.8.1",
    "NETWORK_MAC_PREFIX": "aa:55:70",
    "INTERFACE_UUID": "other",
    "INSTANCE": "other",
}
WAN, FAR = "203.0.113.2", "203.0.113.1"
PORT = 7777


class Site(NamedTuple):
    """A node with a default route of its own, behind which `far` is; the node has the gateway's address on
    its bridge.
    """

    node: Machine
    guest: Machine
    far: Machine


def site(lab: Lab, env: dict[str, str] | None = ENV, masq: bool | None = True) -> Site:
    node, far = lab.node("node1", lab.router()), lab.machine("far")
    lab.cable(node, "wan", far, "eth0")
    far.ip(
        "link set eth0 up",
        f"addr add {FAR}/24 dev eth0",
        f"route add 192.168.0.0/16 via {WAN}",
        *(f"addr add {address}/32 dev lo" for address in ("192.168.8.9", "192.168.9.9")),
    )
    node.ip(
        "link set wan up",
        f"addr add {WAN}/24 dev wan",
        f"route add default via {FAR}",
        "addr add 192.168.7.1/24 dev prv0",
        "link add port type veth peer name there",
        "link set port address 02:00:00:00:00:09 master prv0 up",
        "link set there up",
    )
    if masq is not None:
        node.write("/etc/default/snf-network", f"MASQ={str(masq).lower()}\n")
    guest = lab.guest(node, ENV["INTERFACE"], MAC, "192.168.7.2/24", gateway="192.168.7.1")
    if env:
        assert node.up(env).stderr == ""
        settled(node)
    return Site(node, guest, far)


def seen_as(place: Site, to: str = FAR) -> str:
    """The address that `far` sees when the guest says something to it; the answer must come back. Empty if
    nothing comes.
    """
    with place.far.inside():
        answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        answering.bind((to, PORT))
    with place.guest.inside():
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(answering), closing(asking):
        answering.settimeout(0.5)
        asking.settimeout(0.5)
        asking.sendto(b"question", (to, PORT))
        try:
            _, sender = answering.recvfrom(100)
        except TimeoutError:
            return ""
        answering.sendto(b"answer", sender)
        assert asking.recvfrom(100) == (b"answer", (to, PORT))
        return str(sender[0])


def nat_chains(node: Machine) -> list[str]:
    return re.findall(r"type nat .*|masquerade", node.out("nft", "list", "ruleset"))


# --- the node and its guest


@pytest.mark.parametrize(
    ("tags", "reached"), (("private-filtered masq", True), ("private-filtered", False), ("masq", True))
)
def test_bridge_of_the_node_speaks_to_the_tap(lab: Lab, tags: str, reached: bool) -> None:
    """In a filtered network only with the tag; without MASQ too, which is about NAT."""
    node, guest, _ = site(lab, {**ENV, "NETWORK_TAGS": tags}, masq=None)
    own = node.read("/sys/class/net/prv0/address").strip()
    ear = Ear(guest, "eth0")
    send(
        node,
        "prv0",
        *(
            f.stamp(f.ethernet(own, target, f.udp("192.168.7.1", "192.168.7.2")), number)
            for number, target in ((1, MAC), (2, f.BROADCAST), (3, "01:00:5e:00:00:fb"))
        ),
        f.stamp(f.ethernet("aa:55:60:00:00:99", f.BROADCAST, f.udp("192.168.7.1", "192.168.7.2")), 9),
    )
    assert ear.tokens(9) & {1, 2, 3} == ({1, 2, 3} if reached else set())
    assert node.ping("192.168.7.2", wait=0.3) is reached
    assert guest.ping("192.168.7.1", wait=0.3) is reached


def test_bridge_without_other_ports(lab: Lab) -> None:
    """Such a bridge takes the MAC of its lowest tap, and so gets a new one with this tap, or with the
    next.
    """
    node, guest, _ = site(lab, None)
    node.ip(
        "link del port",
        "link add fresh type bridge forward_delay 0",
        "link set fresh up",
        "addr del 192.168.7.1/24 dev prv0",
        "addr add 192.168.7.1/24 dev fresh",
    )
    on_fresh = {"LINK": "fresh", "BRIDGE": "fresh"}
    node.up({**ENV, **on_fresh})
    settled(node)
    assert guest.ping("192.168.7.1"), "after the first tap"
    low = {
        **ENV,
        **on_fresh,
        "INTERFACE": "tap0",
        "MAC": "aa:55:60:00:00:01",
        "IP": "192.168.7.3",
        "INTERFACE_UUID": "low",
        "INSTANCE": "low",
    }
    lab.guest(node, "tap0", low["MAC"])
    node.up(low)
    settled(node)
    guest.ip("neigh flush all")
    assert guest.ping("192.168.7.1"), "after the second tap"


def test_masq_does_not_open_one_network_to_another(lab: Lab) -> None:
    """What the tag lets through is the node's own; the filter of MAC prefixes stays."""
    node, guest, _ = site(lab)
    other = lab.guest(node, OTHER["INTERFACE"], OTHER["MAC"])
    node.up(OTHER)
    settled(node)
    ear, own = Ear(other, "eth0"), node.read("/sys/class/net/prv0/address").strip()
    send(
        guest,
        "eth0",
        f.stamp(f.ethernet(MAC, f.BROADCAST, f.udp("192.168.7.2", "192.168.7.255")), 1),
        f.stamp(f.ethernet(own, f.BROADCAST, f.udp("192.168.7.2", "192.168.7.255")), 2),
    )
    send(node, "prv0", f.stamp(f.ethernet(own, f.BROADCAST, f.udp("192.168.7.1", "192.168.7.255")), 3))
    assert ear.tokens(3) & {1, 2, 3} == {3}


# --- the guest and the world


def test_far_host_sees_the_address_of_the_node(lab: Lab) -> None:
    assert seen_as(site(lab)) == WAN


def test_routed_guest(lab: Lab) -> None:
    """In table main, where the node's own default route is."""
    place = site(lab, None)
    place.node.ip("addr del 192.168.7.1/24 dev prv0")
    place.node.up({**ENV, "MODE": "routed", "LINK": "main", "NETWORK_TAGS": "masq"})
    assert seen_as(place) == WAN


@pytest.mark.parametrize("masq", (False, None))
def test_without_masq_there_is_no_nat(lab: Lab, masq: bool | None) -> None:
    place = site(lab, masq=masq)
    place.node.sysctl("net/ipv4/ip_forward", 1)
    assert seen_as(place) == "192.168.7.2"
    assert nat_chains(place.node) == []


def test_without_the_tag_there_is_no_nat(lab: Lab) -> None:
    """Two NICs with and without: only the one's network is translated."""
    place = site(lab)
    second = {**OTHER, "MAC": "aa:55:70:00:00:02", "LINK": "prv1", "BRIDGE": "prv1", "NETWORK_TAGS": ""}
    place.node.ip(
        "link add prv1 type bridge forward_delay 0", "link set prv1 up", "addr add 192.168.8.1/24 dev prv1"
    )
    place.node.sysctl("net/ipv4/ip_forward", 1)
    guest = lab.guest(place.node, second["INTERFACE"], second["MAC"], "192.168.8.2/24", gateway="192.168.8.1")
    place.node.up(second)
    settled(place.node)
    assert seen_as(Site(place.node, guest, place.far)) == "192.168.8.2"
    assert seen_as(place) == WAN


def test_never_between_two_of_our_networks(lab: Lab) -> None:
    """192.168.8.0/24 is behind the default route too, on another node: it sees who speaks. 192.168.9.0/24 is
    nobody's of ours.
    """
    place = site(lab)
    lab.guest(place.node, OTHER["INTERFACE"], OTHER["MAC"])
    assert seen_as(place, "192.168.8.9") == WAN
    place.node.up(OTHER)
    assert seen_as(place, "192.168.8.9") == "192.168.7.2"
    assert seen_as(place, "192.168.9.9") == WAN


def two_networks(lab: Lab) -> tuple[Site, Machine]:
    """A second masq network on a bridge of its own, and its guest; the node forwards and has both gateways."""
    place = site(lab)
    place.node.ip(
        "link add prv1 type bridge forward_delay 0", "link set prv1 up", "addr add 192.168.8.1/24 dev prv1"
    )
    place.node.sysctl("net/ipv4/ip_forward", 1)
    other = lab.guest(place.node, OTHER["INTERFACE"], OTHER["MAC"], "192.168.8.2/24", gateway="192.168.8.1")
    place.node.up({**OTHER, "LINK": "prv1", "BRIDGE": "prv1"})
    settled(place.node)
    return place, other


def test_two_networks_do_not_reach_each_other_through_the_node(lab: Lab) -> None:
    place, other = two_networks(lab)
    assert (place.guest.ping("192.168.8.2", wait=0.3), other.ping("192.168.7.2", wait=0.3)) == (False, False)
    assert drops(place.node, "inet")[ENV["INTERFACE"], "masq"] == 0
    assert drops(place.node, "inet")["prv0", "masq"] >= 1
    assert (seen_as(place), seen_as(Site(place.node, other, place.far))) == (WAN, WAN)
    assert place.guest.ping("192.168.8.1") and other.ping("192.168.7.1"), "the node itself answers both"
    place.node.run("nft", "flush", "chain", "inet", "snf_network", "between")
    assert place.guest.ping("192.168.8.2"), "nothing else keeps them apart: this test shows nothing"


def test_routed_guests_of_one_network_reach_each_other(lab: Lab) -> None:
    place = site(lab, None)
    place.node.ip("addr del 192.168.7.1/24 dev prv0")
    routed = {**ENV, "MODE": "routed", "LINK": "main", "NETWORK_TAGS": "masq"}
    other = lab.guest(place.node, "tap8", "aa:55:60:00:00:03", "192.168.7.3/24", gateway="192.168.7.1")
    place.node.up(routed)
    place.node.up(
        {
            **routed,
            "INTERFACE": "tap8",
            "MAC": "aa:55:60:00:00:03",
            "IP": "192.168.7.3",
            "INTERFACE_UUID": "other",
            "INSTANCE": "other",
        }
    )
    assert other.ping("192.168.7.2") and seen_as(place) == WAN


FLOWS = 1500


def test_guests_of_other_networks_are_not_tracked(lab: Lab) -> None:
    """Source NAT turns connection tracking on for the whole node: no other guest can fill its table, nor can
    who speaks to one.
    """
    place = site(lab)
    env = environment("add-routed-ifup-1", TAGS="")
    guest = lab.guest(place.node, env["INTERFACE"], env["MAC"], f"{env['IP']}/24", gateway="198.51.100.1")
    router = lab.machines["router"]
    place.node.up(env)
    settled(place.node, router)
    assert guest.ping("198.51.100.1")
    before = tracked(place.node)
    tap = place.node.read(f"/sys/class/net/{env['INTERFACE']}/address").strip()
    uplink = place.node.read("/sys/class/net/eth1/address").strip()
    own = router.read("/sys/class/net/br0/address").strip()
    for sender, device, source, target, ends in (
        (guest, "eth0", env["MAC"], tap, (env["IP"], "198.51.100.1")),
        (router, "br0", own, uplink, ("198.51.100.1", env["IP"])),
    ):
        send(
            sender,
            device,
            *(f.ethernet(source, target, f.udp(*ends, 9, port)) for port in range(1000, 1000 + FLOWS)),
        )
    assert guest.ping("198.51.100.1") and router.ping(env["IP"])
    assert tracked(place.node) - before < 10
    assert seen_as(place) == WAN
    # the members that packets made are not left over
    assert place.node.out(SCRIPTS / "snf-network", "check").splitlines() == ["clean"]
    place.node.run("nft", "flush", "chain", "inet", "snf_network", "untracked")
    send(
        guest,
        "eth0",
        *(
            f.ethernet(env["MAC"], tap, f.udp(env["IP"], "198.51.100.1", 9, port))
            for port in range(3000, 3100)
        ),
    )
    assert tracked(place.node) - before >= 100, "nothing is tracked here: this test shows nothing"


def tracked(node: Machine) -> int:
    """Entries in the table of connections."""
    return int(node.read("/proc/sys/net/netfilter/nf_conntrack_count"))


def test_masq_switched_on_while_the_rules_are_loaded(lab: Lab) -> None:
    place = site(lab, masq=None)
    assert nat_chains(place.node) == []
    place.node.write("/etc/default/snf-network", "MASQ=true\n")
    place.node.up(ENV)
    assert seen_as(place) == WAN


def test_node_without_a_default_route(lab: Lab) -> None:
    place = site(lab, None)
    place.node.ip("route del default")
    ran = place.node.up(ENV)
    assert ran.stderr.count("\n") == 1
    assert "the node has no IPv4 default route: no source NAT for 192.168.7.0/24" in ran.stderr
    settled(place.node)
    assert place.guest.ping("192.168.7.1")


def test_what_two_nics_share_goes_with_the_last(lab: Lab) -> None:
    place = site(lab)
    second = {
        **ENV,
        "INTERFACE": "tap8",
        "MAC": "aa:55:60:00:00:03",
        "IP": "192.168.7.3",
        "INTERFACE_UUID": "other",
        "INSTANCE": "other",
    }
    lab.guest(place.node, "tap8", second["MAC"])
    place.node.up(second)
    place.node.down(second)
    assert len(lines("\n".join(traces(place.node)), "inet masq")) == 3
    assert seen_as(place) == WAN
    place.node.down(ENV)
    assert traces(place.node) == []
