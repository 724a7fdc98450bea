"""What every pinned or served port needs besides its pins, of a bridge or of Open vSwitch. Not a tag: setups
use it.
"""

from __future__ import annotations

from snf_network.model.resources import BridgeOption, Element, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.nic import Nic


def port(nic: Nic) -> Iterator[Resource]:
    """Frames to 01:80:c2:00:00:0x bypass all bridge hooks: the bridge would learn their source, and the node
    would receive them from the port. The hook of a port of Open vSwitch sees them.
    """
    if nic.mode == "bridged":
        yield BridgeOption(nic.link, "no_linklocal_learn", "1")
        yield Element("bridge", "ports", nic.interface)
    for family in ("inet", "arp"):
        yield Element(family, "ports", nic.interface)
