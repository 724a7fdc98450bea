"""Tell the service manager how the daemon is (sd_notify(3)), where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from socket import AF_UNIX, SOCK_DGRAM, socket
from time import clock_gettime_ns

CLOCK_MONOTONIC = 1


class Manager:
    """The service manager that NOTIFY_SOCKET names; silence without one."""

    def __init__(self, variables: Mapping[str, str], pid: int) -> None:
        path = variables.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket(AF_UNIX, SOCK_DGRAM) if path else None
        microseconds = variables.get("WATCHDOG_USEC", "")
        ours = variables.get("WATCHDOG_PID", str(pid)) == str(pid)
        self.pause = int(microseconds) / 2e6 if ours and microseconds.isdigit() else 0.0
        """Seconds between two signs of life; 0: nobody waits for one."""

    def ready(self, status: str) -> None:
        """Guests are served."""
        self._say(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The configuration is read again; `ready` follows."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1")

    def alive(self) -> None:
        """The loop goes round."""
        self._say("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if self._socket:
            try:
                self._socket.sendto(text.encode(), self._address)
            except OSError:
                pass
