"""What a NIC wants of DNS. Pure text: which name that is in which zone, and whether it may be had, the sender
finds out.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_pton

from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.model.nic import Nic


@dataclass(frozen=True)
class Names:
    """The addresses that an instance's name shall have, and be the name of, because of one NIC."""

    instance: str
    nic: str
    """The NIC's UUID; its index where Ganeti gave none."""
    network: str
    """Name of the Ganeti network, which may have a zone of its own."""
    addresses: tuple[str, ...]


def names_of(nic: Nic, ipv6: bool = True) -> Names:
    """What `nic` wants: IP and, unless the guest can have no IPv6, the EUI-64 address of its MAC."""
    addresses = (nic.ip, nic.ip6 if ipv6 else "")
    return Names(nic.instance, key_of(nic), nic.network.name, tuple(filter(None, addresses)))


def key_of(nic: Nic) -> str:
    """What a NIC is told from others of its instance by."""
    return nic.uuid or nic.index or "0"


def forward(instance: str, zone: str) -> str:
    """The name of an instance in a zone; one that ends in the zone already is it. Lower case, no dot at the
    end.
    """
    name, zone = instance.lower().rstrip("."), zone.lower().strip(".")
    return name if not zone or name == zone or name.endswith(f".{zone}") else f"{name}.{zone}"


def reverse(address: str) -> str:
    """The name that a PTR of `address` has: RFC 1035, 3.5, and RFC 3596, 2.5. No dot at the end."""
    if ":" in address:
        return ".".join(reversed(inet_pton(AF_INET6, address).hex())) + ".ip6.arpa"
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
