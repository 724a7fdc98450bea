"""Checks of addresses, prefixes and names, and how they relate. Text in, text or a boolean out; no I/O.

The standard library's ipaddress would cost 9 ms to import, as much as a bare interpreter (bench/imports).
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from snf_network.errors import BadEnvironment, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HEX = frozenset("0123456789abcdefABCDEF")
WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
PLAIN = WORD | {" "}


# --- names


def is_interface(text: str) -> bool:
    """A device name that the kernel accepts (at most 15 bytes) and that needs no quoting in any tool:
    letters, digits, `.`, `_`, `-`.
    """
    return len(text) < 16 and is_name(text)


def is_name(text: str) -> bool:
    """A word that needs no quoting in any tool and that is not the name of a hidden file."""
    return 0 < len(text) < 254 and WORD.issuperset(text) and text[0] not in ".-"


def is_domain(text: str) -> bool:
    """A valid DNS name: labels of 1 to 63 characters, at most 253 in all (RFC 1035, 2.3.4)."""
    return bool(text) and is_name(text) and all(0 < len(label) < 64 for label in text.split("."))


def as_alias(text: str) -> str:
    """Text as the alias of a device: at most 255 octets (IFALIASZ). All but letters, digits, `_`, `.`, `-`
    and spaces becomes `_`, so double quotes are enough in a shell and in a batch of ip(8).
    """
    return "".join([character if character in PLAIN else "_" for character in text[:255]])


def is_alias(text: str) -> bool:
    """An alias as `as_alias` makes it, or none."""
    return as_alias(text) == text


# --- MAC addresses


def is_octets(text: str) -> bool:
    """Six octets in hexadecimal, with colons: a MAC address or a mask of one."""
    parts = text.split(":")
    return len(parts) == 6 and all(len(part) == 2 and HEX.issuperset(part) for part in parts)


def is_mac(text: str) -> bool:
    """The MAC address of a single station: neither a group address nor all zero."""
    return is_octets(text) and not int(text[:2], 16) & 1 and bool(text.strip("0:"))


# --- addresses


def family_of(text: str) -> int:
    """AF_INET6 for text with a colon, else AF_INET."""
    return AF_INET6 if ":" in text else AF_INET


def width(text: str) -> int:
    """The address family's length in bits: 32 or 128."""
    return 128 if ":" in text else 32


def packed(text: str) -> bytes:
    """The bytes of an address; empty if the text is not an address."""
    try:
        return inet_pton(family_of(text), text)
    except (OSError, ValueError):  # a NUL or a surrogate is a ValueError
        return b""


def is_address(text: str) -> bool:
    """Any IPv4 or IPv6 address."""
    return bool(packed(text))


def is_ip4(text: str) -> bool:
    """An IPv4 address of a single host: not 0/8, not loopback, not multicast or above."""
    octets = packed(text)
    return len(octets) == 4 and 0 < octets[0] < 224 and octets[0] != 127


def is_ip6(text: str) -> bool:
    """An IPv6 address of a single host: not ::, not loopback, not multicast, not IPv4-mapped."""
    octets = packed(text)
    return len(octets) == 16 and octets[0] != 0xFF and octets[:8] != bytes(8)


def is_global6(text: str) -> bool:
    """An IPv6 address of a single host that is not link-local."""
    return is_ip6(text) and not is_link_local(text)


def is_link_local(text: str) -> bool:
    """An IPv6 address in fe80::/10 (RFC 4291, 2.5.6)."""
    octets = packed(text)
    return len(octets) == 16 and octets[0] == 0xFE and octets[1] & 0xC0 == 0x80


def canonical6(text: str) -> str:
    """An IPv6 address as the kernel writes it (RFC 5952); an empty string stays empty."""
    return inet_ntop(AF_INET6, inet_pton(AF_INET6, text)) if text else ""


def eui64(subnet: str, mac: str) -> str:
    """The address in `subnet`, a /64, that EUI-64 derives from `mac` (RFC 4291, appendix A).

    Raises BadEnvironment for another prefix length: no guest can form such an address by itself.
    """
    prefix, _, length = subnet.partition("/")
    if length != "64":
        raise BadEnvironment(
            f"NETWORK_SUBNET6={shown(subnet)} is not a /64", "EUI-64 addresses need one (RFC 4291, 2.5.1)"
        )
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE)) + octets[3:]
    return inet_ntop(AF_INET6, inet_pton(AF_INET6, prefix)[:8] + identifier)


# --- prefixes


def is_length(text: str, longest: int) -> bool:
    """A prefix length from 0 to `longest`, without leading zeros."""
    return (
        text.isascii()
        and text.isdigit()
        and len(text) < 4
        and str(int(text)) == text
        and int(text) <= longest
    )


def is_prefix(text: str, is_host: Callable[[str], bool] = is_address) -> bool:
    """An address that passes `is_host`, a slash and a length, with no bit set beyond the length."""
    address, slash, length = text.partition("/")
    if not slash or not is_host(address) or not is_length(length, width(address)):
        return False
    value, bits = as_bits(text)
    return not value & ((1 << width(text) - bits) - 1)


def is_prefix4(text: str) -> bool:
    """An IPv4 prefix of host addresses, in the form that the kernel lists."""
    return is_prefix(text, is_ip4)


def is_prefix6(text: str) -> bool:
    """An IPv6 prefix of host addresses that is not link-local, in the form that the kernel lists."""
    return is_prefix(text, is_global6)


def as_bits(text: str) -> tuple[int, int]:
    """A valid address or prefix as a number and a prefix length; for an address, the full length."""
    address, _, length = text.partition("/")
    return int.from_bytes(inet_pton(family_of(address), address), "big"), int(length or width(text))


def within(inner: str, prefix: str) -> bool:
    """True if an address or a prefix lies within `prefix`; both must be valid."""
    (network, length), (value, longer) = as_bits(prefix), as_bits(inner)
    same = family_of(prefix) == family_of(inner)
    return same and longer >= length and not (network ^ value) >> (width(prefix) - length)
