"""Firewall profiles: an instance tag `synnefo:network:<index|name|uuid>:<profile>` picks one for a NIC."""

from __future__ import annotations

from snf_network.errors import BadEnvironment, shown
from snf_network.model.resources import Element, Hook, Resource
from snf_network.setups.pins import PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node

RECONFIGURE = "reconfigure"
"""Not a profile: asks snf-network-reconfigure to bring the NIC up again."""


def setup(nic: Nic, node: Node, config: Config, members: Collection[str]) -> Iterator[Resource]:
    """One verdict for everything that goes to the tap, so a flooded broadcast costs one lookup per port.

    What the sets tell that contain the NIC, `members`, is checked before its profile, if it is a port: that
    the frame comes from no other guest, if isolated; the MAC prefix of a private network; or else, if its
    addresses are pinned, that it is for its MAC or a group. A served NIC of an overlay hears no server and no
    router from beyond it.
    """
    profile = profile_of(nic, config)
    if profile and nic.mode not in ("routed", "bridged"):
        raise BadEnvironment(
            f"MODE={nic.mode}: firewall profile {shown(profile)} cannot be kept there",
            "routed and bridged NICs only",
        )
    if profile and profile not in node.profiles:
        raise BadEnvironment(
            f"TAGS: {shown(profile)} is no firewall profile",
            f"there are {', '.join(node.profiles)}; a file in /etc/snf-network/profiles makes another",
        )
    check = "filtered" if "prefixes" in members else "owned" if "ndmacs" in members else ""
    apart = "isolated" if "apart" in members else ""
    answered = "served" in members or "queued" in members
    sole = "sole" if node.overlay and answered else ""
    chain = "_".join(filter(None, (sole, apart, check, f"profile_{profile}" if profile else "")))
    if nic.mode == "routed" and profile:
        yield Element("inet", "egress", nic.interface, value=f"goto profile_{profile}")
    if nic.mode == "bridged" and check == "owned":
        yield Element("bridge", "prefixed", nic.interface)
        yield Element("bridge", "owned", nic.interface)
    if nic.mode in PORTS and chain:
        yield Element(PORTS[nic.mode], "egress", nic.interface, value=f"goto {chain}")
        if nic.mode == "openvswitch":
            yield Hook(nic.interface, "to", "jump to_port")


def profile_of(nic: Nic, config: Config) -> str:
    """The NIC's profile according to its tags, or "". Raises BadEnvironment if two of equal rank disagree."""
    for words in nic.customised(config.firewall_tag_prefix):
        profiles = [word for word in words if word != RECONFIGURE]
        if len(profiles) > 1:
            raise BadEnvironment(
                f"TAGS: {' and '.join(map(shown, profiles))} for one NIC", "a NIC has one firewall profile"
            )
        if profiles == [""]:
            raise BadEnvironment(
                "TAGS: a tag names a NIC and no firewall profile",
                f"{config.firewall_tag_prefix}:<ident>:<profile>",
            )
        if profiles:
            return profiles[0]
    return ""
