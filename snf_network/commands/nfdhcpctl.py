"""nfdhcpctl: ask a running nfdhcpd whom it serves and how."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain, islice

from snf_network import __version__
from snf_network.dhcpd import metrics
from snf_network.dhcpd.control import PATH
from snf_network.dhcpd.control_client import Connection
from snf_network.errors import SnfNetworkError

from . import table
from .paragraphs import Paragraphs

EPILOG = """examples:
  nfdhcpctl list                        every binding, and whether it is served
  nfdhcpctl show tap3                   what one guest is told, what it asked, what was dropped and why
  nfdhcpctl lint                        invalid and odd bindings; exit status 1 if there is any
  nfdhcpctl capture tap3 | tcpdump -vnr -
                                        what one guest sends and gets
  nfdhcpctl stats --prometheus > /var/lib/prometheus/node-exporter/nfdhcpd.prom
                                        what snf-network-metrics.timer does, where there is no snf-network"""


def main(argv: Sequence[str]) -> int:
    """Run one command. 0: done; 1: it failed, or something is wrong; 2: wrong usage."""
    options = parser().parse_args(argv[1:])
    try:
        return int(options.run(options, Connection(options.socket)))
    except (SnfNetworkError, OSError) as error:
        sys.stderr.write(f"nfdhcpctl: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(
        prog="nfdhcpctl", description=__doc__, epilog=EPILOG, formatter_class=Paragraphs
    )
    made.add_argument("--version", action="version", version=__version__)
    made.add_argument(
        "--socket", default=PATH, metavar="PATH", help="the daemon's control socket (default: %(default)s)"
    )
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    for name, (run, about) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        if name in ("show", "capture"):
            command.add_argument("interface", metavar="IFACE", help="the tap or vif of the guest")
        if name == "capture":
            command.add_argument(
                "-w", "--write", default="-", metavar="FILE", help="the capture file (default: stdout)"
            )
            command.add_argument(
                "-c", "--count", type=int, default=0, metavar="N", help="end after that many frames"
            )
        else:
            command.add_argument("--json", action="store_true", help="print JSON")
        if name == "stats":
            command.add_argument("--prometheus", action="store_true", help="print Prometheus' text format")
    return made


def _print_json(value: object) -> int:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    return 0


COLUMNS = ("interface", "state", "hostname", "ip", "ip6", "mac", "answered", "dropped", "idle")


def listed(options: argparse.Namespace, daemon: Connection) -> int:
    """Print a table of the bindings."""
    guests = daemon.ask(command="list")["guests"]
    if options.json:
        return _print_json(guests)
    rows = [["" if guest[name] is None else str(guest[name]) for name in COLUMNS] for guest in guests]
    sys.stdout.write(table.text([name.upper() for name in COLUMNS], rows))
    return 0


def shown(options: argparse.Namespace, daemon: Connection) -> int:
    """Print everything about one binding."""
    facts = daemon.ask(command="show", interface=options.interface)
    if options.json:
        return _print_json(facts)
    binding, counts, problems, added = (
        facts.pop(name) for name in ("binding", "counts", "problems", "dhcp_yaml")
    )
    rows = [
        (name, str(value))
        for name, value in {**facts, **binding}.items()
        if value not in (None, "", [], False)
    ]
    rows += [(f"dhcp.yaml: {one['key']}", f"{one['value']} ({one['where']})") for one in added]
    rows += [(f"counts: {word}", str(count)) for word, count in sorted(counts.items())] + [
        ("problem", text) for text in problems
    ]
    sys.stdout.write(table.text(("WHAT", "VALUE"), rows))
    return 0


def stats(options: argparse.Namespace, daemon: Connection) -> int:
    """Print the counters."""
    figures = daemon.ask(command="stats")
    if options.json:
        return _print_json(figures)
    if options.prometheus:
        sys.stdout.write(metrics.text(figures))
        return 0
    figures["running for"] = f"{time.time() - figures.pop('start_time_seconds'):.0f} s"
    rows = []
    for name, value in figures.items():
        rows += (
            [(f"{name}: {key}", str(count)) for key, count in value.items()]
            if isinstance(value, dict)
            else [(name, str(value))]
        )
    sys.stdout.write(table.text(("WHAT", "VALUE"), rows))
    return 0


def lint(options: argparse.Namespace, daemon: Connection) -> int:
    """Print the problems of bindings. 1 if there are any."""
    problems = daemon.ask(command="lint")["problems"]
    if options.json:
        _print_json(problems)
    else:
        for problem in problems:
            sys.stdout.write(f"{problem['interface']}: {problem['severity']}: {problem['message']}\n")
    return int(bool(problems))


def capture(options: argparse.Namespace, daemon: Connection) -> int:
    """Write one guest's frames and the answers to a capture file, until interrupted or until `--count` is
    reached.
    """
    if options.write == "-" and sys.stdout.isatty():
        raise SnfNetworkError(
            "a capture file is binary: not written to a terminal", "-w FILE, or | tcpdump -vnr -"
        )
    parts = daemon.capture(options.interface)
    header = next(parts)
    output = sys.stdout.buffer if options.write == "-" else open(options.write, "wb")
    with output:
        for part in chain((header,), islice(parts, options.count or None)):
            output.write(part)
            output.flush()
    return 0


Command = tuple[Callable[[argparse.Namespace, Connection], int], str]
COMMANDS: dict[str, Command] = {
    "list": (listed, "every binding, and whether it is served"),
    "show": (shown, "everything about one binding"),
    "stats": (stats, "counters since the daemon started"),
    "lint": (lint, "what is wrong or odd with bindings"),
    "capture": (capture, "the frames of one guest and their answers, as a capture file"),
}
