"""nfdhcpd.conf: the old nfdhcpd's file, read unchanged, and a few new keys.

`[section]`, `key = value`, comma-separated lists; `#` starts a comment anywhere outside quotes.
docs/nfdhcpd.md lists all keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from snf_network.addresses import is_domain, is_ip4, is_ip6, is_name
from snf_network.errors import BadConfig, shown
from snf_network.values import DOMAINS, domains, flag, number, one, several, unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/etc/nfdhcpd/nfdhcpd.conf"
MODES = ("slaac", "slaac+dhcpv6", "managed")
LONGEST_PERIOD = 1800
NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


@dataclass(frozen=True)
class Conf:
    """The settings, with defaults for guests whose binding does not set a value. Times are in seconds."""

    pidfile: str = "/run/nfdhcpd/nfdhcpd.pid"
    datapath: str = "/var/lib/nfdhcpd"
    """The directory of the bindings."""
    logdir: str = "/var/log/nfdhcpd"
    user: str = "nobody"
    enable_dhcp: bool = True
    dhcp_queue: int = 42
    """An NFQUEUE number, like the other queues here; only the engine nfqueue has queues."""
    lease_lifetime: int = 604800
    """Option 51."""
    lease_renewal: int = 3600
    """T1 (option 58); T2 follows from both (terms.py)."""
    server_ip: str = "192.0.2.1"
    server_on_link: bool = False
    """Replies come from the gateway, or from the first address of the subnet, instead of server_ip."""
    allow_relay: bool = False
    """Answer requests that carry a relay's address (giaddr). Only for measuring: a guest has no relay."""
    nameservers: tuple[str, ...] = ()
    domain: str = ""
    domain_search: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    enable_ipv6: bool = True
    mode: str = "slaac+dhcpv6"
    """One of MODES. managed: addresses by DHCPv6 only, so that guests use the one that is routed."""
    rs_queue: int = 43
    ns_queue: int = 44
    dhcpv6_queue: int = 45
    ra_period: int = 600
    on_link: bool | None = None
    """Whether guests reach others in their prefix directly (L bit). None: yes on a bridge, no on a routed
    tap.
    """
    nameservers6: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


def read(text: str, path: str = PATH) -> tuple[Conf, tuple[str, ...]]:
    """The settings in `text`, and a warning for each key in it that has no meaning here. Raises BadConfig
    with the line number.
    """
    values: dict[str, object] = {}
    warnings: list[str] = []
    section = ""
    for count, line in enumerate(text.split("\n"), 1):
        where = f"{path}:{count}"
        line = _without_comment(line, where)
        if not line:
            continue
        if line.startswith("["):
            section = _section(line, where)
            if section not in KEYS:
                warnings.append(f"{where}: section [{section}] is not known, ignored")
        elif section in KEYS or not section:
            _take(line, section, where, values, warnings)
    values["mode"] = _mode(values, bool(values.pop("enable_dhcpv6", True)))
    if values.get("on_link") == "auto":
        del values["on_link"]
    if int(str(values.get("ra_period", 0))) > LONGEST_PERIOD:
        warnings.append(
            f"{path}: ra_period is taken as {LONGEST_PERIOD}, the longest that RFC 4861, 6.2.1 allows"
        )
        values["ra_period"] = LONGEST_PERIOD
    return replace(Conf(), **values), tuple(warnings)  # type: ignore[arg-type]


def _without_comment(line: str, where: str) -> str:
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return line[:position].strip()
    if quote:
        raise BadConfig(f"{where}: the quote {quote} is not closed")
    return line.strip()


def _section(line: str, where: str) -> str:
    name = line[1:-1].strip()
    if line[-1] != "]" or not name or not NAME.issuperset(name):
        raise BadConfig(f"{where}: {shown(line)} is not a [section]")
    return name


def _take(line: str, section: str, where: str, values: dict[str, object], warnings: list[str]) -> None:
    key, equals, value = (part.strip() for part in line.partition("="))
    if not equals or not key or not NAME.issuperset(key):
        raise BadConfig(f"{where}: {shown(line)} is not key = value")
    if not section:
        raise BadConfig(f"{where}: {shown(line)} stands before the first [section]")
    if key not in KEYS[section]:
        warnings.append(f"{where}: unknown key {key} in [{section}], ignored")
        return
    field, convert, expected = KEYS[section][key]
    if field in values:
        raise BadConfig(f"{where}: {key} is given twice")
    result = convert(value)
    if result is None:
        raise BadConfig(f"{where}: {key} = {shown(value)} is not {expected}")
    values[field] = result


def _mode(values: dict[str, object], dhcpv6: bool) -> str:
    """The mode. `auto`, the default, depends on the queues in the file, as in the old nfdhcpd; without
    queues, it enables everything.
    """
    mode = str(values.get("mode", "auto"))
    if mode != "auto":
        return mode
    stateless = dhcpv6 and ("dhcpv6_queue" in values or not values.keys() & {"rs_queue", "ns_queue"})
    return "slaac+dhcpv6" if stateless else "slaac"


def _is_path(text: str) -> bool:
    return text.startswith("/") and text.isprintable() and "/../" not in f"{text}/"


def _on_link(text: str) -> bool | str | None:
    return "auto" if unquoted(text).lower() == "auto" else flag(text)


Reader = tuple[str, "Callable[[str], object]", str]
QUEUE = (number(0, 65535), "a queue number from 0 to 65535")
SECONDS = number(1, 0xFFFFFFFF)
BOOLEAN = (flag, "yes or no")
FILE = (one(_is_path), "an absolute path")
DOMAIN = (one(lambda text: not text or is_domain(text)), "a domain name")
ADDRESSES = (several(is_ip4, 8), "a list of at most 8 IPv4 addresses")
KEYS: dict[str, dict[str, Reader]] = {
    "general": {
        "pidfile": ("pidfile", *FILE),
        "datapath": ("datapath", *FILE),
        "datadir": ("datapath", *FILE),
        "logdir": ("logdir", *FILE),
        "user": ("user", one(lambda text: bool(text) and is_name(text)), "the name of a user"),
    },
    "dhcp": {
        "enable_dhcp": ("enable_dhcp", *BOOLEAN),
        "dhcp_queue": ("dhcp_queue", *QUEUE),
        "lease_lifetime": ("lease_lifetime", number(60, 0xFFFFFFFF), "a number of seconds from 60"),
        "lease_renewal": ("lease_renewal", SECONDS, "a number of seconds"),
        "server_ip": ("server_ip", one(is_ip4), "an IPv4 address"),
        "server_on_link": ("server_on_link", *BOOLEAN),
        "allow_relay": ("allow_relay", *BOOLEAN),
        "nameservers": ("nameservers", *ADDRESSES),
        "domain": ("domain", *DOMAIN),
        "domain_search": ("domain_search", domains, DOMAINS),
        "ntp": ("ntp", *ADDRESSES),
    },
    "ipv6": {
        "enable_ipv6": ("enable_ipv6", *BOOLEAN),
        "enable_dhcpv6": ("enable_dhcpv6", *BOOLEAN),
        "mode": ("mode", one(("auto", *MODES).__contains__), f"auto, {', '.join(MODES)}"),
        "rs_queue": ("rs_queue", *QUEUE),
        "ns_queue": ("ns_queue", *QUEUE),
        "dhcpv6_queue": ("dhcpv6_queue", *QUEUE),
        "dhcp_queue": ("dhcpv6_queue", *QUEUE),
        "ra_period": ("ra_period", SECONDS, "a number of seconds"),
        "on_link": ("on_link", _on_link, "auto, yes or no"),
        "nameservers": ("nameservers6", several(is_ip6, 8), "a list of at most 8 IPv6 addresses"),
        "domains": ("domains", domains, DOMAINS),
    },
}
