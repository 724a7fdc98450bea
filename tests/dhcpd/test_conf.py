"""nfdhcpd.conf: the files of the versions that are in use, and every way to write one wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from snf_network.dhcpd import conf
from snf_network.dhcpd.conf import Conf
from snf_network.errors import BadConfig

SAMPLES = Path(__file__).resolve().parent / "conf"
EXPECTED = {
    "0.16": Conf(
        pidfile="/var/run/nfdhcpd/nfdhcpd.pid",
        nameservers=("192.0.2.2", "192.0.2.3"),
        domain="example.com",
        ra_period=300,
        nameservers6=("2001:db8:100::1", "2001:db8:200::2"),
        domains=("example.com",),
    ),
    "0.21": Conf(
        pidfile="/var/run/nfdhcpd/nfdhcpd.pid",
        nameservers=("192.0.2.2", "192.0.2.3"),
        mode="slaac",
        ra_period=300,
        nameservers6=("2001:db8:100::1", "2001:db8:200::2"),
    ),
    "0.12.5": Conf(
        pidfile="/var/run/opennebula-nfdhcpd/opennebula-nfdhcpd.pid",
        datapath="/var/lib/opennebula-nfdhcpd",
        logdir="/var/log/opennebula-nfdhcpd",
        server_ip="169.254.255.254",
        nameservers=("8.8.8.8", "4.4.4.4"),
        domain="example.com",
        domain_search=("example1.com", "example2.com"),
    ),
}


@pytest.mark.parametrize("version", EXPECTED)
def test_the_files_that_are_in_use_are_read_as_they_are(version: str) -> None:
    settings, warnings = conf.read((SAMPLES / f"{version}.conf").read_text(), "nfdhcpd.conf")
    assert settings == EXPECTED[version]
    unknown = ("dns", "addresses", "addresses6") if version == "0.21" else ()
    assert [warning.partition(": ")[2] for warning in warnings] == [
        f"section [{name}] is not known, ignored" for name in unknown
    ]


def test_nothing_is_all_defaults() -> None:
    assert conf.read("") == conf.read("# only this\n\n[dhcp]\n") == (Conf(), ())


def test_every_setting_can_be_set() -> None:
    text = """
[general]
pidfile = /run/x.pid
datapath = "/srv/bindings"
logdir = '/srv/log'
user = dhcp
[dhcp]
enable_dhcp = No
dhcp_queue = 1
lease_lifetime = 600
lease_renewal = 100
server_ip = 192.0.2.77
server_on_link = TRUE
allow_relay = on
nameservers = "192.0.2.5", '192.0.2.6'   # both
domain = 'a.example'
domain_search = a.example,b.example,
ntp = 192.0.2.7
[ipv6]
enable_ipv6 = 0
mode = managed
rs_queue = 2
ns_queue = 3
dhcp_queue = 4
ra_period = 60
on_link = yes
nameservers = 2001:db8::5
domains = c.example
"""
    wanted = Conf(
        "/run/x.pid",
        "/srv/bindings",
        "/srv/log",
        "dhcp",
        False,
        1,
        600,
        100,
        "192.0.2.77",
        True,
        True,
        ("192.0.2.5", "192.0.2.6"),
        "a.example",
        ("a.example", "b.example"),
        ("192.0.2.7",),
        False,
        "managed",
        2,
        3,
        4,
        60,
        True,
        ("2001:db8::5",),
        ("c.example",),
    )
    assert conf.read(text) == (wanted, ())
    unlike = [
        field.name for field in dataclasses.fields(Conf) if getattr(wanted, field.name) == field.default
    ]
    assert unlike == [], "each is another than the default"
    assert conf.read(text.replace("\n", "\r\n")) == (wanted, ())


@pytest.mark.parametrize(
    ("text", "mode"),
    (
        ("", "slaac+dhcpv6"),
        ("rs_queue = 43\nns_queue = 44", "slaac"),
        ("rs_queue = 43\nns_queue = 44\ndhcpv6_queue = 45", "slaac+dhcpv6"),
        ("rs_queue = 43\nns_queue = 44\ndhcp_queue = 45", "slaac+dhcpv6"),
        ("mode = auto\nrs_queue = 43", "slaac"),
        ("enable_dhcpv6 = no", "slaac"),
        ("mode = managed\nrs_queue = 43", "managed"),
        ("mode = slaac\ndhcpv6_queue = 45", "slaac"),
        ("mode = slaac+dhcpv6", "slaac+dhcpv6"),
    ),
)
def test_the_mode_is_what_the_queues_allow_unless_it_is_set(text: str, mode: str) -> None:
    assert conf.read(f"[ipv6]\n{text}\n")[0].mode == mode


@pytest.mark.parametrize(
    ("text", "line", "why"),
    (
        ("[dhcp]\nlease_lifetime = soon", 2, "lease_lifetime = 'soon' is not a number of seconds"),
        ("[dhcp]\nlease_lifetime = 4294967296", 2, "is not a number of seconds"),
        ("[dhcp]\nlease_lifetime = -1", 2, "is not a number"),
        ("[dhcp]\nlease_lifetime = \u0661\u0662\u0663", 2, "is not a number"),
        ("[dhcp]\nlease_renewal =", 2, "is not a number"),
        ("[dhcp]\nserver_ip = 192.0.2", 2, "is not an IPv4 address"),
        ("[dhcp]\nserver_ip = 224.0.0.1", 2, "is not an IPv4 address"),
        ("[dhcp]\nserver_ip = 2001:db8::1", 2, "is not an IPv4 address"),
        ("[dhcp]\nnameservers = 192.0.2.2 192.0.2.3", 2, "is not a list of at most 8 IPv4 addresses"),
        ("[dhcp]\nnameservers = " + ",".join(["192.0.2.2"] * 9), 2, "is not a list of at most 8"),
        ("[dhcp]\ndomain = not a domain", 2, "is not a domain name"),
        ("[dhcp]\ndomain = a..example", 2, "is not a domain name"),
        ("[dhcp]\ndomain = " + "a" * 64 + ".example", 2, "is not a domain name"),
        ("[dhcp]\ndomain_search = " + ",".join(["a" * 60] * 5), 2, "255 bytes in all"),
        ("[dhcp]\n\n# c\nenable_dhcp = maybe", 4, "is not yes or no"),
        ("[dhcp]\ndhcp_queue = 65536", 2, "is not a queue number"),
        ("[dhcp]\ndhcp_queue = 42\ndhcp_queue = 42", 3, "is given twice"),
        ("[general]\ndatapath = /a\ndatadir = /b", 3, "is given twice"),
        ("[general]\ndatapath = var/lib", 2, "is not an absolute path"),
        ("[general]\ndatapath = /var/../etc", 2, "is not an absolute path"),
        ("[general]\nuser = root;id", 2, "is not the name of a user"),
        ("[general]\nuser =", 2, "is not the name of a user"),
        ("[ipv6]\nmode = dhcpv6", 2, "is not auto, slaac, slaac+dhcpv6, managed"),
        ("[ipv6]\nnameservers = 192.0.2.2", 2, "IPv6 addresses"),
        ("[ipv6]\nra_period = 0", 2, "is not a number"),
        ("[ipv6]\non_link = perhaps", 2, "is not auto, yes or no"),
        ("[dhcp]\nuser nobody", 2, "is not key = value"),
        ("[dhcp]\n= nobody", 2, "is not key = value"),
        ("[dhcp]\n$(id) = nobody", 2, "is not key = value"),
        ("user = nobody", 1, "stands before the first [section]"),
        ("[general", 1, "is not a [section]"),
        ("[]", 1, "is not a [section]"),
        ("[[general]]", 1, "is not a [section]"),
        ("[dhcp]\ndomain = 'example.com", 2, "the quote ' is not closed"),
    ),
)
def test_what_is_wrong_is_one_line_with_its_number(text: str, line: int, why: str) -> None:
    with pytest.raises(BadConfig) as caught:
        conf.read(text, "/etc/nfdhcpd.conf")
    told = str(caught.value)
    assert told.startswith(f"/etc/nfdhcpd.conf:{line}: ") and why in told
    assert "\n" not in told and told.isascii()


def test_what_is_unknown_is_told_and_left() -> None:
    settings, warnings = conf.read(
        "[dhcp]\nflavour = sweet\ndomain = a.example\n[ipv6]\nflavour = sour\n", "x"
    )
    assert settings == Conf(domain="a.example")
    assert warnings == (
        "x:2: unknown key flavour in [dhcp], ignored",
        "x:5: unknown key flavour in [ipv6], ignored",
    )


def test_a_period_longer_than_the_rfc_allows_is_shortened() -> None:
    settings, warnings = conf.read("[ipv6]\nra_period = 3600\n", "x")
    assert settings.ra_period == 1800 and len(warnings) == 1 and "1800" in warnings[0]


def test_a_second_is_the_least() -> None:
    assert conf.read("[dhcp]\nlease_renewal = 1\n")[0].lease_renewal == 1


def test_a_comment_is_none_within_quotes() -> None:
    assert conf.read("[general]\nlogdir = '/a#b' # c'\n")[0].logdir == "/a#b"
    assert conf.read("[general]\nlogdir = /a#b\n")[0].logdir == "/a"


@given(
    some.one_of(
        some.text(max_size=200),
        some.sampled_from(sorted(conf.KEYS)).flatmap(
            lambda section: some.tuples(
                some.just(section), some.sampled_from(sorted(conf.KEYS[section])), some.text(max_size=80)
            ).map("[{0[0]}]\n{0[1]} = {0[2]}\n".format)
        ),
    )
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        conf.read(text)
    except BadConfig as error:
        assert "\n" not in str(error) and str(error).isascii()
