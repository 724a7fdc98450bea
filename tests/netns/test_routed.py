"""Mode routed with real packets: legal frames pass, forged frames do not, and nothing is left behind.

All frames of a kind are sent at once. The test looks for them behind our rules: on the node's own stack, and
at the router. The same frames are then sent to a node without our tables (the control). There each of them
arrives, so only our rules can have stopped it.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.corpus import (
    FREE,
    GATEWAY,
    GATEWAY6,
    IP,
    IP6,
    LINK_LOCAL,
    MAC,
    NODE,
    NODE6,
    NOT_TLLAO,
    OTHER,
    OTHER_MAC,
    SLLAO,
    TAP_LINK_LOCAL,
    TAP_MAC,
    TLLAO,
    by_hand,
    to_all,
    to_group,
    to_node,
)
from tests.netns.lab import (
    Ear,
    Lab,
    Machine,
    Witness,
    drops,
    environment,
    lines,
    send,
    settled,
    traces,
    until,
    without_rules,
)

ENV = environment("add-routed-ifup-1")
NONET = environment("start-nonet-ifup-2")


class Site(NamedTuple):
    """A router, a node that guests can reach at NODE and NODE6, and a guest on tap0."""

    router: Machine
    node: Machine
    guest: Machine


def site(lab: Lab, env: dict[str, str] | None = ENV, *addresses: str) -> Site:
    """Bring the NIC up, if an environment is given."""
    router = lab.router()
    node = lab.node("node1", router)
    node.write("/etc/default/snf-network", "NFDHCPD_ENGINE=none\n")  # what the guard adds, tests of it say
    node.sysctl("net/ipv4/conf/default/rp_filter", 0)
    node.ip(
        f"addr add {NODE}/32 dev lo",
        f"-6 addr add {NODE6}/128 dev lo",
        "rule add to 198.51.100.0/24 lookup 222",
        "-6 rule add to 2001:db8:1::/64 lookup 222",
    )
    settled(router)
    guest = lab.guest(
        node, "tap0", MAC, *(addresses or (f"{IP}/24", f"{IP6}/64")), gateway=GATEWAY, gateway6=GATEWAY6
    )
    if env:
        ran = node.up(env)
        assert (ran.stdout, ran.stderr) == ("", "")
    return Site(router, node, guest)


@pytest.fixture
def routed(lab: Lab) -> Site:
    return site(lab)


@pytest.fixture(scope="module")
def still() -> Iterator[Site]:
    """One site for all tests that only look."""
    with closing(Lab()) as lab:
        yield site(lab)


# --- what passes


@pytest.mark.parametrize("address", (GATEWAY, GATEWAY6))
def test_guest_reaches_router(still: Site, address: str) -> None:
    assert still.guest.ping(address)


@pytest.mark.parametrize("address", (IP, IP6))
def test_router_reaches_guest(still: Site, address: str) -> None:
    assert still.router.ping(address)


@pytest.mark.parametrize("address", (NODE, NODE6, f"{TAP_LINK_LOCAL}%eth0"))
def test_guest_reaches_node(still: Site, address: str) -> None:
    assert still.guest.ping(address)


@pytest.mark.parametrize(("address", "source"), ((IP, NODE), (IP6, NODE6), (f"{LINK_LOCAL}%tap0", "")))
def test_node_reaches_guest(still: Site, address: str, source: str) -> None:
    assert still.node.ping(address, source=source)


def test_guests_of_one_node_reach_each_other(routed: Site, lab: Lab) -> None:
    mac, address, address6 = "aa:00:00:00:00:11", "198.51.100.11", "2001:db8:1:0:a800:ff:fe00:11"
    lab.guest(
        routed.node, "tap9", mac, f"{address}/24", f"{address6}/128", gateway=GATEWAY, gateway6=GATEWAY6
    )
    routed.node.up(
        {
            **ENV,
            "INTERFACE": "tap9",
            "MAC": mac,
            "IP": address,
            "INTERFACE_UUID": "other",
            "INSTANCE": "other",
        }
    )
    routed.guest.ip(f"-6 route add {address6} via {GATEWAY6} dev eth0 onlink")
    assert routed.guest.ping(address)
    assert routed.guest.ping(address6)


def test_strict_reverse_path_filter(routed: Site) -> None:
    """The reverse route is asked with the guest's mark; the control takes that away, and the rule that would
    do as well.
    """
    router, node, guest = routed
    node.ip("rule del to 198.51.100.0/24 lookup 222", "rule del iif eth1 lookup 222")
    for device in ("all", "tap0", "eth1"):
        node.sysctl(f"net/ipv4/conf/{device}/rp_filter", 1)
    ear = Ear(router, "br0")
    for token, mark in ((1, ""), (2, "0"), (3, "1")):
        if mark:
            node.sysctl("net/ipv4/conf/tap0/src_valid_mark", mark)
        send(guest, "eth0", f.stamp(to_node(f.udp(IP, GATEWAY)), token))
    assert ear.tokens(3) & {1, 2, 3} == {1, 3}


# --- single stack, no network, less than all


def test_ipv4_only(lab: Lab) -> None:
    env = {key: value for key, value in ENV.items() if key not in ("NETWORK_SUBNET6", "NETWORK_GATEWAY6")}
    router, node, guest = site(lab, env)
    assert guest.ping(GATEWAY)
    assert router.ping(IP)
    assert not lines(node.out("ip", "-6", "neigh", "show", "proxy"), "eth1")
    send(guest, "eth0", to_node(f.udp(IP6, NODE6)))
    assert until(lambda: drops(node, "inet") == {("tap0", "ip6-src"): 1})


def test_ipv6_only(lab: Lab) -> None:
    router, node, guest = site(lab, {key: value for key, value in ENV.items() if key != "IP"}, f"{IP6}/64")
    assert guest.ping(GATEWAY6)
    assert router.ping(IP6)
    send(guest, "eth0", to_node(f.udp(IP, NODE)), to_all(f.arp(1, MAC, IP, GATEWAY)))
    assert until(lambda: drops(node, "arp") == {("tap0", "arp-ip"): 1})
    assert drops(node, "inet") == {("tap0", "ip4-src"): 1}
    assert not lines(node.out("ip", "-4", "neigh", "show", "proxy"), "eth1")


def test_ip_is_an_ipv6_address(lab: Lab) -> None:
    chosen = "2001:db8:1::77"
    env = {key: value for key, value in ENV.items() if key not in ("NETWORK_SUBNET", "NETWORK_GATEWAY")}
    router, _, guest = site(lab, {**env, "IP": chosen}, f"{chosen}/64")
    assert guest.ping(GATEWAY6)
    assert router.ping(chosen)


def test_without_network_or_tag(lab: Lab) -> None:
    """Link, mark, route and pins; but the node does not answer for the guest on the uplink: a router must be
    told of it.
    """
    router = lab.router()
    node = lab.node("node1", router)
    node.ip("addr add 198.51.100.2/24 dev eth1", "-6 addr add 2001:db8:1::2/64 dev eth1 nodad")
    node.sysctl("net/ipv4/conf/eth1/forwarding", 1)  # the administrator's, as with stock Ganeti
    address, mac = NONET["IP"], NONET["MAC"]
    guest = lab.guest(node, "tap3", mac, f"{address}/32", gateway="203.0.115.1")
    node.up(NONET)
    assert not lines(node.out("ip", "neigh", "show", "proxy"), address)
    router.ip(f"route add {address} dev br0")
    assert not router.ping(address, wait=0.3)
    router.ip(f"route replace {address} via 198.51.100.2")
    assert router.ping(address)
    assert guest.ping(GATEWAY)
    send(guest, "eth0", f.ethernet(mac, TAP_MAC, f.udp(OTHER, GATEWAY)))
    assert until(lambda: drops(node, "inet") == {("tap3", "ip4-src"): 1})


@pytest.mark.parametrize(("family", "works", "fails"), (("-4", GATEWAY6, GATEWAY), ("-6", GATEWAY, GATEWAY6)))
def test_table_without_a_default_route(lab: Lab, family: str, works: str, fails: str) -> None:
    _, node, guest = site(lab, None)
    node.ip(f"{family} route del default table 222")
    ran = node.up(ENV)
    assert ran.stderr.count("\n") == 1
    assert re.search(f"warning: .*snf_public has no IPv{family[1]} default route", ran.stderr)
    assert guest.ping(works)
    assert not lines(node.out("ip", family, "neigh", "show", "proxy"), "eth1")


@pytest.mark.parametrize("scope", ("all", "default"))
def test_without_ipv6(lab: Lab, scope: str) -> None:
    """Switched off on the node before there was a tap."""
    router = lab.router()
    node = lab.node("node1", router)
    node.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)
    guest = lab.guest(node, "tap0", MAC, f"{IP}/24", f"{IP6}/64", gateway=GATEWAY)
    ran = node.up(ENV)
    assert ran.stderr.count("\n") == 1
    assert "IPv6 is off" in ran.stderr
    assert guest.ping(GATEWAY)
    assert router.ping(IP)
    assert not router.ping(IP6, wait=0.3)


@pytest.mark.parametrize(("family", "far"), (("-4", "203.0.113.1"), ("-6", "2001:db8:9::1")))
def test_no_way_from_the_table_into_main(lab: Lab, family: str, far: str) -> None:
    """The node's own default route is not the guest's: where its table has none, the guest is told so at
    once.
    """
    _, node, guest = site(lab, None)
    isp = lab.machine("isp")
    lab.cable(node, "wan", isp, "eth0")
    isp.ip(
        "link set eth0 up",
        "addr add 203.0.113.1/24 dev eth0",
        "addr add 2001:db8:9::1/64 dev eth0 nodad",
        f"route add {IP} dev eth0",
        f"-6 route add {IP6} dev eth0",
    )
    node.ip("link set wan up", f"{family} route del default table 222", f"{family} route add default dev wan")
    node.sysctl("net/ipv4/conf/wan/forwarding", 1)
    node.sysctl("net/ipv4/conf/wan/proxy_arp", 1)
    node.up(ENV)
    ear = Ear(isp, "eth0")
    said = guest.run("ping", "-n", "-c", 1, "-W", 2, far, check=False).stdout
    assert re.search(r"(?i)unreachable|no route", said), said
    lost = to_node(f.udp(IP if family == "-4" else IP6, far))
    send(guest, "eth0", f.stamp(lost, 1))
    node.ip(f"{family} rule del fwmark 222 unreachable")
    send(guest, "eth0", f.stamp(lost, 2))
    assert 1 not in ear.tokens(2)


# --- what is forged: all of it is sent by the self-test (test_selftest.py); here is what a matrix does not
# show

OPEN = 1000
"""Added to the number of a frame when it is sent to a node without our rules."""


def test_free_link_local_source_is_never_forwarded(routed: Site) -> None:
    """It may speak to the node; what it sends on through the node goes nowhere."""
    ear, witness = Ear(routed.router, "br0"), Witness(routed.node)
    send(
        routed.guest,
        "eth0",
        f.stamp(to_node(f.udp(FREE, GATEWAY6)), 1),
        f.stamp(to_node(f.udp(LINK_LOCAL, GATEWAY6)), 2),
        f.stamp(to_node(f.udp(FREE, TAP_LINK_LOCAL)), 3),
        f.stamp(to_node(f.udp(IP6, GATEWAY6)), 4),
    )
    assert ear.tokens(4) & {1, 2, 3, 4} == {4}
    assert witness.seen() >= {1, 2, 3, 4}


def test_link_local_gateway_is_not_a_source(lab: Lab) -> None:
    gateway = "fe80::1"
    _, node, guest = site(lab, {**ENV, "NETWORK_GATEWAY6": gateway})
    witness = Witness(node)
    forged = (
        to_node(f.udp(gateway, TAP_LINK_LOCAL)),
        to_group(f.na(LINK_LOCAL, gateway, TLLAO)),
        to_group(f.ns("::", gateway)),
    )
    legal = (
        to_node(f.udp("fe80::2", TAP_LINK_LOCAL)),
        to_group(f.na(LINK_LOCAL, "fe80::2", TLLAO)),
        to_group(f.ns("::", "fe80::2")),
    )
    for start in (0, OPEN):
        send(
            guest,
            "eth0",
            *(f.stamp(frame, number) for number, frame in enumerate((*forged, *legal), start + 1)),
        )
        assert until(lambda start=start: start + 6 in witness.seen())
        if not start:
            assert drops(node, "inet") == {
                ("tap0", "ip6-ll-src"): 1,
                ("tap0", "na-target"): 1,
                ("tap0", "dad-target"): 1,
                ("tap0", "service"): 1,  # the first legal one: nothing of the node is open
            }
            without_rules(node)
    assert witness.seen() & {*range(1, 7), *range(OPEN + 1, OPEN + 7)} == {
        4,
        5,
        6,
        *range(OPEN + 1, OPEN + 7),
    }


def test_dhcp_server_on_the_node_gets_a_discover(routed: Site) -> None:
    with routed.node.inside():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap0")
        server.bind(("0.0.0.0", 67))
    server.settimeout(2)
    send(routed.guest, "eth0", to_all(f.dhcp(OTHER_MAC, 1), OTHER_MAC), to_all(f.dhcp(MAC, 1)))
    said, sender = server.recvfrom(2000)
    assert (said[28:34].hex(":"), sender) == (MAC, ("0.0.0.0", 68))


def test_served_nic_is_answered_on_its_tap_only(routed: Site) -> None:
    """What nfdhcpd has had from the tap goes no further; whose NIC it serves stands in a set (filled by hand
    here).
    """
    witness = Witness(routed.node)
    asked = (to_all(f.dhcp(MAC, 1)), to_group(f.dhcp6(LINK_LOCAL, 1)), to_group(f.rs(LINK_LOCAL, SLLAO)))
    send(routed.guest, "eth0", *(f.stamp(frame, number) for number, frame in enumerate(asked, 1)))
    by_hand(routed.node, "inet", served="tap0")
    send(routed.guest, "eth0", *(f.stamp(frame, number) for number, frame in enumerate(asked, 11)))
    assert until(lambda: drops(routed.node, "inet") == {("tap0", "answered"): 3})
    assert witness.seen() & {1, 2, 3, 11, 12, 13} == {1, 2, 3}


# --- neighbours


def answer_time(ear: Ear, asker: Machine, device: str, asked: Sequence[bytes], answers: set[bytes]) -> float:
    """Seconds until all `answers`, parts of frames, have come for what is `asked`, all at once: the least of
    three.

    Others have the CPU, too; a kernel that waits at random, up to 0.8 s, is as good as never that quick for
    all of them.
    """
    return min(_answer_time(ear, asker, device, asked, answers) for _ in range(3))


def _answer_time(ear: Ear, asker: Machine, device: str, asked: Sequence[bytes], answers: set[bytes]) -> float:
    missing = set(answers)

    def complete(frame: bytes) -> bool:
        missing.difference_update([answer for answer in missing if answer in frame])
        return not missing

    start = time.monotonic()
    send(asker, device, *asked)
    heard = ear.frames(3, complete)
    assert not missing
    return heard[-1][0] - start


def arp_answer(mac: str, address: str) -> bytes:
    return b"\0\x02" + f.octets(mac) + f.octets(address)


def na_answer(mac: str, address: str) -> bytes:
    return f.octets(address) + f.option(f.TARGET, mac)


def test_first_arp_of_the_guest_is_answered_at_once(routed: Site) -> None:
    """The kernel's own choice is a random wait of up to 0.8 s: eight questions cannot all be lucky. Table
    main leads nowhere.
    """
    routed.node.ip("rule del to 198.51.100.0/24 lookup 222", "route del 198.51.100.0/24 dev eth1")
    addresses = [GATEWAY, *(f"198.51.100.{number}" for number in range(20, 27))]
    asked = [to_all(f.arp(1, MAC, IP, address)) for address in addresses]
    answers = {arp_answer(TAP_MAC, address) for address in addresses}
    assert answer_time(Ear(routed.guest, "eth0"), routed.guest, "eth0", asked, answers) < 0.1


@pytest.mark.parametrize("source", (IP6, LINK_LOCAL))
def test_kernel_answers_for_the_gateway_at_once(routed: Site, source: str) -> None:
    asked = to_group(f.ns(source, GATEWAY6, SLLAO))
    assert (
        answer_time(Ear(routed.guest, "eth0"), routed.guest, "eth0", [asked], {na_answer(TAP_MAC, GATEWAY6)})
        < 0.1
    )


def test_node_answers_for_its_guest_on_the_uplink_at_once(routed: Site) -> None:
    router, node, _ = routed
    mac, uplink = (
        re.findall(r"link/ether (\S+)", machine.out("ip", "link", "show", "dev", device))[0]
        for machine, device in ((router, "br0"), (node, "eth1"))
    )
    source = f.eui64(mac)
    asked = [
        f.ethernet(mac, f.BROADCAST, f.arp(1, mac, GATEWAY, IP)),
        f.ethernet(mac, f.group_mac(f.solicited_node(IP6)), f.ns(source, IP6, f.option(f.SOURCE, mac))),
    ]
    assert (
        answer_time(
            Ear(router, "br0"), router, "br0", asked, {arp_answer(uplink, IP), na_answer(uplink, IP6)}
        )
        < 0.1
    )


def test_node_does_not_answer_the_guest_for_its_own_addresses(routed: Site) -> None:
    """A guest that looks for duplicates would find one, and give its address up."""
    ear = Ear(routed.guest, "eth0")
    send(
        routed.guest,
        "eth0",
        to_all(f.arp(1, MAC, "0.0.0.0", IP)),
        to_all(f.arp(1, MAC, IP, IP)),
        to_group(f.ns("::", IP6)),
        to_group(f.ns("::", LINK_LOCAL)),
        to_group(f.ns("::", FREE)),
        to_all(f.arp(1, MAC, IP, GATEWAY)),
    )
    heard = ear.frames(2, lambda frame: arp_answer(TAP_MAC, GATEWAY) in frame)
    assert arp_answer(TAP_MAC, GATEWAY) in heard[-1][1]
    assert not [
        frame
        for _, frame in heard[:-1]
        if frame[12:14] == b"\x08\x06" or (frame[20], frame[54]) == (f.ICMP6, f.NA)
    ]


def test_real_tap(lab: Lab) -> None:
    """As QEMU has it: what is written to its file comes from the guest, what is read from it goes to the
    guest.
    """
    node = lab.node("node1", lab.router())
    guest = node.tap("tap0")

    def answered(question: bytes) -> bool:
        os.write(guest, question)
        return until(lambda: arp_answer(TAP_MAC, GATEWAY) in read(), 0.2)

    def read() -> bytes:
        try:
            return os.read(guest, 2000)
        except BlockingIOError:
            return b""

    try:
        node.up(ENV)
        assert answered(to_all(f.arp(1, MAC, IP, GATEWAY)))
        assert not answered(to_all(f.arp(1, MAC, OTHER, GATEWAY)))
        assert not answered(to_all(f.arp(1, MAC, IP, GATEWAY), OTHER_MAC))
        without_rules(node)
        node.ip("rule add iif tap0 lookup 222")
        assert answered(to_all(f.arp(1, MAC, OTHER, GATEWAY))), (
            "the control is not answered either: this test shows nothing"
        )
    finally:
        os.close(guest)


def test_node_asks_in_the_name_of_the_gateway(routed: Site) -> None:
    """For an address routed to the guest by hand, which has no permanent neighbour; the control asks in the
    node's own name.
    """
    ear = Ear(routed.guest, "eth0")
    for address, name in (("198.51.100.20", GATEWAY), ("198.51.100.21", NODE)):
        routed.node.ip(f"route add {address}/32 dev tap0 table 222")
        routed.node.ping(address, wait=0.1, source=NODE)
        asked = ear.first(lambda frame: frame[12:14] == b"\x08\x06")
        assert (asked[20:22], asked[28:32], asked[38:42]) == (b"\0\1", f.octets(name), f.octets(address))
        routed.node.run(
            "nft", "delete", "element", "arp", "snf_network", "gateways", '{ "tap0" }', check=False
        )
        ear.frames(0.05)


def test_forged_neighbours_move_nobody(routed: Site) -> None:
    """With the pins or without them: the node's entries are permanent. Others, put in by hand, are moved once
    the pins are gone.
    """
    _, node, guest = routed
    node.sysctl("net/ipv4/conf/tap0/arp_accept", 1)
    node.sysctl("net/ipv6/conf/tap0/accept_untracked_na", 1)
    others = "198.51.100.20", "2001:db8:1::20"
    node.ip(*(f"neigh add {address} lladdr {MAC} dev tap0 nud stale" for address in others))

    def moved() -> set[str]:
        for address in (IP, others[0]):
            send(
                guest,
                "eth0",
                *(to_all(f.arp(kind, OTHER_MAC, address, address), OTHER_MAC) for kind in (1, 2)),
            )
        for address in (IP6, LINK_LOCAL, others[1]):
            packet = f.na(address, address, NOT_TLLAO)
            send(guest, "eth0", f.ethernet(OTHER_MAC, f.group_mac(f.ALL_NODES), packet))
        return {line.split()[0] for line in lines(node.out("ip", "neigh", "show", "dev", "tap0"), OTHER_MAC)}

    assert moved() == set()
    without_rules(node)
    assert moved() == set(others)


# --- taken back


def test_nothing_is_left_after_down(lab: Lab) -> None:
    env = {**ENV, "TAGS": "synnefo:network:0:limited"}
    router, node, guest = site(lab, None)
    assert traces(node) == []
    node.up(env)
    kinds = " ".join(traces(node))
    for trace in (
        "map inet egress",
        "map arp gateways",
        "unreachable",
        f"{IP} dev tap0 table",
        f"{IP6} dev tap0 table",
        "PERMANENT",
        "proxy",
        "/var/lib/nfdhcpd/tap0",
        "/var/lib/snf-network/shared/",
    ):
        assert trace in kinds
    node.down(env)
    assert traces(node) == []
    assert "state DOWN" in node.out("ip", "link", "show", "dev", "tap0")
    assert not guest.ping(GATEWAY, wait=0.2)
    assert not router.ping(IP, wait=0.2)


def test_nothing_is_left_after_down_of_a_tap_that_is_gone(routed: Site) -> None:
    routed.node.ip("link del tap0")
    routed.node.down(ENV)
    assert traces(routed.node) == []


@pytest.mark.parametrize("other", ({"INTERFACE_UUID": "other"}, {"INSTANCE": "other"}))
def test_down_of_another_nic_takes_nothing(routed: Site, other: dict[str, str]) -> None:
    before = traces(routed.node)
    routed.node.down({**ENV, **other})
    assert traces(routed.node) == before
    assert routed.guest.ping(GATEWAY)


def test_rules_of_a_table_go_with_its_last_nic(routed: Site, lab: Lab) -> None:
    _, node, guest = routed
    second = {
        **ENV,
        "INTERFACE": "tap9",
        "MAC": "aa:00:00:00:00:11",
        "IP": "198.51.100.11",
        "INTERFACE_UUID": "other",
    }
    lab.guest(node, "tap9", second["MAC"])
    node.up(second)
    node.down(second)
    assert guest.ping(GATEWAY)
    assert guest.ping(GATEWAY6)
    assert len(lines("\n".join(traces(node)), "fwmark 0xde")) == 4
    assert not lines("\n".join(traces(node)), "tap9")
    node.down(ENV)
    assert traces(node) == []


def test_second_up_doubles_nothing(routed: Site) -> None:
    before = traces(routed.node)
    routed.node.up(ENV)
    assert sorted(traces(routed.node)) == sorted(before)
    assert routed.guest.ping(GATEWAY)
    routed.node.down(ENV)
    assert traces(routed.node) == []


def test_name_of_a_tap_is_used_again(routed: Site, lab: Lab) -> None:
    """By another instance, without a down in between: first bridged, then routed again."""
    node, tap = routed.node, "tap0"
    fresh = traces(node)
    bridged = environment("add-bridged-ifup-1", INTERFACE=tap)
    node.ip("link del tap0")
    lab.guest(node, tap, bridged["MAC"])
    node.up(bridged)
    assert not lines("\n".join(traces(node)), "proto 148")
    assert not lines("\n".join(traces(node)), "inet routed")
    assert "master prv0" in node.out("ip", "link", "show", "dev", tap)
    node.ip("link del tap0")
    guest = lab.guest(node, tap, MAC, f"{IP}/24", f"{IP6}/64", gateway=GATEWAY, gateway6=GATEWAY6)
    node.up(ENV)
    assert sorted(traces(node)) == sorted(fresh)
    assert guest.ping(GATEWAY)
    assert guest.ping(GATEWAY6)
    node.down(ENV)
    assert traces(node) == []


# --- what tags allow beside

ALLOW = "allow:198.51.100.200 allow:203.0.114.0/24 allow:2001:db8:1::200 allow:2001:db8:77::/64 mac:00:00:5e:00:01:0a"


def allowing(words: str) -> dict[str, str]:
    return {**ENV, "TAGS": " ".join(f"snf-network:0:{word}" for word in words.split())}


def test_allowed_addresses_and_prefixes_are_routed(lab: Lab) -> None:
    """Addresses are answered for on the uplink; for a prefix, the router has to be told who has it."""
    router, node, guest = site(lab, allowing(ALLOW))
    guest.ip(
        "addr add 198.51.100.200/32 dev eth0",
        "addr add 203.0.114.5/32 dev eth0",
        "addr add 2001:db8:1::200/128 dev eth0 nodad",
        "addr add 2001:db8:77::5/128 dev eth0 nodad",
    )
    router.ip(f"route add 203.0.114.0/24 via {IP}", f"-6 route add 2001:db8:77::/64 via {IP6}")
    for address in ("198.51.100.200", "203.0.114.5", "2001:db8:1::200", "2001:db8:77::5"):
        assert router.ping(address), address
        assert guest.ping(GATEWAY6 if ":" in address else GATEWAY, source=address), address
    assert node.script("snf-network", {}, "check").stdout == "clean\n"
    assert drops(node, "inet") + drops(node, "arp") == Counter()


def test_what_is_allowed_no_more_is_gone(lab: Lab) -> None:
    _, node, guest = site(lab, allowing(ALLOW))
    before = traces(node)
    node.up(allowing("allow:203.0.114.0/25 allow:203.0.0.0/16"))
    assert not lines(
        node.out("ip", "route", "show", "table", "222"), "203.0.114.0"
    ) and "5e:00:01:0a" not in str(traces(node))
    assert lines(node.out("ip", "route", "show", "table", "222"), "203.0.0.0/16", f"via {IP}")
    assert node.script("snf-network", {}, "check").stdout == "clean\n"
    node.up(allowing(ALLOW))
    assert sorted(traces(node)) == sorted(before)
    node.down(ENV)
    assert traces(node) == []
    assert guest


def test_allowed_address_of_another_guest_is_refused(lab: Lab) -> None:
    _, node, _ = site(lab)
    lab.guest(node, "tap9", OTHER_MAC)
    other = {
        **allowing(f"allow:{IP}"),
        "INTERFACE": "tap9",
        "MAC": OTHER_MAC,
        "IP": OTHER,
        "INTERFACE_UUID": "other",
        "INSTANCE": "other",
    }
    ran = node.up(other, check=False)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1 and IP in ran.stderr
    assert not [trace for trace in traces(node, records=False) if "tap9" in trace]


def test_the_tap_has_its_link_local_address_at_once(lab: Lab) -> None:
    """After a migration the guest asks for its gateway at once: an address that waits for DAD is no answer."""
    node = lab.node("dad", lab.router())
    node.sysctl(
        "net/ipv6/conf/default/accept_dad", "1"
    )  # the kernel's, which a machine of the lab goes without
    took = []
    for _ in range(8):
        node.ip("link add tap0 type veth peer name far0", "link set far0 up")
        node.up(ENV | {"INTERFACE": "tap0"})
        began = time.monotonic()
        assert until(
            lambda: TAP_LINK_LOCAL in node.out("ip", "-6", "addr", "show", "dev", "tap0", "-tentative")
        )
        took.append(time.monotonic() - began)
        node.down(ENV | {"INTERFACE": "tap0"})
        node.ip("link del tap0")
    assert sorted(took)[6] < 0.06, took


def test_unused_addresses_of_a_subnet_that_is_routed_to_the_node(routed: Site) -> None:
    """What docs/operators.md has for them: told to be unreachable at once, and the guest's own are reached."""
    router, node, _ = routed
    node.ip("addr add 10.0.0.2/30 dev eth1", "route del 198.51.100.0/24 dev eth1 table 222")
    router.ip("addr add 10.0.0.1/30 dev br0", "route add 198.51.100.0/25 via 10.0.0.2 dev br0")
    node.ip(f"route add {GATEWAY} dev eth1 table 222", "route add unreachable 198.51.100.0/25 table 222")
    assert router.ping(IP)
    ran = router.run("ping", "-n", "-c", 1, "-W", 2, OTHER, check=False)
    assert "From 10.0.0.2" in ran.stdout and "Unreachable" in ran.stdout, ran.stdout
