"""A guest with temporary addresses (RFC 8981) may use any address of its /64, for any time, but never the
gateway's.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, drops, environment, send, settled, until

MAC, OTHER_MAC = "aa:00:00:ad:35:c9", "aa:55:60:00:00:11"
ROUTED = environment("add-routed-ifup-1", TAGS="snf-network:0:allow:2001:db8:1::/64")
IP6, GATEWAY6, TEMPORARY = (
    "2001:db8:1:0:a800:ff:fead:35c9",
    "2001:db8:1::1",
    "2001:db8:1:0:1234:5678:9abc:def0",
)
TAP_LOCAL = "fe80::ce47:52ff:fe4e:4554"
BRIDGED = environment(
    "start-nonet-ifup-1",
    MAC=MAC,
    IP="203.0.113.12",
    NETWORK_TAGS="ip-filtered",
    NETWORK_SUBNET6="2001:db8:1::/64",
    NETWORK_GATEWAY6=GATEWAY6,
    INTERFACE_INDEX="0",
    TAGS="snf-network:0:allow:2001:db8:1::/64",
)


def with_address(guest: Machine) -> None:
    """The guest takes a temporary address, after duplicate address detection as its stack does it."""
    guest.sysctl("net/ipv6/conf/eth0/accept_dad", 1)
    guest.ip(f"addr add {TEMPORARY}/64 dev eth0")
    assert until(lambda: "tentative" not in guest.out("ip", "-6", "addr", "show", "dev", "eth0"), 5)
    assert "dadfailed" not in guest.out("ip", "-6", "addr", "show", "dev", "eth0")


def test_routed(lab: Lab) -> None:
    router = lab.router()
    node = lab.node("node1", router)
    guest = lab.guest(node, ROUTED["INTERFACE"], MAC, f"{IP6}/64")
    assert node.up(ROUTED).stderr == ""
    settled(router, node)
    guest.ip(f"-6 route add {GATEWAY6}/128 via {TAP_LOCAL} dev eth0")
    router.ip(f"-6 route add {TEMPORARY}/128 via {IP6}")
    with_address(guest)
    assert guest.ping(GATEWAY6, source=TEMPORARY), "the gateway is still where it was"
    assert router.ping(TEMPORARY)
    before = drops(node, "inet")
    tap = node.read(f"/sys/class/net/{ROUTED['INTERFACE']}/address").strip()
    send(guest, "eth0", f.ethernet(MAC, tap, f.udp(GATEWAY6, "2001:db8:1::66")))
    assert until(lambda: (drops(node, "inet") - before)[ROUTED["INTERFACE"], "ip6-src"] == 1)
    assert node.script("snf-network", {}, "check").stdout == "clean\n"
    node.down(ROUTED)
    assert "proto 148" not in node.out("ip", "-6", "route", "show", "table", "222")


def test_ip_filtered(lab: Lab) -> None:
    node = lab.node("node1", lab.router())
    guest = lab.guest(node, BRIDGED["INTERFACE"], MAC, f"{IP6}/64")
    far = lab.guest(node, "tap9", OTHER_MAC, f"{GATEWAY6}/64")
    node.ip("link set tap9 master prv0 up")
    assert node.up(BRIDGED).stderr == ""
    settled(node)
    with_address(guest)
    assert guest.ping(GATEWAY6, source=TEMPORARY)
    far.ip("neigh flush all")
    assert far.ping(TEMPORARY)
    ear, local = Ear(far, "eth0"), f.eui64(MAC)
    forged = (
        f.udp(GATEWAY6, "2001:db8:1::66"),
        f.na(local, GATEWAY6, f.option(f.TARGET, MAC)),
        f.na(GATEWAY6, GATEWAY6),
        f.ns("::", GATEWAY6),
        f.udp(TEMPORARY, "2001:db8:1::66"),
    )
    with closing(ear.socket):
        send(
            guest, "eth0", *(f.stamp(f.ethernet(MAC, f.BROADCAST, one), n) for n, one in enumerate(forged, 1))
        )
        assert ear.tokens(5) & set(range(1, 6)) == {5}
    assert node.script("snf-network", {}, "check").stdout == "clean\n"


@pytest.mark.parametrize("env", (ROUTED, BRIDGED), ids=("routed", "ip-filtered"))
@pytest.mark.parametrize("value", (f"{GATEWAY6}", f"{GATEWAY6}/128"))
def test_the_gateway_by_itself_is_refused(lab: Lab, env: dict[str, str], value: str) -> None:
    node = lab.node("node1", lab.router())
    lab.guest(node, env["INTERFACE"], MAC)
    ran = node.up({**env, "TAGS": f"snf-network:0:allow:{value}"}, check=False)
    assert ran.returncode == 1 and "has the gateway" in ran.stderr
