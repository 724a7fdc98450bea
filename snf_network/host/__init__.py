"""Access to the machine: processes, netlink, files, records, locks."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    from snf_network.host.nftables import Changes
    from snf_network.model.resources import Element, Resource, Route

    class Host(Protocol):
        """The machine as the engine uses it: the module `kernel`, or in tests a fake that keeps the calls."""

        def nft(self, lines: Iterable[str]) -> str:
            """Run one transaction, all of it or nothing; returns nft's error, empty on success."""

        def change_members(self, changes: Changes) -> str:
            """Change members in one transaction, all of it or nothing; returns the error, empty on
            success.
            """

        def run(self, argv: Sequence[str], text: str = "") -> tuple[int, str]:
            """Run a tool; returns its exit status and output."""

        def has_element(self, one: Element) -> bool:
            """True if the set or map exists and has the key."""

        def rtnetlink(
            self, resources: Sequence[Resource], add: bool, known: Mapping[str, int] = {}
        ) -> list[str]:
            """Add or delete each, with the ifindex of some devices; returns the error for each, empty on
            success.
            """

        def holders(self, routes: Sequence[Route]) -> list[int]:
            """For each route, the ifindex that its exact prefix leads to now; 0 without such a route."""

        def sysctl(self, key: str, value: str) -> bool:
            """Set the key if its value differs; True if it did."""

        def write_file(self, path: str, content: str) -> None:
            """Write a file atomically."""

        def withdraw_file(self, path: str) -> None:
            """Remove a file that was written, fully or in part."""

        def ovs(self, words: str) -> str:
            """Run ovs-vsctl; returns its error, empty on success."""

        def flush_port(self, interface: str) -> None:
            """Flush the MAC addresses that a bridge has learned on a port."""

        def flush_neighbours(self, interface: str) -> None:
            """Flush the neighbours that the node has learned on a device."""

        def ifindex(self, interface: str) -> int:
            """The kernel's number of a device; 0 if no device has that name."""

        def ifname(self, index: int) -> str:
            """The name of the device with this ifindex; empty if there is none."""
