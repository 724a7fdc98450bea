"""--help of the scripts that Ganeti and Xen call: what it says, that it says it to nobody else, and that no
NIC waits for it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from snf_network.model.nic import VARIABLES
from snf_network.scripts.usage import USAGES, text

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
COMMANDS = {"snf-network", "nfdhcpd", "nfdhcpctl"}
ENV = {"PATH": "/usr/bin:/bin"}


def call(name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((SCRIPTS / name, *arguments), capture_output=True, text=True, env={**ENV, **env})


def words(pairs: object) -> set[str]:
    return set(re.findall(r"[A-Z][A-Z0-9_]+", " ".join(term for term, _ in pairs)))  # type: ignore[attr-defined]


def test_every_script_has_one() -> None:
    assert {path.name for path in SCRIPTS.iterdir()} - COMMANDS == USAGES.keys()


def test_ifup_says_every_variable_that_it_reads() -> None:
    assert words(USAGES["kvm-ifup-custom"].variables) == {*VARIABLES, "ACTION"} - {"XEN"}


@pytest.mark.parametrize("width", (22, 50, 78, 200))
@pytest.mark.parametrize("name", USAGES)
def test_it_fits_the_terminal(name: str, width: int) -> None:
    lines = text(name, width).splitlines()[2:-1]
    assert [line for line in lines if len(line) > width and len(line.split()) > 1] == []


@pytest.mark.processes
@pytest.mark.parametrize("option", ("--help", "-h"))
@pytest.mark.parametrize("name", USAGES)
def test_a_person_gets_it(name: str, option: str) -> None:
    """Starts the script."""
    ran = call(name, option, COLUMNS="80")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, text(name, 78), "")


@pytest.mark.processes
def test_the_link_that_ganeti_calls_says_the_same(tmp_path: Path) -> None:
    """Starts the script. Whatever it is called, and whatever else is in the environment."""
    assert call("kvm-ifup-custom", "--help", ACTION="down").stdout.startswith("usage: kvm-ifdown-custom ")
    assert call("kvm-ifup-custom", "--help", ACTION="$(x)").stdout.startswith("usage: kvm-ifup-custom ")


@pytest.mark.processes
@pytest.mark.parametrize("variable", ("INTERFACE", "INSTANCE", "XENBUS_PATH"))
def test_a_caller_with_a_nic_never_takes_it_for_success(variable: str) -> None:
    """Starts the script. `--help` is the name of no interface."""
    ran = call("kvm-ifup-custom", "--help", **{variable: "--help"})
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.count("\n") == 1 and "--help" in ran.stderr


@pytest.mark.processes
@pytest.mark.parametrize("arguments", ((), ("tap0",), ("tap0", "--help"), ("-help",)))
def test_nobody_else_imports_it(arguments: tuple[str, ...]) -> None:
    """Starts the script: -X importtime says what it imports."""
    argv = ("/usr/bin/python3", "-ISB", "-X", "importtime", SCRIPTS / "kvm-ifup-custom", *arguments)
    ran = subprocess.run(argv, capture_output=True, text=True, env=ENV)
    assert ran.returncode == 1 and "snf_network.scripts.kvm" in ran.stderr
    assert not re.search(r"\| +(snf_network\.scripts\.usage|textwrap|re|argparse)$", ran.stderr, re.MULTILINE)


@pytest.mark.processes
def test_nobody_need_read_it() -> None:
    """Starts the script, with stdout closed."""
    command = f"exec {SCRIPTS}/kvm-ifup-custom --help >&-"
    ran = subprocess.run(("sh", "-c", command), capture_output=True, text=True, env=ENV)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
