"""Reading a node that GRNET's bash package (0.16) has set up: whose its taps are, and what removes its rules.

Nothing here changes the kernel; commands/adopt.py does, NIC by NIC.
"""

from __future__ import annotations

from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Mine = Callable[[str], bool]
    """True for an interface whose old rules may be removed."""


@dataclass(frozen=True)
class Line:
    """A command that removes one thing of the bash package."""

    interface: str
    argv: tuple[str, ...]
    slot: tuple[str, ...] = ()
    """The slot (model.resources) of the Resource of ours that takes its place; empty for what ours stands
    beside.
    """


@dataclass(frozen=True)
class Unknown:
    """Something in the path of an adopted tap that the bash package did not make: it is listed and left."""

    interface: str
    words: str
    extra: bool = False
    """Made by an extra script, which marks what it adds: known, and the admin's."""
