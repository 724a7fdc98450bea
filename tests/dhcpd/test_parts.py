"""The pure parts of the daemon: the filter, the buckets, the schedule, the log, the counters."""

from __future__ import annotations

import io
import json
import struct
from itertools import pairwise
from random import Random

import pytest

from snf_network import wire
from snf_network.dhcpd import conf, filter, metrics
from snf_network.dhcpd.buckets import Buckets
from snf_network.dhcpd.log import MOST, PERIOD, EventLog
from snf_network.dhcpd.nfqueue import wanted
from snf_network.dhcpd.notify import Manager
from snf_network.dhcpd.packet_socket import PacketEngine
from snf_network.dhcpd.schedule import AT_ONCE, Schedule
from tests.dhcpd.clients import answer, guest, with_
from tests.netns import frames as f

MAC = "aa:00:00:00:00:01"


def run(program: bytes, frame: bytes, index: int = 7) -> int:
    """What the kernel's machine makes of a program (Documentation/networking/filter.rst): the bytes that are
    handed on.
    """
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    loads = {filter.LD: 4, filter.LDB: 1, filter.LDH: 2, filter.LDB_X: 1, filter.LDH_X: 2}
    a = x = at = stored = 0
    while True:
        code, yes, no, k = instructions[at]
        at += 1
        if code in loads:
            if k == filter.IFINDEX:
                a = index
                continue
            where, size = k + (x if code in (filter.LDB_X, filter.LDH_X) else 0), loads[code]
            if where + size > len(frame):
                return 0
            a = int.from_bytes(frame[where : where + size], "big")
        elif code == filter.LDXB_IHL:
            x = 4 * (frame[k] & 15)
        elif code == filter.JEQ:
            at += yes if a == k else no
        elif code == filter.JSET:
            at += yes if a & k else no
        elif code == filter.RET:
            return int(k)
        else:
            a, x, stored = {
                filter.LD_CONST: (k, x, stored),
                filter.LDX_CONST: (a, k, stored),
                filter.STORE: (a, x, a),
                filter.LDX_STORED: (a, stored, stored),
                filter.SHIFT: (a << k, x, stored),
                filter.ADD: (a + k, x, stored),
                filter.ADD_X: (a + x, x, stored),
            }[code]


def ethernet(packet: f.Packet) -> bytes:
    return f.ethernet(MAC, f.BROADCAST, packet)


def with_options(packet: f.Packet) -> f.Packet:
    """An IPv4 packet with four bytes of options in its header."""
    kind, data = packet
    return kind, bytes((0x46,)) + data[1:20] + b"\1\1\1\0" + data[20:]


def deep(packet: f.Packet, depth: int) -> f.Packet:
    """Behind so many extension headers, a fragment header among them."""
    for number in range(depth):
        packet = f.with_dstopts(packet) if number else f.fragmented(packet)
    return packet


TAKEN = {
    "DHCP": f.udp("0.0.0.0", "255.255.255.255", 68, 67),
    "DHCP, unicast": f.udp("192.0.2.2", "192.0.2.1", 68, 67),
    "DHCP behind IPv4 options": with_options(f.udp("0.0.0.0", "255.255.255.255", 68, 67)),
    "a first fragment": f.ip(
        "0.0.0.0", "255.255.255.255", f.UDP, struct.pack("!HHHH", 68, 67, 300, 0), fragment=0x2000
    ),
    "DHCPv6": f.udp("fe80::1", f.DHCP6_SERVERS, 546, 547),
    "RS": f.rs("fe80::1"),
    "RS from ::": f.rs("::"),
    "NS": f.ns("fe80::1", "2001:db8::1"),
    "RS behind an extension header": f.with_dstopts(f.rs("fe80::1")),
    "RS behind a long one": f.behind(f.rs("fe80::1"), 0, bytes((2, 1, 20)) + bytes(20)),
    "NS in a first fragment": f.fragmented(f.ns("fe80::1", "2001:db8::1"), more=True),
    "NS in an atomic fragment": f.fragmented(f.ns("fe80::1", "2001:db8::1")),
    "NS in a fragment with something in the reserved byte": f.behind(
        f.ns("fe80::1", "2001:db8::1"), 44, struct.pack("!BHI", 9, 1, 7)
    ),
    "DHCPv6 in a first fragment": f.fragmented(f.udp("fe80::1", f.DHCP6_SERVERS, 546, 547), more=True),
    "RS behind a router alert": f.behind(f.rs("fe80::1"), 0, bytes((0, 5, 2, 0, 0, 1, 0))),
    "RS behind a routing header": f.behind(f.rs("fe80::1"), 43, bytes(7)),
    "RS behind as many as are walked": deep(f.rs("fe80::1"), filter.DEPTH),
    "DHCPv6 behind as many as are walked": deep(f.udp("fe80::1", f.DHCP6_SERVERS, 546, 547), filter.DEPTH),
}
LEFT = {
    "to a DHCP client": f.udp("192.0.2.1", "255.255.255.255", 67, 68),
    "other UDP": f.udp("192.0.2.2", "192.0.2.1", 67, 53),
    "TCP": f.tcp("192.0.2.2", "192.0.2.1", 68, 67),
    "a later fragment": f.ip(
        "0.0.0.0", "255.255.255.255", f.UDP, struct.pack("!HHHH", 68, 67, 300, 0), fragment=0x0001
    ),
    "to a DHCPv6 client": f.udp("fe80::1", "fe80::2", 547, 546),
    "RA": f.ra("fe80::1"),
    "NA": f.na("fe80::1", "fe80::1"),
    "ping": f.icmp6("fe80::1", "fe80::2", 128, bytes(4)),
    "ARP": f.arp(1, MAC, "192.0.2.2", "192.0.2.1"),
    "RS behind more extension headers": deep(f.rs("fe80::1"), filter.DEPTH + 1),
    "a later fragment of IPv6": f.behind(f.rs("fe80::1"), 44, struct.pack("!BHI", 0, 8, 77)),
    "a first fragment of other UDP": f.fragmented(f.udp("fe80::1", "fe80::2", 547, 53), more=True),
    "MLD": f.mld("fe80::1", "ff02::1:ff00:1"),
    "TCP behind an extension header": f.with_dstopts(f.tcp("fe80::1", "fe80::2", 133, 547)),
    "ping in a fragment": f.fragmented(f.ping("fe80::1", "fe80::2")),
    "nothing behind an extension header": f.with_dstopts(f.ip("fe80::1", "fe80::2", 59, b"")),
    "encrypted": f.ip("fe80::1", "fe80::2", 50, bytes((0, 0, 0, 133)) * 8),
    "tagged twice": (f.VLAN, struct.pack("!HH", 5, f.IP4) + f.udp("0.0.0.0", "255.255.255.255", 68, 67)[1]),
}


@pytest.mark.parametrize("packet", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("muted", ((), (8, 9)))
def test_filter_takes_what_is_answered_or_counted(packet: f.Packet, muted: tuple[int, ...]) -> None:
    assert run(filter.program(muted), ethernet(packet)) == filter.SNAP


@pytest.mark.parametrize("packet", LEFT.values(), ids=LEFT)
def test_filter_leaves_all_else(packet: f.Packet) -> None:
    assert run(filter.program(), ethernet(packet)) == 0


def test_filter_hears_nothing_of_the_muted() -> None:
    program = filter.program((7, 9))
    assert run(program, ethernet(TAKEN["DHCP"]), 7) == run(program, ethernet(TAKEN["RS"]), 9) == 0
    assert run(program, ethernet(TAKEN["DHCP"]), 8) == filter.SNAP


def test_filter_of_any_number_of_muted_is_one_the_kernel_takes() -> None:
    assert len(filter.program(range(5000))) // 8 <= 4096
    assert run(filter.program(range(100, 5000)), ethernet(TAKEN["DHCP"]), 100) == 0


def test_filter_takes_nothing_that_the_daemon_has_no_word_for() -> None:
    """What is never answered is handed on for its word, and with no other."""
    who = guest(with_(MAC=MAC))
    for name, packet in TAKEN.items():
        word = answer(ethernet(packet), who)[1]
        assert (word in ("fragment", "extension")) == any(
            part in name for part in ("behind a", "fragment")
        ), (name, word)


@pytest.mark.parametrize("size", range(0, 62, 7))
def test_filter_of_short_frames(size: int) -> None:
    assert run(filter.program(), ethernet(TAKEN["RS"])[:size]) == (filter.SNAP if size > 54 else 0)


# --- buckets


def test_a_bucket_empties_and_fills() -> None:
    buckets = Buckets(rate=10, burst=3)
    assert [buckets.take(1, 100.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take(2, 100.0), "another interface has its own"
    assert [buckets.take(1, 100.125), buckets.take(1, 100.125)] == [True, False]
    assert sum(buckets.take(1, 200.0) for _ in range(10)) == 3, "never more than the burst"


def test_a_bucket_that_another_keeps_is_no_different() -> None:
    buckets, full, moments = Buckets(rate=10, burst=3), 0.0, [100 + number / 32 for number in range(40)]
    for now in moments:
        after = buckets.after(full, now)
        assert bool(after) == buckets.take(1, now)
        full = after or full
    assert buckets.after(full, moments[-1]) == 0 < buckets.after(full, moments[-1] + 1)


def test_who_is_muted_is_released() -> None:
    buckets = Buckets(rate=10, burst=3)
    assert buckets.mute(1, 100.0) and not buckets.mute(1, 100.5)
    assert buckets.next_release() == 101.0
    assert not buckets.release(100.9) and buckets.muted
    assert buckets.release(101.0) and not buckets.muted and buckets.next_release() is None


def test_an_interface_that_is_gone_leaves_nothing() -> None:
    buckets = Buckets(rate=10, burst=1)
    buckets.take(1, 100.0)
    buckets.mute(1, 100.0)
    buckets.forget(1)
    assert not buckets.muted and buckets.take(1, 100.0)


# --- schedule


def test_everybody_is_due_once_a_period() -> None:
    schedule = Schedule(600, Random(1))
    for number in range(100):
        schedule.add(f"tap{number}", 0, within=16)
    told: dict[str, list[float]] = {}
    now = 0.0
    while now <= 1800:
        for name in schedule.due(now):
            told.setdefault(name, []).append(now)
        now += 1
    assert len(told) == 100
    for times in told.values():
        assert (
            times[0] <= 17
            and all(449 <= later - earlier <= 601 for earlier, later in pairwise(times))
            and len(times) >= 3
        )


def test_a_new_one_is_due_at_once_and_a_removed_one_never() -> None:
    schedule = Schedule(600)
    schedule.add("tap0", 5)
    schedule.add("tap1", 5)
    schedule.remove("tap1")
    assert schedule.next() == 5 and list(schedule.due(5)) == ["tap0"]
    assert 5 + 450 <= (schedule.next() or 0) <= 5 + 600


def test_many_do_not_hold_up_the_loop() -> None:
    schedule = Schedule(600)
    for number in range(1000):
        schedule.add(f"tap{number}", 0)
    assert len(list(schedule.due(0))) == AT_ONCE and schedule.next() == 0


# --- what is said


def test_no_guest_fills_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    log = EventLog(stream)
    for _ in range(1000):
        log.say("asks", about="tap0")
    log.say("asks", about="tap1")
    log.say("starts")
    assert len(stream.getvalue().splitlines()) == MOST + 2
    now[0] += PERIOD
    log.say("asks", about="tap0")
    assert f"{1000 - MOST} lines left out" in stream.getvalue()


def test_json_log() -> None:
    stream = io.StringIO()
    EventLog(stream, as_json=True).say('a "word"\n', "warning", "tap0")
    assert {**json.loads(stream.getvalue()), "time": 0} == {
        "time": 0,
        "level": "warning",
        "interface": "tap0",
        "message": 'a "word"\n',
    }


def test_every_counter_has_its_help() -> None:
    figures: dict[str, object] = {
        **dict.fromkeys(metrics.HELP, 5),
        "frames_total": {"ack": 3, "offer": 4},
        "guests": {"served": 1},
    }
    text = metrics.text(figures)
    assert 'nfdhcpd_frames_total{result="ack"} 3\n' in text and 'nfdhcpd_guests{state="served"} 1\n' in text
    assert text.count("# TYPE") == text.count("# HELP") == len(metrics.HELP)


def test_capture_record() -> None:
    seconds, micro, kept, length = struct.unpack_from(
        "=IIII", wire.pcap_record(b"frame", 1_700_000_001_000_002)
    )
    assert (seconds, micro) == (1_700_000_001, 2) and kept == length == 5
    assert wire.PCAP_HEADER[:4] == struct.pack("=I", 0xA1B2C3D4)


@pytest.mark.parametrize(
    ("variables", "pause"),
    (
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "5"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "6"}, 0.0),
        ({"WATCHDOG_USEC": "nonsense"}, 0.0),
    ),
)
def test_watchdog_is_fed_twice_in_its_time(variables: dict[str, str], pause: float) -> None:
    manager = Manager(variables, 5)
    assert manager.pause == pause
    manager.alive()


@pytest.mark.parametrize(
    ("text", "queues"),
    (
        ("", {42, 43, 44, 45}),
        ("[ipv6]\nenable_ipv6 = no\n", {42}),
        ("[dhcp]\nenable_dhcp = no\n[ipv6]\nmode = slaac\n", {43, 44}),
        ("[dhcp]\ndhcp_queue = 1\n[ipv6]\nrs_queue = 2\nns_queue = 3\ndhcpv6_queue = 4\n", {1, 2, 3, 4}),
    ),
)
def test_queues_that_are_taken(text: str, queues: set[int]) -> None:
    assert wanted(conf.read(text)[0]) == queues


def test_engine_needs_the_one_capability_it_keeps() -> None:
    assert PacketEngine.capabilities == 1 << 13
