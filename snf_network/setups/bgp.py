"""Tag bgp:<as>: BIRD on the node has a BGP session with the guest, and accepts of it only what the guest may
use as a source: its own addresses, and those that `allow:` tags name.

The file for each tap says who the peer is and what it may announce. The rest is the template `snf_guest` of
the administrator's bird.conf (examples/bird-guests.conf): the node's AS, a password, timers.
"""

from __future__ import annotations

from snf_network.addresses import is_link_local, width
from snf_network.errors import BadEnvironment, shown
from snf_network.model.resources import BirdFile, Resource
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
    peer = _peer(tags, config)
    content = "".join(_sessions(nic, node, config, peer))
    if not content:
        raise BadEnvironment(
            f"tag {config.bgp_tag}: the NIC has no address with a gateway", "a session needs both"
        )
    yield BirdFile(f"{config.bird_dir}/{nic.interface}", f"{BirdFile.HEAD}{content}")


def _peer(tags: tuple[str, ...], config: Config) -> int:
    """The guest's AS. Raises BadEnvironment unless one is said, and may be used (RFC 7607, RFC 7300)."""
    said = [tag.partition(":")[2] for tag in tags if tag.startswith(f"{config.bgp_tag}:")]
    number = said[0]
    sound = number.isascii() and number.isdigit() and len(number) < 11 and str(int(number)) == number
    if len(said) > 1 or not sound or int(number) in (0, AS_TRANS, 65535) or int(number) >= LARGEST:
        words = " ".join(f"{config.bgp_tag}:{one}" for one in said)
        raise BadEnvironment(f"tag {shown(words)} is not valid", "one AS number, such as bgp:4200000001")
    return int(number)


def _sessions(nic: Nic, node: Node, config: Config, peer: int) -> Iterator[str]:
    allowed = extra(nic, config)
    ends = (("4", nic.ip, nic.network.gateway), ("6", nic.ip6 if node.ipv6 else "", nic.network.gateway6))
    for family, address, gateway in ends:
        if not address or not gateway or is_link_local(gateway):  # BIRD needs an address of one scope
            continue
        values = (address, *allowed.addresses, *allowed.prefixes)
        own = [_pattern(one) for one in values if (":" in one) == (family == "6")]
        yield (
            f"protocol bgp 'snf_guest_{nic.interface}_{family}' from snf_guest {{\n"
            f"\tlocal {gateway};\n"
            f"\tneighbor {address} as {peer};\n"
            f"\tipv{family} {{\n"
            f"\t\timport where net ~ [ {', '.join(own)} ];\n"
            "\t\timport limit 1000 action block;\n"
            "\t\texport none;\n"
            "\t};\n"
            "}\n"
        )


def _pattern(value: str) -> str:
    """An address, or a prefix with all that lie within it, as BIRD writes a set of prefixes."""
    plain, slash, length = value.partition("/")
    return f"{value}{{{length},{width(plain)}}}" if slash else f"{plain}/{width(plain)}"
