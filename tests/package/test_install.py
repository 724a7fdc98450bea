"""The built package on a node: Ganeti's calls work, an administrator's files are kept, and a purge removes
everything.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dhcpd.netns.daemon import binding
from tests.netns.lab import Lab, Machine, environment, traces
from tests.netns.test_readme import example
from tests.package.node import LINKS, Node

MODULES = "/usr/lib/python3/dist-packages/snf_network"
ROUTED = environment("add-routed-ifup-1")
GATEWAYS = (ROUTED["NETWORK_GATEWAY"], ROUTED["NETWORK_GATEWAY6"])
ADDRESS6 = "2001:db8:1:0:a800:ff:fead:35c9"
OWN = "#!/bin/sh\nexit 0\n"


def guest_of(node: Node, env: dict[str, str], address6: str = ADDRESS6) -> Machine:
    return node.lab.guest(
        node.machine,
        env["INTERFACE"],
        env["MAC"],
        f"{env['IP']}/24",
        f"{address6}/64",
        gateway=GATEWAYS[0],
        gateway6=GATEWAYS[1],
    )


def is_clean(node: Node) -> bool:
    """True if `snf-network check` has nothing to say but that nobody has started nfdhcpd."""
    ran = node.machine.run("/usr/sbin/snf-network", "check", check=False)
    said = [line for line in ran.stderr.splitlines() if "nfdhcpd" not in line]
    return (ran.returncode, said) == (0, [])


@pytest.fixture(scope="module")
def installed(debs: list[Path]) -> Iterator[Node]:
    """A node for tests that only look at what the installation made."""
    lab = Lab()
    node = Node(lab)
    node.dpkg("-i", *debs)
    yield node
    lab.close()


def test_links_are_where_ganeti_and_xen_look(installed: Node) -> None:
    assert installed.links() == LINKS
    for path in LINKS:
        installed.machine.run("test", "-x", path)


def test_selftest_runs_as_installed(installed: Node) -> None:
    """By the scripts in /usr/lib/snf-network, with the packages that ours depends on."""
    ran = installed.machine.run("/usr/sbin/snf-network", "selftest", "--quiet", timeout=120)
    assert (ran.stdout, ran.stderr) == ("", "")


def test_bytecode_is_there_for_every_module(installed: Node) -> None:
    paths = [Path(line) for line in installed.machine.out("find", MODULES, "-name", "*.py*").splitlines()]
    sources = {path for path in paths if path.suffix == ".py"}
    assert sources and {path for path in paths if path.suffix == ".pyc"} == {
        path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc" for path in sources
    }


def test_bytecode_is_readable_and_up_to_date(installed: Node) -> None:
    def call() -> None:
        installed.call("/etc/ganeti/kvm-ifdown-custom", {"INTERFACE": "tap99"})
        installed.machine.run("/usr/sbin/snf-network", "status")

    call()  # the first of its kind writes what it imports into one file
    before = installed.machine.out("find", MODULES, "-printf", "%p %m %T@\n")
    assert "bundle." in before
    call()
    assert installed.machine.out("find", MODULES, "-printf", "%p %m %T@\n") == before
    assert not installed.machine.out("find", MODULES, "-type", "f", "-not", "-perm", "0644")


def test_directories_of_an_administrator_are_there(installed: Node) -> None:
    for path in ("/etc/snf-network/profiles", "/etc/snf-network/setups", "/var/lib/snf-network"):
        assert installed.machine.out("stat", "-c", "%a %U:%G %F", path) == "755 root:root directory\n"


def test_logrotate_takes_the_log_beside_ganetis_own_rule(installed: Node) -> None:
    installed.machine.write(
        "/etc/logrotate.d/ganeti", "/var/log/ganeti/*.log {\n weekly\n create 640\n su root root\n}\n"
    )
    installed.machine.write("/var/log/ganeti/snf-network.log", "a line\n")
    files = (f"/etc/logrotate.d/{name}" for name in ("00-snf-network", "ganeti"))
    installed.machine.run("logrotate", "--force", "--state=/var/lib/logrotate.test", *files)
    assert (
        installed.machine.out("sh", "-c", "cd /var/log/ganeti; echo *")
        == "snf-network.log snf-network.log.1\n"
    )
    assert (
        installed.machine.out("stat", "-c", "%a %U:%G", "/var/log/ganeti/snf-network.log") == "640 root:adm\n"
    )


def test_ganeti_3_0_brings_up_a_routed_nic(node: Node) -> None:
    guest = guest_of(node, ROUTED)
    ran = node.call("/etc/ganeti/kvm-vif-bridge", ROUTED)
    assert (ran.stdout, ran.stderr) == ("", "")
    assert all(guest.ping(gateway) for gateway in GATEWAYS)
    assert is_clean(node)
    assert ROUTED["INSTANCE"] in node.machine.out("/usr/sbin/snf-network", "status")
    assert " kvm-vif-bridge[" in node.machine.read("/var/log/ganeti/snf-network.log")


def test_ganeti_3_0_brings_up_a_bridged_nic(node: Node) -> None:
    env = environment("add-bridged-ifup-1")
    guest_of(node, env)
    node.call("/etc/ganeti/kvm-vif-bridge", env)
    assert "master prv0" in node.machine.out("ip", "link", "show", env["INTERFACE"])
    assert node.machine.out("stat", "-c", "%a", f"/var/lib/nfdhcpd/{env['INTERFACE']}") == "644\n"
    assert is_clean(node)


def test_ganeti_3_2_brings_a_nic_up_and_down(node: Node) -> None:
    up, down = environment("v32-start-ifup-1"), environment("v32-stop-ifdown-1")
    assert (up["ACTION"], down["ACTION"]) == ("up", "down")
    guest = guest_of(node, up, "2001:db8:1:0:a800:ff:fe26:7714")
    node.call("/etc/ganeti/network/routed/up", up)
    assert all(guest.ping(gateway) for gateway in GATEWAYS)
    assert is_clean(node)
    node.call("/etc/ganeti/network/routed/down", down)
    assert traces(node.machine) == []
    assert is_clean(node)


def test_reinstalling_keeps_what_is_the_administrators(node: Node, debs: list[Path]) -> None:
    node.machine.write("/etc/default/snf-network", "MAC_MASK=ff:ff:ff:00:00:00\n")
    node.machine.run("rm", "/etc/ganeti/kvm-vif-bridge", "/etc/xen/scripts/vif-custom")
    node.machine.write("/etc/ganeti/kvm-vif-bridge", OWN)
    node.machine.write("/etc/snf-network/profiles/web.nft", "accept\n")
    node.dpkg("-i", *debs)
    assert node.machine.read("/etc/default/snf-network") == "MAC_MASK=ff:ff:ff:00:00:00\n"
    assert node.machine.read("/etc/ganeti/kvm-vif-bridge") == OWN
    assert node.machine.read("/etc/snf-network/profiles/web.nft") == "accept\n"
    assert node.links().keys() == LINKS.keys() - {"/etc/ganeti/kvm-vif-bridge", "/etc/xen/scripts/vif-custom"}


def test_installing_keeps_a_script_that_is_there_and_says_so(bare: Node, debs: list[Path]) -> None:
    bare.machine.write("/etc/ganeti/kvm-vif-bridge", OWN)
    said = bare.dpkg("-i", *debs)
    assert bare.machine.read("/etc/ganeti/kvm-vif-bridge") == OWN
    assert bare.links().keys() == LINKS.keys() - {"/etc/ganeti/kvm-vif-bridge"}
    assert (
        f"snf-network: {len(LINKS) - 1} links made in /etc/ganeti and /etc/xen/scripts; kept what is there and not ours: "
        "/etc/ganeti/kvm-vif-bridge\n" in said
    )


def test_a_copy_that_ganeti_made_of_our_script_is_ours(node: Node, debs: list[Path]) -> None:
    """gnt-node add and gnt-cluster redist-conf copy what the master's /etc/ganeti/kvm-vif-bridge leads to
    over every other node's.
    """
    copy = (
        "cp",
        "--remove-destination",
        "/usr/lib/snf-network/kvm-ifup-custom",
        "/etc/ganeti/kvm-vif-bridge",
    )
    node.machine.run(*copy)
    assert "kept" not in node.dpkg("-i", *debs)
    assert node.links() == LINKS
    node.machine.run(*copy)
    node.dpkg("--remove", "snf-network")
    assert node.machine.run("test", "-e", "/etc/ganeti/kvm-vif-bridge", check=False).returncode == 1
    node.dpkg("-i", *debs)
    assert node.links() == LINKS


def test_links_come_back_after_a_removal_but_for_the_one_deleted(node: Node, debs: list[Path]) -> None:
    node.machine.run("rm", "/etc/ganeti/network/bridged/up")
    node.dpkg("--remove", "snf-network")
    assert node.links() == {}
    assert node.machine.run("test", "-e", "/etc/xen/scripts", check=False).returncode
    node.dpkg("-i", *debs)
    assert node.links().keys() == LINKS.keys() - {"/etc/ganeti/network/bridged/up"}


def test_a_running_guest_sees_nothing_of_upgrade_removal_and_purge(node: Node, debs: list[Path]) -> None:
    def kernel() -> list[str]:
        return [
            *traces(node.machine),
            node.machine.out("nft", "-s", "-t", "list", "ruleset"),
            node.machine.out("ip", "addr"),
        ]

    guest = guest_of(node, ROUTED)
    node.call("/etc/ganeti/kvm-vif-bridge", ROUTED)
    before = [line for line in kernel() if not line.startswith("/var/lib/snf-network")]
    for arguments in (("-i", *debs), ("--remove", "snf-network"), ("--purge", "snf-network")):
        node.dpkg(*arguments)
        assert [line for line in kernel() if not line.startswith("/var/lib/snf-network")] == before
        assert guest.ping(GATEWAYS[0])


def test_purge_leaves_nothing_of_ours(bare: Node, debs: list[Path]) -> None:
    bare.machine.run("rm", "-rf", "/var/log/ganeti")
    before = bare.changes()
    said = bare.dpkg("-i", *debs)
    assert {"f /usr/sbin/snf-network", "l /etc/ganeti/kvm-vif-bridge"} <= bare.changes() - before
    guest_of(bare, ROUTED)
    bare.call("/etc/ganeti/kvm-vif-bridge", ROUTED)
    assert f"snf-network: {len(LINKS)} links made in /etc/ganeti and /etc/xen/scripts\n" in said
    bare.machine.run("snf-network", "metrics")
    said = bare.dpkg("--purge", "snf-network", "nfdhcpd")
    assert "running guests keep their rules" in said
    assert f"these NICs are up, and their records go now: {ROUTED['INTERFACE']}\n" in said
    assert bare.changes() - before == set()
    assert bare.machine.run("test", "-e", "/run/snf-network", check=False).returncode


def test_nfdhcpd_alone_answers_a_guest(bare: Node, debs: list[Path]) -> None:
    """Without snf-network, and so without what that depends on."""
    bare.dpkg("-i", debs[0])
    assert bare.machine.run("test", "-e", "/usr/sbin/snf-network", check=False).returncode
    guest = bare.lab.guest(bare.machine, "tap9", MAC9)
    bare.machine.ip("link set tap9 up")
    bare.machine.write("/var/lib/nfdhcpd/tap9", BINDING9)
    bare.machine.run("nfdhcpd", "--check")
    daemon = subprocess.Popen(
        bare.machine.command("nfdhcpd", "--foreground", "--socket", "/run/nfdhcpd.test"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1")
        assert " 192.0.2.9/24" in guest.out("ip", "-o", "addr", "show", "eth0")
        said = bare.machine.out("nfdhcpctl", "--socket", "/run/nfdhcpd.test", "list")
        assert "tap9" in said and "served" in said
    finally:
        daemon.terminate()
        daemon.wait(10)


MAC9 = "aa:00:00:00:00:09"
BINDING9 = binding(
    indev="tap9", ip="192.0.2.9", mac=MAC9, hostname="vm9", gateway="192.0.2.1", subnet="192.0.2.0/24"
)

BASH = {
    "/etc/ganeti/kvm-ifup-custom": "old up\n",
    "/etc/ganeti/kvm-ifdown-custom": "old down\n",
    "/etc/ganeti/ifup-extra": "old extra\n",
    "/etc/xen/scripts/vif-custom": "old vif\n",
    "/etc/default/snf-network": "DNS_TAG=public\n",
    "/etc/ferm/snf-network.ferm": "old\n",
}
"""Configuration files of the bash package; beside them it had links, which dpkg takes for plain files."""


@pytest.fixture
def bash_deb(tmp_path: Path) -> Path:
    """A package laid out like the bash package."""
    tree = tmp_path / "bash"
    for path, text in {
        **BASH,
        "/usr/lib/snf-network/common.sh": "old\n",
        "/usr/lib/snf-network/snf-network-hook": "old\n",
    }.items():
        file = tree / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    hooks = tree / "etc/ganeti/hooks/instance-stop-post.d"
    hooks.mkdir(parents=True)
    (hooks / "snf-network-hook").symlink_to("/usr/lib/snf-network/snf-network-hook")
    (tree / "etc/ganeti/kvm-vif-bridge").symlink_to("/etc/ganeti/kvm-ifup-custom")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/conffiles").write_text("".join(f"{path}\n" for path in BASH))
    (tree / "DEBIAN/control").write_text(
        "Package: snf-network\nVersion: 0.16.1-1\nArchitecture: all\nMaintainer: a <a@example.org>\n"
        "Description: the package before\n"
    )
    subprocess.run(
        ("dpkg-deb", "--root-owner-group", "--build", tree, tmp_path / "bash.deb"),
        check=True,
        capture_output=True,
    )
    return tmp_path / "bash.deb"


def test_the_bash_package_is_taken_over(bare: Node, bash_deb: Path, debs: list[Path]) -> None:
    bare.machine.run("rm", "-rf", "/var/log/ganeti")
    before = bare.changes()
    bare.dpkg("-i", bash_deb)
    bare.machine.write("/etc/ganeti/kvm-ifdown-custom", "changed\n")
    bare.machine.write("/etc/default/snf-network", "DNS_TAG=dns2\n")
    bare.dpkg("-i", *debs)
    assert bare.links() == LINKS
    assert bare.machine.read("/etc/ganeti/kvm-ifdown-custom.dpkg-bak") == "changed\n"
    assert bare.machine.read("/etc/default/snf-network") == "DNS_TAG=dns2\n"
    assert bare.machine.read("/etc/ganeti/ifup-extra") == "old extra\n"
    assert bare.machine.read("/etc/ferm/snf-network.ferm") == "old\n"
    assert "snf_network_log" in bare.machine.read("/usr/lib/snf-network/common.sh")
    bare.dpkg("--purge", "snf-network", "nfdhcpd")
    assert bare.changes() - before == set()


def test_the_lines_for_cron_work_with_what_cron_gives(node: Node) -> None:
    """A node without systemd. cron(8) has no sbin in its PATH, so the file says it."""
    lines = example("What runs by itself", "docs/operators.md").splitlines()
    path = next(line for line in lines if line.startswith("PATH="))
    commands = [line.partition(" root ")[2] for line in lines if " root " in line]
    assert len(commands) == 2
    for command in commands:
        ran = node.machine.run("env", "-i", path, "/bin/sh", "-c", command, check=False)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
