"""What each kind of network puts on a node, as the lines that an admin could type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from snf_network.model.networks import Bridge, Evpn, Networks, Overlay, Routed, Site, Underlay
from snf_network.model.resources.all import ALL_KINDS
from snf_network.model.resources.frr import BEGIN, END, FrrBlock, has_block
from snf_network.networks import evpn, wanted

if TYPE_CHECKING:
    from snf_network.model.networks import Network

SITE = Site("10.99.0.1", ("10.99.0.2", "10.99.0.3"))
BRIDGE = "type bridge forward_delay 0 stp_state 0 mcast_snooping 0 no_linklocal_learn 1"


def lines(*networks: Network, site: Site = SITE, underlay: Underlay = Underlay()) -> dict[str, list[str]]:  # noqa: B008
    made = wanted(Networks(underlay, networks), site)
    for resources in made.values():  # what a record says of it is the same again
        assert [ALL_KINDS[type(one).__name__].read(one.fields()) for one in resources] == list(resources)
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
            f"ip link add name ov100 mtu 65535 group 148 {BRIDGE}",
            "ip link set dev ov100 addrgenmode none",
            "ip link set dev ov100 mtu 1500 up",
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
    assert [line for line in made["prv0"] if " add " in line or "mtu" in line] == [
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
