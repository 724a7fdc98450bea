"""What is to be done to one network of a node. Plain data: observe finds it, apply does it."""

from __future__ import annotations

from snf_network.lean import dataclass
from snf_network.model.resources import Element
from snf_network.model.resources.devices import Device
from snf_network.model.resources.routes import PolicyRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from snf_network.model.resources import Resource


def vanishes(resource: Resource, devices: Container[str]) -> bool:
    """True if it goes with one of these devices by itself. Members and policy rules do not."""
    return resource.device in devices and not isinstance(resource, (Device, Element, PolicyRule))


@dataclass(frozen=True)
class Change:
    """From what a network has to what it shall have."""

    name: str
    wanted: tuple[Resource, ...] = ()
    """All that it shall have; nothing if it shall go."""
    missing: tuple[Resource, ...] = ()
    """Those of them that are not in place."""
    removed: tuple[Resource, ...] = ()
    """What it shall have no longer, and what has a wanted one's place in the kernel."""
    undo: tuple[str, ...] = ()
    """What takes away the removed by hand, line by line; what vanishes with its device has none."""
    do: tuple[str, ...] = ()
    """The same for the missing: first `undo`, then this."""
    given: tuple[Resource, ...] = ()
    """What was ours and is another's by now: it stays in the kernel."""
    refused: tuple[str, ...] = ()
    """Why nothing may be done to it."""

    @property
    def lines(self) -> tuple[str, ...]:
        """All that is to be done, by hand."""
        return (*self.undo, *self.do)

    @property
    def goes(self) -> bool:
        """True if nothing of it shall stay."""
        return not self.wanted
