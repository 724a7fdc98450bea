"""The engine on a fake machine that only remembers, without root: order, undoing, and which NICs stay up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from snf_network.apply.engine import Engine
from snf_network.errors import Hung, KernelError
from snf_network.host import kernel, lock
from snf_network.host import record as records_module
from snf_network.host.record import Record
from snf_network.lean import replace
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.model.resources import Element, FloatingRoute, Link, Port, Rule
from snf_network.plan import plan_for
from snf_network.scripts.bringup import keep_wanted
from tests.fake_host import Died, FakeHost
from tests.test_nic import ROUTED
from tests.test_plan import NODE

OTHER = {"IP": "198.51.100.77", "MAC": "aa:00:00:ad:35:77", "INTERFACE_UUID": "other"}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    made = FakeHost("tap0", "tap1", "eth0", "eth1", "prv0")
    monkeypatch.setattr(records_module, "ifindex", made.ifindex)
    monkeypatch.setattr(records_module, "is_up", made.is_up)
    monkeypatch.setattr(records_module, "boot", lambda: "b00t")
    return made


@pytest.fixture
def engine(host: FakeHost, tmp_path: Path) -> Engine:
    config = replace(Config(), state_dir=str(tmp_path / "state"), nfdhcpd_state_dir="/bindings")
    return Engine(config, host)


def wanted(engine: Engine, **values: str) -> Record:
    """The record of a routed NIC with all that a network can give it."""
    env = {**ROUTED, "NETWORK_TAGS": "ip-less-routed nfdhcpd", "TAGS": "", **values}
    nic = Nic.from_env(env)
    plan = plan_for(nic, NODE, engine.config)
    index = engine.host.ifindex(nic.interface)
    return Record(
        nic.interface, index, "b00t", nic.instance, nic.uuid, nic.values, plan.resources, plan.lacking
    )


def first(host: FakeHost, word: str) -> int:
    return next(number for number, act in enumerate(host.acts) if word in act)


def test_filters_come_before_the_link_and_the_file_last(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine))
    assert first(host, "rule add") < first(host, "add element") < first(host, "link set dev tap0 address")
    assert host.acts[-1] == "write /bindings/tap0" or "neigh replace proxy" in host.acts[-1]
    assert all(one.key and host.has_element(one) for one in members(engine))


def members(engine: Engine) -> list[Element]:
    record = engine.records.load("tap0")
    assert record
    return [one for one in record.resources if isinstance(one, Element)]


def test_the_link_goes_down_before_its_filters_go(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine))
    host.acts.clear()
    assert engine.remove("tap0")
    assert first(host, "link set dev tap0 down") < first(host, "delete element")
    assert host.state() == ({}, {}, {}) and engine.records.load("tap0") is None


def test_another_tap_of_the_same_name_is_not_set_up(engine: Engine, host: FakeHost) -> None:
    """The tap goes and comes back while its ifup is at work. Nobody would keep filters for the new one: by
    its ifindex, the record is that of a NIC that is gone.
    """
    record = wanted(engine)
    host.devices["tap0"] += 1000
    with pytest.raises(KernelError, match="no such device"):
        engine.replace(record)
    assert not [act for act in host.acts if "link set dev tap0 up" in act or act.endswith("tap0 up")]
    assert host.state() == ({}, {}, {}) and engine.records.load("tap0") is None


def test_saying_it_again_changes_nothing(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine))
    state = host.state()
    engine.replace(wanted(engine))
    assert host.state() == state


ACTS = ("add element", "rule add", "link set", "route replace", "neigh replace", "sysctl", "write /bindings")


@pytest.mark.parametrize("word", ACTS)
def test_a_first_ifup_that_fails_leaves_nothing(engine: Engine, host: FakeHost, word: str) -> None:
    host.refuse = lambda act: "no" if word in act and "down" not in act and "delete" not in act else ""
    with pytest.raises(KernelError):
        engine.replace(wanted(engine))
    assert host.state()[0] == {} and ("Link", "tap0") not in host.placed
    assert engine.records.load("tap0") is None


@pytest.mark.parametrize("word", ACTS[2:])
def test_a_running_nic_stays_up_whatever_fails(engine: Engine, host: FakeHost, word: str) -> None:
    engine.replace(wanted(engine))
    state = host.state()
    host.refuse = lambda act: "no" if word in act else ""
    with pytest.raises(KernelError, match="no"):
        engine.replace(wanted(engine))
    assert host.state() == state
    record = engine.records.load("tap0")
    assert record and record.failed and record.resources == wanted(engine).resources
    host.refuse = lambda act: ""
    engine.replace(wanted(engine))
    record = engine.records.load("tap0")
    assert record and not record.failed


def test_a_refused_member_leaves_a_running_nic_as_it_was(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine))
    state, record = host.state(), engine.records.load("tap0")
    host.refuse = lambda act: "no" if "198.51.100.77" in act else ""
    with pytest.raises(KernelError):
        engine.replace(wanted(engine, **OTHER))
    assert host.state() == state and engine.records.load("tap0") == record


def test_nft_that_hangs_takes_no_running_nic_down(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine))

    def hang(act: str) -> str:
        raise Hung("nft hung and was killed")

    host.refuse = hang
    with pytest.raises(Hung):
        engine.replace(wanted(engine))
    record = engine.records.load("tap0")
    assert ("Link", "tap0") in host.placed and record and record.failed


def test_a_nic_that_moves_and_fails_is_closed(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine))
    moved = replace(wanted(engine), resources=(Port("tap0", "prv0"), Link("tap0")))
    host.refuse = lambda act: "no" if "master" in act else ""
    with pytest.raises(KernelError, match="no"):
        engine.replace(moved)
    assert host.state() == ({}, {}, {}) and engine.records.load("tap0") is None


@pytest.mark.parametrize("values", [{}, OTHER], ids=["first", "changed"])
def test_killed_at_every_step_the_next_call_completes_it(
    engine: Engine, host: FakeHost, values: dict[str, str]
) -> None:
    if values:
        engine.replace(wanted(engine))
    begun = len(host.acts)
    engine.replace(wanted(engine, **values))
    end, steps = host.state(), len(host.acts) - begun
    assert steps > 10
    for step in range(1, steps + 1):
        engine.remove("tap0")
        if values:
            engine.replace(wanted(engine))
        host.dies_at = len(host.acts) + step
        try:
            engine.replace(wanted(engine, **values))
        except Died:
            pass
        host.dies_at = 0
        up = ("Link", "tap0") in host.placed
        assert not up or any(key[1] == "routed" for key in host.members), "up and unfiltered"
        engine.replace(wanted(engine, **values))
        assert host.state() == end, f"killed before step {step}"


def test_what_two_nics_share_goes_with_the_last(engine: Engine, host: FakeHost) -> None:
    for values in ({}, {**OTHER, "INTERFACE": "tap1"}):
        engine.replace(wanted(engine, **values))
    rules = [one for one in host.placed.values() if isinstance(one, Rule)]
    assert rules
    engine.remove("tap0")
    assert [one for one in host.placed.values() if isinstance(one, Rule)] == rules
    engine.remove("tap1")
    assert not [one for one in host.placed.values() if isinstance(one, Rule)]


def test_what_was_flushed_comes_back_in_one_transaction(engine: Engine, host: FakeHost) -> None:
    records = [wanted(engine), wanted(engine, **{**OTHER, "INTERFACE": "tap1"})]
    for record in records:
        engine.replace(record)
    state = host.state()
    host.members.clear()
    host.acts.clear()
    lost = {
        one.interface: (one, [each for each in one.resources if isinstance(each, Element)]) for one in records
    }
    assert engine.mend(lost) == {}
    assert host.state() == state and len([act for act in host.acts if act.startswith("nft")]) == 1


@pytest.mark.parametrize("kind", (Link, Port))
def test_no_link_comes_back_without_its_pins(engine: Engine, host: FakeHost, kind: type[Link | Port]) -> None:
    """A call that is killed may take them away after somebody has looked at what the NIC lacks."""
    record = wanted(engine)
    engine.replace(record)
    state = host.state()
    lost = [one for one in record.resources if isinstance(one, kind)]
    host.members.clear()
    host.acts.clear()
    assert engine.mend({"tap0": (record, lost)}) == {} and host.state() == state
    assert first(host, "add element") < first(host, "link set dev tap0")


def test_gone_nics_are_taken_back_together(engine: Engine, host: FakeHost) -> None:
    records = [wanted(engine), wanted(engine, **{**OTHER, "INTERFACE": "tap1"})]
    for record in records:
        engine.replace(record)
    del host.devices["tap0"], host.devices["tap1"]
    gone, failed = engine.remove_gone(records)
    assert [record.interface for record in gone] == ["tap0", "tap1"] and not failed
    assert host.members == {} and host.files == {} and list(engine.records) == []


def test_no_pins_go_from_under_a_link_that_is_recorded_as_down(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine))
    record, pins = engine.records.load("tap0"), members(engine)
    assert record
    engine.records.save(replace(record, resources=(), lacking=("failed: not up",)))
    host.acts.clear()
    engine.sweep(pins)
    assert first(host, "link set dev tap0 down") < first(host, "delete element")


def test_a_failed_call_writes_nothing_while_another_one_is_at_work(
    engine: Engine, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its empty record would take the place of the one that the other call is just writing."""
    record = wanted(engine)
    monkeypatch.setattr(lock, "patience", lambda seconds: time.monotonic() + 0.05)
    with lock.Lock(engine.config.state_dir, "tap0"):
        keep_wanted(record, engine.config, "refused")
    assert engine.records.load("tap0") is None
    keep_wanted(record, engine.config, "refused")
    assert engine.records.load("tap0").lacking == ("failed: not up: refused",)  # type: ignore[union-attr]


def test_no_nic_is_begun_without_time(
    engine: Engine, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = wanted(engine)
    engine.replace(record)
    host.members.clear()
    monkeypatch.setattr(kernel, "is_late", lambda: True)
    assert engine.mend({"tap0": (record, record.resources)}) == {} and host.members == {}
    assert ("Link", "tap0") in host.placed, "late means stop, not harm"


def flushed(host: FakeHost) -> None:
    """As `nft flush ruleset` leaves it."""
    host.loaded, host.members = False, {}
    host.acts.clear()


def test_rules_and_members_come_back_in_one_transaction(engine: Engine, host: FakeHost) -> None:
    records = [wanted(engine), wanted(engine, INTERFACE="tap1", **OTHER)]
    for record in records:
        engine.replace(record)
    before = dict(host.members)
    flushed(host)
    engine.load(records)
    loads = [act for act in host.acts if act.startswith("nft ")]
    assert len(loads) == 1 and 'include "base.nft"' in loads[0] and host.members == before


def test_a_member_that_is_refused_does_not_cost_the_rules(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine))
    flushed(host)
    host.refuse = lambda act: "no" if "add element" in act else ""
    engine.load([wanted(engine)])
    assert host.loaded and host.members == {}


def test_a_nic_that_went_down_meanwhile_leaves_no_members(engine: Engine, host: FakeHost) -> None:
    record = wanted(engine)
    engine.replace(record)
    engine.remove("tap0")
    flushed(host)
    engine.load([record])
    assert host.loaded and host.members == {}


# --- an address that several NICs may have

VIP = "198.51.100.100"


def pair(engine: Engine) -> tuple[Record, Record]:
    """Two NICs with a virtual address, not up."""
    tags = {"TAGS": f"snf-network:0:allow:{VIP}"}
    return wanted(engine, **tags), wanted(engine, **{**OTHER, "INTERFACE": "tap1", **tags})


def holder(host: FakeHost) -> str:
    """The interface that the virtual address leads to; empty if there is none."""
    found = host.placed.get(("Route", f"{VIP}/32", "222"))
    return found.device if found else ""


def test_the_first_has_it_and_the_second_comes_up(engine: Engine, host: FakeHost) -> None:
    one, other = pair(engine)
    assert not any(VIP in line for line in engine.replace(one))
    said = engine.replace(other)
    assert [line for line in said if VIP in line] == [
        f"{VIP}/32 stays with tap0, until this guest announces it"
    ]
    assert holder(host) == "tap0" and ("Link", "tap1") in host.placed
    record = engine.records.load("tap1")
    assert record and not record.lacking and record.resources == other.resources


@pytest.mark.parametrize("order", [("tap0", "tap1"), ("tap1", "tap0")])
def test_the_other_has_it_when_one_goes(engine: Engine, host: FakeHost, order: tuple[str, str]) -> None:
    for record in pair(engine):
        engine.replace(record)
    engine.remove(order[0])
    assert holder(host) == order[1]
    assert engine.handed == [f"{VIP}/32 goes to tap1"] * (order[0] == "tap0")
    engine.remove(order[1])
    assert host.state() == ({}, {}, {})


def test_the_other_has_it_when_the_tap_of_one_vanishes(engine: Engine, host: FakeHost) -> None:
    records = pair(engine)
    for record in records:
        engine.replace(record)
    del host.devices["tap0"]
    engine.remove_gone(records[:1])
    assert holder(host) == "tap1"


def test_the_other_has_it_when_one_may_not_any_more(engine: Engine, host: FakeHost) -> None:
    for record in pair(engine):
        engine.replace(record)
    engine.replace(wanted(engine))
    assert holder(host) == "tap1"
    engine.remove("tap1")
    assert holder(host) == ""


def test_it_goes_to_who_announces_it_and_may(engine: Engine, host: FakeHost) -> None:
    for record in pair(engine):
        engine.replace(record)
    assert engine.floats.follow("tap1", "198.51.100.99") is None and engine.floats.follow("eth0", VIP) is None
    follower = engine.floats.follow("tap1", VIP)
    assert follower and follower.moved and follower.record.interface == "tap1" and holder(host) == "tap1"
    follower = engine.floats.follow("tap1", VIP)
    assert follower and not follower.moved
    engine.remove("tap0")
    assert holder(host) == "tap1"


def test_nobody_takes_it_from_who_has_it_as_its_own(engine: Engine, host: FakeHost) -> None:
    engine.replace(wanted(engine, IP=VIP))
    other = pair(engine)[1]
    with pytest.raises(KernelError, match="another device"):
        engine.replace(other)
    assert holder(host) == "tap0" and ("Link", "tap1") not in host.placed
    engine.records.save(other)
    engine.records.hold(next(one for one in other.resources if isinstance(one, FloatingRoute)), "tap1")
    assert engine.floats.follow("tap1", VIP) is None and holder(host) == "tap0"


def test_what_floats_and_is_lost_comes_back_once(engine: Engine, host: FakeHost) -> None:
    records = pair(engine)
    for record in records:
        engine.replace(record)
    lost = {
        one.interface: (one, [each for each in one.resources if isinstance(each, FloatingRoute)])
        for one in records
    }
    del host.placed["Route", f"{VIP}/32", "222"]
    assert engine.mend(lost) == {} and holder(host) == "tap0"
    assert not any(record.lacking for record in engine.records)


@pytest.mark.parametrize("lost", [True, False], ids=["registration lost", "registered"])
def test_one_that_is_giving_it_up_keeps_nobody_from_it(engine: Engine, host: FakeHost, lost: bool) -> None:
    """An ifup without the tag was killed, or is at work, when the other comes up."""
    one, other = pair(engine)
    engine.replace(one)
    route = next(each for each in one.resources if isinstance(each, FloatingRoute))
    engine.records.save(replace(wanted(engine), stale=(route,)))
    if lost:
        engine.records.release(route, "tap0")
    engine.replace(other)
    assert holder(host) == "tap1"
    engine.replace(wanted(engine))
    assert holder(host) == "tap1"


def test_killed_at_every_step_it_is_handed_on(engine: Engine, host: FakeHost) -> None:
    records = pair(engine)
    for step in range(1, 100):
        for record in records:
            engine.replace(record)
        engine.floats.follow("tap0", VIP)
        host.dies_at = len(host.acts) + step
        try:
            engine.remove("tap0")
        except Died:
            host.dies_at = 0
            engine.remove("tap0")
        else:
            break
        assert holder(host) == "tap1", f"killed before step {step}"
    assert step > 5
