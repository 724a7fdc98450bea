"""A bridge of networks.yaml that filters VLANs: its ports' VLANs, and the VLANs of NICs on it, as on a bridge
that an admin has made (test_vlans.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.netns.lab import Lab, Machine, settled
from tests.qemu.taps import BARE, CLEAN, Shout, Switch, play, snf_network
from tests.qemu.test_vlans import ENV, IN_100, IN_200, MEMBER, TAGGED, but, membership

pytestmark = pytest.mark.vm()
FILE = 'networks: {lan0: {kind: bridge, ports: [eth2], vlan_aware: true, vlans: "100,300-301"}}\n'
NICS = {"a": ".100", "b": ".100", "other": ".200", "trunk": ":100:200", "hybrid": ".200:100", "plain": ""}
ENDS = (
    Shout("vlan100", (), but(IN_100, "vlan100")),
    Shout("vlan200", (), but(IN_200, "vlan200", "trunk", "hybrid")),
    Shout("a", (), {"vlan100": BARE}),
    Shout("other", (), {"vlan200": BARE}),
)


@pytest.fixture(scope="module")
def site() -> Iterator[Switch]:
    with closing(Lab()) as lab:
        node, far = lab.machine("node1"), lab.machine("switch")
        lab.cable(node, "eth2", far, "trunk")
        node.ip("link set eth2 up")
        far.ip("link set trunk up")
        for vid in (100, 200, 300):
            far.ip(f"link add link trunk name trunk.{vid} type vlan id {vid}", f"link set trunk.{vid} up")
        node.write("/etc/snf-network/networks.yaml", FILE)
        status, said = snf_network(node, "net", "up")
        assert status == 0, said
        made = Switch.joined(node, far, ENV, NICS)
        settled(node)
        yield made


@pytest.fixture(autouse=True)
def as_before(site: Switch) -> Iterator[None]:
    yield
    site.node.write("/etc/snf-network/networks.yaml", FILE)
    assert snf_network(site.node, "net", "up")[0] == 0
    assert snf_network(site.node, "net", "check") == CLEAN and snf_network(site.node, "net", "up") == (0, "")


def uplink(node: Machine) -> set[int]:
    found = membership(node, "eth2")
    assert set(found.values()) == {TAGGED}
    return set(found)


def test_who_hears_whom(site: Switch) -> None:
    shouts = [
        Shout("a", (), but(IN_100, "a")),
        Shout("other", (), but(IN_200, "other")),
        Shout("hybrid", (), but(IN_200, "hybrid")),
        Shout("hybrid", (100,), but(IN_100, "hybrid")),
        Shout("trunk", (100,), but(IN_100, "trunk")),
        Shout("trunk", (200,), but(IN_200, "trunk")),
        Shout("trunk", (), {}),
        Shout("trunk", (300,), {}),
        Shout("a", (200,), {}),
        Shout("plain", (), {}),
        Shout("plain", (100,), {}),
        Shout("vlan100", (), but(IN_100, "vlan100")),
        Shout("vlan200", (), but(IN_200, "vlan200")),
        Shout("vlan300", (), {}),
    ]
    heard, wanted = play(site.parties, shouts, ENDS)
    assert heard == wanted


def test_who_is_in_which_vlan(site: Switch) -> None:
    """The uplink in those of the file, and in those of the NICs."""
    node = site.node
    for name, vlan in NICS.items():
        assert membership(node, site.env(name)["INTERFACE"]) == (MEMBER[vlan] if vlan else {}), name
    assert uplink(node) == {100, 200, 300, 301} and membership(node, "lan0") == {}
    assert snf_network(node, "check") == CLEAN


def test_what_somebody_changed_is_told_and_put_back(site: Switch) -> None:
    node = site.node
    node.ip("link set lan0 type bridge vlan_filtering 0")
    node.run("bridge", "vlan", "del", "dev", "eth2", "vid", "300")
    node.run("bridge", "vlan", "add", "dev", "eth2", "vid", "301", "pvid", "untagged")
    status, said = snf_network(node, "net", "check")
    assert status == 1 and said.splitlines()[1:] == [
        "lan0: missing: bridge vlan add dev eth2 vid 300 master",
        "lan0: missing: bridge vlan add dev eth2 vid 301 master",
    ]
    assert (
        "link set dev lan0 group 148 type bridge " in said and "vlan_filtering 1 vlan_default_pvid 0" in said
    )
    assert snf_network(node, "repair")[0] == 0 and uplink(node) == {100, 200, 300, 301}


def test_a_vlan_that_is_taken_out_of_the_file_stays_while_a_guest_is_in_it(site: Switch) -> None:
    node = site.node
    node.write("/etc/snf-network/networks.yaml", FILE.replace("100,300-301", "301"))
    assert snf_network(node, "net", "plan") == (0, "# lan0\nbridge vlan del dev eth2 vid 300 master\n")
    assert snf_network(node, "net", "up")[0] == 0 and uplink(node) == {100, 200, 301}
    assert snf_network(node, "net", "check") == CLEAN and snf_network(node, "check") == CLEAN


def test_a_bridge_that_shall_not_filter_any_more(site: Switch) -> None:
    """Without the key it stays as it is."""
    node = site.node
    lines = {FILE: True, "networks: {lan0: {kind: bridge, ports: [eth2]}}\n": True}
    lines["networks: {lan0: {kind: bridge, ports: [eth2], vlan_aware: false}}\n"] = False
    for text, filters in lines.items():
        node.write("/etc/snf-network/networks.yaml", text)
        assert snf_network(node, "net", "up")[0] == 0 and snf_network(node, "net", "check") == CLEAN
        said = node.read("/sys/class/net/lan0/bridge/vlan_filtering").strip()
        assert said == str(int(filters)), text
