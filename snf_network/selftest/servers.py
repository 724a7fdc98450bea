"""Rows of the matrix: messages that only a server or router sends, and what is neither IP nor ARP."""

from __future__ import annotations

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import (
    ANY,
    FREE,
    GATEWAY,
    GUARD,
    IN_PREFIX4,
    IP,
    LINK_LOCAL,
    MAC,
    NODE,
    NODE6,
    OTHER,
    SERVED,
    TRUNK,
    Guest,
    Row,
)

FIRST = 0x2000
"""IPv4 flag: more fragments follow."""
NO_VLAN = (f.VLAN, 0)
"""A priority tag without a VLAN: a Linux guest accepts the frame as untagged."""
LOCAL, EXT, ANSWERED = {LINK_LOCAL: "ip6-ll-src"}, {IP: "nd-ext"}, {SERVED: "answered"}
RA, DHCP, QUERY = {GUARD: "ra"}, {GUARD: "dhcp-server"}, {GUARD: "querier"}


def _igmp(name: str, kind: int, group: int, fragment: int = 0) -> Row:
    """An IGMP message to 224.0.0.`group`."""

    def frame(g: Guest) -> bytes:
        packet = f.igmp(g.ip, kind, f"224.0.0.{group}", fragment)
        return g.frame(packet, target=f"01:00:5e:00:00:{group:02x}")

    return Row(name, frame, QUERY)


CHADDR = {IP: "dhcp-chaddr"}
HEADERS = (0, f.ROUTING, f.FRAGMENT, f.AH, f.DSTOPTS, 135)


def _hidden(header: int) -> Row:
    """A router advertisement behind a further header after AH, which nft does not parse."""
    body = bytes(23) if header == f.AH else bytes(7)
    return Row(
        f"RA behind header {header} behind AH",
        lambda g: g.group(f.behind_ah(f.behind(f.ra(g.local), header, body))),
        EXT | {GUARD: "nd-ext"},
    )


def _split(g: Guest, packet: f.Packet) -> f.Packet:
    """The first fragment of a datagram: only its ports."""
    return f.ip(g.ip, NODE, f.UDP, packet[1][20:28], fragment=FIRST)


SERVERS = (
    Row("RA", lambda g: g.group(f.ra(g.local)), RA),
    Row("RA from a free link-local", lambda g: g.group(f.ra(FREE)), LOCAL | RA),
    Row("RA behind options", lambda g: g.group(f.with_dstopts(f.ra(g.local))), EXT | RA),
    Row(
        "RA behind options in a fragment",
        lambda g: g.group(f.fragmented(f.with_dstopts(f.ra(g.local)))),
        EXT | RA,
    ),
    Row("RA, fragmented", lambda g: g.group(f.fragmented(f.ra(g.local))), EXT | RA),
    Row("RA behind AH", lambda g: g.group(f.behind_ah(f.ra(g.local))), EXT | {GUARD: "nd-ext"}),
    Row(
        "ICMP redirect",
        lambda g: g.frame(f.icmp4(g.ip, NODE, 5, 1, f.octets(g.ip) + f.udp(NODE, OTHER)[1])),
        {GUARD: "redirect"},
    ),
    Row(
        "ICMP router advertisement",
        lambda g: g.frame(f.icmp4(g.ip, NODE, 9, 0, b"\1\2\7\10" + f.octets(g.ip) + bytes(4))),
        RA,
    ),
    Row("IGMP query", lambda g: g.frame(f.igmp_query(g.ip), target="01:00:5e:00:00:01"), QUERY),
    Row(
        "IGMP query that no host hears",
        lambda g: g.frame(f.igmp_query(g.ip), target="01:00:5e:66:66:66"),
        QUERY,
    ),
    _igmp("IGMP query, as if it were a last fragment", 0x11, 1, fragment=100),
    _igmp("IGMP query, as if it were a first fragment", 0x11, 1, fragment=FIRST),
    _igmp("IGMP report, as if it were a last fragment", 0x16, 1, fragment=100),
    _igmp("IGMP report, as if it were a first fragment", 0x16, 1, fragment=FIRST),
    _igmp("IGMP advertisement of a multicast router", 0x30, 106),
    _igmp("IGMP termination of a multicast router", 0x32, 106),
    _igmp("DVMRP probe", 0x13, 4),
    _igmp("PIM query of version 1", 0x14, 2),
    Row(
        "IGMP query from 0.0.0.0",
        lambda g: g.frame(f.igmp_query("0.0.0.0"), target="01:00:5e:00:00:01"),
        {IP: "ip4-src"} | QUERY,
    ),
    Row("PIM hello", lambda g: g.frame(f.pim(g.ip), target="01:00:5e:00:00:0d"), QUERY),
    Row("PIM hello, IPv6", lambda g: g.group(f.pim(g.local)), QUERY),
    Row("PIM hello behind options", lambda g: g.group(f.with_dstopts(f.pim(g.local))), QUERY),
    Row("MLD query", lambda g: g.group(f.mld_query(g.local)), QUERY),
    Row("MLD query from ::", lambda g: g.group(f.mld_query("::")), {IP: "ip6-src"} | QUERY),
    *map(_hidden, HEADERS),
    Row("MLD query behind AH", lambda g: g.group(f.mld_query(g.local, hidden=1)), EXT | {GUARD: "nd-ext"}),
    Row(
        "MLD query behind AH twice",
        lambda g: g.group(f.mld_query(g.local, hidden=2)),
        EXT | {GUARD: "nd-ext"},
    ),
    Row(
        "RA behind AH twice",
        lambda g: g.group(f.behind_ah(f.behind_ah(f.ra(g.local)))),
        EXT | {GUARD: "nd-ext"},
    ),
    Row(
        "multicast router advertisement",
        lambda g: g.group(f.icmp6(g.local, "ff02::6a", 151, bytes(4), 1)),
        QUERY,
    ),
    Row("multicast router termination", lambda g: g.group(f.icmp6(g.local, "ff02::6a", 153, b"", 1)), QUERY),
    Row("RS behind options", lambda g: g.group(f.with_dstopts(f.rs(g.local))), EXT | ANSWERED),
    Row(
        "ICMPv6 redirect behind options",
        lambda g: g.frame(f.with_dstopts(f.redirect(g.local, g.router, NODE6, g.local))),
        EXT | {GUARD: "redirect"},
    ),
    Row(
        "ICMPv6 redirect",
        lambda g: g.frame(f.redirect(g.local, g.router, NODE6, g.local)),
        {GUARD: "redirect"},
    ),
    Row(
        "DHCP discover in another's name",
        lambda g: g.frame(f.dhcp(g.foreign, 1), target=f.BROADCAST),
        ANSWERED | CHADDR,
    ),
    Row(
        "DHCP release in another's name",
        lambda g: g.frame(f.dhcp(g.foreign, 1, g.ip, NODE, kind=7)),
        ANSWERED | CHADDR,
    ),
    Row(
        "DHCP release in another's name, from a port of its choice",
        lambda g: g.frame(f.dhcp(g.foreign, 1, g.ip, NODE, kind=7, port=4000)),
        ANSWERED | CHADDR,
    ),
    Row(
        "DHCP release in another's name, from a server's port",
        lambda g: g.frame(f.dhcp(g.foreign, 1, g.ip, NODE, kind=7, port=67)),
        ANSWERED | CHADDR,
    ),
    Row(
        "DHCP release in another's name, with a relay's address",
        lambda g: g.frame(f.dhcp(g.foreign, 1, g.ip, NODE, kind=7, relay=g.ip)),
        ANSWERED | CHADDR,
    ),
    Row(
        "DHCP release, first fragment",
        lambda g: g.frame(_split(g, f.dhcp(g.foreign, 1, g.ip, NODE, kind=7))),
        ANSWERED | CHADDR,
    ),
    Row(
        "DHCP release in another's name, allowed prefix",
        lambda g: g.frame(f.dhcp(g.foreign, 1, IN_PREFIX4, NODE, kind=7)),
        {IP: "ip4-src"} | ANSWERED,
        allowed=True,
        then="dhcp-chaddr",
    ),
    Row("DHCPv4 server", lambda g: g.frame(f.dhcp(g.mac, 2, g.ip), target=f.BROADCAST), DHCP),
    Row(
        "DHCPv4 server, another port",
        lambda g: g.frame(f.udp(g.ip, "255.255.255.255", 4000, 68), target=f.BROADCAST),
        DHCP,
    ),
    Row("DHCPv4 server, by a relay", lambda g: g.frame(f.udp(g.ip, GATEWAY, 67, 67)), ANSWERED | DHCP),
    Row(
        "DHCPv4 relay",
        lambda g: g.frame(f.dhcp(g.foreign, 1, g.ip, GATEWAY, port=67, relay=g.ip)),
        ANSWERED | DHCP,
    ),
    Row(
        "DHCPv4 client, from a server's port",
        lambda g: g.frame(f.dhcp(g.mac, 1, g.ip, GATEWAY, port=67)),
        ANSWERED | DHCP,
    ),
    Row(
        "DHCPv4 server, first fragment",
        lambda g: g.frame(f.ip(g.ip, NODE, f.UDP, f.dhcp(g.mac, 2)[1][20:60], fragment=FIRST)),
        DHCP,
    ),
    Row("DHCPv6 server", lambda g: g.frame(f.dhcp6(g.local, 2, g.router)), DHCP),
    Row("DHCPv6 server, by a relay", lambda g: g.frame(f.udp(g.local, g.router, 547, 547)), ANSWERED | DHCP),
    Row("DHCPv6 server, another port", lambda g: g.frame(f.udp(g.local, g.router, 4000, 546)), DHCP),
    Row(
        "DHCPv6 server behind options", lambda g: g.frame(f.with_dstopts(f.dhcp6(g.local, 2, g.router))), DHCP
    ),
)
TYPE, LLC, TAGGED = {IP: "ethertype"}, {ANY: "ethertype"}, {ANY: "tagged"}
BRIDGES = "01:80:c2:00:00:00"
"""The group address of spanning tree: a bridge with STP off forwards such frames to the uplink's switch."""


def _type(name: str, kind: int, why: dict[str, str]) -> Row:
    """A frame whose ethertype means something to a switch, but is useless to a pinned NIC."""
    return Row(name, lambda g: g.frame((kind, b"\0\5\x08\0text")), TYPE | why, bridged=True)


ETHERNET = (
    Row("other ethertype", lambda g: g.frame((f.LOCAL, b"\0\0text")), TYPE, bridged=True),
    Row("PPPoE discovery", lambda g: g.frame((0x8863, b"\0\0text")), TYPE, bridged=True),
    Row("spanning tree's LLC", lambda g: g.frame((38, b"\x42\x42\3\0\0\0\0")), LLC, bridged=True),
    Row(
        "spanning tree's LLC, to 01:80:c2:00:00:00",
        lambda g: g.frame((38, b"\x42\x42\3\0\0\0\0"), target=BRIDGES),
        LLC,
        bridged=True,
    ),
    Row("ARP in LLC/SNAP", lambda g: g.frame(f.snap(f.arp(2, g.foreign, GATEWAY, NODE))), LLC, bridged=True),
    Row("RA in LLC/SNAP", lambda g: g.frame(f.snap(f.ra(g.local))), LLC, bridged=True),
    Row(
        "802.1Q of its trunk",
        lambda g: g.frame(f.udp(g.ip, NODE), tags=((f.VLAN, TRUNK),)),
        TAGGED,
        bridged=True,
        trunk=True,
    ),
    Row(
        "802.1Q of its trunk, source MAC",
        lambda g: g.frame(f.udp(g.ip, NODE), g.foreign, tags=((f.VLAN, TRUNK),)),
        {MAC: "src-mac"} | TAGGED,
        bridged=True,
    ),
    Row(
        "802.1ad of its trunk",
        lambda g: g.frame(f.udp(g.ip, NODE), tags=((f.QINQ, TRUNK),)),
        TAGGED,
        bridged=True,
    ),
    Row("802.1Q", lambda g: g.frame(f.udp(g.ip, NODE), tags=((f.VLAN, 5),)), TAGGED, bridged=True),
    Row(
        "802.1Q, priority only, ARP",
        lambda g: g.frame(f.arp(1, g.mac, g.ip, GATEWAY), tags=(NO_VLAN,)),
        TAGGED,
        bridged=True,
    ),
    Row("802.1Q, priority only, RA", lambda g: g.frame(f.ra(g.local), tags=(NO_VLAN,)), TAGGED, bridged=True),
    *(_type(f"a tag of {kind:#06x}", kind, TAGGED) for kind in (0x9100, 0x9200, 0x9300, 0x88E7)),
    *(_type(name, kind, LLC) for name, kind in (("MVRP", 0x88F5), ("MMRP", 0x88F6))),
    Row("802.1ad", lambda g: g.frame(f.udp(g.ip, NODE), tags=((f.QINQ, 5),)), TAGGED, bridged=True),
    Row("QinQ", lambda g: g.frame(f.udp(g.ip, NODE), tags=((f.QINQ, 5), (f.VLAN, 6))), TAGGED, bridged=True),
    Row(
        "QinQ, VLAN 0 in 0, ARP",
        lambda g: g.frame(f.arp(1, g.mac, OTHER, GATEWAY), tags=(NO_VLAN, NO_VLAN)),
        TAGGED,
        bridged=True,
    ),
)
