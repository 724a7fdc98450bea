"""The man pages: they are whole, say all that --help and the files' readers know, and are well-formed."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from snf_network.commands import main, nfdhcpctl
from snf_network.commands.dns import ACTIONS
from snf_network.dhcpd import binding, conf
from snf_network.dns import settings
from snf_network.model.config import CHECKS, IGNORED
from snf_network.model.networks.keys import NETWORKS
from snf_network.scripts.usage import USAGES
from snf_network.values import BINDING_KEYS
from tests.netns.lab import ROOT, SCRIPTS

DEBIAN = ROOT / "debian"
PAGES: dict[str, str] = runpy.run_path(str(DEBIAN / "man" / "make"))["pages"]()
COMMANDS = (
    *(("snf-network", name) for name in main.NAMES),
    *(("snf-network", "dns", name) for name in ACTIONS),
    *(("nfdhcpctl", name) for name in nfdhcpctl.COMMANDS),
    ("snf-network",),
    ("nfdhcpctl",),
    ("nfdhcpd",),
)
each = pytest.mark.parametrize("name", PAGES)


def text(name: str) -> str:
    """A page without its markup."""
    plain = re.sub(r"\\f[BIR]|\\&", "", PAGES[name])
    return plain.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


def terms(name: str) -> set[str]:
    """What a page has a definition of."""
    found = re.findall(r"^\.TP\n(.*)$", text(name), re.MULTILINE)
    return {word for term in found for word in re.split(r"[, ()]+", term) if word}


def test_every_script_and_command_has_a_page() -> None:
    found = {name[:-2] for name in PAGES if name.endswith(".8")}
    assert found == {*(path.name for path in SCRIPTS.iterdir()), "nft-keep"}


def test_every_page_is_in_a_package() -> None:
    listed = [Path(line).name for path in DEBIAN.glob("*.manpages") for line in path.read_text().splitlines()]
    assert sorted(listed) == sorted(PAGES)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_all_that_help_names_is_in_the_page(command: tuple[str, ...]) -> None:
    env = {**os.environ, "COLUMNS": "200"}
    argv = ("/usr/bin/python3", SCRIPTS / command[0], *command[1:], "--help")
    said = subprocess.run(argv, capture_output=True, text=True, env=env, check=True, timeout=60).stdout
    page = text(f"{command[0]}.8")
    own = page if len(command) == 1 else page.partition(f"\n.SS {command[1]}\n")[2].partition("\n.S")[0]
    assert own
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", said)) - {"-h", "--help"}
    assert [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", own)] == []
    prose = " ".join(page.replace("\n.TP\n", " ").replace("\n.PP\n", " ").split())
    for line in re.findall(r"^  \S.*  (\S.*)$", said, re.MULTILINE):
        assert line[1:].strip().replace("`", "") in prose, line


@pytest.mark.parametrize("name", USAGES)
def test_so_is_all_that_a_script_says(name: str) -> None:
    page = " ".join(text(f"{name}.8").split())
    for about in USAGES[name].about:
        assert about.replace("`", "") in page
    for pairs in (USAGES[name].callers, USAGES[name].variables, USAGES[name].status):
        for term, meaning in pairs:
            assert f"{term} {meaning.replace('`', '')}" in page


def test_so_is_all_that_nft_keep_says() -> None:
    said = subprocess.run((DEBIAN / "nft-keep", "--help"), capture_output=True, text=True, check=True).stdout
    usage, *paragraphs = said.strip().split("\n\n")
    page = " ".join(text("nft-keep.8").split())
    assert usage == "usage: nft-keep COMMAND ... | nft-keep -f FILE" and len(paragraphs) == 2
    assert all(" ".join(paragraph.replace("`", "").split()) in page for paragraph in paragraphs)


def test_files_have_all_their_keys() -> None:
    assert terms("snf-network.default.5") >= {*CHECKS, *IGNORED}
    assert terms("nfdhcpd.binding.5") == {*BINDING_KEYS, *binding.IGNORED}
    assert terms("nfdhcpd.conf.5") >= {key for keys in conf.KEYS.values() for key in keys}
    of_networks = {key for keys in NETWORKS.values() for key in keys}
    assert set(re.findall(r"[a-z_0-9]+", text("networks.yaml.5"))) >= of_networks
    keys = set(re.findall(r"[{ ]([a-z]+):", text("dns.yaml.5"))) | set(
        re.findall(r"^([a-z]+):", text("dns.yaml.5"), re.M)
    )
    assert keys >= settings.TOP.keys() | settings.ROUTE.keys()


def references() -> Iterator[tuple[str, str]]:
    for name in PAGES:
        for page, section in re.findall(r"([a-z][\w.-]*)\(([1-8])\)", text(name)):
            yield name, f"{page}.{section}"


def test_pages_refer_to_pages() -> None:
    others = {
        "bridge.8",
        "gnt-instance.8",
        "gnt-network.8",
        "ip-link.8",
        "ip.8",
        "nft.8",
        "tcpdump.8",
        "xl.1",
    }
    assert {page for _, page in references()} - PAGES.keys() == others


@each
def test_a_page_has_what_a_reader_looks_for(name: str) -> None:
    headings = re.findall(r"^\.SH (.*)$", PAGES[name], re.MULTILINE)
    assert headings[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"] and headings[-1] == "SEE ALSO"
    assert not re.search(r"[`|]\w|\{\{|\]\(", text(name).replace("true | false", "")), "markup that is left"


@pytest.mark.tool("man")
@each
def test_man_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(PAGES[name])
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    argv = ("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", tmp_path / name)
    ran = subprocess.run(argv, capture_output=True, text=True, env=env)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.tool("mandoc")
@each
def test_mandoc_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(PAGES[name])
    ran = subprocess.run(("mandoc", "-Tlint", tmp_path / name), capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.tool("lexgrog")
@each
def test_whatis_finds_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(PAGES[name])
    said = subprocess.run(("lexgrog", tmp_path / name), capture_output=True, text=True, check=True).stdout
    assert f'"{name[:-2]} - ' in said
