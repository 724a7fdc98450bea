"""A routed guest's addresses, and frames from it. The matrix of what it may send is the self-test's
(test_selftest.py).

The guest has the first address of each line below. The tap has TAP_MAC; NODE and NODE6 are the node's.
"""

from __future__ import annotations

import socket

from tests.netns import frames as f
from tests.netns.lab import Machine

MAC, TAP_MAC, OTHER_MAC = "aa:00:00:ad:35:c9", "cc:47:52:4e:45:54", "aa:00:00:00:00:66"
IP, GATEWAY, OTHER, NODE = "198.51.100.10", "198.51.100.1", "198.51.100.66", "192.0.2.1"
IP6, GATEWAY6, OTHER6, NODE6 = (
    "2001:db8:1:0:a800:ff:fead:35c9",
    "2001:db8:1::1",
    "2001:db8:1::66",
    "2001:db8:ffff::1",
)
LINK_LOCAL, TAP_LINK_LOCAL, FREE = (
    "fe80::a800:ff:fead:35c9",
    "fe80::ce47:52ff:fe4e:4554",
    "fe80::1234:5678:9abc:def0",
)


def to_node(packet: f.Packet, source: str = MAC, target: str = TAP_MAC) -> bytes:
    return f.ethernet(source, target, packet)


def to_group(packet: f.Packet) -> bytes:
    """Multicast IPv6, to the Ethernet group of its destination."""
    return f.ethernet(MAC, f.group_mac(socket.inet_ntop(socket.AF_INET6, packet[1][24:40])), packet)


def to_all(packet: f.Packet, source: str = MAC) -> bytes:
    return f.ethernet(source, f.BROADCAST, packet)


SLLAO, TLLAO, NOT_TLLAO = f.option(f.SOURCE, MAC), f.option(f.TARGET, MAC), f.option(f.TARGET, OTHER_MAC)


def by_hand(machine: Machine, family: str, **members: str) -> None:
    """Fill sets that no tag fills yet."""
    for name, member in members.items():
        machine.run("nft", "add", "element", family, "snf_network", name, f"{{ {member} }}")
