"""The kinds of Resource: the lines that each writes, and the place in the kernel that each takes."""

from __future__ import annotations

import re

import pytest

from snf_network.model.resources import (
    KINDS,
    Address,
    Alias,
    Binding,
    BirdFile,
    BridgeOption,
    BridgeVlan,
    Element,
    File,
    FloatingRoute,
    FrrFile,
    Hook,
    Isolated,
    Link,
    Neighbour,
    NeighProxy,
    OvsPort,
    Port,
    Resource,
    Route,
    Rule,
    Shaper,
    SharedElement,
    Sysctl,
)

MAC = "aa:00:00:ad:35:c9"
TEXTS: list[tuple[Resource, str, str]] = [
    (
        Element("inet", "routed", "tap0"),
        'add element inet snf_network routed { "tap0" }',
        'delete element inet snf_network routed { "tap0" }',
    ),
    (
        Element("arp", "tables", "tap0", "", "222"),
        'add element arp snf_network tables { "tap0" : 222 }',
        'delete element arp snf_network tables { "tap0" }',
    ),
    (
        SharedElement("inet", "masq", "", '10.0.0.0/8 . "eth0"'),
        'add element inet snf_network masq { 10.0.0.0/8 . "eth0" }',
        'delete element inet snf_network masq { 10.0.0.0/8 . "eth0" }',
    ),
    (
        Element("netdev", "openings", "tap0", value="limit rate over 1000/second burst 100 packets"),
        'add element netdev snf_network openings { "tap0" limit rate over 1000/second burst 100 packets }',
        'delete element netdev snf_network openings { "tap0" }',
    ),
    (
        Hook("tap0", "in", "limit rate over 8/second burst 1 packets goto no_limit_pps; jump new"),
        'add chain netdev snf_network in-tap0 { type filter hook egress device "tap0" priority 0; }\n'
        "flush chain netdev snf_network in-tap0\nadd rule netdev snf_network in-tap0 limit rate over 8/second burst 1 packets goto no_limit_pps\n"
        "add rule netdev snf_network in-tap0 jump new",
        "delete chain netdev snf_network in-tap0",
    ),
    (Port("tap0", "prv0"), "link set dev tap0 master prv0", "link set dev tap0 nomaster"),
    (Port("tap0"), "link set dev tap0 nomaster", ""),
    (Link("tap0"), "link set dev tap0 up", "link set dev tap0 down"),
    (Link("tap0", MAC, "1500"), f"link set dev tap0 address {MAC} mtu 1500 up", "link set dev tap0 down"),
    (Link("tap0", "", "9000"), "link set dev tap0 mtu 9000 up", "link set dev tap0 down"),
    (
        Isolated("tap0"),
        "link set dev tap0 type bridge_slave isolated on",
        "link set dev tap0 type bridge_slave isolated off",
    ),
    (
        Shaper("tap0", "1000000"),
        "qdisc replace dev tap0 root handle 148: tbf rate 1000000bit burst 16384 limit 114688",
        "qdisc del dev tap0 root handle 148:",
    ),
    (Alias("tap0", "vm1 nic0 net1"), 'link set dev tap0 alias "vm1 nic0 net1"', 'link set dev tap0 alias ""'),
    (
        Route("198.51.100.10/32", "tap0", "222"),
        "route replace 198.51.100.10/32 dev tap0 table 222 proto 148",
        "route del 198.51.100.10/32 dev tap0 table 222 proto 148",
    ),
    (
        Route("2001:db8:5::/56", "tap0", "222", "2001:db8:1::2"),
        "route replace 2001:db8:5::/56 via 2001:db8:1::2 dev tap0 table 222 proto 148 onlink",
        "route del 2001:db8:5::/56 via 2001:db8:1::2 dev tap0 table 222 proto 148 onlink",
    ),
    (
        Route("198.51.100.11/32", "tap0", "222", "", "2499000000"),
        "route replace 198.51.100.11/32 dev tap0 table 222 proto 148 metric 2499000000",
        "route del 198.51.100.11/32 dev tap0 table 222 proto 148 metric 2499000000",
    ),
    (
        Address("198.51.100.1/32", "tap0"),
        "address replace 198.51.100.1/32 dev tap0 noprefixroute",
        "address del 198.51.100.1/32 dev tap0",
    ),
    (
        Address("fe80::1/64", "tap0"),
        "address replace fe80::1/64 dev tap0 noprefixroute nodad",
        "address del fe80::1/64 dev tap0",
    ),
    (
        FloatingRoute("198.51.100.99/32", "tap0", "222", "198.51.100.10"),
        "route replace 198.51.100.99/32 via 198.51.100.10 dev tap0 table 222 proto 148 onlink",
        "route del 198.51.100.99/32 via 198.51.100.10 dev tap0 table 222 proto 148 onlink",
    ),
    (
        Rule("-4", "222", "lookup"),
        "rule add pref 14800 fwmark 222 lookup 222 proto 148",
        "rule del pref 14800 fwmark 222 lookup 222 proto 148",
    ),
    (
        Rule("-6", "222", "unreachable"),
        "rule add pref 14801 fwmark 222 unreachable proto 148",
        "rule del pref 14801 fwmark 222 unreachable proto 148",
    ),
    (
        Neighbour("198.51.100.10", MAC, "tap0"),
        f"neigh replace 198.51.100.10 lladdr {MAC} dev tap0 nud permanent proto 148",
        "neigh del 198.51.100.10 dev tap0",
    ),
    (
        NeighProxy("2001:db8:1::5", "eth1"),
        "neigh replace proxy 2001:db8:1::5 dev eth1 proto 148",
        "neigh del proxy 2001:db8:1::5 dev eth1",
    ),
    (Sysctl("net/ipv4/conf/tap0.1/forwarding", "1"), "net/ipv4/conf/tap0.1/forwarding=1", ""),
    (
        Binding("/var/lib/nfdhcpd/tap0", "IP=\nMAC=a\n"),
        "write /var/lib/nfdhcpd/tap0\n    IP=\n    MAC=a",
        "rm /var/lib/nfdhcpd/tap0",
    ),
    (
        BirdFile("/var/lib/snf-network-bird/tap0", "# by snf-network\n"),
        "write /var/lib/snf-network-bird/tap0\n    # by snf-network",
        "rm /var/lib/snf-network-bird/tap0",
    ),
    (
        FrrFile("/var/lib/snf-network-frr/tap0", "! by snf-network\n"),
        "write /var/lib/snf-network-frr/tap0\n    ! by snf-network",
        "rm /var/lib/snf-network-frr/tap0",
    ),
    (
        BridgeOption("prv0", "no_linklocal_learn", "1"),
        "link set dev prv0 type bridge no_linklocal_learn 1",
        "",
    ),
    (
        BridgeVlan("tap0", "5", "pvid untagged"),
        "vlan add dev tap0 vid 5 pvid untagged master",
        "vlan del dev tap0 vid 5 master",
    ),
    (BridgeVlan("tap0", "6"), "vlan add dev tap0 vid 6 master", "vlan del dev tap0 vid 6 master"),
    (BridgeVlan("eth0", "6", "uplink"), "vlan add dev eth0 vid 6 master", ""),
    (
        BridgeVlan("tap0", "1", "absent"),
        "vlan del dev tap0 vid 1 master",
        "vlan add dev tap0 vid 1 pvid untagged master",
    ),
    (
        OvsPort("tap0", "ovs0"),
        "--if-exists del-port tap0 -- add-port ovs0 tap0",
        "--no-wait --if-exists del-port tap0",
    ),
    (
        OvsPort("tap0", "ovs0", "5", "6,7", "true"),
        "--if-exists del-port tap0 -- add-port ovs0 tap0 -- set port tap0 tag=5 trunks=6,7 protected=true",
        "--no-wait --if-exists del-port tap0",
    ),
]
ALL = pytest.mark.parametrize("resource", [resource for resource, _, _ in TEXTS], ids=repr)


@pytest.mark.parametrize(
    ("resource", "add", "delete"), TEXTS, ids=lambda value: repr(value) if isinstance(value, Resource) else ""
)
def test_each_kind_spells_its_lines(resource: Resource, add: str, delete: str) -> None:
    assert (resource.add(), resource.delete()) == (add, delete)


def test_every_kind_is_told_of_here_and_can_be_recorded() -> None:
    assert {type(resource).__name__ for resource, _, _ in TEXTS} == {*KINDS}
    assert all(KINDS[type(resource).__name__] is type(resource) for resource, _, _ in TEXTS)


@pytest.mark.parametrize("name", ["Resource", "element", "", "nic", "variable", "__init__"])
def test_a_name_that_is_no_kind_is_none(name: str) -> None:
    assert name not in KINDS


@ALL
def test_its_fields_make_it_again(resource: Resource) -> None:
    assert type(resource)(*resource.fields()) == resource
    assert all(type(field) is str for field in resource.fields())


@ALL
def test_it_knows_its_door(resource: Resource) -> None:
    assert resource.door in {"nft", "hook", "rtnetlink", "sysctl", "file", "ovs"}


@ALL
def test_its_slot_is_its_own(resource: Resource) -> None:
    assert [
        other
        for other, _, _ in TEXTS
        if other.slot == resource.slot and type(other) not in (Port, Link, OvsPort)
    ] in ([resource], [])


REPLACED = [
    (Element("inet", "tables", "tap0", "", "222"), Element("inet", "tables", "tap0", "", "223")),
    (Port("tap0", "br0"), Port("tap0", "br1")),
    (Port("tap0", "br0"), Port("tap0")),
    (Link("tap0", MAC), Link("tap0")),
    (Alias("tap0", "vm1 nic0"), Alias("tap0", "vm2")),
    (Route("1.2.3.4/32", "tap0", "1"), Route("1.2.3.4/32", "tap1", "1", "5.6.7.8")),
    (FloatingRoute("1.2.3.4/32", "tap0", "1"), FloatingRoute("1.2.3.4/32", "tap1", "1")),
    (FloatingRoute("1.2.3.4/32", "tap0", "1"), Route("1.2.3.4/32", "tap0", "1")),
    (Neighbour("1.2.3.4", MAC, "tap0"), Neighbour("1.2.3.4", "aa:00:00:00:00:01", "tap0")),
    (Sysctl("a/b", "0"), Sysctl("a/b", "1")),
    (Binding("/a", "x"), Binding("/a", "y")),
    (BridgeVlan("tap0", "5"), BridgeVlan("tap0", "5", "absent")),
    (BridgeOption("prv0", "no_linklocal_learn", "0"), BridgeOption("prv0", "no_linklocal_learn", "1")),
    (OvsPort("tap0", "ovs0"), OvsPort("tap0", "ovs1", "5")),
]


@pytest.mark.parametrize(("old", "new"), REPLACED, ids=lambda resource: repr(resource))
def test_one_takes_the_slot_of_another(old: Resource, new: Resource) -> None:
    assert old.slot == new.slot and old != new


BESIDE = [
    (Element("inet", "macs", "tap0", "a"), Element("inet", "macs", "tap0", "b")),
    (Element("inet", "macs", "a"), Element("bridge", "macs", "a")),
    (Element("inet", "macs", "a"), Element("inet", "src4", "a")),
    (Route("1.2.3.4/32", "tap0", "1"), Route("1.2.3.4/32", "tap0", "2")),
    (Route("1.2.3.4/32", "tap0", "1"), Route("1.2.3.4/32", "tap0", "1", "", "5")),
    (Address("1.2.3.4/32", "tap0"), Address("1.2.3.4/32", "tap1")),
    (Rule("-4", "222", "lookup"), Rule("-6", "222", "lookup")),
    (Rule("-4", "222", "lookup"), Rule("-4", "222", "unreachable")),
    (Neighbour("1.2.3.4", MAC, "tap0"), Neighbour("1.2.3.4", MAC, "tap1")),
    (NeighProxy("1.2.3.4", "eth0"), NeighProxy("1.2.3.4", "eth1")),
    (BridgeVlan("tap0", "5"), BridgeVlan("eth0", "5")),
    (Port("tap0"), Link("tap0")),
    (Link("tap0"), Alias("tap0", "vm1")),
]


@pytest.mark.parametrize(("one", "other"), BESIDE, ids=lambda resource: repr(resource))
def test_one_stands_beside_another(one: Resource, other: Resource) -> None:
    assert one.slot != other.slot


def test_shared_are_the_kinds_that_several_nics_may_want() -> None:
    shared = {"SharedElement", "FloatingRoute", "Rule", "NeighProxy"}
    assert {name for name, kind in KINDS.items() if kind.shared} == shared
    assert {name for name, kind in KINDS.items() if kind.floats} == {"FloatingRoute"}


def test_a_shared_member_is_another_thing_than_a_nics_own() -> None:
    assert SharedElement("inet", "masq", "", "a") != Element("inet", "masq", "", "a")


@ALL
def test_a_line_is_one_line(resource: Resource) -> None:
    lines = resource.add().split("\n")
    if isinstance(resource, Hook):
        assert [line.split()[:2] for line in lines[:3]] == [
            ["add", "chain"],
            ["flush", "chain"],
            ["add", "rule"],
        ]
        return
    assert all(re.fullmatch("    .*", line) for line in lines[1:]) and (
        len(lines) == 1 or isinstance(resource, File)
    )
    assert "\n" not in resource.delete()
