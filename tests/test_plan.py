"""What a NIC should have. A plan is pure, and does not depend on the order of the tags."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snf_network.errors import BadEnvironment, SnfNetworkError
from snf_network.lean import replace
from snf_network.model.config import Config, parse
from snf_network.model.nic import Nic
from snf_network.model.node import Node
from snf_network.model.resources import (
    KINDS,
    Alias,
    Binding,
    BridgeOption,
    BridgeVlan,
    Element,
    Hook,
    Link,
    NeighProxy,
    OvsPort,
    Port,
    Resource,
    Route,
    Rule,
    SharedElement,
    Sysctl,
)
from snf_network.plan import Announcement, Plan, plan_for
from snf_network.setups import foreign
from snf_network.setups.tags import tags_of
from tests.test_nic import ENVIRONMENT, HOSTILE, ROUTED

ENVIRONMENTS = sorted((Path(__file__).parent / "environments").glob("*ifup*.env"))
NODE = Node(
    table=222,
    uplink="eth1",
    uplink6="eth1",
    ipv6=True,
    mtu=1500,
    profiles=("limited", "protected", "unprotected"),
)
VLANS = replace(NODE, vlan_aware=True, default_pvid=1, vlan_uplinks=("eth2",))
BRIDGED = {
    "INSTANCE": "inst2",
    "INTERFACE": "tap1",
    "INTERFACE_INDEX": "0",
    "INTERFACE_NAME": "priv0",
    "INTERFACE_UUID": "5ac0de03",
    "IP": "203.0.113.1",
    "LINK": "prv0",
    "MAC": "aa:55:60:25:ae:2e",
    "MODE": "bridged",
    "NETWORK_MAC_PREFIX": "aa:55:60",
    "NETWORK_SUBNET": "203.0.113.0/24",
    "NETWORK_TAGS": "private-filtered",
}
UUID = ROUTED["INTERFACE_UUID"]


@pytest.fixture(autouse=True)
def no_foreign_setups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What is installed on this machine has no say."""
    monkeypatch.setattr(foreign, "DIRECTORY", str(tmp_path))
    monkeypatch.setattr(foreign.sys, "path", [])
    return tmp_path


def plan(base: dict[str, str], node: Node = NODE, config: Config = Config(), **values: str) -> Plan:  # noqa: B008
    return plan_for(Nic.from_env({**base, **values}), node, config)


def refusal(base: dict[str, str], node: Node = NODE, config: Config = Config(), **values: str) -> str:  # noqa: B008
    with pytest.raises(BadEnvironment) as caught:
        plan(base, node, config, **values)
    assert caught.value.hint
    return caught.value.message


def kinds(made: Plan, *wanted: type[Resource]) -> list[Resource]:
    return [resource for resource in made.resources if type(resource) in wanted]


def members(made: Plan, family: str, name: str) -> list[tuple[str, str]]:
    elements = [found for found in made.resources if isinstance(found, Element)]
    return [(found.key, found.value) for found in elements if (found.family, found.set) == (family, name)]


def test_its_facts_are_the_same_as_its_text() -> None:
    made = plan(ROUTED, NETWORK_TAGS="ip-less-routed nfdhcpd dns gold")
    facts = json.loads(json.dumps(made.facts()))
    rows = facts["resources"]
    assert {KINDS[row["kind"]](**row["fields"]) for row in rows} == {*made.resources}
    text = made.text()
    for heading, group in groupby(rows, lambda row: row["heading"]):
        part = "".join(f"{row['line']}\n" for row in group)
        assert text.startswith(f"# {heading}\n{part}"), "in this order"
        text = text.removeprefix(f"# {heading}\n{part}\n")
    assert facts["announcements"][0] == {"address": ROUTED["IP"], "interface": "eth1"}
    assert facts["names"]["instance"] == ROUTED["INSTANCE"] and facts["ignored_tags"] == ["gold"]
    assert facts["warnings"] == facts["lacking"] == []


# --- tags have no order


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "order",
    [
        sorted,
        lambda words: sorted(words, reverse=True),
        lambda words: words[1:] + words[:1],
        lambda words: [*words, *words],
    ],
    ids=["sorted", "reversed", "rotated", "doubled"],
)
def test_the_order_of_tags_never_matters(path: Path, order: Callable[[list[str]], list[str]]) -> None:
    env = dict(line.split("=", 1) for line in path.read_text().splitlines())
    env["TAGS"] = " ".join(word for word in env["TAGS"].split() if word != "synnefo:network:0:protected")
    shuffled = {
        **env,
        **{name: " ".join(order(env.get(name, "").split())) for name in ("TAGS", "NETWORK_TAGS")},
    }
    assert plan(env) == plan(shuffled)


TAGS = [
    "ip-less-routed",
    "nfdhcpd",
    "private-filtered",
    "mac-filtered",
    "masq",
    "public",
    "dns",
    "physical-vlan",
    "unknown",
]
INSTANCE_TAGS = [
    "synnefo:network:0:limited",
    f"synnefo:network:{UUID}:protected",
    "synnefo:network:0:reconfigure",
    "snf-network:0:masq",
    "snf-network:pub0:no-nfdhcpd",
    f"snf-network:{UUID}:nfdhcpd",
    "snf-network:0:no-dns",
    "other",
]


@given(
    network=st.sets(st.sampled_from(TAGS)),
    instance=st.sets(st.sampled_from(INSTANCE_TAGS)),
    masq=st.booleans(),
    mode=st.sampled_from(["routed", "bridged", "openvswitch"]),
    data=st.data(),
)
def test_no_set_of_tags_has_an_order(
    network: set[str], instance: set[str], masq: bool, mode: str, data: st.DataObject
) -> None:
    outcomes: list[Plan | str] = []
    for _ in range(2):
        tags = {
            "NETWORK_TAGS": data.draw(st.permutations(sorted(network))),
            "TAGS": data.draw(st.permutations(sorted(instance))),
        }
        try:
            made = plan(
                ROUTED,
                config=replace(Config(), masq=masq),
                MODE=mode,
                **{name: " ".join(words) for name, words in tags.items()},
            )
        except BadEnvironment as error:
            outcomes.append(str(error))
        else:
            outcomes.append(made)
            assert len({resource.slot for resource in made.resources}) == len(made.resources), (
                "two things in one place"
            )
    assert outcomes[0] == outcomes[1]


def test_planning_twice_gives_the_same() -> None:
    assert plan(ROUTED) == plan(ROUTED)


# --- hostile values


ANYTHING = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8))
WORDS_FOR_THE_NIC = st.tuples(st.sampled_from(["snf-network", "synnefo:network"]), ANYTHING).map(":0:".join)
SAFE = re.compile(r'[A-Za-z0-9_.:/"{} =,+-]+')


@given(
    env=ENVIRONMENT,
    node=st.sampled_from([NODE, VLANS, Node()]),
    masq=st.booleans(),
    tags=st.lists(
        st.one_of(st.sampled_from(TAGS + INSTANCE_TAGS), st.sampled_from(HOSTILE), WORDS_FOR_THE_NIC),
        max_size=3,
    ),
)
def test_any_environment_has_a_plan_or_is_bad(
    env: dict[str, str], node: Node, masq: bool, tags: list[str]
) -> None:
    words = " ".join(tags)
    try:
        made = plan(
            env,
            node,
            replace(Config(), masq=masq),
            TAGS=f"{env.get('TAGS', '')} {words}",
            NETWORK_TAGS=f"{env.get('NETWORK_TAGS', '')} {words}",
        )
    except BadEnvironment as error:
        assert str(error).isascii() and str(error).isprintable()
        return
    for resource in made.resources:
        lines = (resource.add().partition("\n")[0], resource.delete() or "none")
        assert all(SAFE.fullmatch(line) for line in lines), lines
    for told in made.announcements:
        assert SAFE.fullmatch(told.address) and SAFE.fullmatch(told.interface)


@given(st.lists(ANYTHING, max_size=3))
def test_what_is_shown_can_be_printed(tags: list[str]) -> None:
    words = " ".join(tags)
    text = plan(ROUTED, NETWORK_TAGS=f"nfdhcpd {words}", TAGS=words).text()
    assert text.replace("\n", "").isprintable() and text.encode()


@given(st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE)), max_size=3))
def test_a_binding_has_one_line_a_key_whatever_the_tags_are(tags: list[str]) -> None:
    made = plan(ROUTED, NETWORK_TAGS=f"nfdhcpd {' '.join(tags)}")
    [binding] = kinds(made, Binding)
    assert isinstance(binding, Binding)
    keys = [line.partition("=")[0] for line in binding.content.split("\n")]
    assert keys == [
        "INDEV",
        "IP",
        "MAC",
        "HOSTNAME",
        "TAGS",
        "GATEWAY",
        "SUBNET",
        "GATEWAY6",
        "SUBNET6",
        "EUI64",
        "NETWORK",
        "",
    ]
    assert re.fullmatch(r'TAGS="[^"$`\\]*"', binding.content.split("\n")[4])


# --- customised NICs


CUSTOM = {
    "a network's tags are inherited": ("a b", "", "a b"),
    "a tag is added by index": ("a", "snf-network:0:b", "a b"),
    "a tag is added by name": ("a", "snf-network:pub0:b", "a b"),
    "a tag is added by uuid": ("a", f"snf-network:{UUID}:b", "a b"),
    "a tag is taken away": ("a b", "snf-network:0:no-b", "a"),
    "a tag that is not there is taken away": ("a", "snf-network:0:no-b", "a"),
    "another NIC's tags are not this one's": ("a", "snf-network:1:b snf-network:pub1:b snf-network:b", "a"),
    "uuid counts before name": ("a", f"snf-network:{UUID}:no-b snf-network:pub0:b", "a"),
    "name counts before index": ("a b", "snf-network:pub0:b snf-network:0:no-b", "a b"),
    "uuid counts before index": ("b", f"snf-network:0:b snf-network:{UUID}:no-b", ""),
    "another prefix says nothing": ("a", "synnefo:network:0:b", "a"),
    "a tag may have a colon": ("a", "snf-network:0:b:c", "a b:c"),
}


@pytest.mark.parametrize(("network", "instance", "tags"), CUSTOM.values(), ids=list(CUSTOM))
def test_instance_tags_customise_one_nic(network: str, instance: str, tags: str) -> None:
    nic = Nic.from_env({**ROUTED, "NETWORK_TAGS": network, "TAGS": instance})
    assert tags_of(nic, Config()) == tuple(tags.split())


def test_the_prefix_is_a_setting() -> None:
    nic = Nic.from_env({**ROUTED, "NETWORK_TAGS": "a", "TAGS": "mine:0:b snf-network:0:c"})
    assert tags_of(nic, replace(Config(), tag_prefix="mine")) == ("a", "b")


def test_a_tag_and_no_tag_by_one_name_contradict_each_other() -> None:
    assert refusal(ROUTED, TAGS="snf-network:0:masq snf-network:0:no-masq").startswith("TAGS:")


# --- firewall profiles


PROFILES = {
    "by index": ("synnefo:network:0:limited", "limited"),
    "by name": ("synnefo:network:pub0:limited", "limited"),
    "by uuid": (f"synnefo:network:{UUID}:limited", "limited"),
    "uuid before name": (f"synnefo:network:{UUID}:limited synnefo:network:pub0:protected", "limited"),
    "name before index": ("synnefo:network:0:limited synnefo:network:pub0:protected", "protected"),
    "uuid before index": (f"synnefo:network:0:limited synnefo:network:{UUID}:unprotected", "unprotected"),
    "reconfigure is none": ("synnefo:network:0:reconfigure", ""),
    "reconfigure beside one": ("synnefo:network:0:reconfigure synnefo:network:0:limited", "limited"),
    "of another NIC": ("synnefo:network:1:limited", ""),
    "of no NIC": ("synnefo:network:limited limited", ""),
}


@pytest.mark.parametrize(("tags", "profile"), PROFILES.values(), ids=list(PROFILES))
@pytest.mark.parametrize("mode", ["routed", "bridged"])
def test_a_profile_is_picked(tags: str, profile: str, mode: str) -> None:
    made = plan(ROUTED, MODE=mode, TAGS=tags, NETWORK_TAGS="")
    family = "inet" if mode == "routed" else "bridge"
    assert members(made, family, "egress") == ([('"tap0"', f"goto profile_{profile}")] if profile else [])
    assert members(made, "bridge" if mode == "routed" else "inet", "egress") == []


def test_in_a_filtered_network_the_prefix_is_checked_before_the_profile() -> None:
    assert members(plan(BRIDGED), "bridge", "egress") == [('"tap1"', "goto filtered")]
    assert members(plan(BRIDGED, TAGS="synnefo:network:0:limited"), "bridge", "egress") == [
        ('"tap1"', "goto filtered_profile_limited")
    ]


@pytest.mark.parametrize("profile", ["protcted", "$(reboot)", "a:b", "Limited"])
def test_a_profile_that_is_not_there_is_refused(profile: str) -> None:
    assert refusal(ROUTED, TAGS=f"synnefo:network:0:{profile}").startswith("TAGS:")


def test_a_profile_is_refused_where_none_was_read() -> None:
    assert refusal(ROUTED, Node(table=222), TAGS="synnefo:network:0:limited").startswith("TAGS:")


def test_two_profiles_of_one_rank_are_refused() -> None:
    message = refusal(ROUTED, TAGS="synnefo:network:0:limited synnefo:network:0:unprotected")
    assert "limited" in message and "unprotected" in message


def test_a_contradiction_below_the_rank_that_decides_does_not_matter() -> None:
    made = plan(
        ROUTED, TAGS=f"synnefo:network:{UUID}:limited synnefo:network:0:limited synnefo:network:0:unprotected"
    )
    assert members(made, "inet", "egress") == [('"tap0"', "goto profile_limited")]


def test_an_empty_word_is_no_way_around_a_profile() -> None:
    tags = f"synnefo:network:{UUID}: synnefo:network:0:protected"
    try:
        made = plan(ROUTED, TAGS=tags)
    except BadEnvironment:
        return
    assert members(made, "inet", "egress") == [('"tap0"', "goto profile_protected")]


OF_BRIDGES = ("guests", "ports", "prefixed", "owned")
"""What only a bridge needs: it has other hooks for the node's own frames and for reserved groups."""


@pytest.mark.parametrize(
    "tags",
    [
        "",
        "ip-filtered",
        "private-filtered",
        "mac-filtered trunk",
        "nfdhcpd trunk",
        "isolated",
        "isolated ip-filtered nfdhcpd",
        "ip-filtered private-filtered nfdhcpd",
    ],
)
@pytest.mark.parametrize("engine", ["packet", "none"])
def test_pins_of_open_vswitch_are_those_of_a_bridge(tags: str, engine: str) -> None:
    """In another table, and with the chains that lead there before the tap is a port."""
    config = replace(Config(), nfdhcpd_engine=engine)
    bridged, made = (
        plan(
            BRIDGED,
            replace(NODE, vlan_aware=True),
            config,
            MODE=mode,
            NETWORK_TAGS=tags,
            VLAN=".5:6:7",
            TAGS="snf-network:0:allow:198.51.100.7 snf-network:0:mac:aa:55:61:00:00:01",
        )
        for mode in ("bridged", "openvswitch")
    )
    wanted, found = (
        [one for one in some.resources if isinstance(one, Element) and one.family == family]
        for some, family in ((bridged, "bridge"), (made, "netdev"))
    )
    same = (one for one in wanted if one.set not in OF_BRIDGES and one.value != "goto any_mac")
    # Open vSwitch bounds the MACs that it learns by itself
    values = ((one, one.value.replace("any_mac_guard", "guard")) for one in same)
    assert found == [replace(one, family="netdev", value=value) for one, value in values]
    maps = {one.set for one in found if one.value}
    hooks = [one for one in made.resources if isinstance(one, Hook)]
    assert [one.side for one in hooks] == [
        side for side, name in (("from", "ingress"), ("to", "egress")) if name in maps
    ]
    places = [number for number, one in enumerate(made.resources) if isinstance(one, (Hook, OvsPort))]
    assert isinstance(made.resources[places[-1]], OvsPort)


def test_engine_nfqueue_gets_nothing_from_open_vswitch() -> None:
    """So nobody drops what nobody answers."""
    made = plan(
        BRIDGED,
        config=replace(Config(), nfdhcpd_engine="nfqueue"),
        MODE="openvswitch",
        NETWORK_TAGS="nfdhcpd",
    )
    assert {one.set for one in kinds(made, Element)} == {"guarded", "ports", "ingress"}  # type: ignore[attr-defined]


def test_a_private_network_of_open_vswitch_is_not_translated() -> None:
    assert "openvswitch" in refusal(BRIDGED, MODE="openvswitch", NETWORK_TAGS="private-filtered masq")


def test_openvswitch_does_not_pass_for_protected() -> None:
    assert "openvswitch" in refusal(
        BRIDGED, MODE="openvswitch", NETWORK_TAGS="", TAGS="synnefo:network:0:protected"
    )


# --- modes and tags


def test_a_routed_nic_is_routed_and_pinned_without_any_tag() -> None:
    made = plan(ROUTED, NETWORK_TAGS="", TAGS="")
    assert kinds(made, Rule) == [
        Rule(family, "222", action) for family in ("-4", "-6") for action in ("lookup", "unreachable")
    ]
    assert kinds(made, Route) == [
        Route("198.51.100.10/32", "tap0", "222"),
        Route("2001:db8:1:0:a800:ff:fead:35c9/128", "tap0", "222"),
    ]
    assert members(made, "inet", "tables") == members(made, "arp", "tables") == [('"tap0"', "222")]
    assert (
        members(made, "inet", "src4")
        == members(made, "arp", "src4")
        == [('"tap0" . aa:00:00:ad:35:c9 . 198.51.100.10', "")]
    )
    assert members(made, "inet", "src6") == [
        (f'"tap0" . aa:00:00:ad:35:c9 . {address}', "")
        for address in ("2001:db8:1:0:a800:ff:fead:35c9", "fe80::a800:ff:fead:35c9")
    ]
    assert members(made, "inet", "targets") == [
        (f'"tap0" . {address}a80000fffead35c9', "")
        for address in ("0x20010db800010000", "0xfe80000000000000")
    ]
    assert (kinds(made, NeighProxy, Binding), made.announcements, made.lacking) == ([], (), ())


def test_filters_come_before_the_link_and_the_link_before_routes() -> None:
    made = plan(ROUTED)
    order = [
        next(at for at, resource in enumerate(made.resources) if type(resource) is kind)
        for kind in (Element, Link, Route)
    ]
    last = max(
        at
        for at, resource in enumerate(made.resources)
        if isinstance(resource, Element) and resource.set in ("routed", "src4")
    )
    assert order == sorted(order) and last < order[1]
    assert made.resources.index(Port("tap0")) < order[1], "out of any bridge before it is up"


def test_without_ipv6_there_is_nothing_of_it_and_it_is_said() -> None:
    made = plan(ROUTED, replace(NODE, ipv6=False, uplink6=""))
    assert not [
        line
        for line in (
            resource.add() for resource in made.resources if not isinstance(resource, (Element, Binding))
        )
        if "2001:" in line or "ipv6" in line or "fe80" in line
    ]
    assert Rule("-6", "222", "lookup") not in made.resources
    assert members(made, "inet", "src6") == members(made, "inet", "targets") == []
    assert len(made.lacking) == 1 and "IPv6" in made.lacking[0]
    never = plan(ROUTED, replace(NODE, ipv6=False, ipv6_possible=False, uplink6=""))
    assert (
        never.resources == made.resources
        and not never.lacking
        and len(never.warnings) == 1
        and "IPv6" in never.warnings[0]
    )


LACKING = {
    "both": ({}, 2, set()),
    "IPv4": ({"uplink6": "eth2"}, 1, {"2001:db8:1:0:a800:ff:fead:35c9"}),
    "IPv6": ({"uplink": "eth2"}, 1, {"198.51.100.10"}),
    "neither": (
        {"uplink": "eth2", "uplink6": "eth3"},
        0,
        {"198.51.100.10", "2001:db8:1:0:a800:ff:fead:35c9"},
    ),
}


@pytest.mark.parametrize(("facts", "count", "announced"), LACKING.values(), ids=list(LACKING))
def test_a_table_without_a_default_route_has_no_proxy_in_that_family(
    facts: dict[str, Any], count: int, announced: set[str]
) -> None:
    made = plan(ROUTED, Node(table=222, **facts), TAGS="")
    assert len(made.lacking) == count and all(
        "222" in words or "snf_public" in words for words in made.lacking
    )
    assert {told.address for told in made.announcements} == announced
    proxies = kinds(made, NeighProxy)
    assert {
        proxy.address for proxy in proxies if isinstance(proxy, NeighProxy) and proxy.interface != "tap0"
    } == announced
    assert not [resource for resource in made.resources if "//" in resource.add()], "a setting of no device"


def test_announced_is_what_is_proxied_on_an_uplink_and_nothing_else() -> None:
    made = plan(ROUTED, replace(NODE, uplink6="eth2"))
    assert made.announcements == (
        Announcement("198.51.100.10", "eth1"),
        Announcement("2001:db8:1:0:a800:ff:fead:35c9", "eth2"),
    )
    assert plan(BRIDGED).announcements == (), "a bridged guest may not be here yet: it speaks for itself"


def test_the_gateways_own_link_local_address_is_not_the_guests() -> None:
    made = plan(ROUTED, NETWORK_GATEWAY6="fe80::1")
    assert members(made, "inet", "routers") == [
        ('"tap0" . fe80::ce47:52ff:fe4e:4554', ""),
        ('"tap0" . fe80::1', ""),
    ]
    assert NeighProxy("fe80::1", "tap0") in made.resources


def test_a_guest_whose_mac_is_the_taps_does_not_make_it_a_router() -> None:
    made = plan(ROUTED, NETWORK_GATEWAY6="fe80::ce47:52ff:fe4e:4554")
    assert members(made, "inet", "routers") == [('"tap0" . fe80::ce47:52ff:fe4e:4554', "")]


def test_a_bridged_nic_is_a_port_with_the_bridges_mtu() -> None:
    members = Element("bridge", "guests", "tap1"), Element("bridge", "ingress", "tap1", value="goto any_mac")
    made = plan(BRIDGED, NETWORK_TAGS="")
    assert {one for one in made.resources if isinstance(one, Element)} == set(members)
    assert [one for one in made.resources if not isinstance(one, Element)] == [
        Sysctl("net/ipv6/conf/tap1/addr_gen_mode", "1"),
        BridgeOption("prv0", "no_linklocal_learn", "1"),
        Port("tap1", "prv0", "1500"),
        Link("tap1", "fe:55:60:25:ae:2e"),
        Alias("tap1", "inst2 nic0"),
    ]
    xen = plan(BRIDGED, NETWORK_TAGS="", XEN="true").resources
    assert [one for one in xen if isinstance(one, (Port, Link, Alias))] == [
        Port("tap1", "prv0", "1500"),
        Link("tap1"),
        Alias("tap1", "inst2 nic0"),
    ]


@pytest.mark.parametrize(
    "tags", ["mac-filtered", "private-filtered mac-filtered", "mac-filtered private-filtered"]
)
def test_mac_filtered_is_another_name_of_private_filtered(tags: str) -> None:
    assert plan(BRIDGED, NETWORK_TAGS=tags).resources == plan(BRIDGED).resources


def test_a_mac_of_another_private_network_is_refused() -> None:
    assert refusal(BRIDGED, MAC="aa:55:70:25:ae:2e").startswith("MAC=aa:55:70:25:ae:2e")
    assert plan(BRIDGED, MAC="aa:55:6f:25:ae:2e"), "the mask says how much of it is the network's"


def test_the_mask_is_a_setting() -> None:
    made = plan(BRIDGED, config=replace(Config(), mac_mask="ff:ff:ff:00:00:00"))
    assert members(made, "bridge", "prefixes") == [('"tap1" . aa:55:60:00:00:00', "")]
    assert members(plan(BRIDGED, MAC="aa:55:6f:25:ae:2e"), "bridge", "prefixes") == [
        ('"tap1" . aa:55:60:00:00:00', "")
    ]


def test_tags_that_only_say_something_put_nothing_there() -> None:
    assert (
        plan(BRIDGED, NETWORK_TAGS="public dns physical-vlan").resources
        == plan(BRIDGED, NETWORK_TAGS="").resources
    )


def test_tags_have_the_names_the_settings_give_them() -> None:
    config = replace(Config(), nfdhcpd_tag="dhcp", mac_filtered_tag="private", ip_less_routed_tag="lessip")
    made = plan(BRIDGED, config=config, NETWORK_TAGS="dhcp private")
    assert made.resources == tuple(
        replace(resource, content=resource.content.replace('"nfdhcpd private-filtered"', '"dhcp private"'))
        if isinstance(resource, Binding)
        else resource
        for resource in plan(BRIDGED, NETWORK_TAGS="nfdhcpd private-filtered").resources
    )
    assert plan(BRIDGED, config=config, NETWORK_TAGS="nfdhcpd").ignored == ("nfdhcpd",)


def test_unknown_tags_are_ignored_and_said() -> None:
    made = plan(BRIDGED, NETWORK_TAGS="whatever ../../bin/sh private-filtered")
    assert made.ignored == ("../../bin/sh", "whatever") and made.resources == plan(BRIDGED).resources


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("ip-filterd", "ip-filtered"),
        ("private-filterred", "private-filtered"),
        ("Private-Filtered", "private-filtered"),
        ("private_filtered", "private-filtered"),
        ("mac-filter", "mac-filtered"),
        ("iplessrouted", "ip-less-routed"),
        ("nfdchpd", "nfdhcpd"),
        ("dhcpd", "nfdhcpd"),
    ],
)
def test_a_slip_of_a_tag_that_filters_is_refused(tag: str, meant: str) -> None:
    """The guest would be open, and nobody would know."""
    with pytest.raises(BadEnvironment, match=f"did you mean {meant}"):
        plan(BRIDGED, NETWORK_TAGS=tag)
    with pytest.raises(BadEnvironment, match=f"did you mean {meant}"):
        plan(BRIDGED, NETWORK_TAGS="", TAGS=f"snf-network:0:{tag}")
    config = replace(
        Config(), mac_filtered_tag="pf", ip_filtered_tag="abc", nfdhcpd_tag="x", ip_less_routed_tag="y"
    )
    if "mac" not in tag:
        assert plan(BRIDGED, config=config, NETWORK_TAGS=tag).ignored == (tag,)


@pytest.mark.parametrize("tag", ["filtered", "dns2", "public1", "trunks", "dhcp", "pf1", "private"])
def test_a_tag_that_is_less_close_is_not(tag: str) -> None:
    assert plan(BRIDGED, NETWORK_TAGS=tag).ignored == (tag,)


def test_masq_translates_only_where_it_is_switched_on() -> None:
    node = replace(NODE, wan="eth0")
    own = Sysctl("net/ipv6/conf/tap1/addr_gen_mode", "1")
    assert kinds(plan(BRIDGED, node, NETWORK_TAGS="masq"), SharedElement, Sysctl) == [own]
    made = plan(BRIDGED, node, replace(Config(), masq=True), NETWORK_TAGS="masq")
    assert kinds(made, SharedElement, Sysctl) == [
        own,
        SharedElement("inet", "masq_networks", "", "203.0.113.0/24"),
        SharedElement("inet", "masq_pairs", "", "203.0.113.0/24 . 203.0.113.0/24"),
        SharedElement("inet", "masq", "", '203.0.113.0/24 . "eth0"'),
        Sysctl("net/ipv4/conf/eth0/forwarding", "1"),
        Sysctl("net/ipv4/conf/prv0/forwarding", "1"),
    ]
    assert plan(BRIDGED, NODE, replace(Config(), masq=True), NETWORK_TAGS="masq").lacking


def test_masq_lets_the_nodes_bridge_speak_to_a_filtered_tap() -> None:
    assert members(plan(BRIDGED, NETWORK_TAGS="private-filtered masq"), "bridge", "hosts") == [('"tap1"', "")]
    assert members(plan(BRIDGED), "bridge", "hosts") == []


@pytest.mark.parametrize(
    "values", [{"NETWORK_SUBNET": "203.0.113.7/24"}, {"NETWORK_SUBNET": "203.0.113.0/024"}], ids=str
)
def test_a_subnet_has_the_form_the_kernel_lists(values: dict[str, str]) -> None:
    """Written otherwise, nft takes 024 for octal, and check would miss 203.0.113.7/24 for ever."""
    try:
        made = plan(BRIDGED, NODE, replace(Config(), masq=True), NETWORK_TAGS="masq", **values)
    except BadEnvironment:
        return
    assert [member.set for member in kinds(made, SharedElement)] == ["masq_networks", "masq_pairs"]


def test_the_taps_mac_has_the_form_the_kernel_lists() -> None:
    """Written otherwise, check would find another one on the tap for ever."""
    made = plan(ROUTED, config=parse("TAP_CONSTANT_MAC=CC:47:52:4E:45:54"))
    assert kinds(made, Link) == [Link("tap0", "cc:47:52:4e:45:54")]


# --- VLANs


VLAN = {
    "": [],
    ".5": [
        BridgeVlan("tap1", "5", "pvid untagged"),
        BridgeVlan("tap1", "1", "absent"),
        BridgeVlan("eth2", "5", "uplink"),
    ],
    "5": [
        BridgeVlan("tap1", "5", "pvid untagged"),
        BridgeVlan("tap1", "1", "absent"),
        BridgeVlan("eth2", "5", "uplink"),
    ],
    ":6:7": [
        BridgeVlan("tap1", "6"),
        BridgeVlan("tap1", "7"),
        BridgeVlan("tap1", "1", "absent"),
        BridgeVlan("eth2", "6", "uplink"),
        BridgeVlan("eth2", "7", "uplink"),
    ],
    ".5:6": [
        BridgeVlan("tap1", "5", "pvid untagged"),
        BridgeVlan("tap1", "6"),
        BridgeVlan("tap1", "1", "absent"),
        BridgeVlan("eth2", "5", "uplink"),
        BridgeVlan("eth2", "6", "uplink"),
    ],
    ".1": [BridgeVlan("tap1", "1", "pvid untagged"), BridgeVlan("eth2", "1", "uplink")],
    ":1": [BridgeVlan("tap1", "1"), BridgeVlan("eth2", "1", "uplink")],
}


@pytest.mark.parametrize(("vlan", "made"), VLAN.items(), ids=list(VLAN))
def test_vlans_of_a_bridge(vlan: str, made: list[Resource]) -> None:
    assert kinds(plan(BRIDGED, VLANS, VLAN=vlan), BridgeVlan) == made


@pytest.mark.parametrize("vlan", [".5", ":6", ".5:6"])
def test_a_vlan_on_a_bridge_that_filters_none_is_refused(vlan: str) -> None:
    assert refusal(BRIDGED, VLAN=vlan).startswith(f"VLAN={vlan}")


@pytest.mark.parametrize("vlan", [".5", ":5", ":4:5", ".4:5"])
def test_a_vlan_that_never_reaches_the_bridge_is_refused(vlan: str) -> None:
    node = replace(VLANS, vlan_devices=(("5", "eth2.5"), ("6", "eth2.6")))
    with pytest.raises(BadEnvironment, match=f"^VLAN={vlan}: eth2.5 "):
        plan(BRIDGED, node, VLAN=vlan)
    assert plan(BRIDGED, node, VLAN=".4") == plan(BRIDGED, VLANS, VLAN=".4")


@pytest.mark.parametrize(("vlan", "same"), [(".0001", ".1"), (":0006:6", ":6"), ("..5", ".5")])
def test_a_vlan_is_its_number(vlan: str, same: str) -> None:
    try:
        made = plan(BRIDGED, VLANS, VLAN=vlan)
    except BadEnvironment:
        return
    assert made.resources == plan(BRIDGED, VLANS, VLAN=same).resources


def test_a_vlan_both_untagged_and_tagged_stays_untagged() -> None:
    try:
        made = plan(BRIDGED, VLANS, VLAN=".5:5")
    except BadEnvironment:
        return
    assert (
        kinds(made, BridgeVlan)[0] == BridgeVlan("tap1", "5", "pvid untagged")
        and BridgeVlan("tap1", "5") not in made.resources
    )


@pytest.mark.parametrize(
    ("vlan", "port"),
    [
        ("", OvsPort("tap1", "prv0")),
        (".5", OvsPort("tap1", "prv0", "5")),
        (":6:7", OvsPort("tap1", "prv0", "", "6,7")),
        (".5:6", OvsPort("tap1", "prv0", "5", "6")),
    ],
)
def test_vlans_of_open_vswitch(vlan: str, port: OvsPort) -> None:
    assert plan(BRIDGED, MODE="openvswitch", NETWORK_TAGS="", VLAN=vlan).resources == (
        port,
        Link("tap1"),
        Alias("tap1", "inst2 nic0"),
    )


# --- setups of others


def entry_point(directory: Path, body: str) -> None:
    """A package that is installed in `directory` and gives a setup for the tag `mine`."""
    (directory / "theirs.py").write_text(body)
    metadata = directory / "theirs-1.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text(
        "[console_scripts]\nmine = other:main\n[snf_network.setups]\nmine = theirs:setup\n\n[x]\n"
    )


def test_an_entry_point_gives_a_setup(no_foreign_setups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_point(
        no_foreign_setups,
        "from snf_network.model.resources import Sysctl\n"
        "def setup(nic, node, config):\n    yield Sysctl('net/ipv4/conf/' + nic.interface + '/log_martians', '1')\n",
    )
    monkeypatch.setattr(foreign.sys, "path", [str(no_foreign_setups)])
    made = plan(BRIDGED, NETWORK_TAGS="mine other")
    assert Sysctl("net/ipv4/conf/tap1/log_martians", "1") in made.resources
    assert made.ignored == ("other",)


@pytest.mark.parametrize(
    "body",
    [
        "import nothing_of_that_name\n",
        "raise SystemError(1)\n",
        "x = 1\n",
        "def setup(nic):\n    yield nic\n",
        "def setup(nic, node, config):\n    yield 'add element'\n",
        "def setup(nic, node, config):\n    yield from (None,)\n",
        "def setup(*given):\n    return 1 / 0\n",
    ],
)
def test_an_entry_point_that_fails_is_told_of_in_one_line(
    no_foreign_setups: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    entry_point(no_foreign_setups, body)
    monkeypatch.setattr(foreign.sys, "path", [str(no_foreign_setups), *foreign.sys.path])
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    with pytest.raises(SnfNetworkError) as caught:
        plan(BRIDGED, NETWORK_TAGS="mine")
    assert "theirs:setup" in caught.value.message and str(caught.value).isprintable() and caught.value.hint


@pytest.mark.parametrize("tag", ["../x", ".hidden", "a/b", "a b", "", "$(x)", "a\x00b", "x" * 300, "\udcff"])
def test_only_a_plain_word_is_looked_for(tag: str, no_foreign_setups: Path) -> None:
    hidden = no_foreign_setups / ".hidden"
    hidden.write_text("")
    hidden.chmod(0o755)
    assert foreign.find(tag) is None


@given(st.text(max_size=20))
def test_any_tag_may_be_looked_for(tag: str) -> None:
    assume(tag != "mine")
    assert foreign.find(tag) is None


def executable(directory: Path, body: str) -> None:
    path = directory / "theirs"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.processes
def test_an_executable_prints_resources(no_foreign_setups: Path) -> None:
    """An executable is a process."""
    executable(
        no_foreign_setups,
        """echo '{"kind": "Route", "prefix": "203.0.113.9/32", "interface": "'$INTERFACE'", "table": 222}'
        echo '{"kind": "Sysctl", "key": "net/ipv4/conf/'$INTERFACE/$UPLINK/$TABLE'", "value": "1"}'""",
    )
    made, without = plan(BRIDGED, NETWORK_TAGS="theirs"), plan(BRIDGED, NETWORK_TAGS="")
    assert [one for one in made.resources if one not in without.resources] == [
        Route("203.0.113.9/32", "tap1", "222"),
        Sysctl("net/ipv4/conf/tap1/eth1/222", "1"),
    ]


FAILING = [
    "exit 1",
    "echo no json",
    """echo '{"kind": "Nothing"}'""",
    """echo '{"kind": "Link"}'""",
    """echo '{"prefix": "x"}'""",
    """echo '[]'""",
    """echo '{"kind": "Link", "interface": "tap1", "other": 1}'""",
    "printf '\\377\\n'",
    """echo '{"kind": ["Link"]}'""",
    "yes '[' | head -100000 | tr -d '\\n'",
    "exec sleep 30",
    "sleep 30 &",
    """echo '{"kind": "Route", "prefix": "203.0.113.9/32", "interface": "tap1", "table": "snf_public"}'""",
    """echo '{"kind": "Route", "prefix": "default", "interface": "tap1", "table": "222"}'""",
    """echo '{"kind": "Route", "prefix": "203.0.113.9", "interface": "tap1", "table": "222"}'""",
    """echo '{"kind": "Neighbour", "address": "203.0.113.9", "mac": "x", "interface": "tap1"}'""",
    """echo '{"kind": "NeighProxy", "address": "x", "interface": "eth1"}'""",
    """echo '{"kind": "Binding", "path": "x", "content": ""}'""",
    """echo '{"kind": "Link", "interface": "eth1"}'""",
    """echo '{"kind": "Alias", "interface": "eth1", "alias": "x"}'""",
    """echo '{"kind": "Alias", "interface": "tap1", "alias": "a#b"}'""",
    """echo '{"kind": "Port", "interface": "tap2", "bridge": "prv0"}'""",
    r"""echo '{"kind": "Element", "family": "bridge", "set": "macs", "key": "\"tap2\" . aa:00:00:00:00:02"}'""",
]


@pytest.mark.processes
@pytest.mark.parametrize("body", FAILING)
def test_an_executable_that_fails_is_told_of_in_one_line(no_foreign_setups: Path, body: str) -> None:
    """An executable is a process."""
    executable(no_foreign_setups, body)
    with pytest.raises(SnfNetworkError) as caught:
        plan(BRIDGED, NETWORK_TAGS="theirs")
    assert "theirs" in caught.value.message and str(caught.value).isprintable() and caught.value.hint


LINES_OF_THEIRS = [
    r'{"kind": "Link", "interface": "tap1\nlink del eth0"}',
    r'{"kind": "Element", "family": "inet", "set": "routed", "key": "a }\nflush ruleset\n{"}',
]


@pytest.mark.processes
@pytest.mark.parametrize("line", LINES_OF_THEIRS)
def test_a_line_of_theirs_stays_one_line(no_foreign_setups: Path, line: str) -> None:
    """An executable is a process. What it prints may hold what somebody told it, so it is no more trusted
    than Ganeti.
    """
    executable(no_foreign_setups, f"cat <<'END'\n{line}\nEND")
    try:
        made = plan(BRIDGED, NETWORK_TAGS="theirs")
    except SnfNetworkError:
        return
    assert all("\n" not in resource.add() for resource in made.resources)


@pytest.mark.parametrize(
    ("subnet", "address"),
    [
        ("198.51.100.10/31", "198.51.100.10"),
        ("198.51.100.10/31", "198.51.100.11"),
        ("198.51.100.10/32", "198.51.100.10"),
        ("198.51.100.0/24", "192.0.2.255"),
    ],
)
def test_every_address_of_a_tiny_subnet_is_a_hosts(subnet: str, address: str) -> None:
    """RFC 3021; and the gateway may be outside."""
    made = plan(ROUTED, IP=address, NETWORK_SUBNET=subnet, NETWORK_GATEWAY="192.0.2.1")
    assert Route(f"{address}/32", "tap0", "222") in made.resources
