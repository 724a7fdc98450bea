"""`snf-network` by hand: into a pipe without a reader, without root, on things that are not ours, and after
records were lost.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.netns.lab import SCRIPTS, Lab, Machine, environment, traces
from tests.netns.state import is_up, one_line, pins, same, snapshot, stand_in, waiting, wipe, without_settings

COMMAND = SCRIPTS / "snf-network"
STATE_DIR = "/var/lib/snf-network"
BINDINGS = "/var/lib/nfdhcpd"
SETTINGS = "/etc/default/snf-network"
ROUTED = environment("add-routed-ifup-1")
OTHER = {
    **ROUTED,
    "INTERFACE": "tap1",
    "INSTANCE": "other.example.com",
    "INTERFACE_UUID": "u1",
    "IP": "198.51.100.11",
    "MAC": "aa:00:00:00:00:11",
}
BRIDGED = {**OTHER, "MODE": "bridged", "LINK": "prv0", "NETWORK_TAGS": "ip-filtered private-filtered"}


@pytest.fixture(scope="module")
def lab_node() -> Iterator[Machine]:
    lab = Lab()
    try:
        yield lab.node("node1", lab.router())
    finally:
        lab.close()


@pytest.fixture
def node(lab_node: Machine) -> Iterator[Machine]:
    taps = ("tap0", "tap1")
    lab_node.ip(*(f"tuntap add {tap} mode tap" for tap in taps))
    yield lab_node
    for tap in taps:
        lab_node.run("ip", "link", "del", tap, check=False)
    wipe(lab_node)


def ordered(node: Machine, *arguments: str) -> tuple[int, str]:
    """Exit status of a command, and all it said."""
    ran = node.run(COMMAND, *arguments, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_a_slip_of_the_pen_is_told(node: Machine) -> None:
    node.up(ROUTED)
    for words in (("status", "tpa0"), ("drops", "tap0", "tpa0"), ("explain", "tpa0", "00")):
        assert ordered(node, *words) == (
            1,
            "snf-network: tpa0 has no record (snf-network status lists those that have)\n",
        )
    assert ordered(node, "drops", "tap0")[0] == 0


def test_states_have_colours_on_a_terminal_alone(node: Machine) -> None:
    node.up(ROUTED)
    for words, coloured in (("status", "\x1b[32mup\x1b[0m "), ("check", "\x1b[32mclean\x1b[0m")):
        argv = ("script", "-qec", f"{COMMAND} {words}", "/dev/null")
        assert coloured in node.run(*argv, env={"TERM": "xterm"}).stdout
        assert "\x1b" not in node.run(*argv, env={"TERM": "xterm", "NO_COLOR": "1"}).stdout
        assert "\x1b" not in ordered(node, words)[1]


def test_tap2_is_before_tap10(node: Machine) -> None:
    node.ip("tuntap add tap10 mode tap", "tuntap add tap2 mode tap")
    for number in (10, 2):
        node.up(
            {
                **OTHER,
                "INTERFACE": f"tap{number}",
                "INTERFACE_UUID": f"u{number}",
                "IP": f"198.51.100.{number}",
                "MAC": f"aa:00:00:00:00:{number:02}",
            }
        )
    shown = [line.split()[0] for line in node.out(COMMAND, "status").splitlines()]
    node.ip("link del tap10", "link del tap2")
    assert shown == ["INTERFACE", "tap2", "tap10"]


# --- who reads it, and who asks


@pytest.mark.parametrize("words", ["status", "check", "status --json", "plan --record tap0", "--help"])
def test_a_reader_who_goes_away_hears_no_traceback(node: Machine, words: str) -> None:
    node.up(ROUTED)
    for redirection in ("| true", "| head -c 1 >/dev/null"):
        ran = node.run("bash", "-o", "pipefail", "-c", f"{COMMAND} {words} {redirection}", check=False)
        assert ran.stderr == "" and ran.returncode in (0, 1)


@pytest.mark.parametrize("words", ["status", "check", "plan --record tap0"])
def test_a_full_disk_behind_stdout_is_one_line(node: Machine, words: str) -> None:
    node.up(ROUTED)
    ran = node.run("sh", "-c", f"exec {COMMAND} {words} > /dev/full", check=False)
    assert ran.returncode == 1
    one_line(ran.stderr, "snf-network: ", "No space left")


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_not_taken_for_tools_pipes(node: Machine, redirection: str) -> None:
    node.up(ROUTED)
    for words in ("status", "check", "repair", "gc"):
        assert node.run("sh", "-c", f"exec {COMMAND} {words} {redirection}", check=False).returncode == 0, (
            words
        )


def public(node: Machine) -> str:
    """The command, where others may run it."""
    return f"{node.public()}/snf-network"


@pytest.mark.parametrize("words", ["check", "repair", "repair --pending", "gc", "remove tap0", "load"])
def test_who_is_not_root_is_told_so_and_changes_nothing(node: Machine, words: str) -> None:
    """nft shows nothing to others: without the word, `check` would say that all is gone."""
    node.up(ROUTED)
    before = snapshot(node)
    ran = node.run("setpriv", "--reuid=65534", "--clear-groups", public(node), *words.split(), check=False)
    assert ran.returncode == 1
    one_line(ran.stderr, "root")
    same(before, snapshot(node))


def test_status_is_for_everybody(node: Machine) -> None:
    node.up(ROUTED)
    assert "inst1.example.com" in node.out(
        "setpriv", "--reuid=65534", "--clear-groups", public(node), "status"
    )


def test_what_a_tag_holds_does_not_reach_the_terminal(node: Machine) -> None:
    node.up({**ROUTED, "NETWORK_TAGS": "ip-less-routed \x1b[31mred \udcff"})
    said = node.run("env", "LC_ALL=C.UTF-8", COMMAND, "status", "--wide").stdout
    assert "\x1b" not in said and "\udcff" not in said and "\\x1b[31mred" in said
    assert json.loads(node.out(COMMAND, "status", "--json"))[0]["interface"] == "tap0"


def test_an_interrupted_repair_is_one_line_and_the_next_one_goes_on(node: Machine) -> None:
    node.up(ROUTED)
    whole = snapshot(node)
    node.run("nft", "flush", "ruleset")
    with waiting(node, "nft") as (held, go):
        call = subprocess.Popen(node.command(COMMAND, "repair"), stderr=subprocess.PIPE, text=True)
        held()
        call.send_signal(signal.SIGINT)
        go()
        said = call.communicate(timeout=20)[1]
    assert call.returncode == 130
    one_line(said, "interrupted")
    assert ordered(node, "repair")[0] == 0
    same(whole, snapshot(node))


# --- what is not ours


@pytest.mark.parametrize(
    "member",
    [
        'routed { "tap9" comment "mine" }',
        'nets4 { "tap9" . aa:00:00:00:00:01 . 10.0.0.1-10.0.0.7 }',
        'tables { "tap9" comment "mine" : 7 }',
        'nets6 { "tap9" . aa:00:00:00:00:01 . 2001:db8::/48 }',
    ],
)
def test_a_member_in_a_form_of_its_own_is_an_orphan_like_another(node: Machine, member: str) -> None:
    node.up(ROUTED)
    before = snapshot(node)
    node.run("nft", f"add element inet snf_network {member}")
    status, said = ordered(node, "check")
    assert status == 1 and "orphan" in said and '"tap9"' in said
    assert ordered(node, "gc")[0] == 0
    same(before, snapshot(node))


def test_somebody_else_with_our_protocol_number_does_not_stop_gc(node: Machine) -> None:
    """A default route goes like any other; a rule of another preference, or without a mark, is none of
    ours.
    """
    node.up(OTHER)
    before = snapshot(node)
    node.ip(
        "-6 route add default dev eth1 table 77 proto 148", "route add default dev eth1 table 77 proto 148"
    )
    node.up(ROUTED)
    node.ip("link del tap0")
    node.ip(
        "rule add pref 14700 fwmark 9 lookup 222 proto 148",
        "rule add pref 14801 from 10.0.0.0/8 lookup 222 proto 148",
    )
    assert ordered(node, "gc")[0] == 0
    assert ordered(node, "check") == (0, "clean\n")
    after = frozenset(
        line
        for line in snapshot(node)
        if not line.startswith(("rule -4 14700 ", "rule -4 14801 fwmark None"))
    )
    same(frozenset(line for line in before if not line.startswith("link tap0 ")), after)


def test_check_tells_of_a_setting_that_is_not_known(node: Machine) -> None:
    node.write("/etc/default/snf-network", "MAC_MAKS=ff:ff:00:00:00:00\n")
    ran = node.script("snf-network", {}, "check")
    assert (ran.stdout, ran.stderr) == (
        "clean\n",
        "snf-network: warning: /etc/default/snf-network:1: unknown setting MAC_MAKS, ignored\n",
    )
    assert node.script("snf-network", {}, "check", "--quiet").stderr == ""
    node.run("rm", "/etc/default/snf-network")


def test_check_and_status_tell_of_tags_that_nobody_knows(node: Machine) -> None:
    node.up({**BRIDGED, "NETWORK_TAGS": f"{BRIDGED['NETWORK_TAGS']} gold"})
    words = "tap1: unknown tags, which do nothing: 'gold'"
    ran = node.script("snf-network", {}, "check")
    assert (ran.stdout, ran.stderr) == ("clean\n", f"snf-network: warning: {words}\n")
    assert words in ordered(node, "status", "--wide")[1] and words not in ordered(node, "status")[1]
    assert json.loads(ordered(node, "status", "--json")[1])[0]["unknown_tags"] == ["gold"]
    refused = node.up({**BRIDGED, "NETWORK_TAGS": "private-filtred"}, check=False)
    assert refused.returncode == 1 and "did you mean private-filtered?" in refused.stderr
    node.down(BRIDGED)


AHEAD = {
    "a chain that drops": (
        ROUTED,
        'nft "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"',
        "nft delete table ip filter",
        "chain ip filter FORWARD has policy drop",
    ),
    "a chain of the bridge that drops": (
        BRIDGED,
        'nft "add table bridge b; add chain bridge b f { type filter hook forward priority 9; policy drop; }"',
        "nft delete table bridge b",
        "chain bridge b f has policy drop",
    ),
    "iptables-legacy": (
        ROUTED,
        "iptables-legacy -P FORWARD DROP",
        "iptables-legacy -P FORWARD ACCEPT",
        "chain iptables-legacy: filter FORWARD has policy drop",
    ),
    "a rule for all": (
        ROUTED,
        "ip rule add pref 100 lookup 100",
        "ip rule del pref 100",
        "IPv4 rule 100 of somebody",
    ),
    "one with our preference": (
        ROUTED,
        "ip -6 rule add pref 14800 from all lookup 100",
        "ip -6 rule del pref 14800 from all lookup 100",
        "IPv6 rule 14800 of somebody",
    ),
    "one for the guest's source": (
        ROUTED,
        "ip rule add pref 99 from 198.51.100.0/24 lookup 100",
        "ip rule del pref 99",
        "IPv4 rule 99 of somebody",
    ),
}


@pytest.mark.parametrize(("env", "add", "undo", "words"), AHEAD.values(), ids=list(AHEAD))
def test_check_warns_of_what_others_have_on_a_guests_way(
    node: Machine, env: dict[str, str], add: str, undo: str, words: str
) -> None:
    node.up(env)
    node.run("sh", "-ec", add)
    ran = node.script("snf-network", {}, "check")
    node.run("sh", "-ec", undo)
    assert ran.stdout == "clean\n" and f"snf-network: warning: {words}" in ran.stderr
    assert node.script("snf-network", {}, "check").stderr == ""
    node.down(env)


def test_check_does_not_warn_of_what_no_guest_meets(node: Machine) -> None:
    lines = (
        "ip rule add pref 90 iif eth9 lookup 100",
        "ip rule add pref 91 from 192.0.2.0/24 lookup 100",
        "ip rule add pref 92 fwmark 0xca6c lookup 100",
        "ip rule add pref 32000 lookup 100",
        'nft "add table ip f; add chain ip f input { type filter hook input priority 0; policy drop; }"',
        'nft "add table bridge b; add chain bridge b f { type filter hook forward priority 9; policy drop; }"',
    )
    node.run("sh", "-ec", "\n".join(lines))
    node.up(ROUTED)
    ran = node.script("snf-network", {}, "check")
    node.run(
        "sh",
        "-ec",
        "nft delete table ip f; nft delete table bridge b; for p in 90 91 92 32000; do ip rule del pref $p; done",
    )
    assert (ran.stdout, ran.stderr) == ("clean\n", "")
    node.down(ROUTED)


def test_a_file_that_cannot_be_read_is_one_line(node: Machine) -> None:
    ran = node.script("snf-network", {}, "plan", "--env", "/nonexistent", check=False)
    assert (ran.returncode, ran.stderr) == (1, "snf-network: /nonexistent: No such file or directory\n")


def test_a_nic_whose_link_is_down_is_not_called_up(node: Machine) -> None:
    node.up(BRIDGED)
    node.ip("link set tap1 down")
    assert "down" in ordered(node, "status")[1].splitlines()[1].split()
    node.down(BRIDGED)


# --- what was done, as JSON


NIC = {"interface": "tap0", "instance": ROUTED["INSTANCE"], "nic": "0", "uuid": ROUTED["INTERFACE_UUID"]}
NONE = {"interface": "-", "instance": "", "nic": "", "uuid": ""}
NOTHING = {"done": [], "failed": [], "left": []}


def told(node: Machine, *words: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit status of a command, and its JSON."""
    ran = node.run(COMMAND, *words, "--json", check=False)
    return ran.returncode, json.loads(ran.stdout)


def test_repair_tells_what_it_did(node: Machine) -> None:
    node.up(ROUTED)
    assert told(node, "repair") == (0, NOTHING)
    node.run("nft", 'delete element inet snf_network routed { "tap0" }')
    node.run("nft", 'add element inet snf_network routed { "tap9" }')
    done = [
        {**NIC, "what": 'put back: nft add element inet snf_network routed { "tap0" }'},
        {
            **NONE,
            "interface": "tap9",
            "what": 'taken away: nft add element inet snf_network routed { "tap9" }',
        },
    ]
    assert told(node, "repair", "--quiet") == (0, {**NOTHING, "done": done})
    node.write(f"{STATE_DIR}/tap1", "nonsense\n")
    node.run("nft", "flush ruleset")
    status, found = told(node, "repair")
    assert status == 1 and found["done"][0] == {**NONE, "what": "loaded the rules"} and not found["failed"]
    (left,) = found["left"]
    assert left["interface"] == "tap1" and left["what"].startswith("unreadable: its record cannot be read")


def test_repair_tells_which_nic_it_brought_up_again_and_which_it_could_not(node: Machine) -> None:
    for env in (ROUTED, BRIDGED):
        node.up(env)
    node.ip("link set prv0 mtu 1400")
    status, found = told(node, "repair")
    node.ip("link set prv0 mtu 1500")
    assert (
        status == 0 and {row["interface"]: row["what"] for row in found["done"]}["tap1"] == "brought up again"
    )
    node.run("sh", "-c", f"rm {STATE_DIR}/locks/tap1; mkdir {STATE_DIR}/locks/tap1")
    status, found = told(node, "repair")
    assert status == 1 and {row["instance"] for row in found["failed"]} == {BRIDGED["INSTANCE"]}
    assert all(f"{STATE_DIR}/locks/tap1" in row["what"] for row in found["failed"]) and found["left"]
    node.run("rmdir", f"{STATE_DIR}/locks/tap1")
    assert told(node, "repair")[0] == 0


def test_a_link_that_is_put_back_costs_no_neighbour(node: Machine) -> None:
    """As when `repair` reads the node amid an up: the link is not yet as it should be, all else is. It sets
    the MAC again, and the kernel forgets permanent neighbours then, too.
    """
    node.up(ROUTED)
    shown = ("ip", "neigh", "show", "dev", "tap0", "nud", "permanent")
    before = sorted(node.out(*shown).splitlines())
    node.ip("link set tap0 address 02:00:00:00:00:01")
    for line in before:
        address, _, mac, *_ = line.split()
        node.ip(f"neigh replace {address} lladdr {mac} dev tap0 nud permanent proto 148")
    (missing,) = told(node, "check")[1]["missing"]
    assert len(before) == 3 and missing["what"].startswith("link set dev tap0 address")
    assert told(node, "repair")[0] == 0
    assert sorted(node.out(*shown).splitlines()) == before and told(node, "check")[0] == 0


def test_gc_tells_what_it_took_back(node: Machine) -> None:
    for env in (ROUTED, OTHER):
        node.up(env)
        node.ip(f"link del {env['INTERFACE']}")
    node.run("sh", "-c", f"rm {STATE_DIR}/locks/tap1; mkdir {STATE_DIR}/locks/tap1")
    status, found = told(node, "gc")
    assert status == 1 and found["done"] == [{**NIC, "what": "inst1.example.com taken back"}]
    (failed,) = found["failed"]
    assert (failed["instance"], failed["uuid"]) == ("other.example.com", "u1") and "locks/tap1" in failed[
        "what"
    ]
    node.run("rmdir", f"{STATE_DIR}/locks/tap1")
    assert told(node, "gc", "--quiet")[0] == 0 and told(node, "gc") == (0, NOTHING)


def test_remove_tells_what_it_took_back_even_if_it_fails_then(node: Machine) -> None:
    node.up(ROUTED)
    status, found = told(node, "remove", "tap0", "tap1", "tap 2")
    assert status == 1 and found["done"] == [{**NIC, "what": "inst1.example.com taken back"}]
    assert found["failed"] == [
        {**NONE, "interface": "tap1", "what": "has no record"},
        {**NONE, "what": "'tap 2' is no interface name"},
    ]


def test_load_tells_what_is_loaded_and_what_is_closed(node: Machine) -> None:
    profiles = "loaded: firewall profiles limited, protected, unprotected"
    rules = {**NONE, "what": "policy rules of table 222"}
    assert told(node, "load", "222") == (0, {**NOTHING, "done": [{**NONE, "what": profiles}, rules]})
    status, found = told(node, "load", "nosuch")
    assert status == 1 and found["done"] == [{**NONE, "what": profiles}]
    assert [row["what"].partition(" is no")[0] for row in found["failed"]] == ["LINK=nosuch"]
    node.write("/etc/snf-network/profiles/odd.nft", "nonsense\n")
    status, found = told(node, "load")
    node.run("rm", "/etc/snf-network/profiles/odd.nft")
    assert status == 1 and len(found["done"]) == 1 and "odd" in found["failed"][0]["what"]
    assert told(node, "load")[0] == 0
    assert ordered(node, "load", "--print", "--json")[0] == 2


def test_plan_as_json_has_the_lines_of_the_plan(node: Machine) -> None:
    node.up(ROUTED)
    plan = json.loads(node.out(COMMAND, "plan", "--record", "tap0", "--json"))
    text = node.out(COMMAND, "plan", "--record", "tap0")
    assert all(f"{row['line']}\n" in text and f"# {row['heading']}\n" in text for row in plan["resources"])
    assert plan["names"] is None and plan["announcements"] and plan["lacking"] == []


# --- the alias of a tap


def alias(node: Machine, tap: str) -> str:
    """What `ip link` and SNMP tell of a tap."""
    return str(json.loads(node.out("ip", "-j", "link", "show", tap))[0].get("ifalias", ""))


@pytest.mark.parametrize("env", [ROUTED, BRIDGED], ids=["routed", "bridged"])
def test_a_tap_says_whose_it_is_until_the_nic_goes(node: Machine, env: dict[str, str]) -> None:
    tap = env["INTERFACE"]
    node.up({**env, "NETWORK_NAME": "#\"'\\ $(reboot)"})
    assert alias(node, tap) == f"{env['INSTANCE']} nic0 ____ __reboot_"
    node.up(env)
    assert alias(node, tap) == f"{env['INSTANCE']} nic0 {env['NETWORK_NAME']}"
    node.ip(f"link set {tap} alias 'another name'")
    status, said = ordered(node, "check")
    assert status == 1 and f'alias "{env["INSTANCE"]} nic0 {env["NETWORK_NAME"]}"' in said
    assert ordered(node, "repair") == (0, "put back 1, took away 0, tried again 0\n")
    assert alias(node, tap) == f"{env['INSTANCE']} nic0 {env['NETWORK_NAME']}"
    node.down(env)
    assert alias(node, tap) == ""


def test_a_record_of_a_version_without_aliases_is_as_good(node: Machine) -> None:
    node.up(ROUTED)
    node.run("sed", "-i", "/^Alias/d", f"{STATE_DIR}/tap0")
    node.ip("link set tap0 alias ''")
    assert ordered(node, "check") == (0, "clean\n")
    node.up(ROUTED)
    assert alias(node, "tap0") == "inst1.example.com nic0 pub1" and ordered(node, "check") == (0, "clean\n")


def test_a_file_that_is_no_binding_stays(node: Machine) -> None:
    node.up(ROUTED)
    node.write(f"{BINDINGS}/leases.db", "important\n")
    node.write(f"{BINDINGS}/tap9", "INDEV=tap9\nIP=198.51.100.99\n")
    assert ordered(node, "gc")[0] == 0
    assert node.out("ls", BINDINGS).split() == ["leases.db", "tap0"]


@pytest.mark.parametrize("name", ["0xab", "0xzz", "123", "1e3"])
def test_a_tap_whose_name_looks_like_a_number(node: Machine, name: str) -> None:
    node.ip(f"tuntap add {name} mode tap")
    node.up({**OTHER, "INTERFACE": name})
    assert ordered(node, "check") == (0, "clean\n")
    node.down({**OTHER, "INTERFACE": name})
    node.ip(f"link del {name}")


@pytest.mark.parametrize("env", [ROUTED, BRIDGED], ids=["routed", "bridged"])
def test_mode_ext_is_what_its_link_makes_it_to_check_as_well(node: Machine, env: dict[str, str]) -> None:
    node.up({**env, "MODE": "ext"})
    assert ordered(node, "check") == (0, "clean\n")
    node.down(env)


# --- records that are lost, or have nothing


def test_what_a_lost_record_shared_goes_too(node: Machine) -> None:
    """A call killed on its way out leaves the same: a name below shared/, and no record."""
    for env in (OTHER, ROUTED):
        node.up(env)
    node.run("rm", f"{STATE_DIR}/tap0")
    before = snapshot(node)
    status, said = ordered(node, "check")
    assert status == 1 and "unrecorded tap0" in said
    status, said = ordered(node, "gc")
    assert status == 0 and "unrecorded tap0" in said
    same(before, snapshot(node))  # a guest may be behind a tap that is up
    assert ordered(node, "remove", "tap0")[0] == 0 and not is_up(snapshot(node), "tap0")
    assert ordered(node, "gc")[0] == 0
    assert ordered(node, "check") == (0, "clean\n")
    left = [line for line in traces(node) if "tap0" in line or ROUTED["IP"] in line]
    assert left == [f"{BINDINGS}/tap0"]  # of a tap that is there: somebody's, as it may be
    node.run("rm", f"{STATE_DIR}/tap1")
    node.ip("link del tap0", "link del tap1")
    assert ordered(node, "gc")[0] == 0
    assert traces(node) == []


def test_a_nic_that_never_came_up_is_forgotten_with_its_tap(node: Machine) -> None:
    assert node.up({**OTHER, "LINK": "4711"}, check=False).returncode == 1
    assert "incomplete" in node.out(COMMAND, "status")
    node.ip("link del tap1")
    assert ordered(node, "gc")[0] == 0
    assert "tap1" not in node.out(COMMAND, "status")
    assert ordered(node, "check") == (0, "clean\n")


def test_gc_goes_on_after_a_nic_that_cannot_be_taken_back(node: Machine) -> None:
    for env in (ROUTED, OTHER):
        node.up(env)
        node.ip(f"link del {env['INTERFACE']}")
    node.run("sh", "-c", f"rm {STATE_DIR}/locks/tap0; mkdir {STATE_DIR}/locks/tap0")
    status, said = ordered(node, "gc")
    assert status == 1 and f"{STATE_DIR}/locks/tap0" in said and "Traceback" not in said
    assert [line for line in traces(node) if "tap1" in line] == []
    node.run("rmdir", f"{STATE_DIR}/locks/tap0")
    assert ordered(node, "gc")[0] == 0
    assert traces(node) == []


def test_gc_takes_orphans_away_beside_one_that_is_locked(node: Machine) -> None:
    node.up(ROUTED)
    before = snapshot(node)
    for tap in ("tap8", "tap9"):
        node.run("nft", f'add element inet snf_network routed {{ "{tap}" }}')
    node.run("mkdir", f"{STATE_DIR}/locks/tap8")
    status, said = ordered(node, "gc")
    assert status == 1 and f"{STATE_DIR}/locks/tap8" in said
    left = snapshot(node) - before
    assert len(left) == 1 and "tap8" in str(left)
    node.run("rmdir", f"{STATE_DIR}/locks/tap8")
    assert ordered(node, "gc")[0] == 0
    same(before, snapshot(node))


def test_a_third_partys_setup_without_its_x_bit_is_not_passed_over(node: Machine) -> None:
    """It may be what filters the NIC."""
    node.write("/etc/snf-network/setups/theirs", "#!/bin/sh\n")
    ran = node.up({**ROUTED, "NETWORK_TAGS": f"{ROUTED['NETWORK_TAGS']} theirs"}, check=False)
    assert ran.returncode == 1
    one_line(ran.stderr, "/etc/snf-network/setups/theirs", "Permission denied")
    node.run("rm", "/etc/snf-network/setups/theirs")


# --- what is somebody else's by now, or is away for a while


@pytest.mark.parametrize("how", ["gc", "ifdown", "hook"])
def test_a_tap_that_another_program_has_by_now_is_left_alone(node: Machine, how: str) -> None:
    """Stock Ganeti 3.0 says nothing of a guest that ends: its record outlives its tap, and the name may be a
    VPN's by then.
    """
    for env in (ROUTED, BRIDGED):
        node.up(env)
        node.ip(
            f"link del {env['INTERFACE']}",
            f"tuntap add {env['INTERFACE']} mode tap",
            f"link set {env['INTERFACE']} master prv0 up",
        )
        if how == "gc":
            assert ordered(node, "gc")[0] == 0
        elif how == "ifdown":
            node.down(env)
        else:
            node.script(
                "snf-network-hook",
                {
                    "GANETI_INSTANCE_NAME": env["INSTANCE"],
                    "GANETI_OP_CODE": "OP_INSTANCE_SHUTDOWN",
                    "GANETI_HOOKS_PHASE": "post",
                },
            )
        shown = node.out("ip", "link", "show", env["INTERFACE"])
        assert ",UP" in shown and "master prv0" in shown, shown
        assert traces(node) == []


def test_a_nic_whose_bridge_is_away_comes_back_with_it(node: Machine) -> None:
    """A repair that fails, as while a bridge is being made anew, must not be the last that is heard of the
    NIC.
    """
    node.ip("link add brx type bridge", "link set brx up")
    node.up({**BRIDGED, "LINK": "brx"})
    whole = snapshot(node)
    node.ip("link del brx")
    pinned = pins(snapshot(node), "tap1")
    status, said = ordered(node, "repair")
    assert status == 1 and "brx" in said and is_up(snapshot(node), "tap1")
    assert pins(snapshot(node), "tap1") == pinned == pins(whole, "tap1")
    assert ordered(node, "check")[0] == 1
    node.ip("link add brx type bridge", "link set brx up")
    assert ordered(node, "repair")[0] == 0
    same(without_settings(whole), without_settings(snapshot(node)))
    node.ip("link del brx")


@pytest.mark.parametrize("text", ["", "nic\ttap", "INDEV=tap0\n"])
def test_a_record_that_cannot_be_read_leaves_no_guest_open_and_cuts_none(node: Machine, text: str) -> None:
    """A crash of the disk left it empty. The guest runs on as it was, and an admin learns of it."""
    for env in (ROUTED, BRIDGED):
        node.up(env)
        node.write(f"{STATE_DIR}/{env['INTERFACE']}", text)
    before = snapshot(node)
    status, said = ordered(node, "check")
    assert status == 1 and "unreadable tap0" in said and "unreadable tap1" in said
    for command in ("gc", "repair", "gc"):
        ordered(node, command)
        same(before, snapshot(node))
    node.up(ROUTED)
    status, said = ordered(node, "check")
    assert status == 1 and "tap0" not in said
    node.up(BRIDGED)
    assert ordered(node, "check") == (0, "clean\n")
    for env in (ROUTED, BRIDGED):
        node.down(env)
    assert [line for line in traces(node, records=False) if not line.startswith(BINDINGS)] == []


def test_an_orphan_of_the_nodes_own_device_takes_no_link_down(node: Machine) -> None:
    node.up(ROUTED)
    node.run("nft", 'add element inet snf_network routed { "eth1" }')
    assert ordered(node, "gc")[0] == 0
    assert is_up(snapshot(node), "eth1")


# --- a NIC whose members nft refuses


def test_a_nic_whose_profile_has_no_file_is_filtered_after_a_flush(node: Machine) -> None:
    node.write("/etc/snf-network/profiles/web.nft", "accept\n")
    node.up({**ROUTED, "TAGS": "synnefo:network:0:web"})
    before = pins(snapshot(node), "tap0")
    node.run("rm", "/etc/snf-network/profiles/web.nft")
    node.run("nft", "flush", "ruleset")
    status, said = ordered(node, "repair")
    assert status == 1 and "web.nft is gone" in said
    assert pins(snapshot(node), "tap0") == before and "drop" in node.out("nft", "list", "ruleset")
    assert "web.nft is gone" in ordered(node, "check")[1]


def test_after_a_flush_guests_are_filtered_before_anything_is_compared(node: Machine) -> None:
    """With thousands of NICs that takes seconds; here it cannot be done at all."""
    for env in (ROUTED, BRIDGED):
        node.up(env)
    before = snapshot(node)
    node.run("nft", "flush", "ruleset")
    with stand_in(node, "ip", "#!/bin/sh\nexit 1\n"):
        assert ordered(node, "repair")[0] == 1
    for tap in ("tap0", "tap1"):
        assert pins(snapshot(node), tap) == pins(before, tap)
    assert "loaded the rules with the members of 2 NICs" in node.read("/var/log/ganeti/snf-network.log")
    assert ordered(node, "repair") == (0, "clean: nothing to repair\n")


def test_a_member_of_an_earlier_versions_set_does_not_cost_the_others(node: Machine) -> None:
    """After an upgrade, and a flush before the NIC was brought up again."""
    node.up(ROUTED)
    before = pins(snapshot(node), "tap0")
    node.run("sed", "-i", r"s/^end$/Element\tinet\tearlier\ttap0\t\nend/", f"{STATE_DIR}/tap0")
    node.run("nft", "flush", "ruleset")
    ordered(node, "repair")
    assert pins(snapshot(node), "tap0") == before
    assert ordered(node, "check") == (0, "clean\n")


# --- settings that cannot be read


def test_settings_that_are_no_file_do_not_keep_guests_unfiltered(node: Machine) -> None:
    node.up(ROUTED)
    before = pins(snapshot(node), "tap0")
    node.run("sh", "-c", f"rm -f {SETTINGS}; mkfifo {SETTINGS}")
    node.run("nft", "flush", "ruleset")
    for words in ("check", "gc", "repair", "status", "drops"):
        status, said = ordered(node, words)
        assert status == 1 and f"{SETTINGS} is not a file of settings" in said, words
    assert pins(snapshot(node), "tap0") == before
    node.run("rm", SETTINGS)


def test_a_nic_is_not_planned_again_by_settings_with_errors(node: Machine) -> None:
    """By the default of the setting in that line, it could be another plan: here, without source NAT."""
    node.write(SETTINGS, "MASQ=true\n")
    node.ip("route replace default dev prv0")
    node.up({**BRIDGED, "NETWORK_TAGS": "masq", "NETWORK_SUBNET": "203.0.113.0/24"})
    before = node.read(f"{STATE_DIR}/tap1")
    assert "masq" in before
    node.write(SETTINGS, "MASQ=ture\n")
    status, said = ordered(node, "repair")
    assert status == 1 and "MASQ='ture'" in said and "not planned again" in said
    assert node.read(f"{STATE_DIR}/tap1") == before
    node.run("rm", SETTINGS)
    node.ip("route del default")


def test_check_says_that_the_log_cannot_be_written(node: Machine) -> None:
    node.write(SETTINGS, "LOGFILE=/nowhere/snf.log\n")
    assert ordered(node, "check") == (
        0,
        "clean\nsnf-network: warning: LOGFILE /nowhere/snf.log cannot be written: there is no /nowhere\n",
    )
    node.run("rm", SETTINGS)


# --- records with values that no tool would accept


@pytest.mark.parametrize(
    "line",
    [
        r"Sysctl\tnet\/..\/..\/..\/etc\/hostname\t1",
        r"Binding\t\/var\/lib\/..\/x\tINDEV=x",
        r"Route\t192.0.2.0\/24\ttap0\tbanana\t",
        r"Route\t192.0.2.0\/24\ttap0\t99999999999999\t",
        r"Route\t192.0.2.0\/99\ttap0\t222\t",
        r"Rule\t-9\t222\tlookup",
        r"Rule\t-4\tbanana\tfly",
        r"Neighbour\tbanana\tzz\ttap0",
        r"Link\ttap0\tzz",
        r"Alias\ttap0\t\x1b[31mred",
        r"Element\tinet\trouted\ttap0\t} ; flush ruleset ; {\t",
    ],
)
def test_a_record_with_nonsense_is_unreadable_and_its_nic_stays(node: Machine, line: str) -> None:
    node.up(ROUTED)
    before = pins(snapshot(node), "tap0")
    node.run("sed", "-i", f"s/^end$/{line}\\nend/", f"{STATE_DIR}/tap0")
    for words in ("check", "gc", "repair", "status", "doctor"):
        _, said = ordered(node, words)
        assert "Traceback" not in said and "\x1b" not in said, words
        assert words not in ("check", "gc") or "unreadable" in said
    assert pins(snapshot(node), "tap0") == before and is_up(snapshot(node), "tap0")
    assert node.read("/etc/hostname") != "1"
    node.up(ROUTED)
    assert ordered(node, "check") == (0, "clean\n")


def test_an_alias_of_somebody_else_with_a_control_character(node: Machine) -> None:
    """`ip -j` prints it as it is, which is no JSON."""
    node.up(ROUTED)
    node.run("ip", "link", "set", "lo", "alias", "a\x1b[31m\tb")
    assert ordered(node, "check") == (0, "clean\n")
    node.run("ip", "link", "set", "lo", "alias", "")


@pytest.mark.parametrize("answer", ["[1, 2]", "null", '[{"a": 1}]', '{"nftables": [3]}', "{banana"])
@pytest.mark.parametrize("tool", ["ip", "nft"])
def test_an_answer_of_a_tool_that_is_nonsense_is_one_line(node: Machine, tool: str, answer: str) -> None:
    node.up(ROUTED)
    real = node.out("sh", "-c", f"readlink -f $(command -v {tool})").strip()
    fake = f'#!/bin/sh\ncase "$*" in *-j*) echo \'{answer}\';; *) exec {real} "$@";; esac\n'
    with stand_in(node, tool, fake):
        for words in ("check", "gc", "repair"):
            status, said = ordered(node, words)
            assert status == 1, words
            one_line(said, "snf-network: ", tool, "cannot be read")
    assert is_up(snapshot(node), "tap0")


def test_what_is_in_the_state_directory_does_not_reach_the_terminal(node: Machine) -> None:
    node.up(ROUTED)
    name = f"{STATE_DIR}/a\x1b[31mb"
    node.write(name, "\x1b[31m")
    node.write(f"{STATE_DIR}/base", "\x1b[31m nonsense\n" * 1000)
    said = "".join(ordered(node, words)[1] for words in ("check", "gc", "repair"))
    node.run("rm", name)
    assert "\x1b" not in said and r"a\x1b[31mb" in said
