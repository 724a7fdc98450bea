"""Random NICs and random frames: the kernel does with each frame what ten lines of Python predict."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import TAP_MAC
from snf_network.selftest.site import Site, environment
from snf_network.selftest.world import Ear, bridge_netfilter, drops, send, witnessed
from tests.netns.lab import until

GATEWAY, GATEWAY6, ANYBODY, NODE, NODE6 = (
    "198.51.100.1",
    "2001:db8:1::1",
    "203.0.113.9",
    "192.0.2.1",
    "2001:db8:ffff::1",
)
ROUTER, FREE = f.eui64(TAP_MAC), "fe80::77"
MACS = [
    *(f"aa:55:60:00:00:{number:02x}" for number in (1, 3, 4)),
    "aa:55:60:5e:01:0a",
    "aa:55:60:66:00:01",
    TAP_MAC,
]
PLACES4 = [
    *(f"198.51.100.{10 + number}" for number in (1, 3, 4)),
    GATEWAY,
    ANYBODY,
    "0.0.0.0",
    "198.51.100.200",
    "203.0.114.5",
    "203.0.115.5",
]
PLACES6 = [
    *(f.eui64(mac, "2001:db8:1::") for mac in MACS[:3]),
    *map(f.eui64, MACS[:3]),
    GATEWAY6,
    ROUTER,
    FREE,
    "2001:db8:1::200",
    "2001:db8:77::5",
    "2001:db8:77:1::5",
    "2001:db8:78::5",
    "2001:db8:79:1::5",
]
ALLOW = [
    "allow:198.51.100.200",
    "allow:203.0.114.0/24",
    "allow:2001:db8:1::200",
    "allow:2001:db8:77::/64",
    "allow:2001:db8:78:8000::/49",
    "allow:2001:db8:79::/63",
    "allow:fe80::/10",
    "mac:aa:55:60:5e:01:0a",
]
TAGS = ["ip-filtered", "private-filtered", "nfdhcpd"]
KINDS = [
    "udp",
    "udp6",
    "arp",
    "probe",
    "ns",
    "na",
    "dad",
    "ra",
    "redirect",
    "discover",
    "offer",
    "rarp",
    "other",
]


class Nic(NamedTuple):
    """One of the site's guests, and what its tags say."""

    number: int
    routed: bool
    tags: frozenset[str]
    allow: frozenset[str]

    @property
    def mac(self) -> str:
        return f"aa:55:60:00:00:{self.number:02x}"

    def may(self, address: str) -> bool:
        """True if an address is its own, or allowed."""
        own = {f"198.51.100.{10 + self.number}", f.eui64(self.mac, "2001:db8:1::"), f.eui64(self.mac)}
        if self.routed and ip_address(address).is_link_local:
            return address != ROUTER
        return address in own or any(
            ip_address(address) in ip_network(word[6:]) for word in self.allow if word.startswith("allow:")
        )


class Frame(NamedTuple):
    """What a frame says; not every kind says all of it."""

    kind: str
    mac: str
    sender: str
    """MAC in ARP, RARP and the options of neighbour discovery."""
    ip: str
    ip6: str
    about: str
    tagged: bool

    def octets(self) -> bytes:
        option = f.option(f.TARGET if self.kind == "na" else f.SOURCE, self.sender)
        packet = {
            "udp": lambda: f.udp(self.ip, NODE),
            "udp6": lambda: f.udp(self.ip6, NODE6),
            "arp": lambda: f.arp(2, self.sender, self.ip, NODE),
            "probe": lambda: f.arp(1, self.sender, "0.0.0.0", self.ip),
            "ns": lambda: f.ns(self.ip6, self.about, option),
            "na": lambda: f.na(self.ip6, self.about, option),
            "dad": lambda: f.ns("::", self.about),
            "ra": lambda: f.ra(self.ip6),
            "redirect": lambda: f.redirect(self.ip6, f.ALL_NODES, self.about, self.ip6),
            "discover": lambda: f.dhcp(self.sender, 1),
            "offer": lambda: f.dhcp(self.sender, 2, self.ip),
            "rarp": lambda: f.rarp(self.sender),
            "other": lambda: (f.LOCAL, b"\0\0text"),
        }[self.kind]()
        return f.ethernet(self.mac, f.BROADCAST, packet, *((f.VLAN, 5),) * self.tagged)


def dropped(nic: Nic, frame: Frame) -> bool:
    """The matrix."""
    kind, stations = frame.kind, {nic.mac, *(word[4:] for word in nic.allow if "mac:" in word)}
    pinned, served = nic.routed or "ip-filtered" in nic.tags, nic.routed or "nfdhcpd" in nic.tags
    stranger = frame.mac not in stations or (
        kind in ("arp", "probe") and not frame.tagged and frame.sender not in stations
    )
    if frame.tagged or (stranger and (pinned or "private-filtered" in nic.tags)):
        return bool(nic.tags or nic.routed)
    source = SOURCES.get(kind, "ip6") and getattr(frame, SOURCES.get(kind, "ip6"))
    forged = (
        kind == "other"
        or (kind in ("ns", "na", "rarp", "discover") and frame.sender not in stations)
        or bool(source and not nic.may(source))
        or (kind == "na" and not nic.may(frame.about))
    )
    return (
        (pinned and forged)
        or (served and kind in ("ra", "redirect", "offer"))
        or ("nfdhcpd" in nic.tags and kind == "discover")
    )


SOURCES = {
    "udp": "ip",
    "arp": "ip",
    "probe": "ip",
    "offer": "ip",
    "dad": "about",
    "rarp": "",
    "other": "",
    "discover": "",
}
"""Which address of a frame says whose it is, where that is not its IPv6 source."""


FRAMES = st.builds(
    Frame,
    st.sampled_from(KINDS),
    st.sampled_from(MACS),
    st.sampled_from(MACS),
    st.sampled_from(PLACES4),
    st.sampled_from(PLACES6),
    st.sampled_from(PLACES6),
    st.sampled_from([False, False, False, True]),
)
TO_A_TAP = FRAMES.filter(lambda frame: frame.kind not in ("other", "rarp") and not frame.tagged)
ALLOWED = st.frozensets(st.sampled_from(ALLOW))
BRIDGED = st.builds(
    Nic, st.sampled_from([3, 4]), st.just(False), st.frozensets(st.sampled_from(TAGS)), ALLOWED
)
ROUTED = st.builds(
    Nic, st.just(1), st.just(True), st.sampled_from([frozenset(), frozenset({"ip-less-routed"})]), ALLOWED
)


@pytest.fixture(scope="module")
def site(bridge_nf: bool) -> Iterator[Site]:
    with ExitStack() as stack:
        made = Site(stack)
        bridge_netfilter(made.node, bridge_nf)
        seen.update(routed=[0, 0], bridged=[0, 0])
        for guest in made.guests:
            if guest.number not in (1, 3, 4):
                made.node.script("kvm-ifdown-custom", environment(guest))
        yield made


numbers = itertools.count(1)
seen = {"routed": [0, 0], "bridged": [0, 0]}
"""How many frames the model lets pass, and how many not: a model that only ever says one thing shows nothing.
"""


def own(nic: Nic) -> Frame:
    """A frame that passes whatever the tags are."""
    return Frame("udp", nic.mac, nic.mac, f"198.51.100.{10 + nic.number}", "", "", False)


def heard_by(site: Site, nic: Nic, frames: list[Frame]) -> list[bool]:
    """Which of the frames pass, sent from the tap of a NIC that was just brought up so."""
    guest = site.guests[nic.number - 1]
    env = environment(guest) | {
        "NETWORK_TAGS": " ".join(nic.tags),
        "TAGS": " ".join(f"snf-network:0:{word}" for word in nic.allow),
    }
    site.node.script("kvm-ifup-custom", env)
    start = [next(numbers) for _ in range(len(frames) + 1)]
    assert start[-1] < 60000
    ear = Ear(site.peer, "eth0")
    with closing(ear.socket):
        send(
            site.guest,
            guest.tap,
            *(
                f.stamp(frame.octets(), number)
                for frame, number in zip([*frames, own(nic)], start, strict=True)
            ),
        )
        heard = ear.tokens(start[-1]) if not nic.routed else set()
    if nic.routed:
        assert until(lambda: start[-1] in witnessed(site.node))
        heard = witnessed(site.node)
    return [number in heard for number in start[:-1]]


def agree(site: Site, nic: Nic, frames: list[Frame], mode: str) -> None:
    """The kernel and the model, on each frame."""
    for frame, heard in zip(frames, heard_by(site, nic, frames), strict=True):
        seen[mode][dropped(nic, frame)] += 1
        assert heard is not dropped(nic, frame), (nic, frame)


@settings(max_examples=40)
@given(nic=BRIDGED, frames=st.lists(FRAMES, min_size=20, max_size=40))
def test_bridged_nic(site: Site, nic: Nic, frames: list[Frame]) -> None:
    agree(site, nic, frames, "bridged")


@settings(max_examples=60)
@given(nic=ROUTED, frames=st.lists(TO_A_TAP, min_size=20, max_size=40))
def test_routed_nic(site: Site, nic: Nic, frames: list[Frame]) -> None:
    agree(site, nic, frames, "routed")


def test_both_verdicts_were_tried_often(site: Site) -> None:
    assert min(seen["bridged"]) > 100 and min(seen["routed"]) > 100, seen
    assert sum(drops(site.node).values()) >= seen["bridged"][True] + seen["routed"][True]
