"""The parts that need no server: names, keys, settings, decisions."""

from __future__ import annotations

import base64
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import dns.name
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snf_network.dns import changes, marks, report, settings
from snf_network.dns.changes import Current, Endpoint, decide
from snf_network.dns.endpoints import record, trouble_with
from snf_network.dns.keys import read_key
from snf_network.dns.registry import Registered, Registry, Trouble
from snf_network.dns.sender import Sender
from snf_network.dns.settings import Route, Settings
from snf_network.dns.spool import Desired, parse
from snf_network.errors import BadConfig
from snf_network.model.config import Config
from snf_network.model.names import Names, forward, reverse

SECRET = base64.b64encode(b"0123456789abcdef").decode()
NAME = dns.name.from_text("inst1.example.com.")
POINTER = dns.name.from_text("1.2.0.192.in-addr.arpa.")
MARK = marks.mark(NAME, "cluster/inst1")
OTHER = marks.mark(NAME, "cluster/other")
A1, A2, A6 = record("A", "192.0.2.1"), record("A", "192.0.2.2"), record("AAAA", "2001:db8::1")
MINE, YOURS = record("PTR", "inst1.example.com."), record("PTR", "printer.example.com.")


@pytest.mark.parametrize(
    ("instance", "zone", "name"),
    [
        ("inst1", "vm.example.com", "inst1.vm.example.com"),
        ("inst1.example.com", "example.com", "inst1.example.com"),
        ("inst1.Example.com", "example.com.", "inst1.example.com"),
        ("inst1.badexample.com", "example.com", "inst1.badexample.com.example.com"),
        ("inst1.example.com", "vm.synnefo.live", "inst1.example.com.vm.synnefo.live"),
        ("example.com", "example.com", "example.com"),
    ],
)
def test_a_name_that_ends_in_the_zone_is_not_doubled(instance: str, zone: str, name: str) -> None:
    assert forward(instance, zone) == name


def test_reverse_names() -> None:
    assert reverse("198.51.100.10") == "10.100.51.198.in-addr.arpa"
    assert reverse("2001:db8::1") == "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"


@pytest.mark.parametrize("name", ["a", "a-b.c1.example", "x" * 63 + ".example", "0.example"])
def test_host_names(name: str) -> None:
    assert trouble_with(name) == ""


@pytest.mark.parametrize(
    "name", ["", "a..b", "-a", "a-", "a_b", "x" * 64, ".".join(["x" * 60] * 5), "ä", "a b", "*"]
)
def test_no_host_names(name: str) -> None:
    assert trouble_with(name)


words = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
names = st.builds(Names, st.just("inst1"), words, words, st.tuples(addresses, addresses))


@given(st.lists(names), st.lists(names), st.booleans(), st.floats(0, 1e10))
def test_the_spool_says_what_it_was_told(
    nics: list[Names], had: list[Names], whole: bool, since: float
) -> None:
    wanted = Desired(
        "inst1", "1", since, whole, tuple(nics), tuple(had), tuple(had), tuple(nics), whole and bool(nics)
    )
    assert parse(wanted.text(), "inst1") == wanted
    assert all(
        parse(wanted.text()[:length], "inst1") is None for length in range(1, len(wanted.text()) - 1, 7)
    )
    assert parse("", "inst1") is None, "what a crash leaves of a file"
    assert parse(wanted.text(), "inst1.bak") is None, "a copy"


LINES = (
    "wanted\tinst1\t1\t5.0\tpart",
    "nic\ta\tpub1\t192.0.2.1",
    "end",
    "tried\t1",
    "record\ta\tA\t192.0.2.1",
    "trouble\ta\twaiting\t1\t1\t1\tno",
)
WORDS = (
    "wanted",
    "nic",
    "had",
    "trouble",
    "record",
    "tried",
    "inst1",
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e999",
    "x",
    "",
    "::",
    "\0",
    "\\",
)
BROKEN = st.lists(
    st.one_of(st.sampled_from(LINES), st.text(max_size=30), st.lists(st.sampled_from(WORDS)).map("\t".join))
).map(lambda lines: "\n".join([*lines, "end"]))


@given(BROKEN)
def test_any_file_in_the_spool_is_read_or_not_believed(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for kind in ("wanted", "known"):
            os.makedirs(f"{directory}/dns/{kind}")
            Path(f"{directory}/dns/{kind}/inst1").write_text(text, errors="surrogateescape")
        sender = Sender(Config(state_dir=directory), PLAIN, str, lambda: 1e9)
        sender._taken()
        assert sender.due() >= 0 and len(sender.jobs()) + len(sender.spool.unreadable()) == 1
        for job in sender.jobs():
            assert all(0 <= float(row["age"]) < 1e10 for row in report.names_of(job, sender))


@pytest.mark.parametrize(
    "words",
    ["a\twaiting\tnan\t1\t1\tno", "a\twaiting\t-inf\t1\t1\tno", "a\twaiting\t1\tx\t1\tno", "a\twaiting"],
)
def test_a_trouble_that_is_none_is_forgotten(tmp_path: Path, words: str) -> None:
    (tmp_path / "dns/known").mkdir(parents=True)
    (tmp_path / "dns/known/inst1").write_text(f"tried\t1\ntrouble\t{words}\nend\n")
    assert Registry(str(tmp_path)).load("inst1") == Registered("inst1")


def test_a_trouble_of_years_still_has_its_ten_minutes() -> None:
    known = replace(Registered("inst1", "1"), troubles={"a": Trouble("waiting", 0, 10**6, 0, "no")}).failed(
        "a", "no", 5.0, False
    )
    assert known.due("1", 5.0) == 605.0
    assert known.due("1", -1e8) == -1e8, "the clock was put back"


# --- decisions


STAMPS = {one: marks.stamp(MARK, one, 5) for one in (A1, A2, A6)}
THEIRS = {one: marks.stamp(MARK, one, 7) for one in (A1, A2, A6)}
OWN = frozenset(STAMPS.values())


def target(
    *wanted: changes.Rdata, had: tuple[changes.Rdata, ...] = (), whole: bool = False, before: int = 6
) -> Endpoint:
    """What a node wants that was told so at 6, and has made the stamps of 5 before."""
    return Endpoint(NAME, frozenset(wanted), frozenset(had), MARK, whole, mine=OWN, stamp=5, before=before)


def there(*records: changes.Rdata, marks: tuple[changes.Rdata, ...] = ()) -> Current:
    return Current(frozenset(records), frozenset(marks))


def named(line: str) -> str:
    """Marks and stamps by name."""
    line = line.replace(f" {MARK.to_text()}", " MARK")
    for one, stamp in STAMPS.items():
        line = line.replace(stamp.to_text(), f"STAMP of {one.to_text()}")
    return line


def lines(change: changes.Change | None) -> list[str]:
    zone = dns.name.from_text("example.com.")
    shown = [named(line) for line in changes.script(zone, [change])][1:] if change else []
    if change:  # what nsupdate would be told, dnspython sends
        assert len(changes.message(zone, [change]).update) >= sum(
            line.startswith("update delete") for line in shown
        )
    return [line.replace("inst1.example.com. ", "") for line in shown]


def test_a_free_name_is_taken() -> None:
    assert lines(decide(target(A1, A6), there())) == [
        "prereq nxdomain inst1.example.com.",
        "update add 300 A 192.0.2.1",
        "update add 300 AAAA 2001:db8::1",
        "update add 300 DHCID STAMP of 2001:db8::1",
        "update add 300 DHCID STAMP of 192.0.2.1",
        "update add 300 DHCID MARK",
    ]


def test_nothing_is_sent_when_nothing_changes() -> None:
    assert decide(target(A1), there(A1, marks=(MARK, STAMPS[A1]))) is None
    assert decide(target(A1), there(A1, A2, marks=(MARK, STAMPS[A1]))) is None, "another NIC's"
    assert decide(target(), there()) is None


def test_only_what_this_nic_had_goes_unless_all_is_known() -> None:
    assert lines(decide(target(A1, had=(A2,)), there(A2, A6, marks=(MARK, STAMPS[A2])))) == [
        "prereq yxrrset DHCID STAMP of 192.0.2.2",
        "prereq yxrrset DHCID MARK",
        "update delete A 192.0.2.2",
        "update delete DHCID STAMP of 192.0.2.2",
        "update add 300 A 192.0.2.1",
        "update add 300 DHCID STAMP of 192.0.2.1",
    ]
    assert lines(decide(target(whole=True), there(A2, marks=(MARK,)))) == [
        "prereq yxrrset DHCID MARK",
        "update delete A 192.0.2.2",
        "update delete DHCID MARK",
    ]


def test_a_name_without_mark_is_adopted_only_if_it_is_equal() -> None:
    assert lines(decide(target(A1, A6), there(A1))) == [
        "prereq nxrrset DHCID",
        "prereq yxrrset A 192.0.2.1",
        "prereq nxrrset AAAA",
        "update add 300 AAAA 2001:db8::1",
        "update add 300 DHCID STAMP of 2001:db8::1",
        "update add 300 DHCID STAMP of 192.0.2.1",
        "update add 300 DHCID MARK",
    ]
    assert lines(decide(target(had=(A1,)), there(A1)))[-1] == "update delete A 192.0.2.1"
    change = decide(target(A1), there(A1, A2))
    assert (
        change
        and change.doubtful
        and not change.deletes
        and lines(change)[0] == "prereq nxdomain inst1.example.com."
    )
    assert decide(target(had=(A1,)), there(A1, A2)) is None


def test_a_marked_name_of_somebody_else_is_left_alone() -> None:
    assert decide(target(had=(A1,), whole=True), there(A1, marks=(OTHER,))) is None
    change = decide(target(A1), there(A1, marks=(OTHER,)))
    assert change and change.doubtful and not change.deletes


def pointer(*wanted: changes.Rdata, had: tuple[changes.Rdata, ...] = ()) -> Endpoint:
    return Endpoint(POINTER, frozenset(wanted), frozenset(had))


def test_pointers() -> None:
    free, taken, ours = (decide(pointer(MINE), there(*records)) for records in ((), (YOURS,), (MINE,)))
    assert free and free.conditions == ((changes.PTR, frozenset()),) and not free.doubtful
    assert taken and taken.doubtful and not taken.deletes
    assert ours is None
    assert decide(pointer(had=(MINE,)), there(YOURS)) is None
    gone = decide(pointer(had=(MINE,)), there(MINE, YOURS))
    assert gone and gone.deletes == {MINE} and gone.conditions == ((changes.PTR, frozenset((MINE, YOURS))),)
    inherited = decide(pointer(MINE), there(YOURS), ours=True)
    assert inherited and (inherited.deletes, inherited.adds) == ({YOURS}, {MINE})


records = st.frozensets(st.sampled_from([A1, A2, A6]))


@given(
    records,
    records,
    records,
    st.booleans(),
    st.sampled_from([(), (MARK,), (OTHER,)]),
    st.sampled_from([STAMPS, THEIRS]),
    st.sampled_from([6, 8]),
)
def test_what_is_done_is_what_was_wanted_and_no_record_of_others_goes(
    wanted: frozenset[changes.Rdata],
    had: frozenset[changes.Rdata],
    present: frozenset[changes.Rdata],
    whole: bool,
    owners: tuple[changes.Rdata, ...],
    stamps: dict[changes.Rdata, changes.Rdata],
    before: int,
) -> None:
    aim = replace(target(*wanted, had=tuple(had), whole=whole), before=before)
    seen = there(*present, marks=(*owners, *(stamps[one] for one in present if owners == (MARK,))))
    change = decide(aim, seen)
    if change and not change.doubtful:
        after = changes.after(seen, change)
        assert wanted <= after.records and (MARK in after.marks) == bool(after.records)
        assert after.marks <= {MARK, *seen.marks, *changes.made(change)} and (
            after.records or not after.marks
        )
        assert decide(replace(aim, mine=OWN | changes.made(change)), after) is None
        addresses = change.deletes & {A1, A2, A6}
        assert addresses <= (present if whole and MARK in owners else had)
        assert stamps is STAMPS or before > 7 or MARK not in owners or not addresses, "the later word counts"
    if OTHER in owners or (MARK not in owners and not present <= wanted | had):
        assert change is None or (change.doubtful and not change.deletes)


def test_an_address_that_another_node_was_told_of_later_stays() -> None:
    theirs = there(A1, A2, marks=(MARK, THEIRS[A1], STAMPS[A2]))
    assert decide(target(had=(A1,)), theirs) is None
    assert decide(target(had=(A1,), before=8), theirs), "this node was told later still"
    assert decide(target(had=(A1,)), there(A1, marks=(MARK,))), "nobody has said when it was registered"
    whole = decide(target(whole=True), theirs)
    assert whole and whole.deletes == {A2, STAMPS[A2]}
    taken = decide(target(A1), theirs)
    assert taken and taken.deletes == {THEIRS[A1]} and taken.adds == {marks.stamp(MARK, A1, 8)}, (
        "ours from now on"
    )


@pytest.mark.parametrize("kind", ["dhcid", "txt"])
@given(st.integers(0, 2**63))
def test_a_stamp_tells_its_address_and_time(kind: str, when: int) -> None:
    mark = marks.mark(NAME, "cluster/inst1", kind)
    made = marks.stamp(mark, A1, when)
    others = [mark, made, marks.stamp(mark, A2, when), marks.mark(NAME, "cluster/inst11", kind)]
    assert marks.stamps(mark, A1, others) == {made: when}
    assert [marks.is_ours(mark, one) for one in others] == [True, True, True, False]
    assert record(kind.upper(), made.to_text()) == made and all(map(marks.is_mark, others))


@pytest.mark.parametrize("owner", ["c/inst1", 'a"b\\c;d $(e)', "ä" * 100, "x" * 253 + "/" + "y" * 253])
def test_a_txt_mark_of_any_owner_is_one_record(owner: str) -> None:
    made = marks.mark(NAME, owner, "txt")
    assert (
        b"".join(made.strings) == b"snf-network=" + owner.encode() and record("TXT", made.to_text()) == made
    )  # type: ignore[attr-defined]
    assert changes.is_foreign(
        Endpoint(NAME, frozenset(), mark=marks.mark(NAME, "other", "txt")), there(marks=(made,))
    )


def test_marks_differ_by_name_owner_and_are_dhcid() -> None:
    assert len({MARK, OTHER, marks.mark(POINTER, "cluster/inst1")}) == 3
    wire = MARK.to_wire()
    assert wire and wire[:3] == b"\0\2\1" and len(wire) == 35  # RFC 4701: type 2, SHA-256
    assert marks.mark(dns.name.from_text("INST1.example.com."), "cluster/inst1") == MARK


# --- keys


@pytest.mark.parametrize(
    "text",
    [
        f'key "k1" {{ algorithm hmac-sha256; secret "{SECRET}"; }};',
        f"key k1. {{\n\talgorithm HMAC-SHA256 ;\n\tsecret {SECRET};\n}};\n",
        f'# a comment\n/* key "no" */\nkey "k1" {{ secret "{SECRET}"; algorithm "hmac-sha256"; }} ;',
    ],
)
def test_named_conf_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    key = read_key(str(tmp_path / "key"))
    assert (str(key.name), key.secret, key.algorithm) == ("k1.", b"0123456789abcdef", dns.tsig.HMAC_SHA256)


def test_a_secret_may_look_like_a_comment(tmp_path: Path) -> None:
    """One of a hundred that tsig-keygen makes has // in it."""
    text = 'key "k1" {\n\talgorithm hmac-sha256; // "no\n\tsecret "AA//BB==";\n};\n'
    (tmp_path / "key").write_text(text)
    assert read_key(str(tmp_path / "key")).secret == base64.b64decode("AA//BB==")


def test_keys_of_dnssec_keygen(tmp_path: Path) -> None:
    private, public = tmp_path / "Kk1.example.+165+12345.private", tmp_path / "Kk1.example.+165+12345.key"
    private.write_text(f"Private-key-format: v1.3\nAlgorithm: 165 (HMAC_SHA512)\nKey: {SECRET}\nBits: AAA=\n")
    public.write_text(f"; a comment\nk1.example. IN KEY 512 3 165 {SECRET[:8]} {SECRET[8:]}\n")
    for path in (private, public):
        key = read_key(str(path))
        assert (str(key.name), key.secret, key.algorithm) == (
            "k1.example.",
            b"0123456789abcdef",
            dns.tsig.HMAC_SHA512,
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        'key "k" { algorithm md4; secret "AAAA"; };',
        'key "k" { algorithm hmac-sha256; };x',
        'key "k" { algorithm hmac-sha256; secret "not base 64"; };',
        "k. IN KEY 512 3 99 AAAA",
    ],
)
def test_bad_keys_are_one_line_without_the_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(BadConfig) as error:
        read_key(str(tmp_path / "key"))
    assert "\n" not in str(error.value) and "not base 64" not in str(error.value)


# --- settings

PLAIN = Settings(Route((("192.0.2.53", 53),), "bind9", "/key", 300), "example.com")


def said(text: str) -> Settings:
    return settings.parse(text, PLAIN, "dns.yaml")


def test_the_old_settings_are_enough() -> None:
    made = settings.load(
        Config(server="192.0.2.53 5353, ns.example.net", fzone="vm.example.com.", keyfile="/key", ttl="60"),
        "/no",
        "/no",
    )
    assert made.default == Route((("192.0.2.53", 5353), ("ns.example.net", 53)), "bind9", "/key", 60)
    assert made.name("inst1", "any") == "inst1.vm.example.com"


def test_zones_networks_and_classless_prefixes() -> None:
    made = said("""
zones:
  other.example.net: {servers: ["[2001:db8::53]:5353", 2001:db8::54], key: /other, ttl: 60}
  2.0.192.in-addr.arpa: {authentication: kerberos}
networks:
  prv1: {zone: int.example.com, ttl: 5}
reverse:
  203.0.113.64/26: 64-127.113.0.203.in-addr.arpa
mark: txt
owner: c1
""")
    assert made.route("a.b.other.example.net").servers == (("2001:db8::53", 5353), ("2001:db8::54", 53))
    assert (
        made.route("1.2.0.192.in-addr.arpa").method == "kerberos"
        and made.route("x.example.com") == PLAIN.default
    )
    assert (
        made.name("inst1", "prv1"),
        made.name("inst1", "pub"),
        made.name("i.other.example.net", "pub"),
    ) == ("inst1.int.example.com", "inst1.example.com", "i.other.example.net")
    assert (
        made.ttl("x.int.example.com", "prv1"),
        made.ttl("i.other.example.net"),
        made.ttl("x.example.com"),
    ) == (5, 60, 300)
    assert (
        made.pointer("203.0.113.70") == "70.64-127.113.0.203.in-addr.arpa"
        and made.pointer("203.0.113.7") == "7.113.0.203.in-addr.arpa"
    )


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("zone: a\nttl: -1\n", 2, "seconds"),
        ("zones:\n  x.example:\n    tll: 3\n", 3, "unknown setting 'tll'"),
        ("a: [", 1, "YAML"),
        ("servers: 5\n", 1, "name server"),
        ("ttl: 1\nttl: 2\n", 2, "twice"),
        ("zone: {}\n", 1, "domain"),
        ("- a\n", 1, "KEY: VALUE"),
        ("reverse: {192.0.2.0/24: x.example}\n", 1, "longer than /24"),
        ("key: relative\n", 1, "absolute path"),
        ("mark: spf", 1, "dhcid or txt"),
        ("zones: {a b: {}}", 1, "domain"),
        ("ttl: true", 1, "seconds"),
        ("!!python/object:os.system x", 1, "YAML"),
        ("timeout: 0", 1, "seconds"),
        ("servers: ['h:99999']", 1, "name server"),
        ("zones:\n  x.example:\n", 2, "KEY: VALUE"),
        ("\nzone: 2020-13-45\n", 2, "no timestamp"),
        ("\nzone: !!timestamp x\n", 2, "no timestamp"),
        ("\nttl: !!int x\n", 2, "no int"),
        ("\nttl: " + 5000 * "9", 2, "no int"),
        ("\ntimeout: !!float x", 2, "no float"),
        ("\ntimeout: .nan", 2, "seconds"),
        ("# a\nzone: a\udcff\n", 2, "character"),
        ("zone: a\n\0\n", 2, "character"),
        ("\na: " + 5000 * "[", 2, "without end"),
        ("\n" + 3000 * "{a: ", 2, "without end"),
        ("\nservers: {a: b}", 2, "name server"),
        ("\nservers: []", 2, "name server"),
        ("\nservers: [[a]]", 2, "name server"),
        ("\nreverse: {5: x.example}", 2, "longer than /24"),
        ("zone: a\n\tttl: 3", 2, "YAML"),
        ("\nreverse: {192.0.2.1/26: x.example}", 2, "longer than /24"),
        ("zone: a\n---\nzone: b", 2, "YAML"),
        ("\nowner: ''", 2, "tells"),
        ("\nowner: 5", 2, "tells"),
        ("\n? [a]\n: b\n", 2, "YAML"),
        ("\nzones: !!set {a.example}", 2, "KEY: VALUE"),
        ("\nzone: *x", 2, "YAML"),
        ("\nyes: 1\non: 2\n", 2, "unknown setting"),
        ("\nzones: &z\n  x.example: *z\n", 3, "unknown setting"),
        ("zone a\n", 1, "KEY: VALUE"),
        ("ttl: 5\r\nttl: 5\r\n", 2, "twice"),
        ("zone: " + 64 * "a", 1, "domain"),
        ("\nzones: {'*.example.com': {}}", 2, "domain"),
        ("\nttl: 3.5", 2, "seconds"),
        ("\nttl: 2147483648", 2, "seconds"),
        ("\nauthentication: no", 2, "plain, bind9"),
        ("\nkey:\n", 2, "path"),
        ("a: &a [x]\nzone: &b [*a, *a]\n", 1, "unknown"),
        ("zone: [[[[[[[[a]]]]]]]]", 1, "domain"),
        ("networks: {5: {ttl: 3}}", 1, "network"),
    ],
)
def test_a_bad_dns_yaml_is_one_line_with_its_number(text: str, line: int, word: str) -> None:
    with pytest.raises(BadConfig) as error:
        said(text)
    assert (
        str(error.value).startswith(f"dns.yaml:{line}: ")
        and word in str(error.value)
        and "\n" not in str(error.value)
    )


@given(st.text(max_size=60))
def test_any_dns_yaml_is_settings_or_one_error(text: str) -> None:
    try:
        said(text)
    except BadConfig as error:
        assert "\n" not in str(error)
