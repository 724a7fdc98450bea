"""The virtual address of a VRRP pair: allowed to two routed guests, led to the one that announced it last,
and never to one that may not have it.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns import test_announce
from tests.netns.lab import Ear, Lab, Machine, drops, laboratory, lines, send, until
from tests.netns.test_announce import GATEWAY, GATEWAY6
from tests.netns.watching import LOG, WATCH, cpu_of

VIP, VIP6 = "198.51.100.100", "2001:db8:1::100"
VRRP_MAC = "00:00:5e:00:01:0b"
PAIR = " ".join(f"snf-network:0:{word}" for word in (f"allow:{VIP}", f"allow:{VIP6}", f"mac:{VRRP_MAC}"))
RECORD = "/var/lib/snf-network/tap6"
SECONDS = 1.0
"""Within which the route follows."""


def nic(number: int, tags: str = PAIR, **changes: str) -> dict[str, str]:
    """A NIC with tags of its instance."""
    return test_announce.nic(number, TAGS=tags, **changes)


ONE, OTHER, STRANGER = nic(3), nic(4), nic(5, tags="")


def garp_request(mac: str) -> bytes:
    """As keepalived and `arping -U` send it."""
    return f.ethernet(mac, f.BROADCAST, f.arp(1, mac, VIP, VIP, "00:00:00:00:00:00"))


def garp_reply(mac: str) -> bytes:
    """As `arping -A` sends it."""
    return f.ethernet(mac, f.BROADCAST, f.arp(2, mac, VIP, VIP, mac))


def garp_reply_to_all(mac: str) -> bytes:
    return f.ethernet(mac, f.BROADCAST, f.arp(2, mac, VIP, VIP, f.BROADCAST))


def advertisement(mac: str) -> bytes:
    """As keepalived sends it: unsolicited, from the address itself."""
    return f.ethernet(mac, f.group_mac(f.ALL_NODES), f.na(VIP6, VIP6, f.option(f.TARGET, mac)))


ANNOUNCED: dict[str, Callable[[str], bytes]] = {
    "gratuitous request": garp_request,
    "gratuitous reply": garp_reply,
    "gratuitous reply to all": garp_reply_to_all,
    "unsolicited NA": advertisement,
}


class Pair(NamedTuple):
    """A node with two guests that may have the address, and one that may not."""

    router: Machine
    node: Machine
    guests: dict[str, Machine]

    def take(self, env: dict[str, str]) -> None:
        """The guest becomes master: the others have the address no more. It has not announced it yet."""
        for name, guest in self.guests.items():
            verb = "replace" if name == env["INTERFACE"] else "del"
            for address in (f"{VIP}/32", f"{VIP6}/128"):
                nodad = " nodad" if ":" in address else ""
                guest.run("ip", *f"addr {verb} {address} dev eth0{nodad}".split(), check=False)

    def announce(self, env: dict[str, str], frame: Callable[[str], bytes], mac: str = "") -> None:
        send(self.guests[env["INTERFACE"]], "eth0", frame(mac or env["MAC"]))

    def leads_to(self, env: dict[str, str], address: str = VIP) -> bool:
        """True if the node's route leads to this guest."""
        family = "-6" if ":" in address else "-4"
        return f"dev {env['INTERFACE']} " in self.node.out(
            "ip", family, "route", "show", address, "table", "222"
        )

    def follows(self, env: dict[str, str], *addresses: str) -> bool:
        """True if the routes lead to this guest within a second."""
        return until(lambda: all(self.leads_to(env, address) for address in addresses), SECONDS)

    def reaches(self, address: str = VIP) -> bool:
        """True if the router reaches whoever has the address."""
        return self.router.ping(address, wait=0.3)

    def is_clean(self) -> None:
        """Neither NIC differs from its record."""
        ran = self.node.script("snf-network", {}, "check", check=False)
        assert (ran.returncode, ran.stdout) == (0, "clean\n"), ran.stdout

    def needs_no_repair(self) -> None:
        """As a repair sees it, which looks as `check` does."""
        assert "nothing to repair" in self.node.script("snf-network", {}, "repair").stdout

    def log(self, word: str) -> list[str]:
        return lines(self.node.read(LOG), word)


def guests_of(lab: Lab, router: Machine, node: Machine, *envs: dict[str, str]) -> Pair:
    """The guests of these NICs on a node with a /run of its own, where a watch says what it does; nothing is
    up yet.
    """
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    guests = {
        env["INTERFACE"]: lab.guest(
            *(
                node,
                env["INTERFACE"],
                env["MAC"],
                f"{env['IP']}/24",
                f"{f.eui64(env['MAC'], '2001:db8:1::')}/64",
            ),
            gateway=GATEWAY,
            gateway6=GATEWAY6,
        )
        for env in envs
    }
    return Pair(router, node, guests)


@pytest.fixture(scope="module")
def made() -> Iterator[Pair]:
    with laboratory() as lab:
        router = lab.router()
        yield guests_of(lab, router, lab.node("node1", router), ONE, OTHER, STRANGER)


@pytest.fixture
def pair(made: Pair) -> Pair:
    """All up, the first of them with the address, and nobody has announced anything."""
    for env in (OTHER, ONE, STRANGER):
        made.node.down(env)
    made.node.run("ip", "link", "set", "tap3", "up")
    made.node.write(LOG, "")
    for env in (ONE, OTHER, STRANGER):
        assert made.node.up(env).returncode == 0
    made.take(ONE)
    made.router.ip("neigh flush all", "-6 neigh flush all")
    return made


class Watching:
    """A watch on the node; as a context, it ends in any case."""

    def __init__(self, node: Machine) -> None:
        self.node = node
        before = len(lines(node.read(LOG), "watch: started"))
        self.process = subprocess.Popen(
            node.command(*WATCH), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert until(lambda: len(lines(node.read(LOG), "watch: started")) > before, 10)
        assert until(self.is_idle, 10)  # after the comparison at its start

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGTERM) -> bytes:
        self.process.send_signal(number)
        return self.process.communicate(timeout=30)[0]

    def is_idle(self) -> bool:
        before = self.seconds()
        time.sleep(0.2)
        return self.seconds() == before

    def seconds(self) -> float:
        """CPU time so far."""
        return cpu_of(self.process.pid)


@pytest.fixture
def watching(pair: Pair) -> Iterator[Watching]:
    with Watching(pair.node) as started:
        yield started
        assert started.end() == b""


# --- two NICs, one address


def test_both_are_up_and_the_first_has_it(pair: Pair) -> None:
    assert pair.reaches() and pair.reaches(VIP6) and pair.leads_to(ONE) and pair.leads_to(ONE, VIP6)
    assert len(pair.log("tap4")) == len(pair.log(f"{VIP}/32 stays with tap3")) + 2, pair.node.read(LOG)
    said = pair.node.read(LOG)
    assert "warning" not in said and "rror" not in said
    pair.is_clean()


def test_both_may_use_it_and_no_third(pair: Pair) -> None:
    for env in (ONE, OTHER):
        pair.take(env)
        assert pair.guests[env["INTERFACE"]].ping(GATEWAY, source=VIP) is pair.leads_to(env)
    ear = Ear(pair.router, "br0")
    for env in (ONE, OTHER, STRANGER):
        send(
            pair.guests[env["INTERFACE"]],
            "eth0",
            f.stamp(
                f.ethernet(env["MAC"], "cc:47:52:4e:45:54", f.udp(VIP, GATEWAY)), int(env["INTERFACE"][3:])
            ),
        )
    assert {f.token(frame) for _, frame in ear.frames(0.5)} & {3, 4, 5} == {3, 4}
    ear.socket.close()


def test_an_own_address_stays_its_own(pair: Pair) -> None:
    for changes in ({"IP": ONE["IP"]}, {"IP": VIP}, {"TAGS": f"snf-network:0:allow:{ONE['IP']}"}):
        ran = pair.node.up({**STRANGER, **changes}, check=False)
        assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1, (changes, ran.stderr)
    assert pair.leads_to(ONE) and pair.reaches()


def test_without_a_watch_it_stays(pair: Pair) -> None:
    pair.take(OTHER)
    for frame in ANNOUNCED.values():
        pair.announce(OTHER, frame)
    pair.is_clean()
    pair.needs_no_repair()
    assert pair.leads_to(ONE) and not pair.reaches()


@pytest.mark.parametrize("order", [(ONE, OTHER), (OTHER, ONE)], ids=["holder", "other"])
def test_it_is_handed_on_at_ifdown(pair: Pair, order: tuple[dict[str, str], dict[str, str]]) -> None:
    first, left = order
    pair.node.down(first)
    pair.take(left)
    handed = f"{VIP}/32 goes to {left['INTERFACE']}"
    assert len(pair.log(handed)) == (first is ONE)
    assert pair.leads_to(left) and pair.leads_to(left, VIP6) and pair.reaches() and pair.reaches(VIP6)
    pair.is_clean()
    pair.node.up(first)
    assert pair.leads_to(left)
    pair.is_clean()
    pair.node.down(first)
    pair.node.down(left)
    assert VIP not in pair.node.out("ip", "route", "show", "table", "222")
    assert VIP6 not in pair.node.out("ip", "-6", "route", "show", "table", "222")
    assert VIP not in pair.node.out("ip", "neigh", "show", "proxy")


def test_it_is_handed_on_when_it_is_allowed_no_more(pair: Pair) -> None:
    pair.node.up({**ONE, "TAGS": ""})
    pair.take(OTHER)
    assert pair.leads_to(OTHER) and pair.reaches() and pair.reaches(VIP6)
    assert len(pair.log(f"tap3: {VIP}/32 goes to tap4")) == 1
    pair.is_clean()


def test_repair_brings_it_back(pair: Pair) -> None:
    pair.node.ip(f"route del {VIP}/32 table 222", f"-6 route del {VIP6}/128 table 222")
    assert pair.node.script("snf-network", {}, "check", check=False).returncode == 1
    assert pair.node.script("snf-network", {}, "repair").returncode == 0
    assert pair.reaches() and pair.reaches(VIP6)
    pair.is_clean()


# --- it follows


@pytest.mark.parametrize("name", ANNOUNCED)
def test_it_follows_the_announcement(pair: Pair, watching: Watching, name: str) -> None:
    """Again and again, within a second, from the guest's own MAC and from that of VRRP."""
    frame, address = ANNOUNCED[name], VIP6 if "NA" in name else VIP
    for env, mac in ((OTHER, ""), (ONE, VRRP_MAC), (OTHER, VRRP_MAC)):
        pair.take(env)
        assert not pair.reaches(address)
        pair.announce(env, frame, mac)
        began = time.monotonic()
        assert pair.follows(env, address), pair.node.read(LOG)
        assert pair.reaches(address) and time.monotonic() - began < SECONDS
    pair.is_clean()
    pair.needs_no_repair()
    assert len(pair.log("has it now")) == 3
    assert not lines(pair.node.out("ip", "neigh", "show", "dev", "tap3"), address)
    assert watching.process.poll() is None


def test_nobody_else_can_have_it(pair: Pair, watching: Watching) -> None:
    before = sum(drops(pair.node, "arp").values()) + sum(drops(pair.node, "inet").values())
    for frame in ANNOUNCED.values():
        for mac in (STRANGER["MAC"], ONE["MAC"], VRRP_MAC):
            pair.announce(STRANGER, frame, mac)
    pair.announce(OTHER, garp_request, ONE["MAC"])
    time.sleep(0.5)
    assert pair.leads_to(ONE) and pair.leads_to(ONE, VIP6) and pair.reaches()
    assert VIP not in pair.node.out("ip", "neigh", "show", "dev", "tap5")
    after = sum(drops(pair.node, "arp").values()) + sum(drops(pair.node, "inet").values())
    assert after - before >= 13 and not pair.log("has it now")


def test_the_records_decide_if_the_pins_are_gone(pair: Pair, watching: Watching) -> None:
    """A guest whose pins somebody opened is heard by the kernel, but has no claim by its record."""
    member = f'{{ "tap5" . {STRANGER["MAC"]} . {VIP} }}'
    pair.node.run("nft", "add", "element", "arp", "snf_network", "src4", member)
    pair.node.sysctl("net/ipv4/conf/tap5/arp_accept", 1)
    pair.announce(STRANGER, garp_reply)
    assert until(lambda: VIP in pair.node.out("ip", "neigh", "show", "dev", "tap5"))
    time.sleep(0.3)
    assert pair.leads_to(ONE) and not pair.log("has it now")
    pair.node.run("nft", "delete", "element", "arp", "snf_network", "src4", member)


def test_the_uplink_hears_it(pair: Pair, watching: Watching) -> None:
    """From the node's own MAC: the guest that had the address may be on another node."""
    uplink = pair.node.read("/sys/class/net/eth1/address").strip()
    for env in (OTHER, OTHER):  # the second time the route does not move
        ear = Ear(pair.router, "br0")
        pair.announce(env, garp_request)
        assert ear.first(lambda frame: f.is_arp(frame, 2, VIP, VIP) and frame[6:12].hex(":") == uplink)
        ear.socket.close()
        time.sleep(3.5)


# --- it does not spin


def test_guests_that_announce_in_a_loop_are_followed_slowly(pair: Pair, watching: Watching) -> None:
    """Both at once, without a pause; and then the pauses do not keep anybody from what is right."""
    before = watching.seconds()
    end = time.monotonic() + 4
    sockets = [
        (pair.guests[env["INTERFACE"]].packet_socket("eth0"), garp_request(env["MAC"]))
        for env in (ONE, OTHER)
    ]
    sent = 0
    # whose is the last one when the watch looks is chance, and so is the number of moves in some seconds
    while time.monotonic() < end or (not pair.log("growing pauses") and time.monotonic() < end + 15):
        for socket, frame in sockets * 100:
            socket.send(frame)
            sent += 1
    for socket, _ in sockets:
        socket.close()
    spent, moves = watching.seconds() - before, len(pair.log("has it now"))
    print(f"{sent} announcements: {moves} moves, {spent:.2f} s of CPU")
    assert 2 <= moves <= 9 and spent < 1.0
    assert len(pair.log("growing pauses")) == 1
    pair.is_clean()


def test_a_holder_that_announces_in_a_loop_is_announced_seldom(pair: Pair, watching: Watching) -> None:
    ear = Ear(pair.router, "br0")
    before, end = watching.seconds(), time.monotonic() + 4
    socket = pair.guests["tap3"].packet_socket("eth0")
    while time.monotonic() < end:
        socket.send(garp_request(ONE["MAC"]))
    socket.close()
    assert watching.seconds() - before < 1.0
    theirs = [frame for _, frame in ear.frames(0.5) if f.is_arp(frame, 2, VIP, VIP)]
    ear.socket.close()
    assert 1 <= len(theirs) <= 12, "three rounds each 3 s, and those of two ifups"
    assert not pair.log("has it now")
    pair.is_clean()


# --- what happens besides


def test_a_tap_that_vanishes_hands_it_on(pair: Pair, watching: Watching) -> None:
    """The guest is killed."""
    killed = nic(6)
    pair.node.ip("link add tap6 type veth peer name far6", "link set far6 up")
    pair.node.down(ONE)
    pair.node.down(OTHER)
    pair.node.up(killed)
    pair.node.up(OTHER)
    pair.take(OTHER)
    assert pair.leads_to(killed) and not pair.reaches()
    pair.node.ip("link del tap6")
    assert pair.follows(OTHER, VIP, VIP6)
    assert until(lambda: pair.log(f"watch: {VIP}/32 goes to tap4"))
    assert pair.reaches() and pair.reaches(VIP6)
    assert until(lambda: pair.node.run("test", "-e", RECORD, check=False).returncode != 0)
    pair.is_clean()


def test_killed_at_any_moment_the_next_one_goes_on(pair: Pair) -> None:
    for number, pause in enumerate((0.0, 0.02, 0.03, 0.035, 0.05, 0.1)):
        env = (OTHER, ONE)[number % 2]
        with Watching(pair.node):
            pair.take(env)
            pair.announce(env, garp_request)
            pair.announce(env, advertisement)
            time.sleep(pause)
        pair.is_clean()
        with Watching(pair.node) as watching:
            assert pair.follows(env, VIP, VIP6), (pause, pair.node.read(LOG))
            assert watching.end() == b""
        assert pair.reaches() and pair.reaches(VIP6)
    pair.is_clean()


def test_what_was_announced_while_no_watch_ran_is_followed(pair: Pair) -> None:
    pair.announce(ONE, garp_request)
    time.sleep(0.1)
    pair.take(OTHER)
    pair.announce(OTHER, garp_request)
    assert pair.leads_to(ONE)
    with Watching(pair.node) as watching:
        assert pair.follows(OTHER, VIP) and pair.reaches()
        assert watching.end() == b""


def test_a_deleted_route_comes_back_where_it_was(pair: Pair, watching: Watching) -> None:
    pair.take(OTHER)
    pair.announce(OTHER, garp_request)
    assert pair.follows(OTHER, VIP)
    pair.node.ip(f"route del {VIP}/32 table 222")
    assert pair.follows(OTHER, VIP) and pair.reaches()
    pair.is_clean()


def test_across_nodes_the_last_announcement_counts() -> None:
    with laboratory() as lab:
        router = lab.router()
        one, other = (
            guests_of(lab, router, lab.node(name, router), env)
            for name, env in (("node1", ONE), ("node2", OTHER))
        )
        both = Pair(router, one.node, one.guests | other.guests)
        for node, env in ((one.node, ONE), (other.node, OTHER)):
            node.write(LOG, "")
            node.up(env)
        with Watching(one.node), Watching(other.node):
            time.sleep(3.5)  # the announcements of the ifups
            router.ping(VIP)
            for env in (ONE, OTHER, ONE):
                both.take(env)
                both.announce(env, garp_request)
                both.announce(env, advertisement)
                assert until(lambda: both.reaches() and both.reaches(VIP6), 2)
                time.sleep(3.5)
                assert both.reaches() and both.reaches(VIP6)
        one.is_clean()
        other.is_clean()
