"""Frames that one guest sends, forged and legal: what no rule may let through, and what every rule must. For all modes alike.

The guest has the first address of each line below. The tap (routed) or the bridge (bridged) has TAP_MAC; NODE and NODE6 are the node's.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from tests.netns import frames as f
from tests.netns.lab import Machine

MAC, TAP_MAC, OTHER_MAC = "aa:00:00:ad:35:c9", "cc:47:52:4e:45:54", "aa:00:00:00:00:66"
IP, GATEWAY, OTHER, NODE = "198.51.100.10", "198.51.100.1", "198.51.100.66", "192.0.2.1"
IP6, GATEWAY6, OTHER6, NODE6 = "2001:db8:1:0:a800:ff:fead:35c9", "2001:db8:1::1", "2001:db8:1::66", "2001:db8:ffff::1"
LINK_LOCAL, TAP_LINK_LOCAL, FREE = "fe80::a800:ff:fead:35c9", "fe80::ce47:52ff:fe4e:4554", "fe80::1234:5678:9abc:def0"


class Case(NamedTuple):
    """A frame of the guest; `reason`, as it is counted, if it must be dropped."""

    name: str
    frame: bytes
    reason: str = ""


def to_node(packet: f.Packet, source: str = MAC, target: str = TAP_MAC) -> bytes:
    return f.ethernet(source, target, packet)


def to_group(packet: f.Packet) -> bytes:
    """Multicast IPv6, to the Ethernet group of its destination."""
    return f.ethernet(MAC, f.group_mac(socket.inet_ntop(socket.AF_INET6, packet[1][24:40])), packet)


def to_all(packet: f.Packet, source: str = MAC) -> bytes:
    return f.ethernet(source, f.BROADCAST, packet)


SLLAO, TLLAO, NONCE = f.option(f.SOURCE, MAC), f.option(f.TARGET, MAC), f.option(f.NONCE, b"nonce!")
NOT_SLLAO, NOT_TLLAO = f.option(f.SOURCE, OTHER_MAC), f.option(f.TARGET, OTHER_MAC)
RECORDS, ALERT = bytes((0, 0, 0, 1, 4, 0, 0, 0)) + f.octets("ff02::1:ffad:35c9"), bytes((0, 5, 2, 0, 0, 1, 0))
MLD = f.behind(f.icmp6("::", "ff02::16", 143, RECORDS, 1), 0, ALERT)  # behind the router alert option
UNDERLAY = "192.0.2.77"
EXTRA, EXTRA6 = "203.0.114.5", "2001:db8:77::5"
CUT = f.ip(IP6, NODE6, f.FRAGMENT, bytes((f.UDP, 0, 0, 1, 0, 0, 0, 77)) + b"\0")  # the first octet of a port, and no more
AH = f.behind(f.ra(LINK_LOCAL), f.AH, bytes((4, 0, 0)) + bytes(20))

FORGED = (
    Case("MAC of another, IPv4", to_node(f.udp(IP, NODE), OTHER_MAC), "src-mac"),
    Case("MAC of another, IPv6", to_node(f.udp(IP6, NODE6), OTHER_MAC), "src-mac"),
    Case("MAC of the tap, IPv4", to_node(f.udp(IP, NODE), TAP_MAC), "src-mac"),
    Case("MAC of another, DHCP", to_all(f.dhcp(MAC, 1), OTHER_MAC), "src-mac"),
    Case("IPv4 of a neighbour", to_node(f.udp(OTHER, NODE)), "ip4-src"),
    Case("IPv4 of the gateway", to_node(f.udp(GATEWAY, NODE)), "ip4-src"),
    Case("IPv4 of nobody, no DHCP", to_all(f.udp("0.0.0.0", "255.255.255.255", 68, 4000)), "ip4-src"),
    Case("IPv4 fragment of a neighbour", to_node(f.ip(OTHER, NODE, f.UDP, b"rest of it", fragment=100)), "ip4-src"),
    Case("IPv6 of a neighbour", to_node(f.udp(OTHER6, NODE6)), "ip6-src"),
    Case("IPv6 of the gateway", to_node(f.udp(GATEWAY6, NODE6)), "ip6-src"),
    Case("IPv6 of nobody, no DAD", to_node(f.udp("::", NODE6)), "ip6-src"),
    Case("echo from ::", to_group(f.ping("::", "ff02::1")), "ip6-src"),
    Case("link-local of the tap", to_node(f.udp(TAP_LINK_LOCAL, TAP_LINK_LOCAL)), "ip6-ll-src"),
    Case("link-local of the tap, NS", to_group(f.ns(TAP_LINK_LOCAL, GATEWAY6)), "ip6-ll-src"),
    Case("ARP frame from another MAC", to_all(f.arp(1, MAC, IP, GATEWAY), OTHER_MAC), "src-mac"),
    Case("ARP of another MAC", to_all(f.arp(1, OTHER_MAC, IP, GATEWAY)), "arp-mac"),
    Case("ARP request in a neighbour's name", to_all(f.arp(1, MAC, OTHER, GATEWAY)), "arp-ip"),
    Case("ARP reply in the gateway's name", to_node(f.arp(2, MAC, GATEWAY, NODE)), "arp-ip"),
    Case("gratuitous ARP for a neighbour", to_all(f.arp(2, MAC, OTHER, OTHER)), "arp-ip"),
    Case("ARP reply of nobody", to_node(f.arp(2, MAC, "0.0.0.0", NODE)), "arp-ip"),
    Case("ARP that is neither request nor reply", to_all(f.arp(9, MAC, IP, GATEWAY)), "arp-form"),
    Case("NA for a neighbour", to_group(f.na(LINK_LOCAL, OTHER6, TLLAO)), "na-target"),
    Case("NA for the gateway", to_group(f.na(LINK_LOCAL, GATEWAY6, TLLAO)), "na-target"),
    Case("NA for the node", to_group(f.na(IP6, NODE6)), "na-target"),
    Case("NA for the tap's link-local", to_group(f.na(LINK_LOCAL, TAP_LINK_LOCAL, TLLAO)), "na-target"),
    Case("NA with another's MAC", to_group(f.na(IP6, IP6, NOT_TLLAO)), "na-lladdr"),
    Case("NA with two options", to_group(f.na(IP6, IP6, TLLAO + NOT_TLLAO)), "na-lladdr"),
    Case("NS with another's MAC", to_group(f.ns(IP6, GATEWAY6, NOT_SLLAO)), "ns-lladdr"),
    Case("NS with another's MAC second", to_group(f.ns(IP6, GATEWAY6, NONCE + NOT_SLLAO)), "ns-lladdr"),
    Case("RS with another's MAC", to_group(f.rs(LINK_LOCAL, NOT_SLLAO)), "rs-lladdr"),
    Case("DAD for a neighbour", to_group(f.ns("::", OTHER6)), "dad-target"),
    Case("DAD for the gateway", to_group(f.ns("::", GATEWAY6, NONCE)), "dad-target"),
    Case("DAD for the tap's link-local", to_group(f.ns("::", TAP_LINK_LOCAL)), "dad-target"),
    Case("DAD with a MAC", to_group(f.ns("::", IP6, SLLAO)), "ns-lladdr"),
    Case("RA", to_group(f.ra(LINK_LOCAL)), "ra"),
    Case("RA from a free link-local", to_group(f.ra(FREE)), "ra"),
    Case("redirect", to_node(f.redirect(LINK_LOCAL, TAP_LINK_LOCAL, NODE6, LINK_LOCAL)), "redirect"),
    Case("DHCP server", to_all(f.dhcp(MAC, 2, IP, "255.255.255.255")), "dhcp-server"),
    Case("DHCPv6 server", to_node(f.dhcp6(LINK_LOCAL, 2, TAP_LINK_LOCAL)), "dhcp-server"),
    Case("DHCPv6 server behind options", to_node(f.with_dstopts(f.dhcp6(LINK_LOCAL, 2, TAP_LINK_LOCAL))), "dhcp-server"),
    Case("RA behind options", to_group(f.with_dstopts(f.ra(LINK_LOCAL))), "nd-ext"),
    Case("NA behind options", to_group(f.with_dstopts(f.na(LINK_LOCAL, OTHER6))), "nd-ext"),
    Case("NS as a fragment", to_group(f.fragmented(f.ns(IP6, GATEWAY6))), "nd-ext"),
    Case("RA behind AH", to_group(AH), "nd-ext"),
    Case("UDP header cut by the fragment", to_node(CUT), "ext-cut"),
    Case("IPv4 in IPv4 to the underlay", to_node(f.ip(IP, UNDERLAY, 4, f.udp(OTHER, NODE)[1])), "tunnel"),
    Case("IPv6 in IPv4 to the underlay", to_node(f.ip(IP, UNDERLAY, 41, f.udp(OTHER6, NODE6)[1])), "tunnel"),
    Case("GRE to the underlay", to_node(f.ip(IP, UNDERLAY, 47, b"\0\0\x08\0rest")), "tunnel"),
    Case("VXLAN to the underlay", to_node(f.udp(IP, UNDERLAY, 4000, 4789)), "tunnel"),
)
LEGAL = (
    Case("UDP", to_node(f.udp(IP, NODE))),
    Case("UDP over IPv6", to_node(f.udp(IP6, NODE6))),
    Case("TCP", to_node(f.tcp(IP, NODE, 4000, 22))),
    Case("TCP over IPv6", to_node(f.tcp(IP6, NODE6, 4000, 22))),
    Case("echo", to_node(f.ping(IP, NODE))),
    Case("echo over IPv6", to_node(f.ping(IP6, NODE6))),
    Case("echo behind options", to_node(f.with_dstopts(f.ping(IP6, NODE6)))),
    Case("TCP behind options", to_node(f.with_dstopts(f.tcp(IP6, NODE6, 4000, 22)))),
    Case("first fragment of UDP", to_node(f.fragmented(f.udp(IP6, NODE6), more=True))),
    Case("fragment of UDP", to_node(f.ip(IP, NODE, f.UDP, b"rest of it", fragment=100))),
    Case("fragment of UDP, IPv6", to_node(f.behind(f.udp(IP6, NODE6), f.FRAGMENT, bytes((0, 0, 64, 0, 0, 0, 9))))),
    Case("tunnel to elsewhere", to_node(f.ip(IP, NODE, 41, f.udp(OTHER6, NODE6)[1]))),
    Case("UDP from EUI-64 link-local", to_node(f.udp(LINK_LOCAL, TAP_LINK_LOCAL))),
    Case("UDP from a free link-local", to_node(f.udp(FREE, TAP_LINK_LOCAL))),
    Case("ARP request", to_all(f.arp(1, MAC, IP, GATEWAY))),
    Case("ARP reply", to_node(f.arp(2, MAC, IP, GATEWAY))),
    Case("gratuitous ARP", to_all(f.arp(1, MAC, IP, IP))),
    Case("ARP probe", to_all(f.arp(1, MAC, "0.0.0.0", IP))),
    Case("NS", to_group(f.ns(IP6, GATEWAY6, SLLAO))),
    Case("NS from link-local", to_group(f.ns(LINK_LOCAL, GATEWAY6, SLLAO))),
    Case("NS to one", to_node(f.ns(IP6, GATEWAY6, to=GATEWAY6))),
    Case("NA", to_group(f.na(IP6, IP6, TLLAO))),
    Case("NA without option", to_group(f.na(IP6, IP6))),
    Case("NA for link-local", to_group(f.na(LINK_LOCAL, LINK_LOCAL, TLLAO))),
    Case("NA for a free link-local", to_group(f.na(FREE, FREE, TLLAO))),
    Case("DAD", to_group(f.ns("::", IP6))),
    Case("DAD with nonce", to_group(f.ns("::", IP6, NONCE))),
    Case("DAD for link-local", to_group(f.ns("::", LINK_LOCAL, NONCE))),
    Case("DAD for a free link-local", to_group(f.ns("::", FREE, NONCE))),
    Case("RS", to_group(f.rs(LINK_LOCAL, SLLAO))),
    Case("RS from a free link-local", to_group(f.rs(FREE))),
    Case("RS from ::", to_group(f.rs("::"))),
    Case("MLD from ::", to_group(MLD)),
    Case("MLD from link-local", to_group(f.behind(f.icmp6(LINK_LOCAL, "ff02::16", 143, RECORDS, 1), 0, ALERT))),
    Case("DHCP DISCOVER", to_all(f.dhcp(MAC, 1))),
    Case("DHCP renewal", to_node(f.dhcp(MAC, 1, IP, NODE))),
    Case("DHCPv6 SOLICIT", to_group(f.dhcp6(LINK_LOCAL, 1))),
    Case("UDP from an allowed prefix", to_node(f.udp(EXTRA, NODE))),
    Case("ARP from an allowed prefix", to_all(f.arp(1, MAC, EXTRA, GATEWAY))),
    Case("UDP from an allowed prefix, IPv6", to_node(f.udp(EXTRA6, NODE6))),
    Case("NA for an allowed prefix", to_group(f.na(EXTRA6, EXTRA6, TLLAO))),
    Case("DAD for an allowed prefix", to_group(f.ns("::", EXTRA6))),
)


def by_hand(machine: Machine, family: str, **members: str) -> None:
    """Fill sets that no tag fills yet."""
    for name, member in members.items():
        machine.run("nft", "add", "element", family, "snf_network", name, f"{{ {member} }}")


def allow_extra(machine: Machine, family: str, tap: str) -> None:
    """The prefixes that the NIC may use beside its addresses; and where no tunnel may lead to."""
    by_hand(machine, family, nets4=f"{tap} . {MAC} . 203.0.114.0/24")
    if family != "arp":
        by_hand(machine, family, nets6=f"{tap} . {MAC} . 2001:db8:77::/64", tgtnets=f"{tap} . 0x20010db80077{'0' * 20}/64")
        by_hand(machine, family, underlay=UNDERLAY)
