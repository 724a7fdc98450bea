"""Golden cases: from an environment, the exact text of what would be done.

A case is an environment, recorded (tests/environments/*ifup*.env) or made by hand (tests/cases/*.env), and
tests/cases/<name>.plan. Optional files are <name>.node, a Python dict of the fields in which its node differs
from NODE, and <name>.conf, its settings. `tests/cases/rewrite` writes all plans again, for review by `git
diff`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from snf_network.errors import SnfNetworkError
from snf_network.lean import replace
from snf_network.model.config import parse
from snf_network.model.nic import Nic
from snf_network.model.node import Node
from snf_network.plan import plan_for
from snf_network.setups import foreign

TESTS = Path(__file__).resolve().parent
CASES = TESTS / "cases"
ENVIRONMENTS = sorted(
    [*(TESTS / "environments").glob("*ifup*.env"), *CASES.glob("*.env")], key=lambda path: path.stem
)
NODE = Node(
    table=222,
    uplink="eth1",
    uplink6="eth1",
    ipv6=True,
    mtu=1500,
    profiles=("limited", "protected", "unprotected"),
)


def beside(name: str, ending: str) -> str:
    """The content of tests/cases/<name>.<ending>; empty if there is none."""
    path = CASES / f"{name}.{ending}"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def outcome(path: Path) -> str:
    """All that the script would do for an environment, or the line it would end with."""
    env = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
    node = replace(NODE, **ast.literal_eval(beside(path.stem, "node") or "{}"))
    config = parse(beside(path.stem, "conf"), "/etc/default/snf-network")
    with pytest.MonkeyPatch.context() as patch:  # what is installed on this machine has no say
        patch.setattr(foreign, "find", lambda tag: None)
        try:
            return plan_for(Nic.from_env(env), node, config).text()
        except SnfNetworkError as error:
            return f"# exit 1\n{error}\n"


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_a_nic_has_exactly_this(path: Path) -> None:
    assert outcome(path) == beside(path.stem, "plan"), (
        f"if it is meant: tests/cases/rewrite; git diff tests/cases/{path.stem}.plan"
    )


def test_every_file_belongs_to_a_case() -> None:
    names = [path.stem for path in ENVIRONMENTS]
    assert len(names) == len(set(names))
    assert sorted(path.name for path in CASES.iterdir() if path.stem not in names) == ["rewrite"]
