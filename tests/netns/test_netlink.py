"""What netlink.py reads, compared with what ip(8) says about the same kernel."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

import pytest

from snf_network.errors import BadEnvironment
from snf_network.host.netlink import ANYWHERE, Device, Netlink, _device
from snf_network.model.resources import Rule
from snf_network.observe import facts
from tests.netns.lab import Machine

FAMILY = {AF_INET: "-4", AF_INET6: "-6"}
FAMILIES = pytest.mark.parametrize("family", FAMILY, ids=["v4", "v6"])
RULED = pytest.mark.parametrize("ruled", [False, True], ids=["dump", "lookup"])


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with devices eth1 and eth2, up, with addresses. Each test uses a table of its own."""
    made = Machine("netlink")
    made.run(
        "sh", "-c", "rm -f /etc/iproute2/rt_tables.d/*.conf"
    )  # numbers have the names of nobody's machine
    made.ip(
        "link add eth1 type veth peer name far1",
        "link add eth2 type veth peer name far2",
        "link add br0 type bridge",
        "addr add 192.0.2.1/24 dev eth1",
        "addr add 2001:db8:f::1/64 dev eth1 nodad",
        "addr add 192.0.3.1/24 dev eth2",
        "addr add 2001:db8:e::1/64 dev eth2 nodad",
        *(f"link set {name} up" for name in ("eth1", "far1", "eth2", "far2")),
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


def ifindex(machine: Machine, name: str) -> int:
    return int(said(machine, "link", "show", "dev", name)[0]["ifindex"])


def fill(machine: Machine, family: int, table: int, *lines: str, others: int = 0) -> None:
    """Give a table routes: `lines` as ip(8) takes them, and `others` to hosts."""
    more = [
        f"198.18.{number // 250}.{number % 250}/32" if family == AF_INET else f"2001:db8:18::{number:x}/128"
        for number in range(others)
    ]
    text = "".join(
        f"route add table {table} {line}\n" for line in (*(f"{prefix} dev eth2" for prefix in more), *lines)
    )
    machine.run("ip", FAMILY[family], "-batch", "-", input=text)


def ruled_by(machine: Machine, family: int, table: int, ruled: bool) -> bool:
    if ruled:
        machine.ip(f"{FAMILY[family]} rule add pref 14800 fwmark {table} lookup {table} proto 148")
        machine.ip(f"{FAMILY[family]} rule add pref 14801 fwmark {table} unreachable proto 148")
    return ruled


_tables = iter(range(1000, 100000))


@pytest.fixture
def table() -> int:
    return next(_tables)


# --- default routes, and whether a table is there

VIA = {AF_INET: "192.0.2.254", AF_INET6: "2001:db8:f::fe"}
VIA2 = {AF_INET: "192.0.3.254", AF_INET6: "2001:db8:e::fe"}
DEFAULTS: dict[str, tuple[tuple[str, ...], str]] = {
    "none": ((), ""),
    "via a gateway": (("default via {via} dev eth1",), "eth1"),
    "without a gateway": (("default dev eth2",), "eth2"),
    "the better of two": (("default via {via} dev eth1 metric 200", "default dev eth2 metric 100"), "eth2"),
    "two at once": (("default nexthop via {via} dev eth1 nexthop via {via2} dev eth2",), "eth1"),
    "onlink": (("default via {far} dev eth1 onlink",), "eth1"),
    "unreachable": (("unreachable default",), ""),
    "blackhole": (("blackhole default",), ""),
    "prohibit": (("prohibit default",), ""),
    "unreachable as the last resort": (
        ("unreachable default metric 4278198272", "default via {via} dev eth1 metric 10"),
        "eth1",
    ),
    "half of the world is no default": (("{half} via {via} dev eth1",), ""),
}


@FAMILIES
@RULED
@pytest.mark.parametrize("others", [0, 1, 50])
@pytest.mark.parametrize("default", DEFAULTS)
def test_the_default_route_of_a_table_is_found(
    machine: Machine, netlink: Netlink, table: int, family: int, ruled: bool, others: int, default: str
) -> None:
    lines, device = DEFAULTS[default]
    words = {
        "via": VIA[family],
        "via2": VIA2[family],
        "far": "203.0.113.1" if family == AF_INET else "2001:db8:abcd::1",
        "half": "128.0.0.0/1" if family == AF_INET else "2000::/3",
    }
    fill(machine, family, table, *(line.format(**words) for line in lines), others=others)
    ruled_by(machine, family, table, ruled)
    found = netlink.default(family, table)
    assert found == (ifindex(machine, device) if device else 0)
    several = {"two at once": ("eth1", "eth2")}.get(default, tuple(filter(None, (device,))))
    assert netlink.defaults(family, table) == tuple(ifindex(machine, name) for name in several)
    shown = said(machine, FAMILY[family], "route", "show", "table", table)
    assert len(list(netlink.routes(family, table))) == len(shown)
    assert netlink.has_table(table) == bool(lines or others)


@RULED
def test_next_hops_of_the_other_family_are_found(
    machine: Machine, netlink: Netlink, table: int, ruled: bool
) -> None:
    """As a routing daemon makes them (RFC 8950)."""
    hops = " ".join(f"nexthop via inet6 fe80::1 dev {device}" for device in ("eth2", "eth1"))
    fill(machine, AF_INET, table, f"default {hops}")
    ruled_by(machine, AF_INET, table, ruled)
    devices = tuple(ifindex(machine, name) for name in ("eth1", "eth2"))
    assert netlink.defaults(AF_INET, table) == devices


def test_a_route_of_a_routing_daemon_is_no_guests(machine: Machine, netlink: Netlink, table: int) -> None:
    for number, protocol in enumerate(("148", "static", "bird", "bgp")):
        fill(machine, AF_INET, table, f"203.0.113.{number}/32 dev eth1 proto {protocol}")
    ruled_by(machine, AF_INET, table, True)
    found = [netlink.holder(f"203.0.113.{number}/32", table) for number in range(4)]
    assert found == [ifindex(machine, "eth1"), ifindex(machine, "eth1"), 0, 0]


@FAMILIES
@RULED
def test_a_default_route_by_a_nexthop_object_is_found(
    machine: Machine, netlink: Netlink, table: int, family: int, ruled: bool
) -> None:
    machine.ip(f"nexthop add id {table} via {VIA[family]} dev eth1")
    fill(machine, family, table, f"default nhid {table}")
    ruled_by(machine, family, table, ruled)
    assert netlink.default(family, table) == ifindex(machine, "eth1")


@FAMILIES
def test_the_main_table_is_not_read_for_its_default_route(
    machine: Machine, netlink: Netlink, family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a fabric it has a route for each guest and all that the switches say."""
    machine.ip(f"{FAMILY[family]} route replace default via {VIA[family]} dev eth1 table main")
    monkeypatch.setattr(Netlink, "routes", lambda *_: pytest.fail("it reads all routes"))
    assert netlink.default(family, 254) == ifindex(machine, "eth1")
    machine.ip(f"{FAMILY[family]} route del default table main")


@FAMILIES
def test_a_default_route_of_another_table_is_not_taken_for_this_ones(
    machine: Machine, netlink: Netlink, table: int, family: int
) -> None:
    machine.ip(f"{FAMILY[family]} route replace default via {VIA[family]} dev eth1 table main")
    assert netlink.default(family, table) == 0
    ruled_by(machine, family, table, True)
    assert netlink.default(family, table) == 0
    assert netlink.default(family, 254) == ifindex(machine, "eth1")
    machine.ip(f"{FAMILY[family]} route del default table main")


@pytest.mark.parametrize("number", [255 + 1, 2**31, 2**32 - 1])
def test_large_numbers_of_tables_are_whole(machine: Machine, netlink: Netlink, number: int) -> None:
    assert not netlink.has_table(number)
    fill(machine, AF_INET, number, f"default via {VIA[AF_INET]} dev eth1")
    ruled_by(machine, AF_INET, number, True)
    assert netlink.default(AF_INET, number) == ifindex(machine, "eth1")
    assert {route.table for route in netlink.routes(AF_INET, number)} == {number}


# --- the route of one packet


@FAMILIES
@pytest.mark.parametrize(
    "address", ["198.18.0.7", "198.18.0.200", "192.0.2.9", "2001:db8:18::7", "2001:db8:f::9", "anywhere"]
)
def test_the_route_of_a_packet_is_that_of_ip(
    machine: Machine, netlink: Netlink, table: int, family: int, address: str
) -> None:
    if address != "anywhere" and (":" in address) is not (family == AF_INET6):
        address = "198.18.0.1" if family == AF_INET else "2001:db8:18::1"
    address = ANYWHERE[family] if address == "anywhere" else address
    fill(machine, family, table, f"default via {VIA[family]} dev eth1", others=50)
    ruled_by(machine, family, table, True)
    [shown] = said(machine, FAMILY[family], "-d", "-N", "route", "get", "fibmatch", address, "mark", table)
    found = netlink.route(family, table, address)
    length = (
        0
        if shown["dst"] == "default"
        else int((shown["dst"].partition("/")[2]) or (32 if family == AF_INET else 128))
    )
    assert found is not None
    assert (found.length, found.device) == (length, ifindex(machine, shown["dev"]))
    assert found.table == int(shown.get("table", table if length else 0) or 254)


@FAMILIES
def test_a_packet_that_goes_nowhere_has_no_route(
    machine: Machine, netlink: Netlink, table: int, family: int
) -> None:
    ruled_by(machine, family, table, True)
    found = netlink.route(family, table, ANYWHERE[family])
    assert found is None or found.table != table
    machine.ip(f"{FAMILY[family]} route replace default via {VIA[family]} dev eth1 table main")
    assert netlink.route(family, table, ANYWHERE[family]) is None, "the second rule keeps it out of main"
    machine.ip(f"{FAMILY[family]} route del default table main")


# --- rules


OURS = {
    "-4": (
        "pref 14800 fwmark 222 lookup 222 proto 148",
        "pref 14801 fwmark 222 unreachable proto 148",
        "pref 14800 fwmark 70000 lookup 70000 proto 148",
    ),
    "-6": ("pref 14800 fwmark 222 lookup 222 proto 148", "pref 14801 fwmark 70000 unreachable proto 148"),
}
NOT_OURS = (
    "pref 14800 fwmark 333 lookup 333",
    "pref 14801 fwmark 333 unreachable",
    "pref 14799 fwmark 333 lookup 333 proto 148",
    "pref 14800 fwmark 333 lookup 334 proto 148",
    "iif eth1 lookup 333",
    "pref 100 from all lookup main",
    "pref 14802 fwmark 333 unreachable proto 148",
    "pref 14801 fwmark 333 lookup 333 proto 148",
    "pref 14801 fwmark 333 blackhole proto 148",
    "pref 14800 fwmark 333/0xfff lookup 333 proto 148",
    "pref 14800 iif eth1 fwmark 333 lookup 333 proto 148",
    "pref 14800 not fwmark 333 lookup 333 proto 148",
)


def test_our_rules_are_found_and_no_others() -> None:
    made = Machine("rules")
    try:
        made.ip("link add eth1 type bridge")
        with made.inside(), Netlink() as netlink:
            assert netlink.rules() == set()
            for family, lines in OURS.items():
                made.ip(*(f"{family} rule add {line}" for line in lines))
            wanted = {
                Rule("-4", "222", "lookup"),
                Rule("-4", "222", "unreachable"),
                Rule("-4", "70000", "lookup"),
                Rule("-6", "222", "lookup"),
                Rule("-6", "70000", "unreachable"),
            }
            assert netlink.rules() == wanted
            ours = [
                rule
                for family in FAMILY.values()
                for rule in said(made, family, "-N", "rule", "show")
                if str(rule.get("protocol")) == "148"
            ]
            assert len(ours) == len(wanted)
    finally:
        made.close()


@pytest.mark.parametrize("line", NOT_OURS)
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_rule_that_is_not_exactly_ours_is_not_taken_for_it(
    machine: Machine, netlink: Netlink, family: str, line: str
) -> None:
    """Taken for ours, it would keep ours from being added."""
    machine.ip(f"{family} rule add {line}")
    try:
        assert not {rule for rule in netlink.rules() if rule.fields()[1] in ("333", "334")}
    finally:
        machine.ip(f"{family} rule del {line}")


# --- devices


DEVICES = {
    "bridge": "type bridge",
    "large": "mtu 9000 type veth",
    "macvtap.5": "type bridge",
    "a-device-of-15c": "type bridge",
}


@pytest.mark.parametrize("name", [*DEVICES, "lo", "eth1", "tap0"])
def test_a_device_is_what_ip_says(machine: Machine, netlink: Netlink, name: str) -> None:
    tap = -1
    if name in DEVICES:
        machine.ip(f"link add {name} {DEVICES[name]}")
    elif name == "tap0":
        tap = machine.tap("tap0")
    [shown] = said(machine, "-d", "link", "show", "dev", name)
    info = shown.get("linkinfo", {})
    data = info.get("info_data", {}) if info.get("info_kind") == "bridge" else {}
    found = netlink.device(name)
    if tap >= 0:
        os.close(tap)
    assert found is not None
    assert (
        found.name,
        found.kind,
        found.mac,
        found.mtu,
        found.master,
        found.vlan_aware,
        found.default_pvid,
    ) == (
        name,
        info.get("info_kind", ""),
        shown["address"],
        shown["mtu"],
        0,
        bool(data.get("vlan_filtering")),
        data.get("vlan_default_pvid", 0),
    )


def nested(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(
        struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4) for kind, value in parts
    )


@pytest.mark.parametrize(("filtering", "pvid"), [(1, 1), (1, 7), (1, 0), (0, 1), (1, 4094)])
def test_a_bridge_that_filters_vlans_is_known_by_its_message(filtering: int, pvid: int) -> None:
    """Not every kernel has bridges that filter VLANs: the message is made by hand, with numbers of
    linux/if_link.h.
    """
    bridge = nested((1, struct.pack("=I", 1500)), (7, bytes((filtering,))), (39, struct.pack("=H", pvid)))
    info = nested((1, b"bridge\0"), (2, bridge))
    message = struct.pack("=BBHiII", 0, 0, 1, 5, 0, 0) + nested(
        (3, b"br0\0"), (1, bytes.fromhex("020000000001")), (4, struct.pack("=I", 1500)), (0x8000 | 18, info)
    )
    assert _device(message) == Device(
        "br0", "bridge", "02:00:00:00:00:01", 1500, 0, bool(filtering), pvid, False, ""
    )


@pytest.mark.parametrize("name", ["none", "a-device-of-15x", "lo0"])
def test_a_device_that_is_not_there_is_none(netlink: Netlink, name: str) -> None:
    assert netlink.device(name) is None


def test_the_ports_of_a_bridge_are_its_own(machine: Machine, netlink: Netlink) -> None:
    machine.ip(
        "link add br1 type bridge",
        "link add br2 type bridge",
        *(f"link add p{number} type veth" for number in range(5)),
        *(f"link set p{number} master br1" for number in range(4)),
        "link set p4 master br2",
    )
    bridge = ifindex(machine, "br1")
    assert (
        sorted(port.name for port in netlink.ports(bridge))
        == sorted(link["ifname"] for link in said(machine, "link", "show", "master", "br1"))
        == ["p0", "p1", "p2", "p3"]
    )
    assert {port.master for port in netlink.ports(bridge)} == {bridge}
    assert list(netlink.ports(ifindex(machine, "br0"))) == []


# --- one socket, many questions


def test_a_large_answer_is_read_to_its_end(machine: Machine, netlink: Netlink, table: int) -> None:
    fill(machine, AF_INET, table, f"default via {VIA[AF_INET]} dev eth1", others=5000)
    assert len(list(netlink.routes(AF_INET, table))) == 5001
    assert netlink.default(AF_INET, table) == ifindex(machine, "eth1")


def test_an_answer_nobody_waited_for_is_not_the_next_ones(
    machine: Machine, netlink: Netlink, table: int
) -> None:
    fill(machine, AF_INET, table, others=2000)
    assert next(netlink.routes(AF_INET, table)).table == table
    assert netlink.device("eth1") is not None
    assert netlink.has_table(table)
    assert netlink.route(AF_INET, 0, "192.0.2.9") is not None
    assert netlink.device("none") is None
    assert netlink.rules() is not None
    found = netlink.device("eth2")
    assert found is not None and found.name == "eth2"


def test_closing_leaves_no_socket_open(machine: Machine) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with Netlink() as netlink:
            assert netlink.device("lo") is not None
    assert len(os.listdir("/proc/self/fd")) == before


# --- names of tables


RT_TABLES = {
    "main": ("254\tmain\n222 snf_public # ours\n", "snf_public", 222),
    "hexadecimal": ("0x64 hundred\n", "hundred", 100),
    "a comment": ("#222 snf_public\n223 snf_public\n", "snf_public", 223),
    "leading zeros are no octal": ("0100 hundred\n", "hundred", 100),
    "nonsense beside it": ("x y\n0xzz zz\n222\n1 2 3\n\u00b2 two\n222 snf_public\n", "snf_public", 222),
}


@pytest.mark.parametrize(("text", "link", "number"), RT_TABLES.values(), ids=list(RT_TABLES))
def test_a_table_has_the_number_that_ip_reads(
    netlink: Netlink, text: str, link: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rt_tables").write_text(text)
    monkeypatch.setattr(facts, "RT_TABLES", (str(tmp_path),))
    assert facts.table_number(link, netlink) == number


def test_the_administrators_directory_wins(
    netlink: Netlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("etc", 5), ("usr", 6)):
        (tmp_path / name / "rt_tables.d").mkdir(parents=True)
        (tmp_path / name / "rt_tables").write_text(f"{number} mine\n")
        (tmp_path / name / "rt_tables.d" / "x.conf").write_text(f"{number + 10} other\n")
        (tmp_path / name / "rt_tables.d" / "x.dpkg-old").write_text("99 mine\n")
    monkeypatch.setattr(facts, "RT_TABLES", (str(tmp_path / "etc"), str(tmp_path / "usr"), "/nowhere"))
    assert (facts.table_number("mine", netlink), facts.table_number("other", netlink)) == (5, 15)


@pytest.mark.parametrize("link", ["nowhere", "0", "255", "local", "4711", "4294967296", "99999999999"])
def test_a_table_that_nobody_knows_is_refused(
    netlink: Netlink, link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rt_tables").write_text("255 local\n254 main\n253 default\n0 unspec\n")
    monkeypatch.setattr(facts, "RT_TABLES", (str(tmp_path),))
    with pytest.raises(BadEnvironment, match=link):
        facts.table_number(link, netlink)


def test_a_number_that_the_kernel_knows_needs_no_name(
    machine: Machine, netlink: Netlink, table: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "RT_TABLES", ("/nowhere",))
    fill(machine, AF_INET6, table, "default dev eth2")
    assert facts.table_number(str(table), netlink) == table
    assert facts.table_number("254", netlink) == 254
