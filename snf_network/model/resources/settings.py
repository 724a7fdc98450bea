"""Resources set through files and programs: sysctls, nfdhcpd bindings, Open vSwitch ports."""

from __future__ import annotations

from snf_network.lean import dataclass
from snf_network.model.resources.base import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from snf_network.model.resources.base import View


@dataclass(frozen=True)
class Sysctl(Resource):
    """A kernel setting. A tap's vanishes with the tap; any other is set if it differs, and never reset."""

    door: ClassVar[str] = "sysctl"
    heading: ClassVar[str] = "sysctl -w"
    tool: ClassVar[str] = "sysctl"
    place: ClassVar[tuple[str, ...]] = ("key",)
    key: str
    """With slashes: an interface name may contain a dot."""
    value: str

    @property
    def device(self) -> str:
        """The interface whose setting it is; empty for `all`, `default` and settings of no interface."""
        words = self.key.split("/")
        return words[3] if len(words) == 5 and words[3] not in ("all", "default") else ""

    def add(self) -> str:
        """The line of sysctl(8)."""
        return f"{self.key}={self.value}"

    def is_in(self, view: View) -> bool:
        """Compares with the value in /proc/sys."""
        return view.content(f"/proc/sys/{self.key}") == self.value


@dataclass(frozen=True)
class File(Resource):
    """A file that is named after the tap, and read by another program."""

    door: ClassVar[str] = "file"
    heading: ClassVar[str] = "files"
    rank: ClassVar[int] = 3
    place: ClassVar[tuple[str, ...]] = ("path",)
    HEAD: ClassVar[str]
    """How each begins."""
    path: str
    content: str

    @property
    def device(self) -> str:
        """The tap, which the file is named after."""
        return self.path.rpartition("/")[2]

    @property
    def command(self) -> str:
        """The action, without the content."""
        return f"write {self.path}"

    def add(self) -> str:
        """Writes to a temporary file and renames it; mode 0644."""
        content = "".join(f"    {line}\n" for line in self.content.splitlines())
        return f"write {self.path}\n{content}".rstrip("\n")

    def delete(self) -> str:
        """Removes the whole file, which is ours."""
        return f"rm {self.path}"

    def is_in(self, view: View) -> bool:
        """A site may append lines of its own to ours (IFUP_EXTRA_SCRIPT)."""
        return (view.content(self.path) or "").startswith(self.content)


@dataclass(frozen=True)
class Binding(File):
    """A file with the answers that nfdhcpd should give the guest."""

    HEAD: ClassVar[str] = "INDEV="


@dataclass(frozen=True)
class BirdFile(File):
    """A part of BIRD's configuration: the sessions that it should have with the guest."""

    HEAD: ClassVar[str] = "# by snf-network\n"


@dataclass(frozen=True)
class FrrFile(File):
    """The lines of FRR's configuration that make its sessions with the guest. FRR includes no files:
    `snf-network frr` tells them to the running one.
    """

    HEAD: ClassVar[str] = "! by snf-network\n"
    GROUP: ClassVar[str] = "snf-guest-"
    """How the names of its peer groups and prefix lists begin. The tap and the family follow."""
    TEMPLATE: ClassVar[str] = "SNF-GUEST"
    """The administrator's peer group, whose settings each of these gets, and route map."""


@dataclass(frozen=True)
class OvsPort(Resource):
    """A port of an Open vSwitch bridge."""

    door: ClassVar[str] = "ovs"
    heading: ClassVar[str] = "ovs-vsctl"
    tool: ClassVar[str] = "ovs-vsctl"
    rank: ClassVar[int] = 2
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    bridge: str
    tag: str = ""
    trunks: str = ""
    protected: str = ""
    """`true`: the switch lets nothing pass between it and other such ports (ovs-vswitchd.conf.db(5))."""

    def add(self) -> str:
        """One ovs-vsctl transaction: removes a stale port of that name, adds the new one with its VLANs."""
        named = (("tag", self.tag), ("trunks", self.trunks), ("protected", self.protected))
        settings = "".join(f" {name}={value}" for name, value in named if value)
        port = f"add-port {self.bridge} {self.interface}"
        more = settings and f" -- set port {self.interface}{settings}"
        return f"--if-exists del-port {self.interface} -- {port}{more}"

    def delete(self) -> str:
        """Succeeds if the port is gone; does not wait for ovs-vswitchd, which takes the port out of its
        tables when it can.
        """
        return f"--no-wait --if-exists del-port {self.interface}"

    def is_in(self, view: View) -> bool:
        """True if the port exists with the same VLANs."""
        return self in view.ovs_ports
