"""vif-custom under a real Xen: its toolstack calls the installed link, and PV guests report what they
receive.

One boot serves all tests. dom0 is a node as in tests/netns: there is a router beyond its uplink, and on its
private bridge a neighbour in the guests' network and a stranger in another one.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.netns.lab import drops, environment, traces
from tests.xen.dom0 import Dom0, Guest, Neighbour, until, vif, write_nic_file

ROUTED, FILTERED = environment("add-routed-ifup-1"), environment("add-bridged-ifup-1")
GATEWAYS = (ROUTED["NETWORK_GATEWAY"], ROUTED["NETWORK_GATEWAY6"])
ADDRESS6 = "2001:db8:1:0:a800:ff:fead:35c9"
NEIGHBOUR, STRANGER = "203.0.113.2", "203.0.113.3"
NEIGHBOUR_MAC, STRANGER_MAC = "aa:55:60:00:00:02", "aa:66:60:00:00:03"


class Node(NamedTuple):
    """dom0 and all around it."""

    dom0: Dom0
    router: Neighbour
    neighbour: Neighbour
    stranger: Neighbour
    bare: list[str]
    """What it has of ours without a NIC."""


@pytest.fixture(scope="session")
def node(xen: Dom0) -> Node:
    xen.ip("link add prv0 type bridge forward_delay 0", "link set prv0 up")
    router = xen.neighbour("router", "eth1")
    router.ip("addr add 198.51.100.1/24 dev eth0", "addr add 2001:db8:1::1/64 dev eth0 nodad")
    xen.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_public\n")
    xen.ip(
        "route add default via 198.51.100.1 dev eth1 table 222 onlink",
        "-6 route add default via 2001:db8:1::1 dev eth1 table 222 onlink",
        "rule add iif eth1 lookup 222",
        "-6 rule add iif eth1 lookup 222",
    )
    xen.run("snf-network", "load", "snf_public")  # as at boot: emulated, it takes longer than a NIC may wait
    for key in ("all", "eth1"):
        xen.sysctl(f"net/ipv4/conf/{key}/rp_filter", 0)
    neighbour, stranger = (
        private(xen, "neighbour", NEIGHBOUR_MAC, NEIGHBOUR),
        private(xen, "stranger", STRANGER_MAC, STRANGER),
    )
    return Node(xen, router, neighbour, stranger, traces(xen))


def private(xen: Dom0, name: str, mac: str, address: str) -> Neighbour:
    """A host on the private bridge."""
    made = xen.neighbour(name, f"to-{name}")
    xen.ip(f"link set to-{name} master prv0")
    made.ip(f"link set eth0 address {mac}", f"addr add {address}/24 dev eth0")
    return made


@pytest.fixture(scope="session")
def routed(node: Node) -> Guest:
    """A routed dual-stack guest."""
    guest = Guest(
        node.dom0, ROUTED, f"{ROUTED['IP']}/24", f"{ADDRESS6}/64", gateways=GATEWAYS, peers=GATEWAYS
    )
    guest.create()
    return guest


@pytest.fixture(scope="session")
def filtered(node: Node) -> Guest:
    """A guest in a private-filtered network."""
    guest = Guest(node.dom0, FILTERED, f"{FILTERED['IP']}/24", peers=(NEIGHBOUR, STRANGER))
    guest.create()
    return guest


def is_clean(xen: Dom0) -> bool:
    """True if `snf-network check` has nothing to say."""
    ran = xen.run("snf-network", "check", check=False)
    return (ran.returncode, ran.stdout) == (0, "clean\n")


def of(xen: Dom0, interface: str) -> list[str]:
    """All that is ours and of one vif."""
    return [trace for trace in traces(xen) if interface in trace]


def test_xen_calls_the_link_that_the_package_made(xen: Dom0) -> None:
    assert xen.out("readlink", "-f", "/etc/xen/scripts/vif-custom") == "/usr/lib/snf-network/vif-custom\n"


def test_routed_guest_answers_in_both_families(node: Node, routed: Guest) -> None:
    assert all(routed.hears(gateway) for gateway in GATEWAYS)
    assert {ROUTED["IP"], ADDRESS6} <= node.router.heard()
    assert node.router.ping(ROUTED["IP"]) and node.router.ping(ADDRESS6)
    assert node.dom0.out("stat", "-c", "%a", f"/var/lib/nfdhcpd/{routed.interface}") == "644\n"


def test_filtered_guest_answers_its_network_and_no_other(node: Node, filtered: Guest) -> None:
    assert filtered.hears(NEIGHBOUR)
    assert {FILTERED["IP"], FILTERED["MAC"]} <= node.neighbour.heard()
    assert node.neighbour.ping(FILTERED["IP"])
    assert not node.stranger.ping(FILTERED["IP"])
    assert "answers" not in filtered.tried(STRANGER)


# --- a guest that is not what its NIC file says


class Forgery(NamedTuple):
    """What Ganeti says of a NIC, and how the guest really is."""

    env: dict[str, str]
    addresses: tuple[str, ...]
    peers: tuple[str, ...]
    mac: str
    families: tuple[str, ...]
    reasons: frozenset[str]


def like(base: dict[str, str], number: int, **changes: str) -> dict[str, str]:
    """The NIC of one more instance like another."""
    unique = {
        "INSTANCE": f"forger{number}.example.com",
        "INTERFACE_UUID": f"5ac0de01-0000-4000-8000-00000000010{number}",
    }
    return {**base, **unique, **changes}


OTHER_MAC = "aa:00:00:00:00:66"
FORGERIES = {
    "routed, other addresses": Forgery(
        like(ROUTED, 1, IP="198.51.100.11", MAC="aa:00:00:00:00:11"),
        ("198.51.100.66/24", "2001:db8:1::66/64"),
        GATEWAYS,
        "",
        ("inet", "arp"),
        frozenset(("ip6-src", "arp-ip")),
    ),
    "routed, other MAC": Forgery(
        like(ROUTED, 2, IP="198.51.100.12", MAC="aa:00:00:00:00:12"),
        ("198.51.100.12/24", "2001:db8:1:0:a800:ff:fe00:12/64"),
        GATEWAYS,
        OTHER_MAC,
        ("inet", "arp"),
        frozenset(("src-mac",)),
    ),
    "filtered, other MAC": Forgery(
        like(FILTERED, 3, IP="203.0.113.13", MAC="aa:55:60:00:00:13"),
        ("203.0.113.13/24",),
        (NEIGHBOUR,),
        "aa:55:60:00:00:66",
        ("bridge",),
        frozenset(("src-mac",)),
    ),
}


@pytest.fixture(scope="session")
def forgers(node: Node) -> dict[str, Guest]:
    """All of them, started one after another."""
    made = {}
    for name, forgery in FORGERIES.items():
        made[name] = Guest(
            node.dom0,
            forgery.env,
            *forgery.addresses,
            gateways=forgery.peers if "routed" in name else (),
            peers=forgery.peers,
            mac=forgery.mac,
        )
        made[name].create()
    return made


@pytest.mark.parametrize("name", FORGERIES)
def test_forger_gets_nothing_through(node: Node, forgers: dict[str, Guest], name: str) -> None:
    forger, forgery = forgers[name], FORGERIES[name]
    for peer in forgery.peers:
        assert "answers" not in forger.tried(peer, 3)
    interface = forger.interface
    reasons = {
        reason
        for family in forgery.families
        for dropped, reason in drops(node.dom0, family)
        if dropped == interface
    }
    assert forgery.reasons <= reasons, reasons
    forged = {forgery.mac, *(address.partition("/")[0] for address in forgery.addresses)}
    assert not forged & (node.router.heard() | node.neighbour.heard() | node.stranger.heard())


def test_check_is_clean_with_all_of_them(
    node: Node, routed: Guest, filtered: Guest, forgers: dict[str, Guest]
) -> None:
    assert is_clean(node.dom0)


# --- down


def test_detached_nic_leaves_nothing_and_the_other_works_on(node: Node, routed: Guest) -> None:
    second = like(
        FILTERED, 9, INSTANCE=routed.name, MAC="aa:55:60:00:00:19", IP="203.0.113.19", INTERFACE_INDEX="1"
    )
    write_nic_file(node.dom0, second)
    interface = f"{routed.interface[:-1]}1"
    before = traces(node.dom0)
    node.dom0.run("xl", "network-attach", routed.name, *vif(second).split(", "))
    assert "master prv0" in node.dom0.out("ip", "link", "show", interface)
    assert of(node.dom0, interface)
    node.dom0.run("xl", "network-detach", routed.name, "1")
    assert traces(node.dom0) == before
    assert node.router.ping(ROUTED["IP"]) and node.router.ping(ADDRESS6)


@pytest.mark.parametrize(("name", "value"), (("MAC", "$(reboot)"), ("LINK", "nosuch")))
def test_unusable_nic_file_fails_the_creation_with_our_line(node: Node, name: str, value: str) -> None:
    before = traces(node.dom0)
    env = like(ROUTED, 8, IP="198.51.100.18", MAC="aa:00:00:00:00:18")
    guest = Guest(node.dom0, env)
    write_nic_file(node.dom0, {**env, name: value})
    ran = guest.create(check=False)
    assert ran.returncode
    # libxl prints what it reads in hotplug-error, and takes the device's directory in xenstore away
    (line,) = (line.partition(" script: ")[2] for line in ran.stderr.splitlines() if " script: " in line)
    assert line.startswith(f"{name}=") and value in line
    assert traces(node.dom0) == before


ENDS = {
    "shut down": ("shutdown", "routed"),
    "crashed": ("sysrq", "filtered", "c"),
    "destroyed": ("destroy", "routed, other addresses"),
}


@pytest.mark.parametrize("end", ENDS)
def test_ended_guest_leaves_nothing(
    node: Node, routed: Guest, filtered: Guest, forgers: dict[str, Guest], end: str
) -> None:
    command, name, *rest = ENDS[end]
    guest = {"routed": routed, "filtered": filtered, **forgers}[name]
    interface = guest.interface
    assert of(node.dom0, interface)
    node.dom0.run("xl", command, guest.name, *rest)
    until(lambda: not of(node.dom0, interface), 60, f"{interface} leaves nothing")


def test_check_is_clean_among_what_is_left(node: Node) -> None:
    assert is_clean(node.dom0)


def test_nothing_is_left_when_all_are_gone(node: Node, forgers: dict[str, Guest]) -> None:
    for name in list(forgers)[1:]:
        node.dom0.run("xl", "destroy", forgers[name].name)
    until(lambda: traces(node.dom0) == node.bare, 60, "nothing is left")
    assert is_clean(node.dom0)
