"""What a guest's device leaves to the next one (segmentation, checksums) passes all filters as it is: one packet
of 64 KiB, whose checksum nobody has made yet. And the same without that.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import NamedTuple

import pytest

from tests.netns.lab import Lab, Machine, drops, environment, settled

SIOCETHTOOL = 0x8946
OFFLOADS = {
    "checksums": 0x17,
    "scatter": 0x19,
    "segmentation": 0x1F,
    "generic segmentation": 0x24,
    "receive": 0x2C,
}
"""ETHTOOL_STXCSUM, SSG, STSO, SGSO, SGRO (linux/ethtool.h)."""
SIZE, MSS, FRAME, PORT = 4 << 20, 1448, 1514, 443
KINDS = {
    "routed": ("ip-less-routed", "protected"),
    "ip-filtered": ("ip-filtered nfdhcpd", "protected"),
    "private-filtered": ("private-filtered nfdhcpd", "limited"),
    "isolated": ("isolated ip-filtered", "unprotected"),
    "limits and shape": (
        "ip-filtered limit:out:10gbit limit:in:10gbit limit:pps:1m limit:new:1k shape:in:10gbit",
        "protected",
    ),
    "masq": ("private-filtered masq", "protected"),
}


class Pair(NamedTuple):
    """A guest on a node, and whom it speaks to."""

    node: Machine
    tap: str
    guest: Machine
    far: Machine
    addresses: tuple[str, ...]


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    tags, profile = KINDS[request.param]
    with closing(Lab()) as lab:
        router = lab.router()
        node = lab.node("node1", router)
        if request.param == "routed":
            env = environment("add-routed-ifup-1", NETWORK_TAGS=tags)
            addresses = f"{env['IP']}/24", "2001:db8:1:0:a800:ff:fead:35c9/128"
            guest = lab.guest(node, env["INTERFACE"], env["MAC"], *addresses, gateway="198.51.100.1")
            guest.ip("-6 route add default via fe80::ce47:52ff:fe4e:4554 dev eth0")
            far, reached = router, ("198.51.100.1", "2001:db8:1::1")
        else:
            env = environment(
                "start-nonet-ifup-1", MAC="aa:55:60:00:00:12", IP="203.0.113.12", NETWORK_TAGS=tags
            )
            env |= {"NETWORK_SUBNET": "203.0.113.0/24", "NETWORK_SUBNET6": "2001:db8:b::/64"}
            own = "203.0.113.12/24", "2001:db8:b:0:a855:60ff:fe00:12/64"
            guest = lab.guest(node, env["INTERFACE"], env["MAC"], *own)
            mac = "02:00:00:00:00:99" if request.param == "isolated" else "aa:55:60:00:00:11"
            far = lab.guest(node, "tap9", mac, "203.0.113.11/24", "2001:db8:b::11/64")
            node.ip("link set tap9 master prv0 up")
            reached = ("203.0.113.11", "2001:db8:b::11")
        if request.param == "masq":
            far, reached = beyond(lab, node, guest), ("192.0.2.1",)
        node.up({**env, "INTERFACE_INDEX": "0", "TAGS": f"synnefo:network:0:{profile}"})
        settled(node, router)
        yield Pair(node, env["INTERFACE"], guest, far, reached)


def beyond(lab: Lab, node: Machine, guest: Machine) -> Machine:
    """A machine that the guest reaches by the node's source NAT."""
    far = lab.machine("far")
    lab.cable(far, "eth0", node, "wan")
    far.ip("link set eth0 up", "addr add 192.0.2.1/24 dev eth0")
    node.ip("link set wan up", "addr add 192.0.2.2/24 dev wan", "route add default via 192.0.2.1")
    node.ip("addr add 203.0.113.1/24 dev prv0")
    node.write("/etc/default/snf-network", "MASQ=true\n")
    guest.ip("route add default via 203.0.113.1")
    return far


def offload(machine: Machine, device: str, on: bool) -> None:
    """As ethtool -K does."""
    with machine.inside(), socket.socket() as door:
        for command in OFFLOADS.values():
            value = array.array("B", struct.pack("=II", command, on))
            request = struct.pack("16sP", device.encode(), value.buffer_info()[0])
            fcntl.ioctl(door, SIOCETHTOOL, request.ljust(40, b"\0"))


def largest(sniffing: socket.socket) -> int:
    """Octets of the largest frame that has come from the guest. Not a count of packets: answers are among
    them, and how many there are is up to the scheduler.
    """
    sizes, sink = [], bytearray(1)
    sniffing.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            size, _, _, sender = sniffing.recvmsg_into([sink], 0, socket.MSG_TRUNC)
            sizes += [size] if sender[2] != socket.PACKET_OUTGOING else []
    return max(sizes)


def answer(listening: socket.socket) -> None:
    """Read all, and send it back."""
    talk, _ = listening.accept()
    with talk:
        talk.settimeout(10)
        data = b"".join(iter(lambda: talk.recv(1 << 16), b""))
        talk.sendall(data)


def transfer(pair: Pair, address: str) -> int:
    """Send and get back; returns the MSS."""
    family, data = socket.AF_INET6 if ":" in address else socket.AF_INET, os.urandom(SIZE)
    with pair.far.inside():
        listening = socket.create_server((address, PORT), family=family)
    with pair.guest.inside():
        talk = socket.socket(family)
    with closing(listening), closing(talk):
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        talk.settimeout(10)
        talk.connect((address, PORT))
        talk.sendall(data)
        talk.shutdown(socket.SHUT_WR)
        back = b"".join(iter(lambda: talk.recv(1 << 16), b""))
        thread.join(10)
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
        return talk.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


@pytest.mark.parametrize("of_far", (True, False), ids=("far on", "far off"))
@pytest.mark.parametrize("of_guest", (True, False), ids=("guest on", "guest off"))
def test_large_packets_pass_as_they_are(pair: Pair, of_guest: bool, of_far: bool) -> None:
    for machine, device, on in (
        (pair.guest, "eth0", of_guest),
        (pair.node, pair.tap, of_guest),
        (pair.far, "br0" if pair.far.name == "router" else "eth0", of_far),
    ):
        offload(machine, device, on)
    for address in pair.addresses:
        assert pair.guest.ping(address)
        with pair.node.packet_socket(pair.tap) as sniffing:
            assert transfer(pair, address) == (MSS if "." in address else MSS - 20)
            assert largest(sniffing) > FRAME if of_guest else largest(sniffing) == FRAME
    assert [key for key in drops(pair.node) if key[0] == pair.tap and key[1] not in QUIET] == []


QUIET = ("answered", "mac-prefix")
"""What the guest's own stack sends beside, and nfdhcpd answers; and the multicast of others."""
