"""Tag bgp:<as>: BIRD or FRR on the node has a BGP session with the guest, and accepts of it only what the
guest may use as a source: its own addresses, and those that `allow:` tags name.

The file for each tap says who the peer is and what it may announce. The rest is the administrator's: the
template `snf_guest` in BIRD's configuration (examples/bird-guests.conf), the peer group SNF-GUEST in FRR's
(frr-guests.conf): a password, timers.
"""

from __future__ import annotations

from snf_network.addresses import is_link_local, width
from snf_network.errors import BadEnvironment, shown
from snf_network.model.resources import BirdFile, FrrFile, Resource
from snf_network.setups.allow import extra
from snf_network.setups.tags import tags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node

LARGEST = 2**32 - 1
AS_TRANS = 23456
"""Stands for an AS that does not fit into 16 bits (RFC 6793): no one's."""
MOST = 1000
"""Routes that a guest may announce."""


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """The file with the sessions of a routed NIC, one for each family. Raises BadEnvironment if it can have
    none.
    """
    if nic.mode != "routed":
        return
    tags = tags_of(nic, config)
    if config.gateway_on_tap_tag not in tags:
        what = f"tag {config.bgp_tag}: needs {config.gateway_on_tap_tag}"
        raise BadEnvironment(what, "the node's end of the session is the gateway on the tap")
    peer, tap = _peer(tags, config), nic.interface
    sessions = list(_sessions(nic, node, config))
    if not sessions:
        raise BadEnvironment(
            f"tag {config.bgp_tag}: the NIC has no address with a gateway", "a session needs both"
        )
    if config.bgp_daemon == "frr":
        content = "".join(_frr(tap, peer, *one) for one in sessions)
        yield FrrFile(f"{config.frr_dir}/{tap}", f"{FrrFile.HEAD}{content}")
    else:
        content = "".join(_bird(tap, peer, *one) for one in sessions)
        yield BirdFile(f"{config.bird_dir}/{tap}", f"{BirdFile.HEAD}{content}")


def _peer(tags: tuple[str, ...], config: Config) -> int:
    """The guest's AS. Raises BadEnvironment unless one is said, and may be used (RFC 7607, RFC 7300)."""
    said = [tag.partition(":")[2] for tag in tags if tag.startswith(f"{config.bgp_tag}:")]
    number = said[0]
    sound = number.isascii() and number.isdigit() and len(number) < 11 and str(int(number)) == number
    if len(said) > 1 or not sound or int(number) in (0, AS_TRANS, 65535) or int(number) >= LARGEST:
        words = " ".join(f"{config.bgp_tag}:{one}" for one in said)
        raise BadEnvironment(f"tag {shown(words)} is not valid", "one AS number, such as bgp:4200000001")
    return int(number)


def _sessions(nic: Nic, node: Node, config: Config) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Family, the node's and the guest's address, and what the guest may announce."""
    allowed = extra(nic, config)
    ends = (("4", nic.ip, nic.network.gateway), ("6", nic.ip6 if node.ipv6 else "", nic.network.gateway6))
    for family, address, gateway in ends:
        if not address or not gateway or is_link_local(gateway):  # BIRD needs an address of one scope
            continue
        values = dict.fromkeys((address, *allowed.addresses, *allowed.prefixes))
        own = (one for one in values if (":" in one) == (family == "6"))
        yield family, gateway, address, tuple(one for one in own if not is_link_local(one.partition("/")[0]))


def _bird(tap: str, peer: int, family: str, local: str, address: str, own: tuple[str, ...]) -> str:
    patterns = []
    for one in own:
        plain, slash, length = one.partition("/")
        most = width(plain)
        patterns.append(f"{one}{{{length},{most}}}" if slash else f"{plain}/{most}")
    return (
        f"protocol bgp 'snf_guest_{tap}_{family}' from snf_guest {{\n"
        f"\tlocal {local};\n"
        f"\tneighbor {address} as {peer};\n"
        f"\tipv{family} {{\n"
        f"\t\timport where net ~ [ {', '.join(patterns)} ];\n"
        f"\t\timport limit {MOST} action block;\n"
        "\t\texport none;\n"
        "\t};\n"
        "}\n"
    )


def _frr(tap: str, peer: int, family: str, local: str, address: str, own: tuple[str, ...]) -> str:
    """The neighbour comes last, as a member of a group of its own: it has the filter from its first moment.
    To FRR, a list that is not there denies all.
    """
    name, version, lines = f"{FrrFile.GROUP}{tap}-{family}", "ip" if family == "4" else "ipv6", []
    for number, one in enumerate(own, 1):
        plain, slash, _ = one.partition("/")
        prefix = f"{one} le {width(plain)}" if slash else f"{plain}/{width(plain)}"
        lines.append(f"{version} prefix-list {name} seq {number} permit {prefix}\n")
    return (
        f"{''.join(lines)}"
        "router bgp\n"
        f" neighbor {name} peer-group\n"
        f" neighbor {name} remote-as {peer}\n"
        f" neighbor {name} disable-connected-check\n"
        f" neighbor {name} update-source {local}\n"
        f" address-family ipv{family} unicast\n"
        f"  neighbor {name} activate\n"
        f"  neighbor {name} prefix-list {name} in\n"
        f"  neighbor {name} prefix-list SNF-NONE out\n"
        f"  neighbor {name} route-map {FrrFile.TEMPLATE} in\n"
        f"  neighbor {name} maximum-prefix {MOST} restart 5\n"
        " exit-address-family\n"
        f" neighbor {address} peer-group {name}\n"
        "exit\n"
    )
