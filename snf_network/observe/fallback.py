"""Flood entries of ours on devices whose entries are FRR's: put there while FRR does not have them.

One rule for each node of the list. Our entry is put there by `repair --fallback`, or was there when the
engine was still list; it stays on record until FRR itself has that node, and is FRR's from then on. Both have
one entry in the kernel, so there is no moment without it.
"""

from __future__ import annotations

from snf_network.model.resources import Element
from snf_network.model.resources.frr import ByFrr
from snf_network.model.resources.underlay import Flood

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from snf_network.host.record import Record
    from snf_network.model.resources import Resource

    Nodes = Mapping[str, frozenset[str]]
    """The other nodes of each VNI that FRR has."""


def with_fallback(
    wanted: Mapping[str, Sequence[Resource]],
    known: Mapping[str, Record],
    ask: Callable[[], Nodes],
    all_nodes: bool = False,
) -> tuple[dict[str, Sequence[Resource]], set[Resource]]:
    """What these networks shall have, with entries that stay ours, and those that are FRR's by now. With
    `all_nodes`, an entry for each node that FRR does not have. FRR is asked only if that matters.
    """
    marks = {name: [one for one in some if isinstance(one, ByFrr)] for name, some in wanted.items()}
    had = {name: _floods(record) for name, record in known.items() if marks.get(name)}
    if not any(had.values()) and not (all_nodes and any(marks.values())):
        return dict(wanted), set()
    nodes = ask()
    others = _others(wanted.values())
    if others is None:
        others = _others(record.resources for record in known.values()) or []
    found: dict[str, Sequence[Resource]] = {}
    given: set[Resource] = set()
    for name, some in wanted.items():
        old = had.get(name, set())
        ours = [Flood(mark.interface, address) for mark in marks[name] for address in others]
        theirs = {Flood(mark.interface, one) for mark in marks[name] for one in nodes.get(mark.vni, ())}
        kept = [one for one in ours if one not in theirs and (all_nodes or one in old)]
        plain = [one for one in some if not (marks[name] and isinstance(one, Flood))]
        found[name] = (*plain, *kept)
        given |= old & theirs
    return found, given


def _floods(record: Record) -> set[Resource]:
    return {one for one in (*record.resources, *record.stale) if isinstance(one, Flood)}


def _others(all_of_them: Iterable[Sequence[Resource]]) -> list[str] | None:
    """The other nodes, which are those that may send to this one; None if nothing is said of nodes."""
    members = [one for some in all_of_them for one in some if isinstance(one, Element)]
    others = dict.fromkeys(one.key for one in members if one.set == "vteps")
    return list(others) if any(one.set in ("vtep_self", "vtep_tunnel") for one in members) else None
