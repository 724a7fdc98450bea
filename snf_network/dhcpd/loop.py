"""One thread waits for everything: descriptors with what to do when they are ready, and signals."""

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
        """Call `handler` whenever the descriptor is ready; again with other events to change them."""
        self._poll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def remove(self, descriptor: int) -> None:
        """Before it is closed."""
        self._poll.unregister(descriptor)
        del self._handlers[descriptor]

    def turn(self, seconds: float) -> None:
        """Wait until something is ready, at most so long, and handle it."""
        for descriptor, _ in self._poll.poll(max(seconds, 0) * 1000):
            handler = self._handlers.get(descriptor)
            if handler:
                handler()


class Signals:
    """Signals as something to wait for."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """To be waited for."""
        return self._read

    def taken(self) -> bytes:
        """The numbers of the signals that came, one a byte."""
        return os.read(self._read, 64)
