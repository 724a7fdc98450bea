"""Records: text that anybody can read and nothing executes. They are replaced atomically, by one call at a
time for each interface.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snf_network.errors import KernelError
from snf_network.host import record as room
from snf_network.host.lock import Lock
from snf_network.host.record import ALWAYS, Record, Records, parse
from snf_network.lean import replace
from snf_network.model import resources
from snf_network.model.resources import Binding, Element, Link, NeighProxy, Port, Route, Rule, SharedElement

KINDS = resources.KINDS
RECORD = Record(
    "tap0",
    7,
    "b00t",
    "inst1.example.com",
    "uu1d",
    (("INSTANCE", "inst1.example.com"), ("TAGS", "a\tb\nc\\d\\te\r")),
    (
        Element("inet", "tables", "tap0", "", "222"),
        Link("tap0", "cc:47:52:4e:45:54"),
        Route("198.51.100.10/32", "tap0", "222"),
        Binding("/var/lib/nfdhcpd/tap0", 'INDEV=tap0\nTAGS="a b"\n'),
    ),
    ("no default route",),
    (),
    (("uplink", "eth1"),),
)
TEXT = (
    "nic\ttap0\t7\tb00t\tinst1.example.com\tuu1d\t2\n"
    "variable\tINSTANCE\tinst1.example.com\n"
    "variable\tTAGS\ta\\tb\\nc\\\\d\\\\te\\r\n"
    "node\tuplink\teth1\n"
    "lacking\tno default route\n"
    "Element\tinet\ttables\ttap0\t\t222\n"
    "Link\ttap0\tcc:47:52:4e:45:54\t\n"
    "Route\t198.51.100.10/32\ttap0\t222\t\t\n"
    'Binding\t/var/lib/nfdhcpd/tap0\tINDEV=tap0\\nTAGS="a b"\\n\n'
    "end\n"
)
FIRST_FORMAT = (
    "nic\ttap0\t7\tb00t\tinst1.example.com\tuu1d\n"
    'Element\tinet\ttables\t"tap0"\t222\n'
    'Element\tinet\tsrc4\t"tap0" . aa:00:00:ad:35:c9 . 198.51.100.10\t\n'
    'SharedElement\tinet\tmasq\t10.0.0.0/8 . "eth0"\t\n'
    "Port\ttap0\tbr0\n"
)


def later(line: str) -> str:
    """TEXT with one more line, where a line may be."""
    return TEXT.removesuffix("end\n") + line + "end\n"


def test_a_record_is_a_line_a_fact() -> None:
    assert RECORD.text() == TEXT


def test_what_is_written_is_read() -> None:
    assert parse(TEXT) == RECORD


# what is hardest for tab-separated lines: their own separators and escapes, and all that other readers take
# for the end of a line
HARD = st.text(
    st.one_of(st.sampled_from("\\\t\n\rtnr \"'\x00\x0b\x0c\x1c\x85\u2028\udcff"), st.characters()),
    max_size=12,
)
RESOURCES = st.sampled_from(list(KINDS.values())).flatmap(
    lambda kind: st.lists(HARD, min_size=len(_names(kind)), max_size=len(_names(kind))).map(
        lambda values: kind(*values)
    )
)


def _names(kind: Any) -> list[str]:
    return [
        name
        for base in reversed(kind.__mro__)
        for name, hint in base.__dict__.get("__annotations__", {}).items()
        if "ClassVar" not in hint
    ]


@given(
    st.builds(
        Record,
        HARD,
        st.integers(0, 2**31),
        HARD,
        HARD,
        HARD,
        st.lists(st.tuples(HARD, HARD), max_size=3).map(tuple),
        st.lists(RESOURCES, max_size=4).map(tuple),
        st.lists(HARD, max_size=2).map(tuple),
        st.lists(RESOURCES, max_size=2).map(tuple),
        st.lists(st.tuples(HARD, HARD), max_size=2).map(tuple),
    )
)
def test_any_strings_round_trip(record: Record) -> None:
    assert parse(record.text()) == record


@given(HARD)
def test_any_string_round_trips_through_a_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    records = Records(str(tmp_path_factory.getbasetemp()))
    record = Record("tap0", 7, "b", "i", "u", (("TAGS", text),), ())
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return  # no environment and no file has such a string
    records.save(record)
    assert records.load("tap0") == record


ROW = st.lists(st.one_of(HARD, st.sampled_from(["nic", "variable", "lacking", *KINDS, "7"])), max_size=7).map(
    "\t".join
)


@given(st.lists(st.one_of(HARD, ROW, st.sampled_from(TEXT.splitlines())), max_size=6).map("\n".join))
@example("nic\ttap0\t\u00b2\tb\ti\tu\n")
@example("nic\ttap0\t7\tb\ti\tu\nlacking\n")
def test_any_text_is_a_record_or_none(text: str) -> None:
    assert parse(text) is None or isinstance(parse(text), Record)


FOREIGN = [
    "",
    "\n",
    "nic\n",
    "nic\ttap0\tx\tb\ti\tu\n",
    "nic\ttap0\t7\tb\ti\n",
    "INSTANCE=inst1\nMAC=aa\n",
    "variable\ta\tb\n" + TEXT,
    later("Link\n"),
    later("variable\ta\n"),
    later("lacking\n"),
    *(TEXT[:length] for length in range(len(TEXT) - 1)),
]


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: repr(text[-14:]))
def test_what_is_no_record_of_ours_is_none(text: str) -> None:
    assert parse(text) is None


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert parse(later("Teleport\ta\tb\n")) == RECORD
    more = parse(later("Link\ttap9\tmac\tmtu\tmore\n"))
    assert more and more.resources[-1] == Link("tap9", "mac", "mtu")


def test_a_record_of_the_first_format_is_read() -> None:
    record = parse(FIRST_FORMAT)
    assert record and record.resources == (
        Element("inet", "tables", "tap0", "", "222"),
        Element("inet", "src4", "tap0", "aa:00:00:ad:35:c9 . 198.51.100.10"),
        SharedElement("inet", "masq", "", '10.0.0.0/8 . "eth0"'),
        Port("tap0", "br0"),
    )


# --- the directory


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(str(tmp_path / "state"))


def test_a_record_is_saved_loaded_and_forgotten(records: Records) -> None:
    assert records.load("tap0") is None
    records.save(RECORD)
    assert records.load("tap0") == RECORD
    records.forget("tap0")
    assert records.load("tap0") is None
    records.forget("tap0")


def test_a_record_is_put_in_place_at_once(records: Records) -> None:
    records.save(RECORD)
    path = Path(records.directory, "tap0")
    with path.open() as file:
        records.save(room.Record("tap0", 8, "b", "i", "u", (), ()))
        assert file.read() == TEXT, "who reads meanwhile reads the whole of the old one"
    assert os.listdir(records.directory) == ["tap0"]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077], ids=oct)
def test_the_mode_of_a_record_does_not_depend_on_the_umask(records: Records, mask: int) -> None:
    before = os.umask(mask)
    try:
        records.save(RECORD)
    finally:
        os.umask(before)
    assert Path(records.directory, "tap0").stat().st_mode & 0o777 == 0o644


def test_a_stale_file_beside_it_is_no_obstacle(records: Records) -> None:
    Path(records.directory).mkdir()
    Path(records.directory, ".tap0.new").write_text("half a rec" * 1000)
    records.save(RECORD)
    assert records.load("tap0") == RECORD


def test_a_link_laid_where_the_new_file_is_made_is_not_followed(records: Records, tmp_path: Path) -> None:
    Path(records.directory).mkdir()
    Path(records.directory, ".tap0.new").symlink_to(tmp_path / "victim")
    records.save(RECORD)
    assert not (tmp_path / "victim").exists() and records.load("tap0") == RECORD


def test_the_records_are_those_that_are_ours(records: Records) -> None:
    records.save(RECORD)
    directory = Path(records.directory)
    (directory / "tap1").write_text("INSTANCE=of-the-bash-package\n")
    (directory / "tap2").write_text(TEXT)  # a copy: it is tap0's
    (directory / ".tap3.new").write_text(TEXT)
    (directory / "base").write_text("table inet snf_network {\n")
    (directory / "locks").mkdir()
    (directory / "shared").mkdir()
    assert list(records) == [RECORD]


def test_no_directory_is_no_records(records: Records) -> None:
    assert list(records) == []


# --- what several NICs share


def have_records(records: Records, *interfaces: str) -> None:
    """Who has none holds nothing."""
    for interface in interfaces:
        records.save(replace(RECORD, interface=interface))


def test_what_is_held_without_a_record_is_nobodys(records: Records) -> None:
    have_records(records, "tap0")
    for holder in ("tap0", "tap1", ALWAYS):
        records.hold(SHARED[0], holder)
    records.hold(SHARED[1], "tap1")
    assert records.held(SHARED[0]) and not records.held(SHARED[1])
    records.prune()
    assert records.release(SHARED[0], "tap0") is False and records.held(SHARED[0]), (
        "what is kept for good has no record"
    )
    assert records.release(SHARED[0], ALWAYS) is True


SHARED = [
    Rule("-4", "222", "lookup"),
    NeighProxy("2001:db8::1", "eth1"),
    Element("inet", "masq", "", '10.0.0.0/8 . "eth0"'),
]


@pytest.mark.parametrize("resource", SHARED, ids=repr)
def test_the_last_that_lets_go_of_a_shared_thing_is_told_so(records: Records, resource: Rule) -> None:
    have_records(records, "tap0", "tap1")
    assert not records.held(resource)
    records.hold(resource, "tap0")
    records.hold(resource, "tap1")
    records.hold(resource, "tap1")
    assert records.held(resource)
    assert records.release(resource, "tap0") is False
    assert records.held(resource)
    assert records.release(resource, "tap1") is True
    assert not records.held(resource)
    assert records.release(resource, "tap1") is True, "a call that was cut short may ask again"


def test_shared_things_are_held_one_by_one(records: Records) -> None:
    records.save(RECORD)
    for resource in SHARED:
        records.hold(resource, "tap0")
    for resource in SHARED:
        assert records.release(resource, "tap0") is True
    assert not any(map(records.held, SHARED))


def test_hold_and_release_at_once_lose_nobody(records: Records) -> None:
    have_records(records, *(f"tap{number}" for number in range(3)))
    resource, failures = SHARED[0], []

    def busy(interface: str) -> None:
        try:
            for _ in range(300):
                records.hold(resource, interface)
                if not records.held(resource):
                    failures.append(f"{interface} holds it and nobody does")
                records.release(resource, interface)
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=busy, args=(f"tap{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and not records.held(resource)


# --- locks


def test_a_lock_is_made_with_its_directories_and_is_nobodys_to_read(records: Records) -> None:
    with Lock(records.directory, "tap0") as lock:
        path = Path(lock.path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_second_call_waits_for_the_first(records: Records) -> None:
    order = []

    def second() -> None:
        with Lock(records.directory, "tap0"):
            order.append("second")

    with Lock(records.directory, "tap0"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_two_interfaces_do_not_wait_for_each_other(records: Records) -> None:
    with Lock(records.directory, "tap0"), Lock(records.directory, "tap1"):
        pass


def test_waiting_has_an_end(records: Records) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with Lock(records.directory, "tap0"):
        with pytest.raises(KernelError, match="held by another call"), Lock(records.directory, "tap0", 0.02):
            pass
        assert len(os.listdir("/proc/self/fd")) == descriptors + 1, "waiting leaves no file open"


def test_a_lock_is_free_after_an_exception(records: Records) -> None:
    with pytest.raises(ZeroDivisionError), Lock(records.directory, "tap0") as lock:
        raise ZeroDivisionError
    with open(lock.path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_link_in_place_of_the_lock_is_not_followed(records: Records, tmp_path: Path) -> None:
    locks = Path(records.directory, "locks")
    locks.mkdir(parents=True)
    (locks / "tap0").symlink_to(tmp_path / "victim")
    with pytest.raises((KernelError, OSError)), Lock(records.directory, "tap0"):
        pass
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", ["locks", "shared", "base"])
def test_names_that_the_directory_needs_for_itself_are_no_interfaces(records: Records, name: str) -> None:
    with pytest.raises(KernelError, match=name):
        Lock(records.directory, name)
