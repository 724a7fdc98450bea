"""Every block of code in the documents is run by a test, and tests/blocks.toml says by which."""

from __future__ import annotations

import re
import shlex

import pytest

from snf_network.commands import main, nfdhcpctl
from tests.blocks import DOCUMENTS, ROOT, Block, blocks, table

ALL = [block for document in DOCUMENTS for block in blocks(document)]
TABLE = table()
WORDS = {"run", "by", "shown", "hand"}
PARSERS = {"snf-network": main.parser, "nfdhcpctl": nfdhcpctl.parser}


def named(block: Block) -> str:
    return f"{block.document}: {block.key}"


@pytest.mark.parametrize("block", ALL, ids=named)
def test_it_is_in_the_table(block: Block) -> None:
    entry = TABLE.get(block.document, {}).get(block.key)
    assert entry, f"{block.document}:{block.line}: run it in a test, and say so in tests/blocks.toml"
    assert len(entry) == 1 and entry.keys() <= WORDS and all(entry.values())


def test_the_table_has_no_other() -> None:
    listed = {(document, key) for document, keys in TABLE.items() for key in keys}
    assert listed - {(block.document, block.key) for block in ALL} == set()


@pytest.mark.parametrize("block", ALL, ids=named)
def test_the_tests_of_the_table_exist(block: Block) -> None:
    """One that runs the block itself names the heading and the document, and so has its lines from there."""
    entry = TABLE[block.document][block.key]
    for place in entry.get("run", entry.get("by", "")).split():
        path, _, name = place.partition("::")
        text = (ROOT / path).read_text()
        assert not name or f"\ndef {name}(" in text, f"{path} has no {name}"
        if "run" in entry and block.document != "README.md":
            heading = re.sub(r" #\d+$", "", block.key)
            assert block.document in text and heading in text, f"{path} does not read {block.key}"


def test_nothing_is_left_to_a_hand_that_a_test_could_run() -> None:
    """This list only becomes shorter."""
    by_hand = [(document, key) for document, keys in TABLE.items() for key in keys if "hand" in keys[key]]
    assert by_hand == [("docs/performance.md", "Repeat them")]


def calls(block: Block) -> list[list[str]]:
    """The calls of our commands in a block, without what is said of them, and without a pipe."""
    lines = block.text.replace("\\\n", " ").splitlines()
    plain = (
        re.split(r"  +|\s#|[|>;]", line.removeprefix("gnt-cluster command ").strip())[0] for line in lines
    )
    return [shlex.split(line) for line in plain if line.split(" ")[0] in PARSERS]


@pytest.mark.processes  # importing pyroute2 asks for the machine's name
@pytest.mark.parametrize("block", [block for block in ALL if calls(block)], ids=named)
def test_our_commands_take_what_it_gives_them(block: Block) -> None:
    for program, *words in calls(block):
        if words not in (["--version"], ["--help"]):
            PARSERS[program]().parse_args(words)


def cells(lines: list[str]) -> dict[str, list[str]]:
    """Rows of a Markdown table."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows}


def test_the_matrix_of_the_security_model_is_that_of_the_self_test() -> None:
    shown = (ROOT / "docs/security.md").read_text().split("| frame |")[1].split("\n\n")[0]
    some = cells([f"| frame |{shown.splitlines()[0]}", *shown.splitlines()[1:]])
    head, *rows = next(
        b for b in ALL if b.document == "docs/selftest.md" and b.key == "The matrix"
    ).text.splitlines()
    starts = [found.start() for found in re.finditer(r"(?<=  )\S", head)]
    columns = {head[at:].split("  ")[0]: at for at in starts}
    whole = {row[: starts[0]].strip(): row for row in rows if row.strip()}
    for frame, said in some.items():
        if frame != "frame":
            found = [whole[frame][columns[name] :].split("  ")[0] for name in some["frame"]]
            assert said == found, frame
