"""Real clients on a routed tap that snf-network has brought up, guard and all: each gets its lease, and it
leads out.

One node and one guest for all; each client starts with an interface that was down.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.blocks import block
from tests.dhcpd.netns.daemon import CONFIG, Daemon, bind, binding, running
from tests.netns.lab import ROOT, SCRIPTS, Lab, Machine, environment, lines, settled, until

ENV = environment("add-routed-ifup-1")
MAC, IP, IP6 = ENV["MAC"], ENV["IP"], "2001:db8:1:0:a800:ff:fead:35c9"
GATEWAY, GATEWAY6, RESOLVER, RESOLVER6 = "198.51.100.1", "2001:db8:1::1", "192.0.2.53", "2001:db8::53"
CONF = f"[dhcp]\nnameservers = {RESOLVER}\n[ipv6]\nnameservers = {RESOLVER6}\ndomains = example.org\n"
TAP_LINK_LOCAL = "fe80::ce47:52ff:fe4e:4554"
NETWORKD = "[Match]\nName=eth0\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n"
OWN_RUN = "mount -t tmpfs tmpfs /run && mount -o remount,bind,ro /sys && mkdir -p /run/systemd && "


class Place(NamedTuple):
    """A node with its daemon, the router behind it, and a guest on tap0."""

    router: Machine
    node: Machine
    guest: Machine
    daemon: Daemon


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with closing(Lab()) as lab:
        router = lab.router()
        node = lab.node("node1", router)
        settled(router)
        node.write(CONFIG, CONF)
        node.run("mkdir", "-p", "/etc/snf-network")
        guest = lab.guest(node, "tap0", MAC)
        guest.write("/etc/machine-id", f"{1:032x}\n")  # networkd asks for nothing without one
        guest.write("/etc/systemd/network/10.network", NETWORKD)
        node.up(ENV)
        with running(node) as daemon:
            yield Place(router, node, guest, daemon)


@pytest.fixture(autouse=True)
def fresh(place: Place) -> None:
    """The guest has booted: no address but the link-local one, no route, no resolver, nothing that another
    client has set.
    """
    guest = place.guest
    for key, value in (
        ("accept_ra", 1),
        ("autoconf", 1),
        ("addr_gen_mode", 0),
    ):  # NetworkManager sets the last
        guest.sysctl(f"net/ipv6/conf/eth0/{key}", value)
    guest.run(
        "sh", "-c", "ip addr flush dev eth0; ip link set eth0 down; : > /etc/resolv.conf; ip link set eth0 up"
    )
    assert until(lambda: "state UP" in guest.out("ip", "link", "show", "eth0"), 20)
    assert until(
        lambda: lines(guest.out("ip", "-6", "-o", "addr", "show", "dev", "eth0", "-tentative"), "fe80"), 10
    )


def has_address(guest: Machine, address: str) -> bool:
    return bool(lines(guest.out("ip", "-o", "addr", "show", "eth0"), f" {address}/"))


def within_own_run(guest: Machine, command: str, timeout: int = 25) -> subprocess.CompletedProcess[str]:
    """A client that keeps state in /run, which is the whole machine's, gets one of its own."""
    return guest.run("unshare", "-m", "sh", "-c", OWN_RUN + command, timeout=timeout)


def assert_leads_out(place: Place) -> None:
    """An IPv4 lease: the address, the way out, and the router can reach the guest. dhclient's script writes
    resolv.conf last.
    """
    assert has_address(place.guest, IP)
    assert place.guest.ping(GATEWAY)
    assert place.router.ping(IP)
    assert until(lambda: RESOLVER in place.guest.read("/etc/resolv.conf"))


def test_udhcpc(place: Place) -> None:
    place.guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1")
    assert_leads_out(place)


def test_dhclient(place: Place) -> None:
    run = ("dhclient", "-4", "-1", "-d", "-lf", "/var/lib/dhcp/v4", "-pf", "/var/dhclient.pid", "eth0")
    client = subprocess.Popen(place.guest.command(*run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: has_address(place.guest, IP), 15)
        assert_leads_out(place)
    finally:
        client.terminate()
        client.wait(10)


def test_dhclient_that_comes_from_another_network_is_refused_and_starts_anew(place: Place) -> None:
    place.guest.write(
        "/var/lib/dhcp/old",
        """lease {
  interface "eth0";
  fixed-address 10.9.9.9;
  option dhcp-server-identifier 192.0.2.1;
  renew never; rebind never; expire never;
}
""",
    )
    before = place.daemon.counts("tap0").get("nak", 0)
    run = ("dhclient", "-4", "-1", "-v", "-d", "-lf", "/var/lib/dhcp/old", "-pf", "/var/dhclient.pid", "eth0")
    client = subprocess.Popen(place.guest.command(*run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: has_address(place.guest, IP), 20)
        assert place.daemon.counts("tap0")["nak"] == before + 1
    finally:
        client.terminate()
        client.wait(10)


def test_dhcpcd(place: Place) -> None:
    within_own_run(place.guest, "exec dhcpcd -4 -1 -B -A eth0")
    assert_leads_out(place)


def test_networkd_has_both_families(place: Place) -> None:
    before = place.daemon.counts("tap0").get("reply6", 0)
    client = subprocess.Popen(
        place.guest.command("unshare", "-m", "sh", "-c", OWN_RUN + "exec /lib/systemd/systemd-networkd"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert until(lambda: has_address(place.guest, IP) and has_address(place.guest, IP6), 20)
        assert place.guest.ping(GATEWAY) and place.guest.ping(GATEWAY6)
        assert place.daemon.counts("tap0").get("reply6", 0) > before
    finally:
        client.terminate()
        client.wait(10)


def test_dhclient_leases_the_routed_ipv6_address(place: Place) -> None:
    run = ("dhclient", "-6", "-1", "-d", "-lf", "/var/lib/dhcp/v6", "-pf", "/var/dhclient6.pid", "eth0")
    client = subprocess.Popen(place.guest.command(*run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: has_address(place.guest, IP6), 15)
        assert until(lambda: "default" in place.guest.out("ip", "-6", "route"))
        assert place.guest.ping(GATEWAY6) and place.router.ping(IP6)
    finally:
        client.terminate()
        client.wait(10)


def test_dhclient_asks_for_information_only(place: Place) -> None:
    place.guest.run(
        "dhclient", "-6", "-S", "-1", "-lf", "/var/lib/dhcp/v6s", "-pf", "/var/dhclient6s.pid", "eth0"
    )
    assert until(lambda: RESOLVER6 in place.guest.read("/etc/resolv.conf"))
    assert "search example.org" in place.guest.read("/etc/resolv.conf")


def test_wide_dhcp6c_asks_for_information_only(place: Place) -> None:
    place.guest.write(
        "/var/dhcp6c.conf",
        "interface eth0 { information-only; request domain-name-servers; request domain-name; };\n",
    )
    run = ("dhcp6c", "-f", "-D", "-i", "-p", "/var/dhcp6c.pid", "-c", "/var/dhcp6c.conf", "eth0")
    ran = place.guest.run("timeout", "10", *run, check=False)
    said = ran.stdout + ran.stderr
    assert f"nameserver[0] {RESOLVER6}" in said and "Domain search list[0] example.org." in said, said


def global_addresses(guest: Machine) -> set[str]:
    listed = guest.out("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global").splitlines()
    return {line.split()[3].partition("/")[0] for line in listed}


def test_a_guest_that_would_form_another_address_has_the_one_that_is_routed(place: Place) -> None:
    """RFC 7217, as NetworkManager, Windows and macOS do: it is told to form none, asks, and gets out."""
    guest = place.guest
    guest.sysctl("net/ipv6/conf/eth0/stable_secret", "2001:db8::1:2:3:4")
    guest.run("sh", "-c", "ip link set eth0 down; ip link set eth0 up")
    try:
        assert until(lambda: "default" in guest.out("ip", "-6", "route"), 20)
        assert global_addresses(guest) == set()
        test_dhclient_leases_the_routed_ipv6_address(place)
    finally:
        guest.sysctl("net/ipv6/conf/eth0/addr_gen_mode", 0)


@contextmanager
def reconfigured(place: Place, more: str) -> Iterator[None]:
    """The daemon with further settings."""

    def configure(text: str) -> None:
        place.node.write(CONFIG, text)
        place.daemon.process.send_signal(1)
        place.daemon.told("RELOADING=1")
        place.daemon.told("READY=1")

    configure(CONF + more)
    try:
        yield
    finally:
        configure(CONF)


def test_in_mode_slaac_the_kernel_forms_its_address_and_reaches_the_router(place: Place) -> None:
    with reconfigured(place, "mode = slaac\n"):
        place.guest.run("rdisc6", "-1", "eth0")
        assert until(lambda: global_addresses(place.guest) == {IP6}, 10)
        assert place.guest.ping(GATEWAY6) and place.router.ping(IP6)


def test_rdisc6(place: Place) -> None:
    said = place.guest.out("rdisc6", "-1", "eth0")
    for words in (
        "Stateful address conf.    :          Yes",
        "Autonomous address conf.:           No",
        "Stateful other conf.      :          Yes",
        " Prefix                   : 2001:db8:1::/64",
        f" Recursive DNS server     : {RESOLVER6}",
        " DNS search list          : example.org",
        f" from {TAP_LINK_LOCAL}",
    ):
        assert words in said, said


@pytest.mark.parametrize("address", (TAP_LINK_LOCAL, GATEWAY6, "2001:db8:1::abcd"))
@pytest.mark.parametrize("source", ((), ("-s", IP6)), ids=("", "from a global address"))
def test_ndisc6(place: Place, address: str, source: tuple[str, ...]) -> None:
    """It takes an answer from the address that it asks for, and from no other; pins and guard of the tap are
    in place.
    """
    place.guest.ip(f"addr add {IP6}/64 dev eth0 nodad")
    assert "CC:47:52:4E:45:54" in place.guest.out("ndisc6", "-1", "-r", "3", *source, address, "eth0")


@pytest.mark.parametrize("address", (GATEWAY6, "2001:db8:1::abcd"))
def test_node_is_the_neighbour_for_the_whole_prefix(place: Place, address: str) -> None:
    place.guest.ip(f"-6 route add {address}/128 dev eth0")
    place.guest.ping(address, wait=0.3)
    assert "lladdr cc:47:52:4e:45:54" in place.guest.out("ip", "-6", "neigh", "show", address)


def test_managed_mode_gives_the_routed_address_and_no_other(place: Place) -> None:
    """The kernel forms none, so a client with privacy addresses has the one that is routed."""
    with reconfigured(place, "mode = managed\n"):
        said = place.guest.out("rdisc6", "-1", "eth0")
        assert (
            "Stateful address conf.    :          Yes" in said
            and "Autonomous address conf.:           No" in said
        ), said
        test_dhclient_leases_the_routed_ipv6_address(place)


def test_dhcp_yaml(place: Place) -> None:
    """What it says of the guest's network is what the guest is told, and what `plan` and `show` say."""
    path = "/etc/snf-network/dhcp.yaml"
    text = block("docs/nfdhcpd.md", "dhcp.yaml").replace("guests:", f"{ENV['NETWORK_NAME']}:")
    assert "yaml" not in Path(f"/proc/{place.daemon.pid}/maps").read_text(), (
        "without the file, it costs nothing"
    )
    place.node.write(path, text)
    try:
        assert place.daemon.has_logged(f"{path}: defaults and 1 networks")
        place.guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1")
        said = place.guest.read("/etc/resolv.conf")
        assert "domain guests.example.com" in said and "192.0.2.53" in said and RESOLVER == "192.0.2.53"
        assert f"dhcp.yaml: LEASE  3600 (networks.{ENV['NETWORK_NAME']}.lease)" in re.sub(
            " {2,}", "  ", place.daemon.ctl("show", "tap0").stdout
        )
        plan = place.node.out(SCRIPTS / "snf-network", "plan", "--record", "tap0")
        assert (
            "\n\n# dhcp.yaml\n" in plan
            and f"LEASE=3600  # networks.{ENV['NETWORK_NAME']}.lease, line 9\n" in plan
        )
        place.node.write(path, text.replace("3600", "36"))
        wrong = f"{path}:9: networks.{ENV['NETWORK_NAME']}.lease: '36' cannot be used; a number of seconds from 60"
        assert place.daemon.has_logged(wrong) and place.daemon.show("tap0")["dhcp_yaml"]
        assert f"dhcp.yaml: error: {wrong}" in place.daemon.ctl("lint", check=False).stdout
        assert f"error: {wrong}" in place.node.run(SCRIPTS / "nfdhcpd", "--check", check=False).stdout
        assert (
            wrong in place.node.run(SCRIPTS / "snf-network", "plan", "--record", "tap0", check=False).stderr
        )
    finally:
        place.node.run("rm", path)
    assert until(lambda: place.daemon.show("tap0")["dhcp_yaml"] == [])


FAR = "169.254.1.1"
"""A gateway that is in no prefix of the guest."""
INSTALLER = "-V d-i -O subnet -O broadcast -O router -O domain -O dns -O hostname -O ntpsrv"
CLIENTS = {
    "udhcpc": "exec udhcpc -i eth0 -f -t 10 -T 1",
    "udhcpc of Debian's installer": f"exec udhcpc -i eth0 -f -t 10 -T 1 {INSTALLER}",
    "dhcpcd": "exec dhcpcd -4 -B -A eth0",
    "dhclient": "exec dhclient -4 -d -lf /run/lease -pf /run/dhclient.pid eth0",
    "NetworkManager": "mkdir /run/dbus /run/NetworkManager; dbus-daemon --system --nopidfile; exec NetworkManager -n",
    "systemd-networkd": "exec /lib/systemd/systemd-networkd",
    "ipconfig of klibc": "/usr/lib/klibc/bin/ipconfig -t 10 eth0; exec sleep 60",
}


SUBNETS = {"a subnet": (ENV["NETWORK_SUBNET"], GATEWAY), "a /32": (f"{IP}/32", FAR)}


@pytest.fixture(scope="module", params=SUBNETS)
def gateway(place: Place, request: pytest.FixtureRequest) -> Iterator[str]:
    """The guest's gateway: in its subnet, or elsewhere."""
    subnet, gateway = SUBNETS[request.param]
    keys = {"indev": "tap0", "ip": IP, "mac": MAC, "hostname": "vm1", "subnet": subnet, "gateway": gateway}
    before = place.node.read("/var/lib/nfdhcpd/tap0")
    bind(place.node, "tap0", binding(**keys))
    try:
        assert until(lambda: place.daemon.show("tap0")["binding"]["hostname"] == "vm1")
        yield gateway
    finally:
        bind(place.node, "tap0", before)
        assert until(lambda: place.daemon.show("tap0")["binding"]["hostname"] != "vm1")


@contextmanager
def client(guest: Machine, command: str) -> Iterator[None]:
    """A client with all that it starts, which ends with the first process of its PID namespace."""
    run = ("unshare", "-mpf", "--mount-proc", "sh", "-c", OWN_RUN + command)
    started = subprocess.Popen(guest.command(*run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        first = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        for pid in map(int, first):
            os.kill(pid, signal.SIGKILL)
        started.wait(10)


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_gets_out(place: Place, gateway: str, name: str) -> None:
    """Its address, its way out, and the way back: the table in docs/nfdhcpd.md."""
    guest = place.guest
    with client(guest, CLIENTS[name]):
        assert until(lambda: f"default via {gateway}" in guest.out("ip", "route"), 15), guest.out(
            "ip", "route"
        )
        assert has_address(guest, IP) and guest.ping(GATEWAY) and place.router.ping(IP)


def test_the_table_has_each_client() -> None:
    rows = block_of_table("What clients accept")
    assert {name for name in CLIENTS if not any(row.startswith(f"| {name}") for row in rows)} == set()


def block_of_table(title: str) -> list[str]:
    text = (ROOT / "docs" / "nfdhcpd.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("|")]
