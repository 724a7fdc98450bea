"""snf-network watch: what a NIC loses is back at once, what a dead guest left is gone at once, and nothing of
ours makes work for it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from snf_network.watch.pace import OFTEN, Pace
from snf_network.watch.state import ACTS
from tests.netns.lab import Ear, Lab, laboratory, lines, until
from tests.netns.traffic import BRIDGED, IP, IP6, PEER, ROUTED, Place, guests_of
from tests.netns.watching import LOG, SECONDS, WATCH, Watching, own_run


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


@pytest.fixture(scope="module")
def place(lab: Lab) -> Place:
    router = lab.router()
    node = own_run(lab.node("node1", router))
    return guests_of(lab, router, node)


@pytest.fixture
def watching(place: Place) -> Iterator[Watching]:
    """A watch, of a node that is whole, and that is whole again afterwards."""
    for env in (ROUTED | {"INTERFACE": "tap0"}, BRIDGED, PEER):
        place.node.up(env)
    made = Watching(place.node)
    try:
        yield made
        assert made.end() == ""
    finally:
        if made.process.poll() is None:
            made.kill()
    place.is_whole()


LOSSES = {
    "member": (
        "nft delete element bridge snf_network macs '{ \"tap1\" . aa:55:60:25:ae:2e }'",
        "nft get element bridge snf_network macs '{ \"tap1\" . aa:55:60:25:ae:2e }'",
    ),
    "route": (f"ip route del {IP}/32 table 222", f"ip route show table 222 | grep {IP}"),
    "IPv6 route": (f"ip -6 route del {IP6}/128 table 222", f"ip -6 route show table 222 | grep {IP6}"),
    "neighbour": (f"ip neigh del {IP} dev tap0", f"ip neigh show dev tap0 nud permanent | grep {IP}"),
    "policy rule": ("ip rule del pref 14800", "ip rule show pref 14800 | grep snf_public"),
    "link": (
        "ip link set tap0 down",
        f"ip link show tap0 up | grep tap0 && ip route show table 222 | grep {IP}",
    ),
    "link, for a moment": (
        "ip link set tap0 down; ip link set tap0 up",
        f"ip route show table 222 | grep {IP}",
    ),
    "bridge": ("ip link set tap1 nomaster", "ip link show master prv0 | grep tap1"),
    "MAC of the tap": (
        "ip link set tap0 address 02:00:00:00:00:01",
        "ip link show tap0 | grep cc:47:52:4e:45:54",
    ),
    "alias": ('ip link set tap0 alias ""', "ip link show tap0 | grep 'alias inst1'"),
    "MTU": ("ip link set tap1 mtu 1400", "ip link show tap1 | grep 'mtu 1500'"),
    "sysctl of the tap": (
        "echo 0 > /proc/sys/net/ipv4/conf/tap0/proxy_arp",
        "grep 1 /proc/sys/net/ipv4/conf/tap0/proxy_arp",
    ),
    "sysctl of the uplink": (
        "echo 0 > /proc/sys/net/ipv6/conf/eth1/proxy_ndp",
        "grep 1 /proc/sys/net/ipv6/conf/eth1/proxy_ndp",
    ),
    "chain": (
        "nft flush chain bridge snf_network pin4",
        "nft list chain bridge snf_network pin4 | grep saddr",
    ),
    "ruleset": (
        "nft flush ruleset",
        "nft get element bridge snf_network macs '{ \"tap2\" . aa:55:60:25:ae:2f }'",
    ),
}


def test_it_says_at_its_start_that_nothing_tells_of_proxy_entries(place: Place, watching: Watching) -> None:
    """No tracefs is mounted here; tests/qemu/test_proxies.py has one."""
    (started,) = lines(place.node.read(LOG), "watch: started")
    assert "watch: started; deleted proxy entries come back with the timer: [Errno 2]" in started


@pytest.mark.parametrize(("take", "there"), LOSSES.values(), ids=list(LOSSES))
def test_what_is_taken_away_is_put_back(place: Place, watching: Watching, take: str, there: str) -> None:
    place.node.run("sh", "-ec", there)
    place.node.run("sh", "-ec", take)
    assert until(lambda: place.node.run("sh", "-ec", there, check=False).returncode == 0, SECONDS), (
        watching.said()
    )
    words = ("put back", "loaded", "compared")
    assert until(lambda: any(word in line for line in watching.said() for word in words))


def test_changes_of_our_own_are_no_work(place: Place, watching: Watching) -> None:
    """Up again, with other tags, down, up, a hook's repair: what a record says is what the kernel has."""
    node, routed = place.node, ROUTED | {"INTERFACE": "tap0"}
    for _ in range(3):
        node.up(BRIDGED | {"NETWORK_TAGS": "private-filtered"})
        node.up(BRIDGED)
        node.down(PEER)
        node.up(PEER)
        node.down(routed)
        node.up(routed)
        node.script("snf-network", {}, "load")
    time.sleep(0.5)
    assert watching.said() == []


def test_a_guest_that_is_gone_leaves_nothing(lab: Lab, place: Place, watching: Watching) -> None:
    """As when it powers itself off: no down is called."""
    env = PEER | {
        "INTERFACE": "tap7",
        "IP": "203.0.113.78",
        "MAC": "aa:55:60:25:ae:30",
        "INTERFACE_UUID": "seventh",
    }
    lab.guest(place.node, "tap7", env["MAC"])
    place.node.up(env)
    assert '"tap7"' in place.node.out("nft", "list", "ruleset")
    place.node.ip("link del tap7")
    assert until(lambda: place.node.read("/var/lib/snf-network/tap7") == "", SECONDS)
    assert '"tap7"' not in place.node.out("nft", "list", "ruleset")
    assert "is gone: taken back" in watching.said()[-1]


def test_a_tap_of_the_same_name_is_the_new_ones(lab: Lab, place: Place, watching: Watching) -> None:
    env = PEER | {
        "INTERFACE": "tap8",
        "IP": "203.0.113.79",
        "MAC": "aa:55:60:25:ae:31",
        "INTERFACE_UUID": "eighth",
    }
    for _ in range(5):
        place.node.ip("tuntap add tap8 mode tap")
        place.node.up(env)
        place.node.ip("link del tap8", "tuntap add tap8 mode tap")
        place.node.up(env)
        time.sleep(0.2)
        assert place.node.script("snf-network", {}, "check", "--quiet", check=False).returncode == 0
        place.node.down(env)
        place.node.ip("link del tap8")


def test_carrier_back_on_the_uplink_announces_the_guests(place: Place, watching: Watching) -> None:
    ear = Ear(place.router, "br0")
    place.router.ip("link set node1 down")
    time.sleep(0.2)
    place.router.ip("link set node1 up")
    mine = bytes(map(int, IP.split(".")))

    def announces(frame: bytes) -> bool:
        return frame[12:14] == b"\x08\x06" and frame[28:32] == mine == frame[38:42]

    assert ear.first(announces, 3)
    ear.socket.close()


def test_an_uplink_that_was_down_for_a_moment_answers_again(place: Place, watching: Watching) -> None:
    """The kernel drops the proxy entries, and reports none; the route is back before anybody looks."""
    node = place.node
    node.run(
        "sh",
        "-ec",
        "ip link set eth1 down; ip link set eth1 up; ip route add 198.51.100.0/24 dev eth1; "
        "ip route add 198.51.100.0/24 dev eth1 table 222; "
        "ip route add default via 198.51.100.1 dev eth1 table 222 onlink; "
        "ip -6 route replace default via 2001:db8:1::1 dev eth1 table 222 onlink; "
        "ip -6 route replace 2001:db8:1::/64 dev eth1",
    )

    def answers() -> bool:
        return {IP, IP6} <= {*node.out("ip", "neigh", "show", "proxy", "dev", "eth1").split()}

    assert until(answers, SECONDS), watching.said()


def test_a_default_route_that_moves_takes_the_proxies_with_it(
    lab: Lab, place: Place, watching: Watching
) -> None:
    node = place.node
    lab.cable(place.router, "second", node, "eth2")
    place.router.ip("link set second master br0 up")
    node.ip("link set eth2 up", "route replace default via 198.51.100.1 dev eth2 table 222 onlink")
    assert until(lambda: IP in node.out("ip", "neigh", "show", "proxy", "dev", "eth2"), 3), watching.said()
    node.ip("route replace default via 198.51.100.1 dev eth1 table 222 onlink")
    assert until(lambda: IP in node.out("ip", "neigh", "show", "proxy", "dev", "eth1"), 5), watching.said()
    node.ip("link del eth2")


def test_it_does_not_fight(place: Place, watching: Watching) -> None:
    """A program deletes a member a hundred times a second: growing pauses, one line, and check says it."""
    take, _ = LOSSES["member"]
    end = time.monotonic() + 6
    while time.monotonic() < end:
        place.node.run("sh", "-c", take, check=False)
        time.sleep(0.01)
    said = watching.said()
    assert OFTEN < sum("put back 1" in line for line in said) < OFTEN + 6
    (told,) = (line for line in said if "again and again" in line)
    assert "the last nft transaction was by nft[" in told
    ran = place.node.script("snf-network", {}, "check", check=False)
    assert ran.returncode == 1 and "fight      tap1" in ran.stdout
    assert "fights for tap1" in place.node.script("snf-network", {}, "status", "--wide").stdout
    watching.end()
    place.node.script("snf-network", {}, "repair")


def test_a_second_one_refuses(place: Place, watching: Watching) -> None:
    ran = place.node.run(*WATCH, check=False)
    assert ran.returncode == 1 and ran.stderr.startswith("snf-network: another watch runs on this node (")
    assert "watch: runs since" in place.node.script("snf-network", {}, "status", "--wide").stdout


def test_without_one_status_says_so(place: Place) -> None:
    assert "watch: does not run" in place.node.script("snf-network", {}, "status", "--wide").stdout
    assert place.node.script("snf-network", {}, "watch", "--once").stdout == "nothing to do\n"
    place.node.run(
        "nft", "delete", "element", "bridge", "snf_network", "macs", '{ "tap1" . aa:55:60:25:ae:2e }'
    )
    ran = place.node.script("snf-network", {}, "watch", "--once", check=False)
    assert ran.returncode == 1 and "missing    tap1" in ran.stdout
    place.node.script("snf-network", {}, "repair")


def test_killed_at_any_moment_the_next_one_goes_on(place: Place) -> None:
    """What it had begun is on record."""
    for pause in (0.0, 0.01, 0.03, 0.05, 0.08, 0.12, 0.2):
        watching = Watching(place.node)
        place.node.run("nft", "flush", "ruleset")
        time.sleep(pause)
        watching.kill()
    watching = Watching(place.node)
    assert until(lambda: place.node.script("snf-network", {}, "check", check=False).stdout == "clean\n", 5)
    watching.end()
    place.is_whole()


def test_growing_pauses() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    for number in range(OFTEN):
        assert pace.wait("tap0") == 0 and not pace.acted("tap0"), number
    assert pace.acted("tap0") and pace.wait("tap0") == 1.0 and pace.wait("tap1") == 0
    now[0] += 1
    assert pace.wait("tap0") == 0 and not pace.acted("tap0") and pace.wait("tap0") == 2.0
    for _ in range(20):
        now[0] += pace.wait("tap0")
        pace.acted("tap0")
    assert pace.wait("tap0") == 60 and pace.fights() == {"tap0": 60.0}
    now[0] += 200
    assert pace.wait("tap0") == 0 and pace.fights() == {}


def test_its_state_is_not_believed_when_its_process_is_another(place: Place) -> None:
    said = {"since": 1, "fights": {"tap0": 3}, "comparisons": 1, "acts": dict.fromkeys(ACTS, 0)}
    text = json.dumps({"pid": 1, "start": "0", **said})
    place.node.run("mkdir", "-p", "/run/snf-network")
    place.node.write("/run/snf-network/watch.json", text)
    assert "watch: does not run" in place.node.script("snf-network", {}, "status", "--wide").stdout
    place.node.run("rm", "/run/snf-network/watch.json")
