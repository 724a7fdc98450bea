"""The values sent to one guest: the binding's if it sets one, else the setting of nfdhcpd.conf.

Every such choice is made here and nowhere else.
"""

from __future__ import annotations

from socket import inet_aton

from snf_network.addresses import within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.binding import TapBinding
    from snf_network.dhcpd.conf import Conf

ETHERNET_MTU, LARGEST_MTU = 1500, 65535
FOREVER = 0xFFFFFFFF
"""A lease without an end (RFC 2131, 3.3)."""


class Terms:
    """A binding, the settings and the tap's MTU, merged. Addresses and prefixes are text, empty if absent.

    It keeps the three and computes the rest on request: thousands of guests each have one, and need most of
    it only while their answers are prepared.
    """

    __slots__ = ("_binding", "_conf", "_mtu")

    def __init__(self, binding: TapBinding, conf: Conf, mtu: int) -> None:
        self._binding, self._conf, self._mtu = binding, conf, mtu

    # --- yes or no

    @property
    def any_mac(self) -> bool:
        """True if frames from other source MACs are answered."""
        return self._binding.macspoof

    @property
    def relay(self) -> bool:
        """True if requests with a relay's address are answered."""
        return self._conf.allow_relay

    @property
    def ipv4(self) -> bool:
        """True if DHCPv4 is answered."""
        return self._conf.enable_dhcp and bool(self._binding.ip)

    @property
    def ipv6(self) -> bool:
        """True if solicitations and DHCPv6 are answered."""
        return self._conf.enable_ipv6 and bool(self._binding.subnet6)

    @property
    def dhcpv6(self) -> bool:
        """True if the guest is told to use DHCPv6, and answered."""
        return self.ipv6 and self._conf.mode != "slaac" and not self._binding.nodhcp6

    @property
    def managed(self) -> bool:
        """True if every address comes from DHCPv6."""
        return self._conf.mode == "managed"

    @property
    def slaac(self) -> bool:
        """True if the guest may use any address in its prefix. By default it may on a bridge; to a routed tap
        only one address is routed.
        """
        return not self._binding.routed if self._binding.slaac is None else self._binding.slaac

    @property
    def routed(self) -> bool:
        """True if the guest is alone on its link and the node routes for it."""
        return self._binding.routed

    @property
    def on_link(self) -> bool:
        """True if the guest is told to reach others in its prefix directly, rather than through the node."""
        return not self._binding.routed if self._conf.on_link is None else self._conf.on_link

    # --- addresses of the network

    @property
    def ip(self) -> str:
        """The guest's IPv4 address."""
        return self._binding.ip

    @property
    def subnet(self) -> str:
        """The guest's IPv4 prefix; a /32 if the binding has none."""
        return self._binding.subnet or f"{self._binding.ip}/32"

    @property
    def router(self) -> str:
        """The IPv4 gateway, if it is the guest's default gateway."""
        return "" if self._binding.private else self._binding.gateway

    @property
    def subnet6(self) -> str:
        """The advertised prefix."""
        return self._binding.subnet6

    @property
    def gateway6(self) -> str:
        """The IPv6 gateway, even if it is not the guest's default gateway."""
        return self._binding.gateway6

    @property
    def gateway6_mac(self) -> str:
        """The MAC of gateway6, if it is not the node's."""
        return self._binding.gateway6_mac

    @property
    def router6(self) -> bool:
        """True if the node is advertised as a default router: only if the network has a router (RFC 4861,
        6.2.3).
        """
        return bool(self._binding.gateway6) and not self._binding.private

    @property
    def routes(self) -> tuple[tuple[str, str], ...]:
        """Option 121 (RFC 3442): the prefix and the gateway of each route. Empty if option 3 is sufficient.

        A client that knows the option ignores option 3, so it includes the default route. A gateway outside
        the guest's subnet, as that of a /32 always is, first needs its own on-link route.
        """
        default = (("0.0.0.0/0", self.router),) if self.router else ()
        routes = (*self._binding.routes, *default)
        far = [way for way in dict.fromkeys(way for _, way in routes) if not self._is_near(way)]
        if not far and not self._binding.routes:
            return ()
        return (*((f"{way}/32", "0.0.0.0") for way in far), *routes)

    def _is_near(self, gateway: str) -> bool:
        return not self.subnet.endswith("/32") and within(gateway, self.subnet)

    @property
    def server(self) -> str:
        """The source address of DHCPv4 replies; it also identifies the server (option 54)."""
        network, _, length = self._binding.subnet.partition("/")
        if self._conf.server_on_link and self._binding.gateway:
            return self._binding.gateway
        if not self._conf.server_on_link or not length or int(length) > 30:
            return self._conf.server_ip
        first = int.from_bytes(inet_aton(network), "big") + 1
        return ".".join(map(str, first.to_bytes(4, "big")))

    # --- times, in seconds

    @property
    def lease(self) -> tuple[int, int, int]:
        """T1, T2 and the length of a lease. T1 is lease_renewal, at most half of the lease; T2 is 7/8 of it
        (RFC 2131, 4.4.5).
        """
        whole = self._binding.lease or self._conf.lease_lifetime
        if whole == FOREVER:
            return FOREVER, FOREVER, FOREVER
        return min(self._conf.lease_renewal, whole // 2), whole * 7 // 8, whole

    @property
    def resolver_lifetime(self) -> int:
        """Lifetime of advertised resolvers: three times the period of advertisements (RFC 8106, 5.1)."""
        return 3 * self._conf.ra_period

    # --- names and resolvers

    @property
    def hostname(self) -> str:
        """The guest's name (option 12, FQDN)."""
        return self._binding.hostname

    @property
    def _own_domain(self) -> str:
        """The part after the first dot of the guest's name; empty if there is no dot."""
        return self._binding.hostname.partition(".")[2]

    @property
    def domain(self) -> str:
        """The guest's domain (option 15). Empty if unknown; the option is then omitted."""
        return self._binding.domain or self._conf.domain or self._own_domain

    @property
    def search(self) -> tuple[str, ...]:
        """The search list of DHCPv4 (option 119)."""
        return self._binding.domain_search or self._conf.domain_search

    @property
    def search6(self) -> tuple[str, ...]:
        """The search list of DHCPv6 and of advertisements; by default the guest's own domain."""
        own = self._binding.domain or self._own_domain
        return self._binding.domain_search or self._conf.domains or ((own,) if own else ())

    @property
    def resolvers(self) -> tuple[str, ...]:
        """IPv4 addresses of name servers."""
        return self._binding.nameservers or self._conf.nameservers

    @property
    def resolvers6(self) -> tuple[str, ...]:
        """IPv6 addresses of name servers."""
        return self._binding.nameservers6 or self._conf.nameservers6

    @property
    def ntp(self) -> tuple[str, ...]:
        """IPv4 addresses of time servers."""
        return self._binding.ntp or self._conf.ntp

    # --- booting, and a central server

    @property
    def next_server(self) -> str:
        """The IPv4 address of the TFTP server; empty if there is none."""
        return self._binding.next_server

    @property
    def boot(self) -> tuple[tuple[str, str], ...]:
        """The boot files of DHCPv4, each with the client that it is for."""
        return self._binding.boot

    @property
    def boot6(self) -> tuple[tuple[str, str], ...]:
        """The boot files of DHCPv6, all of them URLs."""
        return self._binding.boot6

    @property
    def relayed(self) -> bool:
        """True if central servers answer DHCPv4, and this daemon only relays."""
        return self._conf.enable_dhcp and bool(self._binding.relay)

    @property
    def mtu(self) -> int:
        """The MTU sent to the guest: that of its tap, unless the binding has one. 0: none is sent, so
        Ethernet's default holds.
        """
        return self._binding.mtu or (0 if self._mtu == ETHERNET_MTU else min(self._mtu, LARGEST_MTU))
