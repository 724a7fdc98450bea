"""A NIC as Ganeti describes it: every value is checked once, here, before anything else uses it."""

from __future__ import annotations

from snf_network.addresses import (
    as_alias,
    canonical6,
    eui64,
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
from snf_network.errors import BadEnvironment, shown
from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MODES = ("bridged", "routed", "openvswitch", "ext")
# the variables that define a NIC (vif-custom sets XEN, Ganeti the others): a record keeps them, so that the
# NIC can be planned again later
VARIABLES = (
    "INSTANCE",
    "INTERFACE",
    "INTERFACE_INDEX",
    "INTERFACE_NAME",
    "INTERFACE_UUID",
    "MAC",
    "IP",
    "MODE",
    "LINK",
    "VLAN",
    "TAGS",
    "NETWORK_NAME",
    "NETWORK_UUID",
    "NETWORK_SUBNET",
    "NETWORK_GATEWAY",
    "NETWORK_SUBNET6",
    "NETWORK_GATEWAY6",
    "NETWORK_MAC_PREFIX",
    "NETWORK_TAGS",
    "MIGRATION_PHASE",
    "XEN",
)


@dataclass(frozen=True)
class Network:
    """The Ganeti network of a NIC. For a NIC without a network, every field is empty."""

    name: str = ""
    uuid: str = ""
    subnet: str = ""
    gateway: str = ""
    subnet6: str = ""
    gateway6: str = ""
    mac_prefix: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nic:
    """One virtual NIC, as the node sees it: `interface` is its tap (KVM) or vif (Xen)."""

    interface: str
    instance: str
    mac: str
    mode: str
    link: str
    ip: str = ""
    """IPv4 address, or empty."""
    ip6: str = ""
    """The IPv6 address the guest may use: IP if that is IPv6, else EUI-64 of the MAC in the network's /64
    (RFC 4291, appendix A). Empty for another prefix length, as no guest can form such an address. A tag may
    choose another (setups.addressed).
    """
    index: str = ""
    name: str = ""
    uuid: str = ""
    vlan: str = ""
    tags: tuple[str, ...] = ()
    """Tags of the instance."""
    network: Network = Network()
    xen: bool = False
    arriving: bool = False
    """The guest still runs on another node: Ganeti 3.2 brings a NIC of mode ext up before a migration, and
    again after it.
    """
    values: tuple[tuple[str, str], ...] = ()
    """The variables this NIC was read from."""

    @property
    def link_local(self) -> str:
        """The address in fe80::/64 that the guest's kernel gives itself if it forms EUI-64 addresses."""
        return eui64("fe80::/64", self.mac)

    @property
    def alias(self) -> str:
        """What the tap's alias says: the instance, the NIC's index, or else its name, and the network."""
        number = self.index or self.name
        return as_alias(" ".join(filter(None, (self.instance, number and f"nic{number}", self.network.name))))

    @property
    def identifiers(self) -> tuple[str, ...]:
        """The three identifiers by which a tag may name this NIC, the most specific first."""
        return tuple(filter(None, (self.uuid, self.name, self.index)))

    def customised(self, prefix: str) -> tuple[list[str], ...]:
        """The words of instance tags `<prefix>:<uuid|name|index>:<word>` for this NIC, in three lists: by
        uuid, by name and by index.
        """
        starts = [f"{prefix}:{identifier}:" for identifier in self.identifiers]
        return tuple([tag[len(start) :] for tag in self.tags if tag.startswith(start)] for start in starts)

    @staticmethod
    def from_env(env: Mapping[str, str], interface: str = "") -> Nic:
        """The NIC that the variables of `env` describe; `interface` is used if INTERFACE is absent.

        Raises BadEnvironment that names the first variable that is missing or malformed, and its value.
        """
        values = {name: env[name] for name in VARIABLES if env.get(name)}
        if interface:
            values.setdefault("INTERFACE", interface)
        if values.get("MODE") == "routed":
            values.setdefault("LINK", "main")  # gnt-network(8): without a LINK, the node's own table
        for name, (check, hint) in CHECKS.items():
            if name not in values or (name, values[name]) in _passed:
                continue
            if not check(values[name]):
                raise BadEnvironment(f"{name}={shown(values[name])} is not valid", hint)
            _passed.add((name, values[name]))
        for name in REQUIRED:
            if name not in values:
                raise BadEnvironment(
                    f"{name} is missing",
                    HINTS.get(name, "Ganeti sets it; by hand, put it in the environment"),
                )
        return _nic(values)


def read_nic_file(text: str) -> dict[str, str]:
    r"""The variables in a NIC file of Ganeti's Xen hypervisor: KEY=VALUE lines, some values in double quotes,
    TAGS joined by `\ `.

    Ganeti escapes nothing in it (`_WriteNicConfig`, hv_xen.py of 3.0), so a line break in a name can look
    like a separate line. Raises BadEnvironment for anything that Ganeti would not have written: a duplicate
    key, an unclosed quote, an IP that does not follow the MAC.
    """
    values: dict[str, str] = {}
    before = ""
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if (
            key in values
            or (value[:1] == '"' and (len(value) < 2 or value[-1] != '"'))
            or (key == "IP" and before != "MAC")
        ):
            raise BadEnvironment(
                f"{shown(line)} is not as Ganeti writes it", "a name with a line break in it?"
            )
        before = key
        if equals and key in VARIABLES:
            value = value.strip('"') if value[:1] == '"' else value
            values[key] = value.replace("\\ ", " ") if key == "TAGS" else value
    return values


def _nic(values: dict[str, str]) -> Nic:
    get = values.get
    mac, mode, address = values["MAC"].lower(), values["MODE"], get("IP", "")
    network = Network(
        get("NETWORK_NAME", ""),
        get("NETWORK_UUID", ""),
        get("NETWORK_SUBNET", ""),
        get("NETWORK_GATEWAY", ""),
        get("NETWORK_SUBNET6", ""),
        canonical6(get("NETWORK_GATEWAY6", "")),
        get("NETWORK_MAC_PREFIX", "").lower(),
        _words(get("NETWORK_TAGS", "")),
    )
    ip6 = canonical6(address) if ":" in address else ""
    if not ip6 and network.subnet6.endswith("/64"):
        ip6 = eui64(network.subnet6, mac)
    return Nic(
        values["INTERFACE"],
        values["INSTANCE"],
        mac,
        mode,
        values["LINK"],
        "" if ":" in address else address,
        ip6,
        get("INTERFACE_INDEX", ""),
        get("INTERFACE_NAME", ""),
        get("INTERFACE_UUID", ""),
        get("VLAN", ""),
        _words(get("TAGS", "")),
        network,
        get("XEN") == "true",
        mode == "ext" and get("MIGRATION_PHASE") == "pre",
        tuple(sorted(values.items())),
    )


def _words(text: str) -> tuple[str, ...]:
    """Tags, sorted: Ganeti's order differs from call to call, so it must not mean anything."""
    return tuple(sorted(set(text.split())))


def _is_text(text: str) -> bool:
    return len(text) < 256 and text.isprintable()


def _is_vlan(text: str) -> bool:
    numbers = text.lstrip(".").split(":")
    if text.startswith(":"):
        numbers = numbers[1:]
    return bool(numbers) and all(
        part.isascii() and part.isdigit() and len(part) < 5 and 0 < int(part) < 4095 for part in numbers
    )


def _is_mac_prefix(text: str) -> bool:
    return is_mac(f"{text}:00:00:01")


MAC_HINT = "six octets such as aa:00:00:12:34:56, of one station"
CHECKS: dict[str, tuple[Callable[[str], bool], str]] = {
    "INTERFACE": (is_interface, "an interface name of at most 15 letters, digits, '.', '_' and '-'"),
    "INSTANCE": (
        is_domain,
        "a name of letters, digits, '_' and '-', in parts of at most 63 with a '.' between them",
    ),
    "MAC": (is_mac, MAC_HINT),
    "MODE": (MODES.__contains__, "bridged, routed, openvswitch or ext"),
    "LINK": (
        lambda text: len(text) < 65 and is_name(text),
        "a bridge (bridged) or the name or number of a routing table (routed)",
    ),
    "IP": (lambda text: is_ip4(text) or is_global6(text), "one host's address, without a prefix length"),
    "INTERFACE_INDEX": (
        lambda text: text.isascii() and text.isdigit() and len(text) < 4,
        "the number of the NIC",
    ),
    "INTERFACE_UUID": (is_name, "a UUID"),
    "NETWORK_UUID": (is_name, "a UUID"),
    "MIGRATION_PHASE": (("pre", "post").__contains__, "pre or post"),
    "VLAN": (_is_vlan, ".N (untagged), :N:M (trunk) or .N:M, each from 1 to 4094"),
    "NETWORK_SUBNET": (is_prefix4, "an IPv4 prefix such as 198.51.100.0/24"),
    "NETWORK_GATEWAY": (is_ip4, "one host's IPv4 address"),
    "NETWORK_SUBNET6": (is_prefix6, "an IPv6 prefix such as 2001:db8:1::/64"),
    "NETWORK_GATEWAY6": (is_ip6, "one host's IPv6 address"),
    "NETWORK_MAC_PREFIX": (_is_mac_prefix, "three octets such as aa:55:60"),
    "INTERFACE_NAME": (_is_text, "printable text"),
    "NETWORK_NAME": (_is_text, "printable text"),
}
_passed: set[tuple[str, str]] = set()
"""Variables that have passed: those of thousands of NICs are much alike."""
REQUIRED = ("INTERFACE", "INSTANCE", "MAC", "MODE", "LINK")
HINTS = {
    "INTERFACE": "set INTERFACE or name the tap as first argument",
    "LINK": "the bridge (bridged) or the routing table (routed) of the NIC",
}
