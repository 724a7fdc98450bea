"""Prometheus' text format 0.0.4, as node_exporter's textfile collector reads it.

Label values come from Ganeti: they are escaped, and what a terminal cannot print is written as an escape, as
one byte that is not UTF-8 would make node_exporter reject the whole file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate

from snf_network.lean import dataclass

from . import table

ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
Sample = tuple[Mapping[str, str], float]
"""Labels and value."""


@dataclass(frozen=True)
class Family:
    """A metric and all its samples; without samples, nothing is written. A counter's name ends in _total."""

    name: str
    help: str
    samples: tuple[Sample, ...]

    def lines(self) -> Iterator[str]:
        """Its HELP and TYPE line, then a line for each sample."""
        if not self.samples:
            return
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {'counter' if self.name.endswith('_total') else 'gauge'}"
        for labels, value in self.samples:
            words = ",".join(f'{name}="{escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{words}}} {value}" if words else f"{self.name} {value}"


@dataclass(frozen=True)
class Histogram:
    """How many values were at most each of the bounds."""

    name: str
    help: str
    bounds: tuple[float, ...]
    counts: Sequence[int]
    """How many were within each bound but not within the one before, then how many were beyond all."""
    total: float

    def lines(self) -> Iterator[str]:
        """Its HELP and TYPE line, a line for each bound, the sum and the count."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} histogram"
        for bound, count in zip((*self.bounds, "+Inf"), accumulate(self.counts), strict=True):
            yield f'{self.name}_bucket{{le="{bound}"}} {count}'
        yield f"{self.name}_sum {self.total}"
        yield f"{self.name}_count {sum(self.counts)}"


def text(families: Iterable[Family | Histogram]) -> str:
    """The lines of all families."""
    return "".join(f"{line}\n" for family in families for line in family.lines())


def one(name: str, about: str, value: float) -> Family:
    """A family with a single sample and no label."""
    return Family(name, about, (({}, value),))


def by(label: str, name: str, about: str, counts: Mapping[str, float]) -> Family:
    """A family with one label."""
    return Family(name, about, tuple(({label: value}, count) for value, count in sorted(counts.items())))


@cache
def escaped(value: str) -> str:
    """A label value between its quotes."""
    return table.plain(value).translate(ESCAPES)
