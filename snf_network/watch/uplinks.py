"""The node's side of a NIC: what it has on an uplink, and who is announced when one has a carrier again."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from os import WNOHANG, kill, waitpid
from signal import SIGKILL
from typing import TYPE_CHECKING

from snf_network.host.kernel import ifindex
from snf_network.host.netlink import Netlink
from snf_network.model.resources import NeighProxy, Rule, Sysctl
from snf_network.scripts.bringup import announce_guests
from snf_network.watch.glimpse import Glimpse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from snf_network.host.record import Record
    from snf_network.model.config import Config
    from snf_network.model.resources import Resource
    from snf_network.watch.events import LinkState


def uplinks_of(record: Record) -> set[str]:
    """Devices on which the node answers for a NIC's addresses."""
    return {one.interface for one in proxies_of(record)}


def proxies_of(record: Record) -> list[NeighProxy]:
    """The entries of a NIC on the node's uplinks."""
    return [
        one for one in record.resources if isinstance(one, NeighProxy) and one.interface != record.interface
    ]


def lost_proxies(live: Iterable[Record]) -> dict[str, tuple[Record, Sequence[Resource]]]:
    """Entries that uplinks lack, by NIC. The kernel removes them when an uplink goes down, and reports none.
    Two questions for each uplink, whatever the number of NICs. Raises OSError.
    """
    wanted = [(record, proxies) for record in live if (proxies := proxies_of(record))]
    devices = {one.interface: ifindex(one.interface) for _, proxies in wanted for one in proxies}
    there = set(_proxies_on(devices))
    found = [
        (record, [one for one in proxies if devices[one.interface] and one not in there])
        for record, proxies in wanted
    ]
    return {record.interface: (record, lost) for record, lost in found if lost}


class Proxies:
    """Entries on the uplinks that two looks do not find: a call may be at work on a NIC."""

    def __init__(self) -> None:
        self.seen: set[Resource] = set()
        """What the last look did not find, and nobody has put back."""

    def look(
        self, live: Iterable[Record], ready: Callable[[str], bool]
    ) -> tuple[dict[str, tuple[Record, Sequence[Resource]]], set[str]]:
        """What to put back now, by NIC that is `ready`; and the NICs to look at again. Raises OSError."""
        lost = lost_proxies(live)
        sure: dict[str, tuple[Record, Sequence[Resource]]] = {
            name: (record, found)
            for name, (record, some) in lost.items()
            if ready(name) and (found := [one for one in some if one in self.seen])
        }
        done = {one for _, some in sure.values() for one in some}
        left = {one: name for name, (_, some) in lost.items() for one in some if one not in done}
        self.seen = {*left}
        return sure, {*left.values()}


def _proxies_on(devices: Mapping[str, int]) -> Iterator[NeighProxy]:
    with Netlink() as netlink:
        for name, index in devices.items():
            for family in (AF_INET, AF_INET6):
                for address in netlink.proxies(index, family) if index else ():
                    yield NeighProxy(address, name)


def lost_rules(live: Iterable[Record]) -> dict[Resource, str]:
    """Policy rules that the kernel lacks, each with the interface of a NIC that wants it. Raises OSError."""
    with Netlink() as netlink:
        there = netlink.rules()
    return {
        one: record.interface
        for record in live
        for one in record.resources
        if isinstance(one, Rule) and one not in there
    }


def lost_settings(live: Iterable[Record]) -> dict[Sysctl, Record]:
    """Settings of uplinks, bridges and of the whole node, which NICs share, and that are not as they want
    them.
    """
    wanted = {one: record for record in live for one in record.resources if isinstance(one, Sysctl)}
    glimpse = Glimpse("")  # settings need no device
    return {one: record for one, record in wanted.items() if not one.is_in(glimpse)}


def above(links: Mapping[int, LinkState], names: Iterable[str]) -> set[str]:
    """These devices, and the bridges, bonds and VLANs that stand on them, one on the other."""
    found, left = set[str](), set(names)
    while left:
        found |= left
        left = {*_next(links, left)} - found
    return found


def _next(links: Mapping[int, LinkState], names: set[str]) -> Iterator[str]:
    for index, link in links.items():
        if link.name in names and link.master in links:
            yield links[link.master].name
        lower = links.get(link.lower)
        if lower and lower.name in names and index != link.lower:
            yield link.name


class Announcer:
    """Announces all guests behind devices. One child at a time: a flapping uplink begins it again."""

    def __init__(self) -> None:
        self.child = 0
        self.names: set[str] = set()
        """The devices that the child is at work for."""

    def begin(
        self, names: set[str], live: Iterable[Record], links: Mapping[int, LinkState], config: Config
    ) -> bool:
        """Announce the guests behind these devices and behind those not done yet. False: there are none."""
        self.reap()
        behind = above(links, names | self.names)
        child = announce_guests((record for record in live if behind & uplinks_of(record)), config)
        if child:
            if self.child:
                kill(self.child, SIGKILL)  # ours, and not waited for: nobody else can have its number
            self.child, self.names = child, self.names | names
        return bool(child)

    def reap(self) -> None:
        """Wait for children that have ended: announcements are sent by some that nobody else waits for."""
        try:
            while ended := waitpid(-1, WNOHANG)[0]:
                if ended == self.child:
                    self.child, self.names = 0, set()
        except ChildProcessError:  # there is none
            pass
