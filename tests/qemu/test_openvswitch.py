"""Mode openvswitch with a real Open vSwitch: port, access VLAN and trunks as in stock Ganeti, and what
happens if Open vSwitch hangs.

These tests run in the machine without IPv6 only because the other machine has more to do.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from snf_network.dhcpd.nd import LOW
from snf_network.selftest.matrix import COLUMNS as WAYS
from snf_network.selftest.matrix import UNDERLAY, UNDERLAY6, Column, Guest, Row
from snf_network.selftest.run import PASSES, WRONG, Cell, D, Trial, _miscounted
from snf_network.selftest.site import ROWS
from snf_network.selftest.site import environment as variables
from snf_network.selftest.world import drops, members
from tests.dhcpd.clients import Dhcp4, rs
from tests.dhcpd.netns.daemon import BINDINGS, Daemon, bind
from tests.netns import frames as f
from tests.netns.lab import Lab, environment, traces, until
from tests.qemu.taps import BARE, CLEAN, Shout, Switch, Tap, play, snf_network

pytestmark = pytest.mark.vm("ipv6.disable=1")
ENV = environment("start-nonet-ifup-1", MODE="openvswitch", LINK="ovs0", BRIDGE=None)
NICS = {"a": ".100", "b": "100", "other": ".200", "trunk": ":100:200", "hybrid": ".200:100", "all": ""}
COLUMNS = {
    "a": (100, []),
    "b": (100, []),
    "other": (200, []),
    "trunk": ([], [100, 200]),
    "hybrid": (200, [100]),
    "all": ([], []),
}
"""Columns tag and trunks. To Open vSwitch a port with a tag is an access port, whatever its trunks; one with
neither trunks all.
"""
UPTIME = 11.0
"""Seconds. Within ten of the boot, Open vSwitch 3.1 counts no CPU and starts no thread for frames that have no
flow: they are lost until it counts again.
"""
START = """
mkdir -p /etc/openvswitch /run/openvswitch
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach --log-file=/run/openvswitch/db.log
ovs-vsctl --no-wait init
/usr/lib/openvswitch-switch/ovs-vswitchd --pidfile --detach --log-file=/run/openvswitch/vswitchd.log
ovs-vsctl --timeout=20 add-br ovs0 -- add-port ovs0 eth2
ip link set ovs0 up
"""


class Site(Switch):
    """A node with Open vSwitch and its bridge ovs0, a trunk from it, and guests that have no NIC yet."""

    def ports(self) -> set[str]:
        return set(self.node.out("ovs-vsctl", "--timeout=20", "list-ports", "ovs0").split())

    def columns(self, name: str) -> tuple[object, ...]:
        """Those that tell a port's VLANs."""
        said = self.node.out(
            "ovs-vsctl", "--timeout=20", "get", "port", self.env(name)["INTERFACE"], "tag", "trunks"
        )
        return tuple(json.loads(line) for line in said.splitlines())


@contextmanager
def stopped(name: str) -> Iterator[None]:
    """A daemon that hangs."""
    pid = int(Path(f"/run/openvswitch/{name}.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def within(site: Site, seconds: float) -> Iterator[None]:
    """A call may take so long, and what a call that finds nothing to do takes in this emulated machine."""
    begun = time.monotonic()
    site.node.down(site.env("b", INTERFACE="tap99"))
    idle = time.monotonic() - begun
    yield
    took = time.monotonic() - begun - idle
    assert took < seconds + idle, f"{took:.1f} s; {idle:.1f} s without anything to do"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One for all tests, with all NICs up. There is one Open vSwitch in a machine, for /run is
    everybody's.
    """
    with closing(Lab()) as lab:
        node, far = lab.machine("node1"), lab.machine("switch")
        lab.cable(node, "eth2", far, "trunk")
        node.ip("link set eth2 up")
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
        time.sleep(max(UPTIME - time.monotonic(), 0))
        node.run("sh", "-ec", START)
        made = Site.joined(node, far, ENV, NICS)
        try:
            yield made
        finally:
            for name in ("ovs-vswitchd", "ovsdb-server"):
                node.run("ovs-appctl", "-t", name, "exit", check=False)


IN_100 = {"a": BARE, "b": BARE, "trunk": 100, "all": 100, "vlan100": BARE}
IN_200 = {"other": BARE, "trunk": 200, "hybrid": BARE, "all": 200, "vlan200": BARE}


def but(heard: dict[str, int], *names: str) -> dict[str, int]:
    return {name: tag for name, tag in heard.items() if name not in names}


ENDS = (
    Shout("vlan100", (), but(IN_100, "vlan100")),
    Shout("vlan200", (), but(IN_200, "vlan200", "trunk", "all")),
    Shout("a", (), {"vlan100": BARE}),
    Shout("other", (), {"vlan200": BARE}),
    Shout("all", (300,), {"vlan300": BARE}),
)


@pytest.mark.parametrize("name", NICS)
def test_port_is_as_stock_ganeti_makes_it(site: Site, name: str) -> None:
    assert site.columns(name) == COLUMNS[name]


def test_who_hears_whom(site: Site) -> None:
    for name in site.parties:  # until the switch has made its flows, frames wait for it and come late
        site.parties[name].send(
            b"\xff" * 6 + bytes.fromhex(site.parties[name].mac.replace(":", "")) + b"\x88\xb6" + bytes(46)
        )
    shouts = [
        Shout("a", (), but(IN_100, "a")),
        Shout("b", (), but(IN_100, "b")),
        Shout("other", (), but(IN_200, "other")),
        Shout("hybrid", (), but(IN_200, "hybrid")),
        Shout("hybrid", (100,), {}),
        Shout("a", (200,), {}),
        Shout("trunk", (100,), but(IN_100, "trunk")),
        Shout("trunk", (200,), but(IN_200, "trunk")),
        Shout("trunk", (300,), {}),
        Shout("trunk", (), {}),
        Shout("all", (100,), but(IN_100, "all")),
        Shout("vlan300", (), {"all": 300}),
        Shout("vlan100", (), but(IN_100, "vlan100")),
        Shout("vlan200", (), but(IN_200, "vlan200")),
    ]
    heard, wanted = play(site.parties, shouts, ENDS)
    assert heard == wanted


# --- pins


PINNED = [column for column in WAYS if column.mode == "openvswitch"]
SETTINGS = "/etc/default/snf-network"
SOME, ROOM = 20, 1000
"""How many frames are sent at once, and the distance between the numbers of frames and those of marks."""


class Exchange:
    """Frames of the self-test from a guest and to it, with a real tap, and a port that gets everything."""

    def __init__(self, site: Site, column: Column) -> None:
        self.guest = Guest(column, 30 + PINNED.index(column))
        self.node, self.tap = site.node, Tap(site.node, self.guest.tap, self.guest.mac)
        peer = site.parties["all"]
        assert isinstance(peer, Tap)
        self.peer, self.marks = peer, 0
        while peer.get(0):  # of tests before
            pass
        self.rows = [row for row in ROWS if self.is_sent(row)]

    def is_sent(self, row: Row) -> bool:
        """Not those that only the node receives, or sends."""
        return (
            row.possible(self.guest.column)
            and row.sender in ("guest", "peer")
            and not (row.outside or row.ear)
        )

    def up(self, tags: str) -> None:
        self.node.up({**variables(self.guest), "LINK": "ovs0", "NETWORK_TAGS": tags})

    def play(self) -> dict[int, set[str]]:
        """Who hears which row, by its number."""
        heard: dict[int, set[str]] = {}
        told = list(enumerate(self.rows, 1))
        for sender, receiver, name, words in (
            (self.tap, self.peer, "peer", [pair for pair in told if not pair[1].inward]),
            (self.peer, self.tap, "guest", [pair for pair in told if pair[1].inward]),
        ):
            for start in range(0, len(words), SOME):
                for number, row in words[start : start + SOME]:
                    sender.send(f.stamp(row.frame(self.guest), number))
                for number in self.up_to_mark(sender, receiver):
                    heard.setdefault(number, set()).add(name)
        return heard

    def up_to_mark(self, sender: Tap, receiver: Tap) -> set[int]:
        """The numbers that come before a frame that passes every pin. It has a flow of its own, which
        ovs-vswitchd makes after those of the frames before it.
        """
        self.marks += 1
        numbers, end = set[int](), time.monotonic() + 20
        port, local = 10000 + self.marks % 50000, self.guest
        if sender is self.tap:
            target = f"02:00:00:01:{self.marks >> 8:02x}:{self.marks & 255:02x}"
            packet, source = f.udp(local.ip, "198.51.100.99", port, port), local.mac
        else:
            source, target = f"02:00:00:02:{self.marks >> 8:02x}:{self.marks & 255:02x}", f.BROADCAST
            source = source if "isolated" in local.column.tags else f"aa:55:6{source[7:]}"
            packet = f.udp("198.51.100.99", "198.51.100.255", 53, port)
        sender.send(f.stamp(f.ethernet(source, target, packet), ROOM + self.marks))
        while time.monotonic() < end:
            data = receiver.get(1)
            number = f.token(data) if data else 0
            if number == ROOM + self.marks and (data[:6].hex(":"), data[6:12].hex(":")) == (target, source):
                return numbers
            numbers.add(number)
        raise AssertionError(f"mark {self.marks} did not come: {numbers}")


@pytest.mark.parametrize("column", PINNED, ids=[column.name for column in PINNED])
def test_pins_are_those_of_the_self_test(site: Site, column: Column) -> None:
    """Every frame from a real tap, before Open vSwitch has it; and those to it, from Open vSwitch."""
    exchange = Exchange(site, column)
    node, guest = site.node, exchange.guest
    settings = node.read(SETTINGS)
    try:
        node.write(SETTINGS, f'{settings}UNDERLAY="{UNDERLAY} {UNDERLAY6}"\n')
        assert snf_network(node, "load")[0] == 0
        exchange.up(column.tags)
        if column.trunk:  # this port is in all VLANs, of which Ganeti does not tell
            node.load(f'add element netdev snf_network trunks {{ "{guest.tap}" . 10 }}\n')
        assert not members(node, "netdev", "drops"), "of another test"
        heard, counted = exchange.play(), drops(node)
        if column.trunk:
            node.load(f'delete element netdev snf_network trunks {{ "{guest.tap}" . 10 }}\n')
        node.run("ovs-appctl", "fdb/flush", "ovs0")
        exchange.up("")
        assert f"-{guest.tap} " not in node.out("nft", "list", "chains", "netdev")
        without = exchange.play()
        cells = tuple(
            Cell(row, guest, (Trial(*(frozenset(one.get(number, ())) for one in (heard, without))),))
            for number, row in enumerate(exchange.rows, 1)
        )
        # Open vSwitch itself drops what it cannot parse: NSH and MPLS without a whole header
        wrong = [cell.row.name for cell in cells if cell.verdict == WRONG and (cell.heard or cell.without)]
        assert not wrong, "; ".join(wrong)
        found = [cell.verdict for cell in cells]
        assert found.count(D) > 40 and found.count(PASSES) > 3, found
        # each is counted; for what it cannot parse, this kernel may find another reason than a later one
        of_guest = Counter({key: count for key, count in counted.items() if key[0] == guest.tap})
        assert of_guest.total() >= found.count(D)
        told = {words.partition(" as ")[2].partition(",")[0] for words in _miscounted(cells, of_guest)}
        assert told <= {"ext-cut", "malformed"}, told
    finally:
        node.down(variables(guest))
        exchange.tap.close()
        node.run("nft", "flush set netdev snf_network drops", check=False)
        node.write(SETTINGS, settings)
        assert snf_network(node, "load")[0] == 0


def test_the_switch_itself_keeps_isolated_guests_apart(site: Site) -> None:
    """Also if one sends with a MAC that is no guest's, which the rules cannot know."""
    guest = site.parties["a"]
    mac = guest.mac
    for name in ("a", "b"):
        site.up(name, NETWORK_TAGS="isolated")
    assert site.columns("a") == COLUMNS["a"]
    guest.mac = "02:00:00:00:00:31"
    heard, wanted = play(site.parties, [Shout("a", (), but(IN_100, "a", "b"))], ENDS)
    guest.mac = mac
    assert heard == wanted
    assert snf_network(site.node, "check") == CLEAN
    for name in ("a", "b"):
        site.up(name)


def test_check_shows_what_was_taken_and_changed(site: Site) -> None:
    node = site.node
    assert snf_network(node, "check") == CLEAN
    taps = {name: site.env(name)["INTERFACE"] for name in ("a", "other", "trunk")}
    node.run(
        "ovs-vsctl",
        "del-port",
        taps["a"],
        "--",
        "set",
        "port",
        taps["other"],
        "tag=100",
        "--",
        "clear",
        "port",
        taps["trunk"],
        "trunks",
    )
    status, said = snf_network(node, "check")
    assert status == 1
    assert {
        line.split()[1] for line in said.splitlines() if line.startswith("missing ") and "add-port" in line
    } == set(taps.values())
    assert snf_network(node, "repair")[0] == 0
    assert [site.columns(name) for name in taps] == [COLUMNS[name] for name in taps]


def test_vlan_of_a_live_nic_changes(site: Site) -> None:
    site.up("a", VLAN=":200")
    assert site.columns("a") == ([], [200])
    site.up("a", VLAN="")
    assert site.columns("a") == ([], [])
    site.up("a")
    assert site.columns("a") == COLUMNS["a"]


def heard_from(tap: Tap, asked: bytes, is_answer: Callable[[bytes], bool]) -> str:
    """The MAC address that a guest's question is answered from."""
    tap.send(asked)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if is_answer(got := tap.get(1)):
            return got[6:12].hex(":")
    return "nobody"


def test_nfdhcpd_answers_from_the_address_of_the_bridge(site: Site) -> None:
    """As on any bridge: the prefix is on-link, and a router that is there comes first. Whose port it is, the
    kernel does not tell.
    """
    guest, bridge = site.parties["a"], site.node.read("/sys/class/net/ovs0/address").strip()
    assert isinstance(guest, Tap)
    tap, mac = guest.name, bytes.fromhex(guest.mac.replace(":", ""))
    site.node.up(
        site.env("a", NETWORK_TAGS="nfdhcpd private-filtered", IP="192.0.2.9", NETWORK_SUBNET="192.0.2.0/24")
    )
    bind(
        site.node, tap, site.node.read(f"{BINDINGS}/{tap}").replace("SUBNET6=\n", "SUBNET6=2001:db8:1::/64\n")
    )
    daemon = Daemon(site.node, wait=60)
    try:
        assert until(lambda: daemon.states() == {tap: "served"}, 20)
        assert (
            heard_from(
                guest, Dhcp4(mac=mac, chaddr=mac).frame(), lambda frame: frame[34:38] == b"\0\x43\0\x44"
            )
            == bridge
        )
        assert (
            heard_from(
                guest,
                rs(mac=mac, station=mac),
                lambda frame: frame[54:55] == b"\x86" and frame[59] & LOW == LOW,
            )
            == bridge
        )
        assert json.loads(daemon.ctl("lint", "--json").stdout) == []
    finally:
        daemon.stop()
        site.up("a")


def test_down_takes_it_back(site: Site) -> None:
    site.node.down(site.env("b"))
    tap = site.env("b")["INTERFACE"]
    assert tap not in site.ports()
    assert not [line for line in traces(site.node) if tap in line]
    assert snf_network(site.node, "check") == CLEAN


def test_gc_takes_what_a_guest_left(site: Site) -> None:
    """It stopped without an ifdown: the switch keeps the port, for whoever gets the name."""
    tap = site.parties["other"]
    assert isinstance(tap, Tap)
    tap.close()
    assert tap.name in site.ports()
    assert snf_network(site.node, "gc")[0] == 0
    assert tap.name not in site.ports()
    site.parties["other"] = Tap(site.node, tap.name, tap.mac)


def test_no_such_bridge(site: Site) -> None:
    ran = site.node.up(site.env("b", LINK="nosuch"), check=False)
    assert ran.returncode == 1
    assert (
        ran.stderr.startswith("kvm-ifup-custom: ovs-vsctl ")
        and "nosuch" in ran.stderr
        and ran.stderr.count("\n") == 1
    )
    nothing_of(site, "b")


def nothing_of(site: Site, name: str) -> None:
    tap = site.env(name)["INTERFACE"]
    assert tap not in site.ports()
    assert "state DOWN" in site.node.out("ip", "link", "show", "dev", tap)
    assert not [line for line in traces(site.node, records=False) if tap in line]


@pytest.mark.parametrize("daemon", ("ovsdb-server", "ovs-vswitchd"))
def test_open_vswitch_hangs(site: Site, daemon: str) -> None:
    """The call ends, and says so; when the daemon goes on, no port is there that nobody knows of."""
    site.node.down(site.env("b"))
    with stopped(daemon), within(site, 5):
        ran = site.node.up(site.env("b"), check=False)
    assert ran.returncode == 1
    assert "ovs-vsctl" in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr
    assert until(lambda: site.env("b")["INTERFACE"] not in site.ports(), 10)
    nothing_of(site, "b")
    site.up("b")
    assert site.columns("b") == COLUMNS["b"]
    site.node.down(site.env("b"))


@pytest.mark.parametrize("daemon", ("ovsdb-server", "ovs-vswitchd"))
def test_open_vswitch_hangs_when_a_nic_goes_down(site: Site, daemon: str) -> None:
    """What could not be taken back then is not forgotten."""
    site.up("b")
    with stopped(daemon):
        with within(site, 5):
            site.node.down(site.env("b"))
        assert "state DOWN" in site.node.out("ip", "link", "show", "dev", site.env("b")["INTERFACE"])
    assert (site.env("b")["INTERFACE"] in site.ports()) is (daemon == "ovsdb-server")
    if daemon == "ovsdb-server":
        assert snf_network(site.node, "check")[0] == 1
        site.node.down(site.env("b"))  # as Ganeti does every 5 s while a guest shuts down
    nothing_of(site, "b")
    assert snf_network(site.node, "check") == CLEAN


def test_open_vswitch_is_not_installed(site: Site) -> None:
    site.node.run("mv", "/usr/bin/ovs-vsctl", "/usr/bin/away")
    try:
        ran = site.node.up(site.env("b"), check=False)
    finally:
        site.node.run("mv", "/usr/bin/away", "/usr/bin/ovs-vsctl")
    assert ran.returncode == 1
    assert "openvswitch-switch" in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr
    nothing_of(site, "b")
