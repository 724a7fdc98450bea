"""What is in the package, and that lintian has nothing to say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.netns.lab import ROOT, SCRIPTS

UNITS = ROOT / "debian" / "systemd"
EXPOSURE = 30
"""Tenths that `systemd-analyze security` may give a unit that has to change rules and routes as root."""
MODULES = "/usr/lib/python3/dist-packages"
COMMANDS = ("snf-network", "nfdhcpd", "nfdhcpctl")
LAUNCHERS = {
    path.name: f"/usr/{'sbin' if path.name in COMMANDS else 'lib/snf-network'}/{path.name}"
    for path in SCRIPTS.iterdir()
}


@pytest.fixture(scope="module")
def tree(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, unpacked."""
    directory = tmp_path_factory.mktemp("tree")
    subprocess.run(("dpkg-deb", "-x", deb, directory), check=True)
    return directory


def test_lintian_finds_nothing(built: Path) -> None:
    changes = next(built.glob("*.changes"))
    ran = subprocess.run(
        ("lintian", "--pedantic", "--fail-on", "error,warning", changes),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


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


def test_owners_and_modes(deb: Path) -> None:
    for line in subprocess.run(
        ("dpkg-deb", "-c", deb), capture_output=True, text=True, check=True
    ).stdout.splitlines():
        mode, owner, *_, path = line.split()
        wanted = (
            "drwxr-xr-x"
            if path.endswith("/")
            else "-rwxr-xr-x"
            if path[1:] in LAUNCHERS.values()
            else "-rw-r--r--"
        )
        assert (mode, owner) == (wanted, "root/root"), line


def test_what_it_needs(deb: Path) -> None:
    def field(name: str) -> set[str]:
        said = subprocess.run(
            ("dpkg-deb", "-f", deb, name), capture_output=True, text=True, check=True
        ).stdout
        return {word.strip() for word in said.split(",")}

    assert field("Depends") - {"python3:any"} == {
        "python3 (>= 3.11)",
        "nftables",
        "iproute2",
        "python3-pyroute2",
        "python3-dnspython",
        "python3-yaml",
    }
    assert field("Recommends") == {"python3-iptables"}
    assert field("Architecture") == {"all"}


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.iterdir()))
def test_units_are_right_and_hardened(name: str, tmp_path: Path) -> None:
    for path in UNITS.iterdir():  # what they run is not installed on this machine
        (tmp_path / path.name).write_text(
            re.sub(r"/usr/(sbin|lib/snf-network)/[\w-]+", "/bin/true", path.read_text())
        )
    said = subprocess.run(
        ("systemd-analyze", "verify", "--man=no", tmp_path / name), capture_output=True, text=True, timeout=60
    )
    assert (said.returncode, said.stderr) == (0, "")
    if name.endswith(".service"):
        argv = ("systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", tmp_path / name)
        subprocess.run(argv, check=True, capture_output=True, timeout=60)


def test_units_are_enabled_when_it_is_installed(deb: Path) -> None:
    postinst = subprocess.run(
        ("dpkg-deb", "-I", deb, "postinst"), check=True, capture_output=True, text=True
    ).stdout
    wanted = {path.name for path in UNITS.iterdir() if "[Install]" in path.read_text()}
    assert wanted == {
        name
        for name in (path.name for path in UNITS.iterdir())
        if f"deb-systemd-helper enable '{name}'" in postinst
    }
