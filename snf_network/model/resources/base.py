"""The interface that every kind of Resource implements. A kind is plain data: adding one touches its own
module only.

A *slot* is the place that one Resource takes up in the kernel: adding a Resource replaces the one in its
slot, so an old one is deleted only if no new one has its slot. Several NICs may want a *shared* kind; it is
removed with the last of them. A shared kind that *floats* is another thing for each NIC that wants its slot:
one of them, the holder, has it at a time.
"""

from __future__ import annotations

from snf_network.addresses import is_address, is_alias, is_interface, is_length, is_mac, width
from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar, Protocol

    class View(Protocol):
        """The kernel state as read back, which a kind compares itself with."""

        @property
        def found(self) -> set[Resource]:
            """All our Resources that the kernel listed."""

        @property
        def links(self) -> dict[str, dict[str, Any]]:
            """Every device by name, as `ip -j link` reports it."""

        @property
        def vlans(self) -> dict[tuple[str, int], set[str]]:
            """The flags of a port's VLAN membership, by port and VLAN, as `bridge -j vlan` reports them."""

        @property
        def addresses(self) -> set[tuple[str, str]]:
            """Each device with each of its addresses, which has a prefix length."""

        @property
        def ovs_ports(self) -> set[Resource]:
            """Every port of Open vSwitch."""

        @property
        def qdiscs(self) -> dict[str, dict[str, Any]]:
            """The root queueing discipline of each device, as `tc -j qdisc` reports it."""

        @property
        def tunnels(self) -> dict[str, Any]:
            """Our WireGuard devices by name, each a `tunnel.Seen`."""

        def content(self, path: str) -> str | None:
            """The content of a file; None if it cannot be read."""

    Index = Callable[[str], int]
    """Returns the ifindex of a device; raises KernelError if there is none."""
    Request = tuple[int, int, bytes]
    """Type, flags and body of an rtnetlink(7) message."""

PROTOCOL = 148
"""Marks our routes, rules and neighbours in the kernel (RTPROT_*, free above 99 for administrators)."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11 and int(text) < 2**32


def _is_range(text: str) -> bool:
    address, _, length = text.partition("/")
    return is_address(address) and is_length(length, width(address))


def _is_path(text: str) -> bool:
    return text.isprintable() and "/../" not in text


CHECKS: dict[str, Callable[[str], bool]] = {
    "interface": lambda text: not text or is_interface(text),
    "bridge": lambda text: not text or is_interface(text),
    "address": is_address,
    "prefix": _is_range,
    "table": _is_number,
    "vid": _is_number,
    "metric": lambda text: not text or _is_number(text),
    "mac": lambda text: not text or is_mac(text),
    "via": lambda text: not text or is_address(text),
    "mtu": lambda text: not text or _is_number(text),
    "alias": is_alias,
    "family": ("-4", "-6").__contains__,
    "action": ("lookup", "unreachable").__contains__,
    "key": _is_path,
    "path": lambda text: text.startswith("/") and _is_path(text),
    "content": lambda text: True,
}
"""What a field must be, by its name; any other must be printable."""
_sound: set[tuple[str, str]] = set()
"""Fields that have passed: those of thousands of NICs are much alike."""


@dataclass(frozen=True)
class Resource:
    """One thing on the node."""

    door: ClassVar[str] = ""
    """Which interface carries it: nft, hook (a chain of nft), rtnetlink, sysctl, file or ovs."""
    heading: ClassVar[str] = ""
    """The heading that a plan prints above its line: how to run the line by hand."""
    tool: ClassVar[str] = ""
    """The program that takes the line, for error messages."""
    shared: ClassVar[bool] = False
    floats: ClassVar[bool] = False
    early: ClassVar[bool] = False
    """Must be in place before any set member refers to it."""
    of_device: ClassVar[bool] = False
    """Vanishes with the device it was added to, whatever device has that name now."""
    rank: ClassVar[int] = 1
    """Order of removal: lower ranks are removed first."""
    place: ClassVar[tuple[str, ...]] = ()
    """The fields that identify its slot; if empty, all of them."""

    @property
    def slot(self) -> tuple[str, ...]:
        """The slot that adding it fills: by default shared with no other Resource."""
        return type(self).__name__, *(self.__dict__[name] for name in self.place or self.__dict__)

    @property
    def device(self) -> str:
        """The interface it concerns; empty if none."""
        return str(self.__dict__.get("interface", ""))

    @property
    def owner(self) -> str:
        """The interface whose record it belongs to; empty for what several NICs may share."""
        return "" if self.shared else self.device

    @property
    def command(self) -> str:
        """The complete add command, as it would be typed."""
        return f"{self.tool} {self.add()}"

    def fields(self) -> tuple[str, ...]:
        """The values in the order of the class: together with the kind's name, a line of a record."""
        return tuple(self.__dict__.values())

    @classmethod
    def read(cls, words: Sequence[str]) -> Resource:
        """Parse a line of a record; ignores fields of a later version. Raises TypeError for too few."""
        names = cls.__match_args__
        if len(words) < len(names):
            return cls(*words)
        resource = object.__new__(cls)  # 4000 NICs have 110 000, and __init__ takes as long as the rest
        resource.__dict__.update(zip(names, words))
        return resource

    def unsound(self) -> str:
        """The first field that no tool would accept, as NAME=VALUE; empty if there is none. For text from a
        record or a third party.
        """
        for pair in self.__dict__.items():
            if pair not in _sound:
                name, value = pair
                if not CHECKS.get(name, str.isprintable)(value):
                    return f"{name}={value}"
                _sound.add(pair)
        return ""

    def add(self) -> str:
        """The line that adds it; it may be repeated at any time."""
        raise NotImplementedError

    def delete(self) -> str:
        """The line that removes it; empty if there is nothing to undo."""
        return ""

    def message(self, add: bool, index: Index) -> Request:
        """The same as a netlink message, if the door is rtnetlink. Raises KernelError, ValueError or OSError
        for an invalid device or address.
        """
        raise NotImplementedError

    def is_in(self, view: View) -> bool:
        """True if it is in place as recorded."""
        return self in view.found


@dataclass(frozen=True)
class Rtnetlink(Resource):
    """A Resource sent as an rtnetlink(7) message; by hand, a line of ip(8)."""

    door: ClassVar[str] = "rtnetlink"
    heading: ClassVar[str] = "ip -batch -"
    tool: ClassVar[str] = "ip"
