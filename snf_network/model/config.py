"""/etc/default/snf-network, with the setting names and meanings of the bash package. Read as data: no shell
runs.

The syntax is the part of sh that such files use: KEY=VALUE, quotes, comments, `$NAME` and `${NAME}` of
earlier keys.
"""

from __future__ import annotations

import posix
from posix import F_OK, access

from snf_network.addresses import is_address, is_length, is_mac, is_octets, width
from snf_network.errors import BadConfig, shown
from snf_network.lean import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATH = "/etc/default/snf-network"
DNS_PATH = "/etc/snf-network/dns.yaml"
"""DNS settings that PATH has no syntax for; a NIC coming up does not wait for it to be read."""
LARGEST = 1 << 20
"""Maximum size of the file in bytes."""
NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
TAG = NAME | frozenset("-.:")
# characters that only a shell could interpret: refused rather than guessed
SHELL = frozenset("`;&|<>()*?[]~!\\")


@dataclass(frozen=True)
class Config:
    """The settings of a node. Every field is a key of the file in lower case; docs/operators.md lists them
    all.
    """

    state_dir: str = "/var/lib/snf-network"
    logfile: str = "/var/log/ganeti/snf-network.log"
    debug: bool = False
    ifup_extra_script: str = "/etc/ganeti/ifup-extra"
    mac_mask: str = "ff:ff:f0:00:00:00"
    tap_constant_mac: str = "cc:47:52:4e:45:54"
    nfdhcpd_state_dir: str = "/var/lib/nfdhcpd"
    nfdhcpd_engine: str = "packet"
    bgp_daemon: str = "bird"
    bird_dir: str = "/var/lib/snf-network-bird"
    frr_dir: str = "/var/lib/snf-network-frr"
    ganeti_nic_dir: str = "/var/run/ganeti/xen-hypervisor/nic"
    mac_filtered_tag: str = "private-filtered"
    ip_filtered_tag: str = "ip-filtered"
    trunk_tag: str = "trunk"
    isolated_tag: str = "isolated"
    nfdhcpd_tag: str = "nfdhcpd"
    ip_less_routed_tag: str = "ip-less-routed"
    masq_tag: str = "masq"
    public_tag: str = "public"
    physical_vlan_tag: str = "physical-vlan"
    dns_tag: str = "dns"
    gateway_on_tap_tag: str = "gateway-on-tap"
    bgp_tag: str = "bgp"
    v6_from_v4_tag: str = "v6-from-v4"
    tag_prefix: str = "snf-network"
    firewall_tag_prefix: str = "synnefo:network"
    masq: bool = False
    newest_route_wins: bool = False
    underlay: str = ""
    node_services: str = ""
    limits: str = ""
    authentication_method: str = "bind9"
    server: str = ""
    fzone: str = "vm.synnefo.live"
    ttl: str = "300"
    keyfile: str = ""
    kerberos_principal: str = ""
    kerberos_keytab: str = "/etc/krb5.keytab"
    kerberos_kstart_args: str = "-H 1 -l 1h"
    kerberos_ticket: str = "/var/lib/snf-network/snf-network-kerberos.tkt"
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    """Lines that were skipped because they are invalid; only if `lenient`."""

    @staticmethod
    def load(path: str = PATH, lenient: bool = False) -> Config:
        """The settings in `path`; the defaults if there is no file. Raises BadConfig with the line number; if
        `lenient`, a bad line goes into `errors` instead, and its key keeps the default, as do all keys of a
        file that cannot be read.
        """
        try:
            text = _content(path)
        except BadConfig as error:
            if not lenient:
                raise
            return Config(errors=(f"{error}; the defaults are used",))
        return parse(text, path, lenient)


def _content(path: str) -> str:
    """The text of a regular file, empty if there is none; opening a pipe does not wait for its writer. Raises
    BadConfig.
    """
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    try:
        status = posix.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > LARGEST:
            raise BadConfig(f"{path} is not a file of settings", f"a regular file of at most {LARGEST} bytes")
        return posix.read(descriptor, LARGEST).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    finally:
        posix.close(descriptor)


def dns_is_on(config: Config) -> bool:
    """True if there is a server to send names to and a way to sign updates."""
    return bool(config.authentication_method) and (bool(config.server) or access(DNS_PATH, F_OK))


def parse(text: str, path: str = PATH, lenient: bool = False) -> Config:
    """The settings in `text`. Raises BadConfig for a line that is not an assignment or has a bad value; if
    `lenient`, skips the line and adds it to `errors`.
    """
    words: dict[str, str] = {}
    settings: dict[str, str | bool] = {}
    warnings: list[str] = []
    errors: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path}:{number}"
        try:
            key, value = _assignment(line, words, where)
            words |= {key: value} if key else {}
            if key in CHECKS:
                settings[key.lower()] = _checked(key, value, where)
            elif key and key not in IGNORED:
                warnings.append(f"{where}: unknown setting {key}, ignored")
        except BadConfig as error:
            if not lenient:
                raise
            errors.append(f"{error}; the line is left out")
    if "state_dir" in settings and "kerberos_ticket" not in settings:
        settings["kerberos_ticket"] = f"{settings['state_dir']}/snf-network-kerberos.tkt"
    config = Config(**{**Config().__dict__, **settings, "warnings": tuple(warnings)})
    for key, conflict in _conflicts(config, path):
        if not lenient:
            raise conflict
        errors.append(f"{conflict}; the default of {key.upper()} is used")
        config = replace(config, **{key: getattr(Config(), key)})
    return replace(config, errors=tuple(errors))


def _conflicts(config: Config, path: str) -> Iterator[tuple[str, BadConfig]]:
    """Keys that another key contradicts, with the reason."""
    if config.state_dir.rstrip("/") == config.nfdhcpd_state_dir.rstrip("/"):
        both = f"STATE_DIR and NFDHCPD_STATE_DIR are both {shown(config.state_dir)}"
        yield "nfdhcpd_state_dir", BadConfig(f"{path}: {both}", "their files have the same names")
    by_name: dict[str, str] = {}
    for key in TAG_KEYS:
        other = by_name.setdefault(getattr(config, key), key)
        if other != key and not {other, key} <= SILENT_TAGS:
            both = f"{other.upper()} and {key.upper()} are both {shown(getattr(config, key))}"
            yield key, BadConfig(f"{path}: {both}", "a tag has one meaning")


def _assignment(line: str, words: dict[str, str], where: str) -> tuple[str, str]:
    line = line.strip()
    if not line or line.startswith("#"):
        return "", ""
    key, equals, rest = line.removeprefix("export ").lstrip().partition("=")
    if not equals or not key or not NAME.issuperset(key) or key[0].isdigit():
        raise BadConfig(
            f"{where}: {shown(line)} is not KEY=VALUE", "this file is read as data, no shell runs it"
        )
    return key, _value(rest, words, where)


def _value(text: str, words: dict[str, str], where: str) -> str:
    """Parse one shell word: remove quotes, expand $NAME of earlier keys, drop a trailing comment."""
    result, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        position += 1
        if quote and character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif not quote and character in " \t":
            _only_comment(text[position:], where)
            break
        elif character == "$" and quote != "'":
            name, position = _reference(text, position, where)
            result += words.get(name, DEFAULTS.get(name, ""))
        elif character in SHELL and quote != "'" and not (quote and character not in "`\\"):
            raise BadConfig(
                f"{where}: {shown(character)} would need a shell", "put the value in single quotes"
            )
        else:
            result += character
    if quote:
        raise BadConfig(f"{where}: the quote {quote} is not closed")
    return result


def _only_comment(rest: str, where: str) -> None:
    rest = rest.strip()
    if rest and not rest.startswith("#"):
        raise BadConfig(f"{where}: {shown(rest)} after the value", "quote a value that has spaces")


def _reference(text: str, position: int, where: str) -> tuple[str, int]:
    braces = text[position : position + 1] == "{"
    start = end = position + braces
    while end < len(text) and text[end] in NAME:
        end += 1
    if end == start or text[start].isdigit() or (braces and text[end : end + 1] != "}"):
        raise BadConfig(
            f"{where}: {shown(text[position - 1 :])} would need a shell",
            "only $NAME and ${NAME} are understood",
        )
    return text[start:end], end + braces


def _checked(key: str, value: str, where: str) -> str | bool:
    check, expected = CHECKS[key]
    if not check(value):
        raise BadConfig(f"{where}: {key}={shown(value)} is not {expected}")
    if check in (is_octets, is_mac):
        return value.lower()
    return value.lower() in TRUE if expected == BOOLEAN[1] else value


TRUE = frozenset(("true", "yes", "1", "on"))
FALSE = frozenset(("false", "no", "0", "off", ""))


def _is_path(value: str) -> bool:
    return value.startswith("/") and value.isprintable() and "/../" not in f"{value}/"


def _are_prefixes(value: str) -> bool:
    """Addresses and prefixes of either family, separated by spaces."""
    return all(map(_is_range, value.split()))


def _is_range(word: str) -> bool:
    address, slash, length = word.partition("/")
    return is_address(address) and (not slash or is_length(length, width(address)))


def _are_services(value: str) -> bool:
    """Ports and ranges with a protocol, of all addresses of the node or of one, separated by spaces."""
    return all(word == "any" or _is_service(word) for word in value.split())


def _is_service(word: str) -> bool:
    ports, _, rest = word.partition("/")
    protocol, at, address = rest.partition("@")
    first, dash, last = ports.partition("-")
    known = protocol in ("tcp", "udp") and (not at or is_address(address))
    return known and _is_port(first) and (not dash or (_is_port(last) and int(first) < int(last)))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 6 and int(text) < 65536


PATHNAME = (_is_path, "an absolute path")
BOOLEAN: tuple[Callable[[str], bool], str] = (lambda value: value.lower() in TRUE | FALSE, "true or false")
TAGNAME: tuple[Callable[[str], bool], str] = (lambda value: bool(value) and TAG.issuperset(value), "a tag")
TEXT: tuple[Callable[[str], bool], str] = (lambda value: not value or value.isprintable(), "printable text")
SILENT_TAGS = frozenset(("public_tag", "physical_vlan_tag", "dns_tag"))
"""Tags that put nothing on the node: two of them may share a name, as DNS_TAG=public in the bash package."""
TAG_KEYS = tuple(key for key in Config().__dict__ if key.endswith("_tag"))
DEFAULTS = {key.upper(): value for key, value in Config().__dict__.items() if isinstance(value, str)}
CHECKS: dict[str, tuple[Callable[[str], bool], str]] = {
    **dict.fromkeys(("STATE_DIR", "NFDHCPD_STATE_DIR", "BIRD_DIR", "FRR_DIR", "GANETI_NIC_DIR"), PATHNAME),
    **dict.fromkeys(
        ("LOGFILE", "IFUP_EXTRA_SCRIPT"),
        (lambda value: not value or _is_path(value), "an absolute path or empty"),
    ),
    **dict.fromkeys(("DEBUG", "MASQ", "NEWEST_ROUTE_WINS"), BOOLEAN),
    "MAC_MASK": (is_octets, "a MAC mask such as ff:ff:f0:00:00:00"),
    "TAP_CONSTANT_MAC": (is_mac, "the MAC address of one station, such as cc:47:52:4e:45:54"),
    **dict.fromkeys((key for key in DEFAULTS if key.endswith(("_TAG", "TAG_PREFIX"))), TAGNAME),
    "NFDHCPD_ENGINE": (lambda value: value in ("packet", "nfqueue", "none"), "packet, nfqueue or none"),
    "BGP_DAEMON": (lambda value: value in ("bird", "frr"), "bird or frr"),
    "AUTHENTICATION_METHOD": (
        lambda value: value in ("", "plain", "bind9", "kerberos"),
        "plain, bind9, kerberos or empty",
    ),
    "UNDERLAY": (_are_prefixes, "addresses and prefixes with spaces between them"),
    "NODE_SERVICES": (_are_services, "any, or ports such as 22/tcp 6000-6010/udp 80/tcp@192.0.2.1"),
    "LIMITS": TEXT,
    "TTL": (lambda value: value.isascii() and value.isdigit() and len(value) < 10, "a number of seconds"),
    **dict.fromkeys(
        (
            "SERVER",
            "FZONE",
            "KEYFILE",
            "KERBEROS_PRINCIPAL",
            "KERBEROS_KEYTAB",
            "KERBEROS_KSTART_ARGS",
            "KERBEROS_TICKET",
        ),
        TEXT,
    ),
}
# settings of the bash package that no longer set anything: its helper, its lock, its trace file
IGNORED = frozenset(("MAC2EUI64", "RUNLOCKED_OPTS", "DEBUGFILE"))
