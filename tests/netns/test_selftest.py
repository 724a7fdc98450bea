"""The drop matrix: CI runs every cell of `snf-network selftest` as an admin does, and shows that each cell
could go wrong.

snf_network/selftest/rows.py and controls.py list what is dropped and what passes, one line each.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from snf_network.commands.selftest import matrix
from snf_network.selftest import frames as f
from snf_network.selftest.matrix import COLUMNS, GATEWAY6, NODE, QUEUED, UNCOUNTED, Column
from snf_network.selftest.run import TO_GUESTS, WRONG, Outcome, examine, run
from snf_network.selftest.site import ROWS, TABLES, Site
from snf_network.selftest.world import Ear, Machine, drops, send
from tests.netns.lab import until

ROOT = Path(__file__).resolve().parents[2]
CELLS = [(row.name, column.name) for column in COLUMNS for row in ROWS if row.possible(column)]
COMMAND = ("scripts/snf-network", "selftest")


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run()


@pytest.fixture(scope="module")
def verdicts(outcome: Outcome) -> dict[tuple[str, str], str]:
    return {(cell.row.name, cell.guest.column.name): cell.verdict for cell in outcome.cells}


@pytest.mark.parametrize("column", COLUMNS, ids=[column.name for column in COLUMNS])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_cell(verdicts: dict[tuple[str, str], str], row: object, column: Column) -> None:
    if (row.name, column.name) not in CELLS:
        assert (row.name, column.name) not in verdicts
        return
    assert verdicts[row.name, column.name] == ("D" if row.reason(column) else "open")


def test_each_drop_is_counted_by_nic_and_reason(outcome: Outcome) -> None:
    assert outcome.miscounted == ()


def test_every_frame_is_tried_with_and_without_bridge_netfilter(outcome: Outcome) -> None:
    """With bridge-nf-call-iptables=1 the kernel takes malformed IP away from everybody behind it."""
    assert {len(cell.trials) for cell in outcome.cells} == {2}


def test_the_matrix_in_the_docs_is_the_one_that_is_printed(outcome: Outcome) -> None:
    text = (ROOT / "docs" / "selftest.md").read_text()
    printed = "".join(f"    {line}\n" if line else "\n" for line in matrix(outcome).splitlines())
    assert printed in text, "paste what snf-network selftest prints"


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_every_pin_stops_something_in_every_column() -> None:
    """No column has a pin that no row tries."""
    for column in COLUMNS:
        stopping = {pin for row in ROWS for pin in row.stopped if pin in column.pins and row.reason(column)}
        assert stopping >= set(column.pins) - {QUEUED}


# --- each cell can go wrong


def spoiled(spoil: Callable[[Machine], None]) -> Outcome:
    with ExitStack() as stack:
        site = Site(stack)
        spoil(site.node)
        return examine(site)


def chains(node: Machine) -> Iterator[tuple[str, str]]:
    """The chains of reasons, by family."""
    for entry in json.loads(node.out("nft", "-j", "list", "chains"))["nftables"]:
        chain = entry.get("chain", {})
        if chain.get("table") == "snf_network" and chain["name"].startswith("no_"):
            yield chain["family"], chain["name"]


def test_where_nothing_is_dropped_every_forged_cell_is_wrong() -> None:
    """The same frames and the same judge, with each reason's drop taken away."""

    def spoil(node: Machine) -> None:
        node.load(
            "".join(
                f"flush chain {family} snf_network {chain}\nadd rule {family} snf_network {chain} accept\n"
                for family, chain in chains(node)
            )
        )

    outcome = spoiled(spoil)
    wanted = [cell for cell in outcome.cells if cell.reason and cell.reason not in UNCOUNTED]
    assert [cell.verdict for cell in wanted] == [WRONG] * len(wanted)
    assert [cell for cell in outcome.wrong if not cell.reason] == []


def test_a_legal_frame_that_is_dropped_is_wrong() -> None:
    def spoil(node: Machine) -> None:
        for family in ("bridge", "inet"):
            node.load(f"insert rule {family} snf_network prerouting ip protocol igmp @th,0,8 0x22 drop\n")

    assert {cell.row.name for cell in spoiled(spoil).wrong} == {"IGMP report", "IGMP report from 0.0.0.0"}


BESIDE = {
    "a permanent neighbour": ("neigh del 198.51.100.11 dev tap1",),
    "the route to a guest": ("route del 198.51.100.11/32 dev tap1 table 222",),
    "the rule that leads to its table": ("rule del pref 14800",),
    "that rule, IPv6": ("-6 rule del pref 14800",),
    "the rule that leads nowhere else": ("rule del pref 14801",),
    "that rule, IPv6 too": ("-6 rule del pref 14801",),
    "a port of the bridge": ("link set tap3 nomaster",),
}


@pytest.mark.parametrize("lines", BESIDE.values(), ids=list(BESIDE))
def test_what_a_nic_has_beside_its_members_is_missed(lines: tuple[str, ...]) -> None:
    """tests/mutants.py takes away each rule and each set; a NIC has more than these."""

    def spoil(node: Machine) -> None:
        for line in lines:
            node.run("ip", *line.split())

    assert spoiled(spoil).wrong != []


def test_what_is_counted_with_another_reason_is_told() -> None:
    def spoil(node: Machine) -> None:
        for family in ("bridge", "inet"):
            node.load(
                f'flush chain {family} snf_network no_ra\nadd rule {family} snf_network no_ra update @drops {{ iif . "redirect" }}\n'
                f"add rule {family} snf_network no_ra drop\n"
            )

    outcome = spoiled(spoil)
    assert outcome.wrong == []
    assert {words.rpartition(" as ")[2].partition(",")[0] for words in outcome.miscounted} == {
        "ra",
        "redirect",
    }


def test_a_full_set_of_counters_lets_nothing_pass() -> None:
    """Count and drop are two rules: one rule would end where the set takes no more. Not netdev: to load its
    table again would fill the buckets of limits.
    """

    def spoil(node: Machine) -> None:
        for family in set(TABLES) - {"netdev"}:
            node.run("nft", "flush", "set", family, "snf_network", "drops")
            text = node.out("nft", "list", "table", family, "snf_network").replace("size 1000000", "size 9")
            node.load(f"delete table {family} snf_network\n{text}")

    outcome = spoiled(spoil)
    assert outcome.wrong == []
    assert outcome.miscounted != ()


# --- what a matrix does not show

MANY = 200
"""Far fewer than the kernel takes (gc_thresh3, 1024 for all namespaces together): others use that table, too.
"""


def test_no_guest_fills_the_arp_table_of_the_node() -> None:
    """Questions in the names of many, with its own MAC: the node would note each of them."""
    with ExitStack() as stack:
        site = Site(stack)
        for device in ("br0", "tap1"):  # an address there: the node then answers who asks for it
            site.node.ip(f"addr add 192.0.2.1/32 dev {device}")
        ask_in_many_names(site)
        assert until(lambda: [drops(site.node)[tap, "arp-ip"] for tap in ("tap1", "tap3")] == [MANY, MANY])
        assert neighbours(site.node) == []
        site.without_rules()
        ask_in_many_names(site)
        assert until(lambda: len(neighbours(site.node)) == 2 * MANY), len(neighbours(site.node))


def ask_in_many_names(site: Site) -> None:
    for guest in (site.guests[0], site.guests[2]):
        send(
            site.guest,
            guest.tap,
            *(
                guest.frame(f.arp(1, guest.mac, f"198.18.{guest.number}.{number}", NODE), target=f.BROADCAST)
                for number in range(1, MANY + 1)
            ),
        )


def neighbours(node: Machine) -> list[str]:
    """What the node has noted of those names."""
    return [line for line in node.out("ip", "-4", "neigh", "show").splitlines() if line.startswith("198.18.")]


def test_the_kernel_forwards_no_link_local_source() -> None:
    """RFC 4291, 2.5.6: no rule of ours has to. Without our tables, and with a route; one with a global source
    is forwarded.
    """
    with ExitStack() as stack:
        site = Site(stack)
        guest = site.guests[0]
        site.without_rules()
        site.node.ip(f"route add {GATEWAY6}/128 dev eth1")
        ear = Ear(site.router, "eth1")
        packets = (f.udp(guest.local, GATEWAY6), f.udp("fe80::77", GATEWAY6), f.udp(guest.ip6, GATEWAY6))
        send(
            site.guest,
            guest.tap,
            *(f.stamp(guest.frame(packet), number) for number, packet in enumerate(packets, 1)),
        )
        with closing(ear.socket):
            assert ear.tokens(3) & {1, 2, 3} == {3}


def test_trunk_passes_its_own_vlans_and_no_other() -> None:
    """Members as tag trunk yields them: this kernel's bridges filter no VLANs, so no NIC can be brought up as
    a trunk.
    """
    with ExitStack() as stack:
        site = Site(stack)
        guest = site.guests[2]
        site.node.load(f'add element bridge snf_network trunks {{ "{guest.tap}" . 10 }}\n')
        ear, packet = Ear(site.peer, "eth0"), f.udp(guest.ip, NODE)
        tagged = [
            guest.frame(packet, tags=(tag,))
            for tag in ((f.VLAN, 10), (f.VLAN, 11), (f.VLAN, 0), (f.QINQ, 10))
        ]
        frames = [*tagged, guest.frame(packet, guest.foreign, tags=((f.VLAN, 10),)), guest.frame(packet)]
        send(site.guest, guest.tap, *(f.stamp(frame, number) for number, frame in enumerate(frames, 1)))
        with closing(ear.socket):
            assert ear.tokens(6) & set(range(1, 7)) == {1, 6}


# --- the command


def test_command_prints_the_matrix() -> None:
    ran = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout
    lines = ran.stdout.splitlines()
    assert lines[0].split("  ")[0] == "FRAME" and lines[-1].startswith(f"{len(CELLS)} cells: ")
    assert len(lines) == 6 + len(ROWS)
    assert ran.stderr.count("...") == 3


def test_command_with_rules_that_lack_something(tmp_path: Path) -> None:
    """A checkout in which ARP is not pinned: exit status 1, and every cell that it takes is named."""
    for name in ("snf_network", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    rules = tmp_path / "snf_network" / "rules" / "pin_arp.nft"
    rules.write_text(rules.read_text().replace("		goto no_arp_ip\n", ""))
    ran = subprocess.run(
        (*COMMAND, "--json"), cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 1
    found = json.loads(ran.stdout)
    wrong = {(cell["frame"], cell["column"]) for cell in found["cells"] if cell["verdict"] == WRONG}
    assert wrong == {
        (row.name, column.name)
        for row in ROWS
        for column in COLUMNS
        if row.reason(column) == "arp-ip" and row.possible(column)
    }
    assert found["miscounted"] == []


def test_nothing_is_left_even_if_it_is_killed() -> None:
    with subprocess.Popen(
        COMMAND, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stderr and "making" in command.stderr.readline()
        assert "sending" in command.stderr.readline()
        holders = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        assert len(holders) >= 4
        command.send_signal(signal.SIGKILL)
    assert until(lambda: not [pid for pid in holders if Path(f"/proc/{pid}/ns/net").exists()])


def test_reason_of_what_is_kept_from_a_guest_is_one_that_is_counted() -> None:
    files = ("base.nft", "port.nft", "overlay.nft", "limits.nft")
    text = "".join((ROOT / "snf_network" / "rules" / name).read_text() for name in files)
    assert [reason for reason in TO_GUESTS if f'"{reason}"' not in text] == []
