"""`snf-network doctor`: a node without a fault has no finding, and each fault has its own. The faults are
real, and so is the mend: where a finding has a whole command, it is run, and the finding is gone.
"""

from __future__ import annotations

import ctypes
import json
import time
from pathlib import Path
from typing import Any

import pytest

from lab.nameserver import NameServer, configure
from snf_network.host.record import parse
from tests.netns.lab import ROOT, SCRIPTS, Lab, Machine, environment, until
from tests.netns.state import same, snapshot, stand_in
from tests.netns.test_neighbours import START, running

COMMAND = SCRIPTS / "snf-network"
STATE_DIR, BINDINGS, LOG = "/var/lib/snf-network", "/var/lib/nfdhcpd", "/var/log/ganeti/snf-network.log"
SETTINGS = "/etc/default/snf-network"
ROUTED = environment("add-routed-ifup-1")
BRIDGED = environment("add-bridged-ifup-1")
NEIGHBOURS = ROOT / "debian" / "neighbours"
Finding = dict[str, str]


@pytest.fixture
def bare(lab: Lab) -> Machine:
    """A node before its first NIC."""
    node = lab.node("node1", lab.router())
    for tool in ("iptables", "ip6tables", "arptables"):
        node.sysctl(f"net/bridge/bridge-nf-call-{tool}", 0)
    node.ip("tuntap add tap0 mode tap", "tuntap add tap1 mode tap")
    return node


@pytest.fixture
def node(bare: Machine) -> Machine:
    """A node with a routed NIC and one of a private network."""
    bare.up(ROUTED)
    bare.up(BRIDGED)
    return bare


def looked(node: Machine, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the doctor."""
    ran = node.run(COMMAND, "doctor", *words, check=False)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


def found(node: Machine, check: str = "") -> list[Finding]:
    """The findings, all or those of one check."""
    said: list[Finding] = json.loads(looked(node, "--json")[1])
    return [one for one in said if not check or one["check"] == check]


def only(node: Machine, check: str, severity: str = "warning") -> Finding:
    """The one finding that there is."""
    (one,) = found(node)
    assert (one["check"], one["severity"]) == (check, severity), one
    assert one["what"] and one["mend"] and "\n" not in one["what"] + one["mend"]
    return one


def mended(node: Machine, one: Finding) -> None:
    """Do what a finding says; then nothing is found."""
    ours = f'snf-network() {{ {COMMAND} "$@"; }}\n'
    node.run("bash", "-ec", ours + one["mend"])
    assert found(node) == []


# --- a clean node, and what a monitor reads


def test_a_clean_node_has_no_finding_and_is_as_before(node: Machine) -> None:
    rules = node.out("nft", "-s", "-t", "list", "ruleset")
    before = snapshot(node)
    status, said, error = looked(node)
    assert (status, error) == (0, "") and said.startswith("OK: ") and said.count("\n") == 1
    assert looked(node, "--json") == (0, "[]\n", "")
    same(before, snapshot(node))
    assert node.out("nft", "-s", "-t", "list", "ruleset") == rules


def test_a_node_before_its_first_nic_is_clean_too(bare: Machine) -> None:
    before = snapshot(bare)
    assert found(bare) == []
    same(before, snapshot(bare))
    assert bare.out("nft", "list", "tables") == ""


def test_the_first_line_and_the_status_are_those_of_the_worst(node: Machine) -> None:
    node.run("rm", "-r", "/var/log/ganeti")
    status, said, _ = looked(node)
    assert status == 1 and said.startswith("WARNING: 1 warning: LOGFILE ")
    node.ip("route del default table 222")
    status, said, _ = looked(node)
    lines = said.splitlines()
    assert status == 2 and lines[0].startswith(
        "CRITICAL: 1 critical, 1 warning: table snf_public has no IPv4"
    )
    assert len(lines[0]) < 220 and "|" not in said
    assert [line.split()[0] for line in lines[1::2]] == ["CRITICAL", "WARNING"]
    assert lines[2].strip() == "ip -4 route add default via 198.51.100.1 dev eth1 onlink table snf_public"


def test_what_cannot_be_looked_at_is_unknown_and_the_rest_is_found(node: Machine) -> None:
    with stand_in(node, "ip", "#!/bin/sh\necho no memory >&2; exit 1\n"):
        status, said, _ = looked(node)
        assert status == 3 and said.startswith("UNKNOWN: 5 unknown: ") and "no memory" in said
        node.run("rm", "-r", "/var/log/ganeti")
        status, said, _ = looked(node)
    assert status == 1 and said.startswith("WARNING: 1 warning, 5 unknown: LOGFILE ")


@pytest.mark.parametrize("words", [("--what",), ("--json", "more")])
def test_a_monitor_takes_a_wrong_option_for_unknown(bare: Machine, words: tuple[str, ...]) -> None:
    assert looked(bare, *words)[0] == 3


def test_who_is_not_root_gets_unknown(bare: Machine) -> None:
    command = f"{bare.public()}/snf-network"
    ran = bare.run("setpriv", "--reuid=65534", "--clear-groups", command, "doctor", check=False)
    assert ran.returncode == 3 and "root" in ran.stderr


def test_a_bad_line_in_the_settings_is_a_finding(bare: Machine) -> None:
    bare.write(SETTINGS, "MAC_MASK=nonsense\n")
    status, said, _ = looked(bare)
    assert status == 2 and "MAC_MASK" in said.splitlines()[0]


def test_what_a_name_holds_does_not_reach_the_terminal(node: Machine) -> None:
    node.write(f"{STATE_DIR}/a\x1b[31m|b-env", "")
    said = looked(node)[1]
    assert "\x1b" not in said and "|" not in said and "leftovers" in said


# --- nftables


def without(node: Machine, folder: str, *names: str) -> None:
    """Files of the real machine that this one does not have."""
    node.run(
        "sh",
        "-ec",
        'mkdir -p /mnt/less /mnt/less.work; folder=$1; shift; for name; do mknod "/mnt/less/$name" c 0 0; done\n'
        "mount -t overlay overlay -o lowerdir=$folder,upperdir=/mnt/less,workdir=/mnt/less.work $folder",
        "sh",
        folder,
        *names,
    )


def test_no_nft(bare: Machine) -> None:
    without(bare, "/usr/sbin", "nft")
    assert "apt install nftables" in only(bare, "nft", "critical")["mend"]


def test_rules_that_nft_refuses(bare: Machine) -> None:
    """A set of this name, of another type: the kernel keeps it when ours are loaded."""
    bare.run("nft", "add table inet snf_network; add set inet snf_network routed { type ipv4_addr; }")
    assert "refuses our rules" in only(bare, "rules", "critical")["what"]


def test_a_profile_that_does_not_load(bare: Machine) -> None:
    bare.write("/etc/snf-network/profiles/mine.nft", "nonsense\n")
    assert "/etc/snf-network/profiles/mine.nft" in only(bare, "profile", "critical")["what"]


@pytest.mark.parametrize(
    "chain", ["ip filter FORWARD forward", "inet other every postrouting", "bridge mine x forward"]
)
def test_a_chain_with_policy_drop(node: Machine, chain: str) -> None:
    family, table, name, hook = chain.split()
    head = f"type filter hook {hook} priority 5; policy drop;"
    node.run("nft", f"add table {family} {table}; add chain {family} {table} {name} {{ {head} }}")
    one = only(node, "policy-drop")
    assert f"chain {family} {table} {name} has policy drop" in one["what"]
    mended(node, one)


@pytest.mark.parametrize("tool", ["iptables-legacy", "ip6tables-legacy"])
def test_a_legacy_chain_with_policy_drop(node: Machine, tool: str) -> None:
    node.run(tool, "-P", "FORWARD", "DROP")
    one = only(node, "policy-drop")
    assert tool in one["what"]
    mended(node, one)


def test_what_docker_needs_is_told_until_it_is_there(node: Machine) -> None:
    node.run("iptables", "-P", "FORWARD", "DROP")
    node.run("iptables", "-N", "DOCKER-USER")
    node.run("iptables", "-A", "FORWARD", "-j", "DOCKER-USER")
    only(node, "policy-drop")
    node.run("iptables", "-I", "DOCKER-USER", "-i", "tap+", "-o", "eth1", "-j", "ACCEPT")
    only(node, "policy-drop")
    node.run("iptables", "-I", "DOCKER-USER", "-i", "eth1", "-o", "tap+", "-j", "ACCEPT")
    assert found(node) == []


def test_a_policy_rule_before_ours(node: Machine) -> None:
    node.ip("rule add pref 100 from 198.51.100.0/24 lookup main")
    one = only(node, "policy-rule")
    assert "IPv4 rule 100" in one["what"] and one["mend"].startswith("ip rule show pref 100  #")


@pytest.mark.parametrize("tool", ["iptables", "ip6tables"])
def test_br_netfilter_shows_bridged_frames_to_others(node: Machine, tool: str) -> None:
    node.sysctl(f"net/bridge/bridge-nf-call-{tool}", 1)
    assert found(node) == []
    node.run(tool, "-A", "FORWARD", "-j", "ACCEPT")
    mended(node, only(node, "br-netfilter"))


CHAIN = "add table ip other; add chain ip other first {{ type filter hook prerouting priority {}; }}; add chain ip other second"


@pytest.mark.parametrize(
    "rules, told",
    [
        ("add rule ip other first meta mark set 7", True),
        ("add rule ip other first jump second; add rule ip other second meta mark set meta mark or 4", True),
        ('add rule ip other first iifname "tap*" meta mark set 7', True),
        ("add rule ip other second meta mark set 7", False),
        ('add rule ip other first iifname "eth9" meta mark set 7', False),
    ],
)
def test_a_chain_that_sets_another_mark_after_ours(node: Machine, rules: str, told: bool) -> None:
    node.run("nft", f"{CHAIN.format('mangle')}; {rules}")
    assert [one["check"] for one in found(node)] == ["mark"] * told
    node.run("nft", f"delete table ip other; {CHAIN.format('raw')}; {rules}")
    assert found(node) == []


# --- routing


def test_a_prefix_that_a_guest_can_fill_the_neighbours_with(node: Machine) -> None:
    node.ip(
        "route add 203.0.114.0/24 dev eth1 table 222", "-6 route add 2001:db8:77::/120 dev eth1 table 222"
    )
    assert found(node) == []
    node.ip("-6 route add 2001:db8:1::/64 dev eth1 table 222")
    mended(node, only(node, "on-link"))


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_table_without_a_default_route(node: Machine, family: str) -> None:
    node.ip(f"{family} route del default table 222")
    one = only(node, "default-route", "critical")
    assert "table snf_public" in one["what"] and "tap0" in one["what"]
    mended(node, one)


@pytest.mark.parametrize("missing", [("SUBNET6", "GATEWAY6"), ("GATEWAY6",)])
def test_a_network_without_a_gateway_of_a_family_needs_no_default_route(
    bare: Machine, missing: tuple[str, ...]
) -> None:
    bare.up(environment("add-routed-ifup-1", **{f"NETWORK_{name}": None for name in missing}))
    bare.ip("-6 route del default table 222")
    assert found(bare) == []


@pytest.mark.parametrize(
    "key, devices",
    [
        ("ipv4/conf/eth1/forwarding", "eth1"),
        ("ipv4/ip_forward", "eth1 and 1 more"),
        ("ipv4/conf/tap0/forwarding", "tap0"),
        ("ipv6/conf/all/forwarding", "all and 2 more"),
        ("ipv6/conf/eth1/forwarding", "eth1"),
    ],
)
def test_forwarding_is_off(node: Machine, key: str, devices: str) -> None:
    if key.endswith("ip_forward"):
        node.sysctl(f"net/{key}", 1)  # only a change is passed on to each device
    node.sysctl(f"net/{key}", 0)
    one = only(node, "forwarding", "critical")
    assert f"{'IPv' + key[3]} forwarding is off on {devices}:" in one["what"]
    mended(node, one)


@pytest.mark.parametrize("device", ["all", "eth1"])
def test_a_strict_rp_filter_without_a_route_back(node: Machine, device: str) -> None:
    node.sysctl(f"net/ipv4/conf/{device}/rp_filter", 1)
    mended(node, only(node, "rp-filter", "critical"))


def test_a_strict_rp_filter_with_the_route_back_elsewhere(node: Machine) -> None:
    other(node)
    node.ip("addr add 192.0.2.2/24 dev eth2", "route add default via 192.0.2.1 dev eth2")
    node.sysctl("net/ipv4/conf/all/rp_filter", 1)
    one = only(node, "rp-filter", "critical")
    assert one["mend"] == "sysctl -w net/ipv4/conf/eth1/rp_filter=2"
    mended(node, one)
    node.sysctl("net/ipv4/conf/eth1/rp_filter", 1)
    node.ip("route replace default via 198.51.100.1 dev eth1")
    assert found(node) == []


def other(node: Machine) -> None:
    """A second device of the node, eth2, with a link."""
    node.ip("link add eth2 type veth peer name far2", "link set far2 up", "link set eth2 up")


def test_a_default_route_of_a_router_that_forwarding_would_end(bare: Machine) -> None:
    other(bare)
    bare.ip("-6 route add default via fe80::1 dev eth2 proto ra")
    one = only(bare, "accept-ra")
    assert "eth2" in one["what"]
    mended(bare, one)


def test_a_default_route_of_a_router_that_forwarding_has_ended(node: Machine) -> None:
    other(node)
    node.ip("addr add 2001:db8:5::5/64 dev eth2 valid_lft 900 preferred_lft 900 nodad")
    one = only(node, "accept-ra")
    assert "eth2" in one["what"] and "no IPv6 default route" in one["what"]
    mended(node, one)


def test_proxy_entries_without_proxy_ndp(node: Machine) -> None:
    node.sysctl("net/ipv6/conf/eth1/proxy_ndp", 0)
    one = only(node, "proxy-ndp", "critical")
    mended(node, one)


def test_proxy_ndp_without_entries(node: Machine) -> None:
    entry = node.out("ip", "-6", "neigh", "show", "proxy", "dev", "eth1").split()[0]
    node.ip(f"-6 neigh del proxy {entry} dev eth1")
    mended(node, only(node, "proxy-ndp", "critical"))


# --- bridges: that of vlan_default_pvid is in tests/qemu/test_vlans.py


def test_a_bridge_that_is_missing(node: Machine) -> None:
    node.ip("link del prv0")
    one = only(node, "bridge", "critical")
    assert one["what"] == "bridge prv0 is missing: no network for tap1"
    mended(node, one)
    assert "master prv0" in node.out("ip", "link", "show", "tap1")


def uplink(node: Machine, mtu: int, bridge: int) -> None:
    """A port of prv0 that leads out, and the MTUs of both."""
    other(node)
    node.ip(f"link set eth2 mtu {mtu}", "link set eth2 master prv0", f"link set prv0 mtu {bridge}")


@pytest.mark.parametrize("mtu, words", [(9000, "frames to guests"), (1400, "frames from guests")])
def test_a_bridge_and_its_uplink_of_different_mtu(node: Machine, mtu: int, words: str) -> None:
    uplink(node, mtu, 1500)
    one = only(node, "mtu")
    assert words in one["what"]
    mended(node, one)


def test_a_tap_of_a_larger_mtu_than_its_bridge(node: Machine) -> None:
    uplink(node, 1500, 1500)
    node.ip("link set tap1 mtu 2000")
    one = only(node, "mtu")
    assert "tap1" in one["what"]
    mended(node, one)


def test_an_uplink_that_is_too_small_for_ipv6(node: Machine) -> None:
    uplink(node, 1200, 1200)
    node.ip("link set tap1 mtu 1200")
    assert "eth2 is 1200" in only(node, "mtu-ipv6")["what"]


# --- programs of the node


def test_networkd_without_our_drop_ins(node: Machine) -> None:
    with running(node, "/lib/systemd/systemd-networkd"):
        assert until(lambda: found(node, "networkd"), 15)
        words = " ".join(one["what"] for one in found(node, "networkd"))
        assert (
            "ManageForeignRoutes" in words and "ManageForeignRoutingPolicyRules" in words and "taps" in words
        )
        for name in ("networkd.conf.d/snf-network.conf", "network/05-snf-network.network"):
            node.write(f"/etc/systemd/{name}", (NEIGHBOURS / name).read_text())
        assert found(node, "networkd") == []
        node.write("/etc/systemd/networkd.conf.d/zz.conf", "[Network]\nManageForeignRoutes=yes\n")
        (one,) = found(node, "networkd")
        assert "ManageForeignRoutes is not no in /etc/systemd/networkd.conf.d/zz.conf" in one["what"]
        node.run("bash", "-ec", one["mend"].partition("; systemctl")[0])
        assert found(node, "networkd") == []


def test_networkmanager_without_our_drop_in(node: Machine) -> None:
    node.write("/etc/NetworkManager/conf.d/none.conf", "[keyfile]\nunmanaged-devices=*\n")
    with running(node, f"sh -c '{START}'"):
        assert until(lambda: found(node, "network-manager"), 15)
        ours = (NEIGHBOURS / "NetworkManager" / "snf-network.conf").read_text()
        node.write("/etc/NetworkManager/conf.d/snf-network.conf", ours)
        assert found(node, "network-manager") == []


def booted(node: Machine) -> None:
    """Make the machine one that systemd has booted, as sd_booted(3) tells it."""
    node.run("sh", "-ec", "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system")


NFTABLES = "[Service]\nExecStart=/usr/sbin/nft -f /etc/nftables.conf\nExecStop=/usr/sbin/nft flush ruleset\n"


def test_nftables_service_without_our_drop_in(node: Machine) -> None:
    booted(node)
    node.write("/etc/systemd/system/nftables.service", NFTABLES)
    assert found(node) == []  # nobody starts it
    enable(node, "nftables.service", "sysinit.target")
    assert "/etc/systemd/system/nftables.service" in only(node, "nftables-service")["what"]
    name = "nftables.service.d/00-snf-network.conf"
    node.write(f"/etc/systemd/system/{name}", (NEIGHBOURS / name).read_text())
    assert found(node) == []
    node.write(
        "/etc/systemd/system/nftables.service.d/zz.conf", "[Service]\nExecStop=\nExecStop=nft flush ruleset\n"
    )
    assert "ExecStop in /etc/systemd/system/nftables.service.d/zz.conf" in found(node)[0]["what"]


def enable(node: Machine, unit: str, target: str) -> None:
    """What systemctl enable does."""
    folder = f"/etc/systemd/system/{target}.wants"
    node.run("sh", "-ec", 'mkdir -p "$1"; ln -s "../$2" "$1/$2"', "sh", folder, unit)


OURS = {
    "snf-network-repair.service": "multi-user.target",
    "snf-network-gc.timer": "timers.target",
    "nfdhcpd.service": "multi-user.target",
}
SYSTEMCTL = """#!/bin/sh
[ "$1 $2" = "show --property=Id,ActiveState,SubState" ] || exit 1
shift 2
for unit; do
  case $unit in {unit}) state={state};; *-gc.service) state=inactive:dead;; *) state=active:running;; esac
  printf 'Id=%s\\nActiveState=%s\\nSubState=%s\\n\\n' $unit ${{state%:*}} ${{state#*:}}
done
"""
"""Its answer on a node with systemd 252: the blocks are separated by an empty line. There is no systemd
here.
"""


def units(node: Machine) -> None:
    booted(node)
    for unit in OURS:
        name = unit if unit.startswith("nfdhcpd") else f"snf-network.{unit}"
        node.write(f"/etc/systemd/system/{unit}", (ROOT / "debian" / name).read_text())


def test_units_that_are_not_enabled(node: Machine) -> None:
    units(node)
    said = {one["what"].split()[0]: one["severity"] for one in found(node, "unit")}
    assert said == {unit: "critical" if unit.startswith("nfdhcpd") else "warning" for unit in OURS}
    for unit, target in OURS.items():
        enable(node, unit, target)
    assert found(node) == []


@pytest.mark.parametrize(
    "unit, state, told",
    [
        ("nfdhcpd.service", "failed:failed", "critical"),
        ("nfdhcpd.service", "activating:auto-restart", "critical"),
        ("nfdhcpd.service", "inactive:dead", "critical"),
        ("snf-network-gc.timer", "inactive:dead", "warning"),
        ("snf-network-gc.service", "failed:failed", "warning"),
        ("snf-network-gc.service", "activating:start", ""),
        ("snf-network-repair.service", "active:exited", ""),
    ],
)
def test_units_that_failed_or_were_stopped(node: Machine, unit: str, state: str, told: str) -> None:
    units(node)
    for name, target in OURS.items():
        enable(node, name, target)
    with stand_in(node, "systemctl", SYSTEMCTL.format(unit=unit, state=state)):
        said = [(one["severity"], one["what"].split()[0]) for one in found(node) if unit in one["what"]]
    assert said == ([(told, unit)] if told else [])


def test_paths_that_our_units_may_not_write(node: Machine) -> None:
    booted(node)
    node.write(SETTINGS, "LOGFILE=/etc/log/snf.log\n")
    node.run("mkdir", "/etc/log")
    assert found(node) == []
    for unit in ("snf-network-gc.service", "snf-network-repair.service"):
        text = (ROOT / "debian" / f"snf-network.{unit}").read_text()
        node.write(f"/etc/systemd/system/{unit}", text)
        if "repair" in unit:
            enable(node, unit, "multi-user.target")
    one = only(node, "unit-paths")
    assert one["what"].startswith(
        "LOGFILE /etc/log/snf.log is read-only for snf-network-repair.service and 1 more:"
    )
    for unit in ("snf-network-gc.service", "snf-network-repair.service"):
        drop_in = "[Service]\nReadWritePaths=-/etc/log\n"
        node.write(f"/etc/systemd/system/{unit}.d/override.conf", drop_in)
    assert found(node) == []


# --- Ganeti

KVM_IFUP = "#!/bin/bash\nif [ -x /etc/ganeti/kvm-vif-bridge ]; then exec /etc/ganeti/kvm-vif-bridge; fi\n"
LINKS = {
    "3.1": (KVM_IFUP, "kvm-ifup", ["/etc/ganeti/kvm-vif-bridge"]),
    "3.2": (
        "#!/bin/bash\n",
        "kvm-nic-setup",
        [
            f"/etc/ganeti/network/{mode}/{verb}"
            for mode in ("bridged", "ext", "openvswitch", "routed")
            for verb in ("up", "down")
        ],
    ),
    "GRNET's": (
        "#!/bin/bash\nexec /etc/ganeti/kvm-ifup-custom $1\n",
        "kvm-ifup",
        ["/etc/ganeti/kvm-ifup-custom", "/etc/ganeti/kvm-ifdown-custom"],
    ),
}


def ganeti(node: Machine, version: str) -> list[str]:
    """Install as much of Ganeti as calls us, with Debian's links, and our hooks. The paths that it calls."""
    text, name, paths = LINKS[version]
    without(node, "/usr/lib")
    node.write(f"/usr/lib/ganeti/{version}/usr/lib/ganeti/{name}", text)
    node.write("/usr/lib/ganeti/2.16/usr/lib/ganeti/kvm-ifup", "an earlier version, not in use\n")
    for place, target in (
        (f"/usr/lib/ganeti/{name}", f"default/usr/lib/ganeti/{name}"),
        ("/usr/lib/ganeti/default", "/etc/ganeti/lib"),
        ("/etc/ganeti/lib", f"/usr/lib/ganeti/{version}"),
    ):
        node.run("sh", "-ec", 'mkdir -p "${2%/*}"; ln -s "$1" "$2"', "sh", target, place)
    lines = ["instance-modify-post.d/snf-network-reconfigure"]
    for operation in ("add", "failover", "migrate", "modify", "move", "reboot", "remove", "rename", "stop"):
        lines.append(f"instance-{operation}-post.d/snf-network-hook")
    for line in lines:
        link(node, f"/etc/ganeti/hooks/{line}", line.rpartition("/")[2])
    return paths


def link(node: Machine, path: str, launcher: str) -> None:
    node.run("sh", "-ec", 'mkdir -p "${2%/*}"; ln -s "$1" "$2"', "sh", SCRIPTS / launcher, path)


@pytest.mark.parametrize("version", LINKS)
def test_links_that_this_ganeti_calls(node: Machine, version: str) -> None:
    paths = ganeti(node, version)
    said = found(node)
    assert [(one["severity"], one["check"], one["what"].split()[0]) for one in said] == [
        (severity, "ganeti-script", path)
        for severity, way in (("critical", "up"), ("warning", "down"))
        for path in paths
        if ("down" in path) is (way == "down")
    ]
    for one in said:
        node.run("sh", "-ec", one["mend"])
    assert found(node) == []


def test_what_is_in_the_place_of_a_link(node: Machine) -> None:
    (path,) = ganeti(node, "3.1")
    node.write(path, "#!/bin/sh\nip link set $INTERFACE up\n")
    assert "is not executable" in only(node, "ganeti-script", "critical")["what"]
    node.run("chmod", "+x", path)
    assert "is not snf-network's" in only(node, "ganeti-script", "critical")["what"]
    node.write(path, '#!/bin/sh\nlogger up\nexec /usr/lib/snf-network/kvm-ifup-custom "$@"\n')
    assert found(node) == []
    node.write(path, (SCRIPTS / "kvm-ifup-custom").read_text())  # Ganeti's copy from the master
    assert found(node) == []
    node.run("ln", "-sf", "/nowhere", path)
    assert "leads nowhere" in only(node, "ganeti-script", "critical")["what"]


def test_hooks_that_are_missing(node: Machine) -> None:
    (path,) = ganeti(node, "3.1")
    link(node, path, "kvm-ifup-custom")
    assert found(node) == []
    for operation in ("stop", "migrate"):
        node.run("rm", f"/etc/ganeti/hooks/instance-{operation}-post.d/snf-network-hook")
    one = only(node, "ganeti-hook")
    assert "instance-migrate-post.d/snf-network-hook is missing (and 1 more)" in one["what"]
    mended(node, one)


def test_a_nic_that_ganeti_hot_plugged_without_us(node: Machine) -> None:
    """Its ifup failed, which the job does not tell. A file of a guest that is gone names no tap, or one that
    is another's now.
    """
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    node.ip("tuntap add tap7 mode tap", "tuntap add gnt.com.0 mode tap")
    for file, tap in (("inst1/0", "tap0"), ("old/0", "tap0"), ("old/1", "tap9"), ("inst2/1", "gnt.com.0")):
        node.write(f"/var/run/ganeti/kvm-hypervisor/nic/{file}", tap)
    assert found(node) == []
    node.write("/var/run/ganeti/kvm-hypervisor/nic/inst3.example.com/1", "tap7\n")
    one = only(node, "ganeti-nic")
    assert one["what"].startswith("tap7 of inst3.example.com: ")
    assert one["mend"] == "gnt-instance reboot inst3.example.com"


# --- files


def test_a_log_that_cannot_be_written(node: Machine) -> None:
    node.run("rm", "-r", "/var/log/ganeti")
    mended(node, only(node, "log"))
    node.run("mkdir", LOG)
    assert "Is a directory" in only(node, "log")["what"]
    node.run("rmdir", LOG)
    node.run("ln", "-s", "/etc/passwd", LOG)
    assert "symbolic link" in only(node, "log")["what"]
    node.run("rm", LOG)
    node.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/var/log/ganeti")
    assert "/var/log/ganeti" in only(node, "log")["what"]
    node.write(SETTINGS, "LOGFILE=\n")
    assert found(node) == []


def test_a_full_disk_under_the_records(node: Machine) -> None:
    """What was there is hidden: to the doctor, this is a node without NICs."""
    node.run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", STATE_DIR)
    assert "no NIC can come up" in only(node, "state-dir")["what"]
    node.run("head", "-c", "7900k", "/dev/zero", check=False)
    node.run("sh", "-c", f"head -c 7900k /dev/zero > {STATE_DIR}/.zero")
    only(node, "state-dir", "critical")
    node.run("mount", "-o", "remount,size=800m,nr_inodes=5", STATE_DIR)
    only(node, "state-dir", "critical")


def test_records_that_cannot_be_written(node: Machine) -> None:
    node.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", STATE_DIR)
    assert "cannot be written" in only(node, "state-dir", "critical")["what"]


def test_bindings_that_nfdhcpd_does_not_find(node: Machine) -> None:
    node.run("chmod", "700", BINDINGS)
    mended(node, only(node, "bindings", "critical"))
    node.run("mv", BINDINGS, f"{BINDINGS}.old")
    mended(node, only(node, "bindings"))
    node.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", BINDINGS)
    assert "is on a disk that is full" in only(node, "bindings", "critical")["what"]
    node.write(SETTINGS, "NFDHCPD_ENGINE=none\n")
    assert found(node) == []


# --- DNS and the clock

CLOCK_REALTIME, TIME_ERROR = 0, 5


def synchronised() -> bool:
    """What the kernel says of the clock, which no test changes; clock_adjtime(2) changes nothing here."""
    return ctypes.CDLL(None).clock_adjtime(CLOCK_REALTIME, ctypes.create_string_buffer(256)) != TIME_ERROR


@pytest.mark.parametrize("method, signs", [("bind9", True), ("plain", False)])
def test_a_clock_that_is_not_synchronised(node: Machine, method: str, signs: bool) -> None:
    node.write(SETTINGS, f"SERVER=198.51.100.1\nAUTHENTICATION_METHOD={method}\nKEYFILE=/etc/snf.key\n")
    assert bool(found(node, "clock")) is (signs and not synchronised())


def test_a_name_server_that_answers_and_one_that_does_not(lab: Lab, node: Machine) -> None:
    server = NameServer(lab, node)
    try:
        server.start()
        configure(node)
        assert found(node, "dns-server") == found(node, "dns") == []
        server.swallow(True)
        before = time.monotonic()
        (one,) = found(node, "dns-server")
        assert time.monotonic() - before < 4 and "10.53.0.1 does not answer" in one["what"]
        server.swallow(False)
        server.stop()
        assert "is a name server running there?" in found(node, "dns-server")[0]["what"]
        node.write("/etc/snf-network/dns.yaml", "nonsense: 1\n")
        assert "dns.yaml" in found(node, "dns")[0]["what"]
    finally:
        server.stop()


def test_a_terminal_is_told_what_takes_so_long(node: Machine) -> None:
    node.write(SETTINGS, "SERVER=198.51.100.7,198.51.100.8\nAUTHENTICATION_METHOD=plain\n")
    node.ip("addr add 198.51.100.2/24 dev eth1")
    ran = node.run("script", "-qec", f"{COMMAND} doctor", "/dev/null", check=False)
    assert "snf-network: looking at: name servers ...\n" in ran.stdout
    assert "looking" not in looked(node)[2]


# --- what the bash package left

LEGACY = (
    "iptables-legacy -A FORWARD -i tap7 ! -s 198.51.100.9 -j DROP -m comment --comment snf-network_routed"
)
LEFT = {
    "iptables-legacy": LEGACY,
    "ip6tables-legacy": LEGACY.replace("iptables", "ip6tables").replace("198.51.100.9", "2001:db8::9"),
    "iptables": "iptables -A FORWARD -i tap7 ! -s 198.51.100.9 -j DROP -m comment --comment snf-network_routed",
    "ip6tables": "ip6tables -A FORWARD -i tap7 ! -s 2001:db8::9 -j DROP -m comment --comment snf-network_routed",
    "arptables": "arptables -A OUTPUT -o tap7 --opcode request -j mangle --mangle-ip-s 198.51.100.1",
    "ebtables": "ebtables -N FROMTAP7 -P RETURN; ebtables -A FORWARD -i tap7 -j FROMTAP7; ebtables -A FROMTAP7 -j DROP",
    "files": f"touch {STATE_DIR}/tap7-env {STATE_DIR}/tap7-cmds",
}


@pytest.mark.parametrize("name", LEFT)
def test_what_the_bash_package_left(node: Machine, name: str) -> None:
    node.run("sh", "-ec", LEFT[name])
    one = only(node, "leftovers")
    mended(node, one)


def test_policy_rules_that_the_bash_package_left(node: Machine) -> None:
    node.ip("rule add dev tap7 lookup 222", "-6 rule add dev tap7 lookup 222")
    one = only(node, "leftovers")
    mended(node, one)


# --- many NICs

COUNT, BOUND = 1000, 2.0


@pytest.mark.quiet
def test_a_thousand_nics_take_less_than_two_seconds_of_cpu(node: Machine) -> None:
    """One NIC's record, a thousand times; every member of it is in the kernel."""
    text = node.read(f"{STATE_DIR}/tap0")
    folder = Path(f"/proc/{node.holder.pid}/root{STATE_DIR}")
    names = [f"tap{number}" for number in range(1000, 1000 + COUNT)]
    node.ip(*(f"tuntap add {name} mode tap" for name in names))
    indexes = {link["ifname"]: link["ifindex"] for link in json.loads(node.out("ip", "-j", "link"))}
    members = list[str]()
    for name in names:
        record = text.replace("tap0", name).replace(f"\t{indexes['tap0']}\t", f"\t{indexes[name]}\t", 1)
        (folder / name).write_text(record)
        known: Any = parse(record)
        members += [one.add() for one in known.resources if one.door == "nft"]
    node.run("nft", "-f", "-", input="\n".join(members))
    before = _children()
    status = looked(node)[0]
    spent = _children() - before
    assert status == 2  # these taps are down, and their forwarding is off
    assert spent < BOUND, spent


def _children() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
