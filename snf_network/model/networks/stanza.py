"""A routed network in an iface stanza of interfaces(5): the options of the bash package, as ifupdown hands
them to its scripts (interfaces(5), IFACE OPTIONS).

A stanza is for one address family, and a network of its own: `eth1:inet`. networks.yaml has no such name.
"""

from __future__ import annotations

from snf_network.addresses import canonical6, is_interface, is_ip4, is_ip6, is_prefix4, is_prefix6
from snf_network.errors import BadEnvironment, shown
from snf_network.model.networks import Routed
from snf_network.model.networks.keys import NETWORKS, NODES_OWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Env = Mapping[str, str]

FAMILIES = {"inet": "-4", "inet6": "-6"}
YES, NO = ("1", "yes", "true", "on"), ("", "0", "no", "false", "off")
MOST_ROUTES = 64
TABLE = "ip-routing-table"
EXAMPLES = {
    "ip-routes": ("prefixes such as 198.51.100.0/24", "prefixes such as 2001:db8:1::/64"),
    "ip-gateway": ("the IPv4 address of a router", "the IPv6 address of a router"),
    "arp-ip": ("an IPv4 address of nobody in that network", ""),
}
"""What an option may have, in IPv4 and in IPv6."""


def is_stanza(name: str) -> bool:
    """True for the name of a network that ifupdown brought."""
    return ":" in name


def uplink_of(name: str) -> str:
    """The device of such a network."""
    return name.partition(":")[0]


def name_of(env: Env) -> str:
    """The name of the stanza's network; empty for another family, and for `ifup --all` as a whole. Raises
    BadEnvironment.
    """
    interface, family = env.get("IFACE", ""), env.get("ADDRFAM", "")
    if not interface or not family:
        raise BadEnvironment("IFACE and ADDRFAM are not set", "ifupdown sets them: interfaces(5)")
    if family not in FAMILIES:
        return ""
    if not is_interface(interface):
        raise BadEnvironment(f"IFACE={shown(interface)} is no device", "an alias can be no uplink")
    return f"{interface}:{family}"


def parse(env: Env, tables: Mapping[str, int]) -> Routed | None:
    """The network of a stanza, given the tables' numbers by name; None if it has no routing table. What is
    for the other family says nothing, as with the bash package. Raises BadEnvironment.
    """
    name, six = name_of(env), env.get("ADDRFAM") == "inet6"
    said = _said(env, TABLE)
    if not name or not said:
        return None
    gateway, source = _gateway(env, six), "" if six else _one(env, "arp-ip", is_ip4, six)
    return Routed(
        name,
        _table(said, tables),
        uplink_of(name),
        gateways=(gateway,) if gateway else (),
        forwarding=_flag(env, "ip-forwarding"),
        arp_source=source,
        families=(FAMILIES[env["ADDRFAM"]],),
        routes=_routes(env, six),
        proxies=_flag(env, "ip-proxy-ndp" if six else "ip-proxy-arp"),
    )


def _said(env: Env, option: str) -> str:
    """The value of an option; empty without it. ifupdown makes its name upper case, with _ for -."""
    return env.get(f"IF_{option.upper().replace('-', '_')}", "").strip()


def _table(said: str, tables: Mapping[str, int]) -> int:
    key = NETWORKS["routed"]["table"]
    number = int(said) if key.is_valid(said) else tables.get(said, 0)
    if not key.is_valid(str(number)) or number in NODES_OWN:
        hint = "a number, or a name in /etc/iproute2/rt_tables.d/, of a table that is not the node's own"
        raise BadEnvironment(f"{TABLE} {shown(said)} cannot be used", hint)
    return number


def _flag(env: Env, option: str) -> bool:
    said = _said(env, option).lower()
    if said not in YES + NO:
        raise BadEnvironment(f"{option} {shown(said)} cannot be used", "1 or 0")
    return said in YES


def _one(env: Env, option: str, is_valid: Callable[[str], bool], six: bool) -> str:
    said = _said(env, option)
    if said and not is_valid(said):
        raise BadEnvironment(f"{option} {shown(said)} cannot be used", EXAMPLES[option][six])
    return said


def _gateway(env: Env, six: bool) -> str:
    said = _one(env, "ip-gateway", is_ip6 if six else is_ip4, six)
    return canonical6(said) if six else said


def _routes(env: Env, six: bool) -> tuple[str, ...]:
    found = dict.fromkeys(_said(env, "ip-routes").split())
    for prefix in found:
        valid = (is_prefix6 if six else is_prefix4)(prefix)
        if not valid or prefix.endswith("/0") or len(found) > MOST_ROUTES:
            hint = EXAMPLES["ip-routes"][six] + f", at most {MOST_ROUTES}"
            raise BadEnvironment(f"ip-routes {shown(prefix)} cannot be used", hint)
    return tuple(dict.fromkeys(map(_listed, found)))


def _listed(prefix: str) -> str:
    """As the kernel lists it."""
    address, _, length = prefix.partition("/")
    return f"{canonical6(address)}/{length}" if ":" in address else prefix
