"""dhcp.yaml: what it may say, in what order it holds, how a mistake is told; and that its schema agrees."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from snf_network.dhcpd import conf, defaults
from snf_network.dhcpd.binding import TapBinding
from snf_network.dhcpd.binding import parse as bound
from snf_network.dhcpd.defaults import Defaults, parse
from snf_network.dhcpd.source import Source
from snf_network.dhcpd.terms import Terms
from snf_network.values import CLIENTS, WORDS
from tests.blocks import block
from tests.dhcpd.clients import BINDING, with_

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = block("docs/nfdhcpd.md", "dhcp.yaml")
FULL = """\
defaults:
  ns: [192.0.2.53, "2001:db8::53"]
  ntp: [192.0.2.1, 192.0.2.2]
  domain: example.com
  search: [a.example, b.example]
  route: [10.0.0.0/8 via 198.51.100.2, 172.16.0.0/12 via 198.51.100.3]
  mtu: 1400
  lease: 3600
  private: no
  nodhcp6: yes
  slaac: false
  next-server: 192.0.2.7
  boot: {bios: undionly.kpxe, any: "http://192.0.2.7/x?y=[z]"}
  boot6: {any: "tftp://[2001:db8::7]/x"}
"""
GOOD = {
    "nothing": "",
    "a comment": "# nothing\n",
    "everything": FULL,
    "the document's": EXAMPLE,
    "the example": (ROOT / "examples" / "dhcp.yaml").read_text(),
    "one of each": "defaults: {ns: 2001:db8::1, ntp: 192.0.2.1, search: a.b, route: 10.0.0.0/8 via 192.0.2.1}\n",
    "no values": "defaults: {}\nnetworks: {}\n",
    "a file for all": "networks: {n1: {boot: pxelinux.0, boot6: 'http://a/b'}}\n",
}
BAD = {
    "a list": ("[]", "1: : a list is not a mapping; a mapping with the keys defaults, networks"),
    "another key": ("default: {}", "1: default: is not known here; did you mean defaults?"),
    "another word": ("defaults: {nss: 192.0.2.1}", "1: defaults.nss: is not known here; did you mean ns?"),
    "a relay": ("defaults:\n  relay: 192.0.2.1", "2: defaults.relay: is not known here; allowed: mtu, ns, "),
    "a network that is none": ("networks: {'a b': {}}", "1: networks.a b: is no network's name; letters"),
    "a network without words": ("networks: {n: 5}", "1: networks.n: '5' is not a mapping; the keys mtu, ns"),
    "an MTU": (
        "networks:\n  n:\n    mtu: 70000",
        "3: networks.n.mtu: '70000' cannot be used; a number from 576 to 65535",
    ),
    "an address": (
        "defaults: {ns: [192.0.2.1, 192.0.2.x]}",
        "1: defaults.ns: '192.0.2.1, 192.0.2.x' cannot be used; at most 8 IPv4 addresses",
    ),
    "a comma": (
        "defaults: {ntp: '192.0.2.1,192.0.2.2'}",
        "1: defaults.ntp: '192.0.2.1,192.0.2.2' cannot be used",
    ),
    "quotes": (
        "defaults: {domain: '\"a.b\"'}",
        "1: defaults.domain: '\"a.b\"' cannot be used; a domain name",
    ),
    "a default route": (
        "defaults: {route: 0.0.0.0/0 via 192.0.2.1}",
        "1: defaults.route: '0.0.0.0/0 via 192.0.2.1' cannot",
    ),
    "a flag": ("defaults: {private: 1}", "1: defaults.private: '1' cannot be used; yes or no"),
    "nothing": ("defaults: {domain: }", "1: defaults.domain: nothing cannot be used; a domain name"),
    "a list of one": (
        "defaults: {domain: [a.b]}",
        "1: defaults.domain: a list cannot be used; a domain name",
    ),
    "an empty list": (
        "defaults: {ns: []}",
        "1: defaults.ns: a list cannot be used; at most 8 IPv4 addresses",
    ),
    "a client": (
        "defaults: {boot: {uefi: x}}",
        "1: defaults.boot: 'uefi x' cannot be used; FILE or 'CLIENT FILE'",
    ),
    "a file with a space": ("defaults: {boot: {bios: a b}}", "1: defaults.boot: 'bios a b' cannot be used"),
    "a file that is no URL": ("defaults: {boot6: x.efi}", "1: defaults.boot6: 'x.efi' cannot be used"),
    "twice": ("defaults: {}\ndefaults: {}", "2: defaults: is already in line 1; say it once"),
}
"""Text, and how the first mistake is told after the path."""


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good(name: str) -> None:
    assert parse(GOOD[name])[1] == []


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_and_nothing_holds(name: str) -> None:
    found, wrong = parse(BAD[name][0])
    assert found == Defaults() and wrong and wrong[0].startswith(f"{defaults.PATH}:{BAD[name][1]}"), wrong
    assert not [line for line in wrong if "\n" in line or len(line) > 700]


@pytest.mark.parametrize("text", ("{", "a: b: c", "\0", "x: " + "[" * 5000, "&a [*a]"))
def test_what_is_no_yaml(text: str) -> None:
    assert parse(text)[0] == Defaults() and parse(text)[1]


def test_every_word_can_be_said() -> None:
    said = parse(FULL)[0].common
    assert {one.key for one in said.values()} == {
        key for word, keys in WORDS.items() if word != "relay" for key in keys
    }
    assert said["nameservers6"].value == ("2001:db8::53",) and said["private"].value is False
    assert (said["mtu"].where, said["mtu"].line) == ("defaults.mtu", 7)


def terms(text: str, file: str, settings: str = "") -> Terms:
    return Terms(parse(file)[0].filled(bound("tap0", text)[0]), conf.read(settings)[0], 1500)


def test_a_tag_comes_before_its_network_and_that_before_the_defaults_and_those_before_nfdhcpd_conf() -> None:
    settings = "[dhcp]\nnameservers = 192.0.2.4\nntp = 192.0.2.5\ndomain = of.conf\nlease_lifetime = 900\n"
    file = "defaults: {ns: 192.0.2.3, ntp: 192.0.2.6, domain: of.all}\nnetworks: {n: {ns: 192.0.2.2, ntp: 192.0.2.7}}\n"
    text = with_(NETWORK="n", NAMESERVERS="192.0.2.1")
    said = terms(text, file, settings)
    assert said.resolvers == ("192.0.2.1",) and said.ntp == ("192.0.2.7",)
    assert said.domain == "of.all" and said.lease[2] == 900
    assert terms(with_(NETWORK="m"), file, settings).ntp == ("192.0.2.6",)
    assert terms(BINDING, "", settings).domain == "of.conf"


@pytest.mark.parametrize(
    ("tag", "file", "router"), [("", "yes", ""), ("no", "yes", "198.51.100.1"), ("yes", "no", "")]
)
def test_a_tag_can_say_no(tag: str, file: str, router: str) -> None:
    assert terms(with_(PRIVATE=tag), f"defaults: {{private: {file}}}\n").router == router


def test_without_a_file_a_binding_stays_the_same_object() -> None:
    binding: TapBinding = bound("tap0", BINDING)[0]
    assert Defaults().filled(binding) is binding


def test_a_file_is_read_again_when_it_changes(root: None, tmp_path: Path) -> None:
    """Only root's file is trusted."""
    path = tmp_path / "etc" / "dhcp.yaml"
    source = Source(str(path))
    assert source.current == Defaults() and not source.problems and not source.changed()
    path.parent.mkdir()
    path.write_text("defaults: {mtu: 1400}\n")
    assert source.read() and source.current.common["mtu"].value == 1400 and not source.read()
    path.write_text("defaults: {mtu: 14}\n")
    assert source.changed() and source.read() and not source.changed()
    assert source.current.common["mtu"].value == 1400 and "cannot be used" in source.problems[0]
    (tmp_path / "etc" / "other.yaml").write_text("")
    assert not source.changed()
    path.unlink()
    assert source.changed() and source.read() and source.current == Defaults() and not source.problems
    path.write_text("")
    path.chmod(0o666)
    assert source.read() and "could have been written by others" in source.problems[0]


# --- the schema for editors


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs" / "dhcp.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_the_schema_has_all_words_and_clients(validator: Any) -> None:
    known = validator.schema["definitions"]
    assert list(known["words"]["properties"]) and set(known["words"]["properties"]) == set(defaults.KNOWN)
    assert tuple(known["client"]["enum"]) == CLIENTS


@pytest.mark.parametrize("name", GOOD)
def test_the_schema_accepts_what_is_good(validator: Any, name: str) -> None:
    assert [error.message for error in validator.iter_errors(yaml.safe_load(GOOD[name]))] == []


@pytest.mark.parametrize("name", sorted(BAD.keys() - {"twice"}))
def test_the_schema_refuses_what_is_bad(validator: Any, name: str) -> None:
    assert not validator.is_valid(yaml.safe_load(BAD[name][0]))


def test_documents_name_every_word_and_client() -> None:
    text = (ROOT / "docs" / "nfdhcpd.md").read_text()
    told = set(re.findall(r"`([a-z0-9-]+)`", text))
    assert set(defaults.KNOWN) <= told and set(CLIENTS) - told <= {
        name for name in CLIENTS if name[:5] == "http-"
    }
