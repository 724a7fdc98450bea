"""What a routed guest can do to the node itself: not fill its neighbour tables, not reach its services."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.netns import frames as f
from tests.netns.corpus import (
    FREE,
    GATEWAY,
    GATEWAY6,
    IP,
    IP6,
    LINK_LOCAL,
    MAC,
    NODE,
    NODE6,
    SLLAO,
    TAP_LINK_LOCAL,
    TLLAO,
    to_all,
    to_group,
    to_node,
)
from tests.netns.lab import Ear, Lab, Machine, drops, send, until, without_rules
from tests.netns.test_routed import ENV, Site, site

MANY, BOUND = 200, 20
"""Addresses that a guest tries, and fewer than the node may note: gc_thresh3 (1024) is for all namespaces."""
PREFIX4, PREFIX6 = "203.0.114", "2001:db8:77::"
ALLOWING = {
    **ENV,
    "TAGS": f"snf-network:0:allow:{PREFIX4}.0/24 snf-network:0:allow:{PREFIX6}/64 snf-network:0:allow:2001:db8:1::99",
}


@pytest.fixture
def routed(lab: Lab) -> Site:
    return site(lab)


@pytest.fixture
def allowing(lab: Lab) -> Site:
    return site(lab, ALLOWING)


def noted(node: Machine, tap: str = "tap0") -> int:
    """How many neighbours of a tap count for gc_thresh3."""
    listed = (node.out("ip", family, "neigh", "show", "dev", tap) for family in ("-4", "-6"))
    return sum("PERMANENT" not in line for text in listed for line in text.splitlines())


FLOODS = {
    "solicitations": lambda n: to_group(f.ns(f"fe80::77:{n:x}", TAP_LINK_LOCAL, SLLAO)),
    "pings": lambda n: to_node(f.ping(f"fe80::77:{n:x}", TAP_LINK_LOCAL)),
    "solicitations of a prefix": lambda n: to_group(f.ns(f"{PREFIX6}{n:x}", TAP_LINK_LOCAL, SLLAO)),
    "router solicitations of a prefix": lambda n: to_group(f.rs(f"{PREFIX6}{n:x}", SLLAO)),
    "advertisements": lambda n: to_group(f.na(IP6, f"fe80::77:{n:x}", TLLAO)),
    "advertisements of a prefix": lambda n: to_group(f.na(IP6, f"{PREFIX6}{n:x}", TLLAO)),
    "ARP of a prefix": lambda n: to_all(f.arp(1, MAC, f"{PREFIX4}.{n}", GATEWAY)),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_no_guest_fills_the_neighbour_tables(allowing: Site, kind: str) -> None:
    """RFC 6583: one table for all devices. Without our tables, each address would be an entry."""
    _, node, guest = allowing
    frames = [FLOODS[kind](number) for number in range(1, MANY + 1)]
    family, reason = ("arp", "arp-neighbours") if "ARP" in kind else ("inet", "neighbours")
    send(guest, "eth0", *frames)
    assert until(lambda: drops(node, family)["tap0", reason] >= MANY - BOUND)
    assert noted(node) <= BOUND
    without_rules(node)
    send(guest, "eth0", *frames)
    assert until(lambda: noted(node) > 3 * BOUND), noted(node)


def test_other_addresses_do_not_suffer(routed: Site, lab: Lab) -> None:
    """Its EUI-64 address, one that passed before (RFC 7217), its IPv6 address, and all of another guest."""
    router, node, guest = routed
    mac = "aa:00:00:00:00:11"
    other = lab.guest(node, "tap9", mac, "198.51.100.11/24", gateway=GATEWAY)
    node.up(
        {
            **ENV,
            "INTERFACE": "tap9",
            "MAC": mac,
            "IP": "198.51.100.11",
            "INTERFACE_UUID": "x",
            "INSTANCE": "x",
        }
    )
    guest.ip(f"addr add {FREE}/64 dev eth0 nodad")
    assert guest.ping(f"{TAP_LINK_LOCAL}%eth0", source=f"{FREE}%eth0")
    send(guest, "eth0", *(FLOODS["solicitations"](number) for number in range(MANY)))
    for source in (FREE, LINK_LOCAL):
        guest.run("ip", "neigh", "flush", "dev", "eth0")
        assert guest.ping(f"{TAP_LINK_LOCAL}%eth0", source=f"{source}%eth0")
    guest.run("ip", "neigh", "flush", "dev", "eth0")
    assert guest.ping(GATEWAY6) and router.ping(IP6)
    other.ip("addr add fe80::1:2:3/64 dev eth0 nodad")
    assert other.ping(f"{TAP_LINK_LOCAL}%eth0", source="fe80::1:2:3%eth0")


def test_what_is_forwarded_is_not_counted(allowing: Site) -> None:
    """Each address of an allowed prefix, at once: the node notes none of them."""
    router, node, guest = allowing
    ear = Ear(router, "br0")
    frames = (
        *(to_node(f.udp(f"{PREFIX6}{number:x}", GATEWAY6)) for number in range(1, 101)),
        *(to_node(f.udp(f"{PREFIX4}.{number}", GATEWAY)) for number in range(1, 101)),
    )
    send(guest, "eth0", *(f.stamp(frame, number) for number, frame in enumerate(frames, 1)))
    with closing(ear.socket):
        assert ear.tokens(200) >= set(range(1, 201))
    assert drops(node, "inet")["tap0", "neighbours"] == 0


# --- services


@pytest.fixture(scope="module")
def serving() -> Iterator[Site]:
    """A node with programs that listen at all its addresses."""
    with closing(Lab()) as lab:
        made = site(lab)
        with made.node.inside():
            held = [listener(kind, port) for kind in KINDS.values() for port in (PORT, PORT + 1)]
        yield made
        for one in held:
            one.close()


KINDS, PORT = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}, 1811
ADDRESSES = (NODE, NODE6, TAP_LINK_LOCAL)


def listener(kind: socket.SocketKind, port: int) -> socket.socket:
    """Answers each connection or datagram, of either family."""
    made = socket.socket(socket.AF_INET6, kind)
    made.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        made.listen(64)
    else:
        threading.Thread(target=echo, args=(made,), daemon=True).start()
    return made


def echo(made: socket.socket) -> None:
    while True:
        try:
            data, sender = made.recvfrom(9000)
            made.sendto(data, sender)
        except OSError:
            return


def reaches(machine: Machine, kind: str, address: str, port: int = PORT, size: int = 4) -> bool:
    """True if a program answers there."""
    with machine.inside():
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, KINDS[kind])
        scope = socket.if_nametoindex("eth0") if address.startswith("fe80") else 0
    with closing(made):
        made.settimeout(0.4)
        try:
            made.connect((address, port, 0, scope) if ":" in address else (address, port))
            if kind == "udp":
                made.send(bytes(size))
                return len(made.recv(9000)) == size
        except OSError:
            return False
        return True


def say(node: Machine, services: str) -> None:
    """NODE_SERVICES, as an administrator changes it."""
    node.write("/etc/default/snf-network", f'NFDHCPD_ENGINE=none\nNODE_SERVICES="{services}"\n')
    node.script("snf-network", {}, "load")


def open_to(machine: Machine) -> set[tuple[str, str]]:
    return {(kind, address) for kind in KINDS for address in ADDRESSES if reaches(machine, kind, address)}


def test_services_of_the_node_are_closed(serving: Site) -> None:
    say(serving.node, "")
    assert open_to(serving.guest) == set()
    assert drops(serving.node, "inet")["tap0", "service"] > 0


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_closed_service_is_refused_at_once(serving: Site, address: str) -> None:
    """Not silence until the guest gives up."""
    say(serving.node, "")
    scope = '0, socket.if_nametoindex("eth0")' if address.startswith("fe80") else ""
    family = "AF_INET6" if ":" in address else "AF_INET"
    program = (
        f"import socket; s = socket.socket(socket.{family}); s.settimeout(2)\n"
        f"print(s.connect_ex(({address!r}, {PORT}, {scope})))"
    )
    time.sleep(1)  # the kernel sends one host one error a second (icmp_ratelimit)
    assert serving.guest.out("python3", "-c", program) == f"{errno.ECONNREFUSED}\n"


@pytest.mark.parametrize(
    ("services", "wanted"),
    [
        ("any", {(kind, address) for kind in KINDS for address in ADDRESSES}),
        ("22/tcp 1811/tcp", {("tcp", address) for address in ADDRESSES}),
        ("1800-1811/udp", {("udp", address) for address in ADDRESSES}),
        (f"1811/tcp@{NODE} 1811/udp@{NODE6}", {("tcp", NODE), ("udp", NODE6)}),
        ("1812/tcp", set()),
    ],
)
def test_node_services_opens_them(serving: Site, services: str, wanted: set[tuple[str, str]]) -> None:
    say(serving.node, services)
    assert open_to(serving.guest) == wanted


def test_an_open_service_takes_fragments(serving: Site) -> None:
    """The last ones have no port."""
    say(serving.node, "1811/udp")
    for address in (NODE, NODE6):
        assert reaches(serving.guest, "udp", address, size=5000)
        assert not reaches(serving.guest, "udp", address, PORT + 1, size=5000)


def test_what_a_guest_needs_of_its_router(serving: Site) -> None:
    """Ping, also with fragments; and traceroute, which wants to hear that the port is closed."""
    say(serving.node, "")
    for address in (NODE, NODE6):
        assert serving.guest.ping(address)
        serving.guest.run("ping", "-n", "-c1", "-W2", "-s3000", address)
        with serving.guest.inside():
            probe = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        with closing(probe):
            probe.settimeout(2)
            probe.connect((address, 33434))
            probe.send(b"probe")
            with pytest.raises(ConnectionRefusedError):
                probe.recv(100)


def test_another_dhcp_server_on_the_node(serving: Site) -> None:
    """Where nfdhcpd does not serve the NIC. test_routed.py has one of IPv4."""
    say(serving.node, "")
    with serving.node.inside():
        server = listener(socket.SOCK_DGRAM, 547)
    with closing(server):
        assert reaches(serving.guest, "udp", NODE6, 547)


def test_the_node_speaks_to_its_guest(serving: Site) -> None:
    """Its connections are answered; and the services of others stay open to others."""
    say(serving.node, "")
    with serving.guest.inside():
        heard = listener(socket.SOCK_STREAM, 2222)
    with closing(heard):
        assert reaches(serving.node, "tcp", IP, 2222)
    uplink = serving.node.out("cat", "/sys/class/net/eth1/address").strip()
    for address in (NODE, NODE6):
        serving.router.ip(
            f"route replace {address} dev br0",
            f"neigh replace {address} lladdr {uplink} dev br0 nud permanent",
        )
    assert reaches(serving.router, "tcp", NODE) and reaches(serving.router, "udp", NODE6)
