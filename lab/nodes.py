"""Ganeti nodes with many NICs: what Ganeti says of each, and the node that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.machine import Machine, environment
from lab.network import Lab

UPLINK, TABLE = "eth1", 222
PORTS = 1000
"""Taps in one bridge; the kernel takes 1023."""
Environment = dict[str, str]


def routed(number: int) -> Environment:
    """Dual stack, ip-less-routed with a firewall profile and a binding."""
    return environment(
        "add-routed-ifup-1",
        INTERFACE=f"tap{number}",
        MAC=f"aa:00:01:{_octets(number)}",
        IP=f"198.18.{1 + number // 250}.{1 + number % 250}",
        NETWORK_SUBNET="198.18.0.0/16",
        NETWORK_GATEWAY="198.18.0.1",
        INSTANCE=f"inst{number}.example.com",
        INTERFACE_UUID=f"5ac0de01-0000-4000-8000-{number:012}",
        TAGS="synnefo:network:0:protected",
    )


def fabric(number: int) -> Environment:
    """The same with all that a guest on a BGP fabric may have (docs/fabric.md), and be told."""
    made = routed(number)
    words = (
        "bgp:4200000001",
        f"allow:203.0.{number // 250}.{number % 250}",
        f"allow:2001:db8:7:{number:x}::/64",
    )
    return {
        **made,
        "NETWORK_TAGS": "dns nfdhcpd gateway-on-tap v6-from-v4 dhcp:ns:192.0.2.53 dhcp:mtu:1400",
        "TAGS": " ".join((made["TAGS"], *(f"snf-network:0:{word}" for word in words))),
    }


def filtered(number: int, profile: str = "") -> Environment:
    """private-filtered with a binding. All have one MAC prefix: a broadcast is for everybody."""
    bridge = f"prv{number // PORTS}"
    return environment(
        "add-bridged-ifup-1",
        INTERFACE=f"tap{number}",
        MAC=f"aa:55:60:{_octets(number)}",
        LINK=bridge,
        BRIDGE=bridge,
        IP=f"198.19.{1 + number // 250}.{1 + number % 250}",
        NETWORK_SUBNET="198.19.0.0/16",
        INSTANCE=f"inst{number}.example.com",
        INTERFACE_UUID=f"5ac0de03-0000-4000-8000-{number:012}",
        TAGS=profile and f"synnefo:network:0:{profile}",
    )


def pinned(number: int, profile: str = "") -> Environment:
    """The same with all addresses pinned, dual stack: the dearest that a bridged NIC can have."""
    return {
        **filtered(number, profile),
        "NETWORK_TAGS": "ip-filtered nfdhcpd private-filtered",
        "NETWORK_SUBNET6": "2001:db8:2::/64",
    }


def _octets(number: int) -> str:
    return ":".join(f"{octet:02x}" for octet in number.to_bytes(3, "big"))


def node(lab: Lab, name: str, uplink_to: Machine, far: str) -> Machine:
    """A node whose table 222 leads to `far` in `uplink_to`, with that router's MAC address known for good."""
    made = lab.machine(name)
    lab.cable(made, UPLINK, uplink_to, far)
    uplink_to.ip(f"link set {far} up")
    made.write("/etc/iproute2/rt_tables.d/snf.conf", f"{TABLE} snf_public\n")
    made.ip(
        f"link set {UPLINK} up",
        f"rule add iif {UPLINK} lookup {TABLE}",
        f"-6 rule add iif {UPLINK} lookup {TABLE}",
    )
    for family, gateway in (("-4", "198.51.100.1"), ("-6", "2001:db8:ffff::1")):
        made.ip(
            f"{family} route add default via {gateway} dev {UPLINK} table {TABLE} onlink",
            f"neigh replace {gateway} lladdr {address_of(uplink_to, far)} dev {UPLINK} nud permanent",
        )
    for key in ("all", UPLINK):
        made.sysctl(f"net/ipv4/conf/{key}/rp_filter", 0)
    for name in ("iptables", "ip6tables", "arptables") if Path("/proc/sys/net/bridge").exists() else ():
        made.sysctl(f"net/bridge/bridge-nf-call-{name}", 0)
    return made


def bridges(machine: Machine, everybody: Sequence[Environment]) -> None:
    """The bridges that the NICs name."""
    for name in {nic["LINK"]: None for nic in everybody if nic["MODE"] == "bridged"}:
        machine.ip(f"link add {name} type bridge forward_delay 0 mcast_snooping 0", f"link set {name} up")


def address_of(machine: Machine, device: str) -> str:
    """The MAC address of a device."""
    words = machine.out("ip", "-o", "link", "show", device).split()
    return words[words.index("link/ether") + 1]
