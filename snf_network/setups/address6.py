"""The IPv6 address of a NIC, if a tag chooses another than EUI-64 forms: `v6-from-v4`, or the instance tag
`snf-network:<uuid|name|index>:address:<address>`. Not a setup.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_ntop, inet_pton

from snf_network.addresses import as_bits, canonical6, is_global6, within
from snf_network.errors import BadEnvironment, shown
from snf_network.setups.allow import setting
from snf_network.setups.tags import tags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.model.config import Config
    from snf_network.model.nic import Nic


def address6(nic: Nic, config: Config) -> str:
    """The address that tags give the NIC: by uuid, name or index, else by v6-from-v4; else its own.

    Raises BadEnvironment if there cannot be such an address, or if two tags of equal rank differ.
    """
    for words in nic.customised(config.tag_prefix):
        said = {value for name, value in map(setting, words) if name == "address"}
        if len(said) > 1:
            both = shown(" ".join(sorted(said)))
            raise BadEnvironment(f"TAGS: address: is said twice: {both}", "further ones: allow:")
        if said:
            return _usable(f"TAGS: address:{shown(*said)}", said.pop(), nic)
    if config.v6_from_v4_tag in tags_of(nic, config) and nic.ip and nic.network.subnet6:
        return _usable(f"tag {config.v6_from_v4_tag}", _from_v4(nic), nic)
    return nic.ip6


def _usable(where: str, address: str, nic: Nic) -> str:
    """The address as the kernel writes it. Raises BadEnvironment if the NIC cannot have it."""
    if not is_global6(address):
        raise BadEnvironment(f"{where} is no IPv6 address of a host", "the IPv4 address is Ganeti's (IP)")
    address, subnet6 = canonical6(address), nic.network.subnet6
    if ":" in dict(nic.values).get("IP", "") and address != nic.ip6:
        raise BadEnvironment(f"{where}: IP={nic.ip6} is another address", "further ones: allow:")
    if subnet6 and not within(address, subnet6):
        raise BadEnvironment(f"{where}: {address} is not in {subnet6}", "further ones: allow:")
    first, length = as_bits(subnet6 or f"{address}/128")
    if address == nic.network.gateway6 or (length < 127 and as_bits(address)[0] == first):
        raise BadEnvironment(f"{where}: {address} is a router's", "choose another (RFC 4291, 2.6.1)")
    return address


def _from_v4(nic: Nic) -> str:
    """The prefix, then the four numbers of the IPv4 address as they are written: 198.51.100.10 becomes
    ...:198:51:100:10.
    """
    prefix, _, length = nic.network.subnet6.partition("/")
    if int(length) > 64:
        hint = "a /64 or a shorter prefix; else choose addresses (address:)"
        raise BadEnvironment(f"NETWORK_SUBNET6={nic.network.subnet6} has no room for four numbers", hint)
    numbers = b"".join(int(number, 16).to_bytes(2, "big") for number in nic.ip.split("."))
    return inet_ntop(AF_INET6, inet_pton(AF_INET6, prefix)[:8] + numbers)
