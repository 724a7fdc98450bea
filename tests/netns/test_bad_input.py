"""Missing or wrong values, and nodes that lack something: the call fails with one line that says what is
wrong, and never leaves a NIC half set up or unfiltered.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.netns.lab import SCRIPTS, Lab, Machine, environment
from tests.netns.state import (
    State,
    about,
    difference,
    finish,
    is_up,
    one_line,
    openings,
    same,
    snapshot,
    stand_in,
    start,
    wipe,
    without_base,
    without_notes,
    without_settings,
)

UP, DOWN = "kvm-ifup-custom", "kvm-ifdown-custom"
TAP = "tap0"
ROUTED = environment("add-routed-ifup-1")
FILTERED = environment("add-bridged-ifup-1", INTERFACE=TAP)
STATE_DIR = "/var/lib/snf-network"


@pytest.fixture(scope="module")
def plain_node() -> Iterator[Machine]:
    lab = Lab()
    try:
        node = lab.node("plain", lab.router("plain-router"))
        node.ip(
            f"tuntap add dev {TAP} mode tap",
            "tuntap add dev tap5 mode tap",
            "tuntap add dev gnt.com.0 mode tap",
        )
        yield node
    finally:
        lab.close()


@pytest.fixture(autouse=True)
def nothing_there(plain_node: Machine) -> None:
    wipe(plain_node, TAP, "tap5", rules=True)


def refused(node: Machine, env: Mapping[str, str], *words: str) -> None:
    """Twice: with nothing there before, and on a NIC that is up. Nothing changes, and one line says why."""
    for before in (None, ROUTED):
        if before:
            node.up(before)
        state = snapshot(node)
        ran = node.up(env, check=False)
        assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
        one_line(ran.stderr, "kvm-ifup-custom: ", *words)
        same(without_notes(state), without_notes(snapshot(node)))


def changed(base: Mapping[str, str], **changes: str | None) -> dict[str, str]:
    values: dict[str, str | None] = {**base, **changes}
    return {name: value for name, value in values.items() if value is not None}


MISSING = ["MAC", "MODE", "INSTANCE"]


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_is_missing(plain_node: Machine, name: str, value: str | None) -> None:
    refused(plain_node, changed(ROUTED, **{name: value}), f"{name} is missing", "(")


@pytest.mark.parametrize("value", [None, ""])
def test_only_a_routed_nic_may_have_no_link(plain_node: Machine, value: str | None) -> None:
    """Then its table is main (gnt-network(8) of Ganeti 3.2)."""
    ran = plain_node.up(changed(FILTERED, LINK=value), check=False)
    assert (ran.returncode, ran.stdout) == (1, "") and "LINK is missing" in ran.stderr
    plain_node.up(changed(ROUTED, LINK=value))
    assert "dev tap0" in plain_node.out("ip", "route", "show", "table", "main", ROUTED["IP"])
    plain_node.down(ROUTED)


def test_no_interface_at_all(plain_node: Machine) -> None:
    refused(plain_node, changed(ROUTED, INTERFACE=None), "INTERFACE is missing", "argument")


def test_the_interface_may_be_the_first_argument(plain_node: Machine) -> None:
    plain_node.script(UP, changed(ROUTED, INTERFACE=None), TAP)
    assert is_up(snapshot(plain_node), TAP)
    plain_node.script(DOWN, {}, TAP, "false")
    assert not is_up(snapshot(plain_node), TAP)


MALFORMED = {
    "MAC": [
        "zz:00:00:ad:35:c9",
        "aa:00:00:ad:35",
        "aa:00:00:ad:35:c9:00",
        "aa00.00ad.35c9",
        "01:00:00:ad:35:c9",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "aa:00:00:ad:35:c9 ",
        "a:0:0:a:3:c",
    ],
    "IP": [
        "198.51.100",
        "198.51.100.10/24",
        "198.51.100.256",
        "198.51.100.010",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "ff02::1",
        "::ffff:198.51.100.10",
        "2001:db8::1/64",
        "dhcp",
    ],
    "NETWORK_SUBNET": [
        "198.51.100.0",
        "198.51.100.0/33",
        "198.51.100.0/-1",
        "198.51.100.0/255.255.255.0",
        "2001:db8:1::/64",
        "/24",
    ],
    "NETWORK_GATEWAY": ["198.51.100.1/24", "nobody", "0.0.0.0", "2001:db8:1::1"],
    "NETWORK_SUBNET6": ["2001:db8:1::", "2001:db8:1::/129", "2001:db8:1::/", "198.51.100.0/24", "g::/64"],
    "NETWORK_GATEWAY6": ["2001:db8:1::1/64", "::", "ff02::1", "198.51.100.1"],
    "MODE": ["Routed", "bridge", "routed ", "route", "none"],
    "LINK": [
        "no such table",
        "nosuch",
        "4711",
        "0",
        "255",
        "local",
        "-1",
        "0x1",
        "1e3",
        "4294967296",
        "99999999999999",
    ],
    "INTERFACE": ["tap0123456789abcdef", "tap/0", "..", "tap:0"],
    "INTERFACE_INDEX": ["-1", "one", "1.0", "9999"],
    "NETWORK_MAC_PREFIX": ["aa:00", "aa:00:00:00", "zz:00:00"],
    "VLAN": [".0", ".4095", "x", ".1:", ":x", "..."],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values]
)
def test_a_value_is_malformed(plain_node: Machine, name: str, value: str) -> None:
    refused(plain_node, changed(ROUTED, **{name: value}), f"{name}=")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"MODE": "bridged", "LINK": "nobridge"}, ["LINK=nobridge"]),
        ({"MODE": "bridged", "LINK": "eth1"}, ["LINK=eth1", "bridge"]),
        ({"MODE": "bridged", "LINK": "lo"}, ["LINK=lo", "bridge"]),
        ({"MODE": "bridged", "LINK": TAP}, [f"LINK={TAP}", "bridge"]),
        ({"MODE": "bridged", "LINK": "prv0", "VLAN": ".100"}, ["VLAN=.100", "prv0"]),
        ({"MODE": "bridged", "LINK": "prv0", "VLAN": ":100:200"}, ["VLAN=:100:200", "prv0"]),
        # the file that docs/operators.md has: Debian 13 has no /etc/iproute2/rt_tables
        ({"LINK": "nosuch"}, ["LINK=nosuch", " /etc/iproute2/rt_tables.d/snf.conf"]),
        ({"INTERFACE": "tap99"}, ["INTERFACE=tap99", "no such device"]),
        (
            {"INTERFACE": "lo", "IP": "198.51.100.44", "MAC": "aa:00:00:00:00:44"},
            ["INTERFACE=lo", "own device"],
        ),
        (
            {"INTERFACE": "eth1", "IP": "198.51.100.44", "MAC": "aa:00:00:00:00:44"},
            ["INTERFACE=eth1", "own device"],
        ),
        ({"INTERFACE": "prv0", "MODE": "bridged", "LINK": "prv0"}, ["INTERFACE=prv0", "own device"]),
        ({"INTERFACE": "all"}, ["INTERFACE=all", "no such device"]),
        ({"INTERFACE": "-x"}, ["INTERFACE='-x'"]),
        ({"NETWORK_GATEWAY": ROUTED["IP"]}, [f"IP={ROUTED['IP']}", "gateway"]),
        (
            {"NETWORK_GATEWAY6": "2001:db8:1:0:a800:ff:fead:35c9"},
            ["IP=2001:db8:1:0:a800:ff:fead:35c9", "gateway"],
        ),
        ({"IP": "2001:db8:1::1"}, ["IP=2001:db8:1::1", "gateway"]),
        ({"IP": "198.51.100.255"}, ["IP=198.51.100.255", "198.51.100.0/24"]),
        ({"IP": "198.51.100.0"}, ["IP=198.51.100.0", "198.51.100.0/24"]),
        ({"TAGS": "synnefo:network:0:nosuch"}, ["TAGS", "nosuch", "protected"]),
        ({"TAGS": "synnefo:network:0:protected synnefo:network:0:limited"}, ["TAGS", "protected", "limited"]),
        ({"TAGS": "snf-network:0:masq snf-network:0:no-masq"}, ["TAGS", "masq"]),
        (
            {
                "MODE": "bridged",
                "LINK": "prv0",
                "NETWORK_TAGS": "private-filtered",
                "NETWORK_MAC_PREFIX": "aa:55:6f",
            },
            ["MAC=", "aa:55:6f"],
        ),
    ],
)
def test_what_is_asked_for_cannot_be_done(
    plain_node: Machine, changes: Mapping[str, str], words: list[str]
) -> None:
    refused(plain_node, changed(ROUTED, **changes), *words)


def test_open_vswitch_is_not_installed(plain_node: Machine) -> None:
    """Nothing of either NIC is left half set up."""
    env = changed(ROUTED, MODE="openvswitch", LINK="ovs0", NETWORK_TAGS=None, TAGS=None)
    nothing = snapshot(plain_node)
    for before in (None, ROUTED, FILTERED):
        if before:
            plain_node.up(before)
        whole = snapshot(plain_node)
        ran = plain_node.up(env, check=False)
        assert ran.returncode == 1
        one_line(ran.stderr, "ovs-vsctl", "openvswitch-switch")
        ends = [without_notes(without_settings(state)) for state in (whole, nothing, snapshot(plain_node))]
        assert ends[2] in ends[:2], difference(ends[1], ends[2])[:20]


def test_a_vlan_that_cannot_be_had_is_no_untagged_port(plain_node: Machine) -> None:
    assert plain_node.up(changed(FILTERED, VLAN=".100"), check=False).returncode == 1
    assert about(snapshot(plain_node), f"link {TAP} ", "master=prv0") == []
    assert not is_up(snapshot(plain_node), TAP)


def test_an_address_that_another_live_tap_has(plain_node: Machine) -> None:
    plain_node.up(ROUTED)
    before = snapshot(plain_node)
    other = changed(
        ROUTED, INTERFACE="tap5", INSTANCE="other.example.com", INTERFACE_UUID="u5", MAC="aa:00:00:00:00:05"
    )
    for env in (
        other,
        changed(other, NETWORK_SUBNET6=None, NETWORK_GATEWAY6=None),
        changed(other, IP="2001:db8:1:0:a800:ff:fead:35c9"),
    ):
        ran = plain_node.up(env, check=False)
        assert ran.returncode == 1
        one_line(ran.stderr, "IP=", "in use", TAP)
        same(without_notes(before), without_notes(snapshot(plain_node)))
    same_mac = changed(other, IP=None, MAC=ROUTED["MAC"])  # and so the same EUI-64 address
    ran = plain_node.up(same_mac, check=False)
    assert ran.returncode == 1
    one_line(ran.stderr, "in use", TAP)
    plain_node.down(ROUTED)
    assert plain_node.up(other).stderr == ""


@pytest.mark.parametrize("script", [UP, DOWN])
def test_ganetis_own_taps_are_left_alone(plain_node: Machine, script: str) -> None:
    before = snapshot(plain_node)
    ran = plain_node.script(script, changed(ROUTED, INTERFACE="gnt.com.0", MAC=None, MODE="what"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    same(before, snapshot(plain_node))


@pytest.mark.parametrize("name", ["locks", "shared", "base"])
def test_a_tap_named_as_one_of_our_files(plain_node: Machine, name: str) -> None:
    plain_node.ip(f"tuntap add dev {name} mode tap")
    plain_node.up(ROUTED)
    before = snapshot(plain_node)
    ran = plain_node.up(
        changed(ROUTED, INTERFACE=name, IP="198.51.100.44", MAC="aa:00:00:00:00:44"), check=False
    )
    assert ran.returncode == 1
    one_line(ran.stderr, name)
    same(before, snapshot(plain_node))
    plain_node.ip(f"link del dev {name}")


@pytest.mark.parametrize("name", ["del", "add", "up", "dev", "all.0", "a-b_c.d"])
def test_a_tap_with_an_odd_name(plain_node: Machine, name: str) -> None:
    """Words of ip(8) and nft(8) are names like any other."""
    plain_node.ip(f"tuntap add dev {name} mode tap")
    for env in (changed(ROUTED, INTERFACE=name), changed(FILTERED, INTERFACE=name)):
        assert plain_node.up(env).stderr == ""
        state = snapshot(plain_node)
        assert is_up(state, name) and openings(state, name, state) == []
        plain_node.down(env)
        assert about(snapshot(plain_node), "element ", f'"{name}"') == []
    plain_node.ip(f"link del dev {name}")


@pytest.mark.parametrize(
    "line",
    [
        "0222 leading_zero",
        "0xzz nohex",
        "0x hex",
        "99999999999999999999 big",
        "-1 minus",
        "222",
        "\u00b2 two",
    ],
)
def test_odd_lines_in_rt_tables(plain_node: Machine, line: str) -> None:
    plain_node.write("/etc/iproute2/rt_tables.d/zz-odd.conf", f"# a comment\n{line}\n222 snf_public\n")
    try:
        assert plain_node.up(ROUTED).stderr == ""
    finally:
        plain_node.run("rm", "/etc/iproute2/rt_tables.d/zz-odd.conf")


def test_a_table_with_a_long_name(plain_node: Machine) -> None:
    """ip(8) knows no limit for it, and Ganeti none for the link of a routed NIC."""
    plain_node.write("/etc/iproute2/rt_tables.d/long.conf", "222 public_network_of_the_second_floor\n")
    assert plain_node.up(changed(ROUTED, LINK="public_network_of_the_second_floor"), check=False).stderr == ""


# --- nodes that lack something


def closed(
    node: Machine, env: Mapping[str, str], ran: subprocess.CompletedProcess[str], whole: State, nothing: State
) -> None:
    """Either all was done, or one line says why not and nothing of it is there. Never up and open."""
    status, said, state = ran.returncode, ran.stderr, snapshot(node)
    assert openings(state, env["INTERFACE"], whole) == []
    assert "Traceback" not in said
    assert status in (0, 1), said
    if status:
        one_line(said, "kvm-ifup-custom: ")
        same(*(without_notes(without_settings(end)) for end in (nothing, state)))
    else:
        same(without_notes(whole), without_notes(state))


def ends(node: Machine, env: Mapping[str, str]) -> tuple[State, State]:
    """The state of the NIC up, and of nothing."""
    nothing = snapshot(node)
    node.up(env)
    whole = snapshot(node)
    node.down(env)
    return whole, nothing


@pytest.mark.parametrize("env", [pytest.param(ROUTED, id="routed"), pytest.param(FILTERED, id="filtered")])
@pytest.mark.parametrize("directory", [STATE_DIR, "/var/lib/nfdhcpd"])
@pytest.mark.parametrize("limit", ["size", "nr_inodes"])
def test_a_full_disk(plain_node: Machine, env: Mapping[str, str], directory: str, limit: str) -> None:
    """At each size from none to enough. The first that is enough ends it."""
    whole, nothing = ends(plain_node, env)
    statuses = []
    for room in range(1, 40):
        wipe(plain_node, TAP)
        plain_node.run("mkdir", "-p", directory)
        plain_node.run(
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"{limit}={room * 4096 if limit == 'size' else room}",
            "tmpfs",
            directory,
        )
        try:
            ran = plain_node.up(env, check=False)
            closed(plain_node, env, ran, whole, nothing)
            statuses.append(ran.returncode)
            if ran.returncode == 0:
                plain_node.down(env)
                same(
                    without_notes(without_settings(nothing)),
                    without_notes(without_settings(snapshot(plain_node))),
                )
        finally:
            plain_node.run("umount", directory)
        if statuses[-2:] == [0, 0]:
            break
    assert statuses[-2:] == [0, 0] and statuses == sorted(statuses, reverse=True), statuses


@pytest.mark.parametrize("pages", range(5))
def test_a_disk_that_fills_while_a_nic_is_up(plain_node: Machine, pages: int) -> None:
    """With so many pages left. A NIC that cannot be changed stays as it is, and can be taken down; a record
    is never half written.
    """
    changes = changed(
        ROUTED,
        IP="198.51.100.11",
        MAC="aa:00:00:ad:35:ca",
        TAGS=" ".join(f"some:tag:{number}" for number in range(800)),
    )
    whole, nothing = ends(plain_node, changes)
    wipe(plain_node, TAP)
    plain_node.run("mkdir", "-p", STATE_DIR)
    plain_node.run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", STATE_DIR)
    try:
        plain_node.up(ROUTED)
        before = snapshot(plain_node)
        fill = "dd if=/dev/zero of=$1 bs=4k 2>/dev/null; truncate -s -$2 $1"
        plain_node.run("sh", "-c", fill, "sh", f"{STATE_DIR}/locks/fill", 4096 * pages)
        ran = plain_node.up(changes, check=False)
        if ran.returncode:
            one_line(ran.stderr, STATE_DIR)
        wanted, now = without_base(before if ran.returncode else whole), without_base(snapshot(plain_node))
        missing = wanted - now
        # where not even the shorter record fits in the end, it goes on naming what is gone; the kernel has
        # nothing more
        more = [line for line in now - wanted if not line.startswith(f"text {STATE_DIR}/tap0:")]
        assert not missing and not more, (sorted(missing), more)
        assert plain_node.down(ROUTED).stderr == ""
        plain_node.run("rm", f"{STATE_DIR}/locks/fill")
        same(without_notes(without_settings(nothing)), without_notes(without_settings(snapshot(plain_node))))
    finally:
        plain_node.run("umount", STATE_DIR)


def test_a_state_directory_that_cannot_be_written(plain_node: Machine) -> None:
    plain_node.up(ROUTED)
    before = snapshot(plain_node)
    plain_node.run("mount", "--bind", STATE_DIR, STATE_DIR)
    plain_node.run("mount", "-o", "remount,bind,ro", STATE_DIR)
    try:
        up, down = plain_node.up(changed(ROUTED, IP="198.51.100.11"), check=False), plain_node.down(ROUTED)
        first = plain_node.up(changed(FILTERED, INTERFACE="tap5"), check=False)
    finally:
        plain_node.run("umount", STATE_DIR)
    assert (up.returncode, down.returncode, first.returncode) == (1, 0, 1)
    for ran in (up, down, first):
        one_line(ran.stderr, STATE_DIR, "ead-only")
    same(before, snapshot(plain_node))
    assert not is_up(snapshot(plain_node), "tap5")


@pytest.mark.parametrize(
    "make",
    [
        "ln -s /nowhere/at/all $1",
        ": > $1",
        "ln -s $1 $1",
        "mkdir $1 && : > $1/locks",
        "mkdir -p $1/locks/tap0",
        "mkdir $1 && ln -s /nowhere $1/locks",
        "mkdir $1 && : > $1/shared",
        "mkdir $1 && ln -s /nowhere $1/shared",
    ],
)
def test_a_state_directory_that_is_none(plain_node: Machine, make: str) -> None:
    plain_node.run("sh", "-c", f"rm -rf $1; {make}", "sh", STATE_DIR)
    try:
        ran = plain_node.run("timeout", "20", *plain_command(ROUTED), check=False)
        state, down = snapshot(plain_node), plain_node.down(ROUTED)
    finally:
        plain_node.run("rm", "-rf", STATE_DIR)
    assert (ran.returncode, down.returncode) == (1, 0)
    one_line(ran.stderr, STATE_DIR)
    assert "Traceback" not in down.stderr and len(down.stderr.splitlines()) < 2
    assert not is_up(state, TAP)


def plain_command(env: Mapping[str, str], *before: object) -> list[str]:
    """The call without nsenter."""
    return [
        "env",
        "-i",
        *(f"{key}={value}" for key, value in env.items()),
        *map(str, before),
        str(SCRIPTS / UP),
    ]


def test_the_log_file_cannot_be_written(plain_node: Machine) -> None:
    for path in ("/nowhere/at/all.log", "/var/log/ganeti", "/dev/full", f"{STATE_DIR}/locks"):
        plain_node.write("/etc/default/snf-network", f"LOGFILE={path}\n")
        assert plain_node.up(ROUTED).stderr == ""
        assert plain_node.down(ROUTED).stderr == ""
    plain_node.run("rm", "/etc/default/snf-network")


def test_bindings_can_be_read_whatever_the_umask(plain_node: Machine) -> None:
    values = [f"{key}={value}" for key, value in ROUTED.items()]
    plain_node.run("rm", "-rf", STATE_DIR, "/var/lib/nfdhcpd")
    plain_node.run("env", "-i", *values, "sh", "-c", f"umask 0077; exec {SCRIPTS / UP}")
    paths = (
        "/var/lib/nfdhcpd",
        f"/var/lib/nfdhcpd/{TAP}",
        f"{STATE_DIR}/{TAP}",
        STATE_DIR,
        f"{STATE_DIR}/locks",
    )
    modes = plain_node.out("stat", "-c", "%a", *paths)
    assert modes.split() == ["755", "644", "644", "755", "700"]


@pytest.mark.parametrize(
    "redirection", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-", "> /dev/full", "2> /dev/full"]
)
def test_odd_file_descriptors(plain_node: Machine, redirection: str) -> None:
    """They are Ganeti's to give. A warning that nobody hears is no failure."""
    plain_node.write("/etc/default/snf-network", "NO_SUCH_SETTING=1\n")
    values = [f"{key}={value}" for key, value in ROUTED.items()]
    try:
        for script, up in ((UP, True), (UP, True), (DOWN, False)):
            ran = plain_node.run(
                "env", "-i", *values, "sh", "-c", f"exec {SCRIPTS / script} {redirection}", check=False
            )
            assert ran.returncode == 0, ran.stderr
            assert is_up(snapshot(plain_node), TAP) is up
        wrong = plain_node.run(
            "env", "-i", *values, "MAC=no", "sh", "-c", f"exec {SCRIPTS / UP} {redirection}", check=False
        )
        assert wrong.returncode == 1
        assert "Traceback" not in wrong.stderr
    finally:
        plain_node.run("rm", "/etc/default/snf-network")


def test_stderr_that_nobody_reads_any_more(plain_node: Machine) -> None:
    plain_node.write("/etc/default/snf-network", "NO_SUCH_SETTING=1\n")
    values = [f"{key}={value}" for key, value in ROUTED.items()]
    text = f"{{ {SCRIPTS / UP}; echo $? > /var/tmp/status; }} 2>&1 >/dev/null | :"
    plain_node.run("env", "-i", *values, "sh", "-c", f"{text}; sleep 0.5")
    plain_node.run("rm", "/etc/default/snf-network")
    assert plain_node.read("/var/tmp/status") == "0\n"
    assert is_up(snapshot(plain_node), TAP)


def test_an_empty_environment(plain_node: Machine) -> None:
    """No HOME, no PATH, no locale; and then a locale that there is not."""
    for extra in (
        {},
        {
            "LC_ALL": "xx_XX.ISO-8859-1",
            "LANG": "tlh",
            "HOME": "/nowhere",
            "PATH": "/nowhere",
            "PYTHONPATH": "/nowhere",
        },
    ):
        env = {
            name: value
            for name, value in ROUTED.items()
            if name not in ("HOME", "PATH", "PWD", "SHLVL", "LC_ALL", "LC_CTYPE")
        } | extra
        assert plain_node.up(env).stderr == ""
        assert plain_node.down(env).stderr == ""


def test_nothing_of_the_environment_is_run(plain_node: Machine) -> None:
    """Python and the loader read variables too: the script is started so that it heeds none."""
    plain_node.write("/var/tmp/evil/sitecustomize.py", "open('/var/tmp/pwned', 'w')\n")
    plain_node.write("/var/tmp/evil/posix.py", "open('/var/tmp/pwned', 'w')\n")
    for name in ("ip", "nft"):
        plain_node.write(f"/var/tmp/evil/{name}", "#!/bin/sh\ntouch /var/tmp/pwned\n")
        plain_node.run("chmod", "755", f"/var/tmp/evil/{name}")
    env = changed(
        ROUTED,
        PATH="/var/tmp/evil",
        PYTHONPATH="/var/tmp/evil",
        PYTHONSTARTUP="/var/tmp/evil/sitecustomize.py",
        PYTHONHOME="/var/tmp/evil",
        BASH_ENV="/var/tmp/evil/ip",
        ENV="/var/tmp/evil/ip",
        PYTHONINSPECT="1",
    )
    assert plain_node.up(env).stderr == ""
    assert plain_node.run("test", "-e", "/var/tmp/pwned", check=False).returncode == 1


# --- tools that are not there, or do not come back

TOOLS = {
    "a tool that hangs": ("#!/bin/sh\nexec sleep 30\n", 0o755),
    "that fails": ("#!/bin/sh\necho no\nexit 3\n", 0o755),
    "that says nothing": ("#!/bin/sh\nexit 1\n", 0o755),
    "that is text": ("not a program\n", 0o755),
    "that may not be run": ("#!/bin/sh\n", 0o644),
    "whose interpreter is missing": ("#!/no/such\n", 0o755),
}


@pytest.mark.parametrize("what", TOOLS)
@pytest.mark.parametrize("tool", ["nft", "ip"])
def test_a_tool_does_not_do_its_work(plain_node: Machine, tool: str, what: str) -> None:
    whole, nothing = ends(plain_node, ROUTED)
    text, mode = TOOLS[what]
    wipe(plain_node, TAP)  # the rules, too: else nobody needs nft
    with stand_in(plain_node, tool, text, mode):
        began = time.monotonic()
        ran = plain_node.up(ROUTED, check=False)
        took = time.monotonic() - began
    assert took < 5.5
    closed_or_recorded(plain_node, ran, whole, nothing)
    assert plain_node.up(ROUTED).stderr == ""
    same(whole, snapshot(plain_node))


def closed_or_recorded(
    node: Machine, ran: subprocess.CompletedProcess[str], whole: State, nothing: State
) -> None:
    """As `closed`; but where it cannot be known what a tool did, what is there is on record, and the link is
    down.
    """
    if ran.returncode == 1 and ("hung" in ran.stderr or "ip" in ran.stderr.split(":")[1]):
        one_line(ran.stderr, "kvm-ifup-custom: ")
        assert not is_up(snapshot(node), TAP)
        node.down(ROUTED)
        same(*(without_notes(without_settings(end)) for end in (nothing, snapshot(node))))
    else:
        closed(node, ROUTED, ran, whole, nothing)


@contextmanager
def without(node: Machine, tool: str) -> Iterator[None]:
    """The machine does not have the tool for a while."""
    for directory in ("sbin", "bin"):
        node.run(
            "sh",
            "-c",
            "mkdir -p /mnt/$1 /mnt/$1.work; mount -t overlay overlay -o "
            "lowerdir=/usr/$1,upperdir=/mnt/$1,workdir=/mnt/$1.work /usr/$1; rm -f /usr/$1/$2",
            "sh",
            directory,
            tool,
        )
    try:
        yield
    finally:
        node.run("umount", "-l", "/usr/sbin", "/usr/bin")
        node.run("rm", "-rf", "/mnt/sbin", "/mnt/bin", "/mnt/sbin.work", "/mnt/bin.work")


def test_nft_is_not_installed(plain_node: Machine) -> None:
    whole, nothing = ends(plain_node, ROUTED)
    with without(plain_node, "nft"):
        for script in (UP, UP, DOWN):  # the rules are there: nothing to do for nft
            assert plain_node.script(script, ROUTED).stderr == ""
    wipe(plain_node, TAP)
    with without(plain_node, "nft"):
        ran = plain_node.up(ROUTED, check=False)
    assert ran.returncode == 1
    one_line(ran.stderr, "nft is not installed", "apt install")
    closed_or_recorded(plain_node, ran, whole, nothing)


def test_a_hanging_tool_does_not_hold_up_a_down(plain_node: Machine) -> None:
    plain_node.up(ROUTED)
    whole = snapshot(plain_node)
    plain_node.run("nft", "flush", "ruleset")
    with stand_in(plain_node, "nft", "#!/bin/sh\nexec sleep 30\n"):
        began = time.monotonic()
        ran = plain_node.down(ROUTED)
        assert time.monotonic() - began < 5.5
    one_line(ran.stderr, "nft", "hung")
    assert openings(snapshot(plain_node), TAP, whole) == []
    assert plain_node.down(ROUTED).stderr == ""
    assert about(snapshot(plain_node), "element ", TAP) == []


DONE_THEN_HANGS = '#!/bin/sh\n/usr/sbin/{tool} "$@"\nexec sleep 30\n'


def test_a_tool_that_hangs_when_its_work_is_done(plain_node: Machine) -> None:
    """What it did is there, although it was killed: the next call must know of it, and so must the next
    down.
    """
    taps = [f"tap{number}" for number in range(10, 16)]
    olds = [
        changed(ROUTED, INTERFACE=tap, IP=f"198.51.100.1{tap[3:]}", MAC=f"aa:00:00:00:00:{tap[3:]}")
        for tap in taps
    ]
    news = [
        changed(env, IP=f"198.51.100.2{tap[3:]}", MAC=f"aa:00:00:00:01:{tap[3:]}")
        for tap, env in zip(taps, olds)
    ]
    for tap in taps:
        plain_node.ip(f"tuntap add dev {tap} mode tap")
    nothing = snapshot(plain_node)
    for env in olds[3:]:
        plain_node.up(env)
    plain_node.run("nft", "flush", "ruleset")
    with stand_in(plain_node, "nft", DONE_THEN_HANGS.format(tool="nft")):
        assert {status for status, _ in finish(*[start(plain_node, UP, env) for env in news])} == {1}
    for env in (
        olds[0],
        news[1],
        olds[3],
        news[4],
    ):  # and nothing at all for the third of the new and of the old ones
        plain_node.up(env)
    for env in olds:
        plain_node.down(env)
    same(*(without_notes(without_settings(end)) for end in (nothing, snapshot(plain_node))))
    for tap in taps:
        plain_node.ip(f"link del dev {tap}")


def test_a_profile_that_does_not_load(plain_node: Machine) -> None:
    """A live NIC that goes to another mode is not left dead for it."""
    plain_node.write("/etc/snf-network/profiles/broken.nft", "this is no rule\n")
    try:
        for before, env in ((None, ROUTED), (ROUTED, ROUTED), (ROUTED, FILTERED), (FILTERED, ROUTED)):
            wipe(plain_node, TAP, rules=True)
            if before:
                plain_node.up(before)
            state = snapshot(plain_node)
            ran = plain_node.up(changed(env, TAGS="synnefo:network:0:broken"), check=False)
            assert ran.returncode == 1
            one_line(ran.stderr, "profile")
            same(without_notes(state), without_notes(snapshot(plain_node)))
    finally:
        plain_node.run("rm", "-r", "/etc/snf-network")


def test_a_device_that_vanishes_on_the_way(plain_node: Machine) -> None:
    """QEMU dies while its NIC comes up: the tap goes between looking and doing."""
    plain_node.ip("tuntap add dev tap6 mode tap")
    nothing = snapshot(plain_node)
    plain_node.run("nft", "flush", "ruleset")
    with stand_in(
        plain_node, "nft", '#!/bin/sh\n/usr/sbin/ip link del tap6 2>/dev/null\nexec /usr/sbin/nft "$@"\n'
    ):
        ((status, said),) = finish(
            start(plain_node, UP, changed(ROUTED, INTERFACE="tap6", IP="198.51.100.66"))
        )
    assert status == 1
    one_line(said, "tap6")
    left = [
        line
        for line in difference(without_notes(nothing), without_notes(snapshot(plain_node)))
        if " link tap6 " not in line
    ]
    assert left == []
