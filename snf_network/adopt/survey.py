"""What there is to adopt on a node: its NICs, each with its old files and rules, and what is left alone."""

from __future__ import annotations

from snf_network.addresses import is_interface
from snf_network.adopt import Line, Unknown, firewall, routing, state
from snf_network.errors import SnfNetworkError
from snf_network.host.kernel import ifindex
from snf_network.host.record import Records, is_live
from snf_network.lean import dataclass, replace
from snf_network.model.nic import Nic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from snf_network.host.record import Record
    from snf_network.model.config import Config

TAPS = ("tap", "vif")
"""How the names of taps begin that are gone: what has another name may be of a card that is away."""


@dataclass(frozen=True)
class Guest:
    """A tap with something of the bash package."""

    interface: str
    nic: Optional[Nic]
    """The NIC that it is; None if it is gone, or not adopted."""
    why: str
    """Why it is not adopted, in words; empty if it is, or if it is gone."""
    files: tuple[str, ...]
    lines: tuple[Line, ...]
    profiles: tuple[str, ...] = ()
    """The firewall profiles that old rules apply to it."""
    first: tuple[Line, ...] = ()
    """What to run before anything else."""


@dataclass(frozen=True)
class Survey:
    """What was found."""

    guests: tuple[Guest, ...]
    unknown: tuple[Unknown, ...]


def survey(config: Config) -> Survey:
    """Read the old files, the records and the kernel. Raises KernelError."""
    files = state.files(config)
    records = {record.interface: record for record in Records(config.state_dir) if is_live(record)}

    def mine(name: str) -> bool:
        gone = name.startswith(TAPS) and is_interface(name) and not ifindex(name)
        return name in files or name in records or gone

    rules, paths = firewall.read(mine), routing.read()
    lines: dict[str, list[Line]] = {name: [] for name in files}
    for line in (*rules.lines, *routing.rules_of_taps(paths, mine)):
        lines.setdefault(line.interface, []).append(line)
    guests, unknown = [], list(rules.unknown)
    for name in lines:
        nic, why = _identified(name, records.get(name), name in files, paths, config)
        more = _of_nic(paths, nic) if nic and name in files else []
        lines[name] += (one for one in more if isinstance(one, Line))
        unknown += (one for one in more if isinstance(one, Unknown))
        profiles = sorted({profile for tap, profile in rules.profiles if tap == name})
        first = tuple(routing.first_of(nic)) if nic else ()
        old = files.get(name, ()), tuple(lines[name])
        guests.append(Guest(name, nic, why, *old, tuple(profiles), first))
    return Survey(tuple(_with_proxies(guests, paths, config)), tuple(unknown))


def _of_nic(paths: routing.Routing, nic: Nic) -> list[Line | Unknown]:
    """What any program could have made: only as long as its old files say that it may be old."""
    found = routing.routes_of, routing.proxies_of, routing.addresses_of
    return [one for each in found for one in each(paths, nic)]


def _with_proxies(guests: list[Guest], paths: routing.Routing, config: Config) -> Iterator[Guest]:
    """The guests; those that are gone with the entries by which the node still answers for them, unless their
    address is on another tap here.
    """
    noted = {guest.interface: _noted(guest, config) for guest in guests}
    here = {nic.ip6 for name, nic in noted.items() if nic and ifindex(name)}
    for guest in guests:
        nic = noted[guest.interface]
        gone = nic is not None and not guest.why and not guest.nic and nic.ip6 not in here
        more = routing.proxies_of(paths, nic) if nic and gone else ()
        yield replace(guest, lines=(*guest.lines, *more))


def _noted(guest: Guest, config: Config) -> Optional[Nic]:
    """The NIC that a tap has, or had by its old files; None if these do not tell."""
    try:
        return guest.nic or state.nic_of(guest.interface, config)
    except SnfNetworkError:
        return None


def _identified(
    name: str, record: Optional[Record], noted: bool, paths: routing.Routing, config: Config
) -> tuple[Optional[Nic], str]:
    """The NIC of a tap, and why it cannot be adopted. A record of ours is newer than any old file."""
    if not ifindex(name):
        return None, ""
    try:
        if record:
            return Nic.from_env(dict(record.variables)), ""
        if not noted:
            return None, f"nothing in {config.state_dir} says whose it is"
        nic = state.nic_of(name, config)
        why = state.untrue(nic, config)
        if not why and nic.mode == "routed" and nic.ip and not routing.leads_to(paths, nic.ip, name):
            why = f"has no route to IP={nic.ip}"
    except SnfNetworkError as error:
        return None, str(error)
    return (None, why) if why else (nic, "")
