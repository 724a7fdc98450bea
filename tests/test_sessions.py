"""FRR's sessions with guests: what of its running configuration has to be changed for the taps' files."""

from __future__ import annotations

import pytest

from snf_network.observe.sessions import Sessions, compare
from tests.test_cases import beside

FILE = "".join(
    f"{line.removeprefix('    ')}\n"
    for line in beside("bgp-by-frr", "plan")
    .partition("snf-network-frr/tap0\n")[2]
    .partition("\n\n")[0]
    .splitlines()
)
ADMINS = """\
Building configuration...

router bgp 65001
 bgp router-id 10.255.0.1
 no bgp default ipv4-unicast
 neighbor SNF-GUEST peer-group
 neighbor SNF-GUEST password secret
 neighbor SNF-GUEST timers 10 30
 neighbor 10.0.0.1 remote-as 65100
exit
!
router bgp 65002 vrf red
 no bgp default ipv4-unicast
 neighbor SNF-GUEST peer-group
 neighbor SNF-GUEST password another
exit
!
route-map SNF-GUEST permit 10
 set local-preference 148
exit
"""
CHECKED = "  neighbor snf-guest-tap0-4 prefix-list snf-guest-tap0-4 in\n"
LISTED = "ip prefix-list snf-guest-tap0-4 seq 2 permit 203.0.113.7/32\n"


def told(running: str = ADMINS, file: str = FILE) -> str:
    """The running configuration with all that is to be said to it, in our order."""
    (one,) = compare({"tap0": file}, running).different
    assert one.tap == "tap0"
    return running + "".join(f"{line}\n" for line in one.do if not line.startswith("router"))


def after() -> str:
    """That of a node with a guest."""
    return told(told())


def test_it_gets_what_the_file_says_and_what_the_admin_says_of_all() -> None:
    """And the neighbours once it has the rest."""
    (one,) = compare({"tap0": FILE}, ADMINS).different
    assert one.undo == () and one.do.count("router bgp 65001") == 2, "one for each family"
    place = one.do.index(" neighbor snf-guest-tap0-4 peer-group")
    assert one.do[place + 1 : place + 3] == (
        " neighbor snf-guest-tap0-4 password secret",
        " neighbor snf-guest-tap0-4 timers 10 30",
    )
    neighbours = [line for line in FILE.splitlines() if line.startswith((" neighbor 1", " neighbor 2"))]
    assert [line for line in one.do if " password " not in line and " timers " not in line] == [
        line.replace("router bgp", "router bgp 65001") for line in FILE.splitlines() if line not in neighbours
    ]
    (last,) = compare({"tap0": FILE}, told()).different
    assert last.undo == () and last.do == ("router bgp 65001", *neighbours, "exit")
    assert compare({"tap0": FILE}, after()) == Sessions()
    (again,) = compare({"tap0": FILE}, told().replace(CHECKED, "")).different
    assert again.undo and not set(neighbours) & {*again.do}, "not without its filter"


@pytest.mark.parametrize(
    ("old", "new"),
    (
        (CHECKED, ""),
        (LISTED, ""),
        (LISTED, f"{LISTED}ip prefix-list snf-guest-tap0-4 seq 9 permit any\n"),
        (" neighbor snf-guest-tap0-4 password secret\n", ""),
        (" neighbor SNF-GUEST password secret\n", ""),
        ("remote-as 4200000010", "remote-as 4200000011"),
        (" neighbor 198.51.100.10 peer-group", " neighbor 198.51.100.11 peer-group"),
    ),
)
def test_what_differs_is_taken_away_and_made_again(old: str, new: str) -> None:
    running = after()
    assert old in running
    (one,) = compare({"tap0": FILE}, running.replace(old, new)).different
    assert one.undo == (
        "router bgp 65001",
        " no neighbor snf-guest-tap0-4 peer-group",
        " no neighbor snf-guest-tap0-6 peer-group",
        "exit",
        "no ip prefix-list snf-guest-tap0-4",
        "no ipv6 prefix-list snf-guest-tap0-6",
    )
    assert one.do[-1] == "exit"


def test_what_has_no_tap_goes_and_a_tap_has_any_name() -> None:
    (one,) = compare({}, after()).different
    assert one.do == () and one.undo
    other = FILE.replace("tap0", "a-4.x_6")
    (one,) = compare({"a-4.x_6": other}, ADMINS).different
    assert one.do
    only = "ip prefix-list snf-guest-tap0-4 seq 1 permit 198.51.100.10/32\n"
    (one,) = compare({}, only).different
    assert one.undo == ("no ip prefix-list snf-guest-tap0-4",), "without a router"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    (
        ("router bgp 65001", "router bgp 65001 vrf blue", "no router bgp"),
        (" no bgp default ipv4-unicast\n", "", "no line `no bgp default ipv4-unicast`"),
        (" neighbor SNF-GUEST peer-group\n", "", "no peer group SNF-GUEST"),
        ("route-map SNF-GUEST ", "route-map OTHER ", "no route map SNF-GUEST"),
        ("exit\n", " bgp default ipv6-unicast\nexit\n", "line `bgp default ipv6-unicast`"),
    ),
)
def test_nothing_is_made_without_what_it_depends_on(old: str, new: str, words: str) -> None:
    """What is there stays, and what is too much goes all the same."""
    refused = f"FRR has {words} (docs/fabric.md)"
    assert compare({"tap0": FILE}, ADMINS.replace(old, new, 1)) == Sessions((), refused)
    assert compare({"tap0": FILE}, after().replace(old, new, 1)) == Sessions((), refused)
    assert len(compare({"tap1": FILE}, after().replace(old, new, 1)).different) == 1
