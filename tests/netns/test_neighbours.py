"""Other programs of a node restart while guests talk and one of them forges: no packet is lost, and no forged
packet passes.

What such a program removes by design (an uplink that goes down, a policy of drop) is in docs/operators.md,
with the remedy, which is tested here too. The programs are those of the release that the tests run on:
systemd-networkd 252 on Debian 12, 257 on Debian 13.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.netns.lab import ROOT, Lab, Machine, until
from tests.netns.state import stand_in
from tests.netns.test_readme import example
from tests.netns.traffic import BRIDGED, GATEWAY, GATEWAY6, IP, PEER, Place, guests_of, traffic

BRIDGE_NF = "net/bridge/bridge-nf-call-iptables"
OWN_RUN = "mount -t tmpfs tmpfs /run && mount -o remount,bind,ro /sys && mkdir -p /run/systemd && "
INTERFACES = f"""\
auto eth1
iface eth1 inet manual
    up ip link set eth1 up
    up ip route add 198.51.100.0/24 dev eth1 table 222
    up ip route add default via {GATEWAY} dev eth1 onlink table 222
    up ip -6 route add default via {GATEWAY6} dev eth1 onlink table 222
    up ip route add 198.51.100.0/24 dev eth1
    down ip link set eth1 down
auto other
iface other inet static
    pre-up ip link add other type veth peer name far
    address 192.0.2.1/24
    post-down ip link del other
"""


@pytest.fixture
def place(lab: Lab) -> Place:
    router = lab.router()
    return guests_of(lab, router, lab.node("node1", router))


# --- the firewall of the node


NFTABLES = """\
flush ruleset
table inet filter {
    chain input { type filter hook input priority 0; tcp dport 22 accept; }
    chain forward { type filter hook forward priority 0; }
}
"""


def test_nftables_with_our_tables_in_the_same_transaction(place: Place) -> None:
    """What nftables.service does by our drop-in, to start, reload and stop."""
    place.node.write("/etc/nftables.conf", NFTABLES)
    keep = ROOT / "debian" / "nft-keep"
    with traffic(place, "nft-keep") as seen:
        for _ in range(10):
            place.node.run(keep, "-f", "/etc/nftables.conf")
            assert "table inet filter" in place.node.out("nft", "list", "tables")
            place.node.run(keep, "flush", "ruleset")
            assert "table inet filter" not in place.node.out("nft", "list", "tables")
        place.node.run("nft", "delete", "table", "arp", "snf_network")
        place.node.run(keep, "flush", "ruleset")
        place.command("repair")
    seen.is_whole()
    place.is_whole()


def test_nft_keep_fails_where_nft_does_and_only_there(place: Place) -> None:
    keep = ROOT / "debian" / "nft-keep"
    place.node.write("/etc/nftables.conf", "flush ruleset\ntable inet filter {\nnonsense\n}\n")
    ran = place.node.run(keep, "-f", "/etc/nftables.conf", check=False)
    assert ran.returncode == 1 and "nonsense" in ran.stderr
    place.is_whole()  # nothing was done
    place.node.write("/etc/nftables.conf", "table inet filter {\nchain forward {\n}\n}\n")  # flushes nothing
    place.node.run(keep, "-f", "/etc/nftables.conf")
    minute(place)  # nft does not list each rule in the words that it was loaded with
    place.is_whole()
    place.node.run("nft", "flush", "ruleset")
    place.node.run(keep, "-f", "/etc/nftables.conf")
    assert "snf_network" not in place.node.out("nft", "list", "ruleset")


def test_nft_keep_goes_on_without_our_tables_if_they_cannot_be_put_back(place: Place) -> None:
    """The firewall of the node comes up whatever we have."""
    place.node.write("/etc/nftables.conf", NFTABLES)
    refuses = '#!/bin/sh\n[ "$*" != "-f -" ] || exit 1\nexec /usr/sbin/nft "$@"\n'
    keep = (ROOT / "debian" / "nft-keep").read_text().replace("PATH=", "PATH=/usr/local/sbin:", 1)
    with stand_in(place.node, "nft", refuses):
        place.node.run("sh", "-c", keep, "nft-keep", "-f", "/etc/nftables.conf")
    assert place.node.out("nft", "list", "tables") == "table inet filter\n"
    minute(place)
    place.is_whole()


def test_a_flush_by_hand_is_mended_by_the_next_minute(place: Place) -> None:
    place.node.run("nft", "flush", "ruleset")
    minute(place)
    place.is_whole()


def minute(place: Place) -> None:
    """What snf-network-gc.timer starts."""
    unit = (ROOT / "debian" / "snf-network.snf-network-gc.service").read_text()
    lines = re.findall(r"^ExecStart=-/usr/sbin/snf-network (.*)$", unit, re.MULTILINE)
    assert lines
    for line in lines:
        place.command(*line.split())


def test_iptables_restore(place: Place) -> None:
    """As netfilter-persistent and ferm do."""
    place.node.write(
        "/etc/rules.v4",
        "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n",
    )
    with traffic(place, "iptables-restore") as seen:
        for _ in range(5):
            for tool in ("iptables-restore", "ip6tables-restore"):
                place.node.run(tool, "/etc/rules.v4")
    seen.is_whole()
    place.is_whole()


DOCKER = """\
*filter
:INPUT ACCEPT
:FORWARD DROP
:DOCKER -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""
"""What docker 20.10 has put there, by iptables-save."""


@pytest.mark.parametrize("bridge_nf", (0, 1))
def test_docker(place: Place, bridge_nf: int) -> None:
    """Its policy of drop cuts guests, as docs/operators.md says, until the lines that stand there are run."""
    lines = example("docker", "docs/operators.md")
    place.node.write("/etc/docker.rules", DOCKER)
    place.node.ip("link add docker0 type bridge", "link set docker0 up")
    place.node.sysctl(BRIDGE_NF, bridge_nf)
    for tool in ("iptables-restore", "ip6tables-restore"):
        place.node.run(tool, "--noflush", "/etc/docker.rules")
    assert not place.guest.ping(GATEWAY, wait=0.3) and not place.router.ping(IP, wait=0.3)
    assert place.bridged.ping(PEER["IP"], wait=0.3) == (not bridge_nf)
    place.node.run("sh", "-exc", lines)
    place.is_whole()
    with traffic(place, f"docker, bridge-nf {bridge_nf}") as seen:
        for tool in ("iptables-restore", "ip6tables-restore"):
            # a restart of docker: it fills its own chains, and leaves DOCKER-USER alone
            place.node.run(tool, "--noflush", input="*filter\n:FORWARD DROP\n:DOCKER -\nCOMMIT\n")
    seen.is_whole()


# --- what owns devices, routes and settings


def test_sysctl_system_as_debian_ships_it(place: Place) -> None:
    with traffic(place, "sysctl --system") as seen:
        for _ in range(5):
            place.node.run("sysctl", "--system")
    seen.is_whole()
    place.is_whole()


HARDENED = """\
net.ipv4.ip_forward = 0
net.ipv6.conf.all.forwarding = 0
net.ipv6.conf.default.forwarding = 0
net.ipv4.conf.all.send_redirects = 0
net.ipv4.conf.all.accept_source_route = 0
net.ipv4.conf.all.secure_redirects = 0
net.ipv4.conf.all.log_martians = 1
"""
"""What guides to a hardened server say of a host that is no router."""


def test_sysctl_system_that_switches_forwarding_off(place: Place) -> None:
    """Guests are cut, never open, and the next minute brings them back."""
    place.node.write("/etc/sysctl.d/90-hardened.conf", HARDENED)
    for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        place.node.sysctl(f"net/{family}", 1)  # 0 is written to all devices only where it was 1
    with traffic(place, "sysctl --system, forwarding off") as seen:
        place.node.run("sysctl", "--system")
        minute(place)
    seen.is_filtered()
    place.is_whole()


def test_ifupdown_of_another_device(place: Place) -> None:
    place.node.write("/etc/network/interfaces", INTERFACES)
    with traffic(place, "ifup of another device") as seen:
        place.node.run("sh", "-ec", "mkdir -p /run/network; ifup other; ifdown other; ifup other")
    seen.is_whole()
    place.is_whole()


def test_ifupdown_of_the_uplink(place: Place) -> None:
    """Without it nothing goes out; bridged guests see nothing of it. The next minute brings back what its
    end took away.
    """
    place.node.write("/etc/network/interfaces", INTERFACES)
    with traffic(place, "ifdown and ifup of the uplink") as seen:
        place.node.run("sh", "-ec", "ifdown --force eth1; ifup --force eth1")
        minute(place)
    seen.is_filtered()
    assert seen.lost["bridged"] <= 1
    place.is_whole()


@contextmanager
def running(machine: Machine, command: str) -> Iterator[subprocess.Popen[str]]:
    """A daemon with a /run of its own, in the foreground; ended as systemd would."""
    process = subprocess.Popen(
        machine.command("unshare", "-m", "sh", "-c", f"{OWN_RUN}exec {command}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


ALL = "[Match]\nName=*\n[Network]\nDHCP=yes\nLLDP=yes\n"
"""A file for all devices: no tap may be configured by it."""
DROP_IN = "networkd.conf.d/snf-network.conf"
NETWORKD = "/lib/systemd/systemd-networkd"


def version(place: Place) -> int:
    """That of networkd: before 257 (Debian 12 has 252) it leaves rules of others alone by itself."""
    return int(place.node.out(NETWORKD, "--version").split()[1])


def networkd(place: Place) -> None:
    """Start it, wait until it has configured the uplink, stop it; twice."""
    for _ in range(2):
        with running(place.node, f"env SYSTEMD_LOG_LEVEL=debug {NETWORKD}") as daemon:
            assert daemon.stdout
            for line in daemon.stdout:
                if re.search(r"eth1: .*\bconfigured\b", line):
                    break
            else:
                raise AssertionError("the uplink was never configured")
            time.sleep(0.5)


def with_networkd(place: Place, *files: str) -> None:
    """Write its configuration, with those files of ours."""
    place.node.write("/etc/systemd/network/90-all.network", ALL)
    uplink = example("With systemd-networkd", "docs/operators.md").replace("snf_public", "222")
    place.node.write(
        "/etc/systemd/network/10-uplink.network", uplink + "\n[Route]\nDestination=198.51.100.0/24\n"
    )
    for name in files:
        text = (ROOT / "debian" / "neighbours" / name).read_text()
        place.node.write(f"/etc/systemd/{name}", text)


def test_networkd(place: Place) -> None:
    """With what the package ships it takes nothing of ours away, and configures no tap, whatever a file for
    all devices says.
    """
    with_networkd(place, DROP_IN, "network/05-snf-network.network")
    with traffic(place, "networkd") as seen:
        networkd(place)
    seen.is_whole()
    place.is_whole()


def test_what_networkd_takes_away_is_mended_by_the_next_minute(place: Place) -> None:
    """Without the drop-in: a node where somebody has overruled it, or whose networkd ran when ours came."""
    with_networkd(place, "network/05-snf-network.network")
    with traffic(place, "networkd without the drop-in") as seen:
        networkd(place)
        taken, said = place.command("check")
        minute(place)
    seen.is_filtered()
    assert "14800" in said if version(place) >= 257 else not taken, said
    place.is_whole()


FRR = "/usr/lib/frr"
FRR_CONF = f"""\
hostname node1
ip route 192.0.2.0/24 {GATEWAY} onlink eth1
ip nht resolve-via-default
"""


def test_frr(place: Place) -> None:
    """zebra takes no route or rule that is not its own, when it comes and when it goes."""
    place.node.write("/etc/frr/frr.conf", FRR_CONF)
    with traffic(place, "FRR") as seen:
        for _ in range(2):
            start = "mkdir -p /run/frr; chown frr:frr /run/frr; "
            with running(place.node, f"sh -c '{start} exec {FRR}/zebra -f /etc/frr/frr.conf'") as zebra:
                time.sleep(2)
                assert zebra.poll() is None, zebra.communicate()
                place.node.ip("route add 192.0.2.0/25 dev eth1")
            place.node.ip("route del 192.0.2.0/25 dev eth1")
    seen.is_whole()
    place.is_whole()


BIRD = """\
router id 192.0.2.1;
protocol device { scan time 1; }
ipv4 table uplink;
protocol kernel { ipv4 { import all; export all; }; learn; scan time 1; }
protocol kernel { ipv6 { import all; export all; }; learn; scan time 1; }
protocol kernel { kernel table 222; ipv4 { table uplink; import all; export all; }; scan time 1; }
protocol static { ipv4; route 192.0.2.128/25 unreachable; }
protocol static { ipv4 { table uplink; }; route 192.0.2.128/25 unreachable; }
"""


def test_bird(place: Place) -> None:
    """Also where it has the table of the uplink."""
    place.node.write("/etc/bird/bird.conf", BIRD)
    with traffic(place, "BIRD") as seen:
        for _ in range(2):
            with running(
                place.node, "sh -c 'mkdir -p /run/bird; exec bird -f -c /etc/bird/bird.conf'"
            ) as bird:
                assert until(
                    lambda: "192.0.2.128/25" in place.node.out("ip", "route", "show", "table", "222"), 10
                )
                time.sleep(2.5)
                assert bird.poll() is None
            assert "192.0.2.128/25" not in place.node.out("ip", "route", "show", "table", "222")
    seen.is_whole()
    place.is_whole()


NETWORKMANAGER = "NetworkManager/snf-network.conf"
START = "mkdir -p /run/dbus /run/NetworkManager; dbus-daemon --system --nopidfile; exec NetworkManager --no-daemon"


def states(place: Place, daemon: subprocess.Popen[str]) -> dict[str, str]:
    """What NetworkManager says of each device, once it says anything."""
    argv = ("nsenter", "-t", daemon.pid, "-m", "-n", "--root", "nmcli", "-t", "-f", "DEVICE,STATE", "device")

    def said() -> str:
        return subprocess.run(tuple(map(str, argv)), capture_output=True, text=True).stdout

    assert until(lambda: "tap0:" in said(), 15), said()
    time.sleep(1)
    return dict(line.split(":", 1) for line in said().splitlines())


def test_networkmanager(place: Place) -> None:
    """It takes every wire for one to get an address on, but for those that our drop-in names. The uplink is
    somebody else's, as where ifupdown has it.
    """
    ours = (ROOT / "debian" / "neighbours" / NETWORKMANAGER).read_text()
    place.node.write("/etc/NetworkManager/conf.d/snf-network.conf", ours)
    place.node.write(
        "/etc/NetworkManager/conf.d/uplink.conf", "[keyfile]\nunmanaged-devices=interface-name:eth1\n"
    )
    place.node.ip("link add wire type veth peer name far", "link set wire up", "link set far up")
    with traffic(place, "NetworkManager") as seen:
        for _ in range(2):
            with running(place.node, f"sh -c '{START}'") as daemon:
                found = states(place, daemon)
    seen.is_whole()
    # NetworkManager 1.42 of Debian 12 writes this setting of ports of a bridge, managed or not; no packet depends on it
    assert all(
        line.endswith("/addr_gen_mode=1")
        for line in place.command("check")[1].splitlines()
        if line != "clean"
    )
    minute(place)
    place.is_whole()
    assert found["tap0"] == found[BRIDGED["INTERFACE"]] == found[PEER["INTERFACE"]] == "unmanaged", found
    assert found["wire"] != "unmanaged", found
