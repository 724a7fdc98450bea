"""The control socket: a request is one line of JSON, and so is its answer. Only root and the daemon's own
user may connect (mode 0600).

No slow caller delays a guest: every descriptor is non-blocking, and each caller has its own buffer.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket

from snf_network import wire
from snf_network.dhcpd.loop import IN, OUT, Loop
from snf_network.errors import KernelError

PATH = "/run/nfdhcpd/nfdhcpd.sock"
CALLERS, LONGEST, BACKLOG = 16, 4096, 1 << 20
"""Maximum number of connections; of bytes in a request; and of captured bytes waiting for a caller, above
which frames are skipped.
"""
Report = Callable[[Mapping[str, object]], dict[str, object]]


class Control:
    """Listens for callers. `report` returns the answer to a request. Raises KernelError if the socket cannot
    be made.
    """

    def __init__(self, path: str, loop: Loop, report: Report) -> None:
        self._loop, self.report = loop, report
        self.callers: set[Caller] = set()
        self._listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            _make_room(path)
            before = os.umask(0o177)
            self._listener.bind(path)
            os.umask(before)
        except OSError as error:
            raise KernelError(f"{path}: {error.strerror}", "nfdhcpd --socket PATH") from error
        self._listener.listen(CALLERS)
        loop.add(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection = self._listener.accept()[0]
        except OSError:
            return
        if len(self.callers) >= CALLERS:
            connection.close()
            return
        connection.setblocking(False)
        self.callers.add(Caller(connection, self, self._loop))

    def captured(self, name: str, frames: Iterable[bytes]) -> None:
        """Pass frames from and to a guest to the callers that capture them."""
        for caller in [caller for caller in self.callers if caller.capturing == name]:
            for frame in frames:
                caller.send(wire.pcap_record(frame, time.time_ns() // 1000), BACKLOG)

    @property
    def is_capturing(self) -> bool:
        """True if any caller captures frames."""
        return any(caller.capturing for caller in self.callers)

    def close(self) -> None:
        """End all connections. The socket file stays, so that a caller can tell that a daemon ran here."""
        for caller in list(self.callers):
            caller.close()
        self._listener.close()


class Caller:
    """One connection."""

    def __init__(self, connection: socket, control: Control, loop: Loop) -> None:
        self._connection, self._control, self._loop = connection, control, loop
        self._asked, self._waiting = b"", bytearray()
        self.capturing = ""
        """The interface whose frames this caller captures."""
        self._events = IN
        loop.add(connection.fileno(), self._ready)

    def _ready(self) -> None:
        self._write()
        if self in self._control.callers:
            self._read()

    def _read(self) -> None:
        try:
            data = self._connection.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._asked += data
        if not data or len(self._asked) > LONGEST:
            self.close()
            return
        while b"\n" in self._asked and self in self._control.callers:
            line, _, self._asked = self._asked.partition(b"\n")
            self._say(_request(line))

    def _say(self, request: Mapping[str, object] | None) -> None:
        answer = (
            self._control.report(request)
            if request
            else {"error": "a request is one JSON object on one line"}
        )
        self.send(json.dumps(answer).encode() + b"\n")
        if "capturing" in answer:
            self.send(wire.PCAP_HEADER)
            self.capturing = str(answer["capturing"])

    def send(self, data: bytes, most: int = 0) -> None:
        """Send now, or when the caller has read the pending data. Skipped if more than `most` bytes would be
        pending; 0 means no limit.
        """
        if most and len(self._waiting) + len(data) > most:
            return
        self._waiting += data
        self._write()

    def _write(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: self._connection.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        events = IN | (OUT if self._waiting else 0)
        if events != self._events:
            self._loop.add(self._connection.fileno(), self._ready, events)
            self._events = events

    def close(self) -> None:
        """End the connection."""
        if self in self._control.callers:
            self._control.callers.remove(self)
            self._loop.remove(self._connection.fileno())
            self._connection.close()


def _request(line: bytes) -> Mapping[str, object] | None:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) else None


def _make_room(path: str) -> None:
    """Remove a socket left by another daemon, and nothing else. Raises OSError."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
