"""A proxy between a sender and a real BIND that makes the name server lie, fail or stay silent. BIND handles
what the proxy lets through.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable

from tests.dns.lab import ADDRESS, NameServer

PORT = 5300
Honest = Callable[[bytes], bytes]
Manner = Callable[[bytes, Honest], Iterable[bytes]]
"""What is answered to a message; the second asks BIND."""


def honest(message: bytes, ask: Honest) -> Iterable[bytes]:
    """As BIND."""
    return [ask(message)]


class Proxy:
    """Over UDP and TCP, at ADDRESS and PORT; for `with`."""

    def __init__(self, server: NameServer, manner: Manner, over_tcp: Manner = honest) -> None:
        self.manner, self.over_tcp, self.ended = manner, over_tcp, False
        with server.machine.inside():
            self.udp, self.tcp, self.bind = (
                socket.socket(socket.AF_INET, kind)
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_DGRAM)
            )
            self.bind.connect((ADDRESS, 53))
            for listener in (self.udp, self.tcp):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((ADDRESS, PORT))
                listener.settimeout(0.05)
            self.tcp.listen()
        self.bind.settimeout(2)
        self.lock = threading.Lock()
        self.threads = [
            threading.Thread(target=self._loop, args=(step,), daemon=True)
            for step in (self._datagram, self._connection)
        ]

    def __enter__(self) -> Proxy:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
        for thread in self.threads:
            thread.join(10)
        for made in (self.udp, self.tcp, self.bind):
            made.close()

    def _loop(self, step: Callable[[], None]) -> None:
        while not self.ended:
            try:
                step()
            except OSError:
                pass  # nothing came, or whoever asked has gone

    def _ask(self, message: bytes) -> bytes:
        with self.lock:
            self.bind.send(message)
            return self.bind.recv(65535)

    def _datagram(self) -> None:
        message, sender = self.udp.recvfrom(65535)
        for answer in self.manner(message, self._ask):
            self.udp.sendto(answer, sender)

    def _connection(self) -> None:
        connection, _ = self.tcp.accept()
        with connection:
            connection.settimeout(2)
            message = connection.recv(2, socket.MSG_WAITALL)
            message = connection.recv(int.from_bytes(message, "big"), socket.MSG_WAITALL)
            for answer in self.over_tcp(message, self._ask):
                connection.sendall(len(answer).to_bytes(2, "big") + answer)
