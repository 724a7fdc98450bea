"""/etc/snf-network/networks.yaml, read and checked: text in, the networks of a node out.

The file is the same on all nodes; what differs is under `nodes`. It is checked for all of them.
"""

from __future__ import annotations

from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any

from snf_network.addresses import family_of, is_name
from snf_network.document import Mistakes, Value, compose, unknown
from snf_network.errors import BadConfig, shown
from snf_network.lean import dataclass
from snf_network.model.networks import (
    Bridge,
    Dhcp,
    Evpn,
    Member,
    Networks,
    Overlay,
    Routed,
    Underlay,
    WireGuard,
)
from snf_network.model.networks.keys import (
    DHCP,
    EVPN,
    LATER,
    LISTS,
    MEMBER,
    NETWORKS,
    NODES_OWN,
    PARTS,
    SYSCTLS,
    UNDERLAY,
    VNI,
    Key,
)

if TYPE_CHECKING:
    from snf_network.model.networks import Network

PATH = "/etc/snf-network/networks.yaml"
TOP = ("underlay", "evpn", "networks", "nodes")
WAYS = ("reflectors", "mesh", "unnumbered")
RESERVED = ("underlay", "evpn", "locks", "shared", "base", "dns", "networks")
"""Names of other things in the directory of records."""


@dataclass(frozen=True)
class File:
    """All that the file says."""

    common: Networks
    nodes: tuple[tuple[str, Networks], ...]
    """The nodes that differ."""

    def of(self, *names: str) -> Networks:
        """The networks of the node with the first of these names that the file knows."""
        known = dict(self.nodes)
        return next((known[name] for name in names if name in known), self.common)


def mistakes(text: str, path: str = PATH) -> list[str]:
    """All that is wrong, a line each."""
    try:
        return _parsed(text, path)[1]
    except BadConfig as error:
        return [str(error)]


def parse(text: str, path: str = PATH) -> File:
    """What the file says. Raises BadConfig with the first mistake."""
    found, wrong = _parsed(text, path)
    if wrong or found is None:
        raise BadConfig(wrong[0], f"and {len(wrong) - 1} more" if len(wrong) > 1 else "")
    return found


def _parsed(text: str, path: str) -> tuple[File | None, list[str]]:
    noted = Mistakes(path)
    document = compose(text, noted)
    if document is None:
        return File(Networks(Underlay(), ()), ()), noted.lines
    said = document.entries("a mapping with the keys " + ", ".join(TOP))
    for name, value in said.items():
        if name not in TOP:
            unknown(value, name, list(TOP))
    underlay = _underlay(said.get("underlay"))
    known = said["networks"].entries("networks by name") if "networks" in said else {}
    evpn = {"evpn": said["evpn"]} if "evpn" in said else {}
    common = _of_node(underlay, known, evpn, {})
    if "underlay" in said:
        _check_underlay(said["underlay"], common, known)
    nodes = said["nodes"].entries("nodes by name") if "nodes" in said else {}
    differing = [
        (name, _of_node(underlay, known, evpn, _changes(node, evpn | known))) for name, node in nodes.items()
    ]
    if common.evpn and any(":" in peer for peer in underlay.peers):
        said["underlay"].wrong("has peers of IPv6", "engine evpn needs addresses of IPv4")
    return File(common, tuple(differing)), noted.lines


def _of_node(
    underlay: Underlay, known: dict[str, Value], evpn: dict[str, Value], changes: dict[str, dict[str, Value]]
) -> Networks:
    networks = _networks(known, changes)
    engines = {one.engine: known[one.name] for one in networks if isinstance(one, Overlay)}
    section = _evpn(evpn["evpn"], changes.get("evpn", {})) if evpn else None
    if "evpn" in engines and not evpn:
        engines["evpn"].wrong("has engine evpn", "evpn: {as: 65000, mesh: true} at the top")
    if len(engines) > 1:
        list(engines.values())[-1].wrong(
            "has another engine than other overlays", "one for all: FRR takes every VNI of the node"
        )
    return Networks(underlay, networks, section if "evpn" in engines else None)


def _evpn(value: Value, changes: dict[str, Value]) -> Evpn | None:
    said = value.entries("the keys " + ", ".join(EVPN)) | changes
    found = _values(said, EVPN)
    if value.node.id == "mapping" and "as" not in said:
        value.wrong("has no as", f"as: {EVPN['as'].allowed}")
    elif value.node.id == "mapping" and len([way for way in WAYS if found.get(way)]) != 1:
        if not any(way in said and way not in found for way in WAYS):  # else that is told already
            value.wrong("has not one way to the other nodes", f"one of {', '.join(WAYS)}")
    elif "as" in found:
        block = found.pop("frr", "") == "block"
        return Evpn(found.pop("as"), **found, block=block)
    return None


def _changes(node: Value, known: dict[str, Value]) -> dict[str, dict[str, Value]]:
    """What differs on one node: keys by network."""
    changes = {}
    for name, value in node.entries("networks by name, each with the keys that differ").items():
        if name in known:
            changes[name] = value.entries("the keys that differ")
            kind = changes[name].pop("kind", None)
            if kind:
                kind.wrong("cannot differ", "a network is of one kind on all nodes")
        else:
            unknown(value, name, list(known))
    return changes


def _underlay(value: Value | None) -> Underlay:
    said = value.entries("the keys " + ", ".join(UNDERLAY)) if value else {}
    found = _values(said, UNDERLAY)
    families = {family_of(peer) for peer in found.get("peers", ())}
    if len(families) > 1:
        said["peers"].wrong("has addresses of both families", "all of IPv4, or all of IPv6")
    return Underlay(**found)


def _check_underlay(value: Value, common: Networks, known: dict[str, Value]) -> None:
    """Note a mistake if the addresses are those of nothing."""
    name, said = common.underlay.addresses, value.entries("the keys " + ", ".join(UNDERLAY))
    valid = {one.name: isinstance(one, WireGuard) for one in common.networks}
    if name in ("", *LISTS) or "addresses" not in said:
        return
    if not valid.get(name, name in known):
        said["addresses"].wrong(f"{shown(name)} cannot be used", UNDERLAY["addresses"].allowed)
    elif common.underlay.peers:
        said["peers"].wrong(f"are not within {name}", f"nodes of {name}, each with its public key")


def _networks(known: dict[str, Value], changes: dict[str, dict[str, Value]]) -> tuple[Network, ...]:
    """The valid networks of a node, and none that takes what another has."""
    taken: dict[str, str] = {}
    found = []
    for name, value in known.items():
        if not is_name(name) or name in RESERVED or len(name) > 32:
            allowed = "at most 32 of a-z A-Z 0-9 . _ -, but not " + ", ".join(RESERVED)
            value.wrong(f"{shown(name)} is no name of a network", allowed)
            continue
        network = _network(name, value, value.entries("the keys of a network") | changes.get(name, {}))
        if network is not None and _is_free(network, value, taken):
            found.append(network)
    return tuple(found)


def _network(name: str, value: Value, said: dict[str, Value]) -> Network | None:
    if value.node.id != "mapping":
        return None
    kind = said.pop("kind", None)
    word = kind.text() if kind else None
    if word in LATER and kind:
        kind.wrong(LATER[word], f"one of {', '.join(NETWORKS)}")
    elif word not in NETWORKS:
        wrong = f"{kind.shown()} cannot be used" if kind else "has no kind"
        (kind or value).wrong(wrong, f"kind: one of {', '.join(NETWORKS)}")
    else:
        parts = {one: said.pop(one) for one in PARTS.get(word, ()) if one in said}
        before = len(value.mistakes.lines)
        found = _values(said, NETWORKS[word], ("kind", *PARTS.get(word, ())))
        if "sysctl" in parts:
            found |= _part(parts["sysctl"], SYSCTLS)
        if more := _part(parts["dhcp"], DHCP) if "dhcp" in parts else {}:
            found["dhcp"] = Dhcp(**more)
        if word == "wireguard":
            found["nodes"] = _members(parts.get("nodes"), value)
        _note_missing(value, said, NETWORKS[word])
        if len(value.mistakes.lines) == before:
            return MAKERS[word](name, value, said, found)
    return None


def _part(value: Value, keys: dict[str, Key]) -> dict[str, Any]:
    return _values(value.entries("the keys " + ", ".join(keys)), keys)


def _note_missing(value: Value, said: dict[str, Value], keys: dict[str, Key]) -> None:
    for one in (one for one, key in keys.items() if key.needed and one not in said):
        value.wrong(f"has no {one}", f"{one}: {keys[one].allowed}")


def _members(value: Value | None, network: Value) -> tuple[Member, ...]:
    """The valid nodes of a tunnel; no two have one address or one key."""
    allowed = f"nodes by name, each with {', '.join(MEMBER)}"
    found: list[Member] = []
    if value is None:
        network.wrong("has no nodes", allowed)
        return ()
    taken: dict[str, str] = {}
    for name, node in value.entries(allowed).items():
        said = node.entries(f"the keys {', '.join(MEMBER)}")
        values = _values(said, MEMBER)
        if not is_name(name):
            node.wrong(f"{shown(name)} is no name of a node", "a-z A-Z 0-9 . _ -")
        elif node.node.id == "mapping":
            _note_missing(node, said, MEMBER)
        for key in ("address", "public"):
            if (other := taken.setdefault(str(values.get(key)), name)) != name and key in values:
                said[key].wrong(f"is that of {other} already", "one node each")
        if {"address", "public"} <= values.keys():
            found.append(Member(name, **values))
    return tuple(found)


def _values(said: dict[str, Value], keys: dict[str, Key], others: tuple[str, ...] = ()) -> dict[str, Any]:
    """The valid values by key."""
    found = {}
    for name, value in said.items():
        if name in keys:
            late = LATER.get(value.text() or "") if name == "engine" else None
            if late:
                value.wrong(late, keys[name].allowed)
            elif (made := keys[name].of(value)) is not None:
                found[name] = made
        elif name in LATER:
            value.wrong(LATER[name], f"allowed: {', '.join((*others, *keys))}")
        else:
            unknown(value, name, [*others, *keys])
    return found


def _routed(name: str, value: Value, said: dict[str, Value], found: dict[str, Any]) -> Routed:
    families = [family_of(gateway) for gateway in found.get("gateways", ())]
    if len(set(families)) < len(families):
        said["gateways"].wrong("has two routers of one family", "one of IPv4, one of IPv6")
    if found["table"] in NODES_OWN:
        said["table"].wrong(f"{found['table']} is a table of the node itself", "any but 253, 254 and 255")
    return Routed(name, **found)


def _bridge(name: str, value: Value, said: dict[str, Value], found: dict[str, Any]) -> Bridge | None:
    if not _is_named("bridge", name, value, found):
        return None
    if "vlans" in found and not found.get("vlan_aware"):
        said["vlans"].wrong("are of a bridge that filters VLANs", "vlan_aware: true")
        return None
    return Bridge(name, **found)


def _is_named(key: str, name: str, value: Value, found: dict[str, Any]) -> bool:
    """The network's own name, unless another is said, is that of its device: False if it is too long."""
    device = found.setdefault(key, name)
    if len(device) > 15:
        value.wrong(
            f"{shown(device)} is too long for a {key}", f"{key}: a device name of at most 15 characters"
        )
    return len(device) <= 15


def _wireguard(name: str, value: Value, said: dict[str, Value], found: dict[str, Any]) -> WireGuard | None:
    return WireGuard(name, **found) if _is_named("device", name, value, found) else None


def _overlay(name: str, value: Value, said: dict[str, Value], found: dict[str, Any]) -> Overlay | None:
    if ("vni" in found) == ("vnis" in found):
        value.wrong("has both vni and vnis" if "vni" in found else "has neither vni nor vnis", "one of them")
        return None
    several = "vnis" in found
    vnis = found.pop("vnis", ()) or (found.pop("vni"),)
    bridge = found.setdefault("bridge", f"ov{VNI}" if several else name)
    where = said.get("bridge", value)
    longest = bridge.replace(VNI, str(max(vnis)))
    if len(set(vnis)) < len(vnis):
        said["vnis"].wrong("has a VNI twice", "say it once")
    elif several and VNI not in bridge:
        where.wrong(f"{shown(bridge)} is one bridge for several VNIs", f"a name with {VNI}, as ov{VNI}")
    elif len(longest) > 15:
        where.wrong(f"{shown(longest)} is too long for a bridge", "at most 15 characters, with the VNI in it")
    elif _wrong_gateway(value, said, found, several):
        pass
    elif found.get("guest_mtu", 0) > found.get("mtu", Overlay.mtu):
        said["guest_mtu"].wrong("is more than the network's mtu", f"at most {found.get('mtu', Overlay.mtu)}")
    else:
        return Overlay(name, vnis, **found)
    return None


def _wrong_gateway(value: Value, said: dict[str, Value], found: dict[str, Any], several: bool) -> bool:
    """Note what is wrong with the gateway of an overlay; True if anything is."""
    families = [family_of(one) for one in found.get("gateway", ())]
    table = found.get("table", 0)
    if table and not families:
        said["table"].wrong("has no gateway", "gateway: the addresses by which guests reach the table")
    elif several and families:
        said["gateway"].wrong("cannot be that of several VNIs", "a network of its own, with vni")
    elif len(set(families)) < len(families):
        said["gateway"].wrong("has two addresses of one family", "one of IPv4, one of IPv6")
    elif table in NODES_OWN:
        said["table"].wrong(f"{table} is a table of the node itself", "any but 253, 254 and 255")
    else:
        return False
    return True


MAKERS = {"routed": _routed, "bridge": _bridge, "overlay": _overlay, "wireguard": _wireguard}


def _is_free(network: Network, value: Value, taken: dict[str, str]) -> bool:
    """Note a mistake if another network has a device, a VNI or a table of this one."""
    for thing in _things(network):
        if thing in taken:
            value.wrong(f"{thing} is that of {taken[thing]} already", "one network each")
            return False
        taken[thing] = network.name
    return True


def _things(network: Network) -> list[str]:
    if isinstance(network, Overlay):
        pairs = list(network.bridges())
        devices = [f"device {name}" for vni, bridge in pairs for name in (bridge, f"vx{vni}")]
        gateways = [f"network {ip_interface(one).network}" for one in network.gateway]
        return [*(f"VNI {vni}" for vni, _ in pairs), *devices, *gateways]
    if isinstance(network, Bridge):
        return [f"device {network.bridge}", *(f"port {port}" for port in network.ports)]
    if isinstance(network, WireGuard):
        return [f"device {network.device}", f"UDP port {network.port}"]
    return [f"table {network.table}"]
