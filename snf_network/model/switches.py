"""The kinds about bridges themselves: their options, their VLANs, and Open vSwitch. Read resources.py
first.
"""

from __future__ import annotations

from snf_network.resources import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass
    from typing import ClassVar
else:
    from snf_network.lean import dataclass


@dataclass(frozen=True)
class BridgeOption(Resource):
    """An option of a bridge that has to be so for all its ports: set, and left."""

    door: ClassVar[str] = "ip"
    place: ClassVar[tuple[str, ...]] = ("bridge", "option")
    bridge: str
    option: str
    value: str

    def add(self) -> str:
        """As ip-link(8) has it."""
        return f"link set dev {self.bridge} type bridge {self.option} {self.value}"


@dataclass(frozen=True)
class BridgeVlan(Resource):
    """Membership of a port in a VLAN of a VLAN-aware bridge; `flags` are those of bridge(8), or `absent`, or
    `uplink`.
    """

    door: ClassVar[str] = "bridge"
    place: ClassVar[tuple[str, ...]] = ("interface", "vid")
    interface: str
    vid: str
    flags: str = ""

    def add(self) -> str:
        """In the way that `flags` say; `absent`: not at all."""
        return self._line(
            "del" if self.flags == "absent" else "add",
            "" if self.flags in ("absent", "uplink") else self.flags,
        )

    def delete(self) -> str:
        """The tap's own membership goes, and the one taken from it comes back; an uplink's stays, it may have
        been there before.
        """
        if self.flags == "uplink":
            return ""
        return self._line("add", "pvid untagged") if self.flags == "absent" else self._line("del", "")

    def _line(self, verb: str, flags: str) -> str:
        return f"vlan {verb} dev {self.interface} vid {self.vid}{flags and ' ' + flags} master"


@dataclass(frozen=True)
class OvsPort(Resource):
    """A port of an Open vSwitch bridge."""

    door: ClassVar[str] = "ovs"
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    bridge: str
    tag: str = ""
    trunks: str = ""

    def add(self) -> str:
        """One transaction of ovs-vsctl: a stale port of that name goes, the new one comes with its VLANs."""
        settings = (self.tag and f" tag={self.tag}") + (self.trunks and f" trunks={self.trunks}")
        port = f"add-port {self.bridge} {self.interface}"
        return f"--if-exists del-port {self.interface} -- {port}" + (
            settings and f" -- set port {self.interface}{settings}"
        )

    def delete(self) -> str:
        """No failure where it is gone; nor is the daemon waited for, which takes the port out of its tables
        when it can.
        """
        return f"--no-wait --if-exists del-port {self.interface}"


KINDS: dict[str, type[Resource]] = {kind.__name__: kind for kind in (BridgeOption, BridgeVlan, OvsPort)}
