"""A sender in this process, with its own clock, and what it should have caused in a real BIND."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snf_network.dns import send, settings
from snf_network.dns.sender import Sender
from snf_network.dns.spool import Spool
from snf_network.host import kernel
from snf_network.model.config import Config
from snf_network.model.names import Names
from tests.dns.lab import ADDRESS, FORWARD, KEY, REVERSE4, Place, forward

Model = dict[str, dict[str, str]]


class Node:
    """The part of a node that speaks DNS, with a clock of its own; and what its guests should have."""

    def __init__(self, place: Place, directory: Path, *lines: str) -> None:
        self.place, self.directory, self.now = place, directory, 1_800_000_000.0
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "key").write_text(KEY)
        self.config = Config(
            state_dir=str(directory), server=ADDRESS, fzone=FORWARD, keyfile=str(directory / "key")
        )
        (directory / "yaml").write_text(
            "\n".join((*(() if any("timeout" in line for line in lines) else ("timeout: 0.5",)), *lines, ""))
        )
        self.settings = settings.load(self.config, str(directory / "yaml"), str(directory / "no-cluster"))
        self.spool = Spool(str(directory), self.clock)
        self.said: list[str] = []
        self.model: Model = {}

    def running(self) -> dict[str, set[str]]:
        """The NICs that are up here: all that have names, unless a test knows better."""
        return {desired.instance: {names.nic for names in desired.nics} for desired in self.spool}

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def sender(self) -> Sender:
        return Sender(self.config, self.settings, self.said.append, self.clock, self.pause, 0, self.running)

    def send(self, patience: float = 0.0) -> None:
        with self.place.node.inside():
            self.sender().run(patience)

    def up(self, instance: str, nic: str, address: str) -> None:
        self.spool.up(Names(instance, nic, "pub1", (address,)))
        self.model.setdefault(instance, {})[nic] = address

    def down(self, instance: str, nic: str) -> None:
        self.spool.down(instance, nic)
        del self.model[instance][nic]

    def stop(self, instance: str) -> None:
        self.spool.have(instance, ())
        self.model.pop(instance, None)

    def expected(self) -> dict[str, dict[str, set[str]]]:
        """The zones as they should be, with what others have in them."""
        names = {
            instance.partition(".")[0]: forward(instance, *nics.values())[instance]
            for instance, nics in self.model.items()
            if nics
        }
        pointers = {
            address.rpartition(".")[2]: {f"PTR {instance}."}
            for instance, nics in self.model.items()
            for address in nics.values()
        }
        return {
            FORWARD: {**names, "www": {"A 192.0.2.80"}},
            REVERSE4: {**pointers, "250": {"PTR printer.example.com."}},
        }

    def zones(self) -> dict[str, dict[str, set[str]]]:
        return {zone: self.place.server.names(zone) for zone in (FORWARD, REVERSE4)}


def killed(node: Node, step: int) -> bool:
    """Run a sender that is killed at the start or the end of its n-th step; True if it came that far."""
    with node.place.node.inside():
        pid = os.fork()
        if not pid:
            try:
                _die_at(step)
                node.sender().run(0.0)
            except BaseException:
                os._exit(3)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 9


def _die_at(step: int) -> None:
    left = [step]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count()
            result = function(*arguments, **named)
            count()
            return result

        return call

    send.Server.ask, send.Server._exchange = counted(send.Server.ask), counted(send.Server._exchange)  # type: ignore[method-assign]
    kernel.put_file = counted(kernel.put_file)
    kernel.remove_file = counted(kernel.remove_file)
