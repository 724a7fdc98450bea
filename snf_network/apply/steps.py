"""Which Resource goes through which door, and in what order. Members go through rules.ruleset.

Knows doors, and nothing of records, NICs or what any of it is for.
"""

from __future__ import annotations

from itertools import groupby

from snf_network.errors import Hung, KernelError
from snf_network.model.resources import Binding, Route, Sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from snf_network.host import Host
    from snf_network.model.resources import Resource

    Door = Callable[[list[Resource], bool, Host], list[str]]
    """Adds or deletes Resources; gives for each why it failed, or an empty string."""


def prepare(resources: Iterable[Resource], host: Host) -> None:
    """What has to be there before a member leads to it: a marked packet would otherwise take the node's own
    routes. Raises KernelError.
    """
    early = [resource for resource in resources if resource.early]
    for failure in _through("rtnetlink", early, True, host):
        raise KernelError(failure)


def put(resources: Iterable[Resource], host: Host) -> tuple[list[str], list[str]]:
    """Everything but members and what `prepare` did, in the order given. Gives the settings that it had to
    change, and why something could not be put in place; one failure stops none of the others.

    An address that the route of another live device leads to is a failure: replacing that route would
    steal the traffic of that guest.
    """
    changed: list[str] = []
    failed: list[str] = []
    rest = [resource for resource in resources if not (resource.door == "nft" or resource.early)]
    taken = _taken([one for one in rest if isinstance(one, Route)], host)
    for route in taken:
        address = route.prefix.partition("/")[0]
        failed.append(
            f"{address} has a route to another device by now (two live NICs cannot have one address)"
        )
    free = (resource for resource in rest if resource not in taken)
    for door, group in groupby(free, lambda resource: resource.door):
        if door == "sysctl":
            _settings(group, host, changed, failed)
        else:
            failed += _through(door, list(group), True, host)
    return changed, failed


def _taken(routes: list[Route], host: Host) -> list[Route]:
    """Those whose address another device has; the emulated tap of the same guest may have that of a vif."""
    asked = [route for route in routes if not route.interface.startswith("vif")]
    holders = host.holders(asked) if asked else []
    return [one for one, holder in zip(asked, holders) if holder not in (0, host.ifindex(one.interface))]


def undo(resources: Iterable[Resource], host: Host) -> None:
    """Take away everything but members, links down first. What is absent already is no failure. Raises
    Hung.
    """
    doomed = sorted(
        (one for one in resources if one.door in DOORS and one.delete()), key=lambda one: one.rank
    )
    for door, group in groupby(doomed, lambda resource: resource.door):
        DOORS[door](list(group), False, host)


def _settings(settings: Iterable[Resource], host: Host, changed: list[str], failed: list[str]) -> None:
    for setting in settings:
        if isinstance(setting, Sysctl):
            try:
                if host.sysctl(setting.key, setting.value):
                    changed.append(setting.add())
            except KernelError as error:
                failed.append(str(error))


def _through(door: str, resources: list[Resource], add: bool, host: Host) -> list[str]:
    """Why some of the Resources failed, each with its line."""
    said = DOORS[door](resources, add, host) if resources else []
    return [f"{resource.command}: {why}" for resource, why in zip(resources, said) if why]


def _rtnetlink(resources: list[Resource], add: bool, host: Host) -> list[str]:
    return host.rtnetlink(resources, add)


def _files(resources: list[Resource], add: bool, host: Host) -> list[str]:
    said = []
    for resource in resources:
        assert isinstance(resource, Binding)
        why = ""
        try:
            if add:
                host.write_file(resource.path, resource.content)
            else:
                host.withdraw_file(resource.path)
        except KernelError as error:
            why = error.message
        said.append(why)
    return said


def _ovs(resources: list[Resource], add: bool, host: Host) -> list[str]:
    said = []
    for resource in resources:
        try:
            said.append(host.ovs(resource.add() if add else resource.delete()))
        except Hung:  # a port that stays behind has to stay in the record
            raise
        except KernelError as error:
            said.append(str(error))
    return said


DOORS: dict[str, Door] = {"rtnetlink": _rtnetlink, "file": _files, "ovs": _ovs}
