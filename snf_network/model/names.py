"""The names that a NIC should have in DNS. Pure text: the sender finds out which zone a name belongs to, and
whether it is free.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_pton

from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.model.nic import Nic


@dataclass(frozen=True)
class Names:
    """The addresses that the name of an instance should have because of one NIC; each also gets a PTR."""

    instance: str
    nic: str
    """The NIC's UUID; its index if Ganeti gave none."""
    network: str
    """Name of the Ganeti network, which may have a zone of its own."""
    addresses: tuple[str, ...]


def names_of(nic: Nic, ipv6: bool = True, also: tuple[str, ...] = ()) -> Names:
    """The names of `nic`: its IPv4 address and, if `ipv6`, its IPv6 address; and those that it has `also`."""
    addresses = filter(None, (nic.ip, nic.ip6, *also))
    known = tuple(one for one in addresses if ipv6 or ":" not in one)
    return Names(nic.instance, key_of(nic), nic.network.name, known)


def key_of(nic: Nic) -> str:
    """A key that tells the NIC from the others of its instance."""
    return nic.uuid or nic.index or "0"


def forward(instance: str, zone: str) -> str:
    """The name of an instance in a zone; an instance name that already ends in the zone is kept. Lower case,
    without a trailing dot.
    """
    name, zone = instance.lower().rstrip("."), zone.lower().strip(".")
    return name if not zone or name == zone or name.endswith(f".{zone}") else f"{name}.{zone}"


def reverse(address: str) -> str:
    """The name of the PTR record of `address` (RFC 1035, 3.5; RFC 3596, 2.5), without a trailing dot."""
    if ":" in address:
        return ".".join(reversed(inet_pton(AF_INET6, address).hex())) + ".ip6.arpa"
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
