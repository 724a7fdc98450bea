"""What every pinned or served port needs besides its pins, of a bridge or of Open vSwitch. Not a tag: setups
use it.
"""

from __future__ import annotations

from snf_network.model.resources import Element, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.nic import Nic


def port(nic: Nic) -> Iterator[Resource]:
    """Frames to 01:80:c2:00:00:0x bypass all bridge hooks, and the node would receive them from the port. Nor
    does the bridge learn their source (setups/bridged.py). The hook of a port of Open vSwitch sees them.
    """
    if nic.mode == "bridged":
        yield Element("bridge", "ports", nic.interface)
    for family in ("inet", "arp"):
        yield Element(family, "ports", nic.interface)
