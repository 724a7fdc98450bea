"""What FRR has to do with networks of the node. Only networks use these kinds."""

from __future__ import annotations

from snf_network.lean import dataclass
from snf_network.model.resources.base import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from snf_network.model.resources.base import View

BEGIN = "! BEGIN snf-network (net up keeps the lines up to END)"
END = "! END snf-network"
ROUTER_ID = "bgp router-id "


@dataclass(frozen=True)
class ByFrr(Resource):
    """A mark on record: FRR looks after the entries of this device. Nothing in the kernel tells its entries
    from ours.
    """

    of_device: ClassVar[bool] = True
    interface: str
    vni: str

    @property
    def command(self) -> str:
        """There is nothing to do."""
        return ""

    def add(self) -> str:
        """There is nothing to do."""
        return ""

    def is_in(self, view: View) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class FrrBlock(Resource):
    """Our lines in frr.conf, between two markers. All other lines are its admin's.

    FRR merges what several `router bgp` of one AS say, when it starts and when it reloads. It knows one AS,
    and one router ID: the admin's wins.
    """

    door: ClassVar[str] = "frr"
    heading: ClassVar[str] = "files"
    place: ClassVar[tuple[str, ...]] = ("path",)
    path: str
    content: str

    @property
    def command(self) -> str:
        """A comment, as no single line of a shell does it."""
        return self.add()

    def add(self) -> str:
        """Replaces the block, or appends it."""
        return f"# write our block in {self.path}: {len(self.content.splitlines())} lines of net plan --frr"

    def delete(self) -> str:
        """Removes the block with its markers."""
        return f"# remove our block from {self.path}"

    def is_in(self, view: View) -> bool:
        """True if the file has exactly this block."""
        text = view.content(self.path)
        return text is not None and not self.trouble(text) and self.within(text) == text

    def within(self, text: str) -> str:
        """The file's text with this block, where the old one was or at the end."""
        before, block, after = _parts(text)
        others = (before + after).splitlines()
        theirs = any(line.strip().startswith(ROUTER_ID) for line in others)
        lines = [line for line in self.content.splitlines() if not (theirs and ROUTER_ID in line)]
        gap = "" if block or not before or before.endswith("\n") else "\n"
        return before + gap + "".join(f"{line}\n" for line in (BEGIN, *lines, END)) + after

    def without(self, text: str) -> str:
        """The file's text without our block."""
        before, _, after = _parts(text)
        return before + after

    def trouble(self, text: str) -> str:
        """Why the block cannot be kept in this text, with a hint; empty if it can."""
        if not is_whole(text):
            return f"the markers of our block in {self.path} do not match (delete those lines by hand)"
        ours = next((line for line in self.content.splitlines() if line.startswith("router bgp ")), "")
        for line in self.without(text).splitlines():
            words = line.split()
            if words[:2] == ["router", "bgp"] and len(words) == 3 and _number(words[2]) != ours.split()[-1]:
                return f"{self.path} has {' '.join(words)[:40]!a}, and a node has one AS (evpn.as must be it)"
        return ""


def is_whole(text: str) -> bool:
    """True if the text has no marker of ours, or one of each in order."""
    kinds = [_kind(line) for line in text.splitlines() if _kind(line)]
    return kinds in ([], [BEGIN, END])


def has_block(text: str) -> bool:
    """True if the text has our block."""
    return is_whole(text) and bool(_parts(text)[1])


def _kind(line: str) -> str:
    """Which marker a line is; the words behind it may be those of another version."""
    found = " ".join(line.split()[:3])
    return BEGIN if found == "! BEGIN snf-network" else END if found == END else ""


def _parts(text: str) -> tuple[str, str, str]:
    """What is before our block, the block with its markers, and what is after it."""
    parts, place = ["", "", ""], 0
    for line in text.splitlines(keepends=True):
        kind = _kind(line)
        place = 1 if kind == BEGIN else place
        parts[place] += line
        place = 2 if kind == END else place
    return parts[0], parts[1], parts[2]


def _number(text: str) -> str:
    """An AS as a decimal number; RFC 5396 has a form with a dot, too."""
    high, dot, low = text.partition(".")
    return str((int(high) << 16) + int(low)) if dot and high.isdecimal() and low.isdecimal() else text
