"""Files of the package that repeat what the program says: both must agree. Also what CI accepts as a skipped
test.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from snf_network import __version__
from snf_network.model.config import CHECKS, IGNORED, Config, parse
from tests.netns.lab import ROOT

DEBIAN = ROOT / "debian"
OFF = {
    name
    for name in CHECKS
    if name.startswith(("KERBEROS", "AUTH")) or name in ("SERVER", "FZONE", "TTL", "KEYFILE")
}
"""Settings that are no business of an extra script."""


def settings() -> list[str]:
    """The lines of the shipped /etc/default/snf-network that assign, their # taken away."""
    lines = (DEBIAN / "snf-network.default").read_text().splitlines()
    return [line[1:] for line in lines if line.startswith("#") and line[1:2].isalpha()]


def test_changelogs_have_the_version() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"snf-network ({__version__}) ")
    assert f"\n## {__version__} (" in (ROOT / "CHANGELOG.md").read_text()


ATTRIBUTES = "debian/commit export-subst\n"
""".gitattributes, which a copy without hidden files, as CI's quick tests have it, lacks."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with one commit of what debian/version reads."""
    (tmp_path / "debian").mkdir()
    for name in ("version", "changelog", "commit"):
        shutil.copy(DEBIAN / name, tmp_path / "debian")
    (tmp_path / ".gitattributes").write_text(ATTRIBUTES)
    git(tmp_path, "init", "-q")
    commit(tmp_path, "2026-11-27T04:00:00+01:00")
    return tmp_path


def git(place: Path, *words: str, **env: str) -> str:
    """Run git as somebody, with the settings of nobody."""
    someone = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "tag.gpgsign=false")
    return subprocess.run(
        ("git", *someone, *words),
        cwd=place,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **env},
    ).stdout.strip()


def commit(place: Path, when: str) -> str:
    """Commit all; the short name of the commit."""
    git(place, "add", "-A")
    git(place, "commit", "-q", "--allow-empty", "-m", "a", GIT_COMMITTER_DATE=when, GIT_AUTHOR_DATE=when)
    return git(place, "rev-parse", "--short=7", "HEAD")


def version(place: Path, *words: str, **env: str) -> str:
    """What debian/version prints, whoever owns the checkout."""
    return subprocess.run(
        (place / "debian" / "version", *words),
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **env},
    ).stdout.strip()


@pytest.mark.tool("git")
def test_versions_tell_builds_apart(checkout: Path) -> None:
    found = [version(checkout)]
    first = git(checkout, "rev-parse", "--short=7", "HEAD")
    assert found == [f"{__version__}~git20261127.030000.{first}"]
    assert version(checkout, "--python") == f"{__version__}.dev20261127030000+g{first}"
    with (checkout / "debian" / "changelog").open("a") as file:
        file.write("\n")
    assert version(checkout) == f"{found[0]}+changed"
    assert version(checkout, "--python").endswith(f"+g{first}.changed")
    commit(checkout, "2026-11-27T05:00:00Z")
    found.append(version(checkout))
    git(checkout, "tag", "-m", "a", f"v{__version__}")
    found.append(version(checkout))
    assert found[-1] == version(checkout, "--python") == __version__
    commit(checkout, "2026-11-28T05:00:00Z")
    found.append(version(checkout))
    for older, newer in itertools.pairwise(found):
        subprocess.run(("dpkg", "--compare-versions", older, "lt", newer), check=True)


@pytest.mark.tool("git")
def test_without_git_the_version_is_that_of_the_changelog(checkout: Path) -> None:
    """Also where somebody else's repository is above."""
    inner = checkout / "inner"
    shutil.copytree(checkout / "debian", inner / "debian")
    assert version(inner) == __version__
    shutil.rmtree(checkout / ".git")
    assert version(checkout) == __version__


def test_what_git_archive_gives_has_the_same_version(checkout: Path) -> None:
    """As the tarballs have it that a forge makes of any commit."""

    ours = ROOT / ".gitattributes"
    assert not ours.exists() or ours.read_text() == ATTRIBUTES

    def archived() -> tuple[str, str]:
        place = checkout / "unpacked"
        place.mkdir()
        git(checkout, "archive", "--output=unpacked.tar", "HEAD")
        subprocess.run(("tar", "-xf", checkout / "unpacked.tar", "-C", place), check=True)
        found = version(place), version(place, "--python")
        shutil.rmtree(place)
        (checkout / "unpacked.tar").unlink()
        return found

    def checked_out() -> tuple[str, str]:
        return version(checkout), version(checkout, "--python")

    before = archived()
    assert before == checked_out() and before[0].startswith(f"{__version__}~git20261127.")
    git(checkout, "tag", "-m", "a", f"v{__version__}")
    assert archived() == checked_out() == (__version__, __version__)
    commit(checkout, "2026-11-28T05:00:00Z")
    after = archived()
    assert after == checked_out() and after[0].startswith(f"{__version__}+git20261128.")


def test_a_checkout_is_no_release_where_git_is_not_installed(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dirname", "grep", "readlink", "sed", "tr"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    assert version(checkout, PATH=str(tools)) == f"{__version__}~git0.unknown"
    assert version(checkout, "--python", PATH=str(tools)) == f"{__version__}.dev0+gunknown"


def copies(script: str) -> list[str]:
    """The patterns by which a maintainer script knows a copy of our launcher."""
    return re.findall(r"grep -qs '([^']+)'", (DEBIAN / f"snf-network.{script}").read_text())


LAUNCHER = """\
#!/usr/bin/python3 -IS
import sys

sys.path += [__file__.rpartition("/")[0] + "/..", "/usr/lib/python3/dist-packages"]
from snf_network.scripts.kvm import kvm
from snf_network.scripts.process import leave

leave(kvm(sys.argv))
"""
"""kvm-ifup-custom as 0.20.0 has it. Ganeti copies it to other nodes, where it runs with whatever version is
there: it is an interface.
"""


def test_the_launcher_that_ganeti_copies_is_an_interface() -> None:
    """A change to it must keep the copies on other nodes working: add to this test, do not change it."""
    assert (ROOT / "scripts" / "kvm-ifup-custom").read_text() == LAUNCHER


def test_maintainer_scripts_know_a_copy_of_our_launcher() -> None:
    assert copies("postinst") == copies("prerm") != []
    (pattern,) = copies("postinst")
    assert re.search(pattern, LAUNCHER, re.MULTILINE)
    for path in (ROOT / "scripts").iterdir():
        if "leave(" in (text := path.read_text()):
            assert re.search(pattern, text, re.MULTILINE), path
    assert not re.search(pattern, "#!/bin/sh\nexec /usr/lib/snf-network/kvm-ifup-custom\n", re.MULTILINE)


def test_license_is_what_the_package_says() -> None:
    said = (DEBIAN / "copyright").read_text().split("License: GPL-2+\n")[-1].partition("Comment:")[0]
    notice = " ".join(word for word in said.split() if word != ".")
    assert notice.startswith("This program is free software")
    head = (ROOT / "LICENSE").read_text().partition("-----")[0]
    assert " ".join(head.split()).endswith(notice)


def test_default_file_changes_nothing_as_shipped() -> None:
    assert parse((DEBIAN / "snf-network.default").read_text()) == Config()


def test_default_file_has_each_setting_with_its_default() -> None:
    names = [line.partition("=")[0] for line in settings()]
    assert sorted(names) == sorted({*CHECKS, *IGNORED})
    assert parse("\n".join(settings())) == Config()


def test_default_file_is_understood_by_a_shell_alike(tmp_path: Path) -> None:
    file = tmp_path / "default"
    file.write_text("\n".join(settings()) + "\n")
    names = sorted(CHECKS)
    said = shell(f'. "{file}"\nfor name in {" ".join(names)}; do eval "echo \\"\\$$name\\""; done')
    defaults = Config().__dict__
    assert said.splitlines() == [str(defaults[name.lower()]).replace("False", "false") for name in names]


def test_what_is_made_of_the_settings_is_up_to_date() -> None:
    """The default file, common.sh and the table of operators.md."""
    ran = subprocess.run((DEBIAN / "settings", "--check"), capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_operators_md_has_each_setting_with_its_default() -> None:
    lines = (ROOT / "docs" / "operators.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    told = {name: row[1] for row in rows for name in row[0].split(", ")}
    assert told.keys() >= {*CHECKS, *IGNORED}


def shell(script: str, **env: str) -> str:
    """What a script prints in Debian's sh."""
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(
        ("dash", "-euc", script), capture_output=True, text=True, check=True, env={**path, **env}
    ).stdout


COMMON = f". {DEBIAN}/common.sh\n"


@pytest.mark.tool("shellcheck")
def test_common_sh_passes_shellcheck() -> None:
    subprocess.run(("shellcheck", DEBIAN / "common.sh"), check=True)


def test_common_sh_gives_an_extra_script_the_settings() -> None:
    names = sorted({*CHECKS} - OFF)
    said = shell(COMMON + "".join(f'echo "${name}"\n' for name in names))
    defaults = Config().__dict__
    assert said.splitlines() == [str(defaults[name.lower()]).replace("False", "false") for name in names]


def test_common_sh_keeps_what_the_administrator_set() -> None:
    assert shell(f'STATE_DIR=/srv/state LOGFILE=\n{COMMON}echo "$STATE_DIR" "$LOGFILE"') == "/srv/state \n"


def test_log_writes_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    shell(COMMON + "log 'two\nlines' and '*'", LOGFILE=str(log), INTERFACE="tap0")
    assert log.read_text().endswith(" tap0: two lines and *\n")
    assert log.read_text().count("\n") == 1


def test_try_goes_on_after_a_failure_and_logs_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    said = shell(
        COMMON + "broken() { echo why; done=yes; return 3; }\ntry broken 'a  b'\ntry true\necho $done",
        LOGFILE=str(log),
    )
    assert said == "yes\n"
    why, line = log.read_text().splitlines()
    assert why == "why"
    assert line.endswith(" -: exit status 3: broken a  b")


@pytest.mark.parametrize("logfile", ("", "/nowhere/log"))
def test_log_and_try_work_without_a_log(logfile: str) -> None:
    said = shell(
        COMMON + "log words\ntry sh -c 'echo noise; exit 1'\nstep() { done=yes; }\ntry step\necho $done",
        LOGFILE=logfile,
    )
    assert said == "yes\n"


def skipped(tmp_path: Path, *outcomes: str) -> subprocess.CompletedProcess[str]:
    """What .ci/skipped says of tests with these outcomes."""
    tests = "".join(f'<testcase classname="c" name="t">{outcome}</testcase>' for outcome in outcomes)
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{tests}</testsuite></testsuites>")
    return subprocess.run((ROOT / ".ci" / "skipped", report), capture_output=True, text=True)


@pytest.mark.parametrize(
    "reason",
    ("the kernel has no 8021q", "kernel lacks netem", "no Open vSwitch here", "nft queue is missing"),
)
def test_ci_lets_a_test_pass_that_the_kernel_cannot_do(tmp_path: Path, reason: str) -> None:
    ran = skipped(
        tmp_path,
        "",
        f'<skipped type="pytest.skip" message="{reason}"/>',
        '<skipped type="pytest.xfail" message="known"/>',
    )
    assert (ran.returncode, ran.stdout) == (0, "")


def test_ci_fails_for_any_other_skipped_test(tmp_path: Path) -> None:
    ran = skipped(tmp_path, "", '<skipped type="pytest.skip" message="tcpdump is not installed"/>')
    assert ran.returncode == 1
    assert "c.t was skipped" in ran.stdout and "tcpdump is not installed" in ran.stdout


def test_ci_prints_time_by_folder(tmp_path: Path) -> None:
    for number, folder in enumerate(("netns", "dns")):
        test = f'<testcase classname="tests.{folder}.test_x" name="t" time="{3 + number}.5"/>'
        (tmp_path / f"{folder}.xml").write_text(
            f"<testsuites><testsuite>{test}{test}</testsuite></testsuites>"
        )
    reports = (tmp_path / "netns.xml", tmp_path / "dns.xml")
    said = subprocess.run(
        (ROOT / ".ci" / "times", *reports), capture_output=True, text=True, check=True
    ).stdout
    assert [line.split() for line in said.splitlines()] == [
        ["9", "s", "2", "tests", "tests/dns"],
        ["7", "s", "2", "tests", "tests/netns"],
        ["16", "s", "4", "tests"],
    ]


def test_ci_fails_if_no_test_ran(tmp_path: Path) -> None:
    assert skipped(tmp_path).returncode == 1
