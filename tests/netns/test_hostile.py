"""Values that are meant to do harm: in the environment, in files that are read, in the configuration. None of
it is ever executed.

Ganeti lets anybody who may name a NIC or a network write nearly anything there. The bash package executed
such values as root (facts of the old package).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pytest

from tests.netns.lab import SCRIPTS, Lab, Machine, environment
from tests.netns.state import State, about, is_up, one_line, same, snapshot, wipe, without_base

UP, DOWN = "kvm-ifup-custom", "kvm-ifdown-custom"
TAP = "tap0"
PWNED = "/var/tmp/pwned"
ROUTED = environment("add-routed-ifup-1")
FILTERED = environment("add-bridged-ifup-1", INTERFACE=TAP)
STATE_DIR, BINDINGS, CONFIG = "/var/lib/snf-network", "/var/lib/nfdhcpd", "/etc/default/snf-network"
VALUES = {
    "command": f"$(touch {PWNED})",
    "backquotes": f"`touch {PWNED}`",
    "semicolon": f"x;touch {PWNED};",
    "pipe": f"x|touch {PWNED}",
    "ampersand": f"x&touch {PWNED}&",
    "ends a quote": f'";touch {PWNED};"',
    "ends single quotes": f"';touch {PWNED};'",
    "newline": f"x\ntouch {PWNED}\n",
    "a line of a binding": "x\nMAC=aa:aa:aa:aa:aa:aa",
    "return": "x\rIP=1.2.3.4",
    "tab": "x\ty",
    "star": "*",
    "question": "?",
    "brackets": "[a-z]*",
    "spaces": "  ",
    "words": "a b c",
    "brace": "${IFS}",
    "backslash": "\\",
    "percent": "%s%n",
    "ends a set": "x } ; flush ruleset ; #",
    "nft comment": "# x",
    "include": 'include "/etc/shadow"',
    "escape": "\x1b[31m",
    "bell": "\x07",
    "path": "../../../etc/passwd",
    "slash": "/",
    "dots": "..",
    "option": "--help",
    "dash": "-",
    "long": "x" * 300,
    "very long": "7" * 70000,
    "not UTF-8": "\udcff\udcfe",
    "half UTF-8": "\udcc3",
    "other digits": "\u0661\u0662",
    "right to left": "\u202ex",
    "line separator": "x\u2028y",
    "next line": "x\x85y",
    "unit separator": "x\x1fy",
}
CHECKED = (
    "INSTANCE",
    "INTERFACE",
    "INTERFACE_INDEX",
    "INTERFACE_UUID",
    "MAC",
    "IP",
    "MODE",
    "LINK",
    "VLAN",
    "NETWORK_UUID",
    "NETWORK_SUBNET",
    "NETWORK_GATEWAY",
    "NETWORK_SUBNET6",
    "NETWORK_GATEWAY6",
    "NETWORK_MAC_PREFIX",
    "ACTION",
)
FREE = ("INTERFACE_NAME", "NETWORK_NAME", "TAGS", "NETWORK_TAGS")
"""Ganeti allows nearly everything in these: what is harmless is taken and has no effect, what is not is
refused.
"""
OTHERS = (
    "BRIDGE",
    "HOME",
    "PWD",
    "HOSTNAME",
    "IFS",
    "LC_ALL",
    "TZ",
    "SHLVL",
    "vif",
    "XENBUS_PATH",
    "TABLE",
    "UPLINK",
    "EUI64",
)


@pytest.fixture(scope="module")
def hostile_node() -> Iterator[Machine]:
    lab = Lab()
    try:
        node = lab.node("hostile", lab.router("hostile-router"))
        node.ip(f"tuntap add dev {TAP} mode tap", "tuntap add dev tap1 mode tap")
        yield node
    finally:
        lab.close()


@pytest.fixture(autouse=True)
def nothing_there(hostile_node: Machine) -> Iterator[None]:
    wipe(hostile_node, TAP, "tap1")
    yield
    assert hostile_node.run("test", "-e", PWNED, check=False).returncode == 1, "a value was run as a command"


def untold(state: State) -> State:
    """Without what a record and a binding merely quote, and without the note of a refusal."""
    quoted = (":variable\t", ":lacking\t", ":nic\t", ":TAGS=", ":NETWORK=", ":Binding\t", ":Alias\t")
    return frozenset(line for line in without_base(state) if not any(mark in line for mark in quoted))


def one_line_of(said: str, *words: str) -> None:
    """One line, whatever counts as the end of a line, and nothing in it that a terminal would obey."""
    one_line(said, *words)
    assert said.endswith("\n") and said[:-1].isprintable() and said.isascii() and len(said) < 500, repr(said)


FEW = ("command", "newline", "ends a set", "star", "long", "not UTF-8", "path")
CASES = [(ROUTED, name, VALUES) for name in (*CHECKED, *FREE)] + [(ROUTED, name, FEW) for name in OTHERS]
CASES += [(FILTERED, name, FEW) for name in ("MAC", "LINK", "IP", "VLAN", "NETWORK_MAC_PREFIX", *FREE)]


def with_value(base: Mapping[str, str], name: str, value: str) -> dict[str, str]:
    """One of several tags, or all of another variable."""
    return {**base, name: f"{base[name]} {value}" if name in ("TAGS", "NETWORK_TAGS") else value}


@pytest.mark.parametrize(
    ("base", "name", "values"), [pytest.param(*case, id=f"{case[0]['MODE']}-{case[1]}") for case in CASES]
)
def test_ifup(hostile_node: Machine, name: str, base: Mapping[str, str], values: Iterable[str]) -> None:
    """On a live NIC: refused in one line with everything as it was, or taken without any effect."""
    hostile_node.up(base)
    before = snapshot(hostile_node)
    for what in values:
        ran = hostile_node.up(with_value(base, name, VALUES[what]), check=False)
        assert ran.returncode == 0 or (ran.returncode == 1 and name not in OTHERS), (what, ran.stderr)
        if ran.returncode:
            one_line_of(ran.stderr, f"{UP}: {name}")
        else:
            assert name not in CHECKED and ran.stderr == "", (what, ran.stderr)
        assert ran.stdout == ""
    same(untold(before), untold(snapshot(hostile_node)))
    assert hostile_node.up(base).stderr == ""
    same(before, snapshot(hostile_node))


@pytest.mark.parametrize("name", [*CHECKED, *FREE])
def test_ifup_of_a_new_nic(hostile_node: Machine, name: str) -> None:
    """Refused, it is not there at all; and a down takes back what was taken."""
    nothing = snapshot(hostile_node)
    for what in FEW:
        ran = hostile_node.up(with_value(ROUTED, name, VALUES[what]), check=False)
        assert is_up(snapshot(hostile_node), TAP) is (ran.returncode == 0)
        hostile_node.down({"INTERFACE": TAP})
    left = [line for line in untold(snapshot(hostile_node)) - untold(nothing) if not line.startswith("link ")]
    assert [line for line in left if not line.endswith((STATE_DIR, f"{STATE_DIR}/{TAP}"))] == []


def test_an_empty_value_is_an_absent_one(hostile_node: Machine) -> None:
    """Ganeti gives `VLAN=` and `TAGS=`."""
    for name in (*CHECKED, *FREE):
        absent = hostile_node.up({key: value for key, value in ROUTED.items() if key != name}, check=False)
        state = snapshot(hostile_node)
        empty = hostile_node.up({**ROUTED, name: ""}, check=False)
        assert (absent.returncode, absent.stderr) == (empty.returncode, empty.stderr), name
        same(state, snapshot(hostile_node), name)


@pytest.mark.parametrize("name", ["INTERFACE", "INSTANCE", "INTERFACE_UUID", "ACTION"])
def test_ifdown(hostile_node: Machine, name: str) -> None:
    """It is not the NIC that is there: nothing is taken back."""
    hostile_node.up(ROUTED)
    before = snapshot(hostile_node)
    for what, value in VALUES.items():
        ran = hostile_node.script(DOWN, {**ROUTED, name: value}, check=False)
        assert (ran.returncode, ran.stdout) == (1 if name == "ACTION" else 0, ""), (what, ran.stderr)
        if ran.stderr:
            one_line_of(ran.stderr, f"{DOWN}: {name}")
        assert ran.stderr or name not in ("INTERFACE", "ACTION")
    same(before, snapshot(hostile_node))
    log = hostile_node.read("/var/log/ganeti/snf-network.log")
    assert all(line.isprintable() and line[:2] == "20" for line in log.split("\n")[:-1]), (
        "a value made a line of its own in the log"
    )


@pytest.mark.parametrize(
    "name", ["MAC", "IP", "LINK", "MODE", "TAGS", "NETWORK_TAGS", "NETWORK_SUBNET6", "VLAN"]
)
def test_ifdown_needs_only_the_name(hostile_node: Machine, name: str) -> None:
    """Other variables are not read: what the record says is taken back."""
    for what in ("command", "newline", "long", "not UTF-8"):
        hostile_node.up(ROUTED)
        ran = hostile_node.script(DOWN, {**ROUTED, name: VALUES[what]})
        assert (ran.stdout, ran.stderr) == ("", "")
        assert about(snapshot(hostile_node), "element ", TAP) == []


@pytest.mark.parametrize("script", [UP, DOWN])
def test_the_argument(hostile_node: Machine, script: str) -> None:
    hostile_node.up(ROUTED)
    before = snapshot(hostile_node)
    env = {key: value for key, value in ROUTED.items() if key != "INTERFACE"}
    for value in VALUES.values():
        ran = hostile_node.script(script, env, value, check=False)
        assert ran.returncode == (1 if script == UP else 0)
        one_line_of(ran.stderr, f"{script}: INTERFACE")
    same(before, snapshot(hostile_node))


def test_a_hostile_name_gives_no_profile_of_another_nic(hostile_node: Machine) -> None:
    """A NIC named `*` or `0:x` is not the NIC that a tag means; a bare profile is no tag."""

    def profile() -> list[str]:
        return about(snapshot(hostile_node), "element inet egress", TAP)

    tags = (
        "synnefo:network:7:unprotected unprotected synnefo:network:*:unprotected synnefo:network::unprotected"
    )
    for name in ("", "?", ".*", "[0-9]", "7:x", " 7"):
        hostile_node.up({**ROUTED, "INTERFACE_NAME": name, "TAGS": tags})
        assert profile() == [], name
    hostile_node.up({**ROUTED, "INTERFACE_NAME": "*", "TAGS": tags})
    assert len(profile()) == 1, "a tag that names the NIC by its name, letter by letter"


def test_the_binding_holds_no_more_than_it_should(hostile_node: Machine) -> None:
    """nfdhcpd reads KEY=VALUE lines, and others have sourced them: no value may end its line or its
    quotes.
    """
    hostile_node.up(ROUTED)
    keys = [line.partition("=")[0] for line in hostile_node.read(f"{BINDINGS}/{TAP}").splitlines()]
    for value in VALUES.values():
        if (
            hostile_node.up(
                {**ROUTED, "NETWORK_TAGS": f"nfdhcpd ip-less-routed {value}"}, check=False
            ).returncode
            == 0
        ):
            text = hostile_node.read(f"{BINDINGS}/{TAP}")
            assert [line.partition("=")[0] for line in text.split("\n")[:-1]] == keys
            assert not set(text) & set("$`;|&<>\\'\r\t\x1b") and text.count('"') == 2, text


MOST_TAGS = 3500
"""Ganeti takes 4096 for one object (constants.MAX_TAGS_PER_OBJ), and execve 128 KiB for one variable."""
MANY = {"NETWORK_TAGS": ("ip-less-routed", "nobody-s-{}"), "TAGS": ("", "snf-network:0:allow:10.{}")}


@pytest.mark.parametrize("name", MANY)
def test_as_many_tags_as_ganeti_takes(hostile_node: Machine, name: str) -> None:
    """As fast as that is, it must not reach the deadline, which ends a call without a word."""
    first, form = MANY[name]
    values = (
        f"{number // 256}.{number % 256}.0/28" if name == "TAGS" else str(number)
        for number in range(MOST_TAGS)
    )
    tags = " ".join((first, *(form.format(value) for value in values)))
    ran = hostile_node.up({**ROUTED, "INTERFACE_INDEX": "0", name: tags}, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


# --- Xen


def xen(node: Machine, file: str, *arguments: str, name: str = "inst1", **env: str) -> tuple[int, str, str]:
    """vif-custom online with stand-ins for xl and xenstore-write: status, stderr and what xenstore was
    told.
    """
    for tool, text in (
        ("xl", "#!/bin/sh\ncat /var/tmp/domname\n"),
        ("xenstore-write", "#!/bin/sh\nprintf '%s\\n' \"$@\" >> /var/tmp/xenstore\n"),
    ):
        node.write(f"/usr/local/sbin/{tool}", text)
        node.run("chmod", "755", f"/usr/local/sbin/{tool}")
    node.write("/var/tmp/domname", f"{name}\n")
    node.run("rm", "-f", "/var/tmp/xenstore")
    node.write("/var/run-nic/inst1/0", file)
    env = {"vif": "vif1.0", "XENBUS_PATH": "backend/vif/1/0", **env}
    ran = node.script("vif-custom", env, *(arguments or ("online", "type_if=vif")), check=False)
    return ran.returncode, ran.stderr, node.read("/var/tmp/xenstore")


@pytest.fixture
def xen_node(hostile_node: Machine) -> Iterator[Machine]:
    hostile_node.run("mount", "-t", "tmpfs", "tmpfs", "/usr/local/sbin")
    hostile_node.write(CONFIG, "GANETI_NIC_DIR=/var/run-nic\n")
    hostile_node.ip("tuntap add dev vif1.0 mode tap")
    try:
        yield hostile_node
    finally:
        hostile_node.ip("link del dev vif1.0")
        hostile_node.run("rm", "-r", CONFIG, "/var/run-nic")
        hostile_node.run("umount", "/usr/local/sbin")


NIC_FILE = {
    "MAC": ROUTED["MAC"],
    "IP": ROUTED["IP"],
    "INTERFACE_INDEX": "0",
    "INTERFACE_NAME": "x",
    "MODE": "routed",
    "LINK": "snf_public",
    "NETWORK_NAME": "pub1",
    "NETWORK_SUBNET": "198.51.100.0/24",
    "NETWORK_GATEWAY": "198.51.100.1",
    "NETWORK_TAGS": "ip-less-routed",
}


def nic_file(**changes: str) -> str:
    return "".join(f"{key}={value}\n" for key, value in {**NIC_FILE, **changes}.items())


@pytest.mark.parametrize("name", NIC_FILE)
def test_a_nic_file_of_ganeti(xen_node: Machine, name: str) -> None:
    assert xen(xen_node, nic_file())[0::2] == (0, "backend/vif/1/0/hotplug-status\nconnected\n")
    before = snapshot(xen_node)
    for what in (*FEW, "a line of a binding", "ends a quote", "return"):
        status, said, told = xen(xen_node, nic_file(**{name: VALUES[what]}))
        assert status in (0, 1)
        if status:
            one_line_of(said, "vif-custom: ")
            assert told.endswith("/hotplug-status\nerror\n"), (what, told)
        else:
            assert said == "" and told.endswith("/hotplug-status\nconnected\n"), (what, said)
            assert name in (*FREE, "INTERFACE_INDEX") or what in ("a line of a binding", "newline"), what
    assert about(snapshot(xen_node), "route ") == about(before, "route ")


def test_a_hostile_domain_name_or_vif(xen_node: Machine) -> None:
    for value, name in (
        (value, name) for value in VALUES.values() for name in ("name", "vif") if len(value) < 60000
    ):
        status, said, told = xen(xen_node, nic_file(), **{name: value})
        assert status == 1, value
        one_line_of(said, "vif-custom: ")
        assert told.endswith("/hotplug-status\nerror\n")
    for argument in VALUES.values():
        status, said, _ = xen(xen_node, nic_file(), argument, "type_if=vif")
        assert status == 1
        one_line_of(said, "vif-custom: ")
    assert not is_up(snapshot(xen_node), "vif1.0")


# --- files that we read

OLD_STATE = f"""INDEV=tap0
IP=198.51.100.10
TAGS="$(touch {PWNED})"
`touch {PWNED}`
"""
NOT_RECORDS = {
    "the old package's": OLD_STATE,
    "empty": "",
    "one newline": "\n",
    "tabs": "\t\t\t\n",
    "other digits": "nic\ttap0\t\u00b2\tboot\ti\tu\n",
    "a huge number": f"nic\ttap0\t{'9' * 5000}\tboot\ti\tu\n",
    "a negative number": "nic\ttap0\t-1\tboot\ti\tu\n",
    "lacking nothing": "nic\ttap0\t3\tboot\ti\tu\nlacking\n",
    "a variable too short": "nic\ttap0\t3\tboot\ti\tu\nvariable\tMAC\n",
    "a variable too long": "nic\ttap0\t3\tboot\ti\tu\nvariable\tMAC\ta\tb\n",
    "a kind too short": "nic\ttap0\t3\tboot\ti\tu\nElement\tinet\n",
    "a kind too long": "nic\ttap0\t3\tboot\ti\tu\nLink\ta\tb\tc\td\te\n",
    "no kind": "nic\ttap0\t3\tboot\ti\tu\nNothing\ta\n",
    "a class of python": "nic\ttap0\t3\tboot\ti\tu\nResource\n__class__\tx\n",
    "cut off": "nic\ttap0\t3\tboot\ti\tu\nElement\tinet\trou",
    "backslashes": "nic\ttap0\t3\tboot\ti\tu\nvariable\t\\\\\\\t\\x\n",
    "another interface's": "nic\ttap7\t3\tboot\ti\tu\nLink\ttap7\t\t\n",
    "junk": "".join(map(chr, range(1, 128))) * 50,
    "not UTF-8": "nic\ttap0\t3\t\udcff\ti\tu\n\udcff\udcfe\n",
    "a long line": "x" * 1_000_000,
}


@pytest.mark.parametrize("what", NOT_RECORDS)
def test_a_file_that_is_no_record(hostile_node: Machine, what: str) -> None:
    """It is overwritten, or is nobody's; a NIC comes up over it and goes as if it had not been there."""
    hostile_node.up(ROUTED)
    whole = snapshot(hostile_node)
    wipe(hostile_node, TAP)
    write(hostile_node, f"{STATE_DIR}/{TAP}", NOT_RECORDS[what])
    down = hostile_node.down(ROUTED)
    assert "Traceback" not in down.stderr and len(down.stderr.splitlines()) < 2
    write(hostile_node, f"{STATE_DIR}/{TAP}", NOT_RECORDS[what])
    write(hostile_node, f"{STATE_DIR}/tap1", NOT_RECORDS[what])
    write(hostile_node, f"{BINDINGS}/{TAP}", OLD_STATE)
    ran = hostile_node.up(ROUTED, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    hostile_node.run("rm", "-f", f"{STATE_DIR}/tap1")
    same(whole, snapshot(hostile_node))
    listed = hostile_node.script("snf-network", {"PATH": "/usr/sbin:/usr/bin"}, "status", check=False)
    assert "Traceback" not in listed.stderr


ODD_LINES = [
    "Neighbour\tx\tzz\ttap0",
    "NeighProxy\tx\teth9",
    'Element\tinet\ta_set_of_yore\t"tap0"\t',
    'Element\tinet\ta_map_of_yore\t"tap0"\t7',
    "Rule\tx\ty\tz",
    "Sysctl\t../x\t1",
    "Binding\tx\ty",
    "Port\ttap0\tprv9",
]


@pytest.mark.parametrize("line", ODD_LINES)
def test_a_record_with_something_that_cannot_be_undone(hostile_node: Machine, line: str) -> None:
    """An earlier version had other sets; a disk had a bad day. The name of the tap is not lost for it."""
    hostile_node.up(ROUTED)
    whole = snapshot(hostile_node)
    written = hostile_node.read(f"{STATE_DIR}/{TAP}")
    wipe(hostile_node, TAP)
    write(hostile_node, f"{STATE_DIR}/{TAP}", f"{written.removesuffix(END)}{line}\n{END}")
    hostile_node.up(ROUTED)
    same(whole, snapshot(hostile_node))
    write(hostile_node, f"{STATE_DIR}/{TAP}", f"{written.removesuffix(END)}{line}\n{END}")
    assert hostile_node.down(ROUTED).stderr == ""
    assert about(snapshot(hostile_node), TAP) == about(snapshot(hostile_node), f"link {TAP} ")


END = "end\n"


def write(node: Machine, path: str, text: str) -> None:
    """`text` may have bytes that are not UTF-8."""
    node.run("mkdir", "-p", path.rpartition("/")[0])
    node.run(
        "/usr/bin/python3",
        "-c",
        "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read().decode('unicode_escape').encode("
        "'utf-8', 'surrogateescape'))",
        path,
        input=text.encode("unicode_escape").decode(),
    )


PLACES = [f"{STATE_DIR}/{TAP}", f"{STATE_DIR}/.{TAP}.new", f"{BINDINGS}/{TAP}", f"{BINDINGS}/.{TAP}.new"]
TRAPS = {
    "directory": "mkdir $1",
    "a full directory": "mkdir $1 && : > $1/x",
    "symlink": "ln -s /var/tmp/precious $1",
    "dangling": "ln -s /nowhere/x $1",
    "loop": "ln -s $1 $1",
    "pipe": "mkfifo $1",
    "socket": "/usr/bin/python3 -c 'import socket, sys; socket.socket(1).bind(sys.argv[1])' $1",
    "device": "mknod $1 c 1 3",
    "hard link": "ln /var/tmp/precious $1",
    "read-only": ": > $1; chmod 000 $1",
}


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("trap", TRAPS)
def test_something_else_lies_where_we_write(hostile_node: Machine, trap: str, path: str) -> None:
    """Nothing is written through it, nobody waits for it: done, or refused in one line with the tap down."""
    hostile_node.write("/var/tmp/precious", "precious")
    hostile_node.run("chmod", "600", "/var/tmp/precious")
    hostile_node.run("sh", "-c", f'mkdir -p "$(dirname $1)"; {TRAPS[trap]}', "sh", path)
    try:
        call = ["timeout", "8", "env", "-i", *(f"{key}={value}" for key, value in ROUTED.items())]
        ran = hostile_node.run(*call, SCRIPTS / UP, check=False)
        assert ran.returncode in (0, 1), (
            "it waits for somebody to read" if ran.returncode == 124 else ran.stderr
        )
        if ran.returncode:
            one_line_of(ran.stderr, path.rpartition("/")[0])
        assert is_up(snapshot(hostile_node), TAP) is (ran.returncode == 0)
        down = hostile_node.run(*call, SCRIPTS / DOWN, check=False)
        assert down.returncode == 0 and len(down.stderr.splitlines()) < 2, (
            "it waits" if down.returncode == 124 else down.stderr
        )
        assert hostile_node.out("stat", "-c", "%a", "/var/tmp/precious") == "600\n"
        assert hostile_node.read("/var/tmp/precious") == "precious"
        assert about(snapshot(hostile_node), "element ", TAP) == []
    finally:
        hostile_node.run("rm", "-rf", path)


# --- the configuration

NOT_SETTINGS = [
    f"STATE_DIR=$(touch {PWNED})",
    f"STATE_DIR=`touch {PWNED}`",
    f'STATE_DIR="$(touch {PWNED})"',
    f'STATE_DIR="`touch {PWNED}`"',
    f"LOGFILE=/x;touch {PWNED}",
    f"LOGFILE=/x; touch {PWNED}",
    f"touch {PWNED}",
    f". {PWNED}",
    "STATE_DIR=${HOME:-/x}",
    "STATE_DIR=/x y",
    'STATE_DIR="/x',
    "STATE_DIR='/x",
    "STATE_DIR=relative",
    "STATE_DIR=/x/../y",
    "STATE_DIR=",
    "MAC_MASK=ff:ff",
    "MAC_MASK=zz:ff:f0:0:0:0",
    "TAP_CONSTANT_MAC=01:00:00:00:00:00",
    "MASQ=maybe",
    "DEBUG=2",
    "TTL=soon",
    f"TTL={'9' * 5000}",
    "NFDHCPD_TAG=",
    "NFDHCPD_TAG='a b'",
    "1KEY=x",
    "KEY",
    "=x",
    "KEY =x",
    "if true; then",
    "STATE_DIR=/x &",
    "STATE_DIR=<(id)",
    "STATE_DIR=/x\\",
    "STATE_DIR=~/x",
    "STATE_DIR=/x*",
    "STATE_DIR=/x\tY=1",
    "STATE_DIR=/\udcff",
    "STATE_DIR='/x\x1b[31m'",
    "STATE_DIR=$",
    "STATE_DIR=${",
    "STATE_DIR=${}",
    "STATE_DIR=$((1+1))",
]


@pytest.mark.parametrize("line", NOT_SETTINGS)
def test_a_line_that_is_no_setting(hostile_node: Machine, line: str) -> None:
    """The line number tells where; the NIC that is there stays as it is."""
    hostile_node.up(ROUTED)
    before = snapshot(hostile_node)
    write(hostile_node, CONFIG, f"# comment\n\nMASQ=no # yes\n{line}\n")
    try:
        up, down = hostile_node.up(ROUTED, check=False), hostile_node.down(ROUTED)
    finally:
        hostile_node.run("rm", CONFIG)
    assert (up.returncode, down.returncode) == (1, 0)
    for ran in (up, down):
        one_line_of(ran.stderr, f"{CONFIG}:4: ")
    same(before, snapshot(hostile_node))


def test_an_unknown_setting_is_a_warning(hostile_node: Machine) -> None:
    hostile_node.write(CONFIG, "DEBUG=no\nNO_SUCH_SETTING=$DEBUG\n")
    try:
        ran = hostile_node.up(ROUTED)
    finally:
        hostile_node.run("rm", CONFIG)
    one_line_of(ran.stderr, f"warning: {CONFIG}:2: unknown setting NO_SUCH_SETTING")
    assert is_up(snapshot(hostile_node), TAP)


@pytest.mark.parametrize("make", ["mkdir $1", "ln -s $1 $1", "ln -s /nowhere $1"])
def test_a_configuration_that_is_no_file(hostile_node: Machine, make: str) -> None:
    hostile_node.run("sh", "-c", make, "sh", CONFIG)
    try:
        ran = hostile_node.up(ROUTED, check=False)
    finally:
        hostile_node.run("rm", "-r", CONFIG)
    assert ran.returncode == 1 or make == "ln -s /nowhere $1"
    if ran.returncode:
        one_line_of(ran.stderr, CONFIG)
