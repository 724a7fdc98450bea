"""Nodes to draw. `python3 -m tests.drawing > docs/node.svg` makes the picture in the documentation."""

from __future__ import annotations

import sys

from snf_network.commands.draw import svg
from snf_network.commands.draw.picture import BRIDGE, TABLE, UP, Nic, Picture, Place, picture
from snf_network.observe.devices import Device, Gateway

WHEN = "2026-11-27 12:00"
ROUTED, PRIVATE, LAN = (TABLE, "222"), (BRIDGE, "prv0"), (BRIDGE, "br0")
GATEWAYS = {"222": (Gateway("198.51.100.1", "eth1"), Gateway("2001:db8:1::1", "eth1"))}


def device(name: str, kind: str = "", master: str = "", **more: object) -> Device:
    """A device that is up."""
    values = {"up": True, "carrier": True, "mtu": 1500, "lower": "", "number": "", "vlan_aware": False}
    return Device(name=name, kind=kind, master=master, **{**values, "addresses": (), **more})  # type: ignore[arg-type]


DEVICES = {
    one.name: one
    for one in (
        device("eth0", master="bond0"),
        device("eth1"),
        device("eth2", master="prv0", mtu=9000, carrier=False),
        device("eth3", master="bond0"),
        device("bond0", "bond"),
        device("bond0.7", "vlan", master="br0", lower="bond0", number="7"),
        device("br0", "bridge", addresses=("192.0.2.5/24", "2001:db8:9::5/64")),
        device("prv0", "bridge", mtu=9000, vlan_aware=True),
        device("virbr0", "bridge"),
    )
}


def nic(number: int) -> tuple[Place, Nic]:
    """A NIC and its place: of three, one is routed and two are bridged."""
    name = f"{('web', 'db', 'mail', 'build', 'cache')[number % 5]}{number // 5 + 1}.example.com"
    tap, station = f"tap{number}", f"aa:00:00:00:00:{number:02x}"
    state = {4: "incomplete", 7: "down"}.get(number, UP)
    if number % 3 == 0:
        addresses = (f"198.51.100.{10 + number}", f"2001:db8:1:0:a800:ff:fe00:{number:x}")
        tags = ("ip-less-routed", "nfdhcpd")
        profile = "protected" if number % 2 else ""
        return ROUTED, Nic(tap, state, name, "pub0", "internet", "", profile, tags, station, addresses)
    if number % 3 == 1:
        tags, vlan = ("private-filtered",), f"VLAN {100 + number % 2}"
        return PRIVATE, Nic(
            tap, state, name, "1", "private-1", vlan, "", tags, station, (f"10.0.0.{number}",)
        )
    return LAN, Nic(tap, state, name, "0", "lan", mac=station)


def node(count: int) -> Picture:
    """A node with so many NICs."""
    nics: dict[Place, list[Nic]] = {}
    for place, one in map(nic, range(count)):
        nics.setdefault(place, []).append(one)
    return picture("node1.example.com", nics, DEVICES, GATEWAYS, {"222": "snf_public"})


def crowd(count: int, name: str = "prv") -> Picture:
    """A node with a bridge for each NIC, and an uplink for each bridge."""
    nics: dict[Place, list[Nic]] = {
        (BRIDGE, f"{name}{number}"): [Nic(f"tap{number}", UP, f"guest{number}.example.com")]
        for number in range(count)
    }
    devices = {
        one.name: one
        for number in range(count)
        for one in (
            device(f"{name}{number}", "bridge"),
            device(f"eth1.{number}", "vlan", f"{name}{number}", lower="eth1", number=str(number)),
        )
    }
    return picture("node2", nics, devices, {}, {})


if __name__ == "__main__":
    sys.stdout.write(svg.text(node(8), WHEN))
