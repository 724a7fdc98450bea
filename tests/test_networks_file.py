"""/etc/snf-network/networks.yaml: what it may say, and how a mistake is told. The schema for editors says the
same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from snf_network.errors import BadConfig
from snf_network.model.networks import Bridge, Evpn, Member, Overlay, Routed, Underlay, WireGuard
from snf_network.model.networks.file import mistakes, parse

yaml = pytest.importorskip("yaml")
SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "networks.schema.json"
FULL = """\
underlay: {addresses: ssconf_node_secondary_ips, peers: [192.0.2.7], port: 4790}
networks:
  public:
    kind: routed
    table: 222
    uplink: eth1
    gateways: [198.51.100.1, "2001:db8:1::1"]
    sysctl: {rp_filter: 0, accept_ra: 0}
    arp_source: 198.51.100.9
  trunk0: {kind: bridge, ports: [bond0, eth3], mtu: 9000}
  prv0:   {kind: overlay, vni: 100, bridge: ov100, engine: list, mtu: 1400, guest_mtu: 1350}
  tenants: {kind: overlay, vnis: "1000-1003,2000", bridge: "t{vni}"}
  lan0: {kind: bridge, vlan_aware: true, vlans: "2-4,7"}
  wan:
    kind: wireguard
    device: wg0
    port: 51821
    key: /etc/wg.key
    keepalive: 5
    mtu: 1400
    nodes:
      node1: {address: 10.97.0.1, public: "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789+/aBcDE=", endpoint: "192.0.2.1:51820"}
      node2.example.com: {address: "fd97::0:2", public: "bBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789+/aBcDE=", endpoint: "[2001:db8::0:2]:7"}
nodes:
  node3.example.com: {public: {uplink: eth5}}
"""
KEY = "BcDeFgHiJkLmNoPqRsTuVwXyZ0123456789+/aBcDE="
PUBLIC = Routed(
    *("public", 222, "eth1", ("198.51.100.1", "2001:db8:1::1")),
    rp_filter="0",
    accept_ra="0",
    arp_source="198.51.100.9",
)


def test_all_that_it_may_say() -> None:
    said = parse(FULL)
    assert said.common.underlay == Underlay("ssconf_node_secondary_ips", ("192.0.2.7",), 4790)
    assert said.common.networks == (
        PUBLIC,
        Bridge("trunk0", "trunk0", ("bond0", "eth3"), 9000),
        Overlay("prv0", (100,), "ov100", 1400, 1350),
        Overlay("tenants", (1000, 1001, 1002, 1003, 2000), "t{vni}"),
        Bridge("lan0", "lan0", vlan_aware=True, vlans=(2, 3, 4, 7)),
        WireGuard(
            *("wan", "wg0"),
            (
                Member("node1", "10.97.0.1", f"a{KEY}", "192.0.2.1:51820"),
                Member("node2.example.com", "fd97::2", f"b{KEY}", "[2001:db8::2]:7"),
            ),
            *(51821, "/etc/wg.key", 5, 1400),
        ),
    )
    assert said.of("node1") == said.of() == said.common
    theirs = said.of("node3", "node3.example.com").networks
    assert theirs[0].__dict__ == PUBLIC.__dict__ | {"uplink": "eth5"}
    assert theirs[1:] == said.common.networks[1:]


def test_a_gateway_is_what_the_kernel_lists() -> None:
    """Else `net check` would miss its route for ever."""
    said = parse(net('kind: routed, table: 5, uplink: e, gateways: ["2001:DB8:0::1", 192.0.2.1]'))
    assert said.common.networks[0].gateways == ("2001:db8::1", "192.0.2.1")  # type: ignore[union-attr]


def test_what_is_not_said_has_a_default() -> None:
    said = parse("networks: {prv0: {kind: overlay, vni: 7}, many: {kind: overlay, vnis: 8-9}}").common
    assert said.underlay == Underlay() and said.has_overlays
    assert [list(one.bridges()) for one in said.networks if isinstance(one, Overlay)] == [
        [(7, "prv0")],
        [(8, "ov8"), (9, "ov9")],
    ]
    for nothing in ("", "# nothing\n", "networks: {}"):
        assert parse(nothing).common.networks == () and not parse(nothing).common.has_overlays


EVPN = """\
evpn: {as: 65000, unnumbered: [eth1, eth2], frr: block}
networks: {prv0: {kind: overlay, vni: 7, engine: evpn}}
nodes: {node3: {evpn: {as: 65003, unnumbered: [eth5]}}}
"""


def test_engine_evpn() -> None:
    said = parse(EVPN)
    assert said.common.evpn == Evpn(65000, unnumbered=("eth1", "eth2"), block=True)
    assert said.of("node3").evpn == Evpn(65003, unnumbered=("eth5",), block=True)
    assert said.common.networks == (Overlay("prv0", (7,), "prv0", engine="evpn"),)
    mesh = EVPN.replace("unnumbered: [eth1, eth2], frr: block", "mesh: true").partition("nodes")[0]
    assert parse(mesh).common.evpn == Evpn(65000, mesh=True)
    reflectors = mesh.replace("mesh: true", "mesh: false, reflectors: [10.0.0.1, 10.0.0.2], frr: print")
    assert parse(reflectors).common.evpn == Evpn(65000, reflectors=("10.0.0.1", "10.0.0.2"))
    assert parse(mesh.replace("engine: evpn", "engine: list")).common.evpn is None, "nobody uses it"


def net(words: str, name: str = "n") -> str:
    return f"networks: {{{name}: {{{words}}}}}"


def tunnel(words: str, more: str = "device: wg0") -> str:
    return net(f"kind: wireguard, {more}, nodes: {{a: {{{words}}}}}")


BAD: dict[str, tuple[str, ...]] = {
    "a: 1": ("a: is not known here; allowed: underlay, evpn, networks, nodes",),
    "network: {}": ("network: is not known here; did you mean networks?",),
    "networks: [1]": ("networks: a list is not a mapping; networks by name",),
    "networks: {n: }": ("networks.n: nothing is not a mapping; the keys of a network",),
    net("kind: overly, vni: 1"): (
        "networks.n.kind: 'overly' cannot be used; kind: one of routed, bridge, overlay, wireguard",
    ),
    net("vni: 1"): ("networks.n: has no kind; kind: one of routed, bridge, overlay, wireguard",),
    net("kind: wireguard, port: 1"): (
        "networks.n: has no nodes; nodes by name, each with address, public, endpoint",
    ),
    tunnel("address: 10.0.0.1"): (
        "networks.n.nodes.a: has no public; "
        "public: a public key, as snf-network net key prints it: 44 characters of base64",
    ),
    tunnel(f"address: 10.0.0.1/24, public: a{KEY}"): (
        "networks.n.nodes.a.address: '10.0.0.1/24' cannot be used; "
        "an address that is this node's within the tunnel",
    ),
    tunnel(f"address: 10.0.0.1, public: aa{KEY}"): (
        f"networks.n.nodes.a.public: 'aa{KEY}' cannot be used; "
        "a public key, as snf-network net key prints it: 44 characters of base64",
    ),
    tunnel(f"address: 10.0.0.1, public: a{KEY}, endpoint: 'host:7'"): (
        "networks.n.nodes.a.endpoint: 'host:7' cannot be used; "
        "an address and a port, as 192.0.2.1:51820 or [2001:db8::1]:51820",
    ),
    tunnel(f"address: 10.0.0.1, public: a{KEY}, endpoint: '2001:db8::1:7'"): (
        "networks.n.nodes.a.endpoint: '2001:db8::1:7' cannot be used; "
        "an address and a port, as 192.0.2.1:51820 or [2001:db8::1]:51820",
    ),
    tunnel(f"address: 10.0.0.1, public: a{KEY}, private: b{KEY}"): (
        "networks.n.nodes.a.private: is not known here; allowed: address, public, endpoint",
    ),
    tunnel(f"address: 10.0.0.1, public: a{KEY}", "key: wireguard.key"): (
        "networks.n.key: 'wireguard.key' cannot be used; the path of a file",
    ),
    net("kind: bridge, vlan_aware: true, vlans: 1-4095"): (
        "networks.n.vlans: '1-4095' cannot be used; numbers from 1 to 4094 as 2-4094 or 5,7,9",
    ),
    net("kind: bridge, vlans: 2"): (
        "networks.n.vlans: are of a bridge that filters VLANs; vlan_aware: true",
    ),
    net("kind: overlay, vni: 1, engine: bgp"): (
        "networks.n.engine: 'bgp' cannot be used; one of list, evpn",
    ),
    net("kind: overlay, vni: 1, frr: block"): (
        "networks.n.frr: belongs to the section evpn at the top; allowed: "
        "kind, dhcp, vni, vnis, bridge, engine, mtu, guest_mtu, gateway, table",
    ),
    "evpn: {mesh: true}": ("evpn: has no as; as: a number from 1 to 4294967294",),
    "evpn: {as: 0, mesh: true}": ("evpn.as: '0' cannot be used; a number from 1 to 4294967294",),
    "evpn: {as: 65000, mesh: always}": ("evpn.mesh: 'always' cannot be used; true or false",),
    "evpn: {as: 65000, reflectors: ['fd99::1']}": (
        "evpn.reflectors: 'fd99::1' cannot be used; IPv4 addresses of route reflectors",
    ),
    "evpn: {as: 65000, unnumbered: [a b]}": ("evpn.unnumbered: 'a b' cannot be used; device names",),
    "evpn: {as: 65000, mesh: true, frr: file}": ("evpn.frr: 'file' cannot be used; one of print, block",),
    "evpn: {as: 65000, mesh: true, reflector: [10.0.0.1]}": (
        "evpn.reflector: is not known here; did you mean reflectors?",
    ),
    "evpn: [65000]": ("evpn: a list is not a mapping; the keys as, reflectors, mesh, unnumbered, frr",),
    "evpn: {as: 65000, mesh: true}\nnodes: {a: {evpn: {as: x}}}": (
        "nodes.a.evpn.as: 'x' cannot be used; a number from 1 to 4294967294",
    ),
    net("kind: overlay, vni: 1, gateway: 10.0.0.1"): (
        "networks.n.gateway: '10.0.0.1' is not a list; "
        "a list of addresses with prefix lengths, one of IPv4, one of IPv6: 198.51.100.1/24",
    ),
    net("kind: overlay, vni: 1, gateway: [10.0.0.1]"): (
        "networks.n.gateway: '10.0.0.1' cannot be used; "
        "addresses with prefix lengths, one of IPv4, one of IPv6: 198.51.100.1/24",
    ),
    net("kind: overlay, vni: 1, export: {}"): (
        "networks.n.export: routes to a BGP router are not yet there; allowed: "
        "kind, dhcp, vni, vnis, bridge, engine, mtu, guest_mtu, gateway, table",
    ),
    net("kind: overlay, vni: 1, dhcp: {filename: 'a\"; b'}"): (
        "networks.n.dhcp.filename: 'a\"; b' cannot be used; a path of at most 127 of a-z A-Z 0-9 . _ - /",
    ),
    net("kind: overlay, vni: 1, dhcp: {router: 10.0.0.1}"): (
        "networks.n.dhcp.router: is not known here; allowed: "
        "nameservers, domain, lease, next_server, filename, uefi_filename",
    ),
    net("kind: overlay, vni: 1, dhcp: {next_server: '::1', lease: 5}"): (
        "networks.n.dhcp.next_server: '::1' cannot be used; an IPv4 address",
        "networks.n.dhcp.lease: '5' cannot be used; a number from 60 to 4294967294",
    ),
    net("kind: overlay, vni: 1, gateway: [10.0.0.1/24], table: 254"): (
        "networks.n.table: 254 is a table of the node itself; any but 253, 254 and 255",
    ),
    net("kind: overlay, vni: 1, brige: b"): ("networks.n.brige: is not known here; did you mean bridge?",),
    net("kind: overlay, vni: 0"): ("networks.n.vni: '0' cannot be used; a number from 1 to 16777215",),
    net("kind: overlay, vni: 16777216"): (
        "networks.n.vni: '16777216' cannot be used; a number from 1 to 16777215",
    ),
    net("kind: overlay, vni: 0x10"): ("networks.n.vni: '0x10' cannot be used; a number from 1 to 16777215",),
    net("kind: overlay, vni: [1]"): ("networks.n.vni: a list cannot be used; a number from 1 to 16777215",),
    net("kind: overlay, vni: 1, mtu: 500"): (
        "networks.n.mtu: '500' cannot be used; a number from 1280 to 65485",
    ),
    net("kind: overlay, vni: 1, guest_mtu: 500"): (
        "networks.n.guest_mtu: '500' cannot be used; a number from 1280 to 65485",
    ),
    net("kind: overlay, vni: 1, bridge: 'a b'"): (
        "networks.n.bridge: 'a b' cannot be used; a device name, in which {vni} stands for the VNI",
    ),
    net("kind: routed, table: 222"): (
        "networks.n: has no uplink; uplink: a device name: at most 15 of a-z A-Z 0-9 . _ -, and neither . nor - first",
    ),
    net("kind: routed, table: 255, uplink: e"): (
        "networks.n.table: 255 is a table of the node itself; any but 253, 254 and 255",
    ),
    net("kind: routed, table: 2, uplink: e, forwarding: 2"): (
        "networks.n.forwarding: '2' cannot be used; true or false",
    ),
    net("kind: routed, table: 2, uplink: e, arp_source: '::1'"): (
        "networks.n.arp_source: '::1' cannot be used; an IPv4 address",
    ),
    net("kind: routed, table: 2, uplink: e, gateways: 10.0.0.1"): (
        "networks.n.gateways: '10.0.0.1' is not a list; a list of addresses of routers",
    ),
    net("kind: routed, table: 2, uplink: e, gateways: [a]"): (
        "networks.n.gateways: 'a' cannot be used; addresses of routers",
    ),
    net("kind: routed, table: 2, uplink: e, sysctl: {rp_filter: 3}"): (
        "networks.n.sysctl.rp_filter: '3' cannot be used; one of 0, 1, 2",
    ),
    net("kind: routed, table: 2, uplink: e, sysctl: {forwarding: 1}"): (
        "networks.n.sysctl.forwarding: is not known here; allowed: rp_filter, accept_ra",
    ),
    net("kind: bridge, ports: [eth0, eth0]"): ("networks.n.ports: 'eth0' is there twice; say it once",),
    net("kind: bridge, vlan_aware: 1"): ("networks.n.vlan_aware: '1' cannot be used; true or false",),
    net("kind: overlay, vni: 1", "underlay"): (
        "networks.underlay: 'underlay' is no name of a network; "
        "at most 32 of a-z A-Z 0-9 . _ -, but not underlay, evpn, locks, shared, base, dns, networks",
    ),
    "underlay: {port: 0}": ("underlay.port: '0' cannot be used; a number from 1 to 65535",),
    "underlay: {addresses: ssconf_nodes}": (
        "underlay.addresses: 'ssconf_nodes' cannot be used; one of ssconf_node_secondary_ips, "
        "ssconf_node_primary_ips, or a network of kind wireguard",
    ),
    "underlay: {peers: [224.0.0.1]}": (
        "underlay.peers: '224.0.0.1' cannot be used; addresses of other nodes, one family",
    ),
    "nodes: {a: {kind: {x: 1}}}": ("nodes.a.kind: is not known here; allowed: ",),
    net("kind: bridge") + "\nnodes: {a: {n: {kind: bridge}}}": (
        "nodes.a.n.kind: cannot differ; a network is of one kind on all nodes",
    ),
    net("kind: bridge") + "\nnodes: {a: {n: {mtu: x}}}": (
        "nodes.a.n.mtu: 'x' cannot be used; a number from 1280 to 65485",
    ),
}
"""What is wrong by itself, which the schema says as well."""
WORSE: dict[str, tuple[str, ...]] = {
    "evpn: {as: 65000}": ("evpn: has not one way to the other nodes; one of reflectors, mesh, unnumbered",),
    "evpn: {as: 65000, mesh: true, unnumbered: [eth1]}": (
        "evpn: has not one way to the other nodes; one of reflectors, mesh, unnumbered",
    ),
    net("kind: overlay, vni: 1, engine: evpn"): (
        "networks.n: has engine evpn; evpn: {as: 65000, mesh: true} at the top",
    ),
    "evpn: {as: 65000, mesh: true}\n"
    "networks: {a: {kind: overlay, vni: 1, engine: evpn}, b: {kind: overlay, vni: 2}}": (
        "networks.b: has another engine than other overlays; one for all: FRR takes every VNI of the node",
    ),
    "evpn: {as: 65000, mesh: true}\nunderlay: {peers: ['2001:db8::1']}\n"
    + net("kind: overlay, vni: 1, engine: evpn"): (
        "underlay: has peers of IPv6; engine evpn needs addresses of IPv4",
    ),
    "nodes: {a: {evpn: {as: 1}}}": ("nodes.a.evpn: is not known here; allowed: ",),
    "a: 1\na: 2": (
        "a: is not known here; allowed: underlay, evpn, networks, nodes",
        "a: is already in line 1; say it once",
    ),
    "networks:\n  n: {kind: bridge}\n  n: {kind: bridge}": ("networks.n: is already in line 2; say it once",),
    net("kind: overlay, vni: 1, vnis: 2"): ("networks.n: has both vni and vnis; one of them",),
    **{
        net(f"kind: overlay, vni: 1, gateway: ['{wrong}']"): (
            f"networks.n.gateway: '{wrong}' cannot be used; "
            "addresses with prefix lengths, one of IPv4, one of IPv6: 198.51.100.1/24",
        )
        for wrong in (
            "10.0.0.0/24",
            "10.0.0.255/24",
            "10.0.0.1/31",
            "10.0.0.1/0",
            "fe80::1/64",
            "2001:db8::/64",
        )
    },
    net("kind: overlay, vni: 1, table: 5"): (
        "networks.n.table: has no gateway; gateway: the addresses by which guests reach the table",
    ),
    net("kind: overlay, vnis: 1-2, gateway: [10.0.0.1/24]"): (
        "networks.n.gateway: cannot be that of several VNIs; a network of its own, with vni",
    ),
    net("kind: overlay, vni: 1, gateway: [10.0.0.1/24, 10.0.1.1/24]"): (
        "networks.n.gateway: has two addresses of one family; one of IPv4, one of IPv6",
    ),
    "networks: {a: {kind: overlay, vni: 1, gateway: [10.0.0.1/24]}, "
    "b: {kind: overlay, vni: 2, gateway: [10.0.0.9/24]}}": (
        "networks.b: network 10.0.0.0/24 is that of a already; one network each",
    ),
    net("kind: overlay, vni: 1, guest_mtu: 1501"): (
        "networks.n.guest_mtu: is more than the network's mtu; at most 1500",
    ),
    net("kind: overlay"): ("networks.n: has neither vni nor vnis; one of them",),
    net("kind: overlay, vnis: 1-9, bridge: br"): (
        "networks.n.bridge: 'br' is one bridge for several VNIs; a name with {vni}, as ov{vni}",
    ),
    net("kind: overlay, vnis: '1-3,2'"): ("networks.n.vnis: has a VNI twice; say it once",),
    net("kind: overlay, vnis: 9-1"): (
        "networks.n.vnis: '9-1' cannot be used; "
        "numbers from 1 to 16777215 as 1000-1499 or 5,7,9; at most 4096",
    ),
    net("kind: overlay, vnis: 1-5000"): (
        "networks.n.vnis: '1-5000' cannot be used; "
        "numbers from 1 to 16777215 as 1000-1499 or 5,7,9; at most 4096",
    ),
    net("kind: overlay, vnis: 9999999-10000000, bridge: 'tenant-{vni}-'"): (
        "networks.n.bridge: 'tenant-10000000-' is too long for a bridge; at most 15 characters, with the VNI in it",
    ),
    net("kind: overlay, vni: 1", "a-name-longer-than-15"): (
        "networks.a-name-longer-than-15: 'a-name-longer-than-15' is too long for a bridge; "
        "at most 15 characters, with the VNI in it",
    ),
    net("kind: bridge", "a-name-longer-than-15"): (
        "networks.a-name-longer-than-15: 'a-name-longer-than-15' is too long for a bridge; "
        "bridge: a device name of at most 15 characters",
    ),
    net("kind: routed, table: 2, uplink: e, gateways: [10.0.0.1, 10.0.0.2]"): (
        "networks.n.gateways: has two routers of one family; one of IPv4, one of IPv6",
    ),
    "underlay: {peers: [192.0.2.1, '2001:db8::1']}": (
        "underlay.peers: has addresses of both families; all of IPv4, or all of IPv6",
    ),
    "networks: {a: {kind: overlay, vni: 1}, b: {kind: overlay, vni: 1}}": (
        "networks.b: VNI 1 is that of a already; one network each",
    ),
    "networks: {a: {kind: overlay, vni: 1}, b: {kind: bridge, bridge: a}}": (
        "networks.b: device a is that of a already; one network each",
    ),
    "networks: {a: {kind: bridge, ports: [e]}, b: {kind: bridge, ports: [e]}}": (
        "networks.b: port e is that of a already; one network each",
    ),
    "networks: {a: {kind: routed, table: 2, uplink: e}, b: {kind: routed, table: 2, uplink: f}}": (
        "networks.b: table 2 is that of a already; one network each",
    ),
    tunnel(f"address: 10.0.0.1, public: a{KEY}") + "\nunderlay: {addresses: n, peers: [10.0.0.9]}": (
        "underlay.peers: are not within n; nodes of n, each with its public key",
    ),
    net("kind: bridge") + "\nunderlay: {addresses: n}": (
        "underlay.addresses: 'n' cannot be used; one of ssconf_node_secondary_ips, "
        "ssconf_node_primary_ips, or a network of kind wireguard",
    ),
    f"networks: {{n: {{kind: wireguard, nodes: {{a: {{address: 10.0.0.1, public: a{KEY}}}, "
    f"b: {{address: 10.0.0.1, public: a{KEY}}}}}}}}}": (
        "networks.n.nodes.b.address: is that of a already; one node each",
        "networks.n.nodes.b.public: is that of a already; one node each",
    ),
    "a: [1": ("did not find expected ',' or ']' (this is no YAML)",),
    "[" * 100000: (
        "brackets within brackets, or lists within lists, deeper than anything here (this is no YAML)",
    ),
    "a: *b": ("found undefined alias (this is no YAML)",),
    "a: &a [*a]": ("a: is not known here; allowed: underlay, evpn, networks, nodes",),
    "a: \ud800": ("surrogates not allowed (this is no YAML)",),
    "a: !!python/object/apply:os.system [x]": (
        "a: is not known here; allowed: underlay, evpn, networks, nodes",
    ),
}
"""What only the whole file shows, or YAML itself."""


@pytest.mark.parametrize(
    ("text", "expected"), [*BAD.items(), *WORSE.items()], ids=lambda value: repr(value)[:60]
)
def test_a_mistake_is_told_in_a_line(text: str, expected: tuple[str, ...]) -> None:
    told = mistakes(text, "f")
    assert [len(told), *(line.split(": ", 1)[1].endswith(words) for line, words in zip(told, expected))] == [
        len(expected),
        *(True for _ in expected),
    ], told
    assert all(line.startswith("f:") and line.isprintable() and len(line) < 300 for line in told)


def test_the_line_is_that_of_the_mistake() -> None:
    text = FULL.replace("uplink: eth5", "uplink: 'eth 5'").replace("table: 222", "tabel: 222")
    assert [line.split(": ")[0] for line in mistakes(text, "f")] == ["f:3", "f:5", "f:25"]
    with pytest.raises(BadConfig, match=r"^f:3: networks.public: has no table; .* \(and 2 more\)$"):
        parse(text, "f")


# --- the schema for editors


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


GOOD = (
    FULL,
    EVPN,
    "evpn: {as: 4200000000, mesh: yes}",
    "evpn: {as: 65000, reflectors: [10.0.0.1], frr: print}",
    "",
    "networks: {}",
    net("kind: overlay, vni: 1, mtu: 1400"),
    net("kind: overlay, vnis: 5"),
    net("kind: overlay, vni: 1, dhcp: {domain: example.com, lease: 60, filename: /a/b.efi}"),
    net("kind: overlay, vni: 1, gateway: [198.51.100.1/24, '2001:db8::1/64'], table: 5"),
    net("kind: bridge"),
    net("kind: routed, table: 2, uplink: e, gateways: ['fe80::1'], iif_rule: no"),
    net("kind: bridge, vlan_aware: no"),
    tunnel(f"address: 10.0.0.1, public: a{KEY}") + "\nunderlay: {addresses: n}",
    net("kind: bridge") + "\nnodes: {a: {n: {mtu: 2000, ports: [eth7]}}, b: {}}",
)


@pytest.mark.parametrize("text", GOOD, ids=lambda value: repr(value)[:60])
def test_the_schema_accepts_what_is_good(validator: Any, text: str) -> None:
    assert mistakes(text) == []
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize("text", BAD, ids=lambda value: repr(value)[:60])
def test_the_schema_refuses_what_is_bad(validator: Any, text: str) -> None:
    assert not validator.is_valid(yaml.safe_load(text)) or text in ONLY_US


ONLY_US = {
    net("kind: overlay, vni: 0x10"),
    "underlay: {addresses: ssconf_nodes}",
    net("kind: bridge, vlan_aware: true, vlans: 1-4095"),
}
"""What YAML itself makes something valid of, and what needs more than one place or a sum."""
