"""A bridge that filters VLANs: membership as in stock Ganeti, with frames of real taps and a real trunk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from copy import copy
from typing import Any

import pytest

from tests.blocks import block
from tests.netns.lab import Lab, Machine, environment, settled, traces
from tests.qemu.taps import BARE, CLEAN, Shout, Switch, Tap, play, snf_network

pytestmark = pytest.mark.vm()
ENV = environment("start-nonet-ifup-1", LINK="lan0", BRIDGE="lan0")
NICS = {"a": ".100", "b": ".100", "other": ".200", "trunk": ":100:200", "hybrid": ".200:100", "plain": ""}
ACCESS, TAGGED = ["PVID", "Egress Untagged"], None
MEMBER = {
    ".100": {100: ACCESS},
    ".200": {200: ACCESS},
    ":100:200": {100: TAGGED, 200: TAGGED},
    ".200:100": {200: ACCESS, 100: TAGGED},
    "": {1: ACCESS},
    "100": {100: ACCESS},
}
"""What `bridge vlan show` says of a port with that VLAN; 1 is the bridge's default."""


@pytest.fixture(scope="module")
def site() -> Iterator[Switch]:
    """One for all tests: a machine takes a second here. Each test brings up what it needs."""
    with closing(Lab()) as lab:
        node, far = lab.machine("node1"), lab.machine("switch")
        lab.cable(node, "eth2", far, "trunk")
        far.run(
            "ip",
            "-batch",
            "-",
            input="link set trunk up\n"
            + "".join(
                f"link add link trunk name trunk.{vid} type vlan id {vid}\nlink set trunk.{vid} up\n"
                for vid in (100, 200, 300)
            ),
        )
        node.run(
            "ip",
            "-batch",
            "-",
            input="link add lan0 type bridge vlan_filtering 1 forward_delay 0 mcast_snooping 0\n"
            "link set lan0 up\nlink set eth2 master lan0 up\n",
        )
        made = Switch.joined(node, far, ENV, NICS)
        settled(node)
        yield made


def membership(node: Machine, port: str) -> dict[int, Any]:
    listed = json.loads(node.out("bridge", "-j", "vlan", "show", "dev", port))
    return {vlan["vlan"]: vlan.get("flags", TAGGED) for entry in listed for vlan in entry["vlans"]}


IN_100 = {"a": BARE, "b": BARE, "trunk": 100, "hybrid": 100, "vlan100": BARE}
IN_200 = {"other": BARE, "trunk": 200, "hybrid": BARE, "vlan200": BARE}


def but(heard: dict[str, int], *names: str) -> dict[str, int]:
    return {name: tag for name, tag in heard.items() if name not in names}


PINNED = "snf-network:0:ip-filtered"
ENDS = (
    Shout("vlan100", (), but(IN_100, "vlan100")),
    Shout("vlan200", (), but(IN_200, "vlan200", "trunk", "hybrid")),
    Shout("a", (), {"vlan100": BARE}),
    Shout("other", (), {"vlan200": BARE}),
)
"""The last that each hears, but those that hear nothing: plain is alone in the VLAN of the bridge, nobody is
in 300.
"""


def test_who_hears_whom(site: Switch) -> None:
    shouts = [
        Shout("a", (), but(IN_100, "a")),
        Shout("b", (), but(IN_100, "b")),
        Shout("other", (), but(IN_200, "other")),
        Shout("hybrid", (), but(IN_200, "hybrid")),
        Shout("hybrid", (100,), but(IN_100, "hybrid")),
        Shout("trunk", (100,), but(IN_100, "trunk")),
        Shout("trunk", (200,), but(IN_200, "trunk")),
        Shout("trunk", (), {}),
        Shout("trunk", (300,), {}),
        Shout("trunk", (1,), {}),
        Shout("a", (200,), {}),
        Shout("a", (1,), {}),
        Shout("a", (200, 100), {}),
        Shout("plain", (), {}),
        Shout("plain", (100,), {}),
        Shout("vlan100", (), but(IN_100, "vlan100")),
        Shout("vlan200", (), but(IN_200, "vlan200")),
        Shout("vlan300", (), {}),
    ]
    heard, wanted = play(site.parties, shouts, ENDS)
    assert heard == wanted


@pytest.mark.parametrize(
    ("tags", "in_100", "in_200"),
    ((PINNED, {}, {}), (f"{PINNED} snf-network:0:trunk", but(IN_100, "trunk"), but(IN_200, "trunk"))),
)
def test_pinned_trunk_has_its_vlans_by_tag_and_its_own_mac_in_them(
    site: Switch, tags: str, in_100: dict[str, int], in_200: dict[str, int]
) -> None:
    tap = site.parties["trunk"]
    assert isinstance(tap, Tap)
    forger = copy(tap)
    forger.mac = "aa:00:00:00:66:66"
    shouts = [
        Shout("trunk", (100,), in_100),
        Shout("trunk", (200,), in_200),
        Shout("forger", (100,), {}),
        Shout("forger", (200,), {}),
        Shout("trunk", (), {}),
        Shout("trunk", (300,), {}),
        Shout("trunk", (0,), {}),
    ]
    site.up("trunk", TAGS=tags)
    heard, wanted = play({**site.parties, "forger": forger}, shouts, ENDS, list(site.parties))
    site.up("trunk")
    assert heard == wanted


@pytest.mark.parametrize("name", NICS)
def test_no_port_has_more_than_its_vlans(site: Switch, name: str) -> None:
    """The VLAN that the bridge puts a new port into is the port's only if it asked for none."""
    assert membership(site.node, site.env(name)["INTERFACE"]) == MEMBER[NICS[name]]


def test_uplink_is_in_all_vlans(site: Switch) -> None:
    assert membership(site.node, "eth2") == {1: ACCESS, 100: TAGGED, 200: TAGGED}


def test_check_shows_what_was_taken_and_given(site: Switch) -> None:
    """From an access port, a trunk, the uplink, and to a port that must not have it; and a port whose VLAN
    became tagged.
    """
    node = site.node
    assert snf_network(node, "check") == CLEAN
    tap, other, trunk = (site.env(name)["INTERFACE"] for name in ("a", "b", "trunk"))
    changes = (
        f"del dev {tap} vid 100",
        f"del dev {trunk} vid 200",
        "del dev eth2 vid 100",
        f"add dev {tap} vid 1 pvid untagged",
        f"add dev {other} vid 100",
    )
    node.run("bridge", "-batch", "-", input="".join(f"vlan {words}\n" for words in changes))
    status, said = snf_network(node, "check")
    assert status == 1
    missing = {line.split(None, 2)[2] for line in said.splitlines() if line.startswith("missing ")}
    assert missing == {
        f"vlan add dev {tap} vid 100 pvid untagged master",
        f"vlan add dev {trunk} vid 200 master",
        "vlan add dev eth2 vid 100 master",
        f"vlan del dev {tap} vid 1 master",
        f"vlan add dev {other} vid 100 pvid untagged master",
    }
    assert snf_network(node, "repair")[0] == 0
    assert {port: membership(node, port) for port in (tap, other, trunk, "eth2")} == {
        tap: MEMBER[".100"],
        other: MEMBER[".100"],
        trunk: MEMBER[":100:200"],
        "eth2": {1: ACCESS, 100: TAGGED, 200: TAGGED},
    }


def test_vlan_of_a_live_nic_changes(site: Switch) -> None:
    """Of what it had before, nothing stays; and without VLAN it has what the bridge gives a new port."""
    tap, names = site.env("a")["INTERFACE"], ("a", "b", "other")
    end = Shout("vlan100", (), {"b": BARE}), Shout("vlan200", (), {"other": BARE})
    for vlan, shouts in {
        ".200": [Shout("a", (), {"other": BARE}), Shout("b", (), {}), Shout("other", (), {"a": BARE})],
        ":100:200": [
            Shout("a", (), {}),
            Shout("a", (100,), {"b": BARE}),
            Shout("b", (), {"a": 100}),
            Shout("other", (), {"a": 200}),
        ],
        "100": [Shout("a", (), {"b": BARE}), Shout("other", (), {})],
        "": [Shout("a", (), {}), Shout("b", (), {}), Shout("other", (), {})],
        ".100": [Shout("a", (), {"b": BARE}), Shout("b", (), {"a": BARE}), Shout("other", (), {})],
    }.items():
        site.up("a", VLAN=vlan)
        assert membership(site.node, tap) == MEMBER[vlan], vlan
        heard, wanted = play(site.parties, shouts, end, names)
        assert heard == wanted, vlan


def test_guest_that_stopped_without_an_ifdown(site: Switch) -> None:
    """Its tap is gone, and another instance has the name: the VLAN of the first is not the second's."""
    tap = site.parties["a"]
    assert isinstance(tap, Tap)
    tap.close()
    site.parties["a"] = Tap(site.node, tap.name, "aa:00:00:00:02:00")
    site.up("a", VLAN=".200", INSTANCE="next", INTERFACE_UUID="next")
    assert membership(site.node, tap.name) == MEMBER[".200"]
    site.node.down(site.env("a", INSTANCE="next", INTERFACE_UUID="next"))


def test_down_takes_it_back(site: Switch) -> None:
    for name in ("b", "trunk"):
        site.node.down(site.env(name))
        tap = site.env(name)["INTERFACE"]
        assert membership(site.node, tap) == {}
        assert '"master"' not in site.node.out("ip", "-j", "link", "show", "dev", tap)
        assert not [line for line in traces(site.node) if tap in line]
    assert snf_network(site.node, "check") == CLEAN


def test_bridge_without_a_default(site: Switch) -> None:
    """vlan_default_pvid 0: a new port is in no VLAN, and there is nothing to take away. Any other is a
    finding of `snf-network doctor`.
    """
    assert len(default_pvids(site.node)) == 1
    site.node.ip("link set lan0 type bridge vlan_default_pvid 0")
    assert default_pvids(site.node) == []
    site.up("a")
    assert membership(site.node, site.env("a")["INTERFACE"]) == {100: ACCESS}
    site.node.down(site.env("a"))


def default_pvids(node: Machine) -> list[str]:
    """What the doctor says of bridges with a default VLAN."""
    found = json.loads(snf_network(node, "doctor", "--json")[1])
    return [one["what"] for one in found if one["check"] == "default-pvid"]


@pytest.mark.parametrize("vlan", (".300", ":100:300"))
def test_vlan_that_never_reaches_the_bridge(site: Switch, vlan: str) -> None:
    """A VLAN device on the uplink takes its frames before the bridge sees them: stock Ganeti refuses, too."""
    site.node.ip("link add link eth2 name eth2.300 type vlan id 300")
    try:
        refused(site, vlan)
    finally:
        site.node.ip("link del eth2.300")


@pytest.mark.parametrize("vlan", (".100", ":100:200", ".200:100"))
def test_bridge_that_does_not_filter(site: Switch, vlan: str) -> None:
    """Every VLAN would reach every port."""
    site.node.ip("link set lan0 type bridge vlan_filtering 0")
    refused(site, vlan)


def refused(site: Switch, vlan: str) -> None:
    tap = site.env("a")["INTERFACE"]
    site.node.down(site.env("a"))
    ran = site.node.up(site.env("a", VLAN=vlan), check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"kvm-ifup-custom: VLAN={vlan}: ") and ran.stderr.count("\n") == 1
    assert '"master"' not in site.node.out("ip", "-j", "link", "show", "dev", tap)
    assert not [line for line in traces(site.node, records=False) if tap in line]


def test_the_bridge_and_the_nic_of_the_howto(lab: Lab) -> None:
    """Those of docs/howto/trunk.md: the lines of "On the nodes", and the NIC that its network gives a guest."""
    node, far = lab.machine("node3"), lab.machine("switch3")
    lab.cable(node, "eth3", far, "trunk")
    node.run("sh", "-exc", block("docs/howto/trunk.md", "On the nodes"))
    assert membership(node, "eth3") == {5: TAGGED, 6: TAGGED, 7: TAGGED}
    node.ip("tuntap add tap0 mode tap")
    tags = {"NETWORK_TAGS": "ip-filtered trunk", "IP": "10.0.5.1", "NETWORK_SUBNET": "10.0.5.0/24"}
    node.up({**ENV, **tags, "INTERFACE": "tap0", "LINK": "trunk0", "BRIDGE": "trunk0", "VLAN": ".5:6:7"})
    assert membership(node, "tap0") == {5: ACCESS, 6: TAGGED, 7: TAGGED}
    assert snf_network(node, "check") == CLEAN
