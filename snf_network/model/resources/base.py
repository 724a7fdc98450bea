"""What every kind of Resource can say of itself. A kind is plain data: adding one touches its own module
only.

A *slot* is the place that one Resource takes up in the kernel: adding a Resource replaces what was in its
slot, so an old one is deleted only if nothing new has its slot. A *shared* kind may be wanted by several
NICs, and goes with the last of them.
"""

from __future__ import annotations

from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar, Protocol

    class View(Protocol):
        """The kernel as it was read back: what a kind compares itself with."""

        @property
        def found(self) -> set[Resource]:
            """All Resources of ours that were listed."""

        @property
        def links(self) -> dict[str, dict[str, Any]]:
            """Every device as `ip -j link` tells of it, by name."""

        @property
        def vlans(self) -> dict[tuple[str, int], set[str]]:
            """How a port is in a VLAN, by port and VLAN, as `bridge -j vlan` tells of it."""

        @property
        def ovs_ports(self) -> set[Resource]:
            """Every port of Open vSwitch."""

        def content(self, path: str) -> str | None:
            """What a file holds; None if it cannot be read."""

    Index = Callable[[str], int]
    """The kernel's number of a device; raises KernelError where there is none."""
    Request = tuple[int, int, bytes]
    """Kind, flags and body of a message of rtnetlink(7)."""

PROTOCOL = 148
"""Marks our routes, rules and neighbours in the kernel (RTPROT_*, free above 99 for administrators)."""


@dataclass(frozen=True)
class Resource:
    """One thing on the node."""

    door: ClassVar[str] = ""
    """What takes it: nft, rtnetlink, sysctl, file or ovs."""
    heading: ClassVar[str] = ""
    """What a plan prints above its line: how the line could be given by hand."""
    tool: ClassVar[str] = ""
    """The program that takes the line, as an error names it."""
    shared: ClassVar[bool] = False
    early: ClassVar[bool] = False
    """Has to be there before any member of a set leads to it."""
    of_device: ClassVar[bool] = False
    """Went with the device it was put on, whatever has its name now."""
    rank: ClassVar[int] = 1
    """When it is taken away: the lower, the sooner."""
    place: ClassVar[tuple[str, ...]] = ()
    """The fields that make its slot; all of them, if empty."""

    @property
    def slot(self) -> tuple[str, ...]:
        """What it replaces when added: by default only itself."""
        return type(self).__name__, *(self.__dict__[name] for name in self.place or self.__dict__)

    @property
    def device(self) -> str:
        """The interface that it is about; empty if none."""
        return str(self.__dict__.get("interface", ""))

    @property
    def owner(self) -> str:
        """The interface whose record it belongs to; empty for what several NICs may share."""
        return "" if self.shared else self.device

    @property
    def command(self) -> str:
        """The add line, whole, as it would be typed."""
        return f"{self.tool} {self.add()}"

    def fields(self) -> tuple[str, ...]:
        """The values, in the order of the class: with the name of the kind, a line of the record."""
        return tuple(self.__dict__.values())

    @classmethod
    def read(cls, words: Sequence[str]) -> Resource:
        """From a line of a record; fields of a later version are left out. Raises TypeError for too few."""
        return cls(*words[: len(cls.__match_args__)])

    def add(self) -> str:
        """The line that puts it in place; it may be said again at any time."""
        raise NotImplementedError

    def delete(self) -> str:
        """The line that takes it away; empty where there is nothing to take back."""
        return ""

    def message(self, add: bool, index: Index) -> Request:
        """The same as a message, where the door is rtnetlink. Raises KernelError, ValueError or OSError for a
        device or an address that is not one.
        """
        raise NotImplementedError

    def is_in(self, view: View) -> bool:
        """True if it is in place, as it was recorded."""
        return self in view.found


@dataclass(frozen=True)
class Rtnetlink(Resource):
    """What goes as a message of rtnetlink(7), and by hand as a line of ip(8)."""

    door: ClassVar[str] = "rtnetlink"
    heading: ClassVar[str] = "ip -batch -"
    tool: ClassVar[str] = "ip"
