"""What is printed is what runs: iproute2 takes every line, and our own netlink messages leave the kernel as
their lines would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from snf_network.apply import steps
from snf_network.errors import KernelError
from snf_network.host import kernel
from snf_network.host.netlink import Netlink
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.resources import (
    BridgeOption,
    Link,
    Neighbour,
    NeighProxy,
    Port,
    Resource,
    Route,
    Rule,
    Sysctl,
)
from snf_network.plan import plan_for
from tests.netns.lab import Machine
from tests.test_nic import ROUTED
from tests.test_plan import NODE

MAC, OTHER = "aa:00:00:ad:35:c9", "aa:00:00:ad:35:ca"
ADDRESSES = ("198.51.100.10", "2001:db8:1::5", "fe80::a800:ff:fead:35c9")
PERMANENT = [Neighbour(address, MAC, "DEV") for address in ADDRESSES]
PROXIES = [NeighProxy(address, "DEV") for address in ADDRESSES]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with two devices that are alike, one for ip(8) and one for us, and two bridges."""
    made = Machine("iproute2")
    made.run(
        "sh", "-c", "rm -f /etc/iproute2/rt_tables.d/*.conf"
    )  # numbers have the names of nobody's machine
    made.ip(
        *(f"link add {name} type veth peer name far-{name}" for name in ("theirs", "ours", "tap0", "eth1")),
        *(
            f"link set {name} address 02:00:00:00:00:{number:02} up"
            for name, number in (
                ("theirs", 1),
                ("ours", 1),
                ("far-theirs", 2),
                ("far-ours", 2),
                ("eth1", 3),
                ("far-eth1", 4),
            )
        ),
        "link add br0 type bridge",
        "link add br1 type bridge",
    )
    yield made
    made.close()


@pytest.fixture
def netlink(machine: Machine) -> Iterator[Netlink]:
    with machine.inside(), Netlink() as made:
        yield made


def said(machine: Machine, *argv: object) -> Any:
    ran = machine.run("ip", "-j", *argv, check=False)
    return json.loads(ran.stdout or "[]") if not ran.returncode else []


def neighbours(machine: Machine, device: str) -> list[dict[str, Any]]:
    """Permanent and proxy entries of a device, without its name."""
    entries = [
        {**entry, "proxy": bool(what)}
        for family in ("-4", "-6")
        for what in ((), ("proxy",))
        for entry in said(
            machine,
            family,
            "-N",
            "neigh",
            "show",
            *what,
            *(() if what else ("nud", "permanent")),
            "dev",
            device,
        )
    ]
    return sorted(
        ({key: value for key, value in entry.items() if key != "dev"} for entry in entries), key=repr
    )


def on(resource: Any, device: str) -> Any:
    """The same entry on another device."""
    return type(resource)(*(device if field == "DEV" else field for field in resource.fields()))


def ifindex(machine: Machine, name: str) -> int:
    return int(said(machine, "link", "show", "dev", name)[0]["ifindex"])


def batch(machine: Machine, *lines: str, flags: tuple[str, ...] = ()) -> None:
    """Run lines through ip -batch; any refusal fails the test."""
    machine.run("ip", *flags, "-batch", "-", input="".join(f"{line}\n" for line in lines))


# --- neighbours: the one kind that is not sent as text


@pytest.mark.parametrize("resource", [*PERMANENT, *PROXIES], ids=repr)
def test_a_neighbour_message_does_what_its_line_does(
    machine: Machine, netlink: Netlink, resource: Any
) -> None:
    theirs, ours = on(resource, "theirs"), on(resource, "ours")
    before = neighbours(machine, "theirs")
    assert before == neighbours(machine, "ours")
    for _ in range(2):
        batch(machine, theirs.add())
        netlink.neighbour(ours, True, ifindex(machine, "ours"))
        state = neighbours(machine, "theirs")
        assert state == neighbours(machine, "ours")
        assert len(state) == len(before) + 1
        [entry] = [entry for entry in state if entry not in before]
        assert str(entry.get("protocol", entry.get("proto"))) == "148" and entry["proxy"] is isinstance(
            resource, NeighProxy
        )
    batch(machine, theirs.delete())
    netlink.neighbour(ours, False, ifindex(machine, "ours"))
    assert neighbours(machine, "theirs") == neighbours(machine, "ours") == before


@pytest.mark.parametrize("resource", PERMANENT, ids=repr)
def test_another_mac_replaces_the_first(machine: Machine, netlink: Netlink, resource: Neighbour) -> None:
    changed = Neighbour(resource.address, OTHER, "DEV")
    for entry in (resource, changed):
        batch(machine, on(entry, "theirs").add())
        netlink.neighbour(on(entry, "ours"), True, ifindex(machine, "ours"))
    assert neighbours(machine, "theirs") == neighbours(machine, "ours")
    assert [entry["lladdr"] for entry in neighbours(machine, "ours")] == [OTHER]
    batch(machine, on(changed, "theirs").delete())
    netlink.neighbour(on(resource, "ours"), False, ifindex(machine, "ours"))
    assert neighbours(machine, "ours") == []


@pytest.mark.parametrize("resource", PERMANENT[:2], ids=repr)
def test_an_entry_that_the_kernel_learned_becomes_permanent(
    machine: Machine, netlink: Netlink, resource: Neighbour
) -> None:
    for device in ("theirs", "ours"):
        machine.ip(f"neigh add {resource.address} lladdr {OTHER} dev {device} nud stale")
    batch(machine, on(resource, "theirs").add())
    netlink.neighbour(on(resource, "ours"), True, ifindex(machine, "ours"))
    assert (
        neighbours(machine, "theirs") == neighbours(machine, "ours")
        and neighbours(machine, "ours")[0]["lladdr"] == MAC
    )
    for device in ("theirs", "ours"):
        machine.ip(on(resource, device).delete())


def test_a_neighbour_and_a_proxy_of_one_address_stand_side_by_side(
    machine: Machine, netlink: Netlink
) -> None:
    index = ifindex(machine, "ours")
    for resource in (PERMANENT[1], PROXIES[1]):
        netlink.neighbour(on(resource, "ours"), True, index)
    assert [entry["proxy"] for entry in neighbours(machine, "ours")] in ([False, True], [True, False])
    netlink.neighbour(on(PROXIES[1], "ours"), False, index)
    assert [entry["proxy"] for entry in neighbours(machine, "ours")] == [False]
    netlink.neighbour(on(PERMANENT[1], "ours"), False, index)


@pytest.mark.parametrize("resource", [*PERMANENT, *PROXIES], ids=repr)
def test_deleting_what_is_absent_is_no_failure(machine: Machine, netlink: Netlink, resource: Any) -> None:
    netlink.neighbour(on(resource, "ours"), False, ifindex(machine, "ours"))
    netlink.neighbour(on(resource, "gone"), False, 999999)


@pytest.mark.parametrize("resource", [*PERMANENT, *PROXIES], ids=repr)
def test_a_refusal_names_the_line(netlink: Netlink, resource: Any) -> None:
    with pytest.raises(KernelError) as caught:
        netlink.neighbour(on(resource, "gone"), True, 999999)
    assert str(caught.value) == f"ip {on(resource, 'gone').add()}: No such device"


def test_an_ipv6_neighbour_where_there_is_no_ipv6_is_refused_by_line(
    machine: Machine, netlink: Netlink
) -> None:
    machine.sysctl("net/ipv6/conf/ours/disable_ipv6", 1)
    with pytest.raises(KernelError, match="neigh replace 2001:db8:1::5"):
        netlink.neighbour(on(PERMANENT[1], "ours"), True, ifindex(machine, "ours"))
    machine.sysctl("net/ipv6/conf/ours/disable_ipv6", 0)


# --- the kinds that are sent as text


def routes(machine: Machine, family: str, table: int) -> list[dict[str, Any]]:
    return [
        {key: route[key] for key in ("dst", "dev", "gateway", "protocol", "flags") if key in route}
        for route in said(machine, family, "-N", "route", "show", "table", table)
    ]


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        (
            Route("198.51.100.10/32", "theirs", "500"),
            {"dst": "198.51.100.10", "dev": "theirs", "protocol": "148", "flags": []},
        ),
        (
            Route("2001:db8:1::5/128", "theirs", "500"),
            {"dst": "2001:db8:1::5", "dev": "theirs", "protocol": "148", "flags": []},
        ),
        (
            Route("203.0.113.0/28", "theirs", "500", "198.51.100.10"),
            {
                "dst": "203.0.113.0/28",
                "dev": "theirs",
                "gateway": "198.51.100.10",
                "protocol": "148",
                "flags": ["onlink"],
            },
        ),
        (
            Route("2001:db8:9::/56", "theirs", "500", "2001:db8:1::5"),
            {
                "dst": "2001:db8:9::/56",
                "dev": "theirs",
                "gateway": "2001:db8:1::5",
                "protocol": "148",
                "flags": ["onlink"],
            },
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Route) else "",
)
def test_a_route_is_put_replaced_and_taken_away(
    machine: Machine, route: Route, shown: dict[str, Any]
) -> None:
    family = "-6" if ":" in route.prefix else "-4"
    other = Route(route.prefix, "ours", route.table, route.via)
    for line in (other.add(), route.add(), route.add()):
        batch(machine, line)
    assert routes(machine, family, 500) == [shown], "a tap that is gone is replaced, not stood beside"
    assert machine.run("ip", *other.delete().split(), check=False).returncode, (
        "another's route is not this one"
    )
    batch(machine, route.delete())
    assert routes(machine, family, 500) == []


def rules(machine: Machine, family: str) -> list[dict[str, Any]]:
    return [
        {key: rule[key] for key in ("priority", "fwmark", "table", "action", "protocol") if key in rule}
        for rule in said(machine, family, "rule", "show")
        if str(rule.get("protocol")) == "148"
    ]


@pytest.mark.parametrize("family", ["-4", "-6"])
@pytest.mark.parametrize("table", ["222", "70000", "4294967295"])
def test_rules_are_put_once_and_taken_away(machine: Machine, family: str, table: str) -> None:
    lookup, unreachable = Rule(family, table, "lookup"), Rule(family, table, "unreachable")
    batch(machine, lookup.add(), unreachable.add(), flags=(family,))
    shown = [
        {"priority": 14800, "fwmark": hex(int(table)), "table": table, "protocol": "148"},
        {"priority": 14801, "fwmark": hex(int(table)), "action": "unreachable", "protocol": "148"},
    ]
    assert rules(machine, family) == shown
    assert (
        "File exists"
        in machine.run("ip", family, "-batch", "-", input=f"{lookup.add()}\n", check=False).stderr
    )
    assert rules(machine, family) == shown, "a fixed preference: no second one"
    batch(machine, lookup.delete(), unreachable.delete(), flags=(family,))
    assert rules(machine, family) == []


def test_a_batch_gives_a_rule_the_family_of_the_batch(machine: Machine) -> None:
    batch(machine, Rule("-6", "222", "lookup").add(), flags=("-6",))
    assert rules(machine, "-4") == [] and len(rules(machine, "-6")) == 1
    batch(machine, Rule("-6", "222", "lookup").delete(), flags=("-6",))


def link(machine: Machine) -> dict[str, Any]:
    [shown] = said(machine, "link", "show", "dev", "tap0")
    return {
        "mac": shown["address"],
        "mtu": shown["mtu"],
        "master": shown.get("master", ""),
        "up": "UP" in shown["flags"],
    }


def test_links_and_ports_are_what_their_lines_say(machine: Machine) -> None:
    batch(machine, Port("tap0", "br0").add(), Link("tap0", "fe:00:00:ad:35:c9", "1400").add())
    assert link(machine) == {"mac": "fe:00:00:ad:35:c9", "mtu": 1400, "master": "br0", "up": True}
    batch(machine, Port("tap0", "br1").add(), Link("tap0", "", "1300").add())
    assert link(machine) == {"mac": "fe:00:00:ad:35:c9", "mtu": 1300, "master": "br1", "up": True}
    batch(machine, Link("tap0").delete(), Port("tap0", "br1").delete())
    assert link(machine) == {"mac": "fe:00:00:ad:35:c9", "mtu": 1300, "master": "", "up": False}
    batch(machine, Port("tap0").add(), Link("tap0", "cc:47:52:4e:45:54").add())
    assert link(machine) == {"mac": "cc:47:52:4e:45:54", "mtu": 1300, "master": "", "up": True}


@pytest.mark.parametrize("value", ["1", "0"])
def test_a_bridges_option_is_what_its_line_says(machine: Machine, value: str) -> None:
    batch(machine, BridgeOption("br0", "no_linklocal_learn", value).add())
    assert machine.read("/sys/class/net/br0/bridge/no_linklocal_learn").strip() == value


def test_settings_are_what_their_lines_say(machine: Machine) -> None:
    for line in ("net/ipv4/conf/tap0/proxy_arp=1", "net/ipv6/neigh/tap0/proxy_delay=0"):
        key, _, value = line.partition("=")
        machine.run("sysctl", "-w", Sysctl(key, value).add())
        assert machine.read(f"/proc/sys/{key}").strip() == value


# --- a whole plan, by its lines and by our doors


def everything(machine: Machine, table: str) -> dict[str, Any]:
    """All that a plan's resources, nft members aside, can change."""
    return {
        "link": link(machine),
        "rules": [rules(machine, family) for family in ("-4", "-6")],
        "routes": [routes(machine, family, int(table)) for family in ("-4", "-6")],
        "neighbours": [neighbours(machine, device) for device in ("tap0", "eth1")],
        "sysctl": machine.out(
            "sysctl", "-a", "--pattern", r"\.(tap0|eth1)\.(forwarding|proxy|src_valid|addr_gen|dad_tr)"
        ),
    }


def planned() -> list[Resource]:
    plan = plan_for(Nic.from_env({**ROUTED, "NETWORK_TAGS": "ip-less-routed", "TAGS": ""}), NODE, Config())
    return [resource for resource in plan.resources if resource.door in ("ip", "rule", "neigh", "sysctl")]


def test_a_plan_typed_line_by_line_is_a_plan_put_by_our_doors(machine: Machine) -> None:
    wanted = planned()
    machine.ip("link set tap0 down")
    before = everything(machine, "222")
    for resource in wanted:
        flags = resource.fields()[:1] if isinstance(resource, Rule) else ()
        if isinstance(resource, Sysctl):
            machine.run("sysctl", "-w", resource.add())
        else:
            batch(machine, resource.add(), flags=flags)
    typed = everything(machine, "222")
    for resource in reversed(wanted):
        if resource.delete():
            machine.run(
                "ip",
                *(resource.fields()[:1] if isinstance(resource, Rule) else ()),
                *resource.delete().split(),
                check=False,
            )
    machine.ip("link set tap0 down")
    assert {**everything(machine, "222"), "sysctl": "", "link": ""} == {**before, "sysctl": "", "link": ""}, (
        "the delete lines undo it"
    )
    with machine.inside():
        steps.prepare(wanted)
        steps.put(wanted)
        put = everything(machine, "222")
        assert put == typed != before
        steps.put(wanted)
        assert everything(machine, "222") == put, "said again, nothing changes"
        steps.undo(wanted)
        assert {**everything(machine, "222"), "sysctl": "", "link": ""} == {
            **before,
            "sysctl": "",
            "link": "",
        }
        steps.undo(wanted)


def test_a_refused_line_is_named_with_its_reason(machine: Machine) -> None:
    with machine.inside(), pytest.raises(KernelError) as caught:
        kernel.batch(
            ("ip",),
            ["link set dev nobody nomaster"],
            [Port("tap0").add(), Route("198.51.100.10/32", "nobody", "222").add(), Link("tap0").add()],
        )
    assert (
        str(caught.value)
        == 'ip route replace 198.51.100.10/32 dev nobody table 222 proto 148: Cannot find device "nobody"'
    )


def test_an_optional_line_may_be_refused(machine: Machine) -> None:
    with machine.inside():
        kernel.batch(
            ("ip",),
            ["link set dev nobody nomaster", Route("198.51.100.10/32", "tap0", "222").delete()],
            [Link("tap0").add()],
        )
    assert link(machine)["up"]
