"""What there is to draw: NICs in their tables and bridges, and the uplinks of these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from snf_network.host.record import Record
from snf_network.lean import dataclass
from snf_network.model.resources import Element, OvsPort, Port
from snf_network.observe.devices import Device, Gateway
from snf_network.setups.bridged import vlans

from .. import chosen

TABLE, BRIDGE, OPENVSWITCH = "routing table", "bridge", "Open vSwitch bridge"
KINDS = {"routed": TABLE, "bridged": BRIDGE, "openvswitch": OPENVSWITCH}
UP, NO_RECORD, INVALID, MISSING = "up", "no record", "invalid", "missing"
STATES = (UP, "down", "incomplete", "gone")
"""Of a NIC with a valid record, as in `status`."""
WARNING = ("incomplete", "no carrier")
"""States that are neither good nor bad."""
NUMBERED = {"vlan": "VLAN", "vxlan": "VXLAN"}
Place = tuple[str, str]
"""A kind of network, and its name."""


@dataclass(frozen=True)
class Nic:
    """A NIC, in words. Any field but `interface` may be empty."""

    interface: str
    state: str
    """As in `status`; or `no record`, or `invalid`."""
    instance: str = ""
    name: str = ""
    """The name of the NIC in its instance, or else its index."""
    network: str = ""
    vlan: str = ""
    """In words, such as `VLAN 5, tagged 6 7`."""
    profile: str = ""
    tags: tuple[str, ...] = ()
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """IPv4, then IPv6."""

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called on the node, in its instance, and where it is."""
        if self.state == NO_RECORD:
            return (self.interface, "not brought up by snf-network")
        own = f"nic{self.name}" if self.name.isdigit() else self.name
        return tuple(filter(None, (self.interface, own, self.network)))


@dataclass(frozen=True)
class Uplink:
    """A device that leads out of the node."""

    name: str
    state: str
    """up, no carrier, down or missing."""
    facts: tuple[str, ...] = ()
    """What it is, such as `VLAN 5 on eth2`, its MTU and the node's addresses on it."""


@dataclass(frozen=True)
class Network:
    """A table or a bridge, and the NICs in it."""

    kind: str
    name: str
    """That of a bridge, or the number of a table."""
    alias: str = ""
    """The name of a table; may be empty."""
    facts: tuple[str, ...] = ()
    problem: str = ""
    """Why no guest in it has a way out; empty if none is known."""
    uplinks: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()

    @property
    def title(self) -> str:
        """What it is called."""
        return f"{self.kind} {self.name}{f' ({self.alias})' * bool(self.alias)}"


@dataclass(frozen=True)
class Picture:
    """All of it."""

    node: str
    uplinks: tuple[Uplink, ...] = ()
    networks: tuple[Network, ...] = ()
    unused: tuple[str, ...] = ()
    """Bridges without a NIC."""

    @property
    def summary(self) -> str:
        """How many NICs and instances there are."""
        nics = [nic for network in self.networks for nic in network.nics]
        instances = {nic.instance for nic in nics if nic.instance}
        return f"{counted(len(nics), 'NIC')} of {counted(len(instances), 'instance')}" if nics else "no NICs"


def counted(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number} {noun}{'s' * (number != 1)}"


def place(record: Record) -> Place:
    """Where a NIC is: by what was put in place for it, or else by what Ganeti said."""
    for resource in record.resources:
        if isinstance(resource, Element) and resource.set == "tables":
            return TABLE, resource.value
        if isinstance(resource, OvsPort):
            return OPENVSWITCH, resource.bridge
        if isinstance(resource, Port) and resource.bridge:
            return BRIDGE, resource.bridge
    values = dict(record.variables)
    return KINDS.get(values.get("MODE", ""), "network"), values.get("LINK", "")


def nic(record: Record, row: Mapping[str, str]) -> Nic:
    """A NIC from its record and its row in `status`."""
    values = dict(record.variables)
    state = row["state"] if row["state"] in STATES else INVALID
    return Nic(
        record.interface,
        state,
        record.instance,
        chosen.nic_of(record),
        values.get("NETWORK_NAME", ""),
        _vlan(values.get("VLAN", "") if state != INVALID else ""),
        row["profile"],
        tuple(row["tags"].split()),
        row["mac"],
        tuple(filter(None, (row["ip"], row["ip6"]))),
    )


def _vlan(said: str) -> str:
    """What Ganeti says of VLANs, in words; it has been checked."""
    untagged, tagged = vlans(said)
    trunk = f"tagged {' '.join(tagged)}" if tagged else ""
    return f"VLAN {', '.join(filter(None, (untagged, trunk)))}" if said else ""


def picture(
    node: str,
    nics: Mapping[Place, Sequence[Nic]],
    devices: Mapping[str, Device],
    gateways: Mapping[str, Sequence[Gateway]],
    names: Mapping[str, str],
) -> Picture:
    """Everything in its place: `gateways` are by table, `names` are those of tables by number."""
    recorded = {one.interface for others in nics.values() for one in others}
    networks = tuple(
        _table(name, nics[kind, name], gateways.get(name, ()), names)
        if kind == TABLE
        else _bridge(kind, name, nics[kind, name], devices, recorded)
        for kind, name in sorted(nics, key=lambda at: (at[0] != TABLE, chosen.counted(at[1])))
    )
    uplinks = dict.fromkeys(name for network in networks for name in network.uplinks)
    shown = {name for kind, name in nics if kind == BRIDGE}
    unused = [one.name for one in devices.values() if one.kind == "bridge" and one.name not in shown]
    return Picture(
        node,
        tuple(_uplink(name, devices) for name in uplinks),
        networks,
        tuple(sorted(unused, key=chosen.counted)),
    )


def _table(
    number: str, nics: Sequence[Nic], gateways: Sequence[Gateway], names: Mapping[str, str]
) -> Network:
    uplinks = tuple(dict.fromkeys(hop.device for hop in gateways))
    facts = tuple(_hops(name, gateways, len(uplinks) > 1) for name in uplinks)
    problem = "" if gateways else "no default route"
    return Network(TABLE, number, names.get(number, ""), facts, problem, uplinks, tuple(nics))


def _hops(device: str, gateways: Sequence[Gateway], named: bool) -> str:
    """The next hops on one uplink; and it, if `named` or if they have no address."""
    addresses = " and ".join(hop.address for hop in gateways if hop.device == device and hop.address)
    on = f" on {device}" if named or not addresses else ""
    return f"default{f' via {addresses}' if addresses else ''}{on}"


def _bridge(
    kind: str, name: str, nics: Sequence[Nic], devices: Mapping[str, Device], recorded: Collection[str]
) -> Network:
    """Its ports are NICs, taps without a record, and uplinks."""
    bridge = devices.get(name)
    if not bridge:
        known = kind != BRIDGE  # a bridge of Open vSwitch needs no device of its name
        return Network(kind, name, problem="" if known else "does not exist", nics=tuple(nics))
    facts = (f"MTU {bridge.mtu}", *("VLAN-aware",) * bridge.vlan_aware, *_own(bridge))
    ports = [one for one in devices.values() if one.master == name and one.name not in recorded]
    strays = [one.name for one in ports if one.kind == "tun" or one.name.startswith("vif")]
    return Network(
        kind,
        name,
        facts=facts,
        problem="" if bridge.up else "is down",
        uplinks=tuple(one.name for one in ports if one.name not in strays),
        nics=(*nics, *(Nic(stray, NO_RECORD) for stray in sorted(strays, key=chosen.counted))),
    )


def _own(device: Device) -> Iterator[str]:
    if device.addresses:
        yield f"the node is {', '.join(device.addresses)}"


def _uplink(name: str, devices: Mapping[str, Device]) -> Uplink:
    device = devices.get(name)
    if not device:
        return Uplink(name, MISSING)
    state = UP if device.up and device.carrier else "no carrier" if device.up else "down"
    facts = (*_kind(device, devices.values()), f"MTU {device.mtu}", *_own(device))
    return Uplink(name, state, facts)


def _kind(device: Device, others: Iterable[Device]) -> Iterator[str]:
    """What a device is, on what, and what that is made of."""
    below = device.lower if device.kind != "veth" else ""  # the lower device of a veth is its other end
    members = " ".join(one.name for one in others if one.master == (below or device.name))
    if device.kind:
        kind = f"{NUMBERED.get(device.kind, device.kind)} {device.number}".strip()
        yield f"{kind}{f' on {below}' if below else ''}{f' of {members}' if members else ''}"
