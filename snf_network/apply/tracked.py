"""End the connections that a node tracks of addresses that no NIC on it has any more: the next guest with
such an address must not inherit them. Only a node that tracks any comes here.
"""

from __future__ import annotations

from snf_network.host import kernel
from snf_network.host.conntrack import REFUSALS, Connections
from snf_network.model.resources import Binding, Element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from snf_network.host.record import Record, Records
    from snf_network.model.resources import Resource


def forget(records: Records, gone: Mapping[str, Iterable[Resource]]) -> int:
    """End the connections of addresses that these Resources, by interface, were about; returns how many.
    Failures are no matter of the NIC: the entries time out.
    """
    given_up = {interface: set(some) for interface, some in gone.items()}
    doomed = {address for name, some in given_up.items() for address in _given_up(records.load(name), some)}
    connections = Connections() if doomed else None
    if not connections:
        return 0
    try:
        found = connections.of(doomed)
        if found:  # few have any: only then read what all others have
            kept = {one for record in records for one in _kept(record, given_up)}
            found = {address: known for address, known in found.items() if address not in kept}
        return sum(connections.end(*one) for known in found.values() for one in known if not kernel.is_late())
    except REFUSALS:
        return 0
    finally:
        connections.close()


def _given_up(record: Record | None, removed: set[Resource]) -> Iterator[str]:
    """The addresses of a NIC that goes, or those that it had before a change."""
    yield from _addresses(removed)
    if record:
        yield from _addresses(record.stale)
        if removed.issuperset(record.resources):
            yield from _own(record)


def _kept(record: Record, given_up: Mapping[str, set[Resource]]) -> Iterator[str]:
    """The addresses that a NIC still has."""
    removed = given_up.get(record.interface, set())
    if not removed.issuperset(record.resources):
        yield from _own(record)
        yield from _addresses(one for one in record.resources if one not in removed)


def _own(record: Record) -> Iterator[str]:
    yield dict(record.variables).get("IP", "")


def _addresses(resources: Iterable[Resource]) -> Iterator[str]:
    """Those in the pins, and in what nfdhcpd tells."""
    for one in resources:
        words: Iterable[str] = ()
        if isinstance(one, Element) and one.set in ("src4", "src6"):
            words = (one.rest.rpartition(" ")[2],)
        elif isinstance(one, Binding):
            words = (
                line.partition("=")[2]
                for line in one.content.splitlines()
                if line.startswith(("IP=", "EUI64="))
            )
        yield from words
