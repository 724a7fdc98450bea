"""Tags `limit:<what>:<value>`, of the network or of the instance for one NIC: how much the guest may send and
get. What is over it is dropped at the device of the NIC (rules/limits.nft). And `shape:in:<rate>`: what goes
to the guest waits in the queue of its tap. What it sends cannot be shaped: docs/design.md has the reason.

A network's tag holds for each of its NICs, not for all together.
"""

from __future__ import annotations

from snf_network.errors import BadEnvironment, shown
from snf_network.lean import dataclass
from snf_network.model.resources import Element, Hook, Resource, Shaper
from snf_network.model.resources.nft import LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node

PREFIX, SHAPE = "limit:", "shape:"
NOTHING: dict[str, str] = {}
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

    ends: tuple[tuple[str, str], ...]
    """For each direction (out: from the guest; in: to it), the chain of limits.nft: of all that is over it,
    or, with a set, of all frames.
    """
    set: str = ""
    """The set of its members; empty if the limit is in the chain of the NIC."""
    rate: bool = False
    """The value is bits a second, else a number a second."""


KINDS = {
    "out": Kind((("out", "no_limit_out"),), rate=True),
    "in": Kind((("in", "no_limit_in"),), rate=True),
    "pps": Kind((("out", "no_limit_pps"), ("in", "no_limit_pps_in"))),
    "broadcast": Kind((("out", "broadcast"),), "broadcasts"),
    "new": Kind((("out", "new"),), "openings"),
}
"""In the order in which a frame meets them."""


def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
    """A chain for each direction, and a member for each limit that has a set. Raises BadEnvironment."""
    rules: dict[str, list[str]] = {"out": [], "in": []}
    for what, value in limits_of(nic, config).items():
        kind, limit = KINDS[what], _limit(what, value)
        if kind.set:
            yield Element("netdev", kind.set, nic.interface, value=limit)
        for side, chain in kind.ends:
            rules[side].append(f"jump {chain}" if kind.set else f"{limit} goto {chain}")
    if any(rules.values()):
        yield Element("netdev", "limited", nic.interface)
    for side, some in rules.items():
        if some:
            yield Hook(nic.interface, side, "; ".join(some))
    for what, rate in said_of(nic, config, SHAPE, ("in",)).items():
        yield Shaper(nic.interface, str(number(what, rate)))


def limits_of(nic: Nic, config: Config) -> dict[str, str]:
    """The limits of a NIC by what they limit, in its words: those of the setting LIMITS, overridden by the
    network's tags, and these by the instance's by index, name and uuid. Raises BadEnvironment.
    """
    said = _said((f"{PREFIX}{word}" for word in config.limits.split()), PREFIX, KINDS, "LIMITS")
    return said_of(nic, config, PREFIX, KINDS, said)


def said_of(
    nic: Nic, config: Config, prefix: str, kinds: Collection[str], default: dict[str, str] = NOTHING
) -> dict[str, str]:
    """What tags `<prefix><kind>:<value>` say of a NIC, by kind: what the network's say is overridden by the
    instance's. Raises BadEnvironment.
    """
    said = dict(default)
    for words in (nic.network.tags, *reversed(nic.customised(config.tag_prefix))):
        said |= _said(words, prefix, kinds)
    return {what: said[what] for what in kinds if said.get(what)}


def _said(words: Iterable[str], prefix: str, kinds: Collection[str], where: str = "TAGS") -> dict[str, str]:
    """The values of tags of one rank; an empty one for `no-<prefix><kind>`, with or without a value."""
    found: dict[str, str] = {}
    for word in words:
        plain = word.removeprefix("no-")
        if plain.startswith(prefix):
            what, _, value = plain.removeprefix(prefix).partition(":")
            if what not in kinds:
                raise BadEnvironment(
                    f"{where}: {shown(word)} {prefix[:-1]}s nothing", f"{prefix} {', '.join(kinds)}"
                )
            value = value if plain == word else ""
            if plain == word:
                number(what, value, where, prefix)
            if found.setdefault(what, value) != value:
                raise BadEnvironment(
                    f"{where}: two of {shown(f'{prefix}{what}')} at one rank", f"a NIC has one {prefix}{what}"
                )
    return found


def number(what: str, text: str, where: str = "TAGS", prefix: str = PREFIX) -> int:
    """A value in bits or frames a second. Raises BadEnvironment."""
    units = BITS if KINDS[what].rate else COUNTS
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = units.get(text[len(digits) :], 0)
    found = int(digits) * unit if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
    low, high = (SLOWEST, FASTEST) if KINDS[what].rate else (1, MOST)
    if not low <= found <= high:
        hint = "64kbit to 100gbit, such as 100mbit" if KINDS[what].rate else "1 to 10m a second, such as 50k"
        raise BadEnvironment(f"{where}: {shown(f'{prefix}{what}:{text}')} is not valid", hint)
    return found


def _limit(what: str, text: str) -> str:
    """The same in nft syntax. A bucket holds a second's worth of bits, as nft_limit has no smaller one, and a
    tenth of a second's worth of frames.
    """
    found = number(what, text)
    if KINDS[what].rate:
        return f"{LIMIT}{found // 8} bytes/second burst {WHOLE} bytes"
    return f"{LIMIT}{found}/second burst {max(found // 10, 1)} packets"
