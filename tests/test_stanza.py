"""Options of an iface stanza: what becomes of each, and of each that is wrong."""

from __future__ import annotations

import pytest

from snf_network.errors import BadEnvironment
from snf_network.model.networks import Networks, Routed, Site, Underlay
from snf_network.model.networks.stanza import is_stanza, name_of, parse, uplink_of
from snf_network.networks import resources

TABLES = {"public_net": 222, "main": 254}
INET = {
    "IFACE": "eth0.201",
    "ADDRFAM": "inet",
    "IF_IP_ROUTING_TABLE": "public_net",
    "IF_IP_ROUTES": "198.51.100.0/24 203.0.113.0/25",
    "IF_IP_GATEWAY": "198.51.100.1",
    "IF_IP_FORWARDING": "1",
    "IF_IP_PROXY_ARP": "1",
    "IF_ARP_IP": "198.51.100.254",
}
INET6 = {
    "IFACE": "eth0.201",
    "ADDRFAM": "inet6",
    "IF_IP_ROUTING_TABLE": "222",
    "IF_IP_ROUTES": "2001:DB8:1:0::/64",
    "IF_IP_GATEWAY": "2001:db8:1:0::1",
    "IF_IP_FORWARDING": "yes",
    "IF_IP_PROXY_NDP": "1",
}


def lines(env: dict[str, str], ipv6: bool = True) -> list[str]:
    network = parse(env, TABLES)
    assert network
    return [one.command for one in resources(network, Networks(Underlay(), ()), Site(ipv6=ipv6))]


def test_a_stanza_of_ipv4() -> None:
    assert name_of(INET) == "eth0.201:inet" and is_stanza("eth0.201:inet") and not is_stanza("eth0.201")
    assert uplink_of("eth0.201:inet") == "eth0.201"
    assert lines(INET) == [
        "sysctl net/ipv4/conf/eth0.201/forwarding=1",
        "sysctl net/ipv4/conf/eth0.201/proxy_arp=1",
        'nft add element arp snf_network gateways { "eth0.201" : 198.51.100.254 }',
        "ip -4 rule add pref 14700 iif eth0.201 lookup 222 proto 148",
        "ip route replace 198.51.100.0/24 dev eth0.201 table 254 proto 148",
        "ip route replace 198.51.100.0/24 dev eth0.201 table 222 proto 148",
        "ip route replace 203.0.113.0/25 dev eth0.201 table 254 proto 148",
        "ip route replace 203.0.113.0/25 dev eth0.201 table 222 proto 148",
        "ip route replace 0.0.0.0/0 via 198.51.100.1 dev eth0.201 table 222 proto 148 onlink",
    ]


def test_a_stanza_of_ipv6() -> None:
    assert lines(INET6) == [
        "sysctl net/ipv6/conf/all/forwarding=1",
        "sysctl net/ipv6/conf/eth0.201/forwarding=1",
        "sysctl net/ipv6/conf/eth0.201/proxy_ndp=1",
        "ip -6 rule add pref 14700 iif eth0.201 lookup 222 proto 148",
        "ip route replace 2001:db8:1::/64 dev eth0.201 table 254 proto 148",
        "ip route replace 2001:db8:1::/64 dev eth0.201 table 222 proto 148",
        "ip route replace ::/0 via 2001:db8:1::1 dev eth0.201 table 222 proto 148 onlink",
    ]
    assert lines(INET6, ipv6=False) == []


def test_what_is_for_the_other_family_says_nothing() -> None:
    six = {"IF_ARP_IP": "nonsense", "IF_IP_PROXY_ARP": "nonsense"}
    assert lines(INET6 | six) == lines(INET6) and lines(INET | {"IF_IP_PROXY_NDP": "1"}) == lines(INET)


def test_only_a_table_makes_a_network() -> None:
    bare = {name: INET[name] for name in ("IFACE", "ADDRFAM", "IF_IP_ROUTING_TABLE")}
    assert parse(bare, TABLES) == Routed("eth0.201:inet", 222, "eth0.201", forwarding=False, families=("-4",))
    assert parse(INET | {"IF_IP_ROUTING_TABLE": ""}, TABLES) is None
    assert parse(INET | {"ADDRFAM": "meta"}, TABLES) is None and name_of(INET | {"ADDRFAM": "can"}) == ""
    off = parse(INET | {"IF_IP_FORWARDING": "0", "IF_IP_PROXY_ARP": "no"}, TABLES)
    assert off and not off.forwarding and not off.proxies


WRONG = [
    ("IF_IP_ROUTING_TABLE", "main", "ip-routing-table 'main'"),
    ("IF_IP_ROUTING_TABLE", "254", "ip-routing-table '254'"),
    ("IF_IP_ROUTING_TABLE", "nobody", "ip-routing-table 'nobody'"),
    ("IF_IP_ROUTING_TABLE", "222 table main", "ip-routing-table '222 table main'"),
    ("IF_IP_ROUTING_TABLE", "0", "ip-routing-table '0'"),
    ("IF_IP_ROUTING_TABLE", "99999999999", "ip-routing-table '99999999999'"),
    ("IF_IP_ROUTES", "198.51.100.7/24", "ip-routes '198.51.100.7/24'"),
    ("IF_IP_ROUTES", "198.51.100.0/24 0.0.0.0/0", "ip-routes '0.0.0.0/0'"),
    ("IF_IP_ROUTES", "default", "ip-routes 'default'"),
    ("IF_IP_ROUTES", "2001:db8::/64", "ip-routes '2001:db8::/64'"),
    ("IF_IP_ROUTES", " ".join(f"198.51.{number}.0/24" for number in range(65)), "ip-routes"),
    ("IF_IP_GATEWAY", "2001:db8::1", "ip-gateway '2001:db8::1'"),
    ("IF_IP_GATEWAY", "198.51.100.1; reboot", "ip-gateway '198.51.100.1; reboot'"),
    ("IF_IP_GATEWAY", "127.0.0.1", "ip-gateway '127.0.0.1'"),
    ("IF_IP_FORWARDING", "perhaps", "ip-forwarding 'perhaps'"),
    ("IF_IP_PROXY_ARP", "\x1b[2J", r"ip-proxy-arp '\x1b[2j'"),
    ("IF_ARP_IP", "192.0.2.0.254", "arp-ip '192.0.2.0.254'"),
    ("IFACE", "eth0:1", "IFACE='eth0:1'"),
    ("IFACE", "../../etc", "IFACE='../../etc'"),
    ("IFACE", "", "IFACE and ADDRFAM"),
    ("ADDRFAM", "", "IFACE and ADDRFAM"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_value_is_named(name: str, value: str, words: str) -> None:
    with pytest.raises(BadEnvironment) as caught:
        parse(INET | {name: value}, TABLES)
    assert words in str(caught.value) and str(caught.value).isprintable()
