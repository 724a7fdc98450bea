"""A kernel without IPv6 (ipv6.disable=1): all of IPv4 works, and a network that asks for IPv6 causes one
warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns.lab import Lab, Machine, environment, settled, traces
from tests.qemu.taps import CLEAN, loaded, snf_network

pytestmark = pytest.mark.vm("ipv6.disable=1")
DUAL = environment("add-routed-ifup-1")
SINGLE = {key: value for key, value in DUAL.items() if key not in ("NETWORK_SUBNET6", "NETWORK_GATEWAY6")}
FILTERED = environment("add-bridged-ifup-1")
DUAL_FILTERED = {**FILTERED, "NETWORK_SUBNET6": "2001:db8:b::/64", "NETWORK_GATEWAY6": "2001:db8:b::1"}
OTHER = {
    **FILTERED,
    "INTERFACE": "tap9",
    "MAC": "aa:55:60:00:00:11",
    "IP": "203.0.113.2",
    "INTERFACE_UUID": "other",
    "INSTANCE": "other",
}
GATEWAY = "198.51.100.1"


class Site(NamedTuple):
    """A router; a node with table 222 and the bridge prv0; a guest on a routed tap, and two on filtered
    ones.
    """

    router: Machine
    node: Machine
    routed: Machine
    filtered: Machine


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with closing(Lab()) as lab:
        router, node = lab.machine("router"), lab.machine("node1")
        lab.cable(node, "eth1", router, "eth0")
        router.ip(f"addr add {GATEWAY}/24 dev eth0", "link set eth0 up")
        node.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_public\n")
        node.run(
            "ip",
            "-batch",
            "-",
            input=f"""link set eth1 up
            route add default via {GATEWAY} dev eth1 onlink table 222
            rule add iif eth1 lookup 222
            link add prv0 type bridge forward_delay 0
            link set prv0 up""",
        )
        for name in ("all", "eth1"):
            node.sysctl(f"net/ipv4/conf/{name}/rp_filter", 0)
        routed = lab.guest(node, "tap0", DUAL["MAC"], f"{DUAL['IP']}/24", gateway=GATEWAY)
        filtered, _ = (
            lab.guest(node, env["INTERFACE"], env["MAC"], f"{env['IP']}/24") for env in (FILTERED, OTHER)
        )
        assert loaded(node)
        assert node.up(OTHER).stderr == ""
        yield Site(router, node, routed, filtered)


def test_kernel_has_no_ipv6(site: Site) -> None:
    """Or the rest shows nothing."""
    assert site.node.run("test", "-e", "/proc/sys/net/ipv6", check=False).returncode == 1


@pytest.mark.parametrize(("env", "warnings"), ((SINGLE, 0), (DUAL, 1)), ids=("IPv4 only", "dual stack"))
def test_routed(site: Site, env: dict[str, str], warnings: int) -> None:
    ran = site.node.up(env)
    assert ran.stderr.count("\n") == warnings
    assert ran.stderr.startswith("kvm-ifup-custom: warning: ") is bool(warnings)
    assert "IPv6" in ran.stderr or not warnings
    site.router.ip("neigh flush all")
    assert site.routed.ping(GATEWAY)
    assert site.router.ping(env["IP"])
    assert snf_network(site.node, "check") == CLEAN
    site.node.down(env)
    assert not [line for line in traces(site.node) if env["INTERFACE"] in line or "148" in line]


@pytest.mark.parametrize("env", (FILTERED, DUAL_FILTERED), ids=("IPv4 only", "dual stack"))
def test_filtered(site: Site, env: dict[str, str]) -> None:
    """A bridge carries IPv6 whether the node knows it or not: there is nothing to warn of."""
    assert site.node.up(env).stderr == ""
    settled(site.node)
    assert site.filtered.ping(OTHER["IP"])
    assert snf_network(site.node, "check") == CLEAN
    site.node.down(env)
    assert not [line for line in traces(site.node) if env["INTERFACE"] in line]


def test_repair(site: Site) -> None:
    site.node.up(DUAL)
    site.node.run("nft", "flush", "ruleset")
    site.node.ip("rule flush protocol 148")
    assert snf_network(site.node, "repair")[0] == 0
    assert site.routed.ping(GATEWAY)
    site.node.down(DUAL)


def test_load_of_a_table(site: Site) -> None:
    assert snf_network(site.node, "load", "snf_public")[0] == 0
    assert site.node.out("ip", "rule").count("fwmark 0xde") == 2
