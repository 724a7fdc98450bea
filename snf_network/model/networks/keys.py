"""The keys that each kind of network has, and the values that each key may have.

docs/networks.schema.json says the same for editors; a test compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snf_network.addresses import is_global6, is_interface, is_ip4, is_ip6
from snf_network.lean import dataclass
from snf_network.model.networks.document import FALSE, TRUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snf_network.model.networks.document import Value

VNI = "{vni}"
LAST_VNI = (1 << 24) - 1
LAST_AS = (1 << 32) - 2
"""RFC 7300."""
MOST_VNIS = 4096
"""In one network: each is two devices on each node."""


@dataclass(frozen=True)
class Key:
    """What a key may have."""

    is_valid: Callable[[str], bool]
    allowed: str
    made: Callable[[str], Any] = str
    """Makes the value of valid text."""
    many: bool = False
    """A list of such values."""
    needed: bool = False

    def of(self, value: Value) -> Any:
        """The value; None after a mistake, which is noted."""
        if not self.many:
            return self._one(value)
        said = value.items(f"a list of {self.allowed}")
        found = [self._one(one) for one in said]
        doubled = [one for place, one in enumerate(said) if found[place] in found[:place]]
        if doubled:
            doubled[0].wrong(f"{doubled[0].shown()} is there twice", "say it once")
        return None if None in found or doubled else tuple(found)

    def _one(self, value: Value) -> Any:
        text = value.text()
        if text is not None and self.is_valid(text):
            return self.made(text)
        value.wrong(f"{value.shown()} cannot be used", self.allowed)
        return None


def number(first: int, last: int, **more: Any) -> Key:
    """A decimal number from `first` to `last`."""
    return Key(lambda text: is_number(text, first, last), f"a number from {first} to {last}", int, **more)


def choice(*words: str, made: Callable[[str], Any] = str, **more: Any) -> Key:
    """One of some words."""
    return Key(words.__contains__, f"one of {', '.join(words)}", made, **more)


def is_number(text: str, first: int, last: int) -> bool:
    """A decimal number without signs or leading zeros."""
    plain = text.isascii() and text.isdigit() and len(text) < 11 and str(int(text)) == text
    return plain and first <= int(text) <= last


def numbers(text: str) -> Sequence[int]:
    """The numbers of `1000-1499`, `7` or `1-3,8`; empty if it is no such text, or too many."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(is_number(end, 1, LAST_VNI) for end in ends) or int(ends[1]) - int(ends[0]) >= MOST_VNIS:
            return ()
        found += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(found) if 0 < len(found) <= MOST_VNIS else ()


def is_bridge(text: str) -> bool:
    """A device name, in which `{vni}` may stand once."""
    return is_interface(text.replace(VNI, "", 1) or "x") and text.count(VNI) < 2 and "{" not in text[:1]


def is_single(text: str) -> bool:
    """An address of one host; one of IPv6 is not link-local."""
    return is_ip4(text) or is_global6(text)


INTERFACE = Key(is_interface, "a device name: at most 15 of a-z A-Z 0-9 . _ -, and neither . nor - first")
BOOLEAN = Key(lambda text: text.lower() in TRUE + FALSE, "true or false", lambda text: text.lower() in TRUE)
MTU = number(1280, 65485)
"""IPv6 needs 1280; VXLAN over IPv4 takes 50."""
SYSCTLS = {"rp_filter": choice("0", "1", "2"), "accept_ra": choice("0", "1", "2")}
NETWORKS: dict[str, dict[str, Key]] = {
    "routed": {
        "table": number(1, (1 << 31) - 1, needed=True),
        "uplink": Key(INTERFACE.is_valid, INTERFACE.allowed, needed=True),
        "gateways": Key(lambda text: is_ip4(text) or is_ip6(text), "addresses of routers", many=True),
        "iif_rule": BOOLEAN,
        "forwarding": BOOLEAN,
        "arp_source": Key(is_ip4, "an IPv4 address"),
    },
    "bridge": {"bridge": INTERFACE, "ports": Key(INTERFACE.is_valid, "device names", many=True), "mtu": MTU},
    "overlay": {
        "vni": number(1, LAST_VNI),
        "vnis": Key(
            lambda text: bool(numbers(text)),
            f"numbers from 1 to {LAST_VNI} as 1000-1499 or 5,7,9; at most {MOST_VNIS}",
            lambda text: tuple(numbers(text)),
        ),
        "bridge": Key(is_bridge, f"a device name, in which {VNI} stands for the VNI"),
        "engine": choice("list", "evpn"),
        "mtu": MTU,
    },
}
"""The kinds of networks, and the keys of each, besides `kind`, and `sysctl` of the kind routed."""
UNDERLAY: dict[str, Key] = {
    "addresses": choice("ssconf_node_secondary_ips", "ssconf_node_primary_ips"),
    "peers": Key(is_single, "addresses of other nodes, one family", many=True),
    "port": number(1, 65535),
}
EVPN: dict[str, Key] = {
    "as": number(1, LAST_AS, needed=True),
    "reflectors": Key(is_ip4, "IPv4 addresses of route reflectors", many=True),
    "mesh": BOOLEAN,
    "unnumbered": Key(INTERFACE.is_valid, "device names", many=True),
    "frr": choice("print", "block"),
}
LATER: dict[str, str] = {
    "wireguard": "kind wireguard is not yet there",
    "guest_mtu": "an MTU for the guests of one network is not yet there (MTU in nfdhcpd.conf is for all)",
    "gateway": "gateways in an overlay are not yet there",
    "frr": "belongs to the section evpn at the top",
    "export": "routes to a BGP router are not yet there",
    "vlan_aware": "VLAN-aware bridges are not yet there",
    "vlans": "VLAN-aware bridges are not yet there",
}
"""What other sites have in such files, and this version cannot do."""
