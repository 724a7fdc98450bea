"""What is printed is what runs. Of two identical machines, one gets the printed lines by iproute2 and the
other gets our messages. Both kernels must then have the same state.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from snf_network.addresses import as_alias
from snf_network.apply import steps
from snf_network.errors import KernelError
from snf_network.host import kernel
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.resources import (
    Address,
    Alias,
    BridgeOption,
    FloatingRoute,
    Isolated,
    Link,
    Neighbour,
    NeighProxy,
    Port,
    Resource,
    Route,
    Rule,
    Shaper,
    Sysctl,
)
from snf_network.plan import plan_for
from tests.netns.lab import Machine
from tests.test_nic import ROUTED
from tests.test_plan import NODE

MAC, OTHER = "aa:00:00:ad:35:c9", "aa:00:00:ad:35:ca"
IP4, IP6, LINK_LOCAL = "198.51.100.10", "2001:db8:1::5", "fe80::a800:ff:fead:35c9"


def made(name: str) -> Machine:
    """A machine with some devices and two bridges, of which nothing in it is by chance."""
    machine = Machine(name)
    machine.run("sh", "-c", "rm -f /etc/iproute2/rt_tables.d/*.conf")  # numbers have no names
    machine.ip(
        *(f"link add {device} type veth peer name far-{device}" for device in ("tap0", "tap1", "eth1")),
        *(f"link set {device} address 02:00:00:00:00:0{number}" for number, device in enumerate(DEVICES)),
        *(f"link set {device} up" for device in DEVICES),
        *(f"link add {bridge} address 02:00:00:00:01:00 type bridge" for bridge in ("br0", "br1")),
    )
    return machine


DEVICES = ("tap0", "far-tap0", "tap1", "far-tap1", "eth1", "far-eth1")


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Machine, Machine]]:
    theirs, ours = made("theirs"), made("ours")
    yield theirs, ours
    theirs.close()
    ours.close()


@pytest.fixture(autouse=True)
def afresh(twins: tuple[Machine, Machine]) -> None:
    """The tap as it was."""
    for machine in twins:
        machine.ip('link set tap0 nomaster mtu 1500 address 02:00:00:00:00:00 alias "" up')


def by_lines(machine: Machine, resources: Sequence[Resource], add: bool) -> None:
    """Type each line; one that is refused is passed over, as our door passes over what is done already."""
    for resource in resources:
        words = shlex.split(resource.add() if add else resource.delete())
        if words:
            machine.run(*resource.tool.split(), *words, check=False)


def by_messages(machine: Machine, resources: Sequence[Resource], add: bool) -> list[str]:
    with machine.inside():
        return kernel.rtnetlink([one for one in resources if add or one.delete()], add, {})


def state(machine: Machine) -> dict[str, Any]:
    """All that rtnetlink can change here."""
    asked = {
        "link": ("-d", "link", "show"),
        "address": ("address", "show", "dev", "tap0"),
        **{f"rule {family}": (family, "rule", "show") for family in ("-4", "-6")},
        **{f"route {family}": (family, "route", "show", "table", "all") for family in ("-4", "-6")},
        "permanent": ("neigh", "show", "nud", "permanent"),
        **{f"proxy {family}": (family, "neigh", "show", "proxy") for family in ("-4", "-6")},
    }
    found = {name: sorted(map(json.dumps, _listed(machine, words))) for name, words in asked.items()}
    return {**found, "qdisc": [machine.out("tc", "-d", "qdisc", "show", "dev", "tap0")]}


def _listed(machine: Machine, words: tuple[str, ...]) -> list[dict[str, Any]]:
    found = json.loads(machine.out("ip", "-j", "-N", *words) or "[]")
    for entry in found:
        info = entry.get("linkinfo", {}).get("info_data", {})
        for name in [key for key in info if key.endswith("_timer")]:
            del info[name]
        entry["up"] = "UP" in entry.get("flags", ())
    if "route" in words:  # the kernel's own come and go with addresses and carriers
        found = [entry for entry in found if str(entry.get("protocol")) == "148"]
    return [{key: value for key, value in entry.items() if key not in PASSING} for entry in found]


PASSING = ("ifindex", "link_index", "flags", "operstate", "qdisc", "link")
"""What differs between two machines, or follows from something else after a while."""
KINDS: dict[str, list[Resource]] = {
    "a route": [Route(f"{IP4}/32", "tap0", "500"), Route(f"{IP6}/128", "tap0", "500")],
    "a route of a table above 255": [Route(f"{IP4}/32", "tap0", "70000")],
    "a route by a gateway": [
        Route("203.0.113.0/28", "tap0", "500", IP4),
        Route("2001:db8:9::/56", "tap0", "500", LINK_LOCAL),
    ],
    "a route with a metric": [
        Route(f"{IP4}/32", "tap0", "500", "", "2499000000"),
        Route(f"{IP6}/128", "tap0", "500", "", "2499000000"),
        Route("203.0.113.0/28", "tap0", "500", IP4, "7"),
    ],
    "addresses": [Address(prefix, "tap0") for prefix in ("198.51.100.1/32", f"{IP6}/128", "fe80::1/64")],
    "rules": [
        Rule(family, table, action)
        for family in ("-4", "-6")
        for table in ("222", "70000", "4294967295")
        for action in ("lookup", "unreachable")
    ],
    "neighbours": [Neighbour(address, MAC, "tap0") for address in (IP4, IP6, LINK_LOCAL)],
    "proxies": [NeighProxy(address, "eth1") for address in (IP4, IP6, LINK_LOCAL)],
    "a neighbour and a proxy of one address": [Neighbour(IP6, MAC, "tap0"), NeighProxy(IP6, "tap0")],
    "a port": [Port("tap0", "br0"), Link("tap0", "fe:00:00:ad:35:c9")],
    "a port with an MTU": [Port("tap0", "br0", "1400"), Link("tap0", "fe:00:00:ad:35:c9")],
    "a link with an MTU": [Port("tap0"), Link("tap0", "fe:00:00:ad:35:c9", "1300")],
    "a link with an alias": [Alias("tap0", "vm1.example.com nic0 my net")],
    "a link with the longest alias": [Alias("tap0", as_alias("vm1 " * 64))],
    "an isolated port": [Port("tap0", "br0"), Isolated("tap0")],
    "a shaper": [Shaper("tap0", "1000000")],
    "a fast shaper": [Shaper("tap0", "100000000000")],
    "a bridge's option": [BridgeOption("br0", "no_linklocal_learn", "1")],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_does_what_its_line_does(twins: tuple[Machine, Machine], kind: str) -> None:
    theirs, ours = twins
    before, resources = state(ours), KINDS[kind]
    assert before == state(theirs)
    for _ in range(2):
        by_lines(theirs, resources, True)
        assert not any(by_messages(ours, resources, True)), "saying it again is no failure"
        assert state(ours) == state(theirs) != before
    by_lines(theirs, resources[::-1], False)
    assert not any(by_messages(ours, resources[::-1], False))
    assert state(ours) == state(theirs)
    assert not any(by_messages(ours, resources[::-1], False)), "what is absent is as good as deleted"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Route(f"{IP4}/32", "tap1", "500"), Route(f"{IP4}/32", "tap0", "500")),
        (Route(f"{IP6}/128", "tap1", "500"), Route(f"{IP6}/128", "tap0", "500")),
        (
            FloatingRoute("203.0.113.9/32", "tap1", "500", "192.0.2.7"),
            FloatingRoute("203.0.113.9/32", "tap0", "500", IP4),
        ),
        (
            FloatingRoute("2001:db8:9::9/128", "tap1", "500", "fe80::7"),
            FloatingRoute("2001:db8:9::9/128", "tap0", "500", LINK_LOCAL),
        ),
        (Neighbour(IP4, OTHER, "tap0"), Neighbour(IP4, MAC, "tap0")),
        (Neighbour(IP6, OTHER, "tap0"), Neighbour(IP6, MAC, "tap0")),
        (Port("tap0", "br0"), Port("tap0", "br1")),
        (Port("tap0", "br0"), Port("tap0")),
        (Link("tap0", "fe:00:00:ad:35:c9", "1300"), Link("tap0", "cc:47:52:4e:45:54")),
        (Alias("tap0", "vm1 nic0 net"), Alias("tap0", "vm2 nic1")),
    ],
    ids=repr,
)
def test_one_replaces_the_other(twins: tuple[Machine, Machine], old: Resource, new: Resource) -> None:
    theirs, ours = twins
    for resource in (old, new):
        by_lines(theirs, [resource], True)
        assert not any(by_messages(ours, [resource], True))
        assert state(ours) == state(theirs)
    by_lines(theirs, [old], False)
    by_messages(ours, [old], False)
    assert state(ours) == state(theirs), "what another has the place of is not deleted with it"
    by_lines(theirs, [new], False)
    by_messages(ours, [new], False)


def test_an_entry_that_the_kernel_learned_becomes_permanent(twins: tuple[Machine, Machine]) -> None:
    theirs, ours = twins
    for machine in twins:
        machine.ip(f"neigh add {IP4} lladdr {OTHER} dev tap0 nud stale")
    by_lines(theirs, [Neighbour(IP4, MAC, "tap0")], True)
    by_messages(ours, [Neighbour(IP4, MAC, "tap0")], True)
    assert state(ours) == state(theirs) and MAC in state(ours)["permanent"][0]
    for machine in twins:
        machine.ip(f"neigh del {IP4} dev tap0")


def test_a_whole_plan_by_lines_and_by_messages(twins: tuple[Machine, Machine]) -> None:
    theirs, ours = twins
    plan = plan_for(Nic.from_env({**ROUTED, "NETWORK_TAGS": "ip-less-routed", "TAGS": ""}), NODE, Config())
    wanted = [one for one in plan.resources if one.door != "nft"]
    for resource in sorted(wanted, key=lambda one: not one.early):
        if isinstance(resource, Sysctl):
            theirs.run("sysctl", "-w", resource.add())
        else:
            by_lines(theirs, [resource], True)
    with ours.inside():
        steps.prepare(wanted, kernel)
        assert steps.put(wanted, kernel, {})[1] == []
    assert state(ours) == state(theirs)
    pattern = ("sysctl", "-a", "--pattern", r"\.(tap0|eth1)\.(forwarding|proxy|src_valid|addr_gen|dad_tr)")
    assert ours.out(*pattern) == theirs.out(*pattern)
    with ours.inside():
        steps.undo(wanted, kernel)
    by_lines(
        theirs, sorted((one for one in wanted if one.door == "rtnetlink"), key=lambda one: one.rank), False
    )
    assert state(ours) == state(theirs)


# --- refusals


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        (Neighbour(IP4, MAC, "gone"), "gone: no such device"),
        (NeighProxy(IP6, "gone"), "gone: no such device"),
        (Route("203.0.113.0/28", "tap0", "500", "192.0.2.7"), "onlink"),
        (Link("tap0", "fe:00:00:ad:35:c9", "9"), "mtu"),
        (BridgeOption("br0", "no_such", "1"), "no_such"),
        (Route("nonsense", "tap0", "500"), ""),
        (Link("tap0", "nonsense"), ""),
        (Alias("tap0", "a" * 256), "out of range"),
    ],
    ids=repr,
)
def test_a_refusal_is_told_and_stops_none_of_the_others(
    twins: tuple[Machine, Machine], resource: Resource, why: str
) -> None:
    ours = twins[1]
    first, last = NeighProxy(IP4, "eth1"), NeighProxy(LINK_LOCAL, "eth1")
    said = by_messages(ours, [first, resource, last], True)
    if resource != Route("203.0.113.0/28", "tap0", "500", "192.0.2.7"):
        assert said[1] and why in said[1]
    assert [said[0], said[2]] == ["", ""] and len(state(ours)["proxy -4"]) == 1
    by_messages(ours, [first, last, *([resource] if isinstance(resource, Route) else [])], False)


def test_a_refusal_names_the_line_and_the_reason(twins: tuple[Machine, Machine]) -> None:
    ours = twins[1]
    ours.sysctl("net/ipv6/conf/tap0/disable_ipv6", 1)
    with ours.inside():
        _, failed = steps.put([Neighbour(IP6, MAC, "tap0"), Neighbour(IP4, MAC, "tap0")], kernel, {})
    ours.sysctl("net/ipv6/conf/tap0/disable_ipv6", 0)
    line = f"ip neigh replace {IP6} lladdr {MAC} dev tap0 nud permanent proto 148"
    assert len(failed) == 1 and failed[0].startswith(f"{line}: ")
    by_messages(ours, [Neighbour(IP4, MAC, "tap0")], False)


def test_a_rule_that_is_refused_stops_the_call(twins: tuple[Machine, Machine]) -> None:
    with twins[1].inside(), pytest.raises(KernelError, match=r"ip -4 rule add pref 14800 fwmark 4294967296"):
        steps.prepare([Rule("-4", "4294967296", "lookup")], kernel)


def test_hundreds_of_messages_are_answered_each(twins: tuple[Machine, Machine]) -> None:
    proxies = [NeighProxy(f"10.0.{number // 256}.{number % 256}", "eth1") for number in range(1000)]
    assert by_messages(twins[1], proxies, True) == [""] * 1000
    assert len(state(twins[1])["proxy -4"]) == 1000
    assert by_messages(twins[1], proxies, False) == [""] * 1000
    assert state(twins[1])["proxy -4"] == []
