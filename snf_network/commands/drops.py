"""Show dropped frames by NIC and reason. Only frames from guests are counted, except those whose
meaning is "kept from this NIC" and those of limits on the way in. A device vx... is an overlay's: those are
frames from other nodes.

Counters belong to the interface's number in the kernel, so a later tap of the same name starts at zero; they
expire after seven days without a drop. A NIC that is gone shows as its number.
"""

from __future__ import annotations

import argparse
import json
import sys

from snf_network.model.config import Config
from snf_network.observe import readback
from snf_network.rules.reasons import REASONS

from . import chosen, table

SUMMARY = "show what was dropped, by NIC and reason"
ANSWERED, UNANSWERED = "answered", "DHCP or a router solicitation, and nobody answers"
COLUMNS = ("interface", "instance", "reason", "frames", "bytes", "meaning")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Interfaces and output options."""
    parser.add_argument("interface", metavar="IFACE", nargs="*", help="only these")
    parser.add_argument("--json", action="store_true", help="print JSON: a list of objects")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the table or the list, the most frequent drops first."""
    counts, records = readback.drops(), chosen.records(config)
    whose = {record.interface: record.instance for record in records}
    chosen.refuse_unknown(options.interface, {*whose, *(interface for interface, _ in counts)})
    relying = [record for record in records if (record.interface, ANSWERED) in counts]
    meanings = {
        (name, ANSWERED): f"{UNANSWERED}: {why}" for name, why in chosen.silent(relying, config).items()
    }
    rows = []
    for key, (frames, octets) in sorted(
        counts.items(), key=lambda item: (chosen.counted(item[0][0]), -item[1][0])
    ):
        interface, reason = key
        if not options.interface or interface in options.interface:
            meaning = meanings.get(key) or REASONS.get(reason, "")
            values = (interface, whose.get(interface, ""), reason, frames, octets, meaning)
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    if options.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif rows:
        sys.stdout.write(
            table.text(
                [name.upper() for name in COLUMNS], [[str(value) for value in row.values()] for row in rows]
            )
        )
    else:
        sys.stdout.write("nothing was dropped\n")
    return 0
