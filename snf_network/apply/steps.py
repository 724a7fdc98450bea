"""Bring Resources to the tools that take them, and back: nft members in one transaction, everything else in
batches, in order.

Knows tools and kinds, and nothing of records, NICs or what any of it is for.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, if_nametoindex
from itertools import groupby

from snf_network.errors import Hung, KernelError
from snf_network.host import kernel
from snf_network.host.netlink import Netlink
from snf_network.model.resources import Element, Neighbour, NeighProxy, Route, Sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from snf_network.model.config import Config
    from snf_network.model.resources import Resource

    Door = Callable[[list[Resource], bool], None]


def members(
    dead: Sequence[Element],
    stale: Sequence[Element],
    wanted: Sequence[Element],
    config: Config,
    alone: AbstractContextManager[object],
    loading: Callable[[], None],
) -> bool:
    """Take `dead` out of the sets and maps and put `wanted` in, `stale` being values of theirs that may stand
    there; one transaction.

    Raises KernelError, with nothing changed. True if the ruleset had to be loaded; `loading` is called
    before.

    A set takes an add before a delete, so absent or present is all the same. A map does not: its keys are
    looked at, and the ruleset loaded, only if the transaction is refused, which a first NIC, a crash or
    somebody's flush can make it. That is done `alone`: of fifty first NICs at once, one loads.
    """
    adds = [element.add() for element in wanted]
    lines = (*_deletes(dead), *(element.delete() for element in stale), *adds)
    if not kernel.nft(lines):
        return False
    from snf_network.rules import ruleset

    maps = {element.slot: element for element in (*dead, *wanted) if element.value}
    sets = _deletes(element for element in dead if not element.value)
    with alone:
        if not kernel.nft(lines):  # somebody has loaded it meanwhile
            return False
        present = [
            element.delete()
            for element in maps.values()
            if kernel.has_element(element.family, element.set, element.key)
        ]
        loading()
        said = kernel.nft((ruleset.text(config), *sets, *present, *adds))
        if said and sets:  # an earlier version had that set
            sets = [
                element.delete()
                for element in dead
                if not element.value and kernel.has_element(element.family, element.set, element.key)
            ]
            said = kernel.nft((ruleset.text(config), *sets, *present, *adds))
    if said:
        raise ruleset.explained(said)
    return True


def _deletes(elements: Iterable[Element]) -> list[str]:
    """Deletes that do not mind an absent member: each is added first."""
    return [line for element in elements for line in (element.add(), element.delete())]


def prepare(resources: Iterable[Resource]) -> None:
    """What has to be there before a member leads to it: a marked packet would otherwise take the node's own
    routes.
    """
    rules = [resource for resource in resources if resource.early]
    if rules:
        _rules(rules, True)


def refuse_taken(resources: Iterable[Resource]) -> None:
    """Raise KernelError if the route of another live device leads to an address: replacing it would steal
    that guest's traffic.
    """
    with Netlink() as netlink:
        for resource in resources:
            if isinstance(resource, Route):
                address, _, length = resource.prefix.partition("/")
                found = netlink.route(AF_INET6 if ":" in address else AF_INET, int(resource.table), address)
                taken = (
                    found
                    and found.table == int(resource.table)
                    and found.length == int(length)
                    and found.device
                )
                if (
                    taken
                    and taken != if_nametoindex(resource.interface)
                    and not resource.interface.startswith("vif")
                ):
                    raise KernelError(
                        f"{address} has a route to another device by now",
                        "two live NICs cannot have one address",
                    )


def put(resources: Iterable[Resource]) -> list[str]:
    """All else, in the order given, a batch for each run of one tool. Gives the settings it had to change."""
    changed: list[str] = []
    rest = (resource for resource in resources if not (isinstance(resource, Element) or resource.early))
    for door, group in groupby(rest, _door):
        if door == "sysctl":
            changed += [
                resource.add()
                for resource in group
                if isinstance(resource, Sysctl) and kernel.sysctl(resource.key, resource.value)
            ]
        else:
            DOORS[door](list(group), True)
    return changed


def undo(resources: Iterable[Resource]) -> None:
    """Take away everything but members, links down first. What is absent already is no failure."""
    doomed = [resource for resource in resources if resource.door in DOORS and resource.delete()]
    for door, group in groupby(sorted(doomed, key=_undo_order), _door):
        DOORS[door](list(group), False)


def _door(resource: Resource) -> str:
    return resource.door


def _undo_order(resource: Resource) -> tuple[bool, str, bool]:
    """ip before all, and in it the link: down before anything of it goes."""
    return resource.door != "ip", resource.door, type(resource).__name__ != "Link"


def _batch(*tool: str) -> Door:
    def door(resources: list[Resource], add: bool) -> None:
        lines = [resource.add() if add else resource.delete() for resource in resources]
        lenient = [line for line in lines if not add or " del " in line]
        kernel.batch(tool, lenient, [line for line in lines if line not in lenient])

    return door


def _rules(resources: list[Resource], add: bool) -> None:
    """One batch a family, and none if the kernel has them all already."""
    with Netlink() as netlink:
        present = netlink.rules()
    for family in ("-4", "-6"):
        changes = [rule for rule in resources if rule.fields()[0] == family and (rule in present) is not add]
        kernel.batch(("ip", family), [rule.add() if add else rule.delete() for rule in changes], [])
    if add and not present.issuperset(
        resources
    ):  # another NIC may have been first: what counts is that they are there
        with Netlink() as netlink:
            absent = [rule for rule in resources if rule not in netlink.rules()]
        if absent:
            raise KernelError(f"ip {absent[0].fields()[0]} {absent[0].add()}: refused")


def _neighbours(resources: list[Resource], add: bool) -> None:
    with Netlink() as netlink:
        for resource in resources:
            if isinstance(resource, (Neighbour, NeighProxy)):
                try:
                    netlink.neighbour(resource, add, if_nametoindex(resource.interface))
                except (
                    OSError,
                    ValueError,
                ) as error:  # no such device; or no such address, in a record that was not ours
                    if add:
                        raise KernelError(
                            f"ip {resource.add()}: {getattr(error, 'strerror', error)}"
                        ) from None


def _files(resources: list[Resource], add: bool) -> None:
    for resource in resources:
        path, content = resource.fields()
        if add:
            kernel.write_file(path, content)
        else:
            kernel.withdraw_file(path)


def _ovs(resources: list[Resource], add: bool) -> None:
    for resource in resources:
        words = (resource.add() if add else resource.delete()).split()
        try:
            status, said = kernel.run(("ovs-vsctl", "--timeout=3", *words))
        except KernelError as error:
            if add or isinstance(error, Hung):  # a port that stays behind has to stay in the record
                raise
            continue  # where it is not installed, nothing of it can be left
        if status and add:
            raise KernelError(
                f"ovs-vsctl {resource.add()}: {said.strip()}", "is the Open vSwitch bridge there?"
            )


DOORS: dict[str, Door] = {
    "ip": _batch("ip"),
    "bridge": _batch("bridge"),
    "rule": _rules,
    "neigh": _neighbours,
    "file": _files,
    "ovs": _ovs,
}
