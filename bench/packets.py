"""What a packet costs: CPU time from a socket of one machine to that of another, by sender.c."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from measure import Samples
from nodes import Machine

PAYLOAD = bytes(18)
"""The frame is then 60 bytes."""
PACKETS, BATCHES = 150, 4
"""In a batch; batches in a round."""
DISTURBED = 1.2
"""Wall over CPU time from which on a batch does not count."""


def needs_gcc() -> None:
    """End here if there is none."""
    if not shutil.which("gcc"):
        sys.exit("gcc is not installed: apt install gcc libc6-dev")


class Sender:
    """sender.c, compiled, and this process kept on one CPU."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            library = f"{directory}/sender.so"
            subprocess.run(
                ("gcc", "-O2", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("sender.c")),
                check=True,
            )
            self.library = ctypes.CDLL(library)
        self.library.batch.restype = ctypes.c_longlong
        cpu = max(os.sched_getaffinity(0))
        self.library.stay_on(cpu)
        self.helper = kernel_thread(f"ksoftirqd/{cpu}") / "schedstat"
        self.batches = self.dropped = 0

    def batches_of(
        self, sender: socket.socket, receiver: socket.socket, packet: bytes, count: int, times: int
    ) -> Iterator[float]:
        """ns a packet, for each of `times` batches, with what the kernel put off to its own thread; a flood
        is too much at once for it.

        A batch during which somebody else had the CPU is left out.
        """
        for _ in range(times):
            wall, lost, helped = ctypes.c_longlong(), ctypes.c_int(), self._helped()
            spent = (
                self.library.batch(
                    sender.fileno(),
                    receiver.fileno(),
                    packet,
                    len(packet),
                    count,
                    ctypes.byref(wall),
                    ctypes.byref(lost),
                )
                + self._helped()
                - helped
            )
            if lost.value:
                raise RuntimeError(f"{lost.value} of {count} packets lost")
            self.batches += 1
            if wall.value > DISTURBED * spent:
                self.dropped += 1
            else:
                yield spent / count

    def _helped(self) -> int:
        """CPU time of ksoftirqd on our CPU, in ns."""
        return int(self.helper.read_text().split()[0])


def kernel_thread(name: str) -> Path:
    """Where /proc has a thread of the kernel."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # a process that ended meanwhile
            if path.read_text() == f"{name}\n":
                return path.parent
    raise RuntimeError(f"no {name}: not in the PID namespace of the kernel?")


class Way:
    """A sender and a receiver with one node between them."""

    def __init__(self, name: str, sender: socket.socket, receiver: socket.socket) -> None:
        self.name, self.sender, self.receiver = name, sender, receiver

    def measure(self, tool: Sender, samples: Samples, variant: str) -> None:
        """ns a packet; the first batch only warms the caches."""
        for figure in list(tool.batches_of(self.sender, self.receiver, PAYLOAD, PACKETS, 1 + BATCHES))[1:]:
            samples.add(f"{self.name}, {variant}", figure)


def udp(machine: Machine, local: tuple[str, int], remote: tuple[str, int]) -> socket.socket:
    """A connected socket in a machine."""
    with machine.inside():
        made = socket.socket(socket.AF_INET6 if ":" in local[0] else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(local)
        made.connect(remote)
    return made


def address(machine: Machine, device: str, own: str, peer: str, mac: str) -> None:
    """One address on a device, and one peer beyond it that is never asked for."""
    nodad, family = (" nodad", "-6") if ":" in own else ("", "-4")
    machine.ip(
        f"addr add {own} dev {device}{nodad}",
        f"{family} route add {peer} dev {device}",
        f"neigh replace {peer} lladdr {mac} dev {device} nud permanent",
    )
