"""A relay agent for DHCPv4 (RFC 1542, RFC 3046): requests of chosen guests go to central servers, and their
replies to the guest that asked.

A reply is hostile until it is shown to answer an open question: it comes from the server that was asked,
names the guest's tap in option 82, has its MAC and its transaction, and gives no address but one that the
guest may use.
"""

from __future__ import annotations

import errno
import time
from socket import (
    AF_INET,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOL_SOCKET,
    inet_aton,
    socket,
)
from struct import Struct

from snf_network.addresses import within
from snf_network.dhcpd import dhcp4, packets
from snf_network.dhcpd.packets import Dropped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from snf_network.dhcpd.binding import TapBinding
    from snf_network.dhcpd.guest import TapGuest
    from snf_network.dhcpd.guests import Guests, Served
    from snf_network.dhcpd.log import EventLog
    from snf_network.dhcpd.loop import Loop

CIRCUIT, REMOTE, LINK = 1, 2, 5
"""Sub-options of option 82: the tap, the instance (RFC 3046), and the guest's subnet (RFC 3527): the relay's
own address, giaddr, is in none of the guests' networks.
"""
WORDS = ("returned", "bad-reply", "not-allowed")
"""Counters of replies: passed on; none that the guest waits for; an address that the guest may not use."""
KINDS = (dhcp4.OFFER, dhcp4.ACK, dhcp4.NAK)
BATCH, OPEN, LARGEST = 64, 60.0, 1472
"""Replies read at once; seconds for which a question is open; bytes of a message."""
_HEAD = Struct("!BBBxIHH4s4s4s4s6s")
_GIADDR = 24


class Relay:
    """The sockets to the central servers, one each, opened when first needed: port 67 of a node without
    relayed guests stays free. `send` puts a frame onto a tap.
    """

    def __init__(
        self, guests: Guests, log: EventLog, loop: Loop, send: Callable[[Served, bytes], None]
    ) -> None:
        self.guests, self.log, self.loop, self.send = guests, log, loop, send
        self.servers: dict[str, Server] = {}

    def forward(self, served: Served, frame: bytes) -> None:
        """Send a guest's request to each of its servers."""
        assert served.binding
        _, start, end = packets.read_udp4(frame, dhcp4.SERVER)
        message = frame[start:end]
        served.asked = (message[4:8], message[28:34], time.monotonic())
        for address in served.binding.relay:
            try:
                server = self._server(address)
                server.socket.send(request(message, server.own, agent(served.binding)))
            except Dropped:
                self.log.say("its request is too long to be relayed", "warning", served.name)
            except OSError as error:
                self._failed(address, error, served.name)

    def _server(self, address: str) -> Server:
        if address not in self.servers:
            server = Server(address)
            self.servers[address] = server
            self.loop.add(server.socket.fileno(), lambda: self.replies(server))
        return self.servers[address]

    def _failed(self, address: str, error: OSError, name: str) -> None:
        """The next request tries again with another socket: the node may have got another address."""
        server = self.servers.pop(address, None)
        if server:
            self.loop.remove(server.socket.fileno())
            server.socket.close()
        hint = " (UDP port 67: CAP_NET_BIND_SERVICE)" if error.errno == errno.EACCES else ""
        self.log.say(f"cannot relay to {address}: {error.strerror}{hint}", "error", name)

    def replies(self, server: Server) -> None:
        """Pass on what a server has sent."""
        for _ in range(BATCH):
            try:
                message, sender = server.socket.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError as error:  # such as ECONNREFUSED, by ICMP
                self._failed(server.address, error, server.address)
                return
            if sender == (server.address, dhcp4.SERVER):  # else it came before connect()
                self.reply(server, message)

    def reply(self, server: Server, message: bytes) -> None:
        """Pass one reply on to its guest, or count why not."""
        try:
            served = self._asker(server, message)
        except Dropped:
            return  # nobody's: no guest has a counter for it
        assert served.binding and served.link
        guest = self.guests.answerer(served).guest
        try:
            frame = answer(message, guest, served.binding, inet_aton(server.own))
        except Dropped as dropped:
            self._dropped(served, server, dropped.word, message)
            return
        served.counts["returned"] += 1
        self.send(served, frame)

    def _dropped(self, served: Served, server: Server, word: str, message: bytes) -> None:
        if word != "not-allowed":
            served.counts["bad-reply"] += 1
            return
        served.counts[word] += 1
        given = ".".join(map(str, message[16:20]))
        words = f"{server.address} gives it {given}, which it may not use: dropped"
        self.log.say(words, "warning", served.name)

    def _asker(self, server: Server, message: bytes) -> Served:
        """Whose question a message answers. Raises Dropped if there is none that is open."""
        if not dhcp4.FIXED < len(message) <= LARGEST:
            raise Dropped("malformed")
        options = dhcp4.read_options(message, dhcp4.FIXED, len(message))
        circuit = _sub_options(options.get(dhcp4.RELAY_AGENT, b"")).get(CIRCUIT, b"")
        served = self.guests.by_name.get(circuit.decode("ascii", "replace"))
        if not served or not served.link or not served.binding or server.address not in served.binding.relay:
            raise Dropped("not-ours")
        transaction, station, when = served.asked or (b"", b"", 0.0)
        if (message[4:8], message[28:34]) != (transaction, station) or time.monotonic() - when > OPEN:
            served.counts["bad-reply"] += 1
            raise Dropped("bad-reply")
        return served


class Server:
    """A connected socket to one server, so the kernel drops what comes from elsewhere. Raises OSError."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            self.socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)  # one socket for each server
            self.socket.bind(("", dhcp4.SERVER))
            self.socket.connect((address, dhcp4.SERVER))
        except OSError:
            self.socket.close()
            raise
        self.own: str = self.socket.getsockname()[0]
        """The address by which the node reaches the server, and giaddr: replies come to it."""


def agent(binding: TapBinding) -> bytes:
    """The sub-options that tell a server who asks."""
    link = binding.subnet.partition("/")[0] or binding.ip
    found = (
        (CIRCUIT, binding.tap.encode("ascii")),
        (REMOTE, binding.hostname.encode("ascii")),
        (LINK, inet_aton(link) if link else b""),
    )
    return b"".join(bytes((code, len(value))) + value for code, value in found if value)


def request(message: bytes, own: str, said: bytes) -> bytes:
    """A guest's message as a relay passes it on: one hop further, with giaddr and option 82, which comes last
    (RFC 3046, 2.1). Raises Dropped if it is too long with them.
    """
    head = message[:3] + b"\1" + message[4:_GIADDR] + inet_aton(own) + message[_GIADDR + 4 : dhcp4.FIXED]
    options = dhcp4.without(message[dhcp4.FIXED :], dhcp4.RELAY_AGENT)
    whole = b"".join((head, options, bytes((dhcp4.RELAY_AGENT, len(said))), said, b"\xff"))
    if len(whole) > LARGEST or len(said) > 255:
        raise Dropped("oversized")
    return whole.ljust(dhcp4.SMALLEST, b"\0")


def answer(message: bytes, guest: TapGuest, binding: TapBinding, own: bytes) -> bytes:
    """The frame for a guest that a server's reply becomes: without option 82. Raises Dropped for any that is
    not a reply to it, or that gives an address that it may not use.
    """
    operation, hardware, size, _, _, flags, client, given, _, relay, station = _HEAD.unpack_from(message)
    options = dhcp4.read_options(message, dhcp4.FIXED, len(message))
    kind = options.get(dhcp4.KIND, b"")
    if (operation, hardware, size, relay) != (2, 1, 6, own) or kind not in KINDS:
        raise Dropped("bad-reply")
    if message[236 : dhcp4.FIXED] != dhcp4.COOKIE or (station != guest.mac and not guest.terms.any_mac):
        raise Dropped("bad-reply")
    address = given if given != dhcp4.NOWHERE else client
    if kind != dhcp4.NAK and not _may_have(binding, address):
        raise Dropped("not-allowed")
    body = message[: dhcp4.FIXED] + dhcp4.without(message[dhcp4.FIXED :], dhcp4.RELAY_AGENT) + b"\xff"
    everybody = kind == dhcp4.NAK or (flags & dhcp4.BROADCAST and client == dhcp4.NOWHERE)
    to, target = (dhcp4.EVERYBODY, dhcp4.EVERYWHERE) if everybody else (station, address)
    source = inet_aton(guest.terms.server)
    ports = (dhcp4.SERVER, dhcp4.CLIENT)
    return packets.udp4(to + guest.source_mac, source, target, ports, body.ljust(dhcp4.SMALLEST, b"\0"))


def _may_have(binding: TapBinding, address: bytes) -> bool:
    """True if the guest's pins let it use an address, and that is not its gateway's."""
    text = ".".join(map(str, address))
    free = text != binding.gateway and any(within(text, prefix) for prefix in binding.allowed)
    return free or text == binding.ip


def _sub_options(data: bytes) -> dict[int, bytes]:
    """The parts of option 82. Raises Dropped."""
    return dhcp4.read_options(data, 0, len(data))
