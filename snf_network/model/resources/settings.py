"""What goes by files and programs: settings of the kernel, bindings, ports of Open vSwitch."""

from __future__ import annotations

from snf_network.lean import dataclass
from snf_network.model.resources.base import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from snf_network.model.resources.base import View


@dataclass(frozen=True)
class Sysctl(Resource):
    """A setting of the kernel. A tap's dies with it; any other is set if wrong and left."""

    door: ClassVar[str] = "sysctl"
    heading: ClassVar[str] = "sysctl -w"
    tool: ClassVar[str] = "sysctl"
    place: ClassVar[tuple[str, ...]] = ("key",)
    key: str
    """With slashes: an interface name may hold a dot."""
    value: str

    @property
    def device(self) -> str:
        """The one whose setting it is; empty for `all` and what is about none."""
        words = self.key.split("/")
        return words[3] if len(words) == 5 and words[3] not in ("all", "default") else ""

    def add(self) -> str:
        """As sysctl(8) takes it."""
        return f"{self.key}={self.value}"

    def is_in(self, view: View) -> bool:
        """As /proc/sys has it."""
        said = view.content(f"/proc/sys/{self.key}")
        return said is not None and said.strip() == self.value


@dataclass(frozen=True)
class Binding(Resource):
    """A file that tells nfdhcpd what to answer the guest with."""

    door: ClassVar[str] = "file"
    heading: ClassVar[str] = "files"
    rank: ClassVar[int] = 3
    place: ClassVar[tuple[str, ...]] = ("path",)
    path: str
    content: str

    @property
    def device(self) -> str:
        """The tap, whose name the file has."""
        return self.path.rpartition("/")[2]

    @property
    def command(self) -> str:
        """What is done, without the content."""
        return f"write {self.path}"

    def add(self) -> str:
        """Written beside and renamed, mode 0644."""
        content = "".join(f"    {line}\n" for line in self.content.splitlines())
        return f"write {self.path}\n{content}".rstrip("\n")

    def delete(self) -> str:
        """The whole file is ours."""
        return f"rm {self.path}"

    def is_in(self, view: View) -> bool:
        """A site may add keys of its own below ours (IFUP_EXTRA_SCRIPT)."""
        return (view.content(self.path) or "").startswith(self.content)


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

    def add(self) -> str:
        """One transaction of ovs-vsctl: a stale port of that name goes, the new one comes with its VLANs."""
        settings = (self.tag and f" tag={self.tag}") + (self.trunks and f" trunks={self.trunks}")
        port = f"add-port {self.bridge} {self.interface}"
        vlans = settings and f" -- set port {self.interface}{settings}"
        return f"--if-exists del-port {self.interface} -- {port}{vlans}"

    def delete(self) -> str:
        """No failure where it is gone; nor is the daemon waited for, which takes the port out of its
        tables when it can.
        """
        return f"--no-wait --if-exists del-port {self.interface}"

    def is_in(self, view: View) -> bool:
        """With its VLANs."""
        return self in view.ovs_ports
