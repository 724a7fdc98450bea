"""One guest on one live tap: its addresses in bytes, and its terms. Independent of any protocol."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET6, inet_aton, inet_pton

from snf_network.addresses import eui64
from snf_network.dhcpd.terms import ETHERNET_MTU, Terms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.binding import TapBinding
    from snf_network.dhcpd.conf import Conf


class TapGuest:
    """The guest that the daemon answers on one tap. Immutable: a new binding, MAC or setting makes a new one.

    Addresses are bytes as on the wire, empty if absent. `source_mac` is the MAC of the guest's neighbour: the
    bridge that INDEV names, or the tap. `mtu` is the tap's.
    """

    __slots__ = ("ip", "ip6", "link_local", "link_locals", "mac", "own6", "relayed", "source_mac", "terms")

    def __init__(
        self, binding: TapBinding, tap_mac: bytes, source_mac: bytes, conf: Conf, mtu: int = ETHERNET_MTU
    ) -> None:
        self.terms = terms = Terms(binding, conf, mtu)
        self.mac, self.source_mac = as_mac(binding.mac), source_mac
        self.ip = inet_aton(binding.ip) if terms.ipv4 else b""
        self.ip6 = as_ip6(binding.ip6) if terms.ipv6 else b""
        self.relayed = terms.relayed
        """Central servers answer DHCPv4 (relay.py)."""
        self.link_local = link_local(source_mac)
        """The node's address on the guest's link: the source of advertisements and of DHCPv6."""
        self.link_locals = (self.link_local, link_local(tap_mac)) if terms.ipv6 else ()
        """All addresses of the node on the guest's link."""
        more = tuple(map(as_ip6, binding.more6)) if self.ip6 else ()
        self.own6 = (self.ip6, *more, link_local(self.mac))
        """The guest's own addresses: those that it gets by DHCPv6, and its link-local one."""

    @property
    def leased6(self) -> tuple[bytes, ...]:
        """The addresses that it gets by DHCPv6."""
        return self.own6[:-1]


def as_mac(text: str) -> bytes:
    """A MAC address in bytes; empty for an empty text."""
    return bytes.fromhex(text.replace(":", ""))


def as_ip6(text: str) -> bytes:
    """An IPv6 address in bytes; empty for an empty text."""
    return inet_pton(AF_INET6, text) if text else b""


@lru_cache(128)
def link_local(mac: bytes) -> bytes:
    """The EUI-64 link-local address of a station. Most taps have the same MAC."""
    return as_ip6(eui64("fe80::/64", mac.hex(":")))


@lru_cache(128)
def shared(data: bytes) -> bytes:
    """One shared object for all equal values: thousands of guests in one network get almost the same data."""
    return data
