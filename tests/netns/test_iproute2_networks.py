"""What `net plan` prints is what runs: the kinds of Resource that only networks use, by iproute2 on one
machine and by our messages on another.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from snf_network.model.networks import Networks, Overlay, Site, Underlay
from snf_network.model.resources import Element, Port, Resource
from snf_network.model.resources.devices import Device, NoAddress, PortOption
from snf_network.model.resources.hosts import HostAddress, IifEnd
from snf_network.model.resources.routes import PolicyRule
from snf_network.model.resources.tunnel import Unreachable
from snf_network.model.resources.underlay import Flood, IifRule, Learned
from snf_network.networks import wanted
from snf_network.networks.bridge import OPTIONS
from snf_network.observe import readback
from tests.netns.lab import Machine
from tests.netns.test_iproute2 import by_messages

BRIDGE = Device("ov100", "bridge", "", OPTIONS)
VXLAN = Device("vx100", "vxlan", "id 100 dstport 4789", "local 10.99.0.1 ttl 64 tos 0x2 learning")
VXLAN6 = Device("vx100", "vxlan", "id 100 dstport 4790", "local fd99::1 ttl 64 tos 0x2 learning")
CHANCE = {
    *("address", "bridge_id", "root_id", "designated_bridge", "ifindex", "flags", "operstate", "qdisc"),
    *("hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "hold_timer", "message_age_timer"),
    *("forward_delay_timer", "id", "no", "designated_port"),
}


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Machine, Machine]]:
    machines = Machine("theirs"), Machine("ours")
    for machine in machines:
        machine.ip("link add eth1 type veth peer name far", "link set eth1 up", "link set far up")
    yield machines
    for machine in machines:
        machine.close()


@pytest.fixture(autouse=True)
def afresh(twins: tuple[Machine, Machine]) -> Iterator[None]:
    yield
    for machine in twins:
        for device in ("vx100", "ov100"):
            machine.run("ip", "link", "del", device, check=False)


def by_lines(machine: Machine, resources: Sequence[Resource], add: bool) -> None:
    """Type each line; a Device that is there already gets the other line."""
    for resource in resources:
        line = resource.add() if add else resource.delete()
        if isinstance(resource, Device) and add and present(machine, resource.interface):
            line = resource.amend()
        if line:
            machine.run(
                *resource.tool.split(), *shlex.split(line), check=not isinstance(resource, PolicyRule)
            )


def present(machine: Machine, device: str) -> bool:
    return machine.run("ip", "link", "show", device, check=False).returncode == 0


WANTED = ("198.51.100.1", "2001:db8:1::1", "fe80::53:4eff:fe00:64")


def state(machine: Machine) -> dict[str, Any]:
    links = json.loads(machine.out("ip", "-j", "-d", "link", "show"))
    entries = json.loads(machine.out("bridge", "-j", "fdb", "show"))
    return {
        "own": machine.out("ip", "-o", "addr", "show", "dev", "lo"),
        "routes": [
            machine.out("ip", family, "route", "show", "table", "all", "proto", "148")
            for family in ("-4", "-6")
        ],
        "links": [stripped(link) | {"up": "UP" in link["flags"]} for link in links],
        "fdb": sorted(json.dumps(entry) for entry in entries if "dst" in entry),
        "addresses": [
            (link["ifname"], one["local"], one["prefixlen"], one["scope"], one.get("nodad"))
            for link in json.loads(machine.out("ip", "-j", "addr", "show"))
            for one in link["addr_info"]
            if link["ifname"] == "ov100" and one["local"].partition("/")[0] in WANTED
        ],
        "rules": [machine.out("ip", family, "rule", "show") for family in ("-4", "-6")],
    }


def stripped(thing: Any) -> Any:
    if not isinstance(thing, dict):
        return thing
    vni = {"vni": thing["id"]} if "port_range" in thing else {}
    return {key: stripped(value) for key, value in thing.items() if key not in CHANCE} | vni


DEVICES: list[Resource] = [BRIDGE, VXLAN]
ADDRESSES = [f"{address}/{24 if '.' in address else 64}" for address in WANTED]
PORT: list[Resource] = [*DEVICES, Port("vx100", "ov100", "1500")]
KINDS: dict[str, list[Resource]] = {
    "a bridge": [BRIDGE],
    "a device": [VXLAN],
    "a device over IPv6": [VXLAN6],
    "without an address": [*DEVICES, NoAddress("ov100"), NoAddress("vx100")],
    "a port that learns": [*PORT, PortOption("vx100", "learning", "on")],
    "a port that does not": [*PORT, PortOption("vx100", "learning", "off")],
    "a port that answers": [*PORT, PortOption("vx100", "neigh_suppress", "on")],
    "a port apart": [*PORT, PortOption("vx100", "isolated", "on")],
    "entries": [VXLAN, Flood("vx100", "10.99.0.2"), Flood("vx100", "10.99.0.3")],
    "entries of IPv6": [VXLAN6, Flood("vx100", "fd99::2"), Flood("vx100", "fd99::3")],
    "addresses": [BRIDGE, *(HostAddress("ov100", one) for one in ADDRESSES)],
    "addresses of a tunnel": [HostAddress("lo", "10.97.0.1/32"), HostAddress("lo", "fd97::1/128")],
    "the ends of rules": [IifEnd(family, "eth1") for family in ("-4", "-6")],
    "routes to nowhere": [Unreachable("10.97.0.2/32"), Unreachable("fd97::2/128")],
    "rules": [IifRule(family, "eth1", table) for family in ("-4", "-6") for table in ("222", "70000")],
    "a whole overlay": [
        one
        for some in wanted(
            Networks(Underlay(), (Overlay("n", (100,), "ov100"),)),
            Site("10.99.0.1", ("10.99.0.2", "10.99.0.3")),
        ).values()
        for one in some
        if not isinstance(one, Element)
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_does_what_its_line_does(twins: tuple[Machine, Machine], kind: str) -> None:
    theirs, ours = twins
    before, resources = state(ours), KINDS[kind]
    assert before == state(theirs)
    for _ in range(2):
        by_lines(theirs, resources, True)
        for part in ([one for one in resources if one.early], resources):
            assert not any(by_messages(ours, part, True))
        assert state(ours) == state(theirs) != before
    doomed = sorted((one for one in resources if one.delete()), key=lambda one: one.rank)
    by_lines(theirs, doomed, False)
    for one in doomed:
        assert not any(by_messages(ours, [one], False))
    assert state(ours) == state(theirs) == before


def test_what_can_change_is_changed_and_the_device_stays(twins: tuple[Machine, Machine]) -> None:
    changed = Device("vx100", "vxlan", "id 100 dstport 4789", "local 10.99.0.9 ttl 32 learning")
    bridge = Device("ov100", "bridge", "", OPTIONS.replace("mcast_snooping 0", "mcast_snooping 1"))
    theirs, ours = twins
    by_lines(theirs, PORT, True)
    assert not any(by_messages(ours, DEVICES, True) + by_messages(ours, PORT, True))
    numbers = [link_of(ours, device)["ifindex"] for device in ("ov100", "vx100")]
    by_lines(theirs, [changed, bridge], True)
    assert not any(by_messages(ours, [changed, bridge], True))
    assert state(ours) == state(theirs)
    assert link_of(ours, "vx100")["linkinfo"]["info_data"]["local"] == "10.99.0.9"
    assert [link_of(ours, device)["ifindex"] for device in ("ov100", "vx100")] == numbers


def link_of(machine: Machine, device: str) -> dict[str, Any]:
    (link,) = json.loads(machine.out("ip", "-j", "-d", "link", "show", "dev", device))
    return dict(link)


def test_a_learned_entry_is_deleted_alone(twins: tuple[Machine, Machine]) -> None:
    flood, learned = Flood("vx100", "10.99.0.2"), Learned("vx100", "aa:00:00:00:00:01", "10.99.0.2")
    other = Learned("vx100", "aa:00:00:00:00:02", "10.99.0.3")
    theirs, ours = twins
    for machine in twins:
        by_lines(machine, [VXLAN, flood], True)
        for one in (learned, other):
            machine.run(
                "bridge", "fdb", "add", one.mac, "dev", "vx100", "dst", one.address, "self", "dynamic"
            )
    entries = json.loads(ours.out("bridge", "-j", "fdb", "show"))
    assert set(Flood.listed(entries)) == {flood} and set(Learned.listed(entries)) == {learned, other}
    by_lines(theirs, [learned], False)
    assert by_messages(ours, [learned, learned], False) == ["", ""]
    assert state(ours) == state(theirs) and len(state(ours)["fdb"]) == 2


def test_an_address_and_a_route_are_read_back(twins: tuple[Machine, Machine]) -> None:
    ours, some = twins[1], [*KINDS["addresses of a tunnel"], *KINDS["routes to nowhere"]]
    assert not any(by_messages(ours, some, True))
    with ours.entered():
        found = {*HostAddress.listed(readback.ip("addr", "show")), *readback.unreachable()}
        assert set(some) <= found and not list(readback.routes())
    assert not any(by_messages(ours, some, False) + by_messages(ours, some, False))


def test_a_refusal_is_told(twins: tuple[Machine, Machine]) -> None:
    ours = twins[1]
    assert not any(by_messages(ours, [VXLAN], True))
    bad = (
        Flood("gone", "10.0.0.1"),
        Flood("vx100", "fd99::1"),
        Device("vx101", "vxlan", "id x", ""),
        Device("vx101", "macvlan", "id 1", ""),
        PortOption("vx100", "learning", "on"),
    )
    assert all(by_messages(ours, bad, True)) and not present(ours, "vx101")


def test_another_device_of_the_name_is_not_touched(twins: tuple[Machine, Machine]) -> None:
    """The engine looks first; the kernel would refuse as well."""
    ours = twins[1]
    before = state(ours)
    assert by_messages(ours, [Device("far", "vxlan", "id 9 dstport 4789", "ttl 9")], True) != [""]
    assert [link for link in state(ours)["links"] if link["ifname"] == "far"] == [
        link for link in before["links"] if link["ifname"] == "far"
    ]
