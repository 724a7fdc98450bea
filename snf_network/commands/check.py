"""Compare the node with its records, and say what is missing, what is left over, and what could not be done
yet.

Exit status 0: all is as recorded. 1: it is not, and `snf-network repair` or `snf-network gc` mends it.
Nothing is changed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from snf_network.model.config import Config
from snf_network.observe.drift import Difference, compare

SUMMARY = "compare the node with its records; exit 1 if they differ"


def arguments(parser: argparse.ArgumentParser) -> None:
    """How to print."""
    parser.add_argument("--json", action="store_true", help="for machines: an object of lists")
    parser.add_argument("--quiet", action="store_true", help="print nothing: the exit status says it")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the difference, and on stderr what is odd in the settings."""
    difference = compare(config)
    if not options.quiet:
        sys.stderr.write("".join(f"snf-network: warning: {words}\n" for words in config.warnings))
    if options.json:
        sys.stdout.write(json.dumps({kind: [] for kind in KINDS} | _grouped(difference), indent=2) + "\n")
    elif not options.quiet:
        sys.stdout.write(
            "".join(f"{kind:8} {interface:15} {words}\n" for kind, interface, words in rows(difference))
            or "clean\n"
        )
    return 1 if difference else 0


KINDS = ("missing", "orphan", "gone", "lacking", "rules")


def rows(difference: Difference) -> Iterator[tuple[str, str, str]]:
    """Kind, interface and what it is, for each difference."""
    yield from (("rules", "-", words) for words in difference.rules)
    yield from (
        ("missing", record.interface, resource.add().partition("\n")[0])
        for record, resource in difference.missing
    )
    yield from (("lacking", record.interface, words) for record, words in difference.lacking)
    yield from (
        ("gone", record.interface, f"{record.instance} is not here any more: snf-network gc")
        for record in difference.gone
    )
    yield from (("orphan", "-", resource.add().partition("\n")[0]) for resource in difference.orphans)


def _grouped(difference: Difference) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for kind, interface, words in rows(difference):
        found.setdefault(kind, []).append({"interface": interface, "what": words})
    return found
