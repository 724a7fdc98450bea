"""What the bash package left, read as data: its files, and the rules that its tools print."""

from __future__ import annotations

import pytest

from snf_network.adopt import Line, Unknown, firewall, routing, state
from snf_network.errors import BadEnvironment
from snf_network.model.nic import Nic

ENV = (
    'INSTANCE=inst1\nIP=198.51.100.10\nINTERFACE_NAME=$(touch /tmp/x);`id`\nTAGS="a b"\nNETWORK_TAGS=c\\ d\n'
)


def mine(name: str) -> bool:
    return name in ("tap0", "tap1", "tap-1", "tapA", "tapa")


# --- files


def test_an_old_file_is_data() -> None:
    assert state.variables(f"{ENV}EUI64=2001:db8::1\nnonsense\nexport MAC=aa:00:00:00:00:01\n") == {
        "INSTANCE": "inst1",
        "IP": "198.51.100.10",
        "INTERFACE_NAME": "$(touch /tmp/x);`id`",
        "TAGS": "a b",
        "NETWORK_TAGS": "c d",
        "MAC": "aa:00:00:00:00:01",
    }


@pytest.mark.parametrize("line", ["IP=198.51.100.66", 'TAGS="synnefo:network:0:unprotected"', "IP="])
def test_a_variable_with_two_values_is_refused(line: str) -> None:
    """A line break in the name of a NIC or a network looks like that."""
    with pytest.raises(BadEnvironment):
        state.variables(f"{ENV}{line}\n")


def test_a_variable_that_is_repeated_is_not() -> None:
    assert state.variables(ENV + ENV) == state.variables(ENV)


def test_what_the_bash_package_did_not_know_is_not_read() -> None:
    assert "XEN" not in state.variables("XEN=true\nMIGRATION_PHASE=pre\n")


# --- rules


def sorted_out(sort: object, text: str) -> tuple[list[str], list[str]]:
    """What would be run, and what is left."""
    found = list(sort("tool", f"*filter\n{text}COMMIT\n", mine))  # type: ignore[operator]
    lines = [" ".join(one[0].argv) for one in found if not isinstance(one, Unknown)]
    return lines, [one.words + " extra" * one.extra for one in found if isinstance(one, Unknown)]


KNOWN = [
    "FORWARD ! -s 198.51.100.10/32 -i tap0 -m comment --comment snf-network_routed -j DROP",
    "FORWARD ! -s 2001:db8::1/128 -i tap0 -m comment --comment gnt-networking_routed -j DROP",
    "FORWARD -o tap0 -m comment --comment snf-network_firewall -j protected",
    "FORWARD -o tap0 -j limited",
    "FORWARD -m physdev --physdev-out tap1 -m comment --comment snf-network_firewall -j protected",
    "FORWARD -m physdev --physdev-out tap1 --physdev-is-bridged -j unprotected",
]
OTHERS = [
    "FORWARD -s 198.51.100.10/32 -i tap0 -m comment --comment snf-network_routed -j DROP",
    "FORWARD -i tap0 -p tcp --dport 25 -j DROP",
    "INPUT ! -s 198.51.100.10/32 -i tap0 -m comment --comment snf-network_routed -j DROP",
    "FORWARD -o tap0 -j mine",
    "FORWARD ! -i tap0 -j DROP",
    'FORWARD -i tap0 -m comment --comment "a; b" -j DROP',
]


@pytest.mark.parametrize("rule", KNOWN)
def test_a_rule_of_the_bash_package(rule: str) -> None:
    assert sorted_out(firewall._forward, f"-A {rule}\n") == ([f"tool -D {rule}"], [])


@pytest.mark.parametrize("rule", OTHERS)
def test_a_rule_of_somebody_else_is_left_and_told(rule: str) -> None:
    lines, left = sorted_out(firewall._forward, f"-A {rule}\n")
    assert lines == [] and len(left) == 1 and "extra" not in left[0]


def test_a_rule_of_an_extra_script_is_the_admins() -> None:
    rule = "-A FORWARD -i tap0 -p tcp --dport 25 -m comment --comment snf-network_extra -j ACCEPT\n"
    lines, left = sorted_out(firewall._forward, rule)
    assert lines == [] and left[0].endswith("extra")


@pytest.mark.parametrize("device", ["eth1", "tap+", "tap9"])
def test_a_rule_of_another_device_is_no_business_of_ours(device: str) -> None:
    assert sorted_out(firewall._forward, f"-A FORWARD -i {device} -j ACCEPT\n") == ([], [])


def test_other_tables_are_not_looked_at() -> None:
    assert not list(firewall.rules("*mangle\n-A FORWARD -i tap0 -j DROP\nCOMMIT\n"))


def test_arptables_of_a_tap_and_of_the_uplink() -> None:
    rule = "OUTPUT -j mangle -o {} --opcode 1 --mangle-ip-s 198.51.100.1"
    text = "".join(f"-A {rule.format(device)}\n" for device in ("tap0", "eth1"))
    assert sorted_out(firewall._arp, text) == ([f"tool -D {rule.format('tap0')}"], [])


EBTABLES = """
:FORWARD ACCEPT
:FROMTAP1 RETURN
:TOTAP1 RETURN
-A INPUT -i tap1 -j FROMTAP1
-A FORWARD -i tap1 -j FROMTAP1
-A FORWARD -o tap1 -j TOTAP1
-A OUTPUT -o tap1 -j TOTAP1
-A FROMTAP1 -s ! aa:55:60:00:00:01 -j DROP
-A TOTAP1 -s ! aa:55:60:00:00:00/ff:ff:f0:00:00:00 -j DROP
"""


def test_ebtables_jumps_go_before_their_chains() -> None:
    lines, left = sorted_out(firewall._bridge, EBTABLES)
    assert left == [] and len(lines) == 8
    for chain in ("FROMTAP1", "TOTAP1"):
        flush, last = lines.index(f"tool -F {chain}"), lines.index(f"tool -X {chain}")
        assert max(number for number, line in enumerate(lines) if line.endswith(f"-j {chain}")) < flush < last


@pytest.mark.parametrize("rule", ["FROMTAP1 -p IPv4 -j DROP", "FORWARD -p IPv4 -j FROMTAP1"])
def test_a_chain_with_something_else_stays_and_so_do_its_jumps(rule: str) -> None:
    lines, left = sorted_out(firewall._bridge, f"{EBTABLES}-A {rule}\n")
    assert len(left) == 3 and not any("FROMTAP1" in line for line in lines) and len(lines) == 4


def test_a_chain_without_jumps_goes_if_the_tap_is_ours_to_judge() -> None:
    rows = ":FROMTAP1 RETURN\n:TOTAP1 RETURN\n:TOTAP9 RETURN\n-A FROMTAP1 -s ! aa:55:60:00:00:01 -j DROP\n"
    lines, left = sorted_out(firewall._bridge, rows)
    chains = ("FROMTAP1", "TOTAP1")
    assert (lines, left) == ([f"tool -{option} {name}" for name in chains for option in "FX"], [])


def test_a_chain_that_two_taps_share_stays() -> None:
    """The bash package wrote both names in capitals."""
    lines, left = sorted_out(
        firewall._bridge, ":FROMTAPA RETURN\n-A FORWARD -i tapA -j FROMTAPA\n-A FORWARD -i tapa -j FROMTAPA\n"
    )
    assert lines == [] and len(left) == 2


# --- routing

NIC = Nic.from_env(
    {
        "INTERFACE": "tap0",
        "INSTANCE": "inst1",
        "MODE": "routed",
        "LINK": "222",
        "MAC": "aa:00:00:00:00:01",
        "IP": "198.51.100.10",
        "NETWORK_SUBNET6": "2001:db8:1::/64",
    }
)
IP6 = NIC.ip6


def routes(*entries: dict[str, str]) -> routing.Routing:
    return routing.Routing((), tuple(("-4", entry) for entry in entries), ())


def test_a_route_to_the_guest_is_old_and_another_is_left() -> None:
    mine = {"dst": "198.51.100.10", "dev": "tap0", "table": "222", "protocol": "static"}
    found = list(
        routing.routes_of(
            routes(
                mine,
                mine | {"dst": "198.51.100.99"},
                mine | {"gateway": "198.51.100.9"},
                mine | {"protocol": "148"},
                mine | {"dev": "tap1"},
                mine | {"dst": "fe80::/64", "protocol": "kernel"},
            ),
            NIC,
        )
    )
    assert [type(one) for one in found] == [Line, Unknown, Unknown]
    assert found[0].slot == ("Route", "198.51.100.10/32", "222")  # type: ignore[union-attr]


def test_proxy_entries_of_the_guest_that_are_not_ours() -> None:
    entries = [{"dst": IP6, "dev": "eth1"}, {"dst": IP6, "dev": "eth1", "protocol": "148"}]
    entries += [{"dst": "2001:db8:1::77", "dev": "eth1"}]
    found = list(routing.proxies_of(routing.Routing((), (), tuple(("-6", one) for one in entries)), NIC))
    assert [line.argv[-1] for line in found] == ["eth1"]


def test_only_a_bare_rule_by_tap_is_old() -> None:
    bare = {"priority": 32764, "src": "all", "iif": "tap0", "table": "222"}
    rules = [bare, bare | {"fwmark": "0x1"}, bare | {"iif": "eth1"}, bare | {"protocol": "148"}]
    rules += [bare | {"src": "10.0.0.0"}]
    found = list(routing.rules_of_taps(routing.Routing(tuple(("-4", one) for one in rules), (), ()), mine))
    assert [" ".join(line.argv) for line in found] == ["ip -4 rule del pref 32764 iif tap0 lookup 222"]
