"""A plan as the lines an admin would type, in the order they are done. What is printed is what runs."""

from __future__ import annotations

from itertools import groupby

from snf_network.model.resources import Element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snf_network.model.resources import Resource
    from snf_network.plan import Plan

HEADINGS = {
    "nft": "nft -f -",
    "rule": "ip {} -batch -",
    "sysctl": "sysctl -w",
    "ip": "ip -batch -",
    "bridge": "bridge -batch -",
    "neigh": "ip -batch -",
    "file": "files",
    "ovs": "ovs-vsctl",
}


def text(plan: Plan) -> str:
    """Everything that bringing the NIC up would do."""
    parts = [
        *resources(plan.resources),
        *_part("announce", [f"{told.address} on {told.interface}" for told in plan.announcements]),
        *_part(
            "dns",
            [f"{plan.names.instance} {address}" for address in plan.names.addresses] if plan.names else (),
        ),
        *_part("warnings", plan.warnings),
        *_part("lacking", plan.lacking),
        *_part("ignored tags", [ascii(tag)[1:-1] for tag in plan.ignored]),
    ]
    return "\n".join(parts)


def resources(wanted: Iterable[Resource]) -> Iterator[str]:
    """The add lines, one heading a tool: what members lead to, all members, then the rest in the plan's
    order.
    """
    everything = list(wanted)
    early = [resource for resource in everything if resource.early]
    members = [resource for resource in everything if isinstance(resource, Element)]
    rest = [resource for resource in everything if not (resource.early or isinstance(resource, Element))]
    for heading, group in groupby((*early, *members, *rest), _heading):
        yield from _part(heading, [resource.add() for resource in group])


def _heading(resource: Resource) -> str:
    return HEADINGS[resource.door].format(resource.fields()[0])


def _part(heading: str, lines: Iterable[str]) -> Iterator[str]:
    body = "".join(f"{line}\n" for line in lines)
    if body:
        yield f"# {heading}\n{body}"
