"""An event loop in one thread: descriptors, each with its handler, and signals."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable

IN, OUT = select.POLLIN, select.POLLOUT
Handler = Callable[[], None]


class Loop:
    """Handlers by descriptor."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Handler] = {}

    def add(self, descriptor: int, handler: Handler, events: int = IN) -> None:
        """Call `handler` whenever the descriptor is ready. Call this again to change the events."""
        self._poll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def remove(self, descriptor: int) -> None:
        """Stop waiting for a descriptor. Call this before closing it."""
        self._poll.unregister(descriptor)
        del self._handlers[descriptor]

    def turn(self, seconds: float) -> None:
        """Wait at most `seconds` until something is ready, and handle it."""
        for descriptor, _ in self._poll.poll(max(seconds, 0) * 1000):
            handler = self._handlers.get(descriptor)
            if handler:
                handler()


class Signals:
    """Signals received through a descriptor."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._read

    def taken(self) -> bytes:
        """The numbers of the signals that arrived, one byte each."""
        return os.read(self._read, 64)
