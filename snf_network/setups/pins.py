"""The permitted sources of a NIC, as members of the sets that the pins in base.nft look up. Not a tag: routed
mode and setups use it.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_pton

from snf_network.model.resources import Element, Hook, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snf_network.model.nic import Nic
    from snf_network.setups.allow import Extra


PORTS = {"bridged": "bridge", "openvswitch": "netdev"}
"""The modes in which the NIC is a port, each with the table that has its rules."""
OPEN = {"bridged": ("any_mac_guard", "any_mac"), "openvswitch": ("guard", "")}
"""The chains of a NIC whose MAC is not pinned, if it is served and if not. A bridge learns each of its MACs;
Open vSwitch has a bound of its own (mac-table-size).
"""
HALF = "/64"
"""The length of nearly all IPv6 prefixes of guests: these are in sets without ranges, by their first half.
The kernel takes 7 ms to change one of 1000 ranges (nft_set_pipapo copies the set), and 0.03 ms for these.
"""


def raw_address(address: str) -> str:
    """An IPv6 address as the number that nft 1.0.6 requires for raw payload (the target of an ND message); a
    prefix as first-last. nft would accept a prefix too, but free it twice (valgrind); that killed an nft with
    a larger table.
    """
    plain, slash, length = address.partition("/")
    first = inet_pton(AF_INET6, plain)
    if not slash:
        return f"0x{first.hex()}"
    last = int.from_bytes(first) | (1 << 128 - int(length)) - 1
    return f"0x{first.hex()}-0x{last:032x}"


def raw_mac(mac: str) -> str:
    """A MAC address as the number that nft 1.0.6 requires for raw payload (a link-layer option)."""
    return f"0x{mac.replace(':', '')}"


def _source6(value: str) -> tuple[str, str]:
    """The set of an IPv6 address or prefix, and how it is in it: the first address stands for a /64."""
    if value.endswith(HALF):
        return "nets64", value.removesuffix(HALF)
    return "nets6" if "/" in value else "src6", value


def _target(value: str) -> tuple[str, str]:
    """The same as target of neighbour discovery: the set, and the number, of a /64 its first half."""
    if value.endswith(HALF):
        return "tgtnets64", raw_address(value.removesuffix(HALF))[: len("0x") + 16]
    return "tgtnets" if "/" in value else "targets", raw_address(value)


def prefix6(source: Element) -> str:
    """The IPv6 prefix that a member allows as a source; empty if it does not allow one."""
    word = source.rest.rpartition(" ")[2]
    return {"nets6": word, "nets64": f"{word}{HALF}"}.get(source.set, "")


def macs(nic: Nic, family: str, allowed: Extra) -> Iterator[Resource]:
    """The NIC's MAC addresses, as Ethernet source (and as ARP sender, in the same set)."""
    for mac in (nic.mac, *allowed.macs):
        yield Element(family, "macs", nic.interface, mac)


def addresses4(nic: Nic, family: str, allowed: Extra) -> Iterator[Resource]:
    """The NIC's IPv4 addresses, as IPv4 source and as ARP sender, with each of its MAC addresses."""
    for mac in (nic.mac, *allowed.macs):
        for value in filter(None, (nic.ip, *allowed.addresses, *allowed.prefixes)):
            if ":" not in value:
                yield Element(family, "nets4" if "/" in value else "src4", nic.interface, f"{mac} . {value}")


def addresses6(nic: Nic, family: str, allowed: Extra, own: Iterable[str]) -> Iterator[Resource]:
    """The NIC's `own` and allowed IPv6 addresses, as source and as target of neighbour discovery; and its
    MACs, as link-layer options.
    """
    tap, stations = nic.interface, (nic.mac, *allowed.macs)
    values = [value for value in (*own, *allowed.addresses, *allowed.prefixes) if ":" in value]
    for mac in stations:
        yield Element(family, "ndmacs", tap, raw_mac(mac))
        for value in values:
            name, address = _source6(value)
            yield Element(family, name, tap, f"{mac} . {address}")
    for value in values:
        name, number = _target(value)
        yield Element(family, name, tap, number)


def routers(nic: Nic, family: str, addresses: Iterable[str]) -> Iterator[Resource]:
    """IPv6 addresses of a router, which the NIC may never use as source or target."""
    for address in addresses:
        yield Element(family, "routers", nic.interface, address)
        yield Element(family, "router_targets", nic.interface, raw_address(address))


def ingress(nic: Nic, members: set[str]) -> Iterator[Resource]:
    """The single lookup that dispatches all traffic from a port; its target depends on the sets that
    contain the NIC.
    """
    if nic.mode not in PORTS:
        return
    served, other = OPEN[nic.mode]
    chain = (
        "pins"
        if "ndmacs" in members
        else "mac_pins"
        if "macs" in members
        else served
        if "guarded" in members
        else other
    )
    if chain:
        yield Element(PORTS[nic.mode], "ingress", nic.interface, value=f"goto {chain}")
        if nic.mode == "openvswitch":
            yield Hook(nic.interface, "from", "jump from_port")
