"""Tag nfdhcpd: a binding file with which nfdhcpd answers the guest's DHCP, RS and NS, and the guard that
keeps requests and answers on the tap.

Tags `nfdhcpd:<KEY>:<value>` of the network, or `snf-network:<uuid|name|index>:nfdhcpd:<KEY>:<value>` of the
instance, add further keys, such as PRIVATE, MTU or NAMESERVERS; `dhcp:<word>:<value>` does the
same in the words of DHCP (docs/tags.md).
"""

from __future__ import annotations

from snf_network.addresses import is_name, within
from snf_network.errors import BadEnvironment, shown
from snf_network.model.resources import Binding, Element, Resource
from snf_network.setups.allow import extra
from snf_network.setups.pins import PORTS
from snf_network.setups.tags import tags_of

# the characters of a Ganeti tag; any other could end the quotes in the file
TAG = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+*/:@-")
MORE = "MORE6"
"""The key of the further IPv6 addresses, which only tag also: gives."""
FIXED = (
    *("INDEV", "IP", "MAC", "HOSTNAME", "TAGS", "GATEWAY", "SUBNET", "GATEWAY6", "SUBNET6", "EUI64"),
    *("NETWORK", "ALLOWED", MORE),
)
"""The keys of the bash package, in its order, and ours: no tag may set them."""
LONGEST_TAGS = 4096
"""Maximum length of the tags, which nfdhcpd ignores; it refuses a binding of more than 8192 bytes."""

OTHER_NAME = "dhcp"
"""Begins the same tags as the setting NFDHCPD_TAG does, and those in the words of DHCP."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """The binding and the guard. Raises BadEnvironment for a tag whose key or value nfdhcpd would refuse."""
    yield from _guard(nic, config)
    values = _values(nic, config)
    if node.guest_mtu:
        values["MTU"] = str(node.guest_mtu)
    values |= _said(nic, config)
    if "RELAY" in values:
        values |= _leasable(nic, config)
    content = "".join(f"{key}={value}\n" for key, value in values.items())
    yield Binding(f"{config.nfdhcpd_state_dir}/{nic.interface}", content)


def _values(nic: Nic, config: Config) -> dict[str, str]:
    """The values from Ganeti. Empty ones are written too: other tools read the file."""
    network = nic.network
    ipv6 = nic.mode != "routed" or bool(nic.ip6)  # nothing is routed to a guest without an address
    values = {
        "INDEV": nic.interface if nic.mode == "routed" else nic.link,  # the guest's neighbour
        "IP": nic.ip,
        "MAC": nic.mac,
        "HOSTNAME": nic.instance,
        "TAGS": f'"{_fitting(filter(TAG.issuperset, network.tags))}"',
        "GATEWAY": network.gateway,
        "SUBNET": network.subnet,
        "GATEWAY6": network.gateway6 if ipv6 else "",
        "SUBNET6": network.subnet6 if ipv6 else "",
        "EUI64": nic.ip6,
    }
    if is_name(network.name):
        values["NETWORK"] = network.name  # dhcp.yaml says more of it
    if values["SUBNET6"]:
        values |= _may_form(nic, config)
        more = ",".join(one for one in extra(nic, config).own if ":" in one)
        values |= {MORE: _valid(MORE, more, "also:")} if more else {}
    return values


def _fitting(tags: Iterable[str]) -> str:
    """As many whole tags as fit into the file."""
    text = " ".join(tags)
    return text if len(text) <= LONGEST_TAGS else text[:LONGEST_TAGS].rpartition(" ")[0]


def _may_form(nic: Nic, config: Config) -> dict[str, str]:
    """The SLAAC key, if nfdhcpd's default is wrong: by default a bridged guest may use every address in its
    prefix, and a routed one may not.
    """
    free = any(within(nic.network.subnet6, prefix) for prefix in extra(nic, config).prefixes)
    if nic.mode == "routed":
        return {"SLAAC": "yes"} if free else {}
    return {"SLAAC": "no"} if config.ip_filtered_tag in tags_of(nic, config) and not free else {}


def _leasable(nic: Nic, config: Config) -> dict[str, str]:
    """The IPv4 prefixes of which a central server may lease an address, besides IP: what the pins let pass
    and, for a NIC whose addresses are not pinned, its network. Raises BadEnvironment for too many.
    """
    allowed, network = extra(nic, config), nic.network.subnet
    found = [f"{address}/32" for address in allowed.addresses] + list(allowed.prefixes)
    if network and nic.mode != "routed" and config.ip_filtered_tag not in tags_of(nic, config):
        found.append(network)
    found = [prefix for prefix in found if ":" not in prefix]
    return {"ALLOWED": _valid("ALLOWED", ",".join(found), "allow:")} if found else {}


def _said(nic: Nic, config: Config) -> dict[str, str]:
    """The keys that tags add: the network's, then the instance's by index, name and uuid. The last tag that
    sets a key wins.
    """
    said: dict[str, list[str]] = {}
    for words in (nic.network.tags, *reversed(nic.customised(config.tag_prefix))):
        said |= _keys(words, config)
    return {key: _checked(key, values) for key, values in sorted(said.items()) if any(values)}


def _keys(words: Iterable[str], config: Config) -> dict[str, list[str]]:
    """The values of each key; an empty string for `no-`."""
    found: dict[str, list[str]] = {}
    for word in words:
        plain = word.removeprefix("no-")
        prefix, colon, rest = plain.partition(":")
        if colon and prefix in (config.nfdhcpd_tag, OTHER_NAME):
            name, _, value = rest.partition(":")
            for key in _meant(name, value) if prefix == OTHER_NAME else (name,):
                found.setdefault(key, []).append("" if plain != word else value or "yes")
    return found


def _meant(name: str, value: str) -> tuple[str, ...]:
    """The keys that a word means: that of the value's family; without a value, both. Any other is a key."""
    from snf_network.values import WORDS

    keys = WORDS.get(name, (name,))
    return keys[-1:] if ":" in value else keys[:1] if value else keys


def _checked(key: str, values: list[str]) -> str:
    """The text of a key. Raises BadEnvironment if no tag may set it or nfdhcpd would refuse it."""
    from snf_network.values import BINDING_KEYS  # few NICs need it

    known = [name for name in BINDING_KEYS if name not in FIXED]
    if key not in known:
        raise BadEnvironment(f"a tag says nfdhcpd:{shown(key)}", f"tags may set {', '.join(known)}")
    text = ",".join(filter(None, values))
    text = text.replace("@", {"ROUTES": " via ", "BOOT": " ", "BOOT6": " "}.get(key, "@"))
    return _valid(key, text, f"nfdhcpd:{key}:")


def _valid(key: str, text: str, tag: str) -> str:
    """The text of a key. Raises BadEnvironment if nfdhcpd would refuse it."""
    from snf_network.values import BINDING_KEYS

    _, read, expected = BINDING_KEYS[key]
    if read(text) is None:
        raise BadEnvironment(f"tag {tag} {shown(text)} is not {expected}", "see tags.md, nfdhcpd")
    return text


def _guard(nic: Nic, config: Config) -> Iterator[Resource]:
    """A served guest must not be a server. What nfdhcpd answers is dropped once its engine has seen it, so
    requests of guests with another server get through. iptables, from which the engine nfqueue gets them,
    sees none from Open vSwitch.
    """
    tap, family = nic.interface, PORTS.get(nic.mode, "inet")
    if nic.mode in PORTS:  # a routed NIC can never be a server
        from snf_network.setups.port import port

        yield Element(family, "guarded", tap)
        yield from port(nic)
    sets = {"packet": "served"} if nic.mode == "openvswitch" else {"packet": "served", "nfqueue": "queued"}
    if config.nfdhcpd_engine in sets:
        yield Element(family, sets[config.nfdhcpd_engine], tap)
