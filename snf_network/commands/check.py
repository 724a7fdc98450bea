"""Compare the node with its records, and list what is missing, what is left over, and what could not be done
yet.

Exit status 0: everything is as recorded. 1: it is not; `snf-network repair` or `snf-network gc` fixes it.
Nothing is changed. Guests that nfdhcpd does not answer are only a warning, as no record says whether it
should run. So are unknown tags, a LOGFILE that cannot be written, and foreign rules that affect guests:
policy rules before ours, chains that drop.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator

from snf_network.adopt.state import COMMANDS, ENV
from snf_network.errors import shown
from snf_network.model.config import Config, dns_is_on
from snf_network.observe import ahead
from snf_network.observe.doctor.files import unwritable
from snf_network.observe.drift import Difference, compare
from snf_network.watch.state import state as watch_state

from . import chosen, networks, table

SUMMARY = "compare the node with its records; exit 1 if they differ"
KINDS = (
    "rules",
    "profile",
    "missing",
    "outdated",
    "lacking",
    "gone",
    "unreadable",
    "unrecorded",
    "orphan",
    "dns",
    "fight",
    "network",
    "unanswered",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    parser.add_argument("--json", action="store_true", help="print JSON: an object of lists")
    parser.add_argument("--quiet", action="store_true", help="print nothing, only set the exit status")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the differences; on stderr, warn about settings, tags and guests without answers from nfdhcpd."""
    difference = compare(config)
    broken = [] if options.quiet and difference else [*_dns(config), *_fights(), *_networks(config)]
    silent = {} if options.quiet else chosen.silent(difference.live, config)
    if options.json:
        unanswered = (("unanswered", *row) for row in silent.items())
        groups = _grouped((*rows(difference), *broken, *unanswered))
        sys.stdout.write(json.dumps({kind: [] for kind in KINDS} | groups, indent=2) + "\n")
    elif not options.quiet:
        found = [*rows(difference), *broken]
        lines = [f"{kind:10} {interface:15} {words}\n" for kind, interface, words in found]
        sys.stdout.write("".join(map(table.coloured, lines or ["clean\n"])))
    if not options.quiet:
        sys.stdout.flush()  # a full disk is reported first, and alone
        told = [*config.warnings, *_log(config), *ahead.found(difference.live)]
        for said in (silent.items(), chosen.without_meaning(difference.live, config)):
            told += (f"{name}: {words}".removeprefix("-: ") for name, words in chosen.by_cause(said))
        sys.stderr.write("".join(f"snf-network: warning: {words}\n" for words in told))
    return 1 if difference or broken else 0


def rows(difference: Difference) -> Iterator[tuple[str, str, str]]:
    """Kind, interface and description of each difference."""
    yield from (("rules", "-", words) for words in difference.rules)
    yield from (("profile", "-", f"closed, as it does not load: {words}") for words in difference.profiles)
    for record, resource in difference.missing:
        yield "missing", record.interface, resource.add().partition("\n")[0]
    yield from _outdated(difference)
    yield from (("lacking", record.interface, words) for record, words in difference.lacking)
    for record in difference.gone:
        yield "gone", record.interface, f"{record.instance} is not here any more: snf-network gc"
    yield from spared(difference)
    yield from (("orphan", "-", resource.add().partition("\n")[0]) for resource in difference.orphans)


def _dns(config: Config) -> Iterator[tuple[str, str, str]]:
    if dns_is_on(config):
        from snf_network.dns.check import complaints  # YAML and a codec cost 40 ms: only with DNS

        yield from (("dns", "-", words) for words in complaints(config))


def _log(config: Config) -> Iterator[str]:
    if config.logfile and (why := unwritable(config.logfile)):
        yield f"LOGFILE {config.logfile} cannot be written: {why}"


def _fights() -> Iterator[tuple[str, str, str]]:
    """What the watch puts back again and again."""
    state = watch_state()
    for key, pause in state["fights"].items() if state else ():
        words = (
            f"is changed again and again; put back with pauses of {pause} s: journalctl -u snf-network-watch"
        )
        yield "fight", shown(str(key))[1:-1], words


def _networks(config: Config) -> Iterator[tuple[str, str, str]]:
    yield from (("network", name, words) for name, words in networks.differences(config))


def spared(difference: Difference) -> Iterator[tuple[str, str, str]]:
    """Differences that are never removed automatically, as a guest may depend on them."""
    for name in difference.unreadable:
        hint = f"its record cannot be read: bring the NIC up again, or snf-network remove {name}"
        old = name.endswith((ENV, COMMANDS))
        yield "unreadable", name, "a file of the bash package: snf-network adopt" if old else hint
    for interface, resources in difference.unrecorded:
        has = (
            f"has {len(resources)} things of ours and no record"
            if resources
            else "has no record and no filter"
        )
        yield (
            "unrecorded",
            interface,
            f"is up and {has}: bring it up again, or snf-network remove {interface}",
        )


def _outdated(difference: Difference) -> Iterator[tuple[str, str, str]]:
    """Grouped by cause: a thousand NICs may share one uplink."""
    said = ((record.interface, words) for record, words in difference.outdated)
    yield from (("outdated", interface, words) for interface, words in chosen.by_cause(said))


def _grouped(found: Iterable[tuple[str, str, str]]) -> dict[str, list[dict[str, str]]]:
    groups: dict[str, list[dict[str, str]]] = {}
    for kind, interface, words in found:
        groups.setdefault(kind, []).append({"interface": interface, "what": words})
    return groups
