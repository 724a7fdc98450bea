"""What each kind of network puts on a node, as the lines that an admin could type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from snf_network.addresses import is_alias
from snf_network.host.wireguard import NEVER
from snf_network.model.networks import (
    Bridge,
    Evpn,
    Member,
    Networks,
    Overlay,
    Routed,
    Site,
    Underlay,
    WireGuard,
)
from snf_network.model.node import overlay_of
from snf_network.model.resources.all import ALL_KINDS
from snf_network.model.resources.frr import BEGIN, END, FrrBlock, has_block
from snf_network.model.resources.tunnel import Seen, SeenPeer, TunnelPeer
from snf_network.networks import evpn, wanted
from snf_network.networks.overlay import alias, guest_mtu

if TYPE_CHECKING:
    from snf_network.model.networks import Network

SITE = Site("10.99.0.1", ("10.99.0.2", "10.99.0.3"))
BRIDGE = "type bridge forward_delay 0 stp_state 0 mcast_snooping 0 no_linklocal_learn 1"


def lines(*networks: Network, site: Site = SITE, underlay: Underlay = Underlay()) -> dict[str, list[str]]:  # noqa: B008
    made = wanted(Networks(underlay, networks), site)
    for resources in made.values():  # what a record says of it is the same again
        assert [ALL_KINDS[type(one).__name__].read(one.fields()) for one in resources] == list(resources)
        assert not [one for one in resources if one.unsound()]
    return {name: [one.command for one in resources] for name, resources in made.items()}


def test_an_overlay() -> None:
    assert lines(Overlay("prv0", (100,), "ov100")) == {
        "underlay": [
            "nft add element inet snf_network vteps { 10.99.0.2 }",
            "nft add element inet snf_network vteps { 10.99.0.3 }",
            "nft add element inet snf_network vtep_self { 10.99.0.1 }",
            "nft add element inet snf_network vxlan_ports { 4789 }",
        ],
        "prv0": [
            'nft add element bridge snf_network overlays { "vx100" }',
            f"ip link add name ov100 mtu 65535 group 148 {BRIDGE}",
            "ip link set dev ov100 addrgenmode none",
            "ip link set dev ov100 mtu 1500 up",
            'ip link set dev ov100 alias "snf-network overlay prv0"',
            "ip link add name vx100 group 148 type vxlan id 100 dstport 4789 local 10.99.0.1 ttl 64 tos 0x2 learning",
            "ip link set dev vx100 addrgenmode none",
            "ip link set dev vx100 mtu 1500 master ov100",
            "ip link set dev vx100 type bridge_slave learning on",
            "ip link set dev vx100 type bridge_slave neigh_suppress off",
            "bridge fdb append 00:00:00:00:00:00 dev vx100 dst 10.99.0.2 self permanent",
            "bridge fdb append 00:00:00:00:00:00 dev vx100 dst 10.99.0.3 self permanent",
            "ip link set dev vx100 up",
        ],
    }


def test_a_gateway() -> None:
    network = Overlay(*("prv0", (100,), "ov100"), gateway=("198.51.100.1/24", "2001:db8:1::1/64"), table=222)
    plain = lines(Overlay("prv0", (100,), "ov100"))["prv0"]
    local = "fe80::53:4eff:fe00:64"
    added = [
        'nft add element bridge snf_network ingress { "vx100" : goto beyond }',
        'nft add element bridge snf_network prefixed { "vx100" }',
        'nft add element bridge snf_network router_ips { "vx100" . 198.51.100.1 }',
        'nft add element bridge snf_network routers { "vx100" . 2001:db8:1::1 }',
        'nft add element bridge snf_network router_targets { "vx100" . 0x20010db8000100000000000000000001 }',
        f'nft add element bridge snf_network routers {{ "vx100" . {local} }}',
        'nft add element bridge snf_network router_targets { "vx100" . 0xfe80000000000000 }'.replace(
            "0000 }", "000000534efffe000064 }"
        ),
        "ip link set dev ov100 address 02:53:4e:00:00:64 mtu 1500 up",
        "sysctl net/ipv4/conf/ov100/forwarding=1",
        "sysctl net/ipv4/conf/ov100/arp_ignore=1",
        "sysctl net/ipv4/conf/ov100/arp_announce=2",
        "sysctl net/ipv6/conf/all/forwarding=1",
        "sysctl net/ipv6/conf/ov100/forwarding=1",
        "sysctl net/ipv6/conf/ov100/accept_ra=0",
        "ip addr replace 198.51.100.1/24 dev ov100",
        "ip addr replace 2001:db8:1::1/64 dev ov100 nodad",
        f"ip addr replace {local}/64 dev ov100 nodad",
        "ip -4 rule add pref 14700 iif ov100 lookup 222 proto 148",
        "ip -4 rule add pref 14701 iif ov100 unreachable proto 148",
        "ip -6 rule add pref 14700 iif ov100 lookup 222 proto 148",
        "ip -6 rule add pref 14701 iif ov100 unreachable proto 148",
        "ip route replace 198.51.100.0/24 dev ov100 table 222 proto 148",
        "ip route replace 2001:db8:1::/64 dev ov100 table 222 proto 148",
    ]
    made = lines(network)["prv0"]
    assert [line for line in made if line not in plain] == added
    assert [line for line in plain if line not in made] == ["ip link set dev ov100 mtu 1500 up"]
    ipv4 = lines(network, site=Site("10.99.0.1", ipv6=False))["prv0"]
    assert 'ingress { "vx100" : goto beyond4 }' in ipv4[1] and not [line for line in ipv4 if "::" in line]


def test_overlays_share_the_underlay_and_each_vni_has_its_devices() -> None:
    made = lines(
        Overlay("prv0", (7, 9), "t{vni}x", 9000),
        site=Site("fd99::1", ("fd99::2",), ipv6=False),
        underlay=Underlay(port=4790),
    )
    assert made["underlay"] == [
        "nft add element inet snf_network vteps6 { fd99::2 }",
        "nft add element inet snf_network vtep_self6 { fd99::1 }",
        "nft add element inet snf_network vxlan_ports { 4790 }",
    ]
    assert [line for line in made["prv0"] if "link add " in line or "mtu" in line] == [
        f"ip link add name t7x mtu 65535 group 148 {BRIDGE}",
        "ip link set dev t7x mtu 9000 up",
        "ip link add name vx7 group 148 type vxlan id 7 dstport 4790 local fd99::1 ttl 64 tos 0x2 learning",
        "ip link set dev vx7 mtu 9000 master t7x",
        f"ip link add name t9x mtu 65535 group 148 {BRIDGE}",
        "ip link set dev t9x mtu 9000 up",
        "ip link add name vx9 group 148 type vxlan id 9 dstport 4790 local fd99::1 ttl 64 tos 0x2 learning",
        "ip link set dev vx9 mtu 9000 master t9x",
    ]
    assert not [line for line in made["prv0"] if "addrgenmode" in line]


@pytest.mark.parametrize(
    ("mtu", "told", "site", "expected"),
    [
        (1500, 0, Site("10.99.0.1", mtu=1500), 1450),
        (1500, 0, Site("fd99::1", mtu=1500), 1430),
        (1500, 0, Site("10.97.0.1", mtu=1420), 1370),
        (1500, 0, Site("10.99.0.1", mtu=9000), 1500),
        (9000, 0, Site("10.99.0.1", mtu=9000), 8950),
        (1500, 0, Site("10.99.0.1", mtu=1300), 1280),
        (1500, 0, Site("10.99.0.1"), 1500),
        (1500, 1400, Site("10.99.0.1", mtu=9000), 1400),
    ],
)
def test_what_guests_are_told_as_their_mtu(mtu: int, told: int, site: Site, expected: int) -> None:
    network = Overlay("prv0", (100,), "ov100", mtu, told)
    assert guest_mtu(network, site) == expected
    said = alias(network, site)
    assert overlay_of(said) == ("prv0", expected if expected < mtu else 0) and is_alias(said)


@pytest.mark.parametrize(
    "alias",
    ["", "n", "snf-network", "snf-network overlay", "snf-network overlay ", "guest_mtu 1400"]
    + [
        f"snf-network overlay n guest_mtu {value}"
        for value in ("", "1279", "65536", "1e3", "-1", "\u0661\u0664\u0660\u0660")
    ],
)
def test_an_alias_of_another_form_tells_of_no_mtu(alias: str) -> None:
    assert overlay_of(alias)[1] == 0


def test_a_bridge() -> None:
    assert lines(Bridge("trunk0", "trunk0", ("bond0", "eth3"), 9000)) == {
        "trunk0": [
            f"ip link add name trunk0 mtu 65535 group 148 {BRIDGE}",
            "ip link set dev trunk0 addrgenmode none",
            "ip link set dev trunk0 mtu 9000 up",
            "ip link set dev bond0 master trunk0",
            "ip link set dev eth3 master trunk0",
        ]
    }


def test_a_bridge_that_filters_vlans() -> None:
    made = lines(Bridge("trunk0", "trunk0", ("bond0",), vlan_aware=True, vlans=(2, 3)))["trunk0"]
    assert made[0] == f"ip link add name trunk0 mtu 65535 group 148 {BRIDGE} {FILTERS}"
    assert made[3:] == [
        "ip link set dev bond0 master trunk0",
        "bridge vlan add dev bond0 vid 2 master",
        "bridge vlan add dev bond0 vid 3 master",
    ]
    assert lines(Bridge("b", "b", vlan_aware=False))["b"][0].endswith("vlan_filtering 0 vlan_default_pvid 1")


FILTERS = "vlan_filtering 1 vlan_default_pvid 0"
KEYS = [f"{letter}" * 42 + "A=" for letter in "abc"]
WAN = WireGuard(
    "wan",
    "wg0",
    (
        Member("node1", "10.97.0.1", KEYS[0], "192.0.2.1:51820"),
        Member("node2", "10.97.0.2", KEYS[1], "[2001:db8::2]:51821"),
        Member("node3", "fd97::3", KEYS[2]),
    ),
    mtu=1420,
    me="node1",
)


def test_a_tunnel_and_what_overlays_above_it_have_below() -> None:
    site = Site("10.97.0.1", ("10.97.0.2",), tunnel="wg0")
    made = lines(Overlay("prv0", (100,), "ov100"), WAN, site=site)
    assert list(made) == ["underlay", "wan", "prv0"]
    assert made["underlay"] == [
        "nft add element inet snf_network vteps { 10.97.0.2 }",
        'nft add element inet snf_network vtep_tunnel { "wg0" . 10.97.0.1 }',
        "nft add element inet snf_network vxlan_ports { 4789 }",
    ]
    assert made["wan"] == [
        "ip route replace unreachable 10.97.0.2/32 metric 4294967295 proto 148",
        "ip route replace unreachable fd97::3/128 metric 4294967295 proto 148",
        "ip link add name wg0 group 148 type wireguard",
        "wg set wg0 listen-port 51820 private-key /etc/snf-network/wireguard.key",
        f"wg set wg0 peer {KEYS[1]} allowed-ips 10.97.0.2/32 endpoint [2001:db8::2]:51821 "
        "persistent-keepalive 10",
        f"wg set wg0 peer {KEYS[2]} allowed-ips fd97::3/128 persistent-keepalive 10",
        "ip addr replace 10.97.0.1/32 dev wg0",
        "ip link set dev wg0 mtu 1420 up",
        "ip route replace 10.97.0.2/32 dev wg0 table 254 proto 148",
        "ip route replace fd97::3/128 dev wg0 table 254 proto 148",
    ]
    assert any("type vxlan" in line and "local 10.97.0.1 " in line for line in made["prv0"])


class Kernel:
    """What a peer compares itself with."""

    def __init__(self, *peers: tuple[str, SeenPeer]) -> None:
        self.tunnels = {"wg0": Seen(KEYS[0], 51820, dict(peers))}


@pytest.mark.parametrize(
    ("seen", "expected"),
    (
        (SeenPeer(("10.97.0.2/32",), "192.0.2.2:51820", 10, 5.0), True),
        (SeenPeer(("10.97.0.2/32",), "192.0.2.2:51820", 10, NEVER), True),
        (SeenPeer(("10.97.0.2/32",), "198.51.100.7:40000", 10, 5.0), True),  # it is heard there
        (SeenPeer(("10.97.0.2/32",), "198.51.100.7:40000", 10, 181.0), False),
        (SeenPeer(("10.97.0.2/32",), "198.51.100.7:40000", 10, NEVER), False),
        (SeenPeer(("10.97.0.2/32",), "", 10, 5.0), False),
        (SeenPeer(("10.97.0.2/32",), "192.0.2.2:51820", 0, 5.0), False),
        (SeenPeer(("10.97.0.2/32", "0.0.0.0/0"), "192.0.2.2:51820", 10, 5.0), False),
        (SeenPeer((), "192.0.2.2:51820", 10, 5.0), False),
    ),
)
def test_a_peer_that_is_heard_may_be_anywhere(seen: SeenPeer, expected: bool) -> None:
    peer = TunnelPeer("wg0", KEYS[1], "10.97.0.2/32", "10", "192.0.2.2:51820")
    assert peer.is_in(cast("Any", Kernel((KEYS[1], seen)))) is expected
    assert not peer.is_in(cast("Any", Kernel((KEYS[2], seen))))


def test_a_table_and_its_uplink() -> None:
    network = Routed(
        *("public", 222, "eth1", ("198.51.100.1", "2001:db8:1::1")),
        rp_filter="0",
        accept_ra="0",
        arp_source="198.51.100.9",
    )
    assert lines(network)["public"] == [
        "sysctl net/ipv4/conf/eth1/forwarding=1",
        "sysctl net/ipv4/conf/eth1/rp_filter=0",
        "sysctl net/ipv6/conf/eth1/accept_ra=0",
        "sysctl net/ipv6/conf/all/forwarding=1",
        "sysctl net/ipv6/conf/eth1/forwarding=1",
        'nft add element arp snf_network gateways { "eth1" : 198.51.100.9 }',
        "ip -4 rule add pref 14700 iif eth1 lookup 222 proto 148",
        "ip -6 rule add pref 14700 iif eth1 lookup 222 proto 148",
        "ip route replace 0.0.0.0/0 via 198.51.100.1 dev eth1 table 222 proto 148 onlink",
        "ip route replace ::/0 via 2001:db8:1::1 dev eth1 table 222 proto 148 onlink",
    ]
    assert lines(network, site=Site(ipv6=False))["public"] == [
        line for line in lines(network)["public"] if "6" not in line and "::" not in line
    ]
    assert lines(Routed("bare", 5, "eth1", iif_rule=False, forwarding=False))["bare"] == []


# --- engine evpn


def test_with_evpn_an_overlay_has_no_entries_of_ours() -> None:
    listed = lines(Overlay("prv0", (100,), "ov100"))
    made = lines(Overlay("prv0", (100,), "ov100", engine="evpn"))
    assert made["underlay"] == listed["underlay"]
    assert [one for one in made["prv0"] if one] == [one for one in listed["prv0"] if " fdb " not in one]


def said(section: Evpn, site: Site = SITE) -> list[str]:
    return list(evpn.lines(section, site))


GROUP = """\
router bgp 65000
 bgp router-id 10.99.0.1
 neighbor snf-network peer-group
 neighbor snf-network remote-as 65000
 neighbor snf-network timers 3 9
 neighbor snf-network timers connect 2
{neighbours}
 address-family ipv4 unicast
  no neighbor snf-network activate
 exit-address-family
 address-family l2vpn evpn
  neighbor snf-network activate
  advertise-all-vni
 exit-address-family
exit
"""


def test_the_lines_for_frr() -> None:
    """None of them is about neighbours of others."""
    group = " neighbor {} peer-group snf-network"
    for section, names in (
        (Evpn(65000, reflectors=("10.99.0.8", "10.99.0.9")), ("10.99.0.8", "10.99.0.9")),
        (Evpn(65000, reflectors=("10.99.0.1", "10.99.0.9")), ("10.99.0.9",)),
        (Evpn(65000, mesh=True), ("10.99.0.2", "10.99.0.3")),
    ):
        text = GROUP.format(neighbours="\n".join(map(group.format, names)))
        assert said(section) == text.splitlines() and evpn.neighbours(section, SITE) == names
    made = said(Evpn(65001, unnumbered=("eth1", "eth2")))
    assert " neighbor eth2 interface remote-as external" in made and "  network 10.99.0.1/32" in made
    families = "\n".join(made).split(" address-family ")[1:]
    for family in families:
        for one in ("eth1", "eth2"):
            assert f"  neighbor {one} activate" in family
            assert family.count(f"  neighbor {one} route-map ") == 2, "or RFC 8212 refuses all"
    assert made.index("route-map snf-network-evpn permit 10") < made.index("router bgp 65001")


def test_the_block_is_wanted_only_if_it_is_asked_for() -> None:
    overlay = Overlay("prv0", (100,), "ov100", engine="evpn")
    for block in (False, True):
        made = wanted(Networks(Underlay(), (overlay,), Evpn(65000, mesh=True, block=block)), SITE)
        assert list(made) == ["underlay", "prv0", *(["evpn"] if block else [])]
    (one,) = made["evpn"]
    assert ALL_KINDS["FrrBlock"].read(one.fields()) == one and not one.unsound()


BLOCK = FrrBlock("/etc/frr/frr.conf", "router bgp 65000\n bgp router-id 10.99.0.1\nexit")
THEIRS = "hostname a\n!\nrouter bgp 65000\n neighbor 10.0.0.1 remote-as 65000\nexit\n! end \udcff\n"


def test_a_block_leaves_all_other_lines_as_they_are() -> None:
    for text in (THEIRS, "", "! only\n"):
        made = BLOCK.within(text)
        assert made == f"{text}{BEGIN}\n{BLOCK.content}\n{END}\n"
        assert BLOCK.within(made) == made and BLOCK.without(made) == text
        assert has_block(made) and not has_block(text) and not BLOCK.trouble(made)
        more = f"{made}line vty\n"
        other = FrrBlock(BLOCK.path, "router bgp 65000\nexit")
        assert other.within(more) == f"{text}{BEGIN}\n{other.content}\n{END}\nline vty\n", "where it was"
        assert other.without(more) == f"{text}line vty\n"
    assert BLOCK.within("no end") == f"no end\n{BLOCK.within('')}"
    old = BLOCK.within(THEIRS).replace(BEGIN, "! BEGIN snf-network of another version")
    assert BLOCK.within(old) == BLOCK.within(THEIRS)


def test_the_router_id_of_the_admin_stays() -> None:
    made = BLOCK.within(THEIRS.replace("exit", " bgp router-id 10.0.0.9\nexit"))
    assert made.count("router-id") == 1 and BLOCK.within(made) == made


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{BEGIN}\nrouter bgp 1\n", "markers"),
        (f"{END}\n{BEGIN}\n", "markers"),
        (BLOCK.within("") * 2, "markers"),
        ("router bgp 65001\n", "has 'router bgp 65001'"),
        ("router bgp 1.5\n", "has 'router bgp 1.5'"),
        ("router bgp 65000\nrouter bgp 65001 vrf red\nrouter bgp 0.65000\n", ""),
    ],
)
def test_a_file_in_which_no_block_can_be(text: str, words: str) -> None:
    found = BLOCK.trouble(text)
    assert words in found and bool(found) == bool(words) and found.isprintable()
