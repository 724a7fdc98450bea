"""The charts of the documents: bench/chart makes them of figures that are in docs/performance.md, or of a bench's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.quick import ROOT

KEPT = ROOT / "docs" / "charts"


def made(into: Path, *words: object) -> dict[str, str]:
    """What bench/chart makes."""
    subprocess.run(("/usr/bin/python3", ROOT / "bench/chart", "--into", into, *words), check=True, timeout=60)
    return {path.name: path.read_text() for path in into.iterdir()}


def test_they_are_those_of_the_figures(tmp_path: Path) -> None:
    """`bench/chart` makes them from docs/performance.md."""
    assert made(tmp_path) == {path.name: path.read_text() for path in KEPT.iterdir()}


def test_a_run_of_a_bench_replaces_our_figures(tmp_path: Path) -> None:
    """The words are those that bench/forward and bench/ifup use; the bash package's figures stay."""
    figures = {
        "routed IPv4 out: 1000 NICs over 1": 1.5,
        "routed IPv4 out: 4000 NICs over 1": 3.0,
        "routed IPv4 out: our tables over none": 2.0,
        "routed up: CPU over the bare interpreter, 0 NICs": 4.0,
        "routed up: CPU with 1000 NICs over 0": 2.0,
        "stock Ganeti, routed up: CPU over the bare interpreter, 0 NICs": 1.5,
        "stock Ganeti, routed up: CPU with 1000 NICs over 0": 3.0,
    }
    told = {"figures": [{"what": what, "value": value} for what, value in figures.items()]}
    (tmp_path / "bench.json").write_text(json.dumps(told))
    found = made(tmp_path / "charts", "--json", tmp_path / "bench.json")
    assert "snf-network 6x" in found["packet.svg"] and "bash package 49x" in found["packet.svg"]
    assert "snf-network 8x" in found["ifup.svg"] and "snf-network: 4.00x" in found["ifup.svg"]
    assert "stock Ganeti 4.5x" in found["ifup.svg"]


def test_benches_have_these_words() -> None:
    """Where the figures get their names from."""
    forward, ifup = (ROOT / "bench/forward").read_text(), (ROOT / "bench/ifup").read_text()
    assert 'f"routed {label} out"' in forward and 'over {self.counts[0]}"' in forward
    assert 'f"{way.name}: our tables over none"' in forward
    assert 'f"{setup} {action}: CPU over the bare interpreter, {nodes.nics(counts[0])}"' in ifup
    assert 'f"{setup} {action}: CPU with {nodes.nics(count)} over {counts[0]}"' in ifup
    assert 'STOCK = "stock Ganeti, routed"' in ifup
