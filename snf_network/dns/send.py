"""Talk to a name server: queries, many at a time over UDP, and updates, over UDP if small. Every wait has a
timeout.

dns.query is not used: importing it costs 190 ms (2.3), and it sends one query at a time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from struct import pack, unpack
from time import monotonic, time
from typing import Any, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.tsig
from dns.rcode import Rcode
from dns.rdtypes.ANY.TSIG import TSIG

from snf_network.dns import changes
from snf_network.errors import SnfNetworkError

TRIES = 3
WINDOW = 64
"""Number of queries sent before their answers arrive; those must fit into the socket's buffer."""
SMALL = 1232
"""Maximum size in bytes of a message that fits every path (DNS flag day 2020)."""
UNSIGNED = (Rcode.NOTAUTH, Rcode.REFUSED, Rcode.FORMERR, Rcode.SERVFAIL, Rcode.NOTIMP)
"""Unsigned response codes that are accepted: the server lacks the key, or does not support signatures."""
NOBODY = "is a name server running there?"
Question = tuple[dns.name.Name, dns.rdatatype.RdataType]


class NoAnswer(SnfNetworkError):
    """The server does not answer or fails temporarily; it may succeed later."""


class Refused(SnfNetworkError):
    """The server refuses, until somebody changes something."""


class Query(NamedTuple):
    """A message as sent, and what its answer is checked against."""

    id: int
    wire: bytes
    mac: bytes = b""


def query(question: Question, key: dns.tsig.Key | None) -> Query:
    """A signed query for authoritative data (no recursion).

    It is built by hand because dns.message tries to compress each of the 34 labels of an IPv6 PTR: 8 times
    the CPU, and the storm of bench/dns took 14 s instead of the permitted 10 s.
    """
    name, kind = question
    number = int.from_bytes(os.urandom(2), "big")
    body = (name.to_wire() or b"") + pack("!HH", kind, dns.rdataclass.IN)
    wire = pack("!6H", number, 0, 1, 0, 0, 0) + body
    if not key:
        return Query(number, wire)
    make: Any = TSIG
    sign: Any = dns.tsig.sign  # neither has types
    unsigned = make(dns.rdataclass.ANY, dns.rdatatype.TSIG, key.algorithm, 0, 300, b"", number, 0, b"")
    signed = sign(wire, key, unsigned, int(time()))[0]
    data = signed.to_wire()
    record = key.name.to_wire() + pack("!HHIH", dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(data)) + data
    return Query(number, pack("!6H", number, 0, 1, 0, 0, 1) + body + record, signed.mac)


class Server:
    """One name server, and the key for messages to it."""

    def __init__(self, host: str, port: int, timeout: float, key: dns.tsig.Key | None = None) -> None:
        self.host, self.port, self.timeout, self.key = host, port, timeout, key
        self.addresses: list[tuple[socket.AddressFamily, tuple[object, ...]]] = []

    def __str__(self) -> str:
        return self.host if self.port == 53 else f"{self.host} port {self.port}"

    def ask(self, questions: Iterable[Question]) -> dict[Question, dns.message.Message]:
        """The answers to all questions. Raises NoAnswer or Refused; all or nothing."""
        answers: dict[Question, dns.message.Message] = {}
        todo = list(dict.fromkeys(questions))
        with self._socket(socket.SOCK_DGRAM) as udp:
            for _ in range(TRIES):
                self._ask(udp, todo, answers)
                todo = [question for question in todo if question not in answers]
                if not todo:
                    break
        if todo:
            raise NoAnswer(f"{self} does not answer", "is it up, and does a firewall let UDP and TCP to it?")
        for question in [question for question, answer in answers.items() if answer.flags & dns.flags.TC]:
            answers[question] = self._over_tcp(query(question, self.key))
        return answers

    def update(self, zone: dns.name.Name, batch: Sequence[changes.Change]) -> Rcode:
        """Send one UPDATE with a whole batch; returns the response code. Raises NoAnswer or Refused."""
        message = changes.message(zone, batch, self.key)
        wire = message.to_wire()
        return self._exchange(Query(message.id, wire, message.mac or b"")).rcode()

    def _ask(
        self, udp: socket.socket, todo: Sequence[Question], answers: dict[Question, dns.message.Message]
    ) -> None:
        """Ask each question once, and collect answers until none arrives for a while."""
        queue, waiting = list(reversed(todo)), dict[int, tuple[Question, Query]]()
        until = monotonic() + self.timeout
        while queue or waiting:
            while queue and len(waiting) < WINDOW:
                question = queue.pop()
                asked = query(question, self.key)
                if asked.id in waiting:
                    queue.append(question)
                    continue
                self._tell(udp, asked.wire)
                waiting[asked.id] = question, asked
            wire = self._receive(udp, until)
            if not wire:
                return
            found = waiting.get(int.from_bytes(wire[:2], "big"))
            if found and (answer := self._parse(wire, found[1])) and _is_about(answer, found[0]):
                answers[found[0]] = answer
                del waiting[found[1].id]
                until = monotonic() + self.timeout

    def _exchange(self, asked: Query) -> dns.message.Message:
        """Send one message and return its answer. Raises NoAnswer or Refused."""
        if len(asked.wire) > SMALL:
            return self._over_tcp(asked)
        with self._socket(socket.SOCK_DGRAM) as udp:
            for _ in range(TRIES):
                self._tell(udp, asked.wire)
                until = monotonic() + self.timeout
                while got := self._receive(udp, until):
                    answer = self._parse(got, asked)
                    if answer:
                        return self._over_tcp(asked) if answer.flags & dns.flags.TC else answer
        raise NoAnswer(f"{self} does not answer")

    def _over_tcp(self, asked: Query) -> dns.message.Message:
        try:
            with self._socket(socket.SOCK_STREAM) as tcp:
                tcp.settimeout(self.timeout * TRIES)
                tcp.sendall(len(asked.wire).to_bytes(2, "big") + asked.wire)
                answer = self._parse(self._read(tcp, unpack("!H", self._read(tcp, 2))[0]), asked)
        except OSError as error:
            raise NoAnswer(f"{self} over TCP: {error.strerror or error}") from error
        if not answer or answer.flags & dns.flags.TC:
            raise NoAnswer(f"{self} over TCP: this is no answer")
        return answer

    def _read(self, tcp: socket.socket, size: int) -> bytes:
        data = b""
        until = monotonic() + self.timeout * TRIES
        while len(data) < size:
            left = until - monotonic()
            if left <= 0:
                raise OSError("it takes too long")
            tcp.settimeout(left)
            more = tcp.recv(size - len(data))
            if not more:
                raise OSError("the connection was closed")
            data += more
        return data

    def _tell(self, udp: socket.socket, wire: bytes) -> None:
        try:
            udp.send(wire)
        except OSError as error:  # an ICMP error about an earlier message
            raise NoAnswer(f"{self}: {error.strerror}", NOBODY) from error

    def _receive(self, udp: socket.socket, until: float) -> bytes:
        """The next datagram; empty after the timeout. Raises NoAnswer if nobody listens there."""
        left = until - monotonic()
        if left <= 0:
            return b""
        try:
            udp.settimeout(left)
            return udp.recv(65535)
        except TimeoutError:
            return b""
        except OSError as error:
            raise NoAnswer(f"{self}: {error.strerror}", NOBODY) from error

    def _parse(self, wire: bytes, asked: Query) -> dns.message.Message | None:
        """The answer to a message; None if `wire` is not one. Raises NoAnswer or Refused if the server does
        not accept our signature.
        """
        key = self.key
        try:
            answer = dns.message.from_wire(wire, keyring=key, request_mac=asked.mac, ignore_trailing=True)
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime) as error:
            raise NoAnswer(
                f"{self}: the clocks of server and node differ too much for TSIG", "NTP"
            ) from error
        except dns.tsig.PeerError as error:
            why = REASONS.get(type(error), type(error).__name__)
            raise Refused(
                f"{self} does not accept the key {key.name if key else ''}: {why}",
                "KEYFILE, and the key of that name at the server",
            ) from error
        except (dns.exception.DNSException, ValueError):
            return None
        if answer.id != asked.id or not answer.flags & dns.flags.QR:
            return None
        if key and not answer.had_tsig and answer.rcode() == Rcode.NOTAUTH:  # PowerDNS and Knot
            raise NoAnswer(
                f"{self} does not accept our signature: key or clock",
                f"the key {key.name} at server and node, and NTP at both",
            )
        if key and not answer.had_tsig and answer.rcode() not in UNSIGNED and not answer.flags & dns.flags.TC:
            return None  # anybody could have sent it
        return answer

    def _socket(self, kind: socket.SocketKind) -> socket.socket:
        """A socket connected to this server only. Raises NoAnswer."""
        for family, address in self._resolved():
            made = socket.socket(family, kind)
            made.settimeout(self.timeout)
            try:
                made.connect(address)
                return made
            except OSError as error:
                made.close()
                reason = error.strerror or str(error)
        raise NoAnswer(f"{self}: {reason}")

    def _resolved(self) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
        if not self.addresses:
            os.putenv("RES_OPTIONS", "timeout:2 attempts:1")  # resolver(5): the default is half a minute
            try:
                found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)
            except OSError as error:
                raise NoAnswer(
                    f"{self.host}: {error.strerror}", "the resolver does not know this name server"
                ) from error
            self.addresses = [(family, address) for family, _, _, _, address in found]
        return self.addresses


def _is_about(answer: dns.message.Message, question: Question) -> bool:
    """True if the answer repeats the question, as it must except for some errors."""
    return all((rrset.name, rrset.rdtype) == question for rrset in answer.question)


REASONS = {
    dns.tsig.PeerBadKey: "BADKEY",
    dns.tsig.PeerBadSignature: "BADSIG",
    dns.tsig.PeerBadTruncation: "BADTRUNC",
}
