"""Additional source addresses of a NIC: instance tags `snf-network:<uuid|name|index>:allow:<address or
prefix>`, `...:also:<address>`, `...:mac:<mac>`.

Ganeti refuses `=` in a tag (objects.TaggableObject), hence `allow:`; `allow=` means the same in tags from
elsewhere.
"""

from __future__ import annotations

from snf_network.addresses import (
    as_bits,
    canonical6,
    is_global6,
    is_ip4,
    is_link_local,
    is_mac,
    is_prefix,
    width,
    within,
)
from snf_network.errors import BadEnvironment, shown
from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic

WIDEST4, WIDEST6 = 8, 16
"""The shortest prefix lengths that may be allowed: no such prefix contains multicast or loopback."""
HINT = "an address, or a prefix of at least /8 or, for IPv6, /16, without bits beyond its length"


@dataclass(frozen=True)
class Extra:
    """The additional sources that tags allow one NIC."""

    addresses: tuple[str, ...] = ()
    """Those that are its own, too."""
    prefixes: tuple[str, ...] = ()
    """No prefix lies within another: an interval set accepts no overlaps."""
    macs: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    """Addresses that the NIC has beside its first ones, and no other NIC may have: routed, told by DHCPv6
    and in DNS as these.
    """


def setting(word: str) -> tuple[str, str]:
    """Name and value of an `allow`, `also`, `mac` or `address` tag; two empty strings for any other tag."""
    for name in ("allow", "also", "mac", "address"):
        if word.startswith((f"{name}:", f"{name}=")):
            return name, word[len(name) + 1 :]
    return "", ""


def extra(nic: Nic, config: Config) -> Extra:
    """Everything that tags allow the NIC, by any of its identifiers. Raises BadEnvironment for an invalid
    address, prefix or station MAC.
    """
    said = sorted({setting(word) for words in nic.customised(config.tag_prefix) for word in words})
    macs = tuple(dict.fromkeys(_mac(value) for name, value in said if name == "mac"))
    allowed = tuple(dict.fromkeys(_allowed(value, nic) for name, value in said if name == "allow"))
    own = tuple(dict.fromkeys(_own(value, nic) for name, value in said if name == "also"))
    own = tuple(value for value in own if value not in (nic.ip, nic.ip6))
    prefixes = tuple(value for value in allowed if "/" in value)
    widest = frozenset(_widest(prefixes))
    return Extra(
        (*own, *(value for value in allowed if "/" not in value and value not in own)),
        tuple(value for value in prefixes if value in widest),
        macs,
        own,
    )


def _widest(prefixes: Iterable[str]) -> Iterator[str]:
    """The prefixes that lie within no other: sorted, a prefix comes right before those it contains."""
    last = ""
    for prefix in sorted(prefixes, key=lambda prefix: (":" in prefix, *as_bits(prefix))):
        if not last or not within(prefix, last):
            last = prefix
            yield prefix


def gateway_within(nic: Nic, allowed: Extra) -> str:
    """The IPv6 gateway if an allowed prefix contains it, else "": the address stays the router's. This allows
    a guest to use temporary addresses (RFC 8981), which can be anywhere in its /64.
    """
    gateway = nic.network.gateway6
    found = gateway and any(":" in prefix and within(gateway, prefix) for prefix in allowed.prefixes)
    return gateway if found and gateway != nic.ip6 else ""


def gives_up_link_local(allowed: Extra) -> bool:
    """True if a bridged NIC may choose its own link-local addresses (RFC 7217), even another NIC's."""
    return any(is_link_local(value.partition("/")[0]) for value in allowed.prefixes)


def _mac(text: str) -> str:
    if not is_mac(text):
        raise BadEnvironment(
            f"TAGS: mac:{shown(text)} is not valid", "six octets such as 00:00:5e:00:01:0a, of one station"
        )
    return text.lower()


def _own(text: str, nic: Nic) -> str:
    """A further address of the NIC's own, as the kernel lists it. Raises BadEnvironment."""
    if not (is_ip4(text) or is_global6(text)):
        raise BadEnvironment(f"TAGS: also:{shown(text)} is not valid", "one host's address, of either family")
    return _allowed(text, nic, "also")


def _allowed(text: str, nic: Nic, word: str = "allow") -> str:
    """An address, or a prefix longer than one host's, as the kernel lists it. Raises BadEnvironment."""
    address, slash, length = text.partition("/")
    if not (is_ip4(address) or is_global6(address) or (slash and is_link_local(address))):
        raise BadEnvironment(f"TAGS: {word}:{shown(text)} is not valid", HINT)
    plain = canonical6(address) if ":" in address else address
    if slash:
        widest = WIDEST4 if ":" not in text else 10 if is_link_local(address) else WIDEST6
        if not is_prefix(text) or int(length) < widest:
            raise BadEnvironment(f"TAGS: {word}:{shown(text)} is not valid", HINT)
        plain = plain if int(length) == width(text) else f"{plain}/{length}"
    own = (nic.ip, nic.ip6)
    excluded = nic.network.gateway6 if ":" in plain and "/" in plain else ""  # see gateway_within
    for gateway in (nic.network.gateway, nic.network.gateway6):
        if gateway and gateway not in (*own, excluded) and within(gateway, plain):
            raise BadEnvironment(
                f"TAGS: {word}:{shown(text)} has the gateway {gateway} in it",
                "the guest could take its place",
            )
    return plain
