"""What all benches share: arguments, figures against bounds, and the ways to say them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median

EPILOG = "Runs as root, in namespaces of its own. Exit status 1: a bound was missed, or it could not measure."
BEGAN = time.monotonic()
FIELDS = ("what", "figure", "bound", "")


@dataclass(frozen=True)
class Figure:
    """One result. Without a bound it is told and not judged."""

    what: str
    value: float
    unit: str = "x"
    bound: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.bound is None:
            return self.note
        words = "ok" if self.value <= self.bound else "MISSED"
        return f"{words}  {self.note}".rstrip()

    def row(self) -> tuple[str, ...]:
        bound = "" if self.bound is None else f"<= {self.bound:g} {self.unit}"
        value = f"{self.value:.0f}" if self.value == int(self.value) else f"{self.value:.2f}"
        return self.what, f"{value} {self.unit}", bound, self.verdict


class Samples:
    """Measurements by name, and by the round they were taken in."""

    def __init__(self) -> None:
        self.rounds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.now = 0

    def begin(self, number: int, of: int) -> None:
        """What is added from now on belongs to this round."""
        self.now = number
        if number % 10 == 0:
            say(f"round {number + 1} of {of}")

    def add(self, name: str, value: float) -> None:
        """One measurement of `name`."""
        self.rounds[name][self.now].append(value)

    def all(self, name: str) -> list[float]:
        """Every measurement of `name`."""
        found = [value for values in self.rounds[name].values() for value in values]
        if not found:
            raise RuntimeError(f"nothing measured of {name}: other jobs ran all the time")
        return found

    def median(self, name: str) -> float:
        """The median of them all."""
        return median(self.all(name))

    def ratio(self, name: str, over: str) -> float:
        """The median of what the rounds say: what another job does to a round, it does to both."""
        one, other = self.rounds[name], self.rounds[over]
        return median(median(one[number]) / median(other[number]) for number in one.keys() & other.keys())

    def least_ratio(self, name: str, over: str) -> float:
        """The ratio of the least of each."""
        return min(self.all(name)) / min(self.all(over))


def say(*words: object) -> None:
    """Progress, on stderr, with the seconds since the start."""
    print(f"{time.monotonic() - BEGAN:4.0f} s ", *words, file=sys.stderr, flush=True)


def arguments(
    description: str,
    rounds: int,
    counts: str,
    of: str = "NICs",
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> argparse.Namespace:
    """The command line; all benches take the same, and each its own `options`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EPILOG
    )
    parser.add_argument(
        "--sizes",
        type=sizes,
        default=sizes(counts),
        metavar="N,N,...",
        help=f"{of} on the node (default: {counts})",
    )
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="rounds to interleave (default: %(default)s)"
    )
    options(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--timeout",
        type=int,
        default=1200,
        metavar="SECONDS",
        help="give up after that long (default: %(default)s)",
    )
    return parser.parse_args()


def sizes(text: str) -> list[int]:
    """A list of numbers, as --sizes takes it."""
    found = sorted({int(word) for word in text.split(",")})
    if not found or found[0] < 0 or found[-1] > 20000:
        raise argparse.ArgumentTypeError("numbers such as 0,100,1000, none above 20000")
    return found


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns: the first to the left, the others to the right but the last."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def cells(row: tuple[str, ...]) -> Iterator[str]:
        for column, (cell, width) in enumerate(zip(row, widths)):
            yield cell.ljust(width) if column in (0, len(row) - 1) else cell.rjust(width)

    return "\n".join("  ".join(cells(row)).rstrip() for row in rows)


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def report(samples: Samples, unit: str, figures: list[Figure], as_json: bool) -> int:
    """Print it all; the exit status is 1 if a bound was missed."""
    ok = not any(figure.verdict.startswith("MISSED") for figure in figures)
    found = [(name, samples.all(name)) for name in samples.rounds]
    if as_json:
        measured = {
            name: {"median": round(median(values), 3), "min": round(min(values), 3), "n": len(values)}
            for name, values in found
        }
        told = [asdict(figure) | {"verdict": figure.verdict} for figure in figures]
        print(
            json.dumps(
                {"machine": machine(), "unit": unit, "samples": measured, "figures": told, "ok": ok}, indent=1
            )
        )
        return not ok
    rows = [(name, str(len(values)), f"{min(values):.2f}", f"{median(values):.2f}") for name, values in found]
    print(table([("measured", "n", "min", f"median ({unit})"), *rows]))
    print()
    print(table([FIELDS, *(figure.row() for figure in figures)]))
    return not ok


def main(body: Callable[[], int]) -> None:
    """Run `body` as root, ended cleanly by SIGTERM and SIGALRM; what it makes, it takes away in its own
    finally.
    """
    if os.geteuid():
        sys.exit("it makes network namespaces: run it as root (sudo)")
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, _stop)
    sys.exit(body())


def _stop(number: int, frame: object) -> None:
    sys.exit(
        f"stopped by {signal.Signals(number).name}" + (": --timeout" if number == signal.SIGALRM else "")
    )
