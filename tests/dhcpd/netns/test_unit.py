"""The systemd unit: what it is rated, and that nfdhcpd lives with each of its restrictions, applied without
systemd one by one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.dhcpd.netns.daemon import BINDINGS, Daemon, bind, status
from tests.dhcpd.netns.test_daemon import CAPABILITIES, IP, MAC, TEXT, discover, offered, tap
from tests.netns.lab import ROOT, SCRIPTS, Lab, Machine, until

UNIT = ROOT / "debian" / "nfdhcpd.service"
NOBODY = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all,+net_raw,+net_bind_service",
    "--inh-caps=-all,+net_raw,+net_bind_service",
    "--ambient-caps=-all,+net_raw,+net_bind_service",
    "--no-new-privs",
)
NO_EXEC_GAIN = "import ctypes, os, sys; assert not ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: what MemoryDenyWriteExecute= sets."""
READ_ONLY = (
    "mount --make-rprivate / && mount --bind /tmp /tmp && for i in / /etc /var; do mount -o remount,bind,ro $i; done && "
    '! touch /var/x 2>/dev/null && exec "$@"'
)


def option(name: str) -> list[str]:
    """The words of all lines of the unit that set an option."""
    lines = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]
    assert lines, name
    return " ".join(lines).split()


def syscalls(group: str) -> set[str]:
    """The system calls in a group, and in those that it has."""
    said = subprocess.run(
        ("systemd-analyze", "syscall-filter", group), capture_output=True, text=True, check=True
    ).stdout
    names = {line.strip() for line in said.splitlines() if line.startswith(" ") and "#" not in line}
    return {name for name in names if not name.startswith("@")}.union(
        *(syscalls(name) for name in names if name.startswith("@"))
    )


@pytest.fixture
def node(lab: Lab) -> Machine:
    return lab.machine("node")


def test_it_is_rated_2_or_better(tmp_path: Path) -> None:
    shutil.copy(UNIT, tmp_path / "nfdhcpd.service")
    ran = subprocess.run(
        ("systemd-analyze", "security", "--offline=yes", "--threshold=20", tmp_path / "nfdhcpd.service"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout[-200:] + ran.stderr
    assert float(re.findall(r"exposure level for nfdhcpd.service: ([\d.]+)", ran.stdout)[0]) <= 2.0


def test_capabilities_user_and_read_only_system(node: Machine) -> None:
    """As DynamicUser, AmbientCapabilities, CapabilityBoundingSet, NoNewPrivileges, ProtectSystem and
    MemoryDenyWriteExecute make it.
    """
    assert option("CapabilityBoundingSet") == option("AmbientCapabilities")
    assert option("AmbientCapabilities") == ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE"]
    assert option("DynamicUser") == option("NoNewPrivileges") == option("MemoryDenyWriteExecute") == ["yes"]
    bind(node, "tap0", TEXT)
    made = tap(node)
    before = (
        "unshare",
        "-m",
        "sh",
        "-ec",
        READ_ONLY,
        "sh",
        *NOBODY,
        "/usr/bin/python3",
        "-IS",
        "-c",
        NO_EXEC_GAIN,
    )
    daemon = Daemon(node, before=before, scripts=node.public())
    try:
        facts = status(daemon.pid)
        assert {facts[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {f"{CAPABILITIES:016x}"}
        assert facts["NoNewPrivs"] == "1" and set(facts["Uid"].split()) == {"65534"}
        assert offered(made) == IP
        assert daemon.states() == {"tap0": "served"}
    finally:
        assert daemon.stop() == 0


def test_system_calls_and_sockets(node: Machine, tmp_path: Path) -> None:
    """All that it does in a whole life is within SystemCallFilter and RestrictAddressFamilies; no memory is
    writable and executable.
    """
    allowed, *denied = option("SystemCallFilter")
    granted = syscalls(allowed) - set().union(*(syscalls(group.removeprefix("~")) for group in denied))
    trace = tmp_path / "trace"
    bind(node, "tap0", TEXT)
    made = tap(node)
    daemon = Daemon(node, before=("strace", "-f", "-qq", "-o", trace, *NOBODY), scripts=node.public())
    try:
        pid = int(daemon.stats()["pid"])
        assert offered(made, 10) == IP
        node.write(f"{BINDINGS}/tap1", TEXT.replace("tap0", "tap1"))
        assert until(lambda: daemon.states() == {"tap0": "served", "tap1": "pending"}, 10)
        os.kill(pid, signal.SIGHUP)
        daemon.told("RELOADING=1")
        daemon.told("READY=1")
        bind(node, "tap0", TEXT + "RELAY=192.0.2.99\n")
        assert until(lambda: daemon.show("tap0")["binding"]["relay"], 10)
        os.write(made, discover())
        assert until(lambda: daemon.counts("tap0").get("relayed") == 1, 10)
        os.close(made)
        assert until(lambda: daemon.states()["tap0"] == "pending", 10)
        os.kill(pid, signal.SIGTERM)
        assert daemon.process.wait(20) == 0
    finally:
        daemon.stop()
    calls = trace.read_text().rpartition("execve(")[2]
    used = set(re.findall(r"^\d+ +(\w+)\(", calls, re.MULTILINE))
    assert {"recvmmsg", "sendto", "inotify_add_watch", "bind"} <= used and used <= granted, used - granted
    families = set(re.findall(r" socket\((\w+),", calls))
    assert families == set(option("RestrictAddressFamilies"))
    assert families == {"AF_PACKET", "AF_NETLINK", "AF_UNIX", "AF_INET"}
    assert not re.findall(r"(?:mmap|mprotect)\([^)]*PROT_WRITE\|PROT_EXEC", calls)


def test_perfdhcp(lab: Lab, node: Machine) -> None:
    """A load generator that plays a relay: every exchange is answered."""
    guest = lab.guest(node, "tap0", MAC, "198.51.100.66/24")
    node.ip("link set tap0 up")
    node.write("/etc/nfdhcpd/nfdhcpd.conf", "[dhcp]\nallow_relay = yes\n")
    bind(node, "tap0", TEXT + "MACSPOOF=yes\n")
    assert until(lambda: "state UP" in guest.out("ip", "link", "show", "eth0"), 20)
    daemon = Daemon(node, "--rate", "1000000")
    try:
        ran = guest.run(
            "perfdhcp", "-4", "-l", "eth0", "-B", "-R", "1", "-r", "200", "-n", "400", check=False, timeout=60
        )
        counts = daemon.counts("tap0")
    finally:
        daemon.stop()
    sent = [int(count) for count in re.findall(r"sent packets: (\d+)", ran.stdout)]
    assert len(sent) == 2 and sent[0] >= 400, ran.stdout + ran.stderr
    assert (counts["offer"], counts["ack"]) == tuple(sent), (
        "it ends before the last answers come, and counts them as lost"
    )


def test_launchers_are_isolated() -> None:
    """No PYTHONPATH, no user's site-packages: the daemon's code is the package's."""
    for name in ("nfdhcpd", "nfdhcpctl"):
        assert (SCRIPTS / name).read_text().splitlines()[0] == "#!/usr/bin/python3 -IS"
