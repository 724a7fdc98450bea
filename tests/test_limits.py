"""Limits by tag: what is said of a NIC, by whom, and what is refused."""

from __future__ import annotations

import json

import pytest

from snf_network.errors import BadEnvironment
from snf_network.lean import replace
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.resources import Element, Hook, Shaper
from snf_network.model.resources.nft import listed
from snf_network.plan import plan_for
from snf_network.rules.text import our_table
from snf_network.setups.limit import BITS, KINDS, limits_of, number
from tests.test_plan import BRIDGED, NODE


def limits(network: str = "", instance: str = "", setting: str = "") -> dict[str, str]:
    nic = Nic.from_env(BRIDGED | {"NETWORK_TAGS": network, "TAGS": instance})
    return limits_of(nic, replace(Config(), limits=setting))


def test_nobody_says_anything() -> None:
    assert limits() == {} == limits("public private-filtered", "snf-network:0:trunk")


def test_who_overrides_whom() -> None:
    """The setting, the network, the instance by index, by name, by uuid."""
    assert limits("limit:out:1mbit", setting="out:2mbit in:2mbit") == {"out": "1mbit", "in": "2mbit"}
    by_index, by_name = "snf-network:0:limit:out:3mbit", "snf-network:priv0:limit:out:4mbit"
    by_uuid = "snf-network:5ac0de03:limit:out:5mbit"
    assert limits("limit:out:1mbit", by_index) == {"out": "3mbit"}
    assert limits("limit:out:1mbit", f"{by_name} {by_index}") == {"out": "4mbit"}
    assert limits("limit:out:1mbit", f"{by_name} {by_uuid} {by_index}") == {"out": "5mbit"}


def test_a_limit_is_lifted() -> None:
    lifted = "snf-network:0:no-limit:out"
    assert limits("limit:out:1mbit limit:new:5", lifted, "out:2mbit") == {"new": "5"}
    assert limits("limit:out:1mbit", f"{lifted}:1mbit") == {}
    assert limits("limit:out:1mbit", f"{lifted} snf-network:priv0:limit:out:2mbit") == {"out": "2mbit"}


@pytest.mark.parametrize(
    ("what", "text", "value"),
    [
        ("out", "64kbit", 64_000),
        ("in", "1mbit", 1_000_000),
        ("out", "100gbit", 100_000_000_000),
        ("pps", "1", 1),
        ("pps", "50k", 50_000),
        ("new", "10m", 10_000_000),
        ("broadcast", "010", 10),
    ],
)
def test_values(what: str, text: str, value: int) -> None:
    assert number(what, text) == value


HOSTILE = (
    *("", "0", "-1", "1e3", "1.5", "k", "1kk", "1 k", "0x10", "\u0661", "1\n", "9" * 30, "1}", '1"'),
    *("1K", "50kbit/s", "100Mbit", "mbit", "1mbit ", "+1"),
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("what", KINDS)
def test_what_is_no_value_is_refused_in_one_line(what: str, text: str) -> None:
    unit = "" if any(text.endswith(unit) for unit in BITS) or not KINDS[what].rate else "mbit"
    with pytest.raises(BadEnvironment) as refused:
        number(what, text + unit)
    assert "\n" not in str(refused.value) and refused.value.hint


@pytest.mark.parametrize(
    ("what", "text"),
    [("out", "63kbit"), ("in", "101gbit"), ("pps", "11m"), ("out", "100"), ("out", "100k"), ("pps", "1kbit")],
)
def test_what_is_beyond_the_bounds_is_refused(what: str, text: str) -> None:
    with pytest.raises(BadEnvironment):
        number(what, text)


@pytest.mark.parametrize(
    ("network", "instance", "setting"),
    [
        ("limit:speed:1mbit", "", ""),
        ("limit:", "", ""),
        ("limit:out", "", ""),
        ("limit:out:1mbit limit:out:2mbit", "", ""),
        ("", "snf-network:0:limit:out:1mbit snf-network:0:no-limit:out", ""),
        ("limits:out:1mbit", "", ""),
        ("Limit:out:1mbit", "", ""),
        ("", "snf-network:0:lmit:out:1mbit", ""),
        ("", "", "out"),
        ("", "", "limit:out:1mbit"),
    ],
)
def test_a_nic_whose_limits_cannot_be_read_does_not_come_up(
    network: str, instance: str, setting: str
) -> None:
    nic = Nic.from_env(BRIDGED | {"NETWORK_TAGS": network, "TAGS": instance})
    with pytest.raises(BadEnvironment) as refused:
        plan_for(nic, NODE, replace(Config(), limits=setting))
    assert "\n" not in str(refused.value)


def test_what_goes_to_a_guest_can_be_shaped() -> None:
    def shapers(network: str, instance: str = "") -> list[Shaper]:
        nic = Nic.from_env(BRIDGED | {"NETWORK_TAGS": network, "TAGS": instance})
        return [one for one in plan_for(nic, NODE, Config()).resources if isinstance(one, Shaper)]

    assert shapers("shape:in:1mbit") == [Shaper("tap1", "1000000")]
    assert shapers("shape:in:1mbit", "snf-network:0:shape:in:64kbit") == [Shaper("tap1", "64000")]
    assert shapers("shape:in:1mbit", "snf-network:0:no-shape:in") == []
    for refused in (
        "shape:out:1mbit",
        "shape:in:1",
        "shape:in",
        "shap:in:1mbit",
        "shape:in:1mbit shape:in:2mbit",
    ):
        with pytest.raises(BadEnvironment):
            shapers(refused)


def test_a_nic_without_limits_has_nothing_of_them() -> None:
    made = plan_for(Nic.from_env(BRIDGED), NODE, Config()).resources
    assert not [
        one for one in made if isinstance(one, Hook) or (isinstance(one, Element) and one.family == "netdev")
    ]


def test_a_limit_is_read_back_in_whatever_units_nft_lists_it() -> None:
    said = """{"set": {"name": "openings", "elem": [
        {"elem": {"val": "tap0", "limit": {"rate": 12500000, "burst": 64, "per": "second", "inv": true,
            "rate_unit": "bytes", "burst_unit": "kbytes"}}},
        {"elem": {"val": "tap1", "limit": {"rate": 1, "burst": 65536, "per": "second", "inv": true,
            "rate_unit": "mbytes", "burst_unit": "bytes"}}}, "tap2"]}}"""
    assert [one.value for one in listed("netdev", [json.loads(said)])] == [
        "limit rate over 12500000 bytes/second burst 65536 bytes",
        "limit rate over 1048576 bytes/second burst 65536 bytes",
        "",
    ]


def test_the_listing_of_rules_has_no_chain_of_a_nic() -> None:
    chain = "\tchain {} {{\n\t\ttype filter hook ingress\n\t\tjump out_rate\n\t}}\n"
    rest = "table netdev snf_network {\n\tset out_rates {\n\t}\n\n\tchain new {\n\t}\n"
    last = f"{rest}\n{chain.format('out-tap0')}\n{chain.format('in-a.b-c')}}}\n"
    assert our_table(last, "netdev") == f"{rest}}}\n" == our_table(f"{rest}}}\n", "netdev")


@pytest.mark.parametrize(
    "hook",
    [
        Hook("tap0", "up", "jump new"),
        Hook("tap0", "out", "jump new;flush ruleset"),
        Hook('tap0"', "out", "jump new"),
        Hook("tap0", "out", "jump broadcast\njump new"),
    ],
)
def test_a_hook_that_is_not_sound(hook: Hook) -> None:
    assert hook.unsound()
    assert not Hook("tap0", "out", "jump broadcast; jump new").unsound()
