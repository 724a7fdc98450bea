"""Take over the running guests of a node that ran GRNET's bash package (snf-network 0.16): bring each NIC up
as Ganeti would, then remove the old rules, routes and files of that NIC.

The old rules go when ours are in place, NIC by NIC: no guest is unfiltered or cut off in between. It can be
interrupted and run again. What is not of the bash package, or does not fit a NIC, is listed and left.

Exit status 0: nothing of the bash package is left for guests. 1: something is left, and is listed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from snf_network.adopt import Line, state
from snf_network.adopt.survey import Guest, Survey, survey
from snf_network.apply.engine import Engine
from snf_network.errors import BadEnvironment, KernelError, SnfNetworkError, shown
from snf_network.host import kernel
from snf_network.host.lock import Lock
from snf_network.lean import dataclass
from snf_network.lean import replace as changed
from snf_network.model.config import Config, dns_is_on
from snf_network.model.nic import Nic
from snf_network.observe.facts import node_for, settled
from snf_network.plan import Plan, plan_for
from snf_network.scripts.bringup import bring_up
from snf_network.scripts.kvm import COMMUNICATION
from snf_network.scripts.process import ERROR, Log
from snf_network.setups.firewall import profile_of

from . import chosen

SUMMARY = "take over the running guests of the bash package (snf-network 0.16)"
SECONDS = 60.0
"""Time limit for one NIC."""
ONE = "+adopt"
"""The lock of this command: no interface has this name."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and output options."""
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON: an object with nics and left")


@dataclass(frozen=True)
class Outcome:
    """What became of a NIC, or what would."""

    interface: str
    instance: str
    status: str
    """adopted, gone or left."""
    why: str
    """Why it is left, in words."""
    first: tuple[str, ...]
    """The commands that come before all."""
    plan: str
    """What brings it up, as lines."""
    lines: tuple[str, ...]
    """The commands that remove what is old."""


def run(options: argparse.Namespace, config: Config) -> int:
    """Adopt all NICs. 1 if anything is left."""
    if options.dry_run:
        found = survey(config)
        outcomes = _each(found, lambda guest: _planned(guest, config), options)
    else:
        log = Log("snf-network", path=config.logfile)
        with Lock(config.state_dir, ONE):  # long enough to end the tools of one that was killed
            found = survey(config)
            _load(found, config, log)
            outcomes = _each(found, lambda guest: _done(guest, config, log), options)
    _tell(found, outcomes, options)
    left = any(one.status == "left" for one in outcomes)
    return int(left or any(not one.extra for one in found.unknown))


def _each(found: Survey, act: Callable[[Guest], Outcome], options: argparse.Namespace) -> list[Outcome]:
    """Act on each NIC in order, and print at once what became of it: a thousand take minutes."""
    outcomes = []
    for guest in sorted(found.guests, key=lambda guest: chosen.counted(guest.interface)):
        outcomes.append(act(guest))
        if not options.json:
            sys.stdout.write(_lines(outcomes[-1], options.dry_run))
            sys.stdout.flush()
    return outcomes


def _load(found: Survey, config: Config, log: Log) -> None:
    """Load the rules before the first NIC, and again after an interruption. Raises KernelError."""
    if any(guest.nic for guest in found.guests):
        for words in Engine(config).load():
            log.say(words)


def _planned(guest: Guest, config: Config) -> Outcome:
    """What `_done` would do."""
    if not guest.nic:
        return _outcome(guest, guest.lines)
    try:
        plan = _plan(guest, guest.nic, config)
    except (SnfNetworkError, OSError) as error:
        return _left(guest, str(error))
    text = (plan if dns_is_on(config) else changed(plan, names=None)).text()
    return _outcome(guest, _old(guest.lines, plan), text)


def _done(guest: Guest, config: Config, log: Log) -> Outcome:
    """Bring a NIC up, then remove what is old; the files last, so that another run finds what is not done."""
    if guest.why:
        return _left(guest, guest.why)
    log = log.about(guest.nic) if guest.nic else log.of(guest.interface)
    kernel.give_up_after(SECONDS)
    try:
        lines = list(guest.lines)
        if guest.nic:
            same = {line.slot for line in lines}
            plan = _plan(guest, guest.nic, config)  # what is refused is refused before any change
            nic = state.keep(guest.nic, [one for one in plan.resources if one.slot in same], config)
            _run(guest.first)
            lines = _old(lines, bring_up(nic, config, log))
        _run(lines)
        state.forget(guest.interface, config)
    except (SnfNetworkError, OSError) as error:
        log.log(f"adopt: {error}", ERROR)
        return _left(guest, str(error))
    outcome = _outcome(guest, lines)
    log.log(f"adopt: {outcome.status}, {len(outcome.lines)} old things removed")
    return outcome


def _plan(guest: Guest, nic: Nic, config: Config) -> Plan:
    """What the NIC is to have. Raises BadEnvironment if its profile would not be the one that it has."""
    if guest.interface.startswith(COMMUNICATION):
        raise BadEnvironment(f"{guest.interface} is Ganeti's own", "it needs no rules")
    profile = profile_of(nic, config)
    odd = [shown(name) for name in guest.profiles if name != profile]
    if odd:
        raise BadEnvironment(
            f"has firewall profile {' and '.join(odd)} now, and {shown(profile)} by its tags",
            "remove the old rule or correct TAGS in its file",
        )
    nic = settled(nic)
    return plan_for(nic, node_for(nic, config), config)


def _old(lines: Iterable[Line], plan: Plan) -> list[Line]:
    """The lines that remain to be run: what a Resource of ours replaces is gone with that, and what none
    stands for stays.
    """
    slots = {resource.slot for resource in plan.resources}
    instead = {slot[:2] for slot in slots}
    return [line for line in lines if not line.slot or (line.slot not in slots and line.slot[:2] in instead)]


def _run(lines: Iterable[Line]) -> None:
    """Run commands in order, up to the first that fails. Raises KernelError for that."""
    for line in lines:
        status, said = kernel.run(line.argv)
        if status:
            why = said.strip().partition("\n")[0] or f"exit status {status}"
            raise KernelError(f"{shlex.join(line.argv)}: {why}", "run adopt again")


def _left(guest: Guest, why: str) -> Outcome:
    instance = guest.nic.instance if guest.nic else ""
    return Outcome(guest.interface, instance, "left", why, (), "", ())


def _outcome(guest: Guest, lines: Iterable[Line], plan: str = "") -> Outcome:
    if guest.why:
        return _left(guest, guest.why)
    instance, status = (guest.nic.instance, "adopted") if guest.nic else ("", "gone")
    first, old = (tuple(shlex.join(line.argv) for line in some) for some in (guest.first, lines))
    record = f"/{guest.interface}" if guest.nic else "-"  # a file of 0.16 becomes our record
    files = tuple(f"rm {path}" for path in guest.files if not path.endswith(record))
    return Outcome(guest.interface, instance, status, "", first, plan, (*old, *files))


# --- printing


def _tell(found: Survey, outcomes: Sequence[Outcome], options: argparse.Namespace) -> None:
    if options.json:
        left = [one.__dict__ for one in found.unknown]
        nics = [one.__dict__ for one in outcomes]
        sys.stdout.write(json.dumps({"nics": nics, "left": left}, indent=2) + "\n")
        return
    for unknown in found.unknown:
        kind = "of an extra script" if unknown.extra else "not of the bash package"
        words = unknown.words if unknown.words.isprintable() else ascii(unknown.words)[1:-1]
        sys.stdout.write(f"left {unknown.interface}: {words} ({kind})\n")
    if not outcomes:
        sys.stdout.write("nothing to adopt\n")


def _lines(one: Outcome, dry: bool) -> str:
    if one.status == "left":
        return f"left {one.interface}: {one.why}\n"
    if not dry:
        what = f"{one.instance} adopted" if one.status == "adopted" else "gone"
        return f"{one.interface}: {what}, {len(one.lines)} old things removed\n"
    head = f"## {one.interface}: {one.instance or 'gone'}\n"
    parts = (*_part("first", one.first), one.plan, *_part("then what is old", one.lines))
    return head + "\n".join(filter(None, parts)) + "\n"


def _part(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield "".join(f"{line}\n" for line in (f"# {title}", *lines))
