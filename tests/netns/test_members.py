"""What is printed is what runs, for members, too. Of two machines with our rules, one gets the printed lines
by nft and the other gets our messages. Both must then list the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from snf_network.host import kernel
from snf_network.host.nftables import MOST, encode
from snf_network.host.stored import Stored
from snf_network.model.resources import Element, Resource, nft
from snf_network.model.resources.nft import FAMILIES
from snf_network.observe import readback
from tests.netns.lab import Machine

CASES = sorted((Path(__file__).resolve().parents[1] / "cases").glob("*.plan"))
LINE = re.compile(
    r"^add element (\S+) snf_network (\S+) \{ (?:\"([^\"]+)\"(?: \. )?)?(.*?)(?: : (.+)| (limit .+))? \}$"
)
MASQ = ("masq", "masq_networks", "masq_pairs")


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Machine, Machine]]:
    made = Machine("theirs"), Machine("ours")
    for machine in made:
        machine.write("/etc/default/snf-network", "MASQ=yes\n")
        machine.script("snf-network", {}, "load")
    yield made
    for machine in made:
        machine.close()


def elements(path: Path) -> list[Element]:
    found = []
    for line in path.read_text().splitlines():
        if line.startswith("add element "):
            words = LINE.match(line)
            assert words, line
            *key, value, limit = (word or "" for word in words.groups())
            found.append(Element(*key, value or limit))
            assert found[-1].add() == line
    return found


def listed(machine: Machine) -> list[str]:
    """All sets and maps with their members, but for handles."""
    found = []
    for entry in json.loads(machine.out("nft", "-j", "list", "ruleset"))["nftables"]:
        for kind in entry.keys() & {"set", "map"}:
            one = entry[kind]
            found.append(
                json.dumps([one["family"], one["name"], sorted(map(json.dumps, one.get("elem", [])))])
            )
    return sorted(found)


def read_back(machine: Machine) -> set[Resource]:
    """The members as a comparison with the records reads them."""
    with machine.inside():
        return set(readback.members())


def by_nft(machine: Machine) -> set[Resource]:
    """The same, all of them by nft."""
    found: set[Resource] = set()
    for family in FAMILIES:
        said = json.loads(machine.out("nft", "-j", "list", "table", family, "snf_network"))["nftables"]
        found |= set(nft.listed(family, said))
    return found


def change(machine: Machine, changes: list[tuple[Element, bool]]) -> str:
    with machine.inside():
        return kernel.change_members(changes)


def there(machine: Machine, wanted: list[Element]) -> list[bool]:
    with machine.inside():
        return [kernel.has_element(one) for one in wanted]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_message_does_what_its_line_does(twins: tuple[Machine, Machine], path: Path) -> None:
    theirs, ours = twins
    wanted = elements(path)
    own = [one for one in wanted if one.set not in MASQ]
    assert encode([(one, True) for one in own]), "only masq needs nft"
    before = listed(ours)
    theirs.run("nft", "-f", "-", input="".join(f"{one.add()}\n" for one in wanted))
    for _ in range(2):
        assert change(ours, [(one, True) for one in wanted]) == ""
        assert listed(ours) == listed(theirs)
    assert read_back(ours) == set(wanted)
    assert all(there(ours, wanted))
    theirs.run("nft", "-f", "-", input="".join(f"{one.delete()}\n" for one in wanted))
    assert change(ours, [(one, False) for one in wanted]) == ""
    assert not any(there(ours, wanted))
    assert listed(ours) == listed(theirs) == before


def test_what_others_put_into_our_table_is_read_too(twins: tuple[Machine, Machine]) -> None:
    """By nft, as a member of such a set may be anything; the others are still read as the kernel stores
    them.
    """
    _, ours = twins
    lines = """
        add element inet snf_network routed { "tap0" comment "mine" }
        add element inet snf_network macs { "tap0" . aa:00:00:ad:35:c9 }
        add element bridge snf_network egress { "tap0" : accept }
        add set inet snf_network theirs { type ipv4_addr . inet_service; }
        add element inet snf_network theirs { 192.0.2.1 . 80 }
    """
    ours.run("nft", "-f", "-", input=lines)
    try:
        with ours.inside():
            assert {"routed", "theirs"} <= set(Stored("inet").others)
            assert Stored("bridge").others == ["egress"]
        assert read_back(ours) == by_nft(ours)
        assert len(read_back(ours)) == 4
    finally:
        ours.run("nft", "delete set inet snf_network theirs")
        ours.run("nft", "flush map bridge snf_network egress")
        for name in ("routed", "macs"):
            ours.run("nft", f"flush set inet snf_network {name}")


def test_a_transaction_is_all_or_nothing(twins: tuple[Machine, Machine]) -> None:
    _, ours = twins
    before = listed(ours)
    first, mark = Element("inet", "routed", "tap0"), Element("inet", "tables", "tap0", "", "222")
    other = Element("inet", "tables", "tap0", "", "223")
    assert change(ours, [(first, True), (mark, True), (other, True)]).endswith(
        '{ "tap0" : 223 }: File exists'
    )
    assert change(ours, [(first, True), (first, False), (first, False)]).endswith("No such file or directory")
    assert "goto nothing }: No such file" in change(
        ours, [(first, True), (Element("inet", "egress", "tap0", "", "goto nothing"), True)]
    )
    assert listed(ours) == before


def test_a_value_that_is_none_is_refused_by_nft(twins: tuple[Machine, Machine]) -> None:
    """A record may contain anything."""
    _, ours = twins
    before = listed(ours)
    for wrong in (
        Element("inet", "macs", "tap0", "nonsense"),
        Element("inet", "macs", "tap0"),
        Element("inet", "src4", "tap0", "aa:00:00:ad:35:c9 . 198.51.100.256"),
        Element("inet", "nowhere", "tap0"),
        Element("ip", "macs", "tap0", "aa:00:00:ad:35:c9"),
        Element("inet", "macs", "a-name-of-16-char", "aa:00:00:ad:35:c9"),
        Element("inet", "nets4", "tap0", "aa:00:00:ad:35:c9 . 198.51.100.0/33"),
    ):
        assert change(ours, [(wrong, True)]) != "", wrong
    assert listed(ours) == before


def test_a_nic_with_hundreds_of_members(twins: tuple[Machine, Machine]) -> None:
    """As many as one message may have, and one more, which nft gets."""
    _, ours = twins
    before = listed(ours)
    for count in (MOST, MOST + 1):
        many = [
            Element("inet", "nets6", "a-name-of-15-ch", f"aa:00:00:ad:35:c9 . 2001:db8:{number:x}::/48")
            for number in range(count)
        ]
        assert bool(encode([(one, True) for one in many])) == (count == MOST)
        assert change(ours, [(one, True) for one in many]) == ""
        assert sum(one.count("a-name-of-15-ch") for one in listed(ours)) == count
        assert change(ours, [(one, False) for one in many]) == ""
    assert listed(ours) == before
