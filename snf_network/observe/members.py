"""What the tables snf_network hold, as nft lists it: members of sets and maps as Resources, and what was
dropped.
"""

from __future__ import annotations

import json

from snf_network.host.kernel import run
from snf_network.model.resources import Element, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

LENGTHS = {"ndmacs": 12, "targets": 32, "tgtnets": 32, "router_targets": 32}
"""Hexadecimal digits of the numbers that nft lists for raw payload."""
COUNTERS = "drops"
NAMED = {"masq": 1, "masq_networks": None, "masq_pairs": None}
"""Which part of a member is the name of an interface: the first, in all other sets."""


def members() -> Iterator[Resource]:
    """Members of our sets and maps."""
    for family in ("bridge", "inet", "arp"):
        for entry in listed("nft", "-j", "list", "table", family, "snf_network").get("nftables", ()):
            kind = entry.get("set") or entry.get("map")
            if kind and kind["name"] != COUNTERS:
                for member in kind.get("elem", ()):
                    yield _member(family, kind["name"], member)


def _member(family: str, name: str, member: Any) -> Element:
    key, value = member if isinstance(member, list) else (member, "")
    if isinstance(key, dict) and "elem" in key:  # somebody's, with a comment
        key = key["elem"]["val"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    named = NAMED.get(name, 0)
    words = [f'"{part}"' if position == named else _word(part, name) for position, part in enumerate(parts)]
    return Element(
        family, name, " . ".join(words), _verdict(value) if isinstance(value, dict) else str(value)
    )


def _verdict(value: dict[str, Any]) -> str:
    ((verdict, target),) = value.items()
    return f"{verdict} {target['target']}" if target else verdict


def _word(part: Any, name: str) -> str:
    if isinstance(part, dict) and "range" in part:
        return "-".join(_word(end, name) for end in part["range"])
    if isinstance(part, dict):
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    if name in LENGTHS and (isinstance(part, int) or part.startswith("0x")):
        return f"0x{int(str(part), 0):0{LENGTHS[name]}x}"
    return str(part)


def drops() -> dict[tuple[str, str], tuple[int, int]]:
    """What was dropped, by interface and reason: frames and octets. An interface that is gone is a number."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for family in ("bridge", "inet", "arp"):
        for entry in listed("nft", "-j", "list", "set", family, "snf_network", COUNTERS).get("nftables", ()):
            for member in entry.get("set", {}).get("elem", ()):
                interface, reason = map(str, member["elem"]["val"]["concat"])
                counter, (frames, octets) = member["elem"]["counter"], found.get((interface, reason), (0, 0))
                found[interface, reason] = frames + counter["packets"], octets + counter["bytes"]
    return found


def listed(*argv: str) -> Any:
    """What a tool says in JSON; nothing if it fails, as nft does for a table that is not there."""
    status, said = run(argv)
    return json.loads(said or "{}") if not status else {}
