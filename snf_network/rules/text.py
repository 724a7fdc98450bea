"""Our rules as text: those parts that are made, of the settings and for each firewall profile, and our table
in what nft lists.
"""

from __future__ import annotations

from snf_network.host.kernel import RULES, read_file
from snf_network.model.resources.nft import SIDES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from snf_network.model.config import Config

CARRIERS = ("0x8847", "0x8848", "0x8863", "0x8864", "0x894f", "0x9100", "0x9200", "0x9300")
MATCH = "oifname . ether saddr & $MAC_MASK"
CHECKS = {
    "filtered": f"{MATCH} @prefixes goto profile_{{name}}\ngoto no_mac_prefix",
    "owned": "ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 goto profile_{name}\n"
    "oifname . ether daddr @macs goto profile_{name}\ngoto no_dst_mac",
    "isolated": f"{MATCH} @apart goto no_isolated\ngoto profile_{{name}}",
    "isolated_owned": f"{MATCH} @apart goto no_isolated\ngoto owned_profile_{{name}}",
}
CHECKS |= {f"sole_{check}": f"jump foreign\ngoto {check}_profile_{{name}}" for check in CHECKS}
CHECKS["sole"] = "jump foreign\ngoto profile_{name}"
"""The checks of port.nft and overlay.nft for frames to a bridged tap, each followed by a profile."""
NETDEV = ("netdev", "pins", "pin_arp", "port", "limits")
"""The files with the chains of table netdev."""
CHAIN = "\tchain "
"""How a line begins that defines a chain."""


def emptied() -> str:
    """What takes the rules out of table netdev, before they are loaded again: its chains one by one, as a
    flush of the table would take those of the NICs, too.
    """
    lines = [line for name in NETDEV for line in (read_file(f"{RULES}/{name}.nft") or "").split("\n")]
    names = [line.split()[1] for line in lines if line.startswith(CHAIN)]
    chains = "".join(f"chain {name} {{ }}\n" for name in names)
    flushes = "".join(f"flush chain netdev snf_network {name}\n" for name in names)
    return f"table netdev snf_network {{\n{chains}}}\n{flushes}"


def no_tunnels(config: Config) -> Iterator[str]:
    """Rules against tunnels from a guest to UNDERLAY, the addresses that the nodes use among themselves."""
    rules = "".join(
        f"{'ip6' if ':' in prefix else 'ip'} daddr {prefix} goto no_tunnel\n"
        for prefix in config.underlay.split()
    )
    for family in ("bridge", "inet", "netdev") if rules else ():
        yield f"table {family} snf_network {{\nchain tunnel {{\n{rules}}}\n}}"


def services(config: Config) -> Iterator[str]:
    """Rules that open the node's services to routed guests: NODE_SERVICES."""
    rules = "".join(f"{_service(word)} accept\n" for word in config.node_services.split())
    if rules:
        yield f"table inet snf_network {{\nchain services {{\n{rules}}}\n}}"


def _service(word: str) -> str:
    """A word of NODE_SERVICES as an nft condition; `any` has none."""
    port, _, rest = word.partition("/")
    protocol, _, address = rest.partition("@")
    where = address and f"{'ip6' if ':' in address else 'ip'} daddr {address} "
    return f"{where}{protocol} dport {port}" if rest else ""


def text_of_profiles(known: Mapping[str, str], closed: Collection[str], loaded: set[str]) -> Iterator[str]:
    """The chains of all firewall profiles, `known` with their paths and `loaded` already; those that are
    `closed`, and those whose file is gone, drop everything.
    """
    for name, path in known.items():
        yield from _chains(name, "drop" if name in closed else f'include "{path}"')
    for name in loaded - known.keys():  # file gone, but NICs may point at it: an empty chain would be open
        yield from _chains(name, "drop")


def _chains(name: str, body: str) -> Iterator[str]:
    """A profile in inet; in bridge, where it does not apply to ARP; and in bridge after the check of the MAC
    prefix, or of the destination.

    `meta protocol` looks behind one VLAN tag, as the guest does; frames with two tags and LLC (4,
    ETH_P_802_2), which no profile can judge, drop. Comparing is cheaper here than a lookup. Protocols that
    can carry IP (MPLS, PPPoE, older tags, NSH) go to the profile: one that accepts everything accepts them.
    """
    inside = ", ".join(f"{kind} : goto ip_profile_{name}" for kind in CARRIERS)
    yield f"table inet snf_network {{\nchain profile_{name} {{\n{body}\n}}\n}}"
    yield (
        f"table bridge snf_network {{\nchain profile_{name} {{\nmeta protocol ip goto ip_profile_{name}\n"
        f"meta protocol ip6 goto ip_profile_{name}\n"
        f"meta protocol vmap {{ 0x0004 : drop, 8021q : drop, 8021ad : drop, {inside} }}\naccept\n}}\n"
        f"chain ip_profile_{name} {{\n{body}\n}}\n"
        f"{''.join(_checked(check, name) for check in CHECKS)}}}"
    )


def _checked(check: str, name: str) -> str:
    """A profile's chain for NICs to which a frame must pass a check before."""
    return f"chain {check}_profile_{name} {{\n{CHECKS[check].format(name=name)}\n}}\n"


def our_table(listing: str, family: str) -> str:
    """Our table in the listing of a family's ruleset; empty if it is not there. Without the chains of NICs,
    which come and go with them.
    """
    head = f"table {family} snf_network {{\n"
    start = f"\n{listing}".find(f"\n{head}")
    return _without_hooks(listing[start : listing.find("\n}\n", start) + 3]) if start >= 0 else ""


def _without_hooks(table: str) -> str:
    if not any(f"\tchain {side}-" in table for side in SIDES):
        return table
    blocks = table.removesuffix("}\n").rstrip("\n").split("\n\n")
    kept = (block for block in blocks if not block.startswith(tuple(f"\tchain {side}-" for side in SIDES)))
    return "\n\n".join(kept) + "\n}\n"
