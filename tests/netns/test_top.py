"""`snf-network top` while guests send: the figures, and the terminal, which is left as it was."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from snf_network.dhcpd.control import PATH
from tests.dhcpd.netns.daemon import running
from tests.netns import frames as f
from tests.netns.lab import SCRIPTS, Lab, Machine, environment, send, until
from tests.netns.state import one_line

COMMAND = SCRIPTS / "snf-network"
ROUTED = environment("add-routed-ifup-1", INTERFACE_NAME="pub0")
MAC, TAP_MAC = ROUTED["MAC"], "cc:47:52:4e:45:54"
FORGED = f.ethernet(MAC, TAP_MAC, f.udp("192.0.2.99", ROUTED["NETWORK_GATEWAY"]))
SOLICITATION = f.ethernet(MAC, "33:33:00:00:00:02", f.rs(f.eui64(MAC)))
BEGIN, END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Machine, Machine]]:
    """A node with a /run of its own, where the control socket is; and its guest."""
    lab = Lab()
    try:
        node = lab.node("node1", lab.router())
        node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        guest = lab.guest(node, "tap0", MAC)
        node.up(ROUTED)
        yield node, guest
    finally:
        lab.close()


@pytest.fixture
def node(place: tuple[Machine, Machine]) -> Machine:
    return place[0]


def while_sending(place: tuple[Machine, Machine], *words: str) -> tuple[int, list[Any]]:
    """How many forged frames a guest has sent, and the objects that were printed meanwhile."""
    node, guest = place
    call = subprocess.Popen(
        node.command(COMMAND, "top", "--json", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    sent = 0
    while call.poll() is None:
        send(guest, "eth0", *[FORGED] * 10, SOLICITATION)
        sent += 10
        time.sleep(0.05)
    said, error = call.communicate()
    assert (call.returncode, error) == (0, "")
    return sent, [json.loads(line) for line in said.splitlines()]


def test_a_guest_that_sends_is_seen(place: tuple[Machine, Machine]) -> None:
    with running(place[0], "--socket", PATH):
        sent, found = while_sending(place, "--count", "3", "--interval", "0.5")
    assert len(found) == 3
    for page in found:
        assert 0.5 <= page["seconds"] < 5
        (nic,) = page["nics"]
        names = {"interface": "tap0", "instance": "inst1.example.com", "nic": "pub0", "network": "pub1"}
        assert names.items() <= nic.items()
        assert nic["drops"].keys() >= {"ip4-src"} and nic["drops"]["ip4-src"] > 0
        assert nic["sent_bits"] >= 8 * len(FORGED) * nic["sent_packets"] - 8 > 0
        assert nic["answered"] > 0
    assert sum(page["nics"][0]["drops"]["ip4-src"] * page["seconds"] for page in found) <= sent + 0.01


def test_into_a_pipe_one_table_follows_the_other(node: Machine) -> None:
    said = node.out(COMMAND, "top", "--count", "3", "--interval", "0.2")
    assert "\x1b" not in said
    pages = said.split("\n\n")
    assert len(pages) == 3
    for page in pages:
        lines = page.splitlines()
        assert [line.split()[0] for line in lines[1:]] == ["INTERFACE", "tap0"]
        assert "1 NIC: sent " in lines[0]


def test_a_nic_comes_and_goes(node: Machine) -> None:
    node.ip("tuntap add tap7 mode tap")
    call = subprocess.Popen(
        node.command(COMMAND, "top", "--json", "--interval", "0.2"), stdout=subprocess.PIPE, text=True
    )
    assert call.stdout

    def listed() -> list[str]:
        assert call.stdout
        return [nic["interface"] for nic in json.loads(call.stdout.readline())["nics"]]

    try:
        assert listed() == ["tap0"]
        node.up(
            {
                **ROUTED,
                "INTERFACE": "tap7",
                "INTERFACE_UUID": "u7",
                "IP": "198.51.100.77",
                "MAC": "aa:00:00:00:00:77",
            }
        )
        assert until(lambda: listed() == ["tap0", "tap7"], 10)
        node.ip("link del tap7")
        assert until(lambda: listed() == ["tap0"], 10)
    finally:
        call.stdout.close()
        call.terminate()
        call.wait()
        node.run(COMMAND, "gc")


def test_a_node_without_nics(lab: Lab) -> None:
    node = lab.machine("empty")
    said = node.out(COMMAND, "top", "--count", "1", "--interval", "0.1")
    assert "  0 NICs: sent 0 bit/s" in said


def test_a_slip_of_the_pen_is_told(node: Machine) -> None:
    ran = node.run(COMMAND, "top", "tpa0", check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    one_line(ran.stderr, "tpa0 has no record")


def test_a_reader_who_goes_away_hears_no_traceback(node: Machine) -> None:
    ran = node.run("sh", "-c", f"{COMMAND} top --interval 0.1 | head -1", check=False)
    assert (ran.returncode, ran.stderr) == (0, "") and "1 NIC" in ran.stdout


def test_interrupted_in_a_pipe(node: Machine) -> None:
    ran = node.run("timeout", "-s", "INT", "1", COMMAND, "top", "--interval", "0.2", check=False)
    assert ran.stderr == "" and "tap0" in ran.stdout


# --- a terminal


class Terminal:
    """A pseudo terminal with `top` on it."""

    def __init__(self, node: Machine, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (5, 60))
        self.before = termios.tcgetattr(self.slave)
        self.call = subprocess.Popen(
            node.command("env", "TERM=xterm", "setsid", "-c", "-w", COMMAND, "top", *words),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )
        self.said = ""

    def until(self, words: str, times: int = 1, seconds: float = 20) -> None:
        """Read until the terminal has been told `words`."""
        end = time.monotonic() + seconds
        while self.said.count(words) < times:
            assert time.monotonic() < end, self.said
            if select.select([self.master], [], [], 0.1)[0]:
                self.said += os.read(self.master, 65536).decode()

    def ended(self) -> int:
        """The exit status; the terminal is as it was."""
        status = self.call.wait(20)
        self.until(END)
        assert termios.tcgetattr(self.slave) == self.before
        return status

    def close(self) -> None:
        if self.call.poll() is None:
            os.write(self.master, b"\x03")
            self.call.wait(20)
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def terminal(node: Machine, *words: str) -> Iterator[Terminal]:
    made = Terminal(node, *words)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("key", (b"q", b"Q", b"\x03"))
def test_a_key_ends_it_and_the_terminal_is_as_it_was(node: Machine, key: bytes) -> None:
    with terminal(node, "--interval", "0.2") as shown:
        shown.until("tap0", 2)
        assert shown.said.startswith(BEGIN)
        assert not termios.tcgetattr(shown.slave)[3] & termios.ICANON
        os.write(shown.master, key)
        assert shown.ended() == 0
        assert shown.said.endswith(END) and "Traceback" not in shown.said


def test_another_key_does_not(node: Machine) -> None:
    with terminal(node, "--interval", "0.5", "--count", "2") as shown:
        began = time.monotonic()
        for _ in range(3):
            shown.until("q ends")
            os.write(shown.master, b"x")
        assert shown.ended() == 0 and time.monotonic() - began >= 1
        assert shown.said.count("INTERFACE") == 2


def test_a_page_is_no_larger_than_the_terminal(node: Machine) -> None:
    node.ip(*(f"tuntap add tap{number} mode tap" for number in range(70, 76)))
    for number in range(70, 76):
        node.up(
            {
                **ROUTED,
                "INTERFACE": f"tap{number}",
                "INTERFACE_UUID": f"u{number}",
                "IP": f"198.51.100.{number}",
                "MAC": f"aa:00:00:00:00:{number}",
            }
        )
    try:
        with terminal(node, "--interval", "0.2", "--count", "1") as shown:
            assert shown.ended() == 0
        page = shown.said.partition("7 NICs")[2].partition("\x1b[J")[0]
        lines = page.replace("\x1b[K", "").split("\r\n")
        assert len(lines) == 5 and max(map(len, lines)) <= 60
    finally:
        node.ip(*(f"link del tap{number}" for number in range(70, 76)))
        node.run(COMMAND, "gc")


def pid_of(shown: Terminal) -> int:
    """The process that setsid waits for."""
    children = f"/proc/{shown.call.pid}/task/{shown.call.pid}/children"
    with open(children, encoding="ascii") as file:
        return int(file.read().split()[0])


def test_a_signal_ends_it_the_same_way(node: Machine) -> None:
    with terminal(node, "--interval", "0.2") as shown:
        shown.until("tap0")
        os.kill(pid_of(shown), signal.SIGTERM)
        assert shown.ended() == 0


def test_stopped_it_gives_the_terminal_back_for_a_while(node: Machine) -> None:
    with terminal(node, "--interval", "0.2") as shown:
        shown.until("tap0")
        pid = pid_of(shown)
        os.kill(pid, signal.SIGTSTP)
        shown.until(END)
        assert until(lambda: " T " in open(f"/proc/{pid}/stat", encoding="ascii").read())
        assert termios.tcgetattr(shown.slave) == shown.before
        os.kill(pid, signal.SIGCONT)
        shown.until(BEGIN, 2)
        os.write(shown.master, b"q")
        shown.until(END, 2)
        assert shown.ended() == 0


def test_a_terminal_that_cannot_be_redrawn_is_a_file(node: Machine) -> None:
    said = node.out(
        "env", "TERM=dumb", "script", "-qec", f"{COMMAND} top --count 2 --interval 0.1", "/dev/null"
    )
    assert "\x1b" not in said and said.count("INTERFACE") == 2
