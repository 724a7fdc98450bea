"""Binding files: what the setup `nfdhcpd` and other tools write, and what must not be believed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from snf_network.addresses import within
from snf_network.dhcpd import conf
from snf_network.dhcpd.answers import Answerer
from snf_network.dhcpd.binding import BadBinding, TapBinding, parse
from snf_network.dhcpd.guest import TapGuest
from snf_network.model import resources
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.node import Node
from snf_network.setups import nfdhcpd
from snf_network.values import BINDING_KEYS
from tests.dhcpd.clients import BINDING, TAP_MAC, with_

ENVIRONMENTS = sorted((Path(__file__).resolve().parents[1] / "environments").glob("*ifup*.env"))
OURS = TapBinding(
    "tap0",
    "aa:00:00:12:34:56",
    "vm1.example.com",
    "tap0",
    "198.51.100.10",
    "198.51.100.0/24",
    "198.51.100.1",
    "2001:db8:1::a800:ff:fe12:3456",
    "2001:db8:1::/64",
    "2001:db8:1::1",
)


def test_a_file_of_the_setup_is_read() -> None:
    assert parse("tap0", BINDING) == (OURS, ())
    assert OURS.routed


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_what_the_setup_writes_for_each_recorded_nic_can_be_served(path: Path) -> None:
    nic = Nic.from_env(dict(line.split("=", 1) for line in path.read_text().splitlines()))
    (written,) = (
        resource
        for resource in nfdhcpd.setup(nic, Node(), Config())
        if isinstance(resource, resources.Binding)
    )
    found, warnings = parse(nic.interface, written.content)
    assert (found.mac, found.ip, found.ip6, found.hostname) == (nic.mac, nic.ip, nic.ip6, nic.instance)
    assert found.routed == (nic.mode != "bridged")
    assert bool(warnings) == (not nic.network.subnet), (
        "all that is odd of one is that it is outside of networks"
    )
    assert Answerer(TapGuest(found, TAP_MAC, TAP_MAC, conf.Conf())).guest.mac


def test_every_key() -> None:
    text = with_(
        MACSPOOF="yes",
        MTU="1400",
        PRIVATE="true",
        NAMESERVERS="192.0.2.1, 192.0.2.2",
        NAMESERVERS6="2001:db8::1",
        ROUTES="10.0.0.0/8 via 198.51.100.2,172.16.0.0/12 via 198.51.100.3",
        DOMAIN="a.example",
        DOMAIN_SEARCH="a.example,b.example",
        NTP="192.0.2.3",
        LEASE="600",
        GATEWAY6_MAC="00:AA:BB:CC:DD:EE",
        IP6="2001:db8:1::5",
        MORE6="2001:db8:1::6,2001:db8:1::7",
        NODHCP6="on",
        SLAAC="no",
        NETWORK="guests",
        NEXT_SERVER="192.0.2.7",
        BOOT="bios undionly.kpxe, ipxe http://192.0.2.7/menu.ipxe, pxelinux.0",
        BOOT6="tftp://[2001:db8::7]/ipxe.efi",
        RELAY="192.0.2.1, 192.0.2.2",
        ALLOWED="198.51.100.0/24",
    )
    found, warnings = parse("tap0", text)
    assert found == dataclasses.replace(
        OURS,
        ip6="2001:db8:1::5",
        more6=("2001:db8:1::6", "2001:db8:1::7"),
        macspoof=True,
        mtu=1400,
        private=True,
        nameservers=("192.0.2.1", "192.0.2.2"),
        nameservers6=("2001:db8::1",),
        domain="a.example",
        domain_search=("a.example", "b.example"),
        routes=(("10.0.0.0/8", "198.51.100.2"), ("172.16.0.0/12", "198.51.100.3")),
        ntp=("192.0.2.3",),
        lease=600,
        gateway6_mac="00:aa:bb:cc:dd:ee",
        nodhcp6=True,
        slaac=False,
        network="guests",
        next_server="192.0.2.7",
        boot=(("bios", "undionly.kpxe"), ("ipxe", "http://192.0.2.7/menu.ipxe"), ("any", "pxelinux.0")),
        boot6=(("any", "tftp://[2001:db8::7]/ipxe.efi"),),
        relay=("192.0.2.1", "192.0.2.2"),
        allowed=("198.51.100.0/24",),
    )
    assert warnings == ()
    given = {line.partition("=")[0] for line in text.splitlines()}
    assert given == BINDING_KEYS.keys() | {"TAGS"}


SAME = {
    "CRLF": BINDING.replace("\n", "\r\n"),
    "quotes": BINDING.replace("=", '="').replace("\n", '"\n').replace('""', '"'),
    "single quotes": with_(HOSTNAME="'vm1.example.com'"),
    "no line end at the end": BINDING.rstrip("\n"),
    "upper-case MAC": with_(MAC="AA:00:00:12:34:56"),
    "blank lines and comments": "# by hand\n\n" + BINDING.replace("\n", "\n\n"),
    "spaces around": BINDING.replace("\n", "  \n  "),
    "empty values": BINDING + "MTU=\nMACSPOOF=\nPRIVATE=\nNAMESERVERS=\nROUTES=\nNTP=\nLEASE=\nDOMAIN=''\n",
    "other tags": with_(TAGS='"; rm -rf / #$(id)'),
    "keys of the old documents": BINDING + "INSTANCE=vm1\nLINK=100\n",
    "no INDEV": BINDING.partition("\n")[2],
    "no EUI64": with_(EUI64=""),
    "flags that are off": BINDING + "MACSPOOF=no\nPRIVATE=0\nNODHCP6=false\n",
}


@pytest.mark.parametrize("how", SAME)
def test_all_these_say_the_same(how: str) -> None:
    found, warnings = parse("tap0", SAME[how])
    off = dataclasses.replace(found, ip6="", macspoof=False, private=None, nodhcp6=None)
    assert off == dataclasses.replace(OURS, ip6="") and not (found.private or found.nodhcp6)
    assert found.ip6 in (OURS.ip6, "2001:db8:1:0:a800:ff:fe12:3456") and warnings == ()


@pytest.mark.parametrize(
    ("keys", "warning"),
    (
        ({"IP": "203.0.113.5"}, "IP 203.0.113.5 is not in 198.51.100.0/24"),
        ({"EUI64": "2001:db8:2::1"}, "IPv6 address 2001:db8:2::1 is not in 2001:db8:1::/64"),
        ({"SUBNET": ""}, "no SUBNET"),
        ({"IP": "", "SUBNET6": "", "EUI64": ""}, "nothing to answer"),
        ({"FLAVOUR": "sweet"}, "unknown key 'FLAVOUR'"),
        ({"ADDRESS:www.example.com.": "192.0.2.1"}, "unknown key 'ADDRESS:www.example.com.'"),
        ({"DNS_TTL": "10"}, "unknown key 'DNS_TTL'"),
    ),
)
def test_odd_is_told_and_served(keys: dict[str, str], warning: str) -> None:
    _, warnings = parse("tap0", with_(**keys))
    assert len(warnings) == 1 and warning in warnings[0] and warnings[0].startswith("tap0: ")


def test_8192_bytes_are_enough() -> None:
    longest = BINDING + "#" * (8192 - len(BINDING))
    assert parse("tap0", longest)[0] == OURS
    with pytest.raises(BadBinding, match="longer than 8192 bytes"):
        parse("tap0", longest + "#")


def test_no_hostname_or_no_mac_is_no_binding() -> None:
    for key in ("MAC", "HOSTNAME"):
        with pytest.raises(BadBinding, match=f"{key} is missing"):
            parse("tap0", with_(**{key: ""}))


HOSTILE = {
    "MAC": (
        "aa:00:00:12:34",
        "aa:00:00:12:34:5g",
        "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "aa-00-00-12-34-56",
        "aa:00:00:12:34:56:78",
        "aa:00:00:12:34:56 ;id",
    ),
    "IP": (
        "198.51.100",
        "198.51.100.256",
        "198.51.100.010.1",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "2001:db8::1",
        "198.51.100.1/24",
        "1",
        "0x7f.1",
    ),
    "SUBNET": (
        "198.51.100.0",
        "198.51.100.0/",
        "198.51.100.0/2",
        "198.51.100.0/33",
        "198.51.100.1/24",
        "198.51.100.0/024",
        "198.51.100.0/-1",
        "198.51.100.0/24/8",
        "2001:db8::/64",
        "198.51.10",
    ),
    "GATEWAY": ("2001:db8::1", "198.51.100", "$(id)", "239.1.1.1", "198.51.100.1 198.51.100.2"),
    "SUBNET6": (
        "2001:db8:1::",
        "2001:db8:1::/129",
        "2001:db8:1::1/64",
        "fe80::/64",
        "ff02::/16",
        "198.51.100.0/24",
        "::/0",
        "2001:db8:1::/6",
    ),
    "GATEWAY6": ("198.51.100.1", "ff02::1", "::", "::1", "2001:db8:1::1%tap0", "2001:db8::g"),
    "EUI64": ("fe80::1", "ff02::1", "::1", "::ffff:192.0.2.1", "198.51.100.1", "2001:db8::1/64"),
    "IP6": ("fe80::1", "198.51.100.1", "2001"),
    "MORE6": (
        "fe80::1",
        "2001:db8::1,198.51.100.1",
        ",".join(f"2001:db8::{number}" for number in range(1, 18)),
    ),
    "HOSTNAME": (
        "vm1;id",
        "vm 1",
        "-vm",
        ".vm",
        "vm..example",
        "v" * 64,
        ".".join(["v" * 60] * 5),
        "v\u00e9",
        "vm1\x00",
        "vm1.",
        "`id`",
        "../vm",
    ),
    "INDEV": ("a" * 16, "tap0/../x", "tap 0", "-tap0", ".tap0", "tap0;id"),
    "MTU": ("0", "575", "65536", "99999999999999999999", "-1", "1500.5", "0x5dc", "\u0661\u0665\u0660\u0660"),
    "MACSPOOF": ("maybe", "2", "yes no"),
    "PRIVATE": ("x",),
    "NODHCP6": ("2001:db8::1",),
    "SLAAC": ("auto",),
    "NAMESERVERS": ("192.0.2.2 192.0.2.3", "2001:db8::1", "192.0.2.2,x", ",".join(["192.0.2.2"] * 9)),
    "NAMESERVERS6": ("192.0.2.2", "2001:db8::1 2001:db8::2"),
    "DOMAIN": ("a b", "a..b", "-a", "a" * 64),
    "DOMAIN_SEARCH": ("a b", ",".join(["a"] * 9), ",".join(["a" * 60] * 5), "a,b;c"),
    "ROUTES": (
        "10.0.0.0/8",
        "10.0.0.0/8 198.51.100.2",
        "10.0.0.1/8 via 198.51.100.2",
        "0.0.0.0/0 via 198.51.100.2",
        "10.0.0.0/8 via x",
        ",".join(["10.0.0.0/8 via 198.51.100.2"] * 13),
        "10.0.0.0/8 via 198.51.100.2,",
    ),
    "NTP": ("ntp.example.com", "224.0.1.1", ",".join(["192.0.2.2"] * 9)),
    "LEASE": ("0", "59", "-1", "4294967296", "forever"),
    "GATEWAY6_MAC": ("01:00:00:00:00:01", "x"),
    "NETWORK": ("a b", "-n", "$(x)", "n" * 254),
    "NEXT_SERVER": ("2001:db8::7", "tftp.example.com", "224.0.1.1"),
    "BOOT": (
        *(
            "any any any",
            "bios a, bios b",
            "uefi x",
            "a b",
            "a, b",
            "bios x,",
            "ipxe a\\b",
            "ipxe 'x'y",
            "b\u00f6ot",
        ),
        "ipxe " + "x" * 256,
    ),
    "BOOT6": ("ipxe.efi", "ipxe http://a/b, bios x", "http://a/\u00f6"),
    "RELAY": ("relay.example.com", "0.0.0.0", ",".join(["192.0.2.1"] * 5), "2001:db8::1"),
    "ALLOWED": ("198.51.100.1/24", "198.51.100.1", "2001:db8::/64", ",".join(["192.0.2.0/24"] * 65)),
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in HOSTILE.items() for value in values]
)
def test_a_value_that_is_not_exactly_right_refuses_the_file(key: str, value: str) -> None:
    with pytest.raises(BadBinding) as caught:
        parse("tap0", with_(**{key: value}))
    assert key in str(caught.value) and str(caught.value).startswith("tap0: ")
    assert "\n" not in str(caught.value) and str(caught.value).isascii() and len(str(caught.value)) < 250


def test_every_key_has_hostile_values() -> None:
    assert HOSTILE.keys() == BINDING_KEYS.keys()


@pytest.mark.parametrize(
    "text",
    (
        "",
        "\n",
        "MAC\n",
        "#!/bin/sh\nid\n",
        "MAC=aa:00:00:12:34:56",
        BINDING + "IP=198.51.100.11\n",
        BINDING + "rubbish\n",
        BINDING + "X" * 8192 + "=\n",
        BINDING.replace("aa:00", "'aa:00"),
        BINDING + 'MTU="1400\n',
        "\0" * 100,
        BINDING[: BINDING.index("SUBNET=") + 10],
        BINDING[: BINDING.index("SUBNET6=") + 12],
        BINDING[: BINDING.index("HOSTNAME=") + 3],
    ),
)
def test_half_written_and_rubbish_files_are_refused(text: str) -> None:
    with pytest.raises(BadBinding):
        parse("tap0", text)


@pytest.mark.parametrize("name", ("", ".tap0", "..", "a" * 16, "tap0~", "tap/0", "tap0 ", "-a", "t\u00e4p"))
def test_a_file_that_is_not_named_after_an_interface_is_refused(name: str) -> None:
    with pytest.raises(BadBinding):
        parse(name, BINDING)


@given(some.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse("tap0", text)
    except BadBinding as error:
        assert "\n" not in str(error) and str(error).isascii()


@given(some.sampled_from(sorted(BINDING_KEYS)), some.text(max_size=80))
def test_any_value_is_read_or_refused_and_what_is_read_can_be_served(key: str, value: str) -> None:
    try:
        found, _ = parse("tap0", with_(**{key: value}))
    except BadBinding as error:
        assert "\n" not in str(error) and str(error).isascii()
    else:
        Answerer(TapGuest(found, TAP_MAC, TAP_MAC, conf.Conf()))


@pytest.mark.parametrize(
    ("address", "prefix", "expected"),
    (
        ("10.0.0.1", "10.0.0.0/8", True),
        ("11.0.0.1", "10.0.0.0/8", False),
        ("10.0.0.1", "10.0.0.1/32", True),
        ("10.0.0.2", "10.0.0.1/32", False),
        ("2001:db8::1", "2001:db8::/64", True),
        ("2001:db8:0:1::1", "2001:db8::/64", False),
        ("2001:db8:0:1::1", "2001:db8::/63", True),
    ),
)
def test_within(address: str, prefix: str, expected: bool) -> None:
    assert within(address, prefix) == expected
