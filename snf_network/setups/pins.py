"""What a NIC may be the source of, as members of the sets that the pins of base.nft ask. Not a tag: routed mode and setups use it."""

from __future__ import annotations

from _socket import AF_INET6, inet_pton

from snf_network.resources import Element, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.nic import Nic


def quoted(nic: Nic) -> str:
    """The interface name as nft takes it in a set."""
    return f'"{nic.interface}"'


def raw_address(address: str) -> str:
    """An IPv6 address as the number that nft 1.0.6 wants where it compares raw payload (the target of an ND message)."""
    return f"0x{inet_pton(AF_INET6, address).hex()}"


def raw_mac(mac: str) -> str:
    """A MAC address as the number that nft 1.0.6 wants where it compares raw payload (a link-layer option)."""
    return f"0x{mac.replace(':', '')}"


def mac(nic: Nic, family: str) -> Iterator[Resource]:
    """The NIC's own MAC address, as Ethernet source (and as ARP sender, in the same set)."""
    yield Element(family, "macs", f"{quoted(nic)} . {nic.mac}")


def addresses(nic: Nic, family: str, with_ip6: bool) -> Iterator[Resource]:
    """The NIC's addresses as IP source, and as target of the neighbour advertisements it may send."""
    tap = quoted(nic)
    yield Element(family, "ndmacs", f"{tap} . {raw_mac(nic.mac)}")
    if nic.ip:
        yield Element(family, "src4", f"{tap} . {nic.mac} . {nic.ip}")
    if nic.ip6 and with_ip6:
        yield Element(family, "src6", f"{tap} . {nic.mac} . {nic.ip6}")
        yield Element(family, "targets", f"{tap} . {raw_address(nic.ip6)}")
