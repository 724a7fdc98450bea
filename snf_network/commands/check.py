"""Compare the node with its records, and say what is missing, what is left over, and what could not be done
yet.

Exit status 0: all is as recorded. 1: it is not, and `snf-network repair` or `snf-network gc` mends it.
Nothing is changed. Guests that nfdhcpd does not answer are a warning: no record says that it runs. So are
tags that nobody has a meaning for, and what others have on a guest's way: policy rules before ours, chains
that drop.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator

from snf_network.model.config import Config, dns_is_on
from snf_network.observe.drift import Difference, compare

from . import chosen

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
    "unanswered",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """How to print."""
    parser.add_argument("--json", action="store_true", help="for machines: an object of lists")
    parser.add_argument("--quiet", action="store_true", help="print nothing: the exit status says it")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the difference, and on stderr what is odd: settings, tags, and whom nfdhcpd does not answer."""
    difference = compare(config)
    broken = [] if options.quiet and difference else [*_dns(config)]
    silent = {} if options.quiet else chosen.silent(difference.live, config)
    if options.json:
        found = [*rows(difference), *broken, *(("unanswered", *row) for row in silent.items())]
        sys.stdout.write(json.dumps({kind: [] for kind in KINDS} | _grouped(found), indent=2) + "\n")
    elif not options.quiet:
        lines = [
            f"{kind:10} {interface:15} {words}\n" for kind, interface, words in (*rows(difference), *broken)
        ]
        sys.stdout.write("".join(lines) or "clean\n")
    if not options.quiet:
        sys.stdout.flush()  # a disk that is full is told first, and alone
        told = [*config.warnings, *difference.ahead]
        for said in (silent.items(), chosen.without_meaning(difference.live, config)):
            told += (f"{name}: {words}".removeprefix("-: ") for name, words in chosen.by_cause(said))
        sys.stderr.write("".join(f"snf-network: warning: {words}\n" for words in told))
    return 1 if difference or broken else 0


def rows(difference: Difference) -> Iterator[tuple[str, str, str]]:
    """Kind, interface and what it is, for each difference."""
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
        from snf_network.dns.check import complaints  # with YAML and a codec: 40 ms, for those who have DNS

        yield from (("dns", "-", words) for words in complaints(config))


def spared(difference: Difference) -> Iterator[tuple[str, str, str]]:
    """What nobody takes away by itself, as a guest may depend on it."""
    for name in difference.unreadable:
        yield (
            "unreadable",
            name,
            f"its record cannot be read: bring the NIC up again, or snf-network remove {name}",
        )
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
    """By cause: one uplink can be that of a thousand NICs."""
    said = ((record.interface, words) for record, words in difference.outdated)
    yield from (("outdated", interface, words) for interface, words in chosen.by_cause(said))


def _grouped(found: Iterable[tuple[str, str, str]]) -> dict[str, list[dict[str, str]]]:
    groups: dict[str, list[dict[str, str]]] = {}
    for kind, interface, words in found:
        groups.setdefault(kind, []).append({"interface": interface, "what": words})
    return groups
