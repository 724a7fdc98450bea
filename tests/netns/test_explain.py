"""snf-network drops, explain and trace, on a node whose NICs the self-test created."""

from __future__ import annotations

import json
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from snf_network.errors import KernelError
from snf_network.selftest.matrix import Guest, Row
from snf_network.selftest.site import ROWS, TABLES, Site, environment
from snf_network.selftest.world import Machine, drops, send
from tests.netns.lab import SCRIPTS, until

COMMAND = str(SCRIPTS / "snf-network")
ROW = {row.name: row for row in ROWS}
ROUTED, FILTERED, PRIVATE, SWITCHED = 0, 2, 4, 7


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack)


def explained(site: Site, guest: Guest, row: Row) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        site.node.out(COMMAND, "explain", guest.tap, row.frame(guest).hex(), "--json")
    )
    return found


@pytest.mark.parametrize(
    ("number", "name", "reason", "rule", "sets"),
    (
        (
            ROUTED,
            "IPv4 source, a neighbour's",
            "ip4-src",
            "inet snf_network pin4: goto no_ip4_src",
            "src4 has aa:55:60:00:00:01 . 198",
        ),
        (
            ROUTED,
            "ARP sender IP, reply",
            "arp-ip",
            "arp snf_network pin_arp: goto no_arp_ip",
            "nets4 has nothing of tap1",
        ),
        (
            FILTERED,
            "source MAC, IPv6",
            "src-mac",
            "bridge snf_network pin6: iifname . ether saddr != @macs goto no_src_mac",
            "macs has aa:55",
        ),
        (
            FILTERED,
            "NA option",
            "na-lladdr",
            "bridge snf_network na_option: goto no_na_lladdr",
            "ndmacs has 0xaa5560000003",
        ),
        (
            FILTERED,
            "ARP to 01:80:c2:00:00:0e",
            "ll-dst",
            "arp snf_network input: iifname @ports goto no_ll_dst",
            "ports has yes",
        ),
        (
            PRIVATE,
            "802.1ad",
            "tagged",
            "bridge snf_network tagged: goto no_tagged",
            "trunks has nothing of tap5",
        ),
        (
            SWITCHED,
            "IPv4 source, a neighbour's",
            "ip4-src",
            "netdev snf_network pin4: goto no_ip4_src",
            "src4 has aa:55:60:00:00:08 . 198",
        ),
    ),
)
def test_dropped_frame(site: Site, number: int, name: str, reason: str, rule: str, sets: str) -> None:
    guest = site.guests[number]
    found = explained(site, guest, ROW[name])
    assert (found["verdict"], found["rule"]) == ("drop", rule)
    assert str(found["reason"]).startswith(f"{reason}: ") and sets in str(found["sets"])
    before = int(str(found["counter"]).split()[0])
    send(site.guest, guest.tap, ROW[name].frame(guest))
    assert until(lambda: drops(site.node)[guest.tap, reason] == before + 1)


@pytest.mark.parametrize(
    ("number", "name", "rule"),
    (
        (ROUTED, "UDP", "inet snf_network pin4: iifname . ether saddr . ip saddr @src4 goto ok4"),
        (
            FILTERED,
            "ARP request",
            "bridge snf_network pin_arp: iifname . arp saddr ether . arp saddr ip @src4 accept",
        ),
        (PRIVATE, "UDP, IPv6", "bridge snf_network prerouting: iifname vmap @ingress"),
        (SWITCHED, "UDP", "netdev snf_network pin4: iifname . ether saddr . ip saddr @src4 goto ok4"),
    ),
)
def test_frame_that_passes(site: Site, number: int, name: str, rule: str) -> None:
    found = explained(site, site.guests[number], ROW[name])
    assert (found["verdict"], found["rule"], found["reason"]) == ("accept", rule, "")


def test_frame_that_no_rule_sees(site: Site) -> None:
    assert explained(site, site.guests[ROUTED], ROW["other ethertype"])["verdict"] == "ignored"


def test_explaining_touches_nothing(site: Site) -> None:
    def everything() -> list[str]:
        """The self-test's guests are at their limits, which `check` tells."""
        tables = [site.node.out("nft", "-s", "list", "table", family, "snf_network") for family in TABLES]
        return [*tables, site.node.run(COMMAND, "check", check=False).stdout]

    before = everything()
    explained(site, site.guests[ROUTED], ROW["UDP"])
    assert everything() == before


@pytest.mark.parametrize("order", "<>")
def test_first_frame_of_a_pcap_file(site: Site, order: str) -> None:
    guest = site.guests[FILTERED]
    frames = [ROW[name].frame(guest) for name in ("RARP about another MAC", "UDP")]
    content = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    content += b"".join(struct.pack(f"{order}IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)
    site.node.run("python3", "-c", f"open('/etc/frame.pcap', 'wb').write({content!r})")
    assert "rarp: " in site.node.out(COMMAND, "explain", guest.tap, "/etc/frame.pcap")


@pytest.mark.parametrize(
    ("interface", "frame", "hint"),
    (
        ("tap99", "00", "tap99 has no record"),
        ("tap1", "0011", "no Ethernet frame"),
        ("tap1", "/etc/hostname", "no pcap file"),
        ("tap1", "/nowhere", "neither a frame"),
        ("tap1", "xyz", "neither a frame"),
    ),
)
def test_what_cannot_be_explained_is_said_in_one_line(
    site: Site, interface: str, frame: str, hint: str
) -> None:
    with pytest.raises(KernelError, match=hint) as caught:
        site.node.out(COMMAND, "explain", interface, frame)
    assert caught.value.message.count("\n") == 0


def test_drops_are_shown_by_nic_and_reason(site: Site) -> None:
    guest = site.guests[PRIVATE]
    before = drops(site.node)[guest.tap, "arp-mac"]
    send(site.guest, guest.tap, *[ROW["ARP sender MAC"].frame(guest)] * 3)
    assert until(lambda: drops(site.node)[guest.tap, "arp-mac"] == before + 3)
    shown = json.loads(site.node.out(COMMAND, "drops", guest.tap, "--json"))
    row = next(row for row in shown if row["reason"] == "arp-mac")
    assert (row["interface"], row["instance"], row["frames"]) == (
        guest.tap,
        environment(guest)["INSTANCE"],
        before + 3,
    )
    assert row["bytes"] > 0 and "MAC" in row["meaning"]
    assert {row["interface"] for row in shown} == {guest.tap}
    table = site.node.out(COMMAND, "drops").splitlines()
    assert table[0].split() == ["INTERFACE", "INSTANCE", "REASON", "FRAMES", "BYTES", "MEANING"]


def tracing(site: Site, *options: str) -> subprocess.Popen[str]:
    command = subprocess.Popen(
        (*site.node.enter, COMMAND, "trace", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stderr and "looking at" in command.stderr.readline()
    return command


def said_of(command: subprocess.Popen[str], sender: Machine, device: str, *frames: bytes) -> str:
    """What a trace prints of frames. nft may not listen yet when they are first sent; and its pipe, which
    nobody reads before the end, has room for a few hundred lines.
    """
    for _ in range(20):
        send(sender, device, *frames)
        time.sleep(0.1)
    return command.communicate(timeout=30)[0]


def traced(site: Site) -> bool:
    return "snf_trace" in site.node.out("nft", "list", "tables")


def test_trace_shows_drops_as_they_come(site: Site) -> None:
    guest, names = (
        site.guests[FILTERED],
        ("NA target, a neighbour's", "PPPoE discovery", "UDP", "ARP sender IP, request"),
    )
    command = tracing(site, guest.tap, "--seconds", "3")
    lines = said_of(command, site.guest, guest.tap, *(ROW[name].frame(guest) for name in names)).splitlines()
    assert {line.split()[1] for line in lines} >= {"na-target", "ethertype", "arp-ip"}
    assert all(len(line) > 40 for line in lines)
    assert not traced(site)


@pytest.mark.parametrize("number", [PRIVATE, SWITCHED])
def test_trace_shows_what_goes_to_the_nic_too(site: Site, number: int) -> None:
    """A guest asks why it does not hear another: the answer may be its own filter."""
    guest = site.guests[number]
    command = tracing(site, guest.tap, "--seconds", "3")
    sender = site.guests[FILTERED + 1]
    frame = ROW["VRRP MAC"].frame(sender)
    foreign = frame[:6] + bytes.fromhex("020000000001") + frame[12:]
    assert "mac-prefix" in said_of(command, site.peer, "eth0", foreign)


def test_trace_ends_by_itself_even_if_it_is_killed(site: Site) -> None:
    command = tracing(site, site.guests[FILTERED].tap, "--seconds", "2")
    assert traced(site)
    monitors = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    assert len(monitors) == 1
    with closing(command.stdout), closing(command.stderr):  # type: ignore[type-var]
        command.kill()
        command.wait(10)
    assert until(lambda: not Path(f"/proc/{monitors[0]}").exists())
    for family in TABLES:
        assert until(
            lambda family=family: (
                '"tap3"' not in site.node.out("nft", "list", "set", family, "snf_trace", "traced")
            ),
            6,
        )
    tracing(site, site.guests[FILTERED].tap, "--seconds", "1").communicate()
    assert not traced(site), "the next one tidies up"
