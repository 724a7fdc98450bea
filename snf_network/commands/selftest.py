"""Send forged and legal frames on this machine: no forged one may leave a guest, and every legal one must.

A node, a guest, a peer and a router are made of namespaces; the scripts installed here bring up a NIC of each
kind in them, with their default settings. The node itself is not touched, and nothing is left behind. It
takes some seconds.

  D         dropped, and counted with its reason; the same frame passes without our tables
  answered  the same; nfdhcpd receives the frame from the tap itself, and answers it
  open      passes, to every receiver that gets it without our tables
  -         the topology has no such frame: nothing listens to it on a routed tap
  untested  does not pass without our tables either: this kernel drops it by itself
  WRONG     none of these: exit status 1
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from snf_network.model.config import Config
from snf_network.selftest.controls import LEGAL
from snf_network.selftest.inward import PASSING
from snf_network.selftest.matrix import COLUMNS, Column, Row
from snf_network.selftest.run import IMPOSSIBLE, UNTESTED, WRONG, Cell, Outcome
from snf_network.selftest.run import run as play
from snf_network.selftest.site import ROWS

from . import table

SUMMARY = "send forged and legal frames through all filters, in namespaces; exit 1 if one goes wrong"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    parser.add_argument("--json", action="store_true", help="print JSON: an object of lists")
    parser.add_argument("--quiet", action="store_true", help="print only what is wrong")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the matrix and its errors."""
    outcome = play(
        lambda words: None if options.quiet or options.json else print(f"{words} ...", file=sys.stderr)
    )
    if options.json:
        sys.stdout.write(
            json.dumps(
                {"cells": [_facts(cell) for cell in outcome.cells], "miscounted": outcome.miscounted},
                indent=2,
            )
            + "\n"
        )
    else:
        sys.stdout.write(
            ("" if options.quiet else matrix(outcome)) + "".join(f"{line}\n" for line in complaints(outcome))
        )
    return 1 if outcome.wrong or outcome.miscounted else 0


def matrix(outcome: Outcome) -> str:
    """The results as tables: frames from guests, frames to them, frames at limits; and a summary line."""
    shown = {(cell.row.name, cell.guest.column.name): cell.shown for cell in outcome.cells}

    def part(rows: list[Row], columns: list[Column]) -> str:
        lines = [
            [
                f"{'+ ' if row in LEGAL or row in PASSING else ''}{row.name}",
                *(shown.get((row.name, column.name), IMPOSSIBLE) for column in columns),
            ]
            for row in rows
        ]
        return table.text(("FRAME", *(column.name.upper() for column in columns)), lines)

    verdicts = [cell.shown for cell in outcome.cells]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
    free, limited = ([one for one in COLUMNS if one.limited == on] for on in (False, True))
    rows = [row for row in ROWS if not row.limit]
    outward = part([row for row in rows if not row.inward], [one for one in free if not one.inward])
    inward = part([row for row in rows if row.inward], free)
    limits = part([row for row in ROWS if row.limit], limited)
    return f"{outward}\n{inward}\n{limits}{len(verdicts)} cells: {counts}\n"


def complaints(outcome: Outcome) -> Iterator[str]:
    """Errors, and what could not be tested, one line each."""
    for cell in outcome.cells:
        where = f"{cell.guest.column.name}: {cell.row.name}"
        if cell.verdict == WRONG:
            wanted = (
                f"must be dropped ({cell.reason})" if cell.reason else f"must pass to {_who(cell.without)}"
            )
            yield f"WRONG {where}: {wanted}, was got by {_who(cell.heard)}"
        elif cell.verdict == UNTESTED:
            yield f"untested {where}: this kernel drops it by itself"
    yield from (f"WRONG {words}" for words in outcome.miscounted)


def _who(heard: frozenset[str]) -> str:
    return ", ".join(sorted(heard)) or "nobody"


def _facts(cell: Cell) -> dict[str, object]:
    return {
        "frame": cell.row.name,
        "column": cell.guest.column.name,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "heard": sorted(cell.heard),
        "heard_without": sorted(cell.without),
    }
