"""One guest on one live tap: its binding turned into the bytes that replies are made of, once, so that a
reply is mostly joining.
"""

from __future__ import annotations

from socket import AF_INET6, inet_aton, inet_pton

from snf_network.addresses import eui64
from snf_network.dhcpd import dhcp4, dhcp6, nd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.binding import Binding
    from snf_network.dhcpd.conf import Settings

FOREVER = 0xFFFFFFFF
"""A lease without an end (RFC 2131, 3.3)."""


class Guest:
    """What the answers to one guest need. It never changes: a new binding, MAC or setting makes a new one.

    `source_mac` is that of the interface the guest sees as its neighbour: INDEV's, or the tap's. All
    attributes are bytes as on the wire; empty where there is nothing to answer with.
    """

    __slots__ = (
        "advertisement",
        "binding",
        "configuration4",
        "configuration6",
        "gateway6",
        "gateway6_mac",
        "ip",
        "ip6",
        "lease4",
        "link_local",
        "link_locals",
        "mac",
        "own6",
        "prefix6",
        "server",
        "server_duid",
        "settings",
        "source_mac",
        "times",
    )

    def __init__(self, binding: Binding, tap_mac: bytes, source_mac: bytes, settings: Settings) -> None:
        self.binding, self.settings = binding, settings
        self.mac, self.source_mac = bytes.fromhex(binding.mac.replace(":", "")), source_mac
        self.times = times(binding, settings)
        """Seconds of a lease: T1, T2 and the whole."""
        self.ip = inet_aton(binding.ip) if binding.ip and settings.enable_dhcp else b""
        self.server = inet_aton(server_address(binding, settings))
        self.configuration4 = dhcp4.configuration(binding, settings) if self.ip else b""
        self.lease4 = dhcp4.lease(self) if self.ip else b""
        self._prepare6(tap_mac)

    def _prepare6(self, tap_mac: bytes) -> None:
        binding, settings = self.binding, self.settings
        served = bool(binding.subnet6) and settings.enable_ipv6
        self.link_local = link_local(self.source_mac)
        self.link_locals = (self.link_local, link_local(tap_mac)) if served else ()
        self.ip6 = _packed6(binding.ip6) if served else b""
        self.own6 = (self.ip6, link_local(self.mac))
        self.prefix6 = nd.proxied_prefix(binding, settings) if served else None
        self.gateway6 = _packed6(binding.gateway6) if served else b""
        self.gateway6_mac = bytes.fromhex(binding.gateway6_mac.replace(":", ""))
        self.server_duid = dhcp6.duid(self.source_mac)
        self.configuration6 = (
            dhcp6.configuration(binding, settings) if served and dhcp6.is_served(binding, settings) else None
        )
        self.advertisement = nd.advertisement(self) if served else b""


def link_local(mac: bytes) -> bytes:
    """The EUI-64 link-local address of a station."""
    return _packed6(eui64("fe80::/64", mac.hex(":")))


def _packed6(address: str) -> bytes:
    return inet_pton(AF_INET6, address) if address else b""


def times(binding: Binding, settings: Settings) -> tuple[int, int, int]:
    """T1, T2 and length of a lease, in seconds. T1 is the one that is set, at most half of the lease; T2 is
    7/8 (RFC 2131, 4.4.5).
    """
    whole = binding.lease or settings.lease_lifetime
    if whole == FOREVER:
        return FOREVER, FOREVER, FOREVER
    return min(settings.lease_renewal, whole // 2), whole * 7 // 8, whole


def server_address(binding: Binding, settings: Settings) -> str:
    """The address DHCPv4 replies come from; it also names the server (option 54)."""
    network, _, length = binding.subnet.partition("/")
    if settings.server_on_link and binding.gateway:
        return binding.gateway
    if not settings.server_on_link or not length or int(length) > 30:
        return settings.server_ip
    first = int.from_bytes(inet_aton(network), "big") + 1
    return ".".join(map(str, first.to_bytes(4, "big")))
