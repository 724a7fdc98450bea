"""Members of the sets and maps of base.nft: the only nft state that a NIC has."""

from __future__ import annotations

from snf_network.lean import dataclass
from snf_network.model.resources.base import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, ClassVar

    from snf_network.model.resources.base import View

FAMILIES = ("bridge", "inet", "arp")
"""The families that have a table snf_network."""
COUNTERS = "drops"
"""The set that counts drops."""
LEARNED = (COUNTERS, "others4", "others6")
"""Sets whose members come from packets, not from NICs."""
DIGITS = {"ndmacs": 12, "targets": 32, "tgtnets": 32, "router_targets": 32}
"""Number of hexadecimal digits of the values that nft lists for raw payload."""
NAMED = {"masq": 1, "masq_networks": None, "masq_pairs": None}
"""Index of the member's part that is a device; in all other sets, the first."""


@dataclass(frozen=True)
class Element(Resource):
    """A member of an nft set or, with a value, of a map."""

    door: ClassVar[str] = "nft"
    heading: ClassVar[str] = "nft -f -"
    tool: ClassVar[str] = "nft"
    place: ClassVar[tuple[str, ...]] = ("family", "set", "interface", "rest")
    family: str
    set: str
    interface: str
    """The NIC it is about; empty if it is about none."""
    rest: str = ""
    """The part after the interface, or the whole key if there is none."""
    value: str = ""

    @property
    def key(self) -> str:
        """The key in nft syntax."""
        named = self.interface and f'"{self.interface}"'
        return f"{named} . {self.rest}" if named and self.rest else named or self.rest

    @classmethod
    def read(cls, words: Sequence[str]) -> Resource:
        """Before 0.21 a line had the whole key in one field."""
        if len(words) < 5:
            family, name, key, value = (*words, "")[:4]
            interface, _, rest = key[1:].partition('"') if key.startswith('"') else ("", "", key)
            return cls(family, name, interface, rest.removeprefix(" . "), value)
        return cls(*words[:5])

    def unsound(self) -> str:
        """All fields in one, as a NIC has dozens of members: one that would end the member is not sound."""
        text = f"{self.family}{self.set}{self.interface}{self.rest}{self.value}"
        if text.isprintable() and not ("{" in text or "}" in text or ";" in text or "\\" in text):
            return ""
        return f"member={text}"

    def add(self) -> str:
        """Adding a member again does nothing; adding another value for a key of a map fails."""
        member = f"{self.key} : {self.value}" if self.value else self.key
        return f"add element {self.family} snf_network {self.set} {{ {member} }}"

    def delete(self) -> str:
        """Fails if the member is absent."""
        return f"delete element {self.family} snf_network {self.set} {{ {self.key} }}"

    def is_in(self, view: View) -> bool:
        """The kernel lists a shared member like any other."""
        return Element(*self.fields()) in view.found if self.shared else self in view.found


@dataclass(frozen=True)
class SharedElement(Element):
    """A member that stands for a network rather than for one NIC."""

    shared: ClassVar[bool] = True


def listed(family: str, entries: list[dict[str, Any]]) -> Iterator[Element]:
    """The members of one of our tables, from the output of `nft -j list table`."""
    for entry in entries:
        kind = entry.get("set") or entry.get("map")
        if kind and kind["name"] not in LEARNED:
            for member in kind.get("elem", ()):
                yield _member(family, kind["name"], member)


def _member(family: str, name: str, member: Any) -> Element:
    key, value = member if isinstance(member, list) else (member, "")
    if isinstance(key, dict) and "elem" in key:  # an administrator's member with a comment
        key = key["elem"]["val"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    named = NAMED.get(name, 0)
    words = [f'"{part}"' if place == named else _word(part, name) for place, part in enumerate(parts)]
    interface = words.pop(0)[1:-1] if named == 0 else ""
    return Element(
        family, name, interface, " . ".join(words), _verdict(value) if isinstance(value, dict) else str(value)
    )


def _verdict(value: dict[str, Any]) -> str:
    ((verdict, target),) = value.items()
    return f"{verdict} {target['target']}" if target else verdict


def _word(part: Any, name: str) -> str:
    if isinstance(part, dict) and "range" in part:
        return "-".join(_word(end, name) for end in part["range"])
    if isinstance(part, dict):
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    if name in DIGITS and (isinstance(part, int) or part.startswith("0x")):
        return f"0x{int(str(part), 0):0{DIGITS[name]}x}"
    return str(part)
