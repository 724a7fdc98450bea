"""check, status and drops know whether nfdhcpd answers the NICs that rely on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from snf_network.dhcpd import liveness
from snf_network.dhcpd.control import PATH
from snf_network.rules.reasons import REASONS
from tests.dhcpd.netns.daemon import BINDINGS, CONFIG, bind, running
from tests.dhcpd.netns.test_guard import BRIDGED, MAC, ROUTED, node_with
from tests.netns import frames as f
from tests.netns.lab import Lab, Machine, drops, send, until

DEAD = liveness.DEAD


@pytest.fixture
def node(lab: Lab) -> Machine:
    """A served NIC, and a /run of the node's own, where the control socket is."""
    node = node_with(lab, "packet")
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    lab.guest(node, "tap0", MAC)
    node.up(ROUTED)
    return node


@contextmanager
def served(node: Machine, *arguments: str) -> Iterator[None]:
    """With a daemon that has the control socket where it is by default."""
    with running(node, "--socket", PATH, *arguments) as daemon:
        yield
        assert daemon.process.poll() is None


def said(node: Machine) -> tuple[str, str, str, str]:
    """Of check: stdout, stderr, and what is unanswered; of status: what it says below the table."""
    check = node.script("snf-network", {}, "check")
    objects = json.loads(node.script("snf-network", {}, "check", "--json").stdout)["unanswered"]
    status = node.script("snf-network", {}, "status").stdout.splitlines()[2:]
    rows = json.loads(node.script("snf-network", {}, "status", "--json").stdout)
    assert [row["unanswered"] for row in rows] == [row["what"] for row in objects] or [""]
    return check.stdout, check.stderr, json.dumps(objects), "\n".join(status)


def test_a_daemon_that_runs_is_nothing_to_tell(node: Machine) -> None:
    with served(node):
        assert until(lambda: said(node) == ("clean\n", "", "[]", ""))


def ended(node: Machine) -> None:
    """A daemon was here."""
    with served(node):
        pass


def enabled(node: Machine) -> None:
    """systemd should start one."""
    node.run("mkdir", "-p", "/etc/systemd/system/multi-user.target.wants")
    node.run(
        "ln", "-s", "/lib/systemd/system/nfdhcpd.service", "/etc/systemd/system/multi-user.target.wants/"
    )


def killed(node: Machine) -> None:
    with running(node, "--socket", PATH) as daemon:
        daemon.process.kill()
        daemon.process.wait()


@pytest.mark.parametrize("how", (ended, killed, enabled))
def test_a_daemon_that_is_dead_is_told(node: Machine, how: Callable[[Machine], None]) -> None:
    assert said(node) == ("clean\n", "", "[]", ""), "none is expected here"
    how(node)
    stdout, stderr, objects, status = said(node)
    assert stdout == "clean\n" and stderr == f"snf-network: warning: tap0: {DEAD}\n"
    assert json.loads(objects) == [{"interface": "tap0", "what": DEAD}] and status == f"tap0: {DEAD}"
    assert node.script("snf-network", {}, "check", "--quiet").stderr == ""


def test_a_daemon_that_hangs_is_told(node: Machine) -> None:
    with running(node, "--socket", PATH) as daemon:
        daemon.process.send_signal(19)  # SIGSTOP
        assert DEAD in node.script("snf-network", {}, "check").stderr
        daemon.process.send_signal(18)


def test_nics_of_one_cause_are_one_line(node: Machine, lab: Lab) -> None:
    ended(node)
    lab.guest(node, "tap1", "aa:00:00:00:00:02")
    node.up(
        {
            **BRIDGED,
            "INTERFACE": "tap1",
            "MAC": "aa:00:00:00:00:02",
            "INTERFACE_UUID": "other",
            "IP": "203.0.113.9",
        }
    )
    assert f"{DEAD}: 2 NICs\n" in node.script("snf-network", {}, "check").stderr


def test_who_relies_on_nobody_misses_nobody(lab: Lab) -> None:
    node = node_with(lab, "none")
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    ended(node)
    lab.guest(node, "tap0", MAC)
    node.up(ROUTED)
    assert said(node) == ("clean\n", "", "[]", "")


def test_a_binding_that_is_refused_or_not_there_is_told(node: Machine) -> None:
    before = node.read(f"{BINDINGS}/tap0")
    with served(node):
        bind(node, "tap0", before.replace("HOSTNAME=", "HOSTNAME=-"))
        # the last good one stays: the guest is answered
        assert node.script("snf-network", {}, "check", check=False).stderr == ""
    with served(node):
        assert liveness.REFUSED in node.script("snf-network", {}, "check", check=False).stderr
    bind(node, "tap0", before)
    node.write(CONFIG, "[general]\ndatapath = /var/elsewhere\n")
    node.run("mkdir", "/var/elsewhere")
    with served(node):
        assert liveness.UNKNOWN in node.script("snf-network", {}, "check").stderr


def test_a_daemon_with_the_other_engine_is_told(node: Machine) -> None:
    with served(node, "--engine", "nfqueue"):
        assert liveness.OTHER_ENGINE in node.script("snf-network", {}, "check").stderr


def test_a_queue_that_somebody_has_is_answered(lab: Lab) -> None:
    """The old nfdhcpd has no control socket."""
    node = node_with(lab, "nfqueue")
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    lab.guest(node, "tap0", MAC)
    node.up(ROUTED)
    ended(node)
    assert DEAD in node.script("snf-network", {}, "check").stderr
    with running(node, "--socket", "/var/elsewhere.sock", "--engine", "nfqueue"):
        assert node.script("snf-network", {}, "check").stderr == ""


def test_drops_does_not_call_answered_what_nobody_answers(lab: Lab) -> None:
    node = node_with(lab, "packet")
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    guest = lab.guest(node, "tap0", MAC)
    node.up(ROUTED)
    ended(node)
    send(guest, "eth0", f.ethernet(MAC, f.BROADCAST, f.udp("0.0.0.0", "255.255.255.255", 68, 67)))
    assert until(lambda: ("tap0", "answered") in drops(node, "inet"))

    def meaning() -> str:
        rows = json.loads(node.script("snf-network", {}, "drops", "tap0", "--json").stdout)
        return next(str(row["meaning"]) for row in rows if row["reason"] == "answered")

    assert "nobody answers" in meaning() and DEAD in meaning()
    with served(node):
        assert until(lambda: meaning() == REASONS["answered"])
