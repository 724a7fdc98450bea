"""Tags `limit:<what>:<value>`, of the network or of the instance for one NIC: how much the guest may send and
get. What is over it is dropped at the device of the NIC (rules/limits.nft).

A network's tag holds for each of its NICs, not for all together.
"""

from __future__ import annotations

from snf_network.errors import BadEnvironment, shown
from snf_network.lean import dataclass
from snf_network.model.resources import Element, Hook, Resource
from snf_network.model.resources.nft import LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node

PREFIX = "limit:"
BITS = {"kbit": 1000, "mbit": 1000**2, "gbit": 1000**3}
COUNTS = {"": 1, "k": 1000, "m": 1000**2}
SLOWEST, FASTEST = 64 * 1000, 100 * 1000**3
"""Bounds of a rate in bits a second. nft_limit counts ns in 64 bits: 147 Gbit/s are too much."""
MOST = 10 * 1000**2
"""Frames a second: of more the kernel's whole number of ns between two would be off by 1 %."""
WHOLE = 65536
"""Octets added to the bucket of a rate, so that the largest packet (GSO) fits at any rate."""


@dataclass(frozen=True)
class Kind:
    """What a tag limits."""

    sets: tuple[tuple[str, str, str], ...]
    """For each direction (out: from the guest; in: to it), the set of its members and the chain that looks it
    up.
    """
    rate: bool = False
    """The value is bits a second, else a number a second."""


KINDS = {
    "out": Kind((("out", "out_rates", "out_rate"),), rate=True),
    "in": Kind((("in", "in_rates", "in_rate"),), rate=True),
    "pps": Kind((("out", "out_pps", "out_packets"), ("in", "in_pps", "in_packets"))),
    "broadcast": Kind((("out", "broadcasts", "broadcast"),)),
    "new": Kind((("out", "openings", "new"),)),
}
"""In the order in which a frame meets them."""


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """A member for each limit, and a chain for each direction. Raises BadEnvironment."""
    chains: dict[str, list[str]] = {"out": [], "in": []}
    for what, value in limits_of(nic, config).items():
        for side, name, chain in KINDS[what].sets:
            yield Element("netdev", name, nic.interface, value=_limit(what, value))
            chains[side].append(chain)
    for side, names in chains.items():
        if names:
            yield Hook(nic.interface, side, " ".join(names))


def limits_of(nic: Nic, config: Config) -> dict[str, str]:
    """The limits of a NIC by what they limit, in its words: those of the setting LIMITS, overridden by the
    network's tags, and these by the instance's by index, name and uuid. Raises BadEnvironment.
    """
    said = _said((f"{PREFIX}{word}" for word in config.limits.split()), "LIMITS")
    for words in (nic.network.tags, *reversed(nic.customised(config.tag_prefix))):
        said |= _said(words)
    return {what: said[what] for what in KINDS if said.get(what)}


def _said(words: Iterable[str], where: str = "TAGS") -> dict[str, str]:
    """The values of tags of one rank; an empty one for `no-limit:<what>`, with or without a value."""
    found: dict[str, str] = {}
    for word in words:
        plain = word.removeprefix("no-")
        if plain.startswith(PREFIX):
            what, _, value = plain.removeprefix(PREFIX).partition(":")
            if what not in KINDS:
                raise BadEnvironment(f"{where}: {shown(word)} limits nothing", f"limit: {', '.join(KINDS)}")
            value = value if plain == word else ""
            if plain == word:
                number(what, value, where)
            if found.setdefault(what, value) != value:
                raise BadEnvironment(
                    f"{where}: two of {shown(f'{PREFIX}{what}')} at one rank", f"a NIC has one limit:{what}"
                )
    return found


def number(what: str, text: str, where: str = "TAGS") -> int:
    """A value in bits or frames a second. Raises BadEnvironment."""
    units = BITS if KINDS[what].rate else COUNTS
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = units.get(text[len(digits) :], 0)
    found = int(digits) * unit if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
    low, high = (SLOWEST, FASTEST) if KINDS[what].rate else (1, MOST)
    if not low <= found <= high:
        hint = "64kbit to 100gbit, such as 100mbit" if KINDS[what].rate else "1 to 10m a second, such as 50k"
        raise BadEnvironment(f"{where}: {shown(f'{PREFIX}{what}:{text}')} is not valid", hint)
    return found


def _limit(what: str, text: str) -> str:
    """The same in nft syntax. A bucket holds a second's worth of bits, as nft_limit has no smaller one, and a
    tenth of a second's worth of frames.
    """
    found = number(what, text)
    if KINDS[what].rate:
        return f"{LIMIT}{found // 8} bytes/second burst {WHOLE} bytes"
    return f"{LIMIT}{found}/second burst {max(found // 10, 1)} packets"
