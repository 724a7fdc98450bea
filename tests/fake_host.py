"""A fake machine that only remembers, and can refuse or die at any step. It tests the order and the undoing
of the engine without root. Models: knftables' Fake, Felix's netlink shim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from snf_network.errors import KernelError
from snf_network.host.kernel import NOBODY
from snf_network.model.resources import Element, Resource, Route, Rule

MEMBER = re.compile(r"(add|delete) element (\w+) snf_network (\w+) \{ (.*?)(?: : (.*))? \}")


class Died(BaseException):
    """The process was killed here."""


class FakeHost:
    """Satisfies snf_network.host.Host. `acts` has what was done, in order; `refuse` says why not, by an act's
    words; `dies_at` is the number of the act before which the process dies.
    """

    def __init__(self, *devices: str) -> None:
        self.devices = {name: number for number, name in enumerate(devices, 7)}
        self.loaded = False
        self.members: dict[tuple[str, str, str], str] = {}
        self.placed: dict[tuple[str, ...], Resource] = {}
        self.files: dict[str, str] = {}
        self.acts: list[str] = []
        self.refuse: Callable[[str], str] = lambda act: ""
        self.dies_at = 0

    def act(self, words: str) -> str:
        """Note an act, unless it is refused or the process dies before it; why it is refused."""
        if self.dies_at and len(self.acts) + 1 == self.dies_at:
            raise Died
        why = self.refuse(words)
        if not why:
            self.acts.append(words)
        return why

    def nft(self, lines: Iterable[str]) -> str:
        text = "\n".join(lines)
        if not text:
            return ""
        if not (self.loaded or 'include "base.nft"' in text):
            return "Error: No such file or directory"
        members = dict(self.members)
        for verb, family, name, key, value in MEMBER.findall(text):
            if verb == "add" and members.setdefault((family, name, key), value) != value:
                return "Error: File exists"
            if verb == "delete" and members.pop((family, name, key), None) is None:
                return "Error: No such file or directory"
        if why := self.act(f"nft {text}"):
            return why
        self.loaded, self.members = True, members
        return ""

    def change_members(self, changes: Sequence[tuple[Element, bool]]) -> str:
        return self.nft(one.add() if add else one.delete() for one, add in changes)

    def run(self, argv: Sequence[str], text: str = "") -> tuple[int, str]:
        return 0, ""

    def has_element(self, one: Element) -> bool:
        return (one.family, one.set, one.key) in self.members

    def rtnetlink(
        self, resources: Sequence[Resource], add: bool, known: Mapping[str, int] = NOBODY
    ) -> list[str]:
        said = []
        for resource in resources:
            device = resource.device
            there = self.devices.get(device, 0)
            if add and device and not (there and known.get(device, there) == there):
                said.append(f"{resource.device}: no such device")
                continue
            said.append(self.act(resource.command if add else f"{resource.tool} {resource.delete()}"))
            if said[-1]:
                continue
            if add:
                self.placed[resource.slot] = resource
            elif self.placed.get(resource.slot, resource).device == resource.device:
                self.placed.pop(resource.slot, None)
        return said

    def holders(self, routes: Sequence[Route]) -> list[int]:
        found = [self.placed.get(route.slot) for route in routes]
        return [self.devices.get(one.interface, 0) if isinstance(one, Route) else 0 for one in found]

    def sysctl(self, key: str, value: str) -> bool:
        if why := self.act(f"sysctl {key}={value}"):
            raise KernelError(why)
        return True

    def write_file(self, path: str, content: str) -> None:
        if why := self.act(f"write {path}"):
            raise KernelError(why)
        self.files[path] = content

    def withdraw_file(self, path: str) -> None:
        self.act(f"rm {path}")
        self.files.pop(path, None)

    def ovs(self, words: str) -> str:
        return self.act(f"ovs-vsctl {words}")

    def flush_port(self, interface: str) -> None:
        self.act(f"flush {interface}")

    def flush_neighbours(self, interface: str) -> None:
        self.act(f"flush neighbours {interface}")

    def ifindex(self, interface: str) -> int:
        return self.devices.get(interface, 0)

    def ifname(self, index: int) -> str:
        return next((name for name, number in self.devices.items() if number == index), "")

    def is_up(self, interface: str) -> bool:
        return ("Link", interface) in self.placed

    def state(self) -> tuple[object, ...]:
        """All that can be taken away again, but for policy rules, which the node keeps as long as a table has
        NICs.
        """
        kept = {slot: one for slot, one in self.placed.items() if one.delete() and not isinstance(one, Rule)}
        return dict(self.members), kept, dict(self.files)
