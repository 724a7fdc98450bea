"""A central DHCP server: nfdhcpd relays to a real one, with the configuration of docs/nfdhcpd.md, and passes on no
reply that is not the guest's.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import pytest

from tests.blocks import block
from tests.dhcpd.netns.daemon import Daemon, bind, binding, running
from tests.dhcpd.netns.test_clients import has_address
from tests.dhcpd.netns.test_daemon import discover, tap
from tests.netns.lab import Lab, Machine, environment, until

(TAG,) = re.findall("(dhcp:relay:[0-9.]+)", block("docs/nfdhcpd.md", "A central DHCP server"))
SERVER = TAG.rpartition(":")[2]
NODE, LIAR = "203.0.113.11", "203.0.113.66"
ENV = environment("add-routed-ifup-1")
ENV["NETWORK_TAGS"] += f" {TAG}"
MAC, IP, OTHER = ENV["MAC"], ENV["IP"], "aa:00:00:00:00:02"
RUNS = {
    "kea": (
        "A central DHCP server #2",
        "/etc/kea/dhcp4.conf",
        ("env", "KEA_PIDFILE_DIR=/tmp", "KEA_LOCKFILE_DIR=none", "kea-dhcp4", "-c"),
    ),
    "isc": (
        "A central DHCP server #3",
        "/etc/dhcp/dhcpd.conf",
        ("dhcpd", "-4", "-f", "-d", "-lf", "/var/leases", "-cf"),
    ),
}


class Place(NamedTuple):
    """A node with its daemon, the server, and a guest on tap0."""

    server: Machine
    node: Machine
    guest: Machine
    daemon: Daemon


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with closing(Lab()) as lab:
        router = lab.router()
        node = lab.node("node1", router)
        server = lab.machine("central")
        lab.cable(node, "eth0", server, "eth0")
        node.ip("link set eth0 up", f"addr add {NODE}/24 dev eth0")
        server.ip("link set eth0 up", f"addr add {SERVER}/24 dev eth0", f"addr add {LIAR}/24 dev eth0")
        guest = lab.guest(node, "tap0", MAC)
        node.up(ENV)
        with running(node) as daemon:
            yield Place(server, node, guest, daemon)


@contextmanager
def serving(place: Place, name: str) -> Iterator[None]:
    """The server of that name, ready."""
    where, path, words = RUNS[name]
    place.server.write(path, block("docs/nfdhcpd.md", where))
    place.server.write("/var/leases", "")
    command = place.server.command(*words, path, *(("eth0",) if name == "isc" else ()))
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: ":67 " in place.server.out("ss", "-uln"), 10)
        yield
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize("name", RUNS)
def test_a_guest_leases_and_renews_from_a_central_server(place: Place, name: str) -> None:
    """Its node needs no address in the guest's network. A renewal, which the guest sends to the server itself,
    is relayed, too.
    """
    guest, daemon = place.guest, place.daemon
    guest.run("ip", "addr", "flush", "dev", "eth0")
    guest.write("/etc/resolv.conf", "")
    with serving(place, name):
        before = daemon.counts("tap0").get("returned", 0)
        client = subprocess.Popen(guest.command("udhcpc", "-i", "eth0", "-f", "-t", "10", "-T", "1"))
        try:
            assert until(lambda: "192.0.2.53" in guest.read("/etc/resolv.conf"), 15), daemon.counts("tap0")
            assert has_address(guest, IP) and guest.ping("198.51.100.1")
            client.send_signal(signal.SIGUSR1)
            assert until(lambda: daemon.counts("tap0").get("returned", 0) >= before + 3, 10), daemon.counts(
                "tap0"
            )
        finally:
            client.terminate()
            client.wait(10)
    counts = daemon.counts("tap0")
    assert not counts.keys() & {"offer", "ack", "nak", "not-allowed", "bad-reply"}, counts


def reply(asked: bytes, given: str, kind: int = 2, tap: bytes = b"tap1", **changed: bytes) -> bytes:
    """What a server says to a relayed message: by default a valid offer."""
    parts = {
        "xid": asked[4:8],
        "giaddr": asked[24:28],
        "chaddr": asked[28:44],
        "cookie": asked[236:240],
    } | changed
    head = b"\2\1\6\1" + parts["xid"] + struct.pack("!HH4s", 0, 0x8000, bytes(4))
    head += (
        socket.inet_aton(given) + bytes(4) + parts["giaddr"] + parts["chaddr"] + bytes(192) + parts["cookie"]
    )
    agent = bytes((1, len(tap))) + tap
    options = bytes((53, 1, kind, 54, 4)) + socket.inet_aton(SERVER) + bytes((82, len(agent))) + agent
    return head + options + parts.get("more", b"") + b"\xff"


@pytest.fixture
def relayed(place: Place) -> Iterator[tuple[int, bytes, socket.socket, socket.socket]]:
    """Another guest's tap, what the server got from it, the server's socket and that of a liar beside it."""
    bind(
        place.node,
        "tap1",
        binding(
            mac=OTHER, hostname="two.example.com", ip="198.51.100.11", subnet="198.51.100.0/24", relay=SERVER
        )
        + "GATEWAY=198.51.100.1\nALLOWED=192.0.2.128/25,198.51.100.0/30\n",
    )
    made = tap(place.node, "tap1")
    with place.server.inside():
        server, liar = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    server.bind((SERVER, 67))
    liar.bind((LIAR, 67))
    server.settimeout(5)
    try:
        assert until(lambda: place.daemon.states().get("tap1") == "served", 5)
        os.write(made, discover(OTHER))
        asked, sender = server.recvfrom(2048)
        assert sender == (NODE, 67)
        yield made, asked, server, liar
    finally:
        os.close(made)
        server.close()
        liar.close()
        place.node.run("rm", "/var/lib/nfdhcpd/tap1")


def heard(made: int, seconds: float = 2.0) -> bytes:
    """The next DHCP answer on a tap; empty if none comes."""
    end = time.monotonic() + seconds
    while select.select([made], [], [], max(0, end - time.monotonic()))[0]:
        frame = os.read(made, 4096)
        if frame[34:38] == b"\0\x43\0\x44":
            return frame
    return b""


Relayed = tuple[int, bytes, socket.socket, socket.socket]


def test_what_a_server_is_told_and_what_a_guest_gets(place: Place, relayed: Relayed) -> None:
    made, asked, server, _ = relayed
    assert asked[3] == 1 and socket.inet_ntoa(asked[24:28]) == NODE
    agent = b"\1\4tap1" + b"\2\x0ftwo.example.com" + b"\5\4" + socket.inet_aton("198.51.100.0")
    assert asked[240:].startswith(b"\x35\1\1" + bytes((82, len(agent))) + agent + b"\xff")
    for given in ("198.51.100.11", "192.0.2.200"):
        server.sendto(reply(asked, given, more=b"\x3a\4\0\0\1\0"), (NODE, 67))
        frame = heard(made)
        assert socket.inet_ntoa(frame[58:62]) == given and frame[:6] == b"\xff" * 6
        assert b"\x3a\4\0\0\1\0\xff" in frame and b"tap1" not in frame


def test_a_reply_that_is_not_the_guest_s_goes_nowhere(place: Place, relayed: Relayed) -> None:
    made, asked, server, liar = relayed
    good, node = "198.51.100.11", (NODE, 67)
    liar.sendto(reply(asked, good), node)
    bad = {
        "another transaction": reply(asked, good, xid=b"\0\0\0\1"),
        "another station": reply(asked, good, chaddr=bytes.fromhex("aa0000000003") + bytes(10)),
        "another relay": reply(asked, good, giaddr=b"\x01\2\3\4"),
        "no cookie": reply(asked, good, cookie=bytes(4)),
        "another kind": reply(asked, good, kind=1),
    }
    nobody = {
        "another tap": reply(asked, good, tap=b"tap0"),
        "no such tap": reply(asked, good, tap=b"tap\xff\xfe9"),
        "short": reply(asked, good)[:200],
        "options that end too early": reply(asked, good, more=b"\x3a\xff")[:-1],
        "nothing": b"",
        "long": reply(asked, good, more=(b"\x80\xff" + bytes(255)) * 5),
    }
    for message in (*bad.values(), *nobody.values()):
        server.sendto(message, node)
    assert until(lambda: place.daemon.counts("tap1").get("bad-reply") == len(bad), 5), place.daemon.counts(
        "tap1"
    )
    for given in ("198.51.100.99", "198.51.100.1", "0.0.0.0"):
        server.sendto(reply(asked, given), node)
    assert until(lambda: place.daemon.counts("tap1").get("not-allowed") == 3, 5), "the second is its gateway"
    assert place.daemon.has_logged(f"tap1: {SERVER} gives it 198.51.100.99, which it may not use: dropped")
    assert heard(made, 0.3) == b"" and place.daemon.counts("tap1").get("returned", 0) == 0
    server.sendto(reply(asked, "0.0.0.0", kind=6), node)
    assert heard(made) != b"", "a refusal gives no address"


def test_option_82_of_a_guest_is_not_passed_on(place: Place, relayed: Relayed) -> None:
    made = relayed[0]
    frame = discover(OTHER)
    os.write(made, frame.replace(b"\x35\1\1\xff" + bytes(4), b"\x35\1\1\x52\2\1\0\xff"))
    assert until(lambda: place.daemon.counts("tap1").get("giaddr") == 1, 5), place.daemon.counts("tap1")
