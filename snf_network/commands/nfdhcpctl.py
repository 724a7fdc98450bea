"""nfdhcpctl: ask a running nfdhcpd whom it serves, and how."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from snf_network import __version__
from snf_network.dhcpd import metrics
from snf_network.dhcpd.control import PATH
from snf_network.errors import SnfNetworkError

from . import table

SECONDS = 10.0
EPILOG = """examples:
  nfdhcpctl list                        every binding, and whether it is served
  nfdhcpctl show tap3                   what one guest is told, what it asked, what was dropped and why
  nfdhcpctl lint                        bindings that are not taken, and what is odd in others; exit status 1 if there is any
  nfdhcpctl capture tap3 | tcpdump -vnr -
  nfdhcpctl stats --prometheus > /var/lib/prometheus/node-exporter/nfdhcpd.prom"""
HEADER, RECORD = 24, 16
"""Bytes of a capture file's header, and of that of each frame."""


class Daemon:
    """A connection to it. Raises SnfNetworkError if there is none."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        try:
            self._socket.connect(path)
        except OSError as error:
            raise SnfNetworkError(
                f"{path}: {error.strerror}", "is nfdhcpd running? systemctl status nfdhcpd"
            ) from error
        self.file = self._socket.makefile("rb")

    def ask(self, **request: str) -> dict[str, Any]:
        """One answer. Raises SnfNetworkError with what the daemon says is wrong."""
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        line = self.file.readline()
        if not line:
            raise SnfNetworkError("nfdhcpd does not answer", "too many callers?")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SnfNetworkError(answer["error"])
        return answer

    def wait_for_ever(self) -> None:
        """Frames come when they come."""
        self._socket.settimeout(None)


def main(argv: Sequence[str]) -> int:
    """Run one command. 0: done and well; 1: not well; 2: wrong use."""
    parser = argparse.ArgumentParser(
        prog="nfdhcpctl",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--socket", default=PATH, metavar="PATH", help="the daemon's control socket (default: %(default)s)"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (run, about) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        if name in ("show", "capture"):
            command.add_argument("interface")
        if name == "capture":
            command.add_argument(
                "-w", "--write", default="-", metavar="FILE", help="the capture file (default: stdout)"
            )
            command.add_argument(
                "-c", "--count", type=int, default=0, metavar="N", help="end after so many frames"
            )
        else:
            command.add_argument("--json", action="store_true", help="for machines")
        if name == "stats":
            command.add_argument("--prometheus", action="store_true", help="as Prometheus reads it")
    options = parser.parse_args(argv[1:])
    try:
        return int(options.run(options, Daemon(options.socket)))
    except (SnfNetworkError, OSError) as error:
        sys.stderr.write(f"nfdhcpctl: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0


def _print_json(value: object) -> int:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    return 0


COLUMNS = ("interface", "state", "hostname", "ip", "ip6", "mac", "answered", "dropped", "idle")


def listed(options: argparse.Namespace, daemon: Daemon) -> int:
    """A table of bindings."""
    guests = daemon.ask(command="list")["guests"]
    if options.json:
        return _print_json(guests)
    rows = [["" if guest[name] is None else str(guest[name]) for name in COLUMNS] for guest in guests]
    sys.stdout.write(table.text([name.upper() for name in COLUMNS], rows))
    return 0


def shown(options: argparse.Namespace, daemon: Daemon) -> int:
    """Everything about one binding."""
    facts = daemon.ask(command="show", interface=options.interface)
    if options.json:
        return _print_json(facts)
    binding, counts, problems = (facts.pop(name) for name in ("binding", "counts", "problems"))
    rows = [
        (name, str(value))
        for name, value in {**facts, **binding}.items()
        if value not in (None, "", [], False)
    ]
    rows += [(f"counts: {word}", str(count)) for word, count in sorted(counts.items())] + [
        ("problem", text) for text in problems
    ]
    sys.stdout.write(table.text(("WHAT", "VALUE"), rows))
    return 0


def stats(options: argparse.Namespace, daemon: Daemon) -> int:
    """Counters."""
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


def lint(options: argparse.Namespace, daemon: Daemon) -> int:
    """What is wrong with bindings; 1 if anything is."""
    problems = daemon.ask(command="lint")["problems"]
    if options.json:
        _print_json(problems)
    else:
        for problem in problems:
            sys.stdout.write(f"{problem['interface']}: {problem['severity']}: {problem['message']}\n")
    return int(bool(problems))


def capture(options: argparse.Namespace, daemon: Daemon) -> int:
    """Frames of one guest, and the answers, into a capture file until interrupted, or as many as asked
    for.
    """
    daemon.ask(command="capture", interface=options.interface)
    daemon.wait_for_ever()
    output = sys.stdout.buffer if options.write == "-" else open(options.write, "wb")
    with output:
        output.write(daemon.file.read(HEADER))
        output.flush()
        left = options.count
        while frame := _record(daemon.file):
            output.write(frame)
            output.flush()
            left -= 1
            if not left:
                break
    return 0


def _record(file: BinaryIO) -> bytes:
    head = file.read(RECORD)
    return head + file.read(int.from_bytes(head[8:12], sys.byteorder)) if len(head) == RECORD else b""


Command = tuple[Callable[[argparse.Namespace, Daemon], int], str]
COMMANDS: dict[str, Command] = {
    "list": (listed, "every binding, and whether it is served"),
    "show": (shown, "everything about one binding"),
    "stats": (stats, "counters since the daemon started"),
    "lint": (lint, "what is wrong with bindings"),
    "capture": (capture, "frames of one guest and what it is answered, as a capture file"),
}
