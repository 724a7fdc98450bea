"""The client side of the control socket: queries a running daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from socket import AF_UNIX, socket
from typing import Any

from snf_network import wire
from snf_network.dhcpd.control import PATH
from snf_network.errors import SnfNetworkError

SECONDS = 10.0
"""Time limit for an answer."""


class Connection:
    """A connection to the daemon. Raises SnfNetworkError if none runs."""

    def __init__(self, path: str = PATH, seconds: float = SECONDS) -> None:
        self._path = path
        self._socket = socket(AF_UNIX)
        self._socket.settimeout(seconds)
        try:
            self._socket.connect(path)
        except OSError as error:
            raise SnfNetworkError(
                f"{path}: {error.strerror or error}", "is nfdhcpd running? systemctl status nfdhcpd"
            ) from error
        self._file = self._socket.makefile("rb")

    def ask(self, **request: str) -> dict[str, Any]:
        """The answer to one request. Raises SnfNetworkError if there is none, or if the daemon refuses."""
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._file.readline()
        except OSError as error:
            raise SnfNetworkError(f"{self._path}: {error.strerror or error}") from error
        if not line:
            raise SnfNetworkError("nfdhcpd does not answer", "are there too many callers?")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SnfNetworkError(answer["error"])
        return answer

    def capture(self, interface: str) -> Iterator[bytes]:
        """The parts of a capture file, as they arrive: its header, then each frame with its own header.

        Raises SnfNetworkError if the daemon has no binding for the interface.
        """
        self.ask(command="capture", interface=interface)
        self._socket.settimeout(None)
        yield self._file.read(len(wire.PCAP_HEADER))
        while len(head := self._file.read(wire.PCAP_RECORD.size)) == wire.PCAP_RECORD.size:
            yield head + self._file.read(wire.PCAP_RECORD.unpack(head)[2])
