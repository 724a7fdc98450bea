"""The three callers, IFUP_EXTRA_SCRIPT, the log, and a kernel without IPv6."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.netns.lab import SCRIPTS, Lab, Machine, environment

ROUTED = environment("add-routed-ifup-1")


@pytest.fixture
def node() -> Iterator[Machine]:
    lab = Lab()
    try:
        node = lab.node("node1", lab.router())
        node.ip("link add tap0 type veth peer name guest")
        yield node
    finally:
        lab.close()


def has_record(node: Machine) -> bool:
    return node.read("/var/lib/snf-network/tap0").startswith("nic\ttap0\t")


def call(node: Machine, path: str, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return node.run("env", "-i", *(f"{key}={value}" for key, value in env.items()), path, *arguments)


def test_ganeti_3_0_gives_no_argument_and_runs_kvm_vif_bridge(node: Machine) -> None:
    # a link cannot lead back to a checkout (an installed package is found in dist-packages), so the script is
    # called through a shell
    node.write("/etc/ganeti/kvm-vif-bridge", f'#!/bin/sh\nexec {SCRIPTS}/kvm-ifup-custom "$@"\n')
    node.run("chmod", "+x", "/etc/ganeti/kvm-vif-bridge")
    call(node, "/etc/ganeti/kvm-vif-bridge", ROUTED)
    assert has_record(node)


def test_grnets_ganeti_gives_the_tap_as_first_argument(node: Machine) -> None:
    env = {key: value for key, value in ROUTED.items() if key != "INTERFACE"}
    node.script("kvm-ifup-custom", env, "tap0")
    assert has_record(node)
    node.script("kvm-ifdown-custom", env, "tap0", "true")
    assert not has_record(node)
    assert "down (local): inst1.example.com taken back" in node.read("/var/log/ganeti/snf-network.log")


def test_a_nic_does_not_wait_for_the_text_of_help(node: Machine) -> None:
    said = node.run(
        "env",
        "-i",
        *(f"{key}={value}" for key, value in ROUTED.items()),
        "/usr/bin/python3",
        "-IS",
        "-X",
        "importtime",
        f"{SCRIPTS}/kvm-ifup-custom",
    ).stderr
    assert has_record(node) and "snf_network.apply.engine" in said
    assert not {"snf_network.scripts.usage", "argparse", "textwrap"} & set(said.split())


def test_ganeti_3_2_says_the_action_in_the_environment(node: Machine) -> None:
    node.script("kvm-ifup-custom", environment("v32-start-ifup-1"))
    assert has_record(node)
    node.script("kvm-ifup-custom", environment("v32-stop-ifdown-1"))
    assert not has_record(node)


def test_a_down_of_another_instance_leaves_the_nic_alone(node: Machine) -> None:
    node.up(ROUTED)
    node.down({**ROUTED, "INSTANCE": "other.example.com"})
    node.down({**ROUTED, "INTERFACE_UUID": "5ac0de99-0000-4000-8000-000000000099"})
    assert has_record(node)
    node.down(ROUTED)
    assert not has_record(node)


def test_communication_taps_of_ganeti_are_left_alone(node: Machine) -> None:
    node.ip("link add gnt.com.0 type veth peer name com")
    node.up({**ROUTED, "INTERFACE": "gnt.com.0"})
    assert "DOWN" in node.out("ip", "-br", "link", "show", "gnt.com.0")
    assert not node.read("/var/lib/snf-network/gnt.com.0")


def test_the_extra_script_comes_last_with_the_variables_it_had(node: Machine) -> None:
    node.write(
        "/etc/ganeti/ifup-extra",
        '#!/bin/sh\nenv > /var/extra\necho "$@" > /var/arguments\nip rule > /var/rules\nexit 7\n',
    )
    node.run("chmod", "+x", "/etc/ganeti/ifup-extra")
    assert node.script("kvm-ifup-custom", ROUTED, "tap0", check=False).returncode == 7
    seen = dict(line.split("=", 1) for line in node.read("/var/extra").splitlines())
    wanted = {
        **ROUTED,
        "EUI64": "2001:db8:1:0:a800:ff:fead:35c9",
        "TABLE": "snf_public",
        "BRIDGE": "",
        "INDEV": "tap0",
        "UPLINK": "eth1",
        "UPLINK6": "eth1",
    }
    assert {key: seen.get(key) for key in wanted} == wanted | {"PWD": seen["PWD"], "SHLVL": seen["SHLVL"]}
    assert node.read("/var/arguments") == "tap0\n"
    assert "fwmark 0xde" in node.read("/var/rules")


def test_the_extra_script_of_a_bridged_nic_sees_its_bridge(node: Machine) -> None:
    node.ip("link add tap1 type veth peer name guest1")
    node.write("/etc/ganeti/ifup-extra", "#!/bin/sh\nenv > /var/extra\n")
    node.run("chmod", "+x", "/etc/ganeti/ifup-extra")
    node.up(environment("add-bridged-ifup-1"))
    seen = dict(line.split("=", 1) for line in node.read("/var/extra").splitlines())
    assert (seen["BRIDGE"], seen["INDEV"], seen["TABLE"], seen["UPLINK"]) == ("prv0", "prv0", "", "")


@pytest.mark.quiet
def test_nobody_waits_for_the_announcements(node: Machine) -> None:
    began = time.monotonic()
    command = node.command(
        "env", "-i", *(f"{key}={value}" for key, value in ROUTED.items()), SCRIPTS / "kvm-ifup-custom"
    )
    subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=10
    )  # reads to the end of the pipe
    assert time.monotonic() - began < 1.0


def test_a_full_disk_or_a_missing_directory_for_the_log_stops_no_nic(node: Machine) -> None:
    node.write("/etc/default/snf-network", "LOGFILE=/nonexistent/directory/log\n")
    node.up(ROUTED)
    assert has_record(node)


def test_without_ipv6_in_the_kernel_ipv4_works(node: Machine) -> None:
    node.run("mount", "-t", "tmpfs", "tmpfs", "/proc/sys/net/ipv6")  # as it looks where the kernel has none
    said = node.up(ROUTED).stderr
    assert said.count("\n") == 1 and "IPv6 is off on tap0" in said
    assert "198.51.100.10 dev tap0" in node.out("ip", "route", "show", "table", "222")
    assert not node.out("ip", "-6", "route", "show", "table", "222", "proto", "148")
    assert "fwmark" not in node.out("ip", "-6", "rule")


def test_a_late_default_route_is_taken_up_by_repair(node: Machine) -> None:
    node.ip("route del default table 222")
    assert "no IPv4 default route" in node.up(ROUTED).stderr
    assert "incomplete" in node.out(SCRIPTS / "snf-network", "status")
    assert node.run(SCRIPTS / "snf-network", "check", check=False).returncode == 1
    node.ip("route add default via 198.51.100.1 dev eth1 table 222 onlink")
    node.run(SCRIPTS / "snf-network", "repair")
    assert "198.51.100.10 dev eth1" in node.out("ip", "neigh", "show", "proxy")
    assert node.out(SCRIPTS / "snf-network", "check") == "clean\n"


def test_load_makes_a_tables_rules_ahead_and_keeps_them(node: Machine) -> None:
    node.run(SCRIPTS / "snf-network", "load", "snf_public")
    assert (
        node.out("ip", "rule").count("fwmark 0xde") == node.out("ip", "-6", "rule").count("fwmark 0xde") == 2
    )
    node.up(ROUTED)
    node.down(ROUTED)
    assert node.out("ip", "rule").count("fwmark 0xde") == 2
    assert node.out(SCRIPTS / "snf-network", "check") == "clean\n"
