"""`snf-network metrics`, read by Prometheus' own parser; and the dashboard and the alerts of examples/."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.monitoring import EXAMPLES
from snf_network import __version__
from snf_network.dhcpd.control import PATH
from snf_network.dns.registry import Registered, Trouble
from snf_network.dns.spool import Desired
from snf_network.model.names import Names
from snf_network.scripts.process import IFUPS
from tests.dhcpd.netns.daemon import running
from tests.netns import frames as f
from tests.netns.lab import ROOT, SCRIPTS, Lab, Machine, drops, environment, send, until
from tests.netns.watching import Watching

COMMAND = SCRIPTS / "snf-network"
STATE_DIR, SETTINGS = "/var/lib/snf-network", "/etc/default/snf-network"
ROUTED = environment("add-routed-ifup-1", INTERFACE_NAME="pub0")
NIC = {"interface": "tap0", "guest": "inst1.example.com", "nic": "pub0", "network": "pub1"}
FORGED = f.ethernet(ROUTED["MAC"], "cc:47:52:4e:45:54", f.udp("192.0.2.99", ROUTED["NETWORK_GATEWAY"]))
DISCOVER = f.ethernet(ROUTED["MAC"], f.BROADCAST, f.dhcp(ROUTED["MAC"], 1))
DNS = "AUTHENTICATION_METHOD=plain\nSERVER=192.0.2.53\n"

Samples = dict[str, list[tuple[dict[str, str], float]]]


def node_and_guest(lab: Lab) -> tuple[Machine, Machine]:
    """A node with a /run of its own, where the control socket is; and its guest."""
    node = lab.node("node1", lab.router())
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    guest = lab.guest(node, "tap0", ROUTED["MAC"])
    node.up(ROUTED)
    return node, guest


@pytest.fixture
def place(lab: Lab) -> tuple[Machine, Machine]:
    return node_and_guest(lab)


@pytest.fixture
def node(place: tuple[Machine, Machine]) -> Machine:
    return place[0]


def parsed(text: str) -> Samples:
    """Labels and values by name; fails for a sample without HELP and TYPE, and for one that is there twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")
            others = found.setdefault(sample.name, [])
            assert sample.labels not in [labels for labels, _ in others]
            others.append((sample.labels, sample.value))
    return found


def metrics(node: Machine, *words: str) -> Samples:
    return parsed(node.out(COMMAND, "metrics", *words))


def valued(samples: Samples, name: str, **labels: str) -> float:
    """The one value with these labels."""
    ((_, value),) = [one for one in samples[name] if labels.items() <= one[0].items()]
    return value


def everything(node: Machine, guest: Machine) -> str:
    """All metrics that there are, as text."""
    send(guest, "eth0", *[FORGED] * 3)
    assert until(lambda: drops(node)["tap0", "ip4-src"] == 3)
    node.write(SETTINGS, DNS)
    watching = Watching(node)
    with running(node, "--socket", PATH):
        assert until(lambda: 'nfdhcpd_guests{state="served"} 1\n' in node.out(COMMAND, "metrics"))
        send(guest, "eth0", DISCOVER)
        assert until(lambda: "nfdhcpd_frames_total{" in node.out(COMMAND, "metrics"))
        said = node.out(COMMAND, "metrics", "--drift")
    watching.end()
    return said


def test_prometheus_reads_what_a_node_has(place: tuple[Machine, Machine]) -> None:
    before = metrics(place[0])
    found = parsed(everything(*place))
    assert found["snf_network_build_info"] == [({"version": __version__}, 1)]
    assert found["snf_network_nics"] == [({"state": "up", "mode": "routed"}, 1)]
    assert {labels["tag"] for labels, _ in found["snf_network_tagged_nics"]} == {
        *ROUTED["NETWORK_TAGS"].split()
    }
    sent, received = "snf_network_nic_sent_packets_total", "snf_network_nic_received_packets_total"
    assert valued(found, sent, **NIC) - valued(before, sent, **NIC) >= 3
    assert valued(found, "snf_network_nic_sent_bytes_total", **NIC) >= 3 * len(FORGED)
    assert [labels for labels, _ in found[received]] == [NIC]
    assert valued(found, "snf_network_nic_dropped_packets_total", **NIC, reason="ip4-src") == 3
    # nftables counts IP packets, not frames
    assert valued(found, "snf_network_nic_dropped_bytes_total", **NIC, reason="ip4-src") == 3 * 32
    assert {value for _, value in found["snf_network_differences"]} == {0}
    assert valued(found, "nfdhcpd_up") == 1 and valued(found, "nfdhcpd_guests", state="served") == 1
    assert valued(found, "snf_network_unanswered_nics") == 0
    assert valued(found, "snf_network_watch_up") == 1 and valued(found, "snf_network_watch_fights") == 0


def test_what_the_watch_does_is_counted(node: Machine) -> None:
    assert valued(metrics(node), "snf_network_watch_up") == 0
    watching = Watching(node)
    before = metrics(node)
    node.run("nft", 'delete element inet snf_network routed { "tap0" }')
    node.ip("link set eth1 down", "link set eth1 up")
    acts = "snf_network_watch_acts_total"
    assert until(lambda: valued(metrics(node), acts, act="restored") > valued(before, acts, act="restored"))
    assert until(lambda: valued(metrics(node), acts, act="announced") >= 1)
    node.ip("link del tap0")
    assert until(lambda: valued(metrics(node), acts, act="removed") == 1)
    assert valued(metrics(node), "snf_network_watch_comparisons_total") >= 1
    assert watching.end() == ""
    assert [name for name in metrics(node) if "watch" in name] == ["snf_network_watch_up"]


def test_ifups_are_timed_and_counted_once_somebody_asks(node: Machine) -> None:
    node.run("rm", "-f", IFUPS)
    node.up(ROUTED)
    assert node.run("test", "-e", IFUPS, check=False).returncode == 1
    count, failures = "snf_network_ifup_seconds_count", "snf_network_ifup_failures_total"
    before = metrics(node)
    assert (valued(before, count), valued(before, failures)) == (0, 0)
    for _ in range(3):
        node.up(ROUTED)
    for wrong in ({"MAC": "nonsense"}, {"LINK": "4097"}):
        assert node.up({**ROUTED, **wrong}, check=False).returncode == 1
    found = metrics(node)
    assert (valued(found, count), valued(found, failures)) == (3, 2)
    buckets = [(labels["le"], value) for labels, value in found["snf_network_ifup_seconds_bucket"]]
    assert buckets[0][0] == "0.005" and buckets[-2:] == [("5.0", 3), ("+Inf", 3)]
    assert sorted(value for _, value in buckets) == [value for _, value in buckets]
    assert 3 * 0.002 < valued(found, "snf_network_ifup_seconds_sum") < 3 * 5
    assert node.out("stat", "-c", "%a", IFUPS) == "600\n"


def test_what_a_machine_of_ours_does_is_not_counted_on_the_real_one(node: Machine, lab: Lab) -> None:
    """`selftest` makes such machines on a node that is monitored."""
    metrics(node)
    before = node.run("md5sum", IFUPS).stdout
    with node.entered():
        inner = Lab()
        try:
            assert inner.node("inner", inner.router()).up(ROUTED, check=False).returncode == 1
        finally:
            inner.close()
    assert node.run("md5sum", IFUPS).stdout == before


def test_nothing_about_the_counts_keeps_a_nic_down(node: Machine) -> None:
    metrics(node)
    for how in (("truncate", "-s", "3", IFUPS), ("ln", "-sf", "/dev/null", IFUPS)):
        node.run(*how)
        node.up(ROUTED)
    node.run("rm", IFUPS)
    node.write(IFUPS, "nonsense")
    assert valued(metrics(node), "snf_network_ifup_seconds_count") == 0
    with node.entered(), open(IFUPS, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        node.up(ROUTED)
    assert valued(metrics(node), "snf_network_ifup_seconds_count") == 0
    node.up(ROUTED)
    assert valued(metrics(node), "snf_network_ifup_seconds_count") == 1


def test_what_a_node_does_not_have_is_left_out(node: Machine) -> None:
    found = metrics(node)
    assert not [name for name in found if name.startswith(("nfdhcpd", "snf_network_dns", "snf_network_diff"))]


def test_a_dead_daemon_is_told(node: Machine) -> None:
    with running(node, "--socket", PATH):
        pass
    found = metrics(node)
    assert valued(found, "nfdhcpd_up") == 0 and valued(found, "snf_network_unanswered_nics") == 1


def test_names_and_tags_cannot_break_the_file(node: Machine) -> None:
    name = 'a\\n"} 1\\\\ dé #'
    tags = f'{ROUTED["NETWORK_TAGS"]} nfdhcpd:NAMESERVERS:192.0.2.1 \x1b[31m \udcff x"}} '
    node.up({**ROUTED, "NETWORK_NAME": name, "NETWORK_TAGS": tags})
    for locale in ("C", "C.UTF-8", "POSIX"):
        found = parsed(node.run("env", f"LC_ALL={locale}", COMMAND, "metrics").stdout)
        assert valued(found, "snf_network_nic_sent_bytes_total", network=name) >= 0
        assert {labels["tag"] for labels, _ in found["snf_network_tagged_nics"]} == {
            *ROUTED["NETWORK_TAGS"].split()
        }, "what has no meaning, or a value, is no label"


def test_a_nic_that_is_gone_is_counted_as_such(place: tuple[Machine, Machine]) -> None:
    node, guest = place
    send(guest, "eth0", FORGED)
    assert until(lambda: drops(node)["tap0", "ip4-src"] == 1)
    node.ip("link del tap0")
    node.write(f"{STATE_DIR}/tap9", "nonsense\n")
    found = metrics(node, "--drift")
    assert found["snf_network_nics"] == [({"state": "gone", "mode": "routed"}, 1)]
    assert valued(found, "snf_network_unreadable_records") == 1
    assert not [name for name in found if name.startswith("snf_network_nic_")]
    assert valued(found, "snf_network_differences", kind="gone") == 1
    assert valued(found, "snf_network_differences", kind="unreadable") == 1


def test_differences_are_counted_when_asked_for(node: Machine) -> None:
    node.run("nft", 'delete element inet snf_network routed { "tap0" }')
    node.run("nft", 'add element inet snf_network routed { "tap9" }')
    found = metrics(node, "--drift")
    counts = {labels["kind"]: value for labels, value in found["snf_network_differences"] if value}
    assert counts == {"missing": 1, "orphan": 1}


def test_names_in_dns_are_counted_by_state(node: Machine) -> None:
    node.write(SETTINGS, DNS)
    trouble = {
        state: {"a.example.com": Trouble(state, 1000.0, 1, 2e9, "why")} for state in ("parked", "waiting")
    }
    for name, tried, troubles in (
        ("new.example.com", "", {}),
        ("done.example.com", "s", {}),
        ("parked.example.com", "s", trouble["parked"]),
        ("waiting.example.com", "s", trouble["waiting"]),
    ):
        nics = (Names(name, "0", "net", ("192.0.2.1",)),)
        node.write(f"{STATE_DIR}/dns/wanted/{name}", Desired(name, "s", 2000.0, nics=nics).text())
        known = Registered(name, tried, troubles=troubles)
        node.write(f"{STATE_DIR}/dns/known/{name}", known.text())
    node.write(f"{STATE_DIR}/dns/wanted/broken.example.com", "wanted\t")
    found = metrics(node)
    assert {labels["state"]: value for labels, value in found["snf_network_dns_instances"]} == {
        "registered": 1,
        "pending": 1,
        "waiting": 1,
        "parked": 1,
        "unreadable": 1,
    }
    now = float(node.out("date", "+%s"))
    assert abs(now - 1000 - valued(found, "snf_network_dns_oldest_pending_seconds")) < 60


# --- the file of node_exporter


def unit(kind: str) -> str:
    return (ROOT / "debian" / f"snf-network.snf-network-metrics.{kind}").read_text()


def test_a_file_is_replaced_as_a_whole(node: Machine) -> None:
    directory = "/var/lib/prometheus/node-exporter"
    path = f"{directory}/snf-network.prom"
    node.run("mkdir", "-p", directory)
    node.run("ln", "-s", "/etc/passwd", f"{directory}/.snf-network.prom.new")
    for _ in range(2):
        assert node.out(COMMAND, "metrics", "--textfile", path) == ""
        assert metrics(node).keys() == parsed(node.read(path)).keys()
        assert node.out("stat", "-c", "%a %F", path) == "644 regular file\n"
        assert node.out("ls", "-A", directory) == "snf-network.prom\n"


def test_the_units_capabilities_suffice(node: Machine) -> None:
    """The collector's directory belongs to prometheus."""
    (names,) = re.findall(r"^CapabilityBoundingSet=(.+)$", unit("service"), re.MULTILINE)
    kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names.split())
    node.run("install", "-d", "-o", "nobody", "-m", "0755", "/var/lib/node-exporter")
    path = "/var/lib/node-exporter/snf-network.prom"
    for _ in range(2):
        node.run(
            *("setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all"),
            *(COMMAND, "metrics", "--drift", "--textfile", path),
        )
        assert valued(parsed(node.read(path)), "snf_network_nics", state="up") == 1


def test_a_file_that_cannot_be_written_is_one_line(node: Machine) -> None:
    ran = node.run(COMMAND, "metrics", "--textfile", "/proc/nowhere/x.prom", check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "snf-network: /proc/nowhere/x.prom: No such file or directory\n"


def test_the_unit_writes_where_debian_has_the_collector() -> None:
    service, timer = unit("service"), unit("timer")
    (condition,) = re.findall(r"^ConditionPathIsDirectory=(.+)$", service, re.MULTILINE)
    assert f"ConditionPathIsDirectory={condition}\n" in timer
    assert f"ReadWritePaths=-{condition}\n" in service
    assert f"\nExecStart=/usr/sbin/snf-network metrics --textfile {condition}/snf-network.prom\n" in service


# --- what is made of them


def test_examples_ask_for_metrics_that_exist(place: tuple[Machine, Machine]) -> None:
    text = everything(*place)
    known = {*parsed(text), "node_textfile_mtime_seconds"}
    for path in (EXAMPLES / "alerts.yaml", EXAMPLES / "grafana.json"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        asked = {*re.findall(r"\b(?:snf_network|nfdhcpd|node)_\w+", "\n".join(lines))}
        assert asked and asked <= known, path
    if promtool := shutil.which("promtool"):
        subprocess.run((promtool, "check", "metrics"), input=text, text=True, check=True)
        subprocess.run((promtool, "check", "rules", EXAMPLES / "alerts.yaml"), check=True)


def test_the_dashboard_is_one() -> None:
    board = json.loads((EXAMPLES / "grafana.json").read_text())
    assert board["title"] and len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 5
    assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])
