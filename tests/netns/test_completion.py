"""What bash and zsh offer on a node with NICs: the shells themselves are asked."""

from __future__ import annotations

import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import ROOT, Lab, Machine
from tests.netns.test_commands import OTHER, ROUTED

FILES: dict[str, str] = runpy.run_path(str(ROOT / "debian" / "completion" / "make"))["files"]()
MARK = {"MARK": "/var/pwned", "TERM": "dumb"}
BASH = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_${1//-/_} "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
zmodload zsh/zpty
export ZDOTDIR=$1
zpty inner zsh -d -i
zpty -r inner output '*READY*'
zpty -w -n inner "$2"$'\\t'
zpty -w inner $'\\x15exit'
while zpty -r inner output; do :; done
"""
ZSHRC = """
fpath=($ZDOTDIR $fpath)
autoload -Uz compinit
compinit -u
unsetopt list_beep
compadd() {
    local -a found
    if (( ! ${@[(I)-[OAD]*]} )); then
        builtin compadd -A found "$@"
        print -rl -- $found >> $ZDOTDIR/offered
    fi
    builtin compadd "$@"
}
PS1=READY
"""
"""An interactive zsh writes down each match that its completion adds."""


@pytest.fixture(scope="module")
def node() -> Iterator[Machine]:
    lab = Lab()
    try:
        node = lab.node("node1", lab.router())
        for env in ({**ROUTED, "NETWORK_TAGS": "ip-less-routed"}, {**OTHER, "NETWORK_TAGS": "nfdhcpd"}):
            node.ip(f"tuntap add {env['INTERFACE']} mode tap")
            node.up(env)
        # what no shell may take for more than a name
        node.run("touch", "/var/lib/snf-network/$(touch $MARK)", "/var/lib/snf-network/a b")
        node.run("mkdir", "-p", "/var/lib/snf-network/dns/wanted")
        node.run("touch", "/var/lib/snf-network/dns/wanted/inst1.example.com")
        node.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_public\n# 223 no\n")
        yield node
    finally:
        lab.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all files, and where zsh keeps what it has read."""
    place = tmp_path_factory.mktemp("completion")
    for name, text in FILES.items():
        (place / Path(name).name).write_text(text)
    (place / ".zshrc").write_text(ZSHRC)
    return place


def in_bash(node: Machine, place: Path, line: str) -> set[str]:
    words = line.replace("=", " = ").split(" ")
    ran = node.run("bash", "--norc", "-c", BASH, "bash", place / words[0], *words, env=MARK)
    return set(ran.stdout.split("\n")) - {""}


def in_zsh(node: Machine, place: Path, line: str) -> set[str]:
    offered = place / "offered"
    offered.write_text("")
    node.run("zsh", "-f", "-c", ZSH, "zsh", place, line, timeout=60, env=MARK)
    return set(offered.read_text().split("\n")) - {""}


both = pytest.mark.parametrize("shell", (in_bash, in_zsh))


@both
@pytest.mark.parametrize(
    ("line", "wanted"),
    (
        ("snf-network st", {"status"}),
        ("snf-network status ", {"tap0", "tap1"}),
        ("snf-network status tap0 ", {"tap1"}),
        ("snf-network remove --json tap", {"tap0", "tap1"}),
        ("snf-network plan --record ", {"tap0", "tap1"}),
        ("snf-network plan --record=ta", {"tap0", "tap1"}),
        ("snf-network plan ta", {"tap0", "tap1"}),
        ("snf-network explain ", {"tap0", "tap1"}),
        ("snf-network trace --seconds 3 ", {"tap0", "tap1"}),
        ("snf-network trace --seconds ", set()),
        ("snf-network load snf", {"snf_public"}),
        ("snf-network dns ", {"list", "plan", "sync", "audit", "flush", "retry"}),
        ("snf-network dns retry ", {"inst1.example.com"}),
        ("snf-network dns sync --g", {"--gone"}),
        ("nfdhcpctl show ", {"tap1"}),
        ("nfdhcpctl capture -c 3 ", {"tap1"}),
        ("nfdhcpctl st", {"stats"}),
        ("nfdhcpd --engine ", {"packet", "nfqueue"}),
        ("nfdhcpd --js", {"--json-log"}),
    ),
)
def test_what_is_offered(shell: object, line: str, wanted: set[str], node: Machine, place: Path) -> None:
    assert shell(node, place, line) == wanted  # type: ignore[operator]


@both
def test_the_records_are_where_the_settings_say(shell: object, node: Machine, place: Path) -> None:
    """And a file of settings is not evaluated."""
    node.run("mkdir", "-p", "/var/elsewhere")
    node.run("touch", "/var/elsewhere/tap7")
    text = "STATE_DIR=$(touch /var/pwned)\nSTATE_DIR='/var/elsewhere' # a comment\n"
    node.write("/etc/default/snf-network", text)
    try:
        assert shell(node, place, "snf-network status ") == {"tap7"}  # type: ignore[operator]
    finally:
        node.run("rm", "/etc/default/snf-network")


@both
def test_no_name_is_evaluated(shell: object, node: Machine, place: Path) -> None:
    for line in ("snf-network status ", "snf-network status $(touch $M"):
        shell(node, place, line)  # type: ignore[operator]
    assert node.run("test", "-e", "/var/pwned", check=False).returncode == 1


@both
def test_files_are_offered_where_a_file_is_wanted(shell: object, node: Machine, place: Path) -> None:
    (place / "frame.pcap").touch()
    line = f"snf-network explain tap0 {place}/fr"
    (found,) = shell(node, place, line)  # type: ignore[operator]
    assert found.endswith("frame.pcap")


@both
def test_a_node_without_anything_offers_nothing(shell: object, lab: Lab, place: Path) -> None:
    assert shell(lab.machine("bare"), place, "snf-network status ") == set()  # type: ignore[operator]


def test_bash_itself_completes_what_is_typed(place: Path) -> None:
    """By readline, in a terminal that script(1) makes."""
    typed = (
        f"source {place}/snf-network",
        "snf-network() { echo got $*; }",
        "snf-network stat\t--wi\t",
        "exit\n",
    )
    ran = subprocess.run(
        ("script", "-qec", "bash --norc -i", "/dev/null"),
        input="\n".join(typed),
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "TERM": "dumb"},
    )
    assert "got status --wide" in ran.stdout
