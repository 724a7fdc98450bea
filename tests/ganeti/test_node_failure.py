"""A node dies, and Ganeti starts its guests on another node. Neighbours find them at once, because the guests
are announced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.ganeti.cluster import DOMAIN, HOSTS, Cluster
from lab.ganeti.instance import Instance, public
from tests.netns.lab import Machine, until

HOUR = 3600_000
"""What many routers keep an entry of their ARP cache for, in ms. That of this kernel would be half a minute.
"""
DEAF = """
table arp deaf {
	chain input { type filter hook input priority 0; arp saddr ip %(ip)s meta pkttype broadcast counter drop; }
}
table ip6 deaf {
	chain input { type filter hook input priority 0; ip6 saddr %(ip6)s icmpv6 type nd-neighbor-advert meta pkttype multicast counter drop; }
}
"""
"""The router hears all of a guest but its gratuitous ARP and unsolicited neighbour advertisements."""


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[tuple[Instance, Instance]]:
    """Two alike on node 2. Afterwards they are gone, and another machine is node 2."""
    made = [Instance(cluster, name, public(number)) for name, number in (("announced", 30), ("silenced", 31))]
    for instance in made:
        instance.add("node2")
    for instance in made:
        instance.awake()
    yield made[0], made[1]
    cluster.replace("node2")
    for instance in made:
        instance.gnt("remove", "-f", "--shutdown-timeout=0")


def cached(router: Machine, instance: Instance) -> list[tuple[str, str]]:
    """MAC and state of its addresses in the router's caches."""
    found = [
        json.loads(router.out("ip", "-j", "neigh", "show", address))
        for address in (instance.nics[0].ip, instance.nics[0].ip6)
    ]
    return [(entry["lladdr"], entry["state"][0]) for entries in found for entry in entries]


def answers(router: Machine, instance: Instance, count: int) -> list[bool]:
    """Whether it answers the router's pings, by IPv4 and by IPv6."""
    return [router.ping(address, count=count) for address in (instance.nics[0].ip, instance.nics[0].ip6)]


@contextmanager
def in_place_of(cluster: Cluster, name: str) -> Iterator[None]:
    """Somebody refuses Ganeti's connections to a dead node, so that it need not wait half a minute for its
    time-outs.
    """
    address = f"{HOSTS[name]}/24"
    cluster.router.ip(f"addr add {address} dev mgmt0")
    cluster.master.ip("neigh flush dev eth0")
    yield
    cluster.router.ip(f"addr del {address} dev mgmt0")
    cluster.master.ip("neigh flush dev eth0")


def test_announcements_make_the_router_find_a_guest_after_its_node_died(
    cluster: Cluster, pair: tuple[Instance, Instance]
) -> None:
    announced, silenced = pair
    router = cluster.router
    for family in ("ipv4", "ipv6"):
        router.sysctl(f"net/{family}/neigh/br0/base_reachable_time_ms", HOUR)
    uplinks = {
        name: node.out("cat", "/sys/class/net/eth1/address").strip() for name, node in cluster.nodes.items()
    }
    for instance in pair:
        assert until(lambda instance=instance: all(answers(router, instance, 1)), 30)
        assert cached(router, instance) == [(uplinks["node2"], "REACHABLE")] * 2
    nic = silenced.nics[0]
    router.run("nft", "-f", "-", input=DEAF % {"ip": nic.ip, "ip6": nic.ip6})

    cluster.kill("node2")
    with in_place_of(cluster, "node2"):
        cluster.gnt("node", "modify", "--offline=yes", "--force", f"node2.{DOMAIN}")
        cluster.gnt("node", "failover", "-f", "--ignore-consistency", f"node2.{DOMAIN}")
    for instance in pair:
        assert instance.node is cluster.master
        instance.awake()

    assert answers(router, announced, 1) == [True, True]
    assert {mac for mac, _ in cached(router, announced)} == {uplinks["node1"]}
    # only the cache stands between the router and the other one, and it stands for an hour
    assert answers(router, silenced, 3) == [False, False]
    assert cached(router, silenced) == [(uplinks["node2"], "REACHABLE")] * 2
    router.ip("neigh flush dev br0")
    assert answers(router, silenced, 3) == [True, True]
    cluster.check()
