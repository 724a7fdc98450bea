"""The frames as an independent implementation reads and writes them: scapy, which the program never uses."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (
    DUID_LL,
    DHCP6_Advertise,
    DHCP6_Solicit,
    DHCP6OptClientId,
    DHCP6OptDNSDomains,
    DHCP6OptDNSServers,
    DHCP6OptIA_NA,
    DHCP6OptIAAddress,
    DHCP6OptServerId,
)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDNSSL,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether

from tests.dhcpd.clients import LINK_LOCAL, ROUTER, answer, guest, with_
from tests.dhcpd.test_golden import CASES

TAP, MAC = "cc:47:52:4e:45:54", "aa:00:00:12:34:56"
GUEST = guest(with_(MTU="1400"))


def exchanged(packet: Any, expected: str) -> Any:
    """The reply to a frame that scapy made, as scapy reads it."""
    sent, said = answer(bytes(packet), GUEST)
    assert said == expected
    return Ether(sent[0])


def test_dhcpv4() -> None:
    reply = exchanged(
        Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff")
        / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67)
        / BOOTP(chaddr=bytes.fromhex("aa0000123456"), xid=0x1234)
        / DHCP(options=[("message-type", 1), "end"]),
        "offer",
    )
    assert (reply.src, reply.dst, reply[IP].src, reply[IP].dst) == (TAP, MAC, "192.0.2.1", "198.51.100.10")
    assert (reply[BOOTP].yiaddr, reply[BOOTP].xid, reply[BOOTP].op) == ("198.51.100.10", 0x1234, 2)
    options = dict(option[:2] for option in reply[DHCP].options if isinstance(option, tuple))
    assert options == {
        "message-type": 2,
        "server_id": "192.0.2.1",
        "lease_time": 604800,
        "renewal_time": 3600,
        "rebinding_time": 529200,
        "subnet_mask": "255.255.255.0",
        "router": "198.51.100.1",
        "name_server": "192.0.2.2",
        "interface-mtu": 1400,
        "hostname": b"vm1.example.com",
        "domain": b"example.com",
        "broadcast_address": "198.51.100.255",
    }


def test_router_advertisement() -> None:
    reply = exchanged(
        Ether(src=MAC, dst="33:33:00:00:00:02")
        / IPv6(src=LINK_LOCAL, dst="ff02::2", hlim=255)
        / ICMPv6ND_RS()
        / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
        "ra",
    )
    assert (reply[IPv6].src, reply[IPv6].dst, reply[IPv6].hlim) == (ROUTER, "ff02::1", 255)
    assert (reply[ICMPv6ND_RA].M, reply[ICMPv6ND_RA].O, reply[ICMPv6ND_RA].routerlifetime) == (1, 1, 9000)
    assert reply[ICMPv6NDOptSrcLLAddr].lladdr == TAP and reply[ICMPv6NDOptMTU].mtu == 1400
    prefix = reply[ICMPv6NDOptPrefixInfo]
    assert (prefix.prefix, prefix.prefixlen, prefix.L, prefix.A) == ("2001:db8:1::", 64, 0, 0)
    assert reply[ICMPv6NDOptRDNSS].dns == ["2001:db8:100::1"] and reply[ICMPv6NDOptDNSSL].searchlist == [
        "example.com."
    ]


def test_neighbour_advertisement() -> None:
    reply = exchanged(
        Ether(src=MAC, dst="33:33:ff:00:00:01")
        / IPv6(src=LINK_LOCAL, dst="ff02::1:ff00:1", hlim=255)
        / ICMPv6ND_NS(tgt="2001:db8:1::1")
        / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
        "na",
    )
    found = reply[ICMPv6ND_NA]
    assert (found.R, found.S, found.O, found.tgt) == (1, 1, 0, "2001:db8:1::1")
    assert reply[ICMPv6NDOptDstLLAddr].lladdr == TAP and (reply[IPv6].dst, reply.dst) == (LINK_LOCAL, MAC)


def test_dhcpv6() -> None:
    reply = exchanged(
        Ether(src=MAC, dst="33:33:00:01:00:02")
        / IPv6(src=LINK_LOCAL, dst="ff02::1:2")
        / UDP(sport=546, dport=547)
        / DHCP6_Solicit(trid=0x1234)
        / DHCP6OptClientId(duid=DUID_LL(lladdr=MAC))
        / DHCP6OptIA_NA(iaid=7),
        "advertise6",
    )
    assert reply[DHCP6_Advertise].trid == 0x1234
    assert reply[DHCP6OptServerId].duid == DUID_LL(lladdr=TAP) and reply[DHCP6OptClientId].duid == DUID_LL(
        lladdr=MAC
    )
    assert reply[DHCP6OptIA_NA].iaid == 7
    assert reply[DHCP6OptIA_NA].ianaopts[0][DHCP6OptIAAddress].addr == "2001:db8:1:0:a800:ff:fe12:3456"
    assert reply[DHCP6OptDNSServers].dnsservers == ["2001:db8:100::1"] and reply[
        DHCP6OptDNSDomains
    ].dnsdomains == ["example.com."]


@pytest.mark.parametrize("name", CASES)
def test_lengths_and_checksums_are_what_scapy_would_write(name: str) -> None:
    who, asked = CASES[name]
    for sent in answer(asked, who)[0]:
        packet = Ether(sent)
        for layer in packet.layers():
            for field in ("chksum", "cksum", "len", "plen"):
                if field in packet[layer].fields and layer in (IP, UDP, IPv6, ICMPv6ND_RA, ICMPv6ND_NA):
                    delattr(packet[layer], field)
        assert bytes(packet) == sent
