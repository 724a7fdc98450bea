"""Guests that are only the far side of a tap, as in QEMU: frames are written and read as bytes, with their
VLAN tags.

Also the command snf-network without the start of an interpreter: in an emulated machine the interpreter and
its imports take seconds.
"""

from __future__ import annotations

import ctypes
import io
import os
import select
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple, Self

from snf_network.commands.main import main
from snf_network.observe import drift
from tests.netns import frames as f
from tests.netns.lab import Ear, Machine, send

SECONDS = 5.0
LIBC = ctypes.CDLL(None, use_errno=True)
BARE = 0
"""What stands for no tag where a tag is told."""


class Tap:
    """A real tap of a node; closing it ends the device, as when QEMU ends."""

    def __init__(self, node: Machine, name: str, mac: str) -> None:
        self.name, self.mac = name, mac
        self.descriptor = node.tap(name)

    def send(self, frame: bytes) -> None:
        """As the guest. The kernel has done all with the frame when this returns."""
        os.write(self.descriptor, frame)

    def get(self, seconds: float) -> bytes:
        """The next frame to the guest; empty if none comes."""
        return (
            os.read(self.descriptor, 65536) if select.select([self.descriptor], [], [], seconds)[0] else b""
        )

    def close(self) -> None:
        os.close(self.descriptor)


class Far:
    """The far end of a node's uplink, for the frames of one VLAN: a device of another machine that hears and
    sends them.
    """

    def __init__(self, machine: Machine, device: str) -> None:
        self.machine, self.device = machine, device
        self.mac = machine.read(f"/sys/class/net/{device}/address").strip()
        self.ear = Ear(machine, device)

    def send(self, frame: bytes) -> None:
        send(self.machine, self.device, frame)

    def get(self, seconds: float) -> bytes:
        return self.ear.first(lambda _: True, seconds)


Party = Tap | Far


class Shout(NamedTuple):
    """A broadcast: who sends it, with which tags, and who hears it with which tag. Nobody else may."""

    sender: str
    tags: tuple[int, ...]
    heard: Mapping[str, int]


def frame(mac: str, number: int, *vlans: int) -> bytes:
    """A broadcast that no stack answers, with a number and tags."""
    return f.stamp(
        f.ethernet(mac, f.BROADCAST, (f.LOCAL, bytes(46)), *((f.VLAN, vlan) for vlan in vlans)), number
    )


def vlan(data: bytes) -> int:
    """The VLAN of a frame's tag; BARE if it has none."""
    return int.from_bytes(data[14:16]) & 0xFFF if int.from_bytes(data[12:14]) == f.VLAN else BARE


def play(
    parties: Mapping[str, Party], shouts: Sequence[Shout], ends: Sequence[Shout], ears: Sequence[str] = ()
) -> tuple[list[Shout], list[Shout]]:
    """Send all, then the `ends`, which tell who can that it was all: what was heard of each shout, and what
    should have been.

    Those that hear no end are listened to last. `ears`: who is listened to, if not all.
    """
    for number, shout in enumerate((*shouts, *ends), 1):
        sender = parties[shout.sender]
        sender.send(frame(sender.mac, number, *shout.tags))
    last = {name: number for number, end in enumerate(ends, len(shouts) + 1) for name in end.heard}
    heard: list[dict[str, int]] = [{} for _ in shouts]
    for name in sorted(ears or parties, key=lambda name: name not in last):
        for data in _until(parties[name], last.get(name, 0)):
            number = f.token(data)
            if 0 < number <= len(shouts):
                heard[number - 1][name] = vlan(data)
    return [shout._replace(heard=found) for shout, found in zip(shouts, heard)], list(shouts)


def _until(party: Party, last: int) -> list[bytes]:
    """The frames up to the one with number `last`; with 0, those that are there."""
    found, end = [], time.monotonic() + SECONDS
    while (data := party.get(max(end - time.monotonic(), 0) if last else 0)) or (
        last and time.monotonic() < end
    ):
        if data[12:14] in (f.LOCAL.to_bytes(2), f.VLAN.to_bytes(2)):
            found.append(data)
            if last and f.token(data) == last:
                return found
    assert not last, f"frame {last} did not come: {[data.hex() for data in found]}"
    return found


CLEAN = (0, "clean\n")
COMPARE = drift.compare
"""Imported here, so that no child has to."""


class Switch(NamedTuple):
    """A node with a switch of some kind, a trunk from it, and guests that have no NIC yet."""

    node: Machine
    parties: dict[str, Party]
    environment: dict[str, str]
    """What all NICs have in common."""
    vlans: dict[str, str]
    """VLAN of each guest's NIC."""

    @classmethod
    def joined(cls, node: Machine, far: Machine, environment: dict[str, str], vlans: dict[str, str]) -> Self:
        """With a tap for each guest, all NICs up, and the far end of the trunk in three VLANs."""
        parties: dict[str, Party] = {
            name: Tap(node, f"tap{number}", f"aa:00:00:00:01:{number:02}")
            for number, name in enumerate(vlans)
        }
        parties |= {f"vlan{vid}": Far(far, f"trunk.{vid}") for vid in (100, 200, 300)}
        made = cls(node, parties, environment, vlans)
        for name in vlans:
            made.up(name)
        return made

    def env(self, name: str, **changes: str) -> dict[str, str]:
        """An ifup's environment for a guest's NIC."""
        tap = self.parties[name]
        assert isinstance(tap, Tap)
        return {
            **self.environment,
            "INTERFACE": tap.name,
            "MAC": tap.mac,
            "VLAN": self.vlans[name],
            "INSTANCE": f"inst-{name}",
            "INTERFACE_UUID": f"uuid-{name}",
            **changes,
        }

    def up(self, name: str, **changes: str) -> None:
        """Bring it up, without a word."""
        assert self.node.up(self.env(name, **changes)).stderr == ""


def snf_network(machine: Machine, *words: str) -> tuple[int, str]:
    """Exit status of the command in a machine, and what it printed, errors too. In a child that has all its
    imports already.
    """
    said = os.memfd_create("said")
    child = os.fork()
    if not child:
        status = 2
        try:
            for kind in ("net", "mnt"):
                descriptor = os.open(f"/proc/{machine.holder.pid}/ns/{kind}", os.O_RDONLY)
                assert not LIBC.setns(descriptor, 0)
            os.chdir("/")
            os.environ.clear()
            printed = io.BytesIO()
            text = io.TextIOWrapper(printed, encoding="utf-8", write_through=True)
            with redirect_stdout(text), redirect_stderr(text):
                status = main(("snf-network", *words))
            os.write(said, printed.getvalue())
        except BaseException:
            os.write(said, traceback.format_exc().encode())
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(said, "rb") as file:
        return status, os.pread(file.fileno(), 1 << 20, 0).decode()


def loaded(node: Machine) -> bool:
    """Load the rules, and with them nine modules of the kernel: a first NIC would need longer than its call
    may take here.
    """
    return snf_network(node, "load")[0] == 0
