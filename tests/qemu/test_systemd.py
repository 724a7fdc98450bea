"""The package's units under a real systemd: installed by dpkg, started by targets, by nftables.service, by
timers and by paths.

The tests share one node and run in the order in which they are written. Python takes ten times as long as on
a real machine.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from snf_network.dns.spool import Spool
from snf_network.model.names import Names
from tests.dhcpd.netns.daemon import CONFIG, bind, binding, status
from tests.dhcpd.netns.test_daemon import CAPABILITIES, MAC, asks, offered
from tests.dns.lab import FORWARD, REVERSE4, STATE, NameServer, configure
from tests.netns.lab import Lab, Machine, environment, traces, until
from tests.netns.state import stand_in
from tests.qemu.node import ACTIVE, ENABLED, PATIENCE, Booted, installed

pytestmark = pytest.mark.vm(systemd=True)
NFDHCPD, REPAIR, GC, SENDER = (
    "nfdhcpd.service",
    "snf-network-repair.service",
    "snf-network-gc.service",
    "snf-network-dns.service",
)
TIMERS = ("snf-network-gc.timer", "snf-network-dns.timer")
WATCH = "snf-network-watch.service"
ROUTED, BRIDGED = environment("add-routed-ifup-1"), environment("add-bridged-ifup-1")
WAITING = {
    **BRIDGED,
    "INTERFACE": "tap2",
    "LINK": "prv9",
    "BRIDGE": "prv9",
    "MAC": "aa:55:60:25:ae:2f",
    "IP": "203.0.113.2",
    "INTERFACE_UUID": "waiting",
    "INSTANCE": "waiting.example.com",
}
IP = "198.51.100.99"
BINDING = binding(
    indev="tap9", ip=IP, mac=MAC, hostname="vm9.example.com", gateway="198.51.100.1", subnet="198.51.100.0/24"
)
NO_MEMORY = "#!/bin/sh\necho no memory; exit 1\n"


class Place(NamedTuple):
    """The node, and a guest that a routed NIC is for."""

    node: Booted
    guest: Machine

    def ctl(self, *words: str) -> str:
        """What nfdhcpctl prints."""
        return self.node.machine.out("/usr/sbin/nfdhcpctl", *words)

    def pid(self) -> int:
        """Of nfdhcpd."""
        return int(self.node.show(NFDHCPD, "MainPID"))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with closing(Lab()) as lab:
        node = installed(lab)
        yield Place(node, lab.guest(node.machine, ROUTED["INTERFACE"], ROUTED["MAC"]))


@pytest.fixture(scope="module")
def node(place: Place) -> Booted:
    return place.node


@pytest.fixture(scope="module")
def tap(place: Place) -> Iterator[int]:
    """A guest that asks nfdhcpd for its address, as fast as it likes."""
    bind(place.node.machine, "tap9", BINDING)
    made = place.node.machine.tap("tap9")
    place.node.machine.ip("link set tap9 up")
    yield made
    os.close(made)


# --- installed, and booted


def test_installed_units_are_enabled_and_none_fails(node: Booted) -> None:
    assert node.systemctl("is-enabled", *ENABLED).split() == ["enabled"] * len(ENABLED)
    node.idle()
    assert node.systemctl("is-active", *ACTIVE).split() == ["active"] * len(ACTIVE)
    assert node.systemctl("is-system-running") == "running"
    for timer in TIMERS:
        assert node.show(timer, "SubState") == "running" or node.show(
            timer, "NextElapseUSecMonotonic"
        ) not in ("", "infinity"), timer
    node.systemctl("stop", *TIMERS, WATCH)  # each takes seconds of every minute here
    assert node.is_clean()


@pytest.fixture(scope="module")
def up(place: Place) -> None:
    """Two NICs, as Ganeti brings them up."""
    place.node.machine.ip("link add tap1 type dummy")
    for env in (ROUTED, BRIDGED):
        place.node.call("/etc/ganeti/kvm-vif-bridge", env)
    assert place.node.is_clean()


# --- nftables.service takes all rules away


def test_start_brings_back_the_nics_and_the_targets_of_a_boot_the_rest(node: Booted, up: None) -> None:
    node.systemctl("stop", "timers.target", *ENABLED)
    node.machine.run("nft", "flush", "ruleset")
    node.systemctl("start", "nftables.service")
    assert node.is_clean()
    assert int(node.show("nftables.service", "ExecMainExitTimestampMonotonic")) < int(
        node.show(REPAIR, "ExecMainStartTimestampMonotonic")
    )
    node.systemctl("start", "multi-user.target", "timers.target")
    assert node.systemctl("is-active", *ACTIVE).split() == ["active"] * len(ACTIVE)
    node.systemctl("stop", *TIMERS, WATCH)


def test_restart_brings_back_the_nics(node: Booted, up: None) -> None:
    node.systemctl("restart", "nftables.service")
    assert node.is_clean()


def test_reload_brings_back_the_nics_also_after_a_repair_that_failed(node: Booted, up: None) -> None:
    with stand_in(node.machine, "nft", NO_MEMORY):
        node.systemctl("restart", "nftables.service")
        node.idle()
    node.machine.run("nft", "flush", "ruleset")
    node.systemctl("reload", "nftables.service")
    assert node.is_clean()


# --- the timer's service


def test_gc_takes_back_a_gone_nic_and_brings_up_one_that_waits(node: Booted, up: None) -> None:
    machine = node.machine
    machine.ip("link add tap2 type dummy")
    assert node.call("/etc/ganeti/kvm-vif-bridge", WAITING, check=False).returncode == 1
    machine.ip("link del tap1", "link add prv9 type bridge forward_delay 0", "link set prv9 up")
    node.systemctl("start", GC)
    assert not [line for line in traces(machine) if "tap1" in line]
    assert "master prv9" in machine.out("ip", "link", "show", "tap2")
    assert node.is_clean()
    assert node.show(GC, "Result") == "success"


# --- nfdhcpd


def test_nfdhcpd_is_nobody_with_one_capability(place: Place) -> None:
    facts = status(place.pid())
    assert {facts[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {f"{CAPABILITIES:016x}"}
    assert facts["NoNewPrivs"] == "1" and "0" not in facts["Uid"].split() and "0" not in facts["Gid"].split()
    assert place.node.show(NFDHCPD, "WatchdogUSec") == "30s"


def test_a_client_gets_its_lease(place: Place, up: None) -> None:
    place.guest.run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "2")
    assert f" {ROUTED['IP']}/" in place.guest.out("ip", "-o", "addr", "show", "eth0")
    assert place.guest.ping(ROUTED["NETWORK_GATEWAY"])


def test_root_can_ask_it(place: Place, tap: int) -> None:
    assert until(lambda: offered(tap) == IP, PATIENCE)
    assert {row["interface"]: row["state"] for row in json.loads(place.ctl("list", "--json"))}[
        "tap9"
    ] == "served"


def test_reload_reads_the_configuration(place: Place, tap: int) -> None:
    pid = place.pid()
    place.node.machine.write(CONFIG, "[dhcp]\nlease_lifetime = 4711\n")
    place.node.systemctl("reload", NFDHCPD)
    assert until(lambda: b"\x33\x04" + (4711).to_bytes(4) in asks(tap), PATIENCE)
    assert place.node.systemctl("is-active", NFDHCPD) == "active" and place.pid() == pid


def test_killed_it_serves_again(place: Place, tap: int) -> None:
    began = time.monotonic()
    os.kill(place.pid(), signal.SIGKILL)
    assert until(lambda: offered(tap, 0.1) == IP, PATIENCE)
    print("served again after", time.monotonic() - began)


def test_hung_it_is_killed_and_serves_again(place: Place, tap: int) -> None:
    place.node.with_lines(NFDHCPD, "[Service]", "WatchdogSec=4")
    place.node.systemctl("restart", NFDHCPD)
    assert offered(tap, 5) == IP
    os.kill(place.pid(), signal.SIGSTOP)
    assert not offered(tap, 0.5)
    assert until(lambda: offered(tap, 0.5) == IP, PATIENCE)
    assert "Watchdog timeout" in place.node.journal("-u", NFDHCPD)


def test_what_keeps_it_from_starting_may_last(place: Place, tap: int) -> None:
    """It is tried again for as long as it takes."""
    place.node.with_lines(NFDHCPD, "[Service]", "ExecStart=", "ExecStart=/bin/false", "RestartSec=10ms")
    place.node.systemctl("restart", NFDHCPD, check=False)
    assert until(lambda: int(place.node.show(NFDHCPD, "NRestarts")) > 6, PATIENCE)
    place.node.with_lines(NFDHCPD)
    assert until(lambda: offered(tap, 0.5) == IP, PATIENCE)


def test_it_stops(place: Place, tap: int) -> None:
    place.node.systemctl("stop", NFDHCPD)
    assert (place.node.show(NFDHCPD, "Result"), place.node.show(NFDHCPD, "ExecMainStatus")) == (
        "success",
        "0",
    )
    assert not offered(tap, 0.5) and not Path("/run/nfdhcpd").exists()


# --- names


def test_a_name_that_is_noted_is_sent(node: Booted) -> None:
    server = NameServer(node.lab, node.machine)
    configure(node.machine)
    server.start()
    try:
        Spool(STATE).up(Names("vm9.example.com", "uuid-9", "net", (IP,)))
        assert until(lambda: server.names(REVERSE4) == {"99": {f"PTR vm9.{FORWARD}."}}, PATIENCE), (
            node.journal("-u", SENDER)
        )
        assert server.names(FORWARD) == {"vm9": {f"A {IP}"}}
        node.idle()
        assert node.show(SENDER, "Result") == "success"
    finally:
        server.stop()


def test_the_watch_puts_back_what_is_taken_away(node: Booted, up: None) -> None:
    # what sysinit.target wants starts none of its own here
    node.systemctl("start", "sys-kernel-tracing.mount", WATCH)
    assert node.show(WATCH, "Type") == "notify" and node.show(WATCH, "WatchdogUSec") == "2min"
    node.machine.run("nft", "flush", "ruleset")
    member = ("nft", "get", "element", "inet", "snf_network", "routed", '{ "tap0" }')
    assert until(lambda: node.machine.run(*member, check=False).returncode == 0, PATIENCE)
    entry = node.machine.out("ip", "-4", "neigh", "show", "proxy").splitlines()[0].split()[:3]
    node.machine.ip(f"neigh del proxy {' '.join(entry)}")
    assert until(
        lambda: f"put back 1: ip neigh replace proxy {entry[0]}" in node.journal("-u", WATCH), PATIENCE
    )
    node.machine.ip("link del tap2")
    assert until(lambda: not [line for line in traces(node.machine) if "tap2" in line], PATIENCE)
    pid = node.show(WATCH, "MainPID")
    os.kill(int(pid), signal.SIGKILL)
    assert until(lambda: node.show(WATCH, "MainPID") not in (pid, "0"), PATIENCE)
    node.systemctl("stop", WATCH)
    assert node.is_clean()


def test_nothing_of_all_that_failed(node: Booted) -> None:
    assert node.systemctl("list-units", "--failed", "--plain", "--no-legend") == ""


def test_purged_it_leaves_no_unit(node: Booted) -> None:
    node.dpkg("--purge", "snf-network", "nfdhcpd")
    assert node.systemctl("list-units", "--plain", "--no-legend", "snf-network*", "nfdhcpd*") == ""
    assert node.systemctl("list-unit-files", "--no-legend", "snf-network*", "nfdhcpd*", check=False) == ""
    assert node.machine.run("test", "-e", "/run/snf-network", check=False).returncode
