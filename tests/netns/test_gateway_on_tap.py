"""Tag gateway-on-tap, several uplinks, and IPv6 addresses that are not EUI-64."""

from __future__ import annotations

import json
import socket

import pytest

from tests.netns import frames as f
from tests.netns.corpus import GATEWAY, GATEWAY6, IP, IP6, MAC, TAP_MAC, to_all, to_node
from tests.netns.lab import SCRIPTS, Ear, Lab, Machine, drops, environment, lines, send, settled, until
from tests.netns.watching import SECONDS, Watching, own_run

ENV = environment("add-routed-ifup-1", LINK=None, NETWORK_TAGS="gateway-on-tap", TAGS="")
ROUTED = environment("add-routed-ifup-1")
COMMAND = SCRIPTS / "snf-network"
SECOND = {"INTERFACE": "tap1", "INSTANCE": "inst2", "INTERFACE_UUID": "second", "MAC": "aa:00:00:00:00:11"}
SECOND_IP, SECOND_IP6 = "198.51.100.11", "2001:db8:1:0:a800:ff:fe00:11"


@pytest.fixture
def node(lab: Lab) -> Machine:
    """A node whose only network is its guests'."""
    made = lab.machine("node1")
    made.write("/etc/default/snf-network", "NFDHCPD_ENGINE=none\n")
    return made


def guest(lab: Lab, node: Machine, tap: str = "tap0", mac: str = MAC, *addresses: str) -> Machine:
    own = addresses or (f"{IP}/32", f"{IP6}/128")
    return lab.guest(node, tap, mac, *own, gateway=GATEWAY, gateway6=GATEWAY6)


def addresses(node: Machine, device: str) -> set[str]:
    (link,) = json.loads(node.out("ip", "-j", "address", "show", "dev", device))
    return {f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"]}


# --- the gateway on the tap


def test_the_node_is_the_gateway(lab: Lab, node: Machine) -> None:
    """No proxy ARP is needed: there is no other way to the gateway that it could answer for."""
    inside = guest(lab, node)
    node.up(ENV)
    node.sysctl("net/ipv4/conf/tap0/proxy_arp", 0)
    node.sysctl("net/ipv6/conf/tap0/proxy_ndp", 0)
    assert inside.ping(GATEWAY) and inside.ping(GATEWAY6)
    entries = json.loads(inside.out("ip", "-j", "neigh", "show"))
    assert {one["dst"]: one["lladdr"] for one in entries if one["dst"] in (GATEWAY, GATEWAY6)} == {
        GATEWAY: TAP_MAC,
        GATEWAY6: TAP_MAC,
    }
    assert {f"{GATEWAY}/32", f"{GATEWAY6}/128"} < addresses(node, "tap0")
    for family in ("-4", "-6"):
        shown = json.loads(node.out("ip", family, "-j", "route", "show", "table", "main"))
        assert not {GATEWAY, GATEWAY6, "198.51.100.0/24", "2001:db8:1::/64"} & {one["dst"] for one in shown}


def test_the_gateway_is_on_each_tap(lab: Lab, node: Machine) -> None:
    """And stays on the others, when one goes."""
    one = guest(lab, node)
    two = guest(lab, node, "tap1", SECOND["MAC"], f"{SECOND_IP}/32", f"{SECOND_IP6}/128")
    node.up(ENV)
    node.up({**ENV, **SECOND, "IP": SECOND_IP})
    for inside, other, other6 in ((one, SECOND_IP, SECOND_IP6), (two, IP, IP6)):
        assert all(map(inside.ping, (GATEWAY, GATEWAY6, other, other6)))
    assert node.run(COMMAND, "check").stdout.endswith("clean\n")
    node.down(ENV)
    assert two.ping(GATEWAY) and two.ping(GATEWAY6)
    assert not addresses(node, "tap0") & {f"{GATEWAY}/32", f"{GATEWAY6}/128"}


def test_check_misses_it_and_the_tag_takes_it_away(lab: Lab, node: Machine) -> None:
    guest(lab, node)
    node.up(ENV)
    node.ip(f"address del {GATEWAY}/32 dev tap0", f"-6 address del {GATEWAY6}/128 dev tap0")
    said = node.run(COMMAND, "check", check=False)
    assert said.returncode == 1
    assert f"address replace {GATEWAY}/32 dev tap0" in said.stdout
    node.run(COMMAND, "repair")
    assert {f"{GATEWAY}/32", f"{GATEWAY6}/128"} < addresses(node, "tap0")
    assert node.run(COMMAND, "check").stdout.endswith("clean\n")
    node.up({**ENV, "NETWORK_TAGS": ""})
    assert not addresses(node, "tap0") & {f"{GATEWAY}/32", f"{GATEWAY6}/128"}


def test_the_watch_puts_back_what_goes_with_the_link(lab: Lab, node: Machine) -> None:
    """The kernel takes the IPv6 address and the IPv4 route; the metric is as before."""
    own_run(node).write("/etc/default/snf-network", "NFDHCPD_ENGINE=none\nNEWEST_ROUTE_WINS=yes\n")
    guest(lab, node)
    node.up(ENV)
    routes, there = node.out("ip", "route", "show", IP), addresses(node, "tap0")
    assert "metric" in routes and f"{GATEWAY6}/128" in there
    watching = Watching(node)
    try:
        for lines_ in (("link set tap0 down", "link set tap0 up"), (f"route del {IP}/32 dev tap0",)):
            node.ip(*lines_)
            assert until(lambda: addresses(node, "tap0") == there, 2 * SECONDS), watching.said()
            assert until(lambda: node.out("ip", "route", "show", IP) == routes, SECONDS), watching.said()
    finally:
        watching.end()


def test_the_guest_is_not_the_gateway(lab: Lab, node: Machine) -> None:
    inside = guest(lab, node)
    node.up(ENV)
    send(
        inside,
        "eth0",
        to_all(f.arp(2, MAC, GATEWAY, GATEWAY)),
        to_node(f.udp(GATEWAY, IP)),
        to_node(f.udp(GATEWAY6, IP6)),
    )
    assert until(lambda: drops(node, "arp") == {("tap0", "arp-ip"): 1})
    assert until(lambda: drops(node, "inet") == {("tap0", "ip4-src"): 1, ("tap0", "ip6-src"): 1})


# --- several uplinks


@pytest.fixture
def twofold(lab: Lab) -> tuple[Machine, Machine, Machine]:
    """A node with two uplinks, each to a router of its own."""
    routers = lab.router("router"), lab.router("router2")
    node = lab.node("node1", routers[0])
    node.write("/etc/default/snf-network", "NFDHCPD_ENGINE=none\n")
    lab.cable(routers[1], "node1", node, "eth2")
    routers[1].ip("link set node1 master br0 up")
    node.sysctl("net/ipv4/conf/default/rp_filter", 0)
    node.sysctl("net/ipv4/conf/eth2/rp_filter", 0)
    hops = " ".join(f"nexthop via {GATEWAY} dev {device} onlink" for device in ("eth1", "eth2"))
    hops6 = " ".join(f"nexthop via fe80::1 dev {device}" for device in ("eth1", "eth2"))
    for router in routers:
        router.ip("-6 addr add fe80::1/64 dev br0 nodad")
    node.ip(
        "link set eth2 up",
        "rule add iif eth2 lookup 222",
        "-6 rule add iif eth2 lookup 222",
        f"route replace default table 222 {hops}",
        "-6 route del default table 222",
        f"-6 route add default table 222 {hops6}",
    )
    settled(*routers)
    return routers[0], routers[1], node


def proxied(node: Machine, device: str) -> set[str]:
    return {
        word
        for family in ("-4", "-6")
        for line in lines(node.out("ip", family, "neigh", "show", "proxy"), f"dev {device} ")
        for word in line.split()[:1]
    }


def test_guests_are_answered_for_and_announced_on_all_uplinks(
    lab: Lab, twofold: tuple[Machine, Machine, Machine]
) -> None:
    one, two, node = twofold
    inside = lab.guest(node, "tap0", MAC, f"{IP}/24", f"{IP6}/64", gateway=GATEWAY, gateway6=GATEWAY6)
    node.up(ROUTED)
    assert proxied(node, "eth1") == proxied(node, "eth2") == {IP, IP6}
    assert one.ping(IP) and one.ping(IP6)
    (link,) = json.loads(node.out("ip", "-j", "link", "show", "dev", "eth2"))
    for address in (IP, IP6):  # the way back is by the other uplink, as both routers have the same addresses
        two.ping(address, wait=0.2)
        (entry,) = json.loads(two.out("ip", "-j", "neigh", "show", address))
        assert entry["lladdr"] == link["address"]
    assert node.run(COMMAND, "check").stdout.endswith("clean\n")
    for device in ("eth1", "eth2"):
        for family in ("ipv4", "ipv6"):
            node.sysctl(f"net/{family}/conf/{device}/ignore_routes_with_linkdown", 0)
    two.ip("link set node1 down")
    worlds = [f"203.0.113.{number}" for number in range(5)] + [f"2001:db8:f::{number}" for number in range(5)]
    one.ip(*(f"addr add {address} dev lo" for address in worlds))
    assert 0 < sum(inside.ping(address, wait=0.1) for address in worlds) < 10, "the kernel by itself"
    two.ip("link set node1 up")
    node.run(COMMAND, "repair")
    two.ip("link set node1 down")
    assert until(lambda: "dead" in node.out("ip", "route", "show", "table", "222"))
    assert all(inside.ping(address) for address in worlds)
    node.ip("link set eth2 down")
    assert one.ping(IP) and one.ping(IP6) and all(inside.ping(address) for address in worlds)
    two.ip("link set node1 up")
    node.ip("link set eth2 up")
    node.run(COMMAND, "repair")
    assert proxied(node, "eth2") == {IP, IP6} and node.run(COMMAND, "check").stdout.endswith("clean\n")


def test_they_are_announced_on_each(lab: Lab, twofold: tuple[Machine, Machine, Machine]) -> None:
    one, two, node = twofold
    lab.guest(node, "tap0", MAC, f"{IP}/24", f"{IP6}/64", gateway=GATEWAY, gateway6=GATEWAY6)
    ears = [Ear(router, "br0") for router in (one, two)]
    node.up(ROUTED)
    sender = bytes.fromhex("0806") + bytes.fromhex("0001080006040001")
    for ear in ears:
        assert ear.first(lambda frame: sender in frame and socket.inet_aton(IP) in frame)


def test_an_uplink_that_comes_later_is_seen(lab: Lab, twofold: tuple[Machine, Machine, Machine]) -> None:
    node = twofold[2]
    node.ip(f"route replace default via {GATEWAY} dev eth1 onlink table 222")
    lab.guest(node, "tap0", MAC, f"{IP}/24", f"{IP6}/64", gateway=GATEWAY, gateway6=GATEWAY6)
    node.up(ROUTED)
    assert IP not in proxied(node, "eth2")
    hops = " ".join(f"nexthop via {GATEWAY} dev {device} onlink" for device in ("eth1", "eth2"))
    node.ip(f"route replace default table 222 {hops}")
    said = node.run(COMMAND, "check", check=False)
    assert said.returncode == 1 and "eth2" in said.stdout
    node.run(COMMAND, "repair")
    assert IP in proxied(node, "eth2")
    assert node.run(COMMAND, "check").stdout.endswith("clean\n")


def test_a_route_of_a_routing_daemon_is_no_guest(lab: Lab) -> None:
    """A node that is told all routes of a fabric has one to the guest before it comes."""
    router = lab.router()
    node = lab.node("node1", router)
    node.write("/etc/default/snf-network", "NFDHCPD_ENGINE=none\n")
    lab.guest(node, "tap0", MAC, f"{IP}/24", f"{IP6}/64", gateway=GATEWAY, gateway6=GATEWAY6)
    route = f"{IP}/32 via {GATEWAY} dev eth1 proto bird metric 32 onlink"
    for table in ("222", "main"):
        node.ip(f"route add {route} table {table}")
        node.up({**ROUTED, "LINK": table})
        assert router.ping(IP) or table == "main"
        node.down({**ROUTED, "LINK": table})
        assert lines(node.out("ip", "route", "show", "table", table), f"{IP} via"), "it is not ours"


# --- several addresses


def test_a_nic_has_several_addresses_of_each_family(lab: Lab) -> None:
    """Each is as its first one: routed, answered for, pinned, and no other NIC's."""
    further, further6 = "198.51.100.11", "2001:db8:1::11"
    env = {**ROUTED, "TAGS": f"snf-network:0:also:{further} snf-network:0:also:{further6}"}
    router = lab.router()
    node = lab.node("node1", router)
    node.write("/etc/default/snf-network", "NFDHCPD_ENGINE=none\nNEWEST_ROUTE_WINS=yes\n")
    lab.guest(
        node, "tap0", MAC, f"{IP}/24", f"{further}/24", f"{IP6}/64", f"{further6}/64",
        gateway=GATEWAY, gateway6=GATEWAY6,
    )  # fmt: skip
    lab.guest(node, "tap1", "aa:00:00:00:00:02")
    settled(router)
    node.up(env)
    assert all(map(router.ping, (IP, further, IP6, further6)))
    assert proxied(node, "eth1") == {IP, further, IP6, further6}
    assert (
        len(
            {
                line.split("metric")[1]
                for line in lines(node.out("ip", "route", "show", "table", "222"), "dev tap0")
            }
        )
        == 1
    )
    assert node.run(COMMAND, "check").stdout.endswith("clean\n")
    other = {
        **env,
        "INTERFACE": "tap1",
        "MAC": "aa:00:00:00:00:02",
        "IP": "198.51.100.20",
        "INTERFACE_UUID": "b",
    }
    refused = node.up(other, check=False)
    assert refused.returncode == 1 and f"{further} has a route to another device" in refused.stderr
    assert all(map(router.ping, (further, further6)))
    node.down(env)
    assert not proxied(node, "eth1") and not node.out("ip", "route", "show", further, "table", "222")


# --- IPv6 addresses that are not EUI-64


@pytest.mark.parametrize(
    ("changes", "address"),
    (
        ({"NETWORK_TAGS": "ip-less-routed v6-from-v4"}, "2001:db8:1:0:198:51:100:10"),
        ({"TAGS": "snf-network:0:address:2001:db8:1::77"}, "2001:db8:1::77"),
        (
            {"TAGS": "snf-network:0:address:2001:db8:1::77", "NETWORK_SUBNET6": "2001:db8:1::/112"},
            "2001:db8:1::77",
        ),
    ),
)
def test_the_address_is_the_one_that_a_tag_says(lab: Lab, changes: dict[str, str], address: str) -> None:
    """Routed, answered for and pinned; the EUI-64 address is nobody's."""
    router = lab.router()
    node = lab.node("node1", router)
    node.write("/etc/default/snf-network", "NFDHCPD_ENGINE=none\n")
    inside = lab.guest(node, "tap0", MAC, f"{IP}/24", f"{address}/64", gateway=GATEWAY, gateway6=GATEWAY6)
    settled(router)
    node.up({**ROUTED, **changes})
    assert router.ping(address) and inside.ping(GATEWAY6)
    send(inside, "eth0", to_node(f.udp(IP6, "2001:db8:ffff::1")))
    assert until(lambda: drops(node, "inet") == {("tap0", "ip6-src"): 1})
    assert address in node.run(COMMAND, "status", "--wide").stdout
    assert node.run(COMMAND, "check").stdout.endswith("clean\n")
    node.down({**ROUTED, **changes})
    assert not proxied(node, "eth1")
