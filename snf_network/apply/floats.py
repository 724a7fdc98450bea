"""Resources that float: several NICs want one slot, and one of them, the holder, has it at a time. The kernel
alone knows which; the registrations of a shared Resource say who else may have it.

Whoever calls `put` or `hand_on` holds the lock of what is shared. No lock of a peer is needed: a peer that
goes down meanwhile first sets its link down, so that it is refused the route, and then waits for the shared
lock to give it up.
"""

from __future__ import annotations

from snf_network.apply import steps
from snf_network.host.lock import Lock
from snf_network.host.record import ALWAYS, is_live
from snf_network.lean import dataclass
from snf_network.model.resources import FloatingRoute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from snf_network.host import Host
    from snf_network.host.record import Record, Records
    from snf_network.model.resources import Resource


@dataclass(frozen=True)
class Follower:
    """A NIC whose guest announced an address that it may have."""

    record: Record
    moved: bool
    """The route led elsewhere, and leads to this NIC now."""


class Floats:
    """The holders of what floats on this node."""

    def __init__(self, records: Records, host: Host) -> None:
        self.records, self.host = records, host

    def put(self, record: Record, resources: Sequence[Resource]) -> tuple[list[str], list[str]]:
        """As steps.put, but leaves what another NIC holds. Returns lines for the log, and the errors."""
        left = self._left(resources, record)
        said, failed = steps.put([one for one in resources if one not in left], self.host)
        told = [
            f"{one.prefix} stays with {holder}, until this guest announces it" for one, holder in left.items()
        ]
        return [*said, *told], failed

    def _left(self, resources: Iterable[Resource], record: Record) -> dict[FloatingRoute, str]:
        """Those of `resources` that another NIC holds and may hold, with its interface. Raises KernelError.

        The vif and the emulated tap of one Xen guest are one NIC: the later one takes over.
        """
        floating = [one for one in resources if isinstance(one, FloatingRoute)]
        own = self.host.ifindex(record.interface)
        left = {}
        for one, holder in zip(floating, self.host.holders(floating) if floating else ()):
            other = self._entitled(one, holder) if holder != own else None
            if other and not (other.uuid == record.uuid and other.instance == record.instance):
                left[one] = other.interface
        return left

    def _entitled(self, one: FloatingRoute, holder: int) -> Record | None:
        """The NIC with this ifindex, if it holds the slot and may. If it is giving it up, or a call that was
        killed should have, its route is deleted. Raises KernelError.
        """
        name = self.host.ifname(holder)
        other = self.records.load(name) if name else None
        if not other or not is_live(other):
            return None
        wanted = [its for its in other.resources if its.slot == one.slot]
        if not wanted:
            self.host.rtnetlink([its for its in other.stale if its.slot == one.slot], False)
        return other if any(its.floats for its in wanted) else None

    def hand_on(self, interface: str, given_up: Sequence[Resource]) -> None:
        """Give what `interface` held to another NIC that wants it. The route is replaced, so no packet is
        lost. Nothing is announced on the uplink: the guest may have gone to another node, which answers for
        the address from now on. Raises KernelError.
        """
        floating = [one for one in given_up if isinstance(one, FloatingRoute)]
        holders = self.host.holders(floating) if floating else []
        for one, holder in zip(floating, holders):
            mine = holder in (0, self.host.ifindex(interface))
            if mine and not any(self._add(its) for _, its in self._peers(one, interface)):
                self.host.rtnetlink([one], False)

    def follow(self, interface: str, address: str) -> Follower | None:
        """Lead the route of `address` to the NIC whose guest announced it. None if the NIC may not have it,
        or if its device refuses it. Raises KernelError.
        """
        with Lock(self.records.directory, ALWAYS):
            record = self.records.load(interface)
            return self._follow(record, address) if record and is_live(record) else None

    def _follow(self, record: Record, address: str) -> Follower | None:
        mine = [one for one in record.resources if isinstance(one, FloatingRoute) and one.address == address]
        for one, holder in zip(mine, self.host.holders(mine) if mine else ()):
            if holder == self.host.ifindex(record.interface):
                return Follower(record, False)
            free = self._entitled(one, holder) or not self.host.holders([one])[0]
            if free and self._add(one):
                return Follower(record, True)
        return None

    def _peers(self, one: Resource, interface: str) -> Iterator[tuple[Record, Resource]]:
        """The other live NICs that want the slot, each with what it would put there."""
        for name in self.records.users(one):
            other = self.records.load(name) if name != interface else None
            if other and is_live(other):
                yield from ((other, its) for its in other.resources if its.floats and its.slot == one.slot)

    def _add(self, one: Resource) -> bool:
        return not self.host.rtnetlink([one], True)[0]
