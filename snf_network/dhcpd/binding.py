"""Binding files: one for each tap, KEY=VALUE lines, written by the setup `nfdhcpd` or by any tool that
supports the old nfdhcpd.

Their content is untrusted until checked. A value that is not valid for its key makes the whole file invalid;
nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from snf_network.addresses import eui64, is_interface, within
from snf_network.errors import SnfNetworkError, shown
from snf_network.values import BINDING_KEYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST = 8192
"""Maximum size in bytes. A longer file was not written for us."""
IGNORED = frozenset(("TAGS", "INSTANCE", "LINK"))


class BadBinding(SnfNetworkError):
    """A binding file cannot be used; the message has the file's name, the key and the value."""


@dataclass(frozen=True, slots=True)
class TapBinding:
    """The content of a binding file: which guest to answer on one tap, and with which values. Addresses are
    text, empty if absent; MACs are in lower case.
    """

    tap: str
    mac: str
    hostname: str
    indev: str = ""
    """The bridge of a bridged NIC, or the tap itself for a routed one. Replies come from its MAC."""
    ip: str = ""
    subnet: str = ""
    gateway: str = ""
    ip6: str = ""
    subnet6: str = ""
    gateway6: str = ""
    gateway6_mac: str = ""
    """The MAC for gateway6 in neighbour advertisements, if it is not the node's."""
    macspoof: bool = False
    """Frames from other source MACs are also answered."""
    private: bool | None = None
    """The guest gets addresses but neither a router nor a default route. None, here as elsewhere: not said,
    so dhcp.yaml may say it.
    """
    nodhcp6: bool | None = None
    slaac: bool | None = None
    """Whether the guest may use any address of subnet6. None: yes on a bridge, no on a routed tap."""
    mtu: int = 0
    lease: int = 0
    nameservers: tuple[str, ...] = ()
    nameservers6: tuple[str, ...] = ()
    domain: str = ""
    domain_search: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    """Each with a prefix and its gateway."""
    ntp: tuple[str, ...] = ()
    more6: tuple[str, ...] = ()
    """Further addresses of the guest, which it gets by DHCPv6 with the first one."""
    network: str = ""
    """The Ganeti network, by which dhcp.yaml knows more values (defaults.py)."""
    next_server: str = ""
    boot: tuple[tuple[str, str], ...] = ()
    """Boot files, each with the clients that it is for (values.CLIENTS)."""
    boot6: tuple[tuple[str, str], ...] = ()
    relay: tuple[str, ...] = ()
    """The central servers that answer DHCPv4 instead."""
    allowed: tuple[str, ...] = ()
    """Prefixes of which these may lease an address, besides ip."""

    @property
    def routed(self) -> bool:
        """True if the guest is alone on its link and the node routes for it."""
        return self.indev == self.tap


def parse(name: str, text: str) -> tuple[TapBinding, tuple[str, ...]]:
    """The binding in the file `name`, which is named after its tap, and a warning for each oddity.

    Raises BadBinding for an invalid value, a key given twice, a missing MAC or HOSTNAME, and a line that is
    not KEY=VALUE.
    """
    if not is_interface(name):
        raise BadBinding(
            f"{shown(name)} is not the name of an interface", "name a binding file after its tap"
        )
    if len(text) > LARGEST:
        raise BadBinding(f"{name}: longer than {LARGEST} bytes")
    warnings: list[str] = []
    values = _values(name, text, warnings)
    for key in ("mac", "hostname"):
        if key not in values:
            raise BadBinding(f"{name}: {key.upper()} is missing")
    eui = values.pop("eui64", "")
    values["ip6"] = values.get("ip6") or eui or _derived(values)
    values.setdefault("indev", name)
    binding = TapBinding(tap=name, **values)
    _consistent(binding, warnings)
    return binding, tuple(warnings)


def _values(name: str, text: str, warnings: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for line in text.split("\n"):
        line = line.strip()
        if not line or line[0] == "#":
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise BadBinding(f"{name}: {shown(line)} is not KEY=VALUE")
        if key in BINDING_KEYS:
            field, convert, expected = BINDING_KEYS[key]
            value = _unquoted(value, name, key)
            if field in values:
                raise BadBinding(f"{name}: {key} is given twice")
            if value:
                values[field] = converted = convert(value)
                if converted is None:
                    raise BadBinding(f"{name}: {key}={shown(value)} is not {expected}")
        elif key not in IGNORED:
            warnings.append(f"{name}: unknown key {shown(key)}, ignored")
    return values


def _unquoted(value: str, name: str, key: str) -> str:
    value = value.strip()
    if value[:1] in ("'", '"'):
        if len(value) < 2 or value[-1] != value[0]:
            raise BadBinding(f"{name}: {key}={shown(value)}: the quote is not closed")
        return value[1:-1].strip()
    return value


def _derived(values: dict[str, Any]) -> str:
    """The address that the guest forms by itself (EUI-64), used if the file gives none."""
    subnet6 = values.get("subnet6", "")
    return eui64(subnet6, values["mac"]) if subnet6.endswith("/64") else ""


def _consistent(binding: TapBinding, warnings: list[str]) -> None:
    """Warn about odd values. They are served all the same: answers reach this guest only."""
    if binding.ip and not binding.subnet:
        warnings.append(f"{binding.tap}: no SUBNET: IP={binding.ip} is leased as a /32")
    for key, address, subnet in (
        ("IP", binding.ip, binding.subnet),
        ("the guest's IPv6 address", binding.ip6, binding.subnet6),
    ):
        if address and subnet and not within(address, subnet):
            warnings.append(f"{binding.tap}: {key} {address} is not in {subnet}")
    if not (binding.ip or binding.subnet6 or binding.relay):
        warnings.append(f"{binding.tap}: neither IP nor SUBNET6: there is nothing to answer")
