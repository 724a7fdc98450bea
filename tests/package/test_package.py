"""The contents of the package, and that lintian finds nothing."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lab import package
from lab.package import PACKAGES, build_from, copy
from tests.netns.lab import ROOT, SCRIPTS
from tests.package.node import UNITS

EXPOSURE = 30
"""Tenths that `systemd-analyze security` may give a unit that has to change rules and routes as root."""
MODULES = "/usr/lib/python3/dist-packages"
COMMANDS = ("snf-network", "nfdhcpd", "nfdhcpctl")
LAUNCHERS = {
    path.name: f"/usr/{'sbin' if path.name in COMMANDS else 'lib/snf-network'}/{path.name}"
    for path in SCRIPTS.iterdir()
}


@pytest.fixture(scope="module")
def trees(debs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages, unpacked."""
    made = {name: tmp_path_factory.mktemp(name) for name in PACKAGES}
    for name, deb in zip(PACKAGES, debs):
        subprocess.run(("dpkg-deb", "-x", deb, made[name]), check=True)
    return made


@pytest.fixture(scope="module")
def tree(debs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both packages in one tree."""
    directory = tmp_path_factory.mktemp("tree")
    for deb in debs:
        subprocess.run(("dpkg-deb", "-x", deb, directory), check=True)
    return directory


def test_lintian_finds_nothing(built: Path) -> None:
    changes = next(built.glob("*.changes"))
    argv = ("lintian", "--allow-root", "--pedantic", "--fail-on", "error,warning", changes)
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A second build, by somebody with other habits, from files of another day; and what it said."""
    place = tmp_path_factory.mktemp("another_and_longer_place")
    source = copy(place / "snf-network")
    for path in (source, *source.rglob("*")):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(path.stat().st_mode & ~0o077)
    said = build_from(source, "-b", checks=True, umask=0o077, TZ="Pacific/Chatham", LC_ALL="C", HOME="/")
    return place, said


@pytest.mark.tool("dh", "pybuild")
def test_unit_tests_run_at_build(elsewhere: tuple[Path, str]) -> None:
    """As whoever builds: neither root nor a network is needed."""
    passed = re.search(r"^=* ?(\d+) passed.* in ([\d.]+)s", elsewhere[1], re.MULTILINE)
    assert passed and int(passed[1]) > 1000, elsewhere[1][-4000:]


def test_builds_of_one_commit_are_equal(elsewhere: tuple[Path, str], debs: list[Path]) -> None:
    both = zip((*debs, package.book()), (*package.debs(elsewhere[0]), package.book(elsewhere[0])))
    for deb, again in both:
        assert (again.name, again.read_bytes()) == (deb.name, deb.read_bytes())


def test_the_book_is_a_package_of_its_own(built: Path, tmp_path: Path) -> None:
    subprocess.run(("dpkg-deb", "-x", package.book(), tmp_path), check=True)
    pages = tmp_path / "usr/share/doc/snf-network-doc/html"
    assert (pages / "first-guest.html").exists() and (pages / "howto/public.html").exists()
    assert not list(pages.rglob("*.doctree")) and not (pages / ".buildinfo").exists()
    assert field(package.book(), "Architecture") == {"all"}


@pytest.mark.tool("dh", "pybuild")
def test_a_build_without_the_book_needs_no_sphinx(tmp_path: Path) -> None:
    """With the build profile nodoc, as on a machine that lacks Sphinx; the nodes' packages are the same."""
    source = copy(tmp_path / "source")
    (source / "docs/make").write_text("#!/bin/sh\nexit 1\n")
    build_from(source, "-b", "-Pnodoc")
    assert len(package.debs(tmp_path)) == len(PACKAGES)
    assert not list(tmp_path.glob(f"{package.BOOK}*"))


def files(tree: Path) -> set[str]:
    """The paths of all files in a package."""
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()}


def test_no_file_is_in_both(trees: dict[str, Path]) -> None:
    assert not set.intersection(*map(files, trees.values()))


def test_nfdhcpd_has_what_it_imports_and_little_else(trees: dict[str, Path]) -> None:
    modules = {path for path in files(trees["nfdhcpd"]) if "/snf_network/" in path}
    assert {path.split("/")[5] for path in modules if path.count("/") > 5} <= {"commands", "dhcpd"}
    assert len(modules) < 50
    for name in ("nfdhcpd", "nfdhcpctl"):
        ran = subprocess.run(
            (
                "/usr/bin/python3",
                "-IS",
                "-c",
                f"import sys; sys.path.insert(0, {str(trees['nfdhcpd'] / MODULES[1:])!r}); sys.argv = ['x', '--help']\n"
                + (SCRIPTS / name).read_text().replace("sys.path += ", "_ = ").replace("__file__", "'/x'"),
            ),
            capture_output=True,
            text=True,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), ran


def test_changelog_for_administrators_is_in_it(tree: Path) -> None:
    docs = tree / "usr/share/doc/snf-network"
    found = [path for path in docs.iterdir() if path.name.startswith("CHANGELOG.md")]
    assert len(found) == 1


def test_ifupdown_finds_its_hooks(tree: Path, debs: list[Path]) -> None:
    """They are configuration files, which stay when the package is removed: then they do nothing."""
    said = subprocess.run(
        ("dpkg-deb", "--info", debs[1], "conffiles"), capture_output=True, text=True, check=True
    ).stdout.split()
    for folder in ("if-up.d", "if-down.d"):
        hook = tree / f"etc/network/{folder}/snf-network"
        assert f"/etc/network/{folder}/snf-network" in said and os.access(hook, os.X_OK)
        env = {"IFACE": "eth1", "ADDRFAM": "inet", "MODE": "start", "IF_IP_ROUTING_TABLE": "222"}
        text = hook.read_text().replace("/usr/sbin/snf-network", "/nonexistent/snf-network")
        ran = subprocess.run(("sh", "-euc", text), env=env, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_every_module_rule_and_profile_is_in_it(tree: Path) -> None:
    wanted = {
        path.relative_to(ROOT)
        for ending in ("py", "nft")
        for path in (ROOT / "snf_network").rglob(f"*.{ending}")
    }
    found = {
        path.relative_to(tree / MODULES[1:])
        for ending in ("py", "nft")
        for path in (tree / MODULES[1:]).rglob(f"*.{ending}")
    }
    assert found == wanted


def test_every_script_is_in_it_as_it_is(tree: Path) -> None:
    for name, path in LAUNCHERS.items():
        assert (tree / path[1:]).read_bytes() == (SCRIPTS / name).read_bytes()
    assert not (tree / "usr/bin").exists()


def test_owners_and_modes(debs: list[Path]) -> None:
    hooks = (f"/etc/network/if-{when}.d/snf-network" for when in ("up", "down"))
    executable = {*LAUNCHERS.values(), "/usr/lib/snf-network/nft-keep", *hooks}
    for deb in debs:
        listed = subprocess.run(("dpkg-deb", "-c", deb), capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            mode, owner, *_, path = line.split()[:6]
            if not mode.startswith("l"):
                wanted = (
                    "drwxr-xr-x"
                    if path.endswith("/")
                    else "-rwxr-xr-x"
                    if path[1:] in executable
                    else "-rw-r--r--"
                )
                assert (mode, owner) == (wanted, "root/root"), line


def field(deb: Path, name: str) -> set[str]:
    """The parts of a field of a package."""
    said = subprocess.run(("dpkg-deb", "-f", deb, name), capture_output=True, text=True, check=True).stdout
    return {word.strip() for word in said.split(",")}


def test_what_they_need(debs: list[Path]) -> None:
    nfdhcpd, ours = debs
    (version,) = field(ours, "Version")
    assert field(ours, "Depends") - {"python3:any"} == {
        "python3:any (>= 3.11)",
        "nftables",
        "iproute2",
        "mount",
        f"nfdhcpd (= {version})",
        "python3-pyroute2",
        "python3-dnspython",
        "python3-yaml",
    }
    assert field(nfdhcpd, "Depends") - {"python3:any"} == {"python3:any (>= 3.11)"}
    assert field(ours, "Recommends") == {"iptables"}
    assert field(ours, "Architecture") == field(nfdhcpd, "Architecture") == {"all"}


@pytest.mark.parametrize("name", sorted(UNITS))
def test_units_are_right_and_hardened(name: str, tmp_path: Path) -> None:
    for unit, path in UNITS.items():  # what they run is not installed on this machine
        (tmp_path / unit).write_text(
            re.sub(r"/usr/(sbin|lib/snf-network)/[\w-]+", "/bin/true", path.read_text())
        )
    said = subprocess.run(
        ("systemd-analyze", "verify", "--man=no", tmp_path / name), capture_output=True, text=True, timeout=60
    )
    assert (said.returncode, said.stderr) == (0, "")
    if name.endswith(".service"):
        argv = ("systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", tmp_path / name)
        subprocess.run(argv, check=True, capture_output=True, timeout=60)


def test_units_are_enabled_when_it_is_installed(debs: list[Path]) -> None:
    postinst = "".join(
        subprocess.run(("dpkg-deb", "-I", deb, "postinst"), check=True, capture_output=True, text=True).stdout
        for deb in debs
    )
    wanted = {name for name, path in UNITS.items() if "[Install]" in path.read_text()}
    assert wanted == {name for name in UNITS if f"deb-systemd-helper enable '{name}'" in postinst}


def test_units_are_where_this_release_has_them(tree: Path) -> None:
    """Under /usr in Debian 13, where a file in /lib has two names."""
    said = subprocess.run(
        ("dpkg-query", "-L", "systemd"), check=True, capture_output=True, text=True
    ).stdout.splitlines()
    folder = next(path for path in said if path.endswith("lib/systemd/system"))
    assert {path.name for path in (tree / folder[1:]).iterdir() if path.is_file()} == set(UNITS)
