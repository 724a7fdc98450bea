"""Reports to the service manager, where there is one (sd_notify(3))."""

from __future__ import annotations

from collections.abc import Mapping
from socket import AF_UNIX, SOCK_DGRAM, socket
from time import clock_gettime_ns

CLOCK_MONOTONIC = 1


class Manager:
    """The service manager that NOTIFY_SOCKET names. Without one, nothing is sent."""

    def __init__(self, variables: Mapping[str, str], pid: int) -> None:
        path = variables.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket(AF_UNIX, SOCK_DGRAM) if path else None
        microseconds = variables.get("WATCHDOG_USEC", "")
        ours = variables.get("WATCHDOG_PID", str(pid)) == str(pid)
        self.pause = int(microseconds) / 2e6 if ours and microseconds.isdigit() else 0.0
        """Seconds between two watchdog signals; 0: the watchdog is off."""

    def ready(self, status: str) -> None:
        """Report that guests are served."""
        self._say(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Report that the configuration is being reloaded. Call `ready` afterwards."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report that the daemon is ending."""
        self._say("STOPPING=1")

    def alive(self) -> None:
        """Report that the loop runs (the watchdog signal)."""
        self._say("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if self._socket:
            try:
                self._socket.sendto(text.encode(), self._address)
            except OSError:
                pass
