"""What one NIC may have lost, and what of it is really gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snf_network.host import kernel
from snf_network.model.resources import Element, Hook, Neighbour, NeighProxy, Route, Sysctl
from snf_network.model.resources.nft import HOOK
from snf_network.observe.readback import hooks_of
from snf_network.watch.glimpse import Glimpse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from snf_network.host.record import Record
    from snf_network.model.resources import Resource


class Suspicion:
    """What one NIC may have lost."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.sets: set[str] = set()
        self.lost: set[tuple[str, str]] = set()
        """Routes and neighbours that were deleted and not added again: kind, and prefix and table or
        address.
        """
        self.failures = 0
        """How often it could not be put back."""
        self.link = False
        self.down = False
        """The link was down for a moment: the kernel drops IPv4 routes then, and reports none of them."""
        self.again: bool | None = None
        """Look once more before anything is done; None: it was not looked for yet."""


def lost_of(record: Record, suspicion: Suspicion) -> list[Resource]:
    """What of the suspected is not in the kernel, in the record's order: a route needs its link."""
    found = set(_missing(record, suspicion))
    return [one for one in record.resources if one in found]


def _missing(record: Record, suspicion: Suspicion) -> Iterator[Resource]:
    glimpse = Glimpse(record.interface) if suspicion.link else None
    routes = [one for one in record.resources if isinstance(one, Route)] if suspicion.down else []
    yield from (one for one, holder in zip(routes, kernel.holders(routes)) if not holder)
    for resource in record.resources:
        if isinstance(resource, (Element, Hook)):
            if _is_gone(resource, suspicion.sets):
                yield resource
        elif isinstance(resource, Route):
            lost = ("route", f"{resource.prefix} {resource.table}") in suspicion.lost
            if lost and not (resource.floats and any(kernel.holders([resource]))):  # another NIC may have it
                yield resource
        elif isinstance(resource, Neighbour):
            if ("neighbour", resource.address) in suspicion.lost:
                yield resource
        elif glimpse and _is_told(resource, record.interface, suspicion.down) and not resource.is_in(glimpse):
            yield resource


def _is_gone(resource: Element | Hook, sets: Collection[str]) -> bool:
    """True for a member of one of the sets that is not there, and for a chain that is another than it should
    be.
    """
    if isinstance(resource, Element):
        return resource.set in sets and not kernel.has_element(resource)
    if HOOK not in sets:
        return False
    return resource not in hooks_of(resource.interface)


def _is_told(resource: Resource, interface: str, down: bool) -> bool:
    """True if one look at the device tells whether it has this; proxies go when its link goes down."""
    if isinstance(resource, NeighProxy):
        return down and resource.interface == interface
    return resource.of_device or isinstance(resource, Sysctl)
