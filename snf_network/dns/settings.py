"""Settings of DNS: SERVER, FZONE and the like in /etc/default/snf-network, and /etc/snf-network/dns.yaml for
all that those cannot express.

docs/dns.md describes both. The second file is optional and overrides the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from os import F_OK, access
from os.path import islink
from reprlib import repr as repr_of
from typing import Any

import yaml

from snf_network.errors import BadConfig, shown
from snf_network.host import kernel
from snf_network.model.config import DNS_PATH, Config
from snf_network.model.names import forward, reverse

CLUSTER = "/var/lib/ganeti/ssconf_cluster_name"
METHODS = ("plain", "bind9", "kerberos", "")


@dataclass(frozen=True)
class Route:
    """The servers that accept updates of some names, and how to sign the updates."""

    servers: tuple[tuple[str, int], ...] = ()
    method: str = ""
    key: str = ""
    ttl: int = 300
    zone: str = ""
    """The apex, if configured; if empty, the server is asked."""


@dataclass(frozen=True)
class Settings:
    """The whole configuration; read once when the sender starts."""

    default: Route
    zone: str
    """The zone for names that end in none of our zones: FZONE."""
    zones: Mapping[str, Route] = field(default_factory=dict)
    networks: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Zone and TTL of a Ganeti network's names; "" and -1 if it has none of its own."""
    classless: tuple[tuple[str, str], ...] = ()
    """Prefixes and their zones (RFC 2317)."""
    owner: str = ""
    """The cluster name used in marks."""
    mark: str = "dhcid"
    timeout: float = 2.0
    """Seconds to wait for one answer; there are three tries."""
    kerberos: tuple[str, str, str] = ("", "", "")
    """Principal, keytab, ticket."""

    def name(self, instance: str, network: str) -> str:
        """The name of an instance with a NIC in this network."""
        own = self.networks.get(network, ("", -1))[0]
        if not own and any(
            forward(instance, zone) == forward(instance, "") for zone in self.zones if not _is_reverse(zone)
        ):
            return forward(instance, "")
        return forward(instance, own or self.zone)

    def ttl(self, name: str, network: str = "") -> int:
        """The TTL of a name, in seconds."""
        own = self.networks.get(network, ("", -1))[1]
        return own if own >= 0 else self.route(name).ttl

    def pointer(self, address: str) -> str:
        """The name of the PTR of an address; in a classless zone, the last octet within that zone (RFC 2317,
        4).
        """
        for prefix, zone in self.classless:
            if ip_address(address) in ip_network(prefix):
                return f"{address.rpartition('.')[2]}.{zone}"
        return reverse(address)

    def routes(self) -> tuple[Route, ...]:
        """All configured routes."""
        return (self.default, *self.zones.values())

    def route(self, name: str) -> Route:
        """The route of a name: that of the longest configured zone that contains it."""
        labels = name.split(".")
        suffixes = (".".join(labels[start:]) for start in range(len(labels)))
        return next((self.zones[zone] for zone in suffixes if zone in self.zones), self.default)


def _is_reverse(zone: str) -> bool:
    return zone.endswith((".in-addr.arpa", ".ip6.arpa"))


def load(config: Config, path: str = DNS_PATH, cluster: str = CLUSTER) -> Settings:
    """The settings of this node. Raises BadConfig with the line number."""
    try:
        servers = tuple(_server(word.strip()) for word in config.server.split(",") if word.strip())
    except BadConfig as error:
        raise BadConfig(f"SERVER={error.message}", error.hint) from error
    default = Route(servers, config.authentication_method, config.keyfile, int(config.ttl or 300))
    plain = Settings(
        default,
        forward(config.fzone, ""),
        owner=(kernel.read_file(cluster) or "").strip(),
        kerberos=(config.kerberos_principal, config.kerberos_keytab, config.kerberos_ticket),
    )
    text = kernel.read_file(path)
    if text is None and (access(path, F_OK) or islink(path)):
        raise BadConfig(f"{path} cannot be read", "a regular file, and no link to one")
    return plain if text is None else parse(text, plain, path)


def parse(text: str, plain: Settings, path: str = DNS_PATH) -> Settings:
    """`plain`, with the changes from dns.yaml. Raises BadConfig with the line number."""
    node, said = _read(text, path)
    if node is not None:
        _check(node, said, TOP, path)
    default = _route(said, plain.default)
    zones = {
        forward(zone, ""): replace(_route(values, default), zone=forward(zone, ""))
        for zone, values in said.get("zones", {}).items()
    }
    networks = {
        str(name): (forward(values.get("zone", ""), ""), int(values.get("ttl", -1)))
        for name, values in said.get("networks", {}).items()
    }
    classless = tuple((prefix, forward(zone, "")) for prefix, zone in said.get("reverse", {}).items())
    return replace(
        plain,
        default=default,
        zones=zones,
        networks=networks,
        classless=classless,
        zone=forward(said.get("zone", plain.zone), ""),
        owner=said.get("owner", plain.owner),
        mark=said.get("mark", plain.mark),
        timeout=float(said.get("timeout", plain.timeout)),
    )


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types
    """A loader that reports the line of a value that does not fit its type, such as the date 2020-13-45: for
    these PyYAML raises Python's own errors.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Like the base class's. Raises YAMLError."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, OverflowError) as error:
            words = "this value is no " + node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark) from error


def _read(text: str, path: str) -> tuple[yaml.Node | None, Any]:
    """The document as nodes, which know their lines, and as values. Raises BadConfig with the line number."""
    loader, line = None, 1
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        return node, {} if node is None else loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line, words = text.count("\n", 0, error.position) + 1, f"character {error.character!a}"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, words = (
            mark.line + 1 if mark else 1,
            str(getattr(error, "problem", None) or "it cannot be read"),
        )
    except RecursionError:
        line, words = loader.line + 1 if loader else 1, "brackets within brackets without end"
    raise BadConfig(f"{path}:{line}: {words}", "this is no YAML")


def _route(said: Mapping[str, Any], route: Route) -> Route:
    servers = said.get("servers")
    if servers is not None:
        route = replace(
            route, servers=tuple(map(_server, [servers] if isinstance(servers, str) else servers))
        )
    return replace(
        route,
        method=said.get("authentication", route.method),
        key=said.get("key", route.key),
        ttl=int(said.get("ttl", route.ttl)),
    )


def _server(text: str) -> tuple[str, int]:
    """Parse `host`, `host port`, `host:port`, `[address]:port`; an IPv6 address alone needs no brackets.
    Raises BadConfig.
    """
    found = re.fullmatch(
        r"\[([0-9a-fA-F:.]+)\](?::(\d+))?|([^\s:]+)(?:[:\s]\s*(\d+))?|([0-9a-fA-F:.]+)(?:\s+(\d+))?", text
    )
    host = found and (found[1] or found[3] or found[5])
    port = int((found[2] or found[4] or found[6] or 53) if found else 0)
    if not host or not 0 < port < 65536:
        raise BadConfig(
            f"{shown(text)} is no name server", "an address or name, and a port after a colon if it is not 53"
        )
    return host, port


# --- the schema: a description of a valid value and a test for it; or the keys of a mapping, where "*" stands
# for names that the admin chooses

Test = tuple[Callable[[Any], bool], str]
LABEL = re.compile(r"(?!-)[A-Za-z0-9_/-]{1,63}(?<!-)")


def _is_domain(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) < 254
        and all(map(LABEL.fullmatch, value.rstrip(".").split(".")))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) < 254


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_servers(value: Any) -> bool:
    try:
        return isinstance(value, (str, list)) and bool(
            [_server(server) for server in ([value] if isinstance(value, str) else value)]
        )
    except (BadConfig, TypeError):
        return False


def _is_prefix4(value: Any) -> bool:
    try:
        return isinstance(value, str) and ip_network(value).version == 4 and ip_network(value).prefixlen > 24
    except ValueError:
        return False


DOMAIN: Test = (_is_domain, "a domain")
TTL: Test = (_is_seconds, "a number of seconds")
ROUTE: dict[str, Any] = {
    "servers": (_is_servers, "a name server or a list of them"),
    "ttl": TTL,
    "key": (lambda value: isinstance(value, str) and value.startswith("/"), "an absolute path"),
    "authentication": (METHODS.__contains__, "plain, bind9, kerberos or empty"),
}
TOP: dict[str, Any] = {
    **ROUTE,
    "zone": DOMAIN,
    "owner": (_is_text, "text that tells this cluster from others"),
    "mark": (("dhcid", "txt").__contains__, "dhcid or txt"),
    "timeout": (
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 30,
        "seconds, at most 30",
    ),
    "zones": {"*": (DOMAIN, ROUTE)},
    "networks": {
        "*": ((lambda value: isinstance(value, str), "the name of a network"), {"zone": DOMAIN, "ttl": TTL})
    },
    "reverse": {"*": ((_is_prefix4, "an IPv4 prefix longer than /24"), DOMAIN)},
}


def _check(node: yaml.Node, value: Any, wanted: Any, path: str) -> None:
    """Compare a node with the schema. Raises BadConfig."""
    if isinstance(wanted, tuple):
        test, words = wanted
        if not test(value):
            raise BadConfig(f"{path}:{node.start_mark.line + 1}: {_shown(value)} is not {words}")
        return
    if not isinstance(node, yaml.MappingNode) or not isinstance(value, dict):
        hint = "" if "*" in wanted else f"one of {', '.join(wanted)}"
        raise BadConfig(f"{path}:{node.start_mark.line + 1}: {_shown(value)} is not KEY: VALUE lines", hint)
    for (key, child), (name, below) in zip(_pairs(node, path), value.items(), strict=True):
        test, schema = wanted.get("*", (None, wanted.get(name)))
        if test:
            _check(key, name, test, path)
        elif schema is None:
            raise BadConfig(
                f"{path}:{key.start_mark.line + 1}: unknown setting {shown(str(name))}",
                f"one of {', '.join(wanted)}",
            )
        _check(child, below, schema, path)


def _shown(value: Any) -> str:
    """A value for a message; of nested lists only the beginning, as aliases can make them enormous."""
    return shown(value if isinstance(value, str) else repr_of(value))


def _pairs(node: yaml.MappingNode, path: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    seen = set()
    for key, child in node.value:
        if key.value in seen:
            raise BadConfig(f"{path}:{key.start_mark.line + 1}: {shown(str(key.value))} stands here twice")
        seen.add(key.value)
        yield key, child
