"""`snf-network top`: rates of two moments, and how they are written."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from snf_network.commands import top
from snf_network.host import kernel
from snf_network.host.record import Record, Records
from snf_network.lean import replace
from snf_network.model.resources import Port
from snf_network.observe.rates import Counters, Moment, Nics, Rates, rates

NIC = Record(
    "tap0", 7, "boot", "a.example.com", "u", (("INTERFACE_NAME", "pub0"), ("NETWORK_NAME", "net")), ()
)


def moment(
    time: float, traffic: Sequence[int], drops: dict[str, int], answered: int | None, index: int = 7
) -> Moment:
    record = replace(NIC, ifindex=index)
    return Moment(time, {("tap0", index): Counters(record, tuple(traffic), drops, answered)})


BEFORE = moment(10.0, (1000, 10, 2000, 20), {"ra": 5}, 3)


def test_rates_are_what_was_added_by_time() -> None:
    after = moment(12.0, (3500, 14, 2000, 26), {"ra": 5, "rarp": 3}, 5)
    (found,) = rates(BEFORE, after)
    assert found == Rates(NIC, 10000, 2, 0, 3, {"rarp": 1.5}, 2)
    assert (found.bits, found.packets, found.dropped) == (10000, 5, 1.5)


def test_a_name_that_is_used_again_begins_with_zero() -> None:
    after = moment(12.0, (5000, 50, 5000, 50), {"ra": 6}, None, index=8)
    (found,) = rates(BEFORE, after)
    assert (found.sent_bits, found.sent_packets, found.drops) == (20000, 25, {"ra": 3})


def test_a_counter_that_began_anew() -> None:
    (found,) = rates(BEFORE, moment(11.0, (8, 1, 2000, 20), {"ra": 2}, 1))
    assert (found.sent_bits, found.sent_packets, found.received_bits) == (64, 1, 0)
    assert (found.drops, found.answered) == ({"ra": 2}, 1)


@pytest.mark.parametrize(("before", "after", "told"), ((3, None, None), (None, 9, 0), (None, None, None)))
def test_a_daemon_that_comes_or_goes(before: int | None, after: int | None, told: int | None) -> None:
    """Answers from before are no answers since."""
    (found,) = rates(moment(1, (0,) * 4, {}, before), moment(2, (0,) * 4, {}, after))
    assert found.answered == told


def test_nobody_is_there_twice_or_any_more() -> None:
    assert rates(BEFORE, Moment(12.0, {})) == []
    assert rates(Moment(10.0, {}), replace(BEFORE, time=10.0))[0].sent_packets > 0, "no division by zero"


@pytest.mark.parametrize(
    ("value", "words"),
    (
        *((0, "0"), (0.04, "0"), (0.5, "0.5"), (1, "1"), (9.96, "10"), (42, "42"), (42.3, "42.3")),
        *((999, "999"), (999.6, "1.00k"), (1234, "1.23k"), (12345, "12.3k"), (123456, "123k")),
        *((999600, "1.00M"), (2.5e9, "2.50G"), (1e12, "1.00T"), (1e16, "10000T")),
    ),
)
def test_numbers_have_three_digits(value: float, words: str) -> None:
    assert top.scaled(value) == words


def some(interface: str, sent: float, received: float = 0, **drops: float) -> Rates:
    return Rates(replace(NIC, interface=interface), sent, sent / 8, received, received / 8, drops, None)


CROWD = [some("tap10", 100), some("tap2", 100), some("tap3", 5, 900), some("tap4", 0, rarp=2, ra=0.5)]


@pytest.mark.parametrize(
    ("order", "expected"),
    (
        ("traffic", "tap3 tap2 tap10 tap4"),
        ("sent", "tap2 tap10 tap3 tap4"),
        ("received", "tap3 tap2 tap4 tap10"),
        ("packets", "tap3 tap2 tap10 tap4"),
        ("drops", "tap4 tap2 tap3 tap10"),
        ("dhcp", "tap2 tap3 tap4 tap10"),
        ("name", "tap2 tap3 tap4 tap10"),
    ),
)
def test_the_busiest_come_first(order: str, expected: str) -> None:
    found = top._selected(CROWD, options("--sort", order))
    assert [nic.record.interface for nic in found] == expected.split()
    assert [nic.record.interface for nic in top._selected(CROWD, options("tap4"))] == ["tap4"]


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    top.arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "words",
    (
        "--interval 0",
        "--interval nan",
        "--interval inf",
        "--interval x",
        "--count 0",
        "--count 1.5",
        "--sort x",
    ),
)
def test_what_makes_no_sense_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(*words.split())
    assert ended.value.code == 2 and capsys.readouterr().err.count("error:") == 1


def test_a_table() -> None:
    head, titles, *lines = top.as_text([CROWD[3], CROWD[2]], 2.04).splitlines()
    assert head.endswith("  2 NICs: sent 5 bit/s, received 900 bit/s, dropped 2.5 frames/s in 2.0 s")
    assert titles == ("INTERFACE  INSTANCE       SENT BIT/S  PKT/S  RCVD BIT/S  PKT/S  DROPS/S  DHCP  WHY")
    assert lines == [
        "tap4       a.example.com           0      0           0      0      2.5     -  rarp 2, ra 0.5",
        "tap3       a.example.com           5    0.6         900    112        0     -  -",
    ]
    assert (
        top.as_text([], 1)
        .splitlines()[0]
        .endswith("  0 NICs: sent 0 bit/s, received 0 bit/s, dropped 0 frames/s in 1.0 s")
    )


def test_json_is_one_line() -> None:
    said = top.as_json([CROWD[3]], 2.0004)
    assert said.count("\n") == 1
    found = json.loads(said)
    assert found.pop("time") > 1e9
    assert found == {
        "seconds": 2.0,
        "nics": [
            {
                "interface": "tap4",
                "instance": "a.example.com",
                "nic": "pub0",
                "network": "net",
                "sent_bits": 0,
                "sent_packets": 0,
                "received_bits": 0,
                "received_packets": 0,
                "dropped": 2.5,
                "drops": {"ra": 0.5, "rarp": 2},
                "answered": None,
            }
        ],
    }


# --- records, of devices that every machine has


class Counted(Records):
    """Counts how often a record is parsed."""

    parsed = 0

    def load(self, interface: str) -> Record | None:
        self.parsed += 1
        return super().load(interface)


def test_a_record_is_parsed_again_only_if_it_is_another_one(tmp_path: Path) -> None:
    records = Counted(str(tmp_path))
    lo = replace(
        NIC, interface="lo", ifindex=kernel.ifindex("lo"), boot=kernel.boot(), resources=(Port("lo"),)
    )
    records.save(lo)
    records.save(replace(lo, interface="gone"))
    records.save(replace(lo, boot="another"))
    nics = Nics(records)
    assert list(nics.live()) == []
    records.save(lo)
    assert list(nics.live()) == [replace(lo, resources=())]
    before = records.parsed
    for _ in range(3):
        assert [record.interface for record in nics.live()] == ["lo"]
    assert records.parsed == before
    status = os.stat(tmp_path / "lo")
    records.save(replace(lo, uuid="u2"))
    os.utime(tmp_path / "lo", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [record.uuid for record in nics.live()] == ["u2"], "the same time, another file"
    records.forget("lo")
    assert list(nics.live()) == []


def test_a_state_directory_that_is_not_there(tmp_path: Path) -> None:
    assert list(Nics(Records(str(tmp_path / "none"))).live()) == []
