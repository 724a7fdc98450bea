"""The doors to the machine: processes, netlink, files, records, locks."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Protocol

    from snf_network.model.resources import Resource, Route

    class Host(Protocol):
        """What the engine asks of a machine: the module `kernel`, or in tests a fake that remembers."""

        def nft(self, lines: Iterable[str]) -> str:
            """Run one transaction, all of it or nothing; why nothing was done, empty if it was."""

        def run(self, argv: Sequence[str], text: str = "") -> tuple[int, str]:
            """Run a tool; its exit status and what it printed."""

        def has_element(self, family: str, set_name: str, key: str) -> bool:
            """True if the set or map exists and has the key."""

        def rtnetlink(self, resources: Sequence[Resource], add: bool) -> list[str]:
            """Add or delete each; why it was refused, empty if it is done."""

        def holders(self, routes: Sequence[Route]) -> list[int]:
            """ifindex of the device that a route of exactly each prefix leads to now; 0 if there is none."""

        def sysctl(self, key: str, value: str) -> bool:
            """Set it if it is otherwise; True if it had to be."""

        def write_file(self, path: str, content: str) -> None:
            """Put a file in place at once."""

        def withdraw_file(self, path: str) -> None:
            """Remove a file that was put in place, or half put in place."""

        def ovs(self, words: str) -> str:
            """Run ovs-vsctl; why it failed, empty if it is done."""

        def flush_port(self, interface: str) -> None:
            """Forget the MAC addresses that a bridge has learned by a port."""

        def flush_neighbours(self, interface: str) -> None:
            """Forget the neighbours that the node has learned on a device."""

        def ifindex(self, interface: str) -> int:
            """The kernel's number of a device; 0 if there is none of that name."""
