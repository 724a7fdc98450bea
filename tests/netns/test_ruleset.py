"""The ruleset in a real kernel: it loads, it loads again without doubling a rule or losing a member, and a
profile never opens.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from snf_network.host import kernel
from snf_network.lean import replace
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.resources import Element
from snf_network.plan import plan_for
from snf_network.rules import ruleset
from snf_network.rules.ruleset import Ruleset
from tests.netns.lab import Machine
from tests.test_cases import CASES, NODE
from tests.test_plan import BRIDGED

CONFIGS = {
    "as shipped": Config(),
    "with source NAT": replace(Config(), masq=True),
    "another mask": replace(Config(), mac_mask="ff:ff:ff:00:00:00"),
}
FAMILIES = ("bridge", "inet", "arp", "netdev")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """The machine's /etc/snf-network/profiles."""
    path = tmp_path / "profiles"
    path.mkdir()
    return path


@pytest.fixture
def machine(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine that we are in."""
    monkeypatch.setattr(ruleset, "PROFILES", (ruleset.PROFILES[0], str(profiles)))
    made = Machine("ruleset")
    with made.inside():
        yield made
    made.close()


def load(config: Config = Config(), *elements: Element) -> None:  # noqa: B008
    assert kernel.nft((Ruleset(config).text(), *(element.add() for element in elements))) == ""


def chain(machine: Machine, family: str, name: str) -> list[str]:
    """The rules of a chain."""
    lines = machine.out("nft", "-s", "list", "chain", family, "snf_network", name).splitlines()
    return [line.strip() for line in lines[2:-2]]


def everything(machine: Machine) -> list[str]:
    """Every set with its members, every chain with its rules; the order of members in a set is the kernel's
    own.
    """
    data = json.loads(machine.out("nft", "-j", "list", "ruleset"))["nftables"]
    for entry in data:
        for value in entry.values():
            value.pop("handle", None)
            value["elem"] = sorted(value.get("elem", ()), key=json.dumps)
    return [json.dumps(entry) for entry in data]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_nft_accepts_the_whole_text(machine: Machine, config: Config) -> None:
    checked = machine.run("nft", "-c", "-I", kernel.RULES, "-f", "-", input=Ruleset(config).text())
    assert checked.stdout + checked.stderr == ""
    assert machine.out("nft", "list", "tables") == "", "a check changes nothing"
    load(config)
    assert machine.out("nft", "list", "tables").split() == [
        word for family in FAMILIES for word in ("table", family, "snf_network")
    ]


MEMBERS = [
    Element("inet", "routed", "tap0"),
    Element("inet", "tables", "tap0", "", "222"),
    Element("arp", "gateways", "tap0", "", "192.0.2.1"),
    Element("inet", "src4", "tap0", "aa:00:00:ad:35:c9 . 198.51.100.10"),
    Element("bridge", "egress", "tap1", "", "goto filtered"),
    Element("inet", "targets", "tap0", "0x20010db800010000a80000fffead35c9"),
    Element("inet", "egress", "tap0", "", "goto profile_limited"),
    Element("bridge", "egress", "tap2", "", "goto filtered_profile_limited"),
]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_the_rules_need_no_list_of_names(machine: Machine, config: Config) -> None:
    """A bare Debian has no netbase: nft knows a few protocols by itself, and reads the others' names there."""
    machine.run("rm", "-f", "/etc/protocols", "/etc/services")
    ran = machine.run("nft", "-c", "-I", kernel.RULES, "-f", "-", input=Ruleset(config).text())
    assert ran.stderr == ""


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_loading_again_doubles_no_rule_and_loses_no_member(machine: Machine, config: Config) -> None:
    load(config, *MEMBERS)
    before, listing = everything(machine), Ruleset(Config()).listing()
    assert all(kernel.has_element(member) for member in MEMBERS)
    for _ in range(2):
        load(config)
    assert everything(machine) == before and Ruleset(Config()).listing() == listing


def test_the_listing_has_the_rules_and_not_the_members(machine: Machine) -> None:
    assert Ruleset(Config()).listing() == ""
    load()
    listing = Ruleset(Config()).listing()
    assert [f"table {family} snf_network {{" in listing for family in FAMILIES] == [True] * len(FAMILIES)
    load(Config(), *MEMBERS)
    assert Ruleset(Config()).listing() == listing
    machine.run("nft", "add", "rule", "inet", "snf_network", "pin4", "accept")
    assert Ruleset(Config()).listing() != listing


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_what_nft_lists_can_be_loaded(machine: Machine, config: Config) -> None:
    """`nft list ruleset > file; nft -f file` is how others keep rules: nft 1.0.6 was killed by its own
    listing.
    """
    load(config, *MEMBERS)
    listed = machine.out("nft", "list", "ruleset")  # as nft-keep does, around a reload of the node's firewall
    machine.run("nft", "-f", "-", input=f"flush ruleset\n{listed}")
    again = machine.out("nft", "list", "ruleset")
    assert [line for line in again.splitlines() if line.startswith("\tchain")] and len(again) >= len(listed)
    assert again.count("\n") == listed.count("\n")


def test_a_failed_load_leaves_all_as_it_was(machine: Machine, profiles: Path) -> None:
    load(Config(), *MEMBERS)
    before = everything(machine)
    (profiles / "limited.nft").write_text("accpt\n")
    said = kernel.nft([Ruleset(Config()).text()])
    error = ruleset._refused(said)
    assert f"{profiles}/limited.nft:1" in error.message and "profile" in error.hint
    assert everything(machine) == before


def test_many_may_load_it_at_once(machine: Machine, tmp_path: Path) -> None:
    """After a reboot the first NICs come together, each under the lock of its own interface."""
    config, children = replace(Config(), state_dir=str(tmp_path / "state")), []
    for _ in range(6):
        child = os.fork()
        if not child:
            status = 1
            try:
                for _ in range(5):
                    Ruleset(config).load()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert Ruleset(config).noted() == Ruleset(Config()).listing().splitlines()


# --- profiles


def test_an_administrators_profile_is_loaded(machine: Machine, profiles: Path) -> None:
    (profiles / "mail.nft").write_text("tcp dport 25 accept\ndrop\n")
    load()
    assert chain(machine, "inet", "profile_mail") == ["tcp dport 25 accept", "drop"]
    assert by_protocol(machine) == BY_PROTOCOL
    assert chain(machine, "bridge", "ip_profile_mail") == ["tcp dport 25 accept", "drop"]
    assert chain(machine, "bridge", "filtered_profile_mail")[-1] == "goto no_mac_prefix"


def test_an_administrators_profile_comes_in_place_of_the_shipped_one(
    machine: Machine, profiles: Path
) -> None:
    load()
    shipped = chain(machine, "inet", "profile_limited")
    (profiles / "limited.nft").write_text("drop\n")
    load()
    assert chain(machine, "inet", "profile_limited") == ["drop"] != shipped
    (profiles / "limited.nft").unlink()
    load()
    assert chain(machine, "inet", "profile_limited") == shipped


def test_a_profile_whose_file_is_gone_drops_and_its_nics_still_point_at_it(
    machine: Machine, profiles: Path
) -> None:
    (profiles / "mail.nft").write_text("tcp dport 25 accept\ndrop\n")
    pointing = [
        Element("inet", "egress", "tap0", "", "goto profile_mail"),
        Element("bridge", "egress", "tap1", "", "goto profile_mail"),
        Element("bridge", "egress", "tap2", "", "goto filtered_profile_mail"),
    ]
    load(Config(), *pointing)
    (profiles / "mail.nft").unlink()
    for _ in range(2):
        load()
        assert chain(machine, "inet", "profile_mail") == ["drop"]
        assert by_protocol(machine) == BY_PROTOCOL
        assert chain(machine, "bridge", "ip_profile_mail") == ["drop"]
        assert chain(machine, "bridge", "filtered_profile_mail")[-1] == "goto no_mac_prefix"
        assert all(kernel.has_element(element) for element in pointing)


BROKEN = {
    "a typo": "tcp dport 80 acept\n",
    "a brace too many": "tcp dport 80 accept\n}\n",
    "a brace too few": "tcp dport 80 accept {\n",
    "a whole chain": "type filter hook input priority 0; policy drop;\n",
    "out of its table": "}\n}\nflush ruleset\ntable inet other {\nchain it {\n",
    "no file to include": 'include "/nonexistent.nft"\n',
    "nothing": "",
    "comments": "# tcp dport 80 accept\n\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=list(BROKEN))
def test_a_profile_that_does_not_load_is_closed_alone(machine: Machine, profiles: Path, text: str) -> None:
    """Where nft's error names only the line after it, too."""
    (profiles / "mail.nft").write_text("tcp dport 25 accept\n")
    (profiles / "web.nft").write_text(text)
    config = replace(Config(), state_dir=str(profiles / "state"))
    closed, said = Ruleset(config).refused_profiles()
    assert closed.keys() == {"web"} and str(profiles / "web.nft") in closed["web"] and said == ""
    assert Ruleset(config).load() == list(closed.values())
    assert Ruleset(config).closed() == {"web"}
    assert chain(machine, "inet", "profile_web") == ["drop"] == chain(machine, "bridge", "ip_profile_web")
    assert chain(machine, "inet", "profile_mail") == ["tcp dport 25 accept"]


def test_two_profiles_that_do_not_load_are_closed(machine: Machine, profiles: Path) -> None:
    for name, text in (("one", "accept\n}\n"), ("two", "accept {\n"), ("three", "acept\n")):
        (profiles / f"{name}.nft").write_text(text)
    assert len(Ruleset(replace(Config(), state_dir=str(profiles / "state"))).load()) == 3
    assert [chain(machine, "inet", f"profile_{name}") for name in ("one", "two", "three")] == [["drop"]] * 3


@pytest.mark.parametrize("kind", ("pipe", "directory", "dangling", "device"))
def test_nft_does_not_wait_for_what_is_no_file(machine: Machine, profiles: Path, kind: str) -> None:
    path = profiles / "web.nft"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "/nonexistent")
    (said,) = Ruleset(replace(Config(), state_dir=str(profiles / "state"))).load()
    assert str(path) in said
    assert chain(machine, "inet", "profile_web") == ["drop"]


def test_a_profile_may_be_a_symbolic_link(machine: Machine, profiles: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("tcp dport 80 accept\n")
    (profiles / "web.nft").symlink_to(tmp_path / "real")
    load()
    assert chain(machine, "inet", "profile_web") == ["tcp dport 80 accept"]


def test_another_programs_chains_are_not_touched(machine: Machine) -> None:
    machine.run(
        "nft",
        "-f",
        "-",
        input="table inet theirs { chain profile_x { accept; }; }\ntable bridge filter { chain y { drop; }; }\n",
    )
    theirs = (
        machine.out("nft", "list", "table", "inet", "theirs"),
        machine.out("nft", "list", "table", "bridge", "filter"),
    )
    load()
    load()
    assert (
        machine.out("nft", "list", "table", "inet", "theirs"),
        machine.out("nft", "list", "table", "bridge", "filter"),
    ) == theirs


def test_a_profile_chain_of_another_program_makes_no_profile_of_ours(machine: Machine) -> None:
    machine.run("nft", "-f", "-", input="table bridge theirs { chain profile_theirs { accept; }; }\n")
    load()
    assert "profile_theirs" not in Ruleset(Config()).listing()


# --- members, as the golden cases have them


def test_every_member_of_every_golden_case_is_accepted_twice_and_can_be_taken_away(machine: Machine) -> None:
    load(CONFIGS["with source NAT"])
    empty = everything(machine)
    count = 0
    for path in sorted(CASES.glob("*.plan")):
        lines = [line for line in path.read_text().splitlines() if line.startswith("add element ")]
        for _ in range(2):
            assert kernel.nft(lines) == "", path.name
        deletes = [
            re.split(" : | limit ", line)[0].replace("add element", "delete element").removesuffix(" }")
            + " }"
            for line in lines
        ]
        assert kernel.nft(deletes) == "", path.name
        count += len(lines)
    assert count > 300 and everything(machine) == empty


def test_no_member_is_a_prefix_of_raw_payload() -> None:
    """nft 1.0.6 takes one and frees it twice; with a table of some size it is killed (signal 6)."""
    lines = [line for path in CASES.glob("*.plan") for line in path.read_text().splitlines()]
    assert [line for line in lines if "add element" in line and re.search("0x[0-9a-f]+/", line)] == []
    assert [line for line in lines if "add element" in line and re.search("0x[0-9a-f]+-0x", line)]


BY_PROTOCOL = [
    "meta protocol ip goto ip_profile_mail",
    "meta protocol ip6 goto ip_profile_mail",
    "meta protocol vmap { 0x0004 : drop, 8021q : drop, 8021ad : drop }",
    "accept",
]


def by_protocol(machine: Machine) -> list[str]:
    """The chain that asks what a frame is, without what may carry IP: nft lists that in an order of its
    own.
    """
    rules = chain(machine, "bridge", "profile_mail")
    return [re.sub(r"0x[89]\w+ : goto ip_profile_mail,? ?", "", rule).replace(", }", " }") for rule in rules]


def add_masq(subnet: str) -> str:
    config = CONFIGS["with source NAT"]
    plan = plan_for(
        Nic.from_env({**BRIDGED, "NETWORK_TAGS": "masq", "NETWORK_SUBNET": subnet}),
        replace(NODE, wan="eth0"),
        config,
    )
    return kernel.nft([resource.add() for resource in plan.resources if isinstance(resource, Element)])


def test_the_same_and_another_network_can_be_translated_too(machine: Machine) -> None:
    load(CONFIGS["with source NAT"])
    assert [add_masq(subnet) for subnet in ("10.0.0.0/8", "10.0.0.0/8", "192.168.0.0/24")] == ["", "", ""]


def test_a_network_inside_another_cannot_be_translated_and_the_hint_says_why(machine: Machine) -> None:
    """The node has no way to tell whose answers come back."""
    load(CONFIGS["with source NAT"])
    assert add_masq("10.0.0.0/8") == ""
    assert "two masq networks overlap" in ruleset._refused(add_masq("10.1.0.0/16")).hint
