"""/etc/default/snf-network: the names and meanings of the bash package, read as data."""

from __future__ import annotations

import os
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snf_network.errors import BadConfig
from snf_network.lean import replace
from snf_network.model.config import Config, parse

DEFAULTS = {
    "STATE_DIR": "/var/lib/snf-network",
    "LOGFILE": "/var/log/ganeti/snf-network.log",
    "DEBUG": False,
    "IFUP_EXTRA_SCRIPT": "/etc/ganeti/ifup-extra",
    "MAC_MASK": "ff:ff:f0:00:00:00",
    "TAP_CONSTANT_MAC": "cc:47:52:4e:45:54",
    "NFDHCPD_STATE_DIR": "/var/lib/nfdhcpd",
    "GANETI_NIC_DIR": "/var/run/ganeti/xen-hypervisor/nic",
    "MAC_FILTERED_TAG": "private-filtered",
    "NFDHCPD_TAG": "nfdhcpd",
    "IP_LESS_ROUTED_TAG": "ip-less-routed",
    "MASQ_TAG": "masq",
    "PUBLIC_TAG": "public",
    "DNS_TAG": "dns",
    "AUTHENTICATION_METHOD": "bind9",
    "SERVER": "",
    "FZONE": "vm.synnefo.live",
    "TTL": "300",
    "KEYFILE": "",
    "KERBEROS_PRINCIPAL": "",
    "KERBEROS_KEYTAB": "/etc/krb5.keytab",
    "KERBEROS_KSTART_ARGS": "-H 1 -l 1h",
    "KERBEROS_TICKET": "/var/lib/snf-network/snf-network-kerberos.tkt",
    # ours
    "PHYSICAL_VLAN_TAG": "physical-vlan",
    "TAG_PREFIX": "snf-network",
    "FIREWALL_TAG_PREFIX": "synnefo:network",
    "IP_FILTERED_TAG": "ip-filtered",
    "TRUNK_TAG": "trunk",
    "ISOLATED_TAG": "isolated",
    "GATEWAY_ON_TAP_TAG": "gateway-on-tap",
    "BGP_TAG": "bgp",
    "BGP_DAEMON": "bird",
    "BIRD_DIR": "/var/lib/snf-network-bird",
    "FRR_DIR": "/var/lib/snf-network-frr",
    "V6_FROM_V4_TAG": "v6-from-v4",
    "NEWEST_ROUTE_WINS": False,
    "MASQ": False,
    "UNDERLAY": "",
    "NODE_SERVICES": "",
    "LIMITS": "",
    "NFDHCPD_ENGINE": "packet",
}
OTHERS = {
    "DEBUG": "yes",
    "MASQ": "on",
    "NEWEST_ROUTE_WINS": "yes",
    "MAC_MASK": "ff:ff:ff:00:00:00",
    "TAP_CONSTANT_MAC": "cc:47:52:4e:45:55",
    "TTL": "60",
    "AUTHENTICATION_METHOD": "kerberos",
    "NFDHCPD_ENGINE": "nfqueue",
    "BGP_DAEMON": "frr",
    "UNDERLAY": "192.0.2.0/24",
    "NODE_SERVICES": "22/tcp",
    "LIMITS": "broadcast:1k",
    **{key: "/other" for key, value in DEFAULTS.items() if str(value).startswith("/")},
}
NODE_OF_THE_BASH_PACKAGE = """\
# snf-network

STATE_DIR=/srv/snf-network   # comment after a value
LOGFILE=/var/log/ganeti/snf-network.log
MAC_MASK=ff:ff:f0:00:00:00
TAP_CONSTANT_MAC=cc:47:52:4e:45:54 # GRNET
MAC2EUI64=/usr/bin/mac2eui64
NFDHCPD_STATE_DIR=/var/lib/nfdhcpd
RUNLOCKED_OPTS="--id 10001 --retry-sec 0.5"
DEBUG=false
DEBUGFILE=/var/log/ganeti/snf-network.debug

DNS_TAG=public
AUTHENTICATION_METHOD=kerberos
#SERVER=
FZONE=
KERBEROS_KSTART_ARGS="-H 1 -l 1h"
KERBEROS_TICKET="$STATE_DIR/kerberos.tkt"
"""


def setting(config: Config, key: str) -> object:
    return getattr(config, key.lower())


@pytest.mark.parametrize(("key", "value"), DEFAULTS.items(), ids=list(DEFAULTS))
def test_every_key_has_the_default_of_the_bash_package(key: str, value: object) -> None:
    assert setting(Config(), key) == value
    assert setting(parse(""), key) == value


def test_there_is_no_setting_but_these() -> None:
    assert set(Config().__dict__) == {key.lower() for key in DEFAULTS} | {"warnings", "errors"}


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_key_can_be_set(key: str) -> None:
    value = OTHERS.get(key, "other")
    config = parse(f"{key}={value}\n")
    assert setting(config, key) == (True if DEFAULTS[key] is False else value) != DEFAULTS[key]
    assert config.warnings == ()


def test_a_file_of_the_bash_package_is_read_whole() -> None:
    config = parse(NODE_OF_THE_BASH_PACKAGE)
    assert config == parse(
        "STATE_DIR=/srv/snf-network\nDNS_TAG=public\nAUTHENTICATION_METHOD=kerberos\nFZONE=\n"
        "KERBEROS_TICKET=/srv/snf-network/kerberos.tkt"
    )
    assert config.warnings == ()


def test_the_ticket_goes_with_state_dir() -> None:
    assert parse("STATE_DIR=/srv").kerberos_ticket == "/srv/snf-network-kerberos.tkt"
    assert parse("KERBEROS_TICKET=/tmp/t\nSTATE_DIR=/srv").kerberos_ticket == "/tmp/t"


SYNTAX = {
    "plain": ("SERVER=a.b", "a.b"),
    "double quotes": ('SERVER="a b"', "a b"),
    "single quotes": ("SERVER='a $FZONE \"b\" `c`'", 'a $FZONE "b" `c`'),
    "quotes in the middle": ("""SERVER=a"b c"'d e'f""", "ab cd ef"),
    "empty": ("SERVER=", ""),
    "empty quotes": ('SERVER=""', ""),
    "comment after it": ("SERVER=a # b", "a"),
    "comment after a tab": ("SERVER=a\t#b", "a"),
    "comment after nothing": ("SERVER= # b", ""),
    "comment with a quote": ("SERVER=a # it's", "a"),
    "number sign inside a word": ("SERVER=a#b", "a#b"),
    "number sign in quotes": ("SERVER='a # b'", "a # b"),
    "equals sign": ("SERVER=a=b", "a=b"),
    "spaces around the line": ("  SERVER=a  ", "a"),
    "carriage return": ("SERVER=a\r\n", "a"),
    "export": ("export SERVER=a", "a"),
    "the last one counts": ("SERVER=a\nSERVER=b", "b"),
    "name of an earlier key": ("FZONE=z\nSERVER=$FZONE", "z"),
    "name in braces": ("FZONE=z\nSERVER=a${FZONE}b", "azb"),
    "name in double quotes": ('FZONE="y z"\nSERVER="a $FZONE"', "a y z"),
    "name of a key nobody knows": ("MINE=z\nSERVER=$MINE", "z"),
    "name of a key with its default": ("SERVER=$FZONE", "vm.synnefo.live"),
    "name that is nowhere": ("SERVER=a${NOWHERE}b", "ab"),
    "a name is replaced once": ("FZONE='$TTL'\nSERVER=$FZONE", "$TTL"),
    "a later change does not reach back": ("FZONE=z\nSERVER=$FZONE\nFZONE=y", "z"),
}


@pytest.mark.parametrize(("text", "value"), SYNTAX.values(), ids=list(SYNTAX))
def test_values_mean_what_they_mean_in_sh(text: str, value: str) -> None:
    assert parse(text).server == value


@pytest.mark.parametrize("text", ["", "\n\n", "# SERVER=a", "   # x", "\t\n"])
def test_comments_and_empty_lines_are_nothing(text: str) -> None:
    assert parse(text) == Config()


@pytest.mark.parametrize("separator", ["\f", "\v", "\x1c", "\x85", "\u2028"], ids=ascii)
def test_only_a_newline_ends_a_comment(separator: str) -> None:
    assert parse(f"# was:{separator}SERVER=a") == Config()


REFUSED = [
    "SERVER=`date`",
    "SERVER=$(date)",
    "SERVER=$((1))",
    "SERVER=a;reboot",
    "SERVER=a&",
    "SERVER=a|b",
    "SERVER=a>b",
    "SERVER=<a",
    "SERVER=a b",
    "SERVER=a\\ b",
    'SERVER="a\\"b"',
    'SERVER="`date`"',
    'SERVER="$(date)"',
    "SERVER=${FZONE:-a}",
    "SERVER=${FZONE",
    "SERVER=$",
    "SERVER=~/a",
    "SERVER=*",
    "SERVER=a?",
    "SERVER=[ab]",
    "SERVER='a",
    'SERVER="a',
    "SERVER='a\nb'",
    "SERVER",
    "SERVER a",
    "reboot",
    "if true; then",
    "source /etc/x",
    ". /etc/x",
    "SERVER =a",
    "1SERVER=a",
    "SER-VER=a",
    "=a",
    "export SERVER",
    "export SERVER=a FZONE=b",
    "SERVER+=a",
    "SERVER=!a",
    "\u03a3=a",
]


@pytest.mark.parametrize("line", REFUSED)
def test_what_would_need_a_shell_is_refused_by_line(line: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parse(f"# one\n\n{line}\n", "/etc/default/x")
    assert str(caught.value).startswith("/etc/default/x:3: ")
    assert str(caught.value).isprintable() and str(caught.value).isascii()


BAD = {
    "STATE_DIR": ["", "relative", "/a/../b", "/a\x01b"],
    "NFDHCPD_STATE_DIR": ["", "x"],
    "NFDHCPD_ENGINE": ["", "Packet", "queue"],
    "GANETI_NIC_DIR": ["", "x"],
    "LOGFILE": ["x", "/a/.."],
    "IFUP_EXTRA_SCRIPT": ["ifup-extra"],
    "DEBUG": ["maybe", "2"],
    "MASQ": ["tru"],
    "MAC_MASK": ["", "ff:ff:ff", "ff:ff:f0:00:00:0g", "ffff.f000.0000"],
    "TAP_CONSTANT_MAC": ["", "cd:47:52:4e:45:54", "cc:47:52:4e:45", "00:00:00:00:00:00"],
    "NFDHCPD_TAG": ["", "a b", "a*b", "a/b"],
    "DNS_TAG": [""],
    "TAG_PREFIX": ["", "a b"],
    "FIREWALL_TAG_PREFIX": [""],
    "AUTHENTICATION_METHOD": ["bind", "Kerberos"],
    "TTL": ["", "5m", "-1", "1.5", str(2**31), "\u00b2", "1" * 5000],
    "SERVER": ["a\x01b", "a\tb"],
    "KEYFILE": ["\x7f"],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in BAD.items() for value in values],
    ids=lambda text: ascii(text)[1:25],
)
def test_a_bad_value_is_refused_with_line_key_and_value(key: str, value: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parse(f"FZONE=a\n{key}='{value}'\n", "/etc/default/x")
    assert str(caught.value).startswith(f"/etc/default/x:2: {key}=")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("true", True),
        ("YES", True),
        ("1", True),
        ("on", True),
        ("false", False),
        ("No", False),
        ("0", False),
        ("off", False),
        ("", False),
    ],
)
def test_true_and_false_have_their_usual_names(value: str, expected: bool) -> None:
    assert parse(f"MASQ={value}").masq is expected


def test_logging_and_the_extra_script_can_be_switched_off() -> None:
    config = parse("LOGFILE=\nIFUP_EXTRA_SCRIPT=''")
    assert (config.logfile, config.ifup_extra_script) == ("", "")


def test_an_unknown_key_is_a_warning_with_its_line() -> None:
    config = parse("SERVER=a\nSERVRE=b\n", "/etc/default/x")
    assert config.server == "a"
    assert config.warnings == ("/etc/default/x:2: unknown setting SERVRE, ignored",)


@pytest.mark.parametrize("key", ["MAC2EUI64", "RUNLOCKED_OPTS", "DEBUGFILE"])
def test_a_setting_that_has_nothing_left_to_set_is_no_warning(key: str) -> None:
    assert parse(f"{key}=x") == Config()


def test_a_file_that_is_not_there_is_all_defaults(tmp_path: Path) -> None:
    assert Config.load(str(tmp_path / "none")) == Config()


def test_a_file_is_read_with_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "snf-network"
    path.write_bytes(b"# caf\xe9\nMINE=\xff\nSERVER=a\n")
    config = Config.load(str(path))
    assert config.server == "a" and config.warnings == (f"{path}:2: unknown setting MINE, ignored",)


def test_a_path_that_cannot_be_read_is_bad(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=str(tmp_path)):
        Config.load(str(tmp_path))


# --- random text

LINES = st.one_of(
    st.text(),
    st.text(string.printable),
    st.tuples(st.sampled_from(list(DEFAULTS)), st.text(string.printable)).map("=".join),
    st.tuples(st.sampled_from(list(DEFAULTS)), st.text()).map("=".join),
)


@given(st.lists(LINES, max_size=5).map("\n".join))
def test_any_text_is_a_config_or_bad(text: str) -> None:
    try:
        assert isinstance(parse(text), Config)
    except BadConfig as error:
        assert str(error).isprintable() and str(error).isascii()


# --- what is accepted, sh reads the same

KEYS = ("SERVER", "FZONE", "KEYFILE", "KERBEROS_PRINCIPAL", "KERBEROS_KEYTAB")
OWN = ("X", "Y", "X1")
REFERENCE = st.sampled_from([f"${name}" for name in OWN] + [f"${{{name}}}" for name in OWN])
PLAIN = st.text(string.ascii_letters + string.digits + "_-+./,:@%^={}#", min_size=1)
SINGLE = st.text(string.ascii_letters + ' #$`\\"*;&|<>()', max_size=8).map(lambda text: f"'{text}'")
DOUBLE = st.lists(
    st.one_of(REFERENCE, st.text(string.ascii_letters + " #'*;&|<>()", max_size=8)), max_size=3
).map(lambda parts: f'"{"".join(parts)}"')
VALUE = st.lists(st.one_of(PLAIN, SINGLE, DOUBLE, REFERENCE), max_size=4).map("".join)
ASSIGNMENT = st.builds(
    "{}{}={}{}".format,
    st.sampled_from(["", "", " ", "export "]),
    st.sampled_from(KEYS + OWN),
    VALUE,
    st.sampled_from(["", "", " ", " # it's", "\t#"]),
)
SIMPLE = st.lists(
    st.one_of(ASSIGNMENT, ASSIGNMENT, ASSIGNMENT, st.sampled_from(["", "# SERVER=x", "  "])),
    min_size=1,
    max_size=6,
)


def of_sh(text: str) -> list[str]:
    """What sh gives KEYS after it has sourced `text`."""
    script = (
        "".join(f"{key}=; " for key in (*KEYS, *OWN))
        + f"\n{text}\nprintf '%s\\0' "
        + " ".join(f'"${key}"' for key in KEYS)
    )
    ran = subprocess.run(("/bin/sh", "-f"), input=script, capture_output=True, text=True, env={}, timeout=10)
    assert ran.returncode == 0, f"{text!r}: {ran.stderr}"
    return ran.stdout.split("\0")[:-1]


def of_ours(text: str) -> list[str]:
    config = parse("".join(f"{key}=\n" for key in (*KEYS, *OWN)) + text)
    return [str(setting(config, key)) for key in KEYS]


@pytest.mark.processes
@given(SIMPLE.map("\n".join))
def test_a_simple_file_is_read_as_sh_would(text: str) -> None:
    """Asks sh itself."""
    assert of_ours(text) == of_sh(text)


@pytest.mark.processes
@given(
    st.lists(
        st.tuples(st.sampled_from(KEYS), st.text("XY1={}$'\"# -+:/\t\n", max_size=12)).map("=".join),
        max_size=4,
    ).map("\n".join)
)
@example("SERVER=$1X")
def test_what_is_not_refused_is_read_as_sh_would(text: str) -> None:
    """Asks sh itself. Nothing in the alphabet is a command, so what is wrongly accepted does no harm."""
    try:
        ours = of_ours(text)
    except BadConfig:
        return
    assert ours == of_sh(text)


@pytest.mark.parametrize(
    "text",
    [
        "STATE_DIR=/var/lib/nfdhcpd\n",
        "NFDHCPD_STATE_DIR=/var/lib/snf-network/\n",
        "STATE_DIR=/x\nNFDHCPD_STATE_DIR=$STATE_DIR\n",
    ],
)
def test_records_and_bindings_have_directories_of_their_own(text: str) -> None:
    """A binding would be written over the record of its NIC, which nobody would know of any more."""
    with pytest.raises(BadConfig, match="STATE_DIR"):
        parse(text)


# --- for what keeps guests filtered, all that can be read counts


@pytest.mark.parametrize("make", ("pipe", "directory", "huge", "link to itself"))
def test_a_file_that_cannot_be_read_leaves_the_defaults(tmp_path: Path, make: str) -> None:
    path = tmp_path / "settings"
    if make == "pipe":
        os.mkfifo(path)
    elif make == "directory":
        path.mkdir()
    elif make == "huge":
        path.write_bytes(b"#" * (1 << 21))
    else:
        path.symlink_to(path)
    with pytest.raises(BadConfig):
        Config.load(str(path))
    lenient = Config.load(str(path), lenient=True)
    assert replace(lenient, errors=()) == Config()
    (error,) = lenient.errors
    assert str(path) in error and error.endswith("the defaults are used")


def test_keys_that_contradict_each_other_have_their_defaults() -> None:
    text = "NFDHCPD_TAG=x\nMASQ_TAG=x\nNFDHCPD_STATE_DIR=/var/lib/snf-network/\nMASQ=yes\n"
    with pytest.raises(BadConfig):
        parse(text)
    config = parse(text, lenient=True)
    assert len(config.errors) == 2 and config.masq
    assert config.nfdhcpd_state_dir == Config().nfdhcpd_state_dir
    assert (config.nfdhcpd_tag, config.masq_tag) == ("x", "masq")
