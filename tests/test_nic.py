"""What Ganeti says of a NIC: every value is checked before any other code sees it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snf_network.addresses import eui64
from snf_network.errors import BadEnvironment
from snf_network.model import nic as room
from snf_network.model.nic import Network, Nic, read_nic_file

ENVIRONMENTS = sorted((Path(__file__).parent / "environments").glob("*-if[ud]*.env"))
ROUTED = {
    "INSTANCE": "inst1.example.com",
    "INTERFACE": "tap0",
    "INTERFACE_INDEX": "0",
    "INTERFACE_NAME": "pub0",
    "INTERFACE_UUID": "5ac0de01-0000-4000-8000-000000000001",
    "IP": "198.51.100.10",
    "LINK": "snf_public",
    "MAC": "aa:00:00:ad:35:c9",
    "MODE": "routed",
    "NETWORK_GATEWAY6": "2001:db8:1::1",
    "NETWORK_GATEWAY": "198.51.100.1",
    "NETWORK_NAME": "pub1",
    "NETWORK_SUBNET6": "2001:db8:1::/64",
    "NETWORK_SUBNET": "198.51.100.0/24",
    "NETWORK_TAGS": "ip-less-routed nfdhcpd",
    "NETWORK_UUID": "5ac0de02-0000-4000-8000-000000000002",
    "NETWORK_MAC_PREFIX": "aa:00:00",
    "TAGS": "synnefo:network:0:protected",
    "VLAN": "",
}
NUMBER, WORD, MAC = r"[0-9]*", r"([A-Za-z0-9_][A-Za-z0-9_.-]*)?", r"([0-9a-f]{2}:){5}[0-9a-f]{2}"
ADDRESS4, ADDRESS6 = r"([0-9]{1,3}(\.[0-9]{1,3}){3})?", r"([0-9a-f:.]{3,})?"
PATTERNS = {
    "interface": WORD,
    "instance": WORD,
    "mac": MAC,
    "mode": "bridged|routed|openvswitch|ext",
    "link": WORD,
    "ip": ADDRESS4,
    "ip6": ADDRESS6,
    "index": NUMBER,
    "uuid": WORD,
    "vlan": r"[0-9.:]*",
    "link_local": ADDRESS6,
}
NETWORK_PATTERNS = {
    "uuid": WORD,
    "subnet": r"([0-9.]+/[0-9]+)?",
    "gateway": ADDRESS4,
    "subnet6": r"([0-9A-Fa-f:.]+/[0-9]+)?",
    "gateway6": ADDRESS6,
    "mac_prefix": "([0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2})?",
}


def changed(**values: str | None) -> dict[str, str]:
    """ROUTED with some variables changed or (None) taken out."""
    return {name: value for name, value in {**ROUTED, **values}.items() if value is not None}


def refusal(**values: str | None) -> BadEnvironment:
    with pytest.raises(BadEnvironment) as caught:
        Nic.from_env(changed(**values))
    return caught.value


def test_a_nic_has_what_ganeti_said() -> None:
    nic = Nic.from_env(ROUTED)
    assert nic == Nic(
        interface="tap0",
        instance="inst1.example.com",
        mac="aa:00:00:ad:35:c9",
        mode="routed",
        link="snf_public",
        ip="198.51.100.10",
        ip6="2001:db8:1:0:a800:ff:fead:35c9",
        index="0",
        name="pub0",
        uuid="5ac0de01-0000-4000-8000-000000000001",
        tags=("synnefo:network:0:protected",),
        network=Network(
            "pub1",
            "5ac0de02-0000-4000-8000-000000000002",
            "198.51.100.0/24",
            "198.51.100.1",
            "2001:db8:1::/64",
            "2001:db8:1::1",
            "aa:00:00",
            ("ip-less-routed", "nfdhcpd"),
        ),
        values=tuple(sorted((name, value) for name, value in ROUTED.items() if value)),
    )
    assert nic.link_local == "fe80::a800:ff:fead:35c9"


@pytest.mark.parametrize(
    ("values", "alias"),
    [
        ({}, "inst1.example.com nic0 pub1"),
        ({"INTERFACE_INDEX": None}, "inst1.example.com nicpub0 pub1"),
        ({"INTERFACE_INDEX": None, "INTERFACE_NAME": None}, "inst1.example.com pub1"),
        ({"NETWORK_NAME": "my net"}, "inst1.example.com nic0 my net"),
        ({"NETWORK_NAME": 'it\'s $(x) "y" #\\'}, "inst1.example.com nic0 it_s __x_ _y_ __"),
        ({"NETWORK_NAME": "d\u00e9partement"}, "inst1.example.com nic0 d_partement"),
        ({"NETWORK_NAME": "n" * 255}, f"inst1.example.com nic0 {'n' * 232}"),
    ],
)
def test_its_alias_needs_no_escapes_and_fits(values: dict[str, str | None], alias: str) -> None:
    assert Nic.from_env(changed(**values)).alias == alias and len(alias) < 256


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_every_recorded_environment_is_a_nic(path: Path) -> None:
    env = dict(line.split("=", 1) for line in path.read_text().splitlines())
    nic = Nic.from_env(env)
    assert (nic.interface, nic.mac, nic.ip) == (env["INTERFACE"], env["MAC"], env.get("IP", ""))
    assert nic == Nic.from_env(dict(nic.values)), "a record keeps enough to make it again"


def test_the_record_keeps_no_variable_that_is_not_of_the_nic() -> None:
    assert Nic.from_env({**ROUTED, "PATH": "/bin", "HOME": "/root"}) == Nic.from_env(ROUTED)


def test_a_nic_outside_of_networks_has_an_empty_network() -> None:
    nic = Nic.from_env({name: value for name, value in ROUTED.items() if not name.startswith("NETWORK_")})
    assert (nic.network, nic.ip6) == (Network(), "")


@pytest.mark.parametrize("name", ["INTERFACE", "INSTANCE", "MAC", "MODE", "LINK"])
@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
def test_what_every_nic_needs_is_missed_by_name(name: str, value: str | None) -> None:
    error = refusal(**{"MODE": "bridged", name: value})
    assert error.message == f"{name} is missing" and error.hint


@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
def test_a_routed_nic_without_a_link_has_the_nodes_own_table(value: str | None) -> None:
    assert Nic.from_env(changed(LINK=value)).link == "main"


@pytest.mark.parametrize("name", sorted(set(room.VARIABLES) - set(room.REQUIRED)))
def test_the_rest_may_be_absent_or_empty(name: str) -> None:
    assert Nic.from_env(changed(**{name: None})) == Nic.from_env(changed(**{name: ""}))


BAD = {
    "INTERFACE": [
        "a" * 16,
        "tap 0",
        "tap0;reboot",
        "../tap0",
        ".",
        "..",
        "-tap",
        "tap0\n",
        "t\u00e4p",
        'tap"0',
        "tap*",
        "tap/0",
    ],
    "INSTANCE": ["$(reboot)", "a b", "-a", "../../x", "a" * 300, "inst\u00e9", "a\tb", "a\nb"],
    "MAC": [
        "",
        "aa:00:00:ad:35",
        "aa:00:00:ad:35:c9:00",
        "aa-00-00-ad-35-c9",
        "ga:00:00:ad:35:c9",
        "ab:00:00:ad:35:c9",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "aa:0:0:ad:35:c9",
        "aa:00:00:ad:35:c9\n",
        " aa:00:00:ad:35:c9",
    ],
    "MODE": ["Routed", "ovs", "bridged,routed", "routed bridged"],
    "MIGRATION_PHASE": ["Pre", "during"],
    "LINK": ["$(x)", "a b", "x" * 65, "pr*", "br0;x"],
    "IP": [
        "192.0.2.500",
        "192.0.2",
        "192.0.2.1/24",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "pool",
        "192.0.2.1\n",
        "010.0.0.1",
        "::",
        "::1",
        "ff02::1",
        "fe80::1",
        "::ffff:192.0.2.1",
        "2001:db8::1/64",
        "2001:db8::1%tap0",
    ],
    "INTERFACE_INDEX": ["-1", "a", "1000", "\u00b2", "1 "],
    "INTERFACE_NAME": ["a\nb", "a" * 256, "\x00", "\udcff"],
    "NETWORK_NAME": ["a\nb", "\x1b[31m"],
    "INTERFACE_UUID": ["a b", "a" * 300, "'"],
    "NETWORK_UUID": ["a b", "$x"],
    "VLAN": ["0", ".0", "4095", ".", ":", ".1:", ":1:", "1,2", "a", ".1 2", "1.2", "12345"],
    "NETWORK_SUBNET": [
        "198.51.100.0",
        "198.51.100.0/33",
        "198.51.100.0/-1",
        "198.51.100.0/",
        "2001:db8::/64",
        "x/24",
        "198.51.100.0/2\n",
        "0.0.0.0/0",
        "224.0.0.0/4",
    ],
    "NETWORK_GATEWAY": ["198.51.100.1/24", "x", "2001:db8::1", "0.0.0.0"],
    "NETWORK_SUBNET6": [
        "2001:db8::",
        "2001:db8::/129",
        "198.51.100.0/24",
        "2001:db8:1::1/64",
        "ff02::/64",
        "fe80::/64",
        "::/64",
    ],
    "NETWORK_GATEWAY6": ["2001:db8::1/64", "198.51.100.1", "::", "ff02::2"],
    "NETWORK_MAC_PREFIX": ["aa:00", "aa:00:00:00", "ab:00:00", "xx:00:00", "aa:00:0 "],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD.items() for value in values if value],
    ids=lambda text: ascii(text)[1:25],
)
def test_a_malformed_value_is_refused_in_one_line_that_names_it(name: str, value: str) -> None:
    error = refusal(**{name: value})
    assert error.message.startswith(f"{name}=") and error.hint
    assert str(error).isascii() and str(error).isprintable() and len(str(error)) < 200


GOOD = {
    "INTERFACE": ["tap0", "vif1.0", "a" * 15, "snf-tap_1"],
    "LINK": ["222", "br0.100", "snf_public"],
    "IP": ["1.2.3.4", "223.255.255.255", "2001:db8:1::5"],
    "INTERFACE_NAME": ["pub 0", "\u03b4\u03af\u03ba\u03c4\u03c5\u03bf", "a'b\"c"],
    "VLAN": ["5", ".5", ":5", ":5:6", ".5:6:7", ".4094"],
    "NETWORK_GATEWAY6": ["fe80::1", "2001:DB8::1"],
    "NETWORK_SUBNET": ["10.0.0.0/8", "198.51.100.0/32"],
    "MAC": ["AA:00:00:AD:35:C9"],
    "TAGS": ["$(reboot) `x` 'y' * \udcff", "\n\t "],
    "NETWORK_TAGS": ["a b  a"],
    "XEN": ["true", "false"],
    "MODE": ["bridged", "openvswitch", "ext"],
    "MIGRATION_PHASE": ["pre", "post"],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in GOOD.items() for value in values],
    ids=lambda text: ascii(text)[1:25],
)
def test_what_ganeti_may_say_is_taken(name: str, value: str) -> None:
    assert Nic.from_env(changed(**{name: value}))


def test_addresses_are_kept_in_the_form_the_kernel_lists() -> None:
    nic = Nic.from_env(
        changed(
            MAC="AA:00:00:AD:35:C9",
            NETWORK_GATEWAY6="2001:0DB8:1:0::0001",
            NETWORK_MAC_PREFIX="AA:00:00",
            IP="2001:DB8:1:0:0::5",
        )
    )
    assert (nic.mac, nic.network.gateway6, nic.network.mac_prefix) == (
        "aa:00:00:ad:35:c9",
        "2001:db8:1::1",
        "aa:00:00",
    )
    assert (nic.ip, nic.ip6) == ("", "2001:db8:1::5"), "an IPv6 address in IP stands for the EUI-64 one"


def test_the_argument_counts_only_where_the_environment_names_no_interface() -> None:
    assert Nic.from_env(changed(INTERFACE=None), "tap5").interface == "tap5"
    assert Nic.from_env(ROUTED, "tap5").interface == "tap0"
    with pytest.raises(BadEnvironment):
        Nic.from_env(changed(INTERFACE=None), "tap5; reboot")


def test_a_xen_nic_says_so() -> None:
    assert [Nic.from_env(changed(XEN=value)).xen for value in (None, "false", "true")] == [False, False, True]


@pytest.mark.parametrize(
    ("mode", "phase", "arriving"),
    [
        ("ext", "pre", True),
        ("ext", "post", False),
        ("ext", None, False),
        ("routed", "post", False),
        ("routed", "pre", False),
    ],
)
def test_a_guest_that_is_on_its_way_is_known(mode: str, phase: str | None, arriving: bool) -> None:
    assert Nic.from_env(changed(MODE=mode, MIGRATION_PHASE=phase)).arriving is arriving


def test_a_bridged_nic_in_a_subnet6_that_is_no_64_has_no_eui64_address() -> None:
    for mode in ("bridged", "routed", "ext"):
        assert Nic.from_env(changed(MODE=mode, NETWORK_SUBNET6="2001:db8:1::/80")).ip6 == ""


@pytest.mark.parametrize("order", ["b a c", "c b a", "a  b\tc a"])
def test_tags_have_no_order_and_no_doubles(order: str) -> None:
    assert Nic.from_env(changed(TAGS=order, NETWORK_TAGS=order)) != Nic.from_env(
        changed(TAGS=order, NETWORK_TAGS="a")
    )
    nic = Nic.from_env(changed(TAGS=order, NETWORK_TAGS=order))
    assert nic.tags == nic.network.tags == ("a", "b", "c")


@given(mac=st.binary(min_size=6, max_size=6), prefix=st.binary(min_size=8, max_size=8))
def test_eui64_is_that_of_rfc_4291(mac: bytes, prefix: bytes) -> None:
    identifier = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    subnet = f"{ipaddress.IPv6Address(prefix + bytes(8))}/64"
    found = eui64(subnet, mac.hex(":"))
    assert ipaddress.IPv6Address(found) == ipaddress.IPv6Address(prefix + identifier)


@pytest.mark.parametrize("length", ["0", "63", "65", "128"])
def test_eui64_wants_a_64(length: str) -> None:
    with pytest.raises(BadEnvironment, match="not a /64"):
        eui64(f"2001:db8::/{length}", ROUTED["MAC"])


def test_a_tag_may_name_a_nic_by_uuid_name_or_index() -> None:
    tags = "p:5ac0de01-0000-4000-8000-000000000001:u p:pub0:n p:0:i p:0:j p:1:no p:no other:0:no p:pub1:no"
    assert Nic.from_env(changed(TAGS=tags)).customised("p") == (["u"], ["n"], ["i", "j"])


def test_a_nic_without_a_name_is_named_by_no_empty_word() -> None:
    nic = Nic.from_env(changed(TAGS="p::word p:0:i", INTERFACE_NAME=None, INTERFACE_UUID=None))
    assert nic.customised("p") == (["i"],)


XEN_FILE = """\
TAGS="one\\ two:$(reboot)\\ three"
NETWORK_NAME="pub1"
NETWORK_TAGS="a b"
MAC=aa:00:00:ad:35:c9
IP=198.51.100.10
INTERFACE_NAME=it's
MODE=routed
LINK=222
VLAN=
"""


def test_a_xen_nic_file_is_read_as_data() -> None:
    values = {
        "TAGS": "one two:$(reboot) three",
        "NETWORK_NAME": "pub1",
        "NETWORK_TAGS": "a b",
        "MAC": "aa:00:00:ad:35:c9",
        "IP": "198.51.100.10",
        "INTERFACE_NAME": "it's",
        "MODE": "routed",
        "LINK": "222",
        "VLAN": "",
    }
    assert read_nic_file(XEN_FILE) == values
    assert read_nic_file(f"PATH=/evil\nno equals sign\n{XEN_FILE}\n=\n") == values


@pytest.mark.parametrize(
    "line", ["LINK=evil", 'NETWORK_SUBNET="10.0.0.0/8', 'NETWORK_SUBNET="', "MAC=aa:00:00:00:00:01"]
)
def test_a_line_that_ganeti_would_not_have_written_is_refused(line: str) -> None:
    with pytest.raises(BadEnvironment):
        read_nic_file(XEN_FILE + line)


# --- random text in every variable

HOSTILE = [
    "'",
    '"',
    "$(reboot)",
    "`reboot`",
    "a\nb",
    "*",
    "a b",
    "x" * 300,
    "\udcff\udcfe",
    "\x00",
    "{ }",
    "}; drop",
    "\u0661",
    "\u2028",
    "..",
    "-f",
    "/etc/passwd",
    "\\",
    "#",
    "%s",
    "\r",
]


def values_of(name: str) -> st.SearchStrategy[str]:
    """Right, nearly right, hostile and random values of one variable."""
    right = st.sampled_from([value for value in (ROUTED.get(name), *GOOD.get(name, ())) if value] or [".5"])
    anything = st.one_of(
        st.sampled_from(HOSTILE), st.text(max_size=20), st.text("0123456789abcdef.:/-", max_size=20)
    )
    return st.one_of(
        right,
        right,
        right,
        right,
        anything,
        st.tuples(right, anything).map("".join),
        st.tuples(anything, right).map("".join),
    )


MINIMAL = {name: ROUTED[name] for name in room.REQUIRED}
CHANGES = st.sampled_from(room.VARIABLES).flatmap(
    lambda name: st.tuples(st.just(name), st.one_of(st.just(""), values_of(name)))
)
ENVIRONMENT = st.builds(
    lambda base, changes: {**base, **dict(changes)},
    st.sampled_from([ROUTED, ROUTED, MINIMAL]),
    st.lists(CHANGES, max_size=3),
)


@given(env=ENVIRONMENT, interface=st.one_of(st.just(""), values_of("INTERFACE")))
def test_any_environment_is_a_nic_or_bad(env: dict[str, str], interface: str) -> None:
    try:
        nic = Nic.from_env(env, interface)
    except BadEnvironment as error:
        assert str(error).isprintable() and str(error).isascii()
        return
    for owner, patterns in ((nic, PATTERNS), (nic.network, NETWORK_PATTERNS)):
        for name, pattern in patterns.items():
            assert re.fullmatch(pattern, getattr(owner, name)), f"{name}={getattr(owner, name)!r}"
    assert len(nic.interface) < 16 and len(nic.link) < 16
    for address in filter(None, (nic.ip, nic.ip6, nic.network.gateway, nic.network.gateway6)):
        assert str(ipaddress.ip_address(address)) == address, "as the kernel lists it"
    assert all(tag and len(tag.split()) == 1 for tag in (*nic.tags, *nic.network.tags))


FILE_LINES = st.lists(st.tuples(st.sampled_from(room.VARIABLES), st.text('ab\\" \n')).map("=".join)).map(
    "\n".join
)


@given(text=st.one_of(st.text(), FILE_LINES))
def test_any_nic_file_gives_variables_or_is_bad(text: str) -> None:
    try:
        assert set(read_nic_file(text)) <= set(room.VARIABLES)
    except BadEnvironment as error:
        assert str(error).isprintable() and str(error).isascii()
