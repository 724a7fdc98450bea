"""What the watch reads in the kernel's messages, and what it makes of devices that stand on others."""

from __future__ import annotations

from pathlib import Path
from struct import pack

from snf_network.host.record import Record
from snf_network.lean import replace
from snf_network.model.config import Config
from snf_network.model.resources import Element
from snf_network.observe.drift import Difference, confirmed
from snf_network.watch.events import (
    IFF_LOWER_UP,
    IFLA_CARRIER_UP_COUNT,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    Event,
    Parser,
)
from snf_network.watch.notes import Notes
from snf_network.watch.uplinks import above
from snf_network.wire import (
    IFF_UP,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MASTER,
    IFLA_MTU,
    RTM_DELLINK,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    attribute,
)

BOND = Path(__file__).parent / "messages" / "bond.hex"
"""What Debian's kernel 6.1 says of a bond in mode active-backup, when its active port is eth2, and after the
other end of that port is down: each line is the body of one RTM_NEWLINK.
"""


def link(index: int, name: str, flags: int = IFF_UP | IFF_LOWER_UP, **numbers: int) -> bytes:
    """A message about a device."""
    kinds = {"master": IFLA_MASTER, "lower": IFLA_LINK, "ups": IFLA_CARRIER_UP_COUNT}
    more = (attribute(kinds[key], pack("=I", value)) for key, value in numbers.items())
    name_of = attribute(IFLA_IFNAME, name.encode() + b"\0")
    return IFINFOMSG.pack(0, 1, index, flags, 0) + name_of + b"".join(more)


def read(parser: Parser, *bodies: bytes, kind: int = RTM_NEWLINK) -> list[tuple[str, str]]:
    """Kind and device of what messages say."""
    return [(event.kind, event.interface) for body in bodies for event in parser.route(kind, body)]


def test_a_carrier_that_comes_back() -> None:
    parser = Parser()
    assert read(parser, link(2, "eth1"), link(2, "eth1")) == [("link", "eth1")]
    assert read(parser, link(2, "eth1", IFF_UP)) == [("link", "eth1")]
    assert read(parser, link(2, "eth1")) == [("link", "eth1"), ("carrier", "eth1")]


def test_a_carrier_that_was_lost_and_is_back_in_one_message() -> None:
    parser = Parser()
    read(parser, link(2, "eth1", ups=7))
    assert read(parser, link(2, "eth1", ups=8)) == [("link", "eth1"), ("carrier", "eth1")]


def test_a_link_that_goes_down() -> None:
    """One that was never up has lost nothing by it."""
    parser = Parser()
    assert read(parser, link(2, "tap0", 0), link(2, "tap0", 0, master=3)) == [("link", "tap0")] * 2
    assert read(parser, link(2, "tap0"))[0] == ("link", "tap0")
    assert read(parser, link(2, "tap0", 0)) == [("link", "tap0"), ("down", "tap0")]


def test_another_port_of_a_bond_is_active() -> None:
    """The bond keeps its carrier all the time."""
    parser = Parser()
    before, after = map(bytes.fromhex, BOND.read_text().split())
    assert read(parser, before) == [("link", "bond0")]
    assert read(parser, after, after) == [("link", "bond0"), ("carrier", "bond0")]


def test_a_veth_stands_on_nothing_here() -> None:
    """Its other end has a number of another namespace."""
    parser = Parser()
    other = attribute(IFLA_LINK_NETNSID, pack("=I", 0))
    read(parser, link(2, "eth1"), link(3, "tap0", lower=2) + other)
    assert above(parser.links, {"eth1"}) == {"eth1"}


def test_a_device_that_goes_has_its_name() -> None:
    """Whether it was known before or not."""
    parser = Parser()
    read(parser, link(2, "tap0"))
    assert read(parser, link(2, "tap0"), link(3, "tap1"), kind=RTM_DELLINK) == [
        ("gone", "tap0"),
        ("gone", "tap1"),
    ]
    assert parser.links == {}


def test_a_message_that_cannot_be_parsed_is_a_loss() -> None:
    assert [*Parser().route(RTM_NEWROUTE, b"\2")] == [Event("lost")]


def test_whose_a_change_is(tmp_path: Path) -> None:
    """A guest's own carrier announces nobody, and a member's key may be anything."""
    (tmp_path / "tap0").write_text("")
    (tmp_path / "locks").mkdir()
    notes = Notes(Config(state_dir=str(tmp_path)), {}, lambda: 1.0)
    for name in ("tap0", "eth1"):
        notes.note(Event("carrier", 2, name))
    assert notes.carriers == {"eth1"}
    for name in ("tap0", "../tap0", "locks/../tap0", "..", "."):
        notes.note(Event("member", interface=name, what="macs"))
    assert notes.suspects.keys() == {"tap0"}


def test_the_end_of_a_nic_is_not_the_nodes_business(tmp_path: Path) -> None:
    """An ifdown deletes the record, then the members, as far as the watch can tell, and the tap is closed
    after that.
    """
    record = tmp_path / "tap0"
    record.write_text("")
    parser = Parser()
    notes = Notes(Config(state_dir=str(tmp_path)), parser.links, lambda: 1.0)
    read(parser, link(2, "eth1"), link(4, "tap0"))
    notes.note(Event("link", 4, "tap0"))
    assert notes.suspects.keys() == {"tap0"}
    record.unlink()
    notes.note(Event("member", interface="tap0", what="macs"))
    notes.note(Event("route", 4, what="198.51.100.10/32 100"))
    notes.note(*parser.route(RTM_DELLINK, link(4, "tap0")))
    assert not notes.moved and not notes.guests
    notes.note(Event("gone", 2, "eth1"))
    assert notes.moved


def test_a_bridge_that_changes_its_own_address_is_not_looked_at(tmp_path: Path) -> None:
    """It does with each tap that becomes its port or leaves it; a NIC that does has lost its MAC address."""
    (tmp_path / "tap0").write_text("")
    parser = Parser()
    notes = Notes(Config(state_dir=str(tmp_path)), parser.links, lambda: 1.0)

    def hears(name: str, mac: int, mtu: int = 1500) -> None:
        more = attribute(IFLA_ADDRESS, bytes((2, 0, 0, 0, 0, mac))) + attribute(IFLA_MTU, pack("=I", mtu))
        for event in parser.route(RTM_NEWLINK, link(2 if name == "br0" else 3, name) + more):
            notes.note(event)

    for name in ("br0", "tap0"):
        hears(name, 1)
    notes.suspects, notes.moved = {}, False
    hears("br0", 2)
    assert not notes.moved
    hears("br0", 2, 1400)
    assert notes.moved and not notes.suspects
    hears("tap0", 2)
    assert notes.suspects["tap0"].link


def test_what_two_comparisons_find_is_found() -> None:
    record = Record("tap0", 7, "boot", "inst", "uuid", (), ())
    again, anew = replace(record, ifindex=8), replace(record, lacking=("IPv6",))
    kept, done = Element("bridge", "macs", "tap0"), Element("bridge", "guarded", "tap0")
    first = Difference(missing=((record, kept), (record, done)), orphans=(kept,), rules=("missing: x",))
    second = Difference(missing=((anew, kept), (again, done)), orphans=(kept, done), live=(anew,))
    assert confirmed(first, second) == Difference(missing=((anew, kept),), orphans=(kept,), live=(anew,))


def test_all_that_stands_on_a_device() -> None:
    """A card in a bond, which is a port of a bridge, which has a VLAN."""
    parser = Parser()
    read(
        parser,
        link(2, "eth0", master=3),
        link(3, "bond0", master=4),
        link(4, "br0"),
        link(5, "br0.100", lower=4),
        link(6, "eth1"),
    )
    assert above(parser.links, {"eth0"}) == {"eth0", "bond0", "br0", "br0.100"}
    assert above(parser.links, {"eth1"}) == {"eth1"}
