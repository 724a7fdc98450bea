"""The keys that each kind of network has, and the values that each key may have.

docs/networks.schema.json says the same for editors; a test compares the two.
"""

from __future__ import annotations

from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any

from snf_network.addresses import (
    canonical6,
    is_domain,
    is_global6,
    is_interface,
    is_ip4,
    is_ip6,
    is_length,
    is_name,
)
from snf_network.document import FALSE, TRUE
from snf_network.lean import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snf_network.document import Value

VNI = "{vni}"
LAST_VNI, LAST_VLAN = (1 << 24) - 1, 4094
BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
LAST_OF_KEY = frozenset("AEIMQUYcgkosw048")
"""What can be the last character of 32 octets in base64: its last two bits are none of theirs."""
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


def are_vlans(text: str) -> bool:
    """VLANs of 802.1Q, as 2-4094 or 5,7,9."""
    return bool(numbers(text)) and max(numbers(text)) <= LAST_VLAN


def is_public(text: str) -> bool:
    """A key of Curve25519 in base64: 32 octets."""
    return len(text) == 44 and text[43] == "=" and text[42] in LAST_OF_KEY and set(text[:42]) <= BASE64


def is_endpoint(text: str) -> bool:
    """An address and a UDP port, as 192.0.2.1:51820 or [2001:db8::1]:51820."""
    address, port = _endpoint(text)
    return is_single(address) and is_number(port, 1, 65535) and (":" in address) is text.startswith("[")


def endpoint(text: str) -> str:
    """It as the kernel has it."""
    address, port = _endpoint(text)
    return f"[{canonical6(address)}]:{port}" if ":" in address else f"{address}:{port}"


def _endpoint(text: str) -> tuple[str, str]:
    address, _, port = text.rpartition(":")
    return address.removeprefix("[").removesuffix("]") if text.startswith("[") else address, port


def is_path(text: str) -> bool:
    """The absolute path of a file, none of it hidden."""
    return text.startswith("/") and all(map(is_name, text[1:].split("/")))


def is_bridge(text: str) -> bool:
    """A device name, in which `{vni}` may stand once."""
    return is_interface(text.replace(VNI, "", 1) or "x") and text.count(VNI) < 2 and "{" not in text[:1]


def listed(address: str) -> str:
    """A valid address as the kernel lists it: only so is its route found again."""
    return canonical6(address) if ":" in address else address


def is_single(text: str) -> bool:
    """An address of one host; one of IPv6 is not link-local."""
    return is_ip4(text) or is_global6(text)


def is_host(text: str) -> bool:
    """An address of one host, with the length of a prefix that has room for others: neither its first nor,
    with IPv4, its last address.
    """
    address, _, length = text.partition("/")
    if not is_single(address) or not is_length(length, 126 if ":" in address else 30) or length == "0":
        return False
    network = ip_interface(text).network
    ends = (network.network_address, *(() if ":" in text else (network.broadcast_address,)))
    return ip_interface(text).ip not in ends


def is_file(text: str) -> bool:
    """A path that needs no quotes in any server's configuration."""
    return 0 < len(text) < 128 and all(part == "" or is_name(part) for part in text.split("/"))


def canonical(text: str) -> str:
    """An address with a prefix length, as the kernel writes it."""
    return str(ip_interface(text))


INTERFACE = Key(is_interface, "a device name: at most 15 of a-z A-Z 0-9 . _ -, and neither . nor - first")
BOOLEAN = Key(lambda text: text.lower() in TRUE + FALSE, "true or false", lambda text: text.lower() in TRUE)
NODES_OWN = (253, 254, 255)
"""Tables that are the node's: default, main and local (ip-route(8))."""
FILENAME = "a path of at most 127 of a-z A-Z 0-9 . _ - /"
MTU = number(1280, 65485)
"""IPv6 needs 1280; VXLAN over IPv4 takes 50."""
SYSCTLS = {"rp_filter": choice("0", "1", "2"), "accept_ra": choice("0", "1", "2")}
NETWORKS: dict[str, dict[str, Key]] = {
    "routed": {
        "table": number(1, (1 << 31) - 1, needed=True),
        "uplink": Key(INTERFACE.is_valid, INTERFACE.allowed, needed=True),
        "gateways": Key(lambda text: is_ip4(text) or is_ip6(text), "addresses of routers", listed, many=True),
        "iif_rule": BOOLEAN,
        "forwarding": BOOLEAN,
        "arp_source": Key(is_ip4, "an IPv4 address"),
    },
    "bridge": {
        "bridge": INTERFACE,
        "ports": Key(INTERFACE.is_valid, "device names", many=True),
        "mtu": MTU,
        "vlan_aware": BOOLEAN,
        "vlans": Key(
            are_vlans,
            f"numbers from 1 to {LAST_VLAN} as 2-4094 or 5,7,9",
            lambda text: tuple(dict.fromkeys(numbers(text))),
        ),
    },
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
        "guest_mtu": MTU,
        "gateway": Key(
            is_host,
            "addresses with prefix lengths, one of IPv4, one of IPv6: 198.51.100.1/24",
            canonical,
            many=True,
        ),
        "table": number(1, (1 << 31) - 1),
    },
    "wireguard": {
        "device": INTERFACE,
        "port": number(1, 65535),
        "key": Key(is_path, "the path of a file"),
        "keepalive": number(1, 65535),
        "mtu": MTU,
    },
}
"""The kinds of networks, and the keys of each, besides `kind` and those of PARTS."""
PARTS: dict[str, tuple[str, ...]] = {"routed": ("sysctl",), "overlay": ("dhcp",), "wireguard": ("nodes",)}
"""Keys that have keys themselves, by kind."""
MEMBER: dict[str, Key] = {
    "address": Key(is_single, "an address that is this node's within the tunnel", listed, needed=True),
    "public": Key(
        is_public, "a public key, as snf-network net key prints it: 44 characters of base64", needed=True
    ),
    "endpoint": Key(
        is_endpoint, "an address and a port, as 192.0.2.1:51820 or [2001:db8::1]:51820", endpoint
    ),
}
"""What each node of a network of kind wireguard has."""
LISTS = ("ssconf_node_secondary_ips", "ssconf_node_primary_ips")
"""Ganeti's lists of its nodes, the better one first."""
DHCP: dict[str, Key] = {
    "nameservers": Key(is_ip4, "IPv4 addresses", many=True),
    "domain": Key(is_domain, "a domain name"),
    "lease": number(60, 4294967294),
    "next_server": Key(is_ip4, "an IPv4 address"),
    "filename": Key(lambda text: is_file(text), FILENAME),
    "uefi_filename": Key(lambda text: is_file(text), FILENAME),
}
"""The keys of `dhcp`, of the kind overlay."""
UNDERLAY: dict[str, Key] = {
    "addresses": Key(is_name, f"one of {', '.join(LISTS)}, or a network of kind wireguard"),
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
    "frr": "belongs to the section evpn at the top",
    "export": "routes to a BGP router are not yet there",
}
"""What other sites have in such files, and this version cannot do."""
