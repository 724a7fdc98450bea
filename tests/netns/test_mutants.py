"""The rules weakened in small ways: `snf-network selftest` notices each. This file tries some mutants;
`tests/run --mutants` tries all.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snf_network.host.kernel import RULES
from tests import mutants

SAMPLE = 40


def test_a_sample_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = mutants.everything()
    status = mutants.report(chosen[:: len(chosen) // SAMPLE], jobs=2)
    assert status == 0, capsys.readouterr().out


def test_every_rule_of_every_file_has_mutants() -> None:
    """A rule that the parser does not see would not be tried."""
    for file in mutants.FILES:
        content = (Path(RULES) / file).read_text()
        code = re.sub(r"#[^\n]*", lambda found: " " * len(found[0]), content)
        spans = [(rule.start, rule.end) for rule in mutants.rules(file, content)]
        verdicts = [found.start() for found in re.finditer(r"\b(drop|goto|jump|vmap|return)\b", code)]
        assert verdicts or file == "profiles/unprotected.nft"
        assert [at for at in verdicts if not any(start <= at < end for start, end in spans)] == [], file


def test_what_is_listed_as_equivalent_exists() -> None:
    names = [mutant.name for mutant in mutants.everything()]
    for pattern, reason in mutants.EQUIVALENT:
        assert any(re.search(f"{pattern}$", name) for name in names), pattern
        assert len(reason) > 20
