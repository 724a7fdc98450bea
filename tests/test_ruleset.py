"""The ruleset as text: what it contains, and which profiles exist. tests/netns/test_ruleset.py tests that nft
accepts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from snf_network.host import kernel
from snf_network.lean import replace
from snf_network.model.config import Config
from snf_network.rules import ruleset
from snf_network.rules.reasons import REASONS
from snf_network.rules.ruleset import Ruleset

PACKAGE = Path(ruleset.__file__).parent
SHIPPED = ["limited", "protected", "unprotected"]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/etc/snf-network/profiles, and nothing loaded."""
    monkeypatch.setattr(ruleset, "PROFILES", (ruleset.PROFILES[0], str(tmp_path)))
    loaded(monkeypatch)
    return tmp_path


def loaded(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let nft say that these profiles have chains."""
    chains = "".join(
        f"\tchain profile_{name} {{\n\t}}\n\tchain filtered_profile_{name} {{\n\t}}\n" for name in names
    )
    said = f"table bridge snf_network {{\n\tchain pins {{\n\t}}\n{chains}}}\n"
    monkeypatch.setattr(kernel, "run", lambda argv, text="": (0, said) if names else (0, ""))


def test_each_reason_that_rules_count_with_is_explained() -> None:
    text = "".join(path.read_text() for path in PACKAGE.glob("*.nft"))
    assert set(re.findall(r'update @drops \{ [io]if \. "([^"]+)"', text)) == REASONS.keys()


def test_the_package_ships_three_profiles() -> None:
    assert sorted(path.stem for path in (PACKAGE / "profiles").iterdir()) == SHIPPED


def test_profiles_are_the_shipped_ones_and_the_administrators(directory: Path) -> None:
    (directory / "mail.nft").write_text("accept\n")
    assert ruleset.profiles() == {
        **{name: f"{PACKAGE}/profiles/{name}.nft" for name in SHIPPED},
        "mail": f"{directory}/mail.nft",
    }


def test_an_administrators_profile_replaces_the_shipped_one(directory: Path) -> None:
    (directory / "limited.nft").write_text("drop\n")
    assert ruleset.profiles()["limited"] == f"{directory}/limited.nft"
    text = Ruleset(Config()).text()
    assert f'include "{directory}/limited.nft"' in text and f"{PACKAGE}/profiles/limited.nft" not in text


@pytest.mark.parametrize(
    "name",
    [
        "a b.nft",
        "Upper.nft",
        "a-b.nft",
        ".hidden.nft",
        ".nft",
        "readme",
        "a.nft~",
        "a.nft.dpkg-old",
        "x" * 25 + ".nft",
        "a;b.nft",
        "\u03b1.nft",
        'a"b.nft',
    ],
)
def test_a_file_whose_name_is_no_chains_is_no_profile(directory: Path, name: str) -> None:
    (directory / name).write_text("accept\n")
    assert sorted(ruleset.profiles()) == SHIPPED


def test_no_directory_of_the_administrators_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleset, "PROFILES", (ruleset.PROFILES[0], "/nowhere"))
    assert sorted(ruleset.profiles()) == SHIPPED


def test_the_text_defines_includes_and_gives_each_profile_its_chains(directory: Path) -> None:
    text = Ruleset(Config()).text()
    assert text.startswith('define MAC_MASK = ff:ff:f0:00:00:00\ninclude "base.nft"\n') and text.endswith(
        "}\n"
    )
    for name in SHIPPED:
        assert text.count(f'include "{PACKAGE}/profiles/{name}.nft"') == 2
        assert re.search(rf"table inet snf_network {{\nchain profile_{name} {{\ninclude ", text)
        assert re.search(
            rf"table bridge snf_network {{\nchain profile_{name} {{\nmeta protocol ip goto ip_profile_{name}\n"
            rf"meta protocol ip6 goto ip_profile_{name}\nmeta protocol vmap {{ 0x0004 : drop, .*0x8864 : goto ip_profile_{name}.* }}\naccept\n}}\n"
            rf"chain ip_profile_{name} {{\ninclude ",
            text,
        )
        assert (
            f"chain filtered_profile_{name} {{\noifname . ether saddr & $MAC_MASK @prefixes goto profile_{name}\n"
            "goto no_mac_prefix\n}"
        ) in text


def test_the_mask_is_a_setting(directory: Path) -> None:
    assert (
        Ruleset(replace(Config(), mac_mask="ff:ff:ff:00:00:00"))
        .text()
        .startswith("define MAC_MASK = ff:ff:ff:00:00:00\n")
    )


def test_source_nat_is_there_only_where_it_is_switched_on(directory: Path) -> None:
    assert "masq.nft" not in Ruleset(Config()).text()
    assert Ruleset(replace(Config(), masq=True)).text().endswith('include "masq.nft"\n')


def test_a_profile_whose_file_is_gone_is_closed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(monkeypatch, "limited", "gone")
    text = Ruleset(Config()).text()
    assert text.count("chain profile_gone {") == 2 and "chain profile_gone {\ndrop\n}" in text
    assert "chain ip_profile_gone {\ndrop\n}" in text
    assert text.count("chain profile_limited {") == 2


def test_a_refusal_of_nft_is_told_in_one_line() -> None:
    said = (
        "/usr/lib/python3/dist-packages/snf_network/profiles/limited.nft:3:1-5: Error: syntax error, unexpected string\n"
        "accpt\n^^^^^\n"
    )
    error = ruleset._refused(said)
    assert error.message == "nft: " + said.splitlines()[0] and "profile" in error.hint
    assert "\n" not in str(
        ruleset._refused(
            "In file included from x\nError: Could not process rule: No such file\nadd element\n^^^"
        )
    )
    assert str(ruleset._refused("")), "even if it said nothing"


@pytest.mark.parametrize(
    "name",
    [
        *("base.nft", "limits.nft", "masq.nft", "pins.nft", "pin_arp.nft", "services.nft", "sets.nft"),
        "underlay.nft",
    ],
)
def test_every_include_is_a_file_of_the_package(name: str) -> None:
    text = (PACKAGE / name).read_text()
    for included in re.findall(r'include "([^"]+)"', text):
        assert (PACKAGE / included).is_file()


def rules() -> Iterator[tuple[str, str]]:
    """Every line of the package's nft files without its comment, and where it is."""
    for path in PACKAGE.glob("*.nft"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield line.partition("#")[0], f"{path.name}:{number}"


def test_no_rule_names_a_nic() -> None:
    """The packet path costs the same with one NIC and with four thousand only as long as this holds."""
    assert [
        where for rule, where in rules() if re.search(r'\b[io]if(name)?\s*(==|!=)?\s*\{?\s*"', rule)
    ] == []


def test_every_drop_is_counted_by_nic_and_reason() -> None:
    counted = r'chain no_\w+ +\{ update @drops \{ [io]if \. "[a-z0-9-]+" \}; drop; \}'
    assert [
        where for rule, where in rules() if re.search(r"\bdrop;", rule) and not re.search(counted, rule)
    ] == []


def test_every_chain_that_is_gone_to_is_there() -> None:
    text = "".join(path.read_text() for path in PACKAGE.glob("*.nft"))
    chains = set(re.findall(r"chain (\w+)", text))
    assert set(re.findall(r"\b(?:goto|jump) (\w+)", text)) <= chains
