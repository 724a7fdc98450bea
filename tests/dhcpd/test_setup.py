"""The setup `nfdhcpd`: the daemon can read what it writes, whatever Ganeti says of the NIC."""

from __future__ import annotations

from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as some

from snf_network.dhcpd.binding import TapBinding, parse
from snf_network.errors import BadEnvironment
from snf_network.model.config import Config
from snf_network.model.config import parse as parse_settings
from snf_network.model.nic import Nic
from snf_network.model.node import Node
from snf_network.model.resources import Binding
from snf_network.plan import plan_for
from snf_network.setups import nfdhcpd
from snf_network.values import BINDING_KEYS
from snf_network.values import WORDS as KNOWN

UUID = "5ac0de01-0000-4000-8000-000000000001"
BASE = {
    "INTERFACE": "tap0",
    "INSTANCE": "vm1.example.com",
    "INTERFACE_INDEX": "0",
    "INTERFACE_NAME": "pub0",
    "INTERFACE_UUID": UUID,
    "MAC": "aa:00:00:12:34:56",
    "IP": "198.51.100.10",
    "MODE": "routed",
    "LINK": "222",
    "NETWORK_SUBNET": "198.51.100.0/24",
    "NETWORK_GATEWAY": "198.51.100.1",
    "NETWORK_SUBNET6": "2001:db8:1::/64",
    "NETWORK_GATEWAY6": "2001:db8:1::1",
    "NETWORK_TAGS": "nfdhcpd",
}
BRIDGED = {"MODE": "bridged", "LINK": "br0"}
LINK_LOCAL_GATEWAY = {"NETWORK_GATEWAY6": "fe80::1"}
WHOLE = {"TAGS": "snf-network:0:allow:2001:db8:1::/64", **LINK_LOCAL_GATEWAY}


def written(**values: str) -> tuple[TapBinding, tuple[str, ...]]:
    """What the daemon reads of the binding of a NIC."""
    nic = Nic.from_env(BASE | values)
    found = nfdhcpd.setup(nic, Node(), Config())
    (binding,) = (resource for resource in found if isinstance(resource, Binding))
    return parse(nic.interface, binding.content)


TAGS = {
    "PRIVATE": ("PRIVATE", ("private", True)),
    "PRIVATE in words": ("PRIVATE:no", ("private", False)),
    "MTU": ("MTU:1400", ("mtu", 1400)),
    "LEASE": ("LEASE:600", ("lease", 600)),
    "NTP": ("NTP:192.0.2.3", ("ntp", ("192.0.2.3",))),
    "NAMESERVERS": ("NAMESERVERS:192.0.2.3", ("nameservers", ("192.0.2.3",))),
    "NAMESERVERS6": ("NAMESERVERS6:2001:db8::53", ("nameservers6", ("2001:db8::53",))),
    "DOMAIN": ("DOMAIN:lan.example", ("domain", "lan.example")),
    "DOMAIN_SEARCH": ("DOMAIN_SEARCH:lan.example", ("domain_search", ("lan.example",))),
    "ROUTES": ("ROUTES:10.0.0.0/8@198.51.100.2", ("routes", (("10.0.0.0/8", "198.51.100.2"),))),
    "NODHCP6": ("NODHCP6", ("nodhcp6", True)),
    "MACSPOOF": ("MACSPOOF", ("macspoof", True)),
    "GATEWAY6_MAC": ("GATEWAY6_MAC:00:11:22:33:44:55", ("gateway6_mac", "00:11:22:33:44:55")),
    "IP6": ("IP6:2001:db8:1::5", ("ip6", "2001:db8:1::5")),
    "SLAAC": ("SLAAC:yes", ("slaac", True)),
    "NEXT_SERVER": ("NEXT_SERVER:192.0.2.7", ("next_server", "192.0.2.7")),
    "BOOT": ("BOOT:ipxe@http://192.0.2.7/menu", ("boot", (("ipxe", "http://192.0.2.7/menu"),))),
    "BOOT6": ("BOOT6:tftp://boot.example.com/x", ("boot6", (("any", "tftp://boot.example.com/x"),))),
    "RELAY": ("RELAY:203.0.113.67", ("relay", ("203.0.113.67",))),
}


WORDS = {
    "mtu:1400": ("mtu", 1400),
    "ns:192.0.2.3": ("nameservers", ("192.0.2.3",)),
    "ns:2001:db8::53": ("nameservers6", ("2001:db8::53",)),
    "ntp:192.0.2.3": ("ntp", ("192.0.2.3",)),
    "domain:lan.example": ("domain", "lan.example"),
    "search:lan.example": ("domain_search", ("lan.example",)),
    "route:10.0.0.0/8@198.51.100.2": ("routes", (("10.0.0.0/8", "198.51.100.2"),)),
    "lease:600": ("lease", 600),
    "private": ("private", True),
    "nodhcp6": ("nodhcp6", True),
    "slaac:yes": ("slaac", True),
    "next-server:192.0.2.7": ("next_server", "192.0.2.7"),
    "boot:bios@undionly.kpxe": ("boot", (("bios", "undionly.kpxe"),)),
    "boot6:http://boot.example.com/a.efi": ("boot6", (("any", "http://boot.example.com/a.efi"),)),
    "relay:203.0.113.67": ("relay", ("203.0.113.67",)),
}


@pytest.mark.parametrize("tag", WORDS)
def test_a_word_of_dhcp_sets_a_key(tag: str) -> None:
    field, value = WORDS[tag]
    for values in ({"NETWORK_TAGS": f"nfdhcpd dhcp:{tag}"}, {"TAGS": f"snf-network:pub0:dhcp:{tag}"}):
        found, warnings = written(**values)
        assert getattr(found, field) == value and warnings == ()
        plan = plan_for(Nic.from_env(BASE | values), Node(table=222), Config())
        assert plan.ignored == ()


def test_every_word_of_dhcp_is_tried_and_is_a_key() -> None:
    assert {tag.partition(":")[0] for tag in WORDS} == {*KNOWN}
    assert {key for keys in KNOWN.values() for key in keys} <= {*BINDING_KEYS} - {*nfdhcpd.FIXED}


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({}, ()),
        (
            {"TAGS": f"snf-network:{UUID}:allow:192.0.2.128/25 snf-network:0:allow:192.0.2.5"},
            ("192.0.2.5/32", "192.0.2.128/25"),
        ),
        ({"TAGS": "snf-network:0:allow:2001:db8:9::/64"}, ()),
        ({"MODE": "bridged", "LINK": "br0"}, ("198.51.100.0/24",)),
        (
            {"MODE": "bridged", "LINK": "br0", "NETWORK_TAGS": "nfdhcpd ip-filtered dhcp:relay:203.0.113.67"},
            (),
        ),
    ],
)
def test_a_central_server_may_lease_what_the_pins_let_pass(
    values: dict[str, str], allowed: tuple[str, ...]
) -> None:
    found, _ = written(**{"NETWORK_TAGS": "nfdhcpd dhcp:relay:203.0.113.67", **values})
    assert found.relay == ("203.0.113.67",) and found.allowed == allowed
    assert written(**{**values, "NETWORK_TAGS": "nfdhcpd"})[0].allowed == (), "only for a relay"


def test_a_network_s_name_is_a_word_or_not_in_the_binding() -> None:
    assert written(NETWORK_NAME="guests.a")[0].network == "guests.a"
    assert written(NETWORK_NAME="a b\u00f6")[0].network == ""


def test_an_instance_takes_away_what_its_network_says_and_a_word_is_its_key() -> None:
    tags = "nfdhcpd dhcp:ns:192.0.2.3 nfdhcpd:NAMESERVERS6:2001:db8::53 dhcp:mtu:1400"
    found, _ = written(NETWORK_TAGS=tags, TAGS="snf-network:0:no-dhcp:ns snf-network:0:nfdhcpd:MTU:1300")
    assert (found.nameservers, found.nameservers6, found.mtu) == ((), (), 1300)
    found, _ = written(NETWORK_TAGS=tags, TAGS="snf-network:0:no-dhcp:ns:192.0.2.3")
    assert (found.nameservers, found.nameservers6) == ((), ("2001:db8::53",))


def test_the_tag_itself_may_have_the_other_name() -> None:
    values = BASE | {"NETWORK_TAGS": "dhcp dhcp:ns:192.0.2.3 dhcp:MTU:1400"}
    plan = plan_for(Nic.from_env(values), Node(table=222), parse_settings("NFDHCPD_TAG=dhcp"))
    (binding,) = (one for one in plan.resources if isinstance(one, Binding))
    assert "NAMESERVERS=192.0.2.3\n" in binding.content and "MTU=1400\n" in binding.content


@pytest.mark.parametrize("tag", ("nameserver:192.0.2.3", "ns:nonsense", "mtu:1", "IP:192.0.2.3", ":x", ""))
def test_a_word_that_dhcp_does_not_have_is_refused(tag: str) -> None:
    with pytest.raises(BadEnvironment):
        written(NETWORK_TAGS=f"nfdhcpd dhcp:{tag}")


@pytest.mark.parametrize("name", TAGS)
def test_a_tag_of_the_network_or_of_the_instance_sets_a_key(name: str) -> None:
    tag, (field, value) = TAGS[name]
    for values in (
        {"NETWORK_TAGS": f"nfdhcpd nfdhcpd:{tag}"},
        *({"TAGS": f"snf-network:{nic}:nfdhcpd:{tag}"} for nic in ("0", "pub0", UUID)),
    ):
        found, warnings = written(**values)
        assert getattr(found, field) == value and warnings == ()
    assert getattr(written()[0], field) != value or value is False
    assert getattr(written(TAGS=f"snf-network:1:nfdhcpd:{tag}")[0], field) == getattr(written()[0], field)


def test_every_key_that_ganeti_does_not_say_has_a_tag() -> None:
    assert {tag.partition(":")[0] for tag, _ in TAGS.values()} == BINDING_KEYS.keys() - {
        *nfdhcpd.FIXED,
        nfdhcpd.MORE,
    }


def test_the_most_particular_tag_that_says_a_key_counts() -> None:
    tags = "nfdhcpd nfdhcpd:MTU:1400 nfdhcpd:LEASE:600 nfdhcpd:NTP:192.0.2.1"
    said = (
        "snf-network:0:nfdhcpd:MTU:1401 snf-network:pub0:nfdhcpd:MTU:1402 "
        f"snf-network:{UUID}:nfdhcpd:MTU:1403 snf-network:0:no-nfdhcpd:NTP"
    )
    found, _ = written(NETWORK_TAGS=tags, TAGS=said)
    assert (found.mtu, found.lease, found.ntp) == (1403, 600, ())


def test_lists_are_told_by_several_tags() -> None:
    found, _ = written(NETWORK_TAGS="nfdhcpd nfdhcpd:NTP:192.0.2.2 nfdhcpd:NTP:192.0.2.1")
    assert found.ntp == ("192.0.2.1", "192.0.2.2"), "sorted: Ganeti's tags have no order"


@pytest.mark.parametrize(
    "tag",
    (
        "MTU:1",
        "MTU",
        "LEASE:x",
        "FLAVOUR:sweet",
        "mtu:1400",
        ":",
        "",
        "IP:198.51.100.9",
        "MAC:aa:00:00:00:00:01",
        "NAMESERVERS:x",
        "ROUTES:10.0.0.0/8",
        "ROUTES:0.0.0.0/0@198.51.100.2",
        "DOMAIN:a..b",
        "PRIVATE:maybe",
    ),
)
def test_what_the_daemon_would_refuse_is_refused_before(tag: str) -> None:
    for values in ({"NETWORK_TAGS": f"nfdhcpd nfdhcpd:{tag}"}, {"TAGS": f"snf-network:0:nfdhcpd:{tag}"}):
        with pytest.raises(BadEnvironment) as caught:
            written(**values)
        assert caught.value.hint and "nfdhcpd" in str(caught.value)


def test_two_values_of_one_kind_are_refused() -> None:
    with pytest.raises(BadEnvironment, match="MTU"):
        written(NETWORK_TAGS="nfdhcpd nfdhcpd:MTU:1400 nfdhcpd:MTU:1300")


def test_such_a_tag_means_nothing_by_itself() -> None:
    plan = plan_for(Nic.from_env(BASE | {"NETWORK_TAGS": "nfdhcpd:MTU:1400"}), Node(table=222), Config())
    assert plan.ignored == () and not [one for one in plan.resources if isinstance(one, Binding)]


@pytest.mark.parametrize(
    ("values", "slaac"),
    (
        ({}, None),
        (WHOLE, True),
        ({"TAGS": "snf-network:0:allow:2001:db8::/32", **LINK_LOCAL_GATEWAY}, True),
        ({"TAGS": "snf-network:0:allow:2001:db8:2::/64"}, None),
        ({"TAGS": "snf-network:0:allow:2001:db8:1:0:8000::/65"}, None),
        (BRIDGED, None),
        ({**BRIDGED, "NETWORK_TAGS": "nfdhcpd ip-filtered"}, False),
        ({**BRIDGED, "TAGS": "snf-network:0:ip-filtered"}, False),
        ({**BRIDGED, "NETWORK_TAGS": "nfdhcpd ip-filtered", "TAGS": "snf-network:0:no-ip-filtered"}, None),
        ({**BRIDGED, "NETWORK_TAGS": "nfdhcpd ip-filtered", **WHOLE}, None),
        (
            {**BRIDGED, "NETWORK_TAGS": "nfdhcpd ip-filtered", "NETWORK_SUBNET6": "", "NETWORK_GATEWAY6": ""},
            None,
        ),
    ),
)
def test_who_may_use_one_address_is_not_told_to_form_any(values: dict[str, str], slaac: bool | None) -> None:
    assert written(**values)[0].slaac == slaac


@pytest.mark.parametrize("length", ("56", "65", "80", "128"))
def test_a_routed_nic_in_no_64_has_ipv4_and_hears_nothing_of_ipv6(length: str) -> None:
    values = {"NETWORK_SUBNET6": f"2001:db8:1::/{length}"}
    nic = Nic.from_env(BASE | values)
    plan = plan_for(nic, Node(table=222, uplink="eth1", uplink6="eth1"), Config())
    assert any("is not a /64" in warning for warning in plan.warnings)
    assert nic.ip6 == "" and not [one for one in plan.resources if "2001:db8" in repr(one)]
    found, warnings = written(**values)
    assert (found.ip, found.ip6, found.subnet6, found.gateway6, warnings) == (nic.ip, "", "", "", ())


def test_an_address_that_is_given_needs_no_64() -> None:
    found, _ = written(NETWORK_SUBNET6="2001:db8:1::/80", IP="2001:db8:1::5")
    assert (found.ip6, found.subnet6) == ("2001:db8:1::5", "2001:db8:1::/80")


NAMES = some.one_of(
    some.text(ascii_letters + digits + "._-", min_size=1, max_size=260),
    some.integers(1, 260).map(lambda length: "v" * length),
    some.lists(some.integers(1, 70), min_size=1, max_size=5).map(
        lambda sizes: ".".join("v" * n for n in sizes)
    ),
)


@given(
    name=NAMES,
    tags=some.lists(some.integers(1, 126), max_size=300),
    mode=some.sampled_from(("bridged", "routed")),
)
def test_what_a_nic_takes_the_binding_takes(name: str, tags: list[int], mode: str) -> None:
    values = {
        "INSTANCE": name,
        "MODE": mode,
        "NETWORK_TAGS": " ".join(["nfdhcpd", *(f"{number}{'t' * size}" for number, size in enumerate(tags))]),
    }
    try:
        found, _ = written(**values)
    except BadEnvironment as error:
        assert "INSTANCE" in str(error)
    else:
        assert found.hostname == name


@pytest.mark.parametrize("name", ("v" * 64, "v" * 64 + ".example.com", "vm..example", "vm1."))
def test_a_name_that_no_resolver_takes_is_no_instance(name: str) -> None:
    with pytest.raises(BadEnvironment, match="INSTANCE"):
        Nic.from_env(BASE | {"INSTANCE": name})
