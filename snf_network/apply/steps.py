"""Which Resource goes through which door, and in what order. Members go through rules.ruleset.

Knows doors, but not records, NICs or the purpose of a Resource.
"""

from __future__ import annotations

from itertools import groupby

from snf_network.errors import Hung, KernelError
from snf_network.host.kernel import NOBODY, read_file
from snf_network.model.resources import File, Hook, Link, OvsPort, Port, Route, Sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from snf_network.host import Host
    from snf_network.model.resources import Resource

    Door = Callable[[list[Resource], bool, Host, Mapping[str, int]], list[str]]
    """Adds or deletes Resources, with the ifindex of known devices; returns the error for each, empty on
    success.
    """


def prepare(resources: Iterable[Resource], host: Host) -> None:
    """Add what must exist before a member refers to it: otherwise a marked packet would follow the node's own
    routes. Raises KernelError.
    """
    early = [resource for resource in resources if resource.early]
    for failure in _through("rtnetlink", early, True, host, NOBODY):
        raise KernelError(failure)


def put(resources: Iterable[Resource], host: Host, known: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Add everything but members and what `prepare` adds, in the order given. `known` has the ifindex of the
    NICs: a tap that vanished and came back meanwhile is another one. Returns the settings that had to be
    changed, as lines for the log, and the errors; one failure does not stop the others, except that of a
    pin: no link may come up without it.

    It is an error if an address has a route to another live device: replacing that route would steal another
    guest's traffic.
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
            continue
        some = list(group)
        said = _through(door, some, True, host, known)
        failed += said
        if said and any(isinstance(one, Hook) and one.is_pin for one in some):
            break
    return changed, failed


def entailed(lost: Sequence[Resource], resources: Sequence[Resource]) -> Sequence[Resource]:
    """What has to be put to have back what a NIC with these Resources lost: all of them, if its link is to
    come up. It may have lost its pins, too, since somebody looked; and the kernel forgets the neighbours of a
    device whose MAC is set, the permanent ones, too (NETDEV_CHANGEADDR).
    """
    return resources if any(isinstance(one, (Link, Port, OvsPort)) for one in lost) else lost


def _taken(routes: list[Route], host: Host) -> list[Route]:
    """Routes whose address another device has; a vif may share it with its guest's emulated tap."""
    asked = [route for route in routes if not route.interface.startswith("vif")]
    holders = host.holders(asked) if asked else []
    return [one for one, holder in zip(asked, holders) if holder not in (0, host.ifindex(one.interface))]


def undo(resources: Iterable[Resource], host: Host, known: Mapping[str, int] = NOBODY) -> None:
    """Remove everything but members, in order of rank; `known` as in `put`. Deleting something absent is not
    an error. Raises Hung.
    """
    doomed = sorted(
        (one for one in resources if one.door in DOORS and one.delete()), key=lambda one: one.rank
    )
    for door, group in groupby(doomed, lambda resource: resource.door):
        DOORS[door](list(group), False, host, known)


def is_tracking() -> bool:
    """True if the node tracks any connection."""
    return read_file("/proc/sys/net/netfilter/nf_conntrack_count") not in (None, "0\n")


def _settings(settings: Iterable[Resource], host: Host, changed: list[str], failed: list[str]) -> None:
    for setting in settings:
        if isinstance(setting, Sysctl):
            try:
                if host.sysctl(setting.key, setting.value):
                    changed.append(f"sysctl {setting.add()}")
            except KernelError as error:
                failed.append(str(error))


def _through(
    door: str, resources: list[Resource], add: bool, host: Host, known: Mapping[str, int]
) -> list[str]:
    """Add or delete Resources through a door; returns the errors, each with the command."""
    said = DOORS[door](resources, add, host, known) if resources else []
    return [f"{resource.command}: {why}" for resource, why in zip(resources, said) if why]


def _rtnetlink(resources: list[Resource], add: bool, host: Host, known: Mapping[str, int]) -> list[str]:
    return host.rtnetlink(resources, add, known)


def _hooks(resources: list[Resource], add: bool, host: Host, known: Mapping[str, int]) -> list[str]:
    """All in one transaction. Before Linux 6.16 a chain goes with its device: then those that are there are
    deleted.
    """
    said = host.nft(one.add() if add else one.delete() for one in resources)
    if said and not add:
        there = host.run(("nft", "list", "chains", "netdev"))[1].split()
        said = host.nft(one.delete() for one in resources if isinstance(one, Hook) and one.chain in there)
    why = said.strip().partition("\n")[0]
    hint = " (egress chains need Linux 5.16)" if why.endswith("Operation not supported") else ""
    return [why + hint] * len(resources)


def _files(resources: list[Resource], add: bool, host: Host, known: Mapping[str, int]) -> list[str]:
    said = []
    for resource in resources:
        assert isinstance(resource, File)
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


def _ovs(resources: list[Resource], add: bool, host: Host, known: Mapping[str, int]) -> list[str]:
    said = []
    for resource in resources:
        try:
            said.append(host.ovs(resource.add() if add else resource.delete()))
        except Hung:  # a port that may remain must remain in the record
            raise
        except KernelError as error:
            said.append(str(error))
    return said


DOORS: dict[str, Door] = {"rtnetlink": _rtnetlink, "hook": _hooks, "file": _files, "ovs": _ovs}
