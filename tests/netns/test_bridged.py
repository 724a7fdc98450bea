"""Mode bridged with real packets: a NIC without a network or tag is a port of its bridge, as in stock Ganeti, and no more."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from tests.netns import corpus
from tests.netns import frames as f
from tests.netns.corpus import FORGED, LEGAL, Case, allow_extra, by_hand, to_all
from tests.netns.lab import Ear, Lab, Machine, drops, environment, send, settled, traces, without_rules

ENV = environment("start-nonet-ifup-1")
TAP, MAC, OTHER = ENV["INTERFACE"], ENV["MAC"], "aa:00:00:00:00:11"
SECOND = {**ENV, "INTERFACE": "tap9", "MAC": OTHER, "INTERFACE_UUID": "other", "INSTANCE": "other"}


def link(node: Machine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.out("ip", "-j", "link", "show", "dev", name))[0]
    return found


def site(lab: Lab) -> tuple[Machine, Machine, Machine]:
    node = lab.node("node1", lab.router())
    guests = [lab.guest(node, env["INTERFACE"], env["MAC"], f"203.0.113.{number}/24", f"2001:db8:b::{number}/64")
              for number, env in enumerate((ENV, SECOND), 1)]
    for env in (ENV, SECOND):
        assert node.up(env).stderr == ""
    settled(node)
    return node, *guests


@pytest.fixture(scope="module")
def still() -> Iterator[tuple[Machine, Machine, Machine]]:
    """One site for all tests that only look."""
    with closing(Lab()) as lab:
        yield site(lab)


@pytest.mark.parametrize("address", ("203.0.113.2", "2001:db8:b::2", f"{f.eui64(OTHER)}%eth0"))
def test_guests_of_a_bridge_talk(still: tuple[Machine, Machine, Machine], address: str) -> None:
    assert still[1].ping(address)


def test_any_source_and_any_ethertype_passes(still: tuple[Machine, Machine, Machine]) -> None:
    """No tag asked for a filter."""
    _, one, other = still
    ear = Ear(other, "eth0")
    sent = (f.ethernet("aa:00:00:00:00:66", f.BROADCAST, f.arp(1, "aa:00:00:00:00:66", "203.0.113.66", "203.0.113.9")),
            f.ethernet(MAC, f.BROADCAST, (f.LOCAL, b"\0\0text")), f.ethernet(MAC, f.BROADCAST, (f.LOCAL, b"\0\0text"), (f.VLAN, 5)),
            f.ethernet(MAC, OTHER, f.dhcp(MAC, 2, "203.0.113.1")))
    send(one, "eth0", *(f.stamp(frame, number) for number, frame in enumerate(sent, 1)))
    assert ear.tokens(4) >= {1, 2, 3, 4}


def test_mac_of_the_tap_is_never_the_lowest(lab: Lab) -> None:
    """A bridge takes the lowest MAC of its ports: with the guest's own on the tap, it would be the guest's."""
    node = lab.node("node1", lab.router())
    node.ip("link add port type veth peer name far", "link set port address ee:00:00:00:00:01 master prv0 up")
    lab.guest(node, TAP, MAC)
    node.up(ENV)
    assert link(node, TAP)["address"] == f"fe{MAC[2:]}"
    assert link(node, "prv0")["address"] == "ee:00:00:00:00:01"


def test_tap_has_the_mtu_of_its_bridge(lab: Lab) -> None:
    node = lab.node("node1", lab.router())
    node.ip("link set prv0 mtu 1280")
    lab.guest(node, TAP, MAC)
    node.up(ENV)
    assert link(node, TAP)["mtu"] == 1280
    assert link(node, "prv0")["mtu"] == 1280


def test_mtu_of_a_bridge_with_large_frames(lab: Lab) -> None:
    """A tap of 1500 would pull the bridge down to its own MTU."""
    node = lab.node("node1", lab.router())
    node.ip("link add port type veth peer name far", "link set port mtu 9000 master prv0 up", "link set far up")
    assert link(node, "prv0")["mtu"] == 9000
    lab.guest(node, TAP, MAC)
    node.up(ENV)
    assert link(node, TAP)["mtu"] == 9000
    assert link(node, "prv0")["mtu"] == 9000


def test_tap_in_a_wrong_bridge_is_moved(lab: Lab) -> None:
    node, one, other = site(lab)
    node.ip("link add wrong type bridge forward_delay 0", "link set wrong up", f"link set {TAP} master wrong")
    assert not one.ping("203.0.113.2", wait=0.2)
    node.up(ENV)
    settled(node)
    assert link(node, TAP)["master"] == "prv0"
    assert other.ping("203.0.113.1")


def test_nic_goes_to_another_bridge(lab: Lab) -> None:
    """An instance that was given another LINK: the record of the first one does not stay."""
    node, one, other = site(lab)
    node.ip("link add prv1 type bridge forward_delay 0", "link set prv1 up")
    node.up({**ENV, "LINK": "prv1", "BRIDGE": "prv1"})
    assert link(node, TAP)["master"] == "prv1"
    assert not one.ping("203.0.113.2", wait=0.2)
    node.up({**SECOND, "LINK": "prv1", "BRIDGE": "prv1"})
    settled(node)
    assert other.ping("203.0.113.1")


@pytest.mark.parametrize("bridge", ("missing", "eth1"))
def test_no_such_bridge(lab: Lab, bridge: str) -> None:
    node = lab.node("node1", lab.router())
    lab.guest(node, TAP, MAC)
    ran = node.up({**ENV, "LINK": bridge}, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"kvm-ifup-custom: LINK={bridge} is not a bridge")
    assert ran.stderr.count("\n") == 1
    assert link(node, TAP)["operstate"] == "DOWN"
    assert traces(node, records=False) == []


def test_nothing_is_left_after_down(lab: Lab) -> None:
    node, _, other = site(lab)
    node.down(ENV)
    assert not [line for line in traces(node) if TAP in line]
    assert "master" not in link(node, TAP)
    assert link(node, TAP)["operstate"] == "DOWN"
    assert not other.ping("203.0.113.1", wait=0.2)
    node.down(SECOND)
    assert traces(node) == []


# --- the pins of the bridge: no tag of ours asks for all of them yet, so their sets are filled by hand

ONE_LINK_LOCAL = {
    "UDP from a free link-local": "ip6-ll-src", "NA for a free link-local": "ip6-ll-src", "DAD for a free link-local": "dad-target",
    "RA from a free link-local": "ip6-ll-src", "RS from a free link-local": "ip6-ll-src",
}
"""What a bridge takes otherwise than a routed tap does: only the link-local address that the MAC gives."""
ANSWERED = dict.fromkeys(("DHCP DISCOVER", "DHCP renewal", "DHCPv6 SOLICIT", "RS", "RS from ::"), "answered")
"""What is dropped where nfdhcpd serves the NIC on its tap, and passes where it does not."""
SERVERS = ("ra", "redirect", "dhcp-server")
"""Why a guest that is served must not serve others; one that is not, may."""
MAC_ONLY = ("src-mac", "tagged", "tunnel")
"""All that a private-filtered NIC is held to; an address it may choose."""
GUARDED = ("tagged", "tunnel", *SERVERS)
"""What a NIC without a filter is held to once it is served; before, nothing."""
SERVED = {
    **ANSWERED, **dict.fromkeys(("RS with another's MAC", "RS from a free link-local"), "answered"), "RA from a free link-local": "ra",
    "RA behind options": "ra", "UDP header cut by the fragment": "ext-cut",
}
"""What a served NIC without address pins has dropped for another reason, or beside."""
UNFILTERED = {"MAC of another, DHCP": "answered", "802.1Q, MAC of another": "tagged"}
OWN, FOREIGN = corpus.MAC, corpus.OTHER_MAC
ETHERNET = (
    Case("RARP of its own", to_all(f.rarp(OWN))),
    Case("RARP of another", to_all(f.rarp(FOREIGN)), "rarp"),
    Case("RARP frame from another MAC", to_all(f.rarp(OWN), FOREIGN), "src-mac"),
    Case("other ethertype", to_all((f.LOCAL, b"\0\0text")), "ethertype"),
    Case("other ethertype, MAC of another", to_all((f.LOCAL, b"\0\0text"), FOREIGN), "src-mac"),
    Case("802.1Q", f.ethernet(OWN, f.BROADCAST, f.udp(corpus.IP, corpus.NODE), (f.VLAN, 5)), "tagged"),
    Case("802.1Q, priority only", f.ethernet(OWN, f.BROADCAST, f.arp(1, OWN, corpus.IP, corpus.GATEWAY), (f.VLAN, 0)), "tagged"),
    Case("802.1ad", f.ethernet(OWN, f.BROADCAST, f.udp(corpus.IP, corpus.NODE), (f.QINQ, 5)), "tagged"),
    Case("802.1Q, MAC of another", f.ethernet(FOREIGN, f.BROADCAST, f.udp(corpus.IP, corpus.NODE), (f.VLAN, 5)), "src-mac"),
)
ALL = (*FORGED, *LEGAL, *ETHERNET)
END = 900


class Played(NamedTuple):
    """What the node's bridge device heard, and what was counted."""

    heard: set[int]
    dropped: Counter[tuple[str, str]]


class Pinned(NamedTuple):
    """Of a NIC that nfdhcpd does not serve, of one that it serves, and of one without our rules."""

    plain: Played
    served: Played
    free: Played


@pytest.fixture(scope="module", params=("all", "mac", "none"))
def pinned(request: pytest.FixtureRequest) -> Iterator[tuple[str, Pinned]]:
    """All frames, three times, from a NIC of which everything is pinned, from one of which only the MAC is, and from one without pins."""
    with closing(Lab()) as lab:
        node = lab.node("node1", lab.router())
        node.ip(f"link set prv0 address {corpus.TAP_MAC}", "link set prv0 type bridge mcast_snooping 0")
        guest = lab.guest(node, TAP, OWN)
        node.up({**ENV, "MAC": OWN})
        node.script("snf-network", {}, "load")
        settled(node)
        allow_extra(node, "bridge", TAP)
        if request.param != "none":
            by_hand(node, "bridge", macs=f"{TAP} . {OWN}", **{f"{'ip' if request.param == 'all' else 'mac'}_pinned": TAP})
        if request.param == "all":
            mac, *targets = (f"{TAP} . 0x{f.octets(address).hex()}" for address in (OWN, corpus.IP6, corpus.LINK_LOCAL))
            by_hand(node, "bridge", src4=f"{TAP} . {OWN} . {corpus.IP}", ndmacs=mac, targets=", ".join(targets),
                    src6=f"{TAP} . {OWN} . {corpus.IP6}, {TAP} . {OWN} . {corpus.LINK_LOCAL}")
        ear = Ear(node, "prv0")

        def play(start: int) -> Played:
            before = drops(node, "bridge") if start < 3000 else Counter()
            send(guest, "eth0", *(f.stamp(case.frame, number) for number, case in enumerate(ALL, start)),
                 f.stamp(to_all(f.udp(corpus.IP, corpus.NODE)), start + END))
            heard = {number - start for number in ear.tokens(start + END) if start <= number < start + END}
            return Played(heard, drops(node, "bridge") - before if start < 3000 else Counter())

        plain = play(1000)
        by_hand(node, "bridge", served=TAP)
        served = play(2000)
        without_rules(node)
        yield request.param, Pinned(plain, served, play(3000))


def reason(case: Case, pins: str, served: bool) -> str:
    """Why a bridge drops it; empty where it passes."""
    if pins == "none":
        why = UNFILTERED.get(case.name, case.reason if case.reason in GUARDED else "")
        return SERVED.get(case.name, why) if served else ""
    if pins == "mac":
        why = case.reason if case.reason in MAC_ONLY or (served and case.reason in SERVERS) else ""
        return SERVED.get(case.name, why) if served else why
    why = ONE_LINK_LOCAL.get(case.name, case.reason)
    return ANSWERED.get(case.name, why) if served else why if why not in SERVERS else ""


@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_pinned_nic(pinned: tuple[str, Pinned], case: Case) -> None:
    (pins, played), number = pinned, ALL.index(case)
    assert number in played.free.heard, "it does not come through without our rules either: this test shows nothing"
    assert (number in played.plain.heard) is not bool(reason(case, pins, False))
    assert (number in played.served.heard) is not bool(reason(case, pins, True))


@pytest.mark.parametrize("served", (False, True))
def test_each_drop_of_a_pinned_nic_is_counted_with_its_reason(pinned: tuple[str, Pinned], served: bool) -> None:
    pins, played = pinned
    counted = played.served.dropped if served else played.plain.dropped
    assert counted == Counter((TAP, why) for case in ALL if (why := reason(case, pins, served)))
