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
    from collections.abc import Iterable, Sequence

    from snf_network.host import Host
    from snf_network.host.record import Record, Records
    from snf_network.model.resources import Resource


@dataclass(frozen=True)
class Follower:
    """A NIC whose guest announced an address that it may have."""

    record: Record
    moved: bool
    """The route led elsewhere, and leads to this NIC now."""


@dataclass(frozen=True)
class Known:
    """A NIC as its record has it."""

    record: Record
    wanted: dict[tuple[str, ...], Resource]
    stale: dict[tuple[str, ...], Resource]


class Floats:
    """The holders of what floats on this node, for one call."""

    def __init__(self, records: Records, host: Host) -> None:
        self.records, self.host = records, host
        self._known: dict[str, Known | None] = {}

    def put(self, record: Record, resources: Sequence[Resource]) -> tuple[list[str], list[str]]:
        """As steps.put, but leaves what another NIC holds. Returns lines for the log, and the errors."""
        left = self._left(resources, record)
        said, failed = steps.put([one for one in resources if one not in left], self.host, record.known)
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
        other = self._live(self.host.ifname(holder))
        if not other:
            return None
        wanted, stale = other.wanted.get(one.slot), other.stale.get(one.slot)
        if stale and not wanted:
            self.host.rtnetlink([stale], False)
        return other.record if wanted and wanted.floats else None

    def hand_on(self, interface: str, given_up: Sequence[Resource]) -> list[str]:
        """Give what `interface` held to another NIC that wants it. The route is replaced, so no packet is
        lost. Nothing is announced on the uplink: the guest may have gone to another node, which answers for
        the address from now on. Returns lines for the log. Raises KernelError.
        """
        said = []
        floating = [one for one in given_up if isinstance(one, FloatingRoute)]
        free = (0, self.host.ifindex(interface))
        left = {one.slot: one for one, holder in zip(floating, self.host.holders(floating)) if holder in free}
        for name in dict.fromkeys(name for one in left.values() for name in self.records.users(one)):
            peer = self._live(name) if name != interface else None
            theirs = [its for slot in left if peer and (its := peer.wanted.get(slot)) and its.floats]
            known = peer.record.known if peer else {}
            for its, why in zip(theirs, self.host.rtnetlink(theirs, True, known) if theirs else ()):
                if not why:
                    said.append(f"{left.pop(its.slot).prefix} goes to {name}")
        if left:
            self.host.rtnetlink([*left.values()], False)
        return said

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
            if free and not self.host.rtnetlink([one], True, record.known)[0]:
                return Follower(record, True)
        return None

    def _live(self, interface: str) -> Known | None:
        """The NIC, read once in a call: its record may be long. None if there is none."""
        if interface not in self._known:
            record = self.records.load(interface) if interface else None
            self._known[interface] = _known(record) if record and is_live(record) else None
        return self._known[interface]


def _known(record: Record) -> Known:
    return Known(record, {one.slot: one for one in record.resources}, {one.slot: one for one in record.stale})
