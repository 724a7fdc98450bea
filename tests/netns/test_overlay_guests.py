"""What guests of an overlay are told, and by whom: their MTU, by a DHCP client and by the kernel's own use of
advertisements.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import pytest

from lab.overlay import Cluster, cluster, environment
from snf_network.selftest import frames as f
from tests.dhcpd.netns.daemon import running
from tests.netns.lab import Machine, until
from tests.netns.test_hooks import RECONFIGURE, after
from tests.netns.test_networks import command, listening, net

FILE = "networks: {prv0: {kind: overlay, vni: 100, bridge: ov100}}\n"
MAC = "aa:00:00:00:01:%02x"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(size=2) as made:
        yield made


def nic(number: int, tags: str = "nfdhcpd", bridge: str = "ov100", **more: str) -> dict[str, str]:
    """What Ganeti says of the NIC tap<number>: 10.1.0.<number>, dual stack."""
    said: Mapping[str, str] = environment(f"tap{number}", MAC % number, bridge, tags, f"10.1.0.{number}")
    return {
        **said,
        "NETWORK_GATEWAY": "10.1.0.254",
        "NETWORK_SUBNET6": "2001:db8:9::/64",
        "NETWORK_GATEWAY6": "2001:db8:9::fe",
        **more,
    }


@contextmanager
def guest(made: Cluster, node: Machine, said: Mapping[str, str], *addresses: str) -> Iterator[Machine]:
    """A guest that is up, and knows nothing yet but these addresses."""
    found = made.lab.guest(node, said["INTERFACE"], said["MAC"], *addresses)
    try:
        node.up(said)
        yield found
    finally:
        node.run("ip", "link", "del", said["INTERFACE"], check=False)
        found.close()
        command(node, "gc")


def told(guest: Machine) -> tuple[str, str]:
    """The MTU of its device after DHCP, and the one of IPv6 after an advertisement."""
    guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1")
    link = json.loads(guest.out("ip", "-j", "link", "show", "eth0"))[0]
    return str(link["mtu"]), guest.read("/proc/sys/net/ipv6/conf/eth0/mtu").strip()


@pytest.mark.parametrize(
    ("keys", "underlay", "expected"),
    [
        ("", 1500, "1450"),
        (", guest_mtu: 1400", 1500, "1400"),
        (", guest_mtu: 1500", 1500, "1500"),
        ("", 9000, "1500"),
        (", mtu: 9000", 9000, "8950"),
        (", mtu: 1300", 1500, "1300"),
    ],
)
def test_a_guest_is_told_what_crosses_in_one_packet(
    nodes: Cluster, keys: str, underlay: int, expected: str
) -> None:
    nodes.say(FILE.replace("ov100}", f"ov100{keys}}}"))
    mtu = keys.rpartition(" mtu: ")[2] if " mtu: " in keys else "1500"
    for node in nodes.nodes:
        nodes.switch.ip(f"link set {node.name} mtu {underlay}")
        node.ip(f"link set eth0 mtu {underlay}")
        assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n")
    one, two = nodes.nodes
    with guest(nodes, one, nic(1)) as asking, guest(nodes, two, nic(2, ""), "10.1.0.2/24") as other:
        other.ip(f"link set eth0 mtu {mtu}")
        asking.ip(f"link set eth0 mtu {mtu}")
        for device in ("ov100", "vx100", "tap1"):
            assert json.loads(one.out("ip", "-j", "link", "show", device))[0]["mtu"] == int(mtu)
        with running(one):
            assert told(asking) == (expected, expected)
        fits = "do" if int(expected) + 50 <= underlay else "dont"
        for device_mtu, how in ((expected, fits), (mtu, "dont")):  # as told; then as if they did not listen
            for machine in (asking, other):
                machine.ip(f"link set eth0 mtu {device_mtu}")
            size = int(device_mtu) - 28
            words = ("ping", "-n", "-c", 2, "-i", 0.2, "-W", 2, "-s", size, "-M", how, "10.1.0.2")
            assert asking.run(*words, check=False).returncode == 0, size


def test_a_tag_says_it_better_and_another_bridge_says_nothing(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    nodes.say(FILE)
    node.ip("link set eth0 mtu 1500", "link add br7 type bridge", "link set br7 up")
    assert net(node, "up")[0] == 0
    for said, expected in (
        (nic(1), ["MTU=1450"]),
        (nic(1, "nfdhcpd nfdhcpd:MTU:1380"), ["MTU=1380"]),
        (nic(1, "nfdhcpd nfdhcpd:MTU:1380", TAGS="snf-network:0:no-nfdhcpd:MTU"), ["MTU=1450"]),
        (nic(1, bridge="br7"), []),
    ):
        with guest(nodes, node, said):
            assert [line for line in binding(node) if line.startswith("MTU")] == expected
    for alias in ("snf-network overlay prv0 guest_mtu 99999", "snf-network overlay", "guest_mtu 1450"):
        node.ip(f'link set br7 alias "{alias}"')
        with guest(nodes, node, nic(1, bridge="br7")):
            assert not [line for line in binding(node) if line.startswith("MTU")]


def binding(node: Machine, tap: str = "tap1") -> list[str]:
    return node.read(f"/var/lib/nfdhcpd/{tap}").splitlines()


def test_another_mtu_reaches_live_guests_by_repair(nodes: Cluster) -> None:
    node = nodes.nodes[0]
    nodes.say(FILE)
    assert net(node, "up")[0] == 0
    with guest(nodes, node, nic(1)):
        assert "MTU=1450" in binding(node)
        nodes.say(FILE.replace("ov100}", "ov100, guest_mtu: 1400}"))
        assert "missing: ip link set dev ov100 alias" in net(node, "check")[1]
        assert net(node, "up")[0] == 0 and net(node, "check") == (0, "clean\n")
        assert "guest_mtu is 1400, was 1450" in command(node, "check")[1]
        assert command(node, "repair")[0] == 0 and "MTU=1400" in binding(node)
        assert command(node, "check") == (0, "clean\n")
        node.ip('link set ov100 alias ""')
        assert command(node, "repair")[0] == 0 and "MTU=1400" in binding(node)
        assert until(lambda: command(node, "check") == (0, "clean\n"), 5)


def test_an_underlay_whose_address_is_on_lo(nodes: Cluster) -> None:
    """As with a routed fabric: the devices that lead to the other nodes say it."""
    node = nodes.nodes[0]
    nodes.say(FILE)
    node.ip("link set eth0 mtu 1480", "addr del 10.99.0.1/24 dev eth0", "addr add 10.99.0.101/24 dev eth0")
    node.ip("addr add 10.99.0.1/32 dev lo")
    try:
        assert net(node, "up")[0] == 0
        assert "guest_mtu 1430" in node.out("ip", "link", "show", "ov100")
    finally:
        node.ip("addr del 10.99.0.1/32 dev lo", "addr flush dev eth0", "addr add 10.99.0.1/24 dev eth0")
        node.ip("link set eth0 mtu 1500")


# --- who tells them


DNSMASQ = """\
port=0
interface=eth0
dhcp-range=10.1.0.100,10.1.0.120,255.255.255.0,300
dhcp-option=option:router,10.1.0.66
dhcp-range=2001:db8:66::,ra-only
ra-param=eth0,4,60
enable-ra
"""


@contextmanager
def another_server(machine: Machine) -> Iterator[None]:
    """A real DHCP server and router in a guest: advertises itself every four seconds."""
    machine.write("/etc/dnsmasq.x", DNSMASQ)
    words = ("-k", "-C", "/etc/dnsmasq.x", "-u", "root", "-l", "/var/leases", "-x", "/var/x.pid")
    server = subprocess.Popen(
        machine.command("dnsmasq", *words), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        assert until(lambda: ":67 " in machine.out("ss", "-uln"), 5)
        yield
    finally:
        server.terminate()
        server.wait(10)


def advertised(guest: Machine, by: str, seconds: float = 6) -> bool:
    """True if an advertisement of that MAC comes to the guest, which asks for one (dnsmasq waits up to 20 s)."""
    mac = json.loads(guest.out("ip", "-j", "link", "show", "eth0"))[0]["address"]
    solicitation = f.icmp6("::", "ff02::2", 133, bytes(4))
    with listening(guest, seconds) as heard, closing(guest.packet_socket("eth0")) as mouth:
        mouth.send(f.ethernet(mac, "33:33:00:00:00:02", solicitation))
    return any(one[6:12] == f.octets(by) and one[12:14] == b"\x86\xdd" and one[54] == 134 for one in heard)


def leased(guest: Machine) -> str:
    """The address that a DHCP client gets."""
    guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1")
    found = json.loads(guest.out("ip", "-j", "-4", "addr", "show", "eth0"))[0]["addr_info"]
    return str(found[0]["local"])


def reconfigured(node: Machine, said: Mapping[str, str]) -> None:
    """The instance has been modified, and asks for it to reach its running NIC."""
    env = after("SET_PARAMS", {**said, "TAGS": "synnefo:network:0:reconfigure"})
    assert node.script(RECONFIGURE, env).returncode == 0


def test_nfdhcpd_goes_on_and_off_for_a_live_guest_and_others_are_heard_or_not(nodes: Cluster) -> None:
    """A DHCP server and router on the bridge of another node."""
    nodes.say(FILE)
    one, two = nodes.nodes
    for node in nodes.nodes:
        assert net(node, "up")[0] == 0
    addresses = ("10.1.0.66/24", "2001:db8:66::1/64")
    with (
        guest(nodes, one, nic(1)) as asking,
        guest(nodes, one, nic(3, "")) as beside,
        guest(nodes, two, nic(2, ""), *addresses) as server,
        running(one) as daemon,
        another_server(server),
    ):
        assert leased(asking) == "10.1.0.1" and not advertised(asking, MAC % 2)
        assert leased(beside).startswith("10.1.0.1") and leased(beside) != "10.1.0.1", "of that server"
        assert advertised(beside, MAC % 2)
        assert "foreign" in command(one, "drops")[1]
        reconfigured(one, nic(1, ""))
        assert until(lambda: daemon.states() == {}, 3) and command(one, "check") == (0, "clean\n")
        assert advertised(asking, MAC % 2)
        asking.ip("addr flush dev eth0")
        assert leased(asking) not in ("10.1.0.1", "")
        reconfigured(one, nic(1))
        assert until(lambda: daemon.states() == {"tap1": "served"}, 3)
        assert leased(asking) == "10.1.0.1" and not advertised(asking, MAC % 2)
        assert command(one, "check") == (0, "clean\n")


@pytest.mark.parametrize("tags", ["nfdhcpd", "nfdhcpd private-filtered", "nfdhcpd ip-filtered"])
@pytest.mark.parametrize("profile", ["", "protected"])
def test_a_served_guest_hears_no_server_beyond_whatever_else_it_has(
    nodes: Cluster, tags: str, profile: str
) -> None:
    nodes.say(FILE)
    one, two = nodes.nodes
    for node in nodes.nodes:
        assert net(node, "up")[0] == 0
    said = nic(1, tags, TAGS=f"synnefo:network:0:{profile}" if profile else "")
    source, lies = (
        MAC % 2,
        {
            "DHCP": f.udp("10.1.0.2", "10.1.0.1", 67, 68),
            "DHCPv6": f.udp("fe80::2", f.eui64(MAC % 1), 547, 546),
            "RA": f.icmp6("fe80::2", f.ALL_NODES, 134, bytes(12)),
            "redirect": f.icmp6("fe80::2", f.ALL_NODES, 137, bytes(36)),
        },
    )
    good = {
        "UDP": f.udp("10.1.0.2", "10.1.0.1", 53, 4000),
        "fragment": f.ip("10.1.0.2", "10.1.0.1", f.UDP, bytes((0, 67, 0, 68, 1, 2, 3, 4)), fragment=100),
        "ARP": f.arp(1, source, "10.1.0.2", "10.1.0.1"),
        "echo": f.ping("10.1.0.2", "10.1.0.1"),
        "NS": f.ns("fe80::2", f.eui64(MAC % 1)),
    }

    def heard(packets: Mapping[str, f.Packet]) -> set[str]:
        found = set()
        for name, packet in packets.items():
            frame = f.ethernet(source, f.BROADCAST, packet)
            with listening(mine, 0.05) as caught:
                mouth.send(frame)
            found |= {name for got in caught if got[:40] == frame[:40]}  # br_netfilter cuts off what pads it
        return found

    with (
        guest(nodes, one, said) as mine,
        guest(nodes, two, nic(2, "")) as other,
        closing(other.packet_socket("eth0")) as mouth,
    ):
        assert heard(lies) == set() and heard(good) == good.keys()
        one.run("nft", "flush", "set", "bridge", "snf_network", "overlays")
        assert heard(lies) == lies.keys(), "without our rule they would be heard"
        assert command(one, "repair")[0] == 0 and heard(lies) == set()
