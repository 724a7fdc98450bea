"""Tag isolated: guests of a shared bridge reach the gateway, and no other guest, on this node or another."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.netns.lab import Lab, Machine, environment, settled

GATEWAY = "203.0.113.254"
OUTSIDE = "02:00:00:00:00:fe"


def nic(number: int, tags: str = "isolated ip-filtered") -> dict[str, str]:
    return environment(
        "start-nonet-ifup-1",
        INTERFACE=f"tap{number}",
        INTERFACE_INDEX="0",
        INTERFACE_UUID=f"nic-{number}",
        INSTANCE=f"vm{number}",
        MAC=f"aa:00:00:00:00:0{number}",
        IP=f"203.0.113.{number}",
        NETWORK_TAGS=tags,
        TAGS="",
    )


class Site:
    """Guests 1 and 2 on one node, 3 on another, and their gateway on the switch between them."""

    def __init__(self, lab: Lab) -> None:
        router = lab.router()
        self.gateway = lab.machine("gateway")
        self.gateway.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0")
        self.gateway.ip(f"link set br0 address {OUTSIDE} up", f"addr add {GATEWAY}/24 dev br0")
        self.nodes = [lab.node(f"node{number}", router) for number in (1, 2)]
        for number, node in enumerate(self.nodes):
            lab.cable(self.gateway, f"port{number}", node, "eth2")
            self.gateway.ip(f"link set port{number} master br0 up")
            node.ip("link set eth2 master prv0 up")
        self.guests: dict[int, Machine] = {}
        for number in (1, 2, 3):
            guest = lab.guest(self.of(number), f"tap{number}", nic(number)["MAC"], f"203.0.113.{number}/24")
            self.guests[number] = guest
        settled(self.gateway, *self.nodes)

    def of(self, number: int) -> Machine:
        return self.nodes[number == 3]

    def up(self, *tags: str) -> None:
        for number, some in enumerate(tags, 1):
            assert self.of(number).up(nic(number, some)).stderr == ""
        settled(*self.nodes)

    def pairs(self) -> set[tuple[int, int]]:
        """Who reaches whom."""
        return {
            (one, other)
            for one, other in permutations(self.guests, 2)
            if self.guests[one].ping(f"203.0.113.{other}", wait=0.3)
        }


@pytest.fixture
def site(lab: Lab) -> Site:
    return Site(lab)


@pytest.mark.parametrize("tags", ("isolated", "isolated ip-filtered", "isolated nfdhcpd"))
def test_guests_reach_their_gateway_alone(site: Site, tags: str) -> None:
    site.up(tags, tags, tags)
    for guest in site.guests.values():
        assert guest.ping(GATEWAY)
    assert site.pairs() == set()


def test_without_the_tag_they_reach_each_other(site: Site) -> None:
    """The control; and a tag that a live NIC loses and gets."""
    site.up("isolated", "isolated", "isolated")
    site.up("", "ip-filtered", "")
    assert site.pairs() == set(permutations(site.guests, 2))
    assert site.of(1).out("cat", "/sys/class/net/tap1/brport/isolated").strip() == "0"
    site.up("isolated", "ip-filtered", "")
    assert site.pairs() == {(2, 3), (3, 2)}


def test_a_forged_mac_does_not_help_on_the_same_node(site: Site) -> None:
    """The bridge itself keeps them apart, whatever the source says; without `ip-filtered` nothing pins it."""
    site.up("isolated", "isolated", "isolated")
    site.guests[1].ip("link set eth0 address 02:00:00:00:00:11")
    assert site.guests[1].ping(GATEWAY)
    assert not site.guests[1].ping("203.0.113.2", wait=0.3)


def test_a_flag_that_somebody_takes_away_comes_back(site: Site) -> None:
    node = site.of(1)
    site.up("isolated", "isolated")
    node.run("bridge", "link", "set", "dev", "tap1", "isolated", "off")
    ran = node.script("snf-network", {}, "check", check=False)
    assert ran.returncode == 1 and "isolated" in ran.stdout
    node.script("snf-network", {}, "repair")
    assert node.out("cat", "/sys/class/net/tap1/brport/isolated").strip() == "1"
    node.down(nic(1))
    assert "tap1" not in node.out("bridge", "link")


@pytest.mark.parametrize(
    ("tags", "said"),
    (
        ("isolated private-filtered", "tags isolated and private-filtered contradict each other"),
        ("isolatd", "did you mean isolated?"),
    ),
)
def test_what_cannot_be_is_refused(site: Site, tags: str, said: str) -> None:
    ran = site.of(1).up(nic(1, tags), check=False)
    assert ran.returncode == 1 and said in ran.stderr
