"""Valid values of binding files and nfdhcpd.conf: parsers of values, and the keys of a binding. Text in, a
checked value or None out. Pure.

The setup that writes bindings and the daemon that reads them share it, so that neither accepts what the other
refuses.
"""

from __future__ import annotations

from sys import intern

from snf_network.addresses import (
    is_domain,
    is_global6,
    is_interface,
    is_ip4,
    is_ip6,
    is_mac,
    is_name,
    is_prefix4,
    is_prefix6,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TRUE = frozenset(("true", "yes", "1", "on"))
FALSE = frozenset(("false", "no", "0", "off"))
DOMAINS = "at most 8 domain names, 255 bytes in all"
"""What `domains` accepts, in words."""


def unquoted(text: str) -> str:
    """The text without the quotes around it, if any."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _words(text: str) -> list[str]:
    return [word for word in (unquoted(part.strip()) for part in text.split(",")) if word]


def flag(text: str) -> bool | None:
    """True for yes, true, 1 or on; False for no, false, 0 or off; None for any other word."""
    word = unquoted(text).lower()
    return word in TRUE if word in TRUE | FALSE else None


def number(low: int, high: int) -> Callable[[str], int | None]:
    """A parser of decimal numbers from `low` to `high`; it returns None for anything else."""

    def convert(text: str) -> int | None:
        text = unquoted(text)
        plain = text.isascii() and text.isdigit() and len(text) < 11
        return int(text) if plain and low <= int(text) <= high else None

    return convert


def several(check: Callable[[str], bool], most: int) -> Callable[[str], tuple[str, ...] | None]:
    """A parser of comma-separated lists of at most `most` words that all pass `check`; it returns None for
    anything else.
    """

    def convert(text: str) -> tuple[str, ...] | None:
        words = _words(text)
        return tuple(words) if len(words) <= most and all(map(check, words)) else None

    return convert


def one(check: Callable[[str], bool]) -> Callable[[str], str | None]:
    """A parser of one word that passes `check`; it returns None for anything else."""

    def convert(text: str) -> str | None:
        text = unquoted(text)
        return text if check(text) else None

    return convert


def domains(text: str) -> tuple[str, ...] | None:
    """The domain names, if one DHCPv4 option can hold them all (RFC 3397); None for anything else."""
    words = several(is_domain, 8)(text)
    return words if words is not None and sum(len(word) + 2 for word in words) < 256 else None


# --- the keys of a binding file


def _routes(text: str) -> tuple[tuple[str, str], ...] | None:
    """Parse `prefix via gateway`, comma-separated. A prefix of length 0 is refused: the default route is
    GATEWAY.
    """
    routes = []
    for part in text.split(","):
        words = part.split()
        if len(words) != 3 or words[1] != "via" or not is_prefix4(words[0]) or not is_ip4(words[2]):
            return None
        routes.append((words[0], words[2]))
    return tuple(routes) if len(routes) <= MOST_ROUTES else None


def _boot(text: str) -> tuple[tuple[str, str], ...] | None:
    """Parse `CLIENT FILE`, or a FILE for any client, comma-separated; each client once."""
    found: dict[str, str] = {}
    for part in text.split(","):
        words = part.split()
        client, file = words if len(words) == 2 else ("any", *words) if len(words) == 1 else ("", "")
        if client not in CLIENTS or client in found or not is_file(file):
            return None
        found[client] = file
    return tuple(found.items())


def _boot6(text: str) -> tuple[tuple[str, str], ...] | None:
    """The same, where every file is a URL: DHCPv6 has no other (RFC 5970)."""
    found = _boot(text)
    return found if found and all("://" in file for _, file in found) else None


def is_file(text: str) -> bool:
    """The name of a boot file, or its URL: one word that fits into one option."""
    plain = text.isascii() and text.isprintable() and not set(" ,\"'\\") & set(text)
    return plain and 0 < len(text) < 256


def _mac(text: str) -> str | None:
    return text.lower() if is_mac(text) else None


def _interned(check: Callable[[str], bool]) -> Callable[[str], str | None]:
    return lambda text: intern(text) if check(text) else None


MOST_ROUTES = 12
"""As many as option 121 can hold (255 bytes, RFC 3442) together with a route to each gateway and the default
route, at most 9 bytes each.
"""
MOST_MORE = 16
"""Further IPv6 addresses of a guest: with them, an answer is still one packet of 1280 bytes."""
FIRMWARE = ("bios", "efi32", "efi64", "arm32", "arm64", "riscv64")
CLIENTS = ("any", "ipxe", "http", *FIRMWARE, *(f"http-{kind}" for kind in FIRMWARE))
"""Who may have a boot file of its own (dhcpd/boot.py): firmware by architecture, firmware that loads by HTTP,
and iPXE.
"""
MOST_SERVERS, MOST_ALLOWED = 4, 64
PREFIX4, PREFIX6 = "an IPv4 prefix such as 198.51.100.0/24", "an IPv6 prefix such as 2001:db8:1::/64"
ADDRESS4, ADDRESS6 = "one host's IPv4 address", "one host's IPv6 address"
FILES = f"FILE or 'CLIENT FILE', each CLIENT once: any, ipxe, [http-]{', [http-]'.join(FIRMWARE)}, http"
FLAG, STATION = "yes or no", "the MAC of one station"
BINDING_KEYS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "INDEV": ("indev", _interned(is_interface), "the name of an interface"),
    "IP": ("ip", one(is_ip4), ADDRESS4),
    "MAC": ("mac", _mac, STATION),
    "HOSTNAME": ("hostname", one(is_domain), "a host name"),
    "SUBNET": ("subnet", _interned(is_prefix4), PREFIX4),
    "GATEWAY": ("gateway", _interned(is_ip4), ADDRESS4),
    "SUBNET6": ("subnet6", _interned(is_prefix6), PREFIX6),
    "GATEWAY6": ("gateway6", _interned(is_ip6), ADDRESS6),
    "EUI64": ("eui64", one(is_global6), ADDRESS6),
    "MACSPOOF": ("macspoof", flag, FLAG),
    "MTU": ("mtu", number(576, 65535), "a number from 576 to 65535"),
    "PRIVATE": ("private", flag, FLAG),
    "NAMESERVERS": ("nameservers", several(is_ip4, 8), "at most 8 IPv4 addresses"),
    "NAMESERVERS6": ("nameservers6", several(is_ip6, 8), "at most 8 IPv6 addresses"),
    "DOMAIN": ("domain", _interned(is_domain), "a domain name"),
    "DOMAIN_SEARCH": ("domain_search", domains, DOMAINS),
    "ROUTES": ("routes", _routes, f"at most {MOST_ROUTES} of 'PREFIX via GATEWAY', comma-separated"),
    "NTP": ("ntp", several(is_ip4, 8), "at most 8 IPv4 addresses"),
    "LEASE": ("lease", number(60, 0xFFFFFFFF), "a number of seconds from 60"),
    "GATEWAY6_MAC": ("gateway6_mac", _mac, STATION),
    "IP6": ("ip6", one(is_global6), ADDRESS6),
    "MORE6": ("more6", several(is_global6, MOST_MORE), f"at most {MOST_MORE} IPv6 addresses"),
    "NODHCP6": ("nodhcp6", flag, FLAG),
    "SLAAC": ("slaac", flag, FLAG),
    "NETWORK": ("network", _interned(is_name), "the name of a Ganeti network"),
    "NEXT_SERVER": ("next_server", one(is_ip4), ADDRESS4),
    "BOOT": ("boot", _boot, FILES),
    "BOOT6": ("boot6", _boot6, f"{FILES}; a FILE is a URL"),
    "RELAY": ("relay", several(is_ip4, MOST_SERVERS), f"at most {MOST_SERVERS} IPv4 addresses"),
    "ALLOWED": ("allowed", several(is_prefix4, MOST_ALLOWED), f"at most {MOST_ALLOWED} IPv4 prefixes"),
}
"""Each key of a binding: its field in the daemon, its parser, and its valid values in words."""
WORDS = {
    "mtu": ("MTU",),
    "ns": ("NAMESERVERS", "NAMESERVERS6"),
    "ntp": ("NTP",),
    "domain": ("DOMAIN",),
    "search": ("DOMAIN_SEARCH",),
    "route": ("ROUTES",),
    "lease": ("LEASE",),
    "private": ("PRIVATE",),
    "nodhcp6": ("NODHCP6",),
    "slaac": ("SLAAC",),
    "next-server": ("NEXT_SERVER",),
    "boot": ("BOOT",),
    "boot6": ("BOOT6",),
    "relay": ("RELAY",),
}
"""The words of DHCP in tags and in dhcp.yaml, each with its key; the second one is for IPv6 addresses."""
