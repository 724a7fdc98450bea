"""Slips of the pen in tags that filter: without the tag that was meant, the guest would be open. Not a
setup.
"""

from __future__ import annotations

from snf_network.errors import BadEnvironment, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from snf_network.model.config import Config

SLIPS = 2
"""Letters that may be wrong, missing or one too many; in a short tag, one in three."""


def refuse_misspelt(tags: Iterable[str], config: Config) -> None:
    """Raise BadEnvironment for one that is close to a tag that filters, and is none."""
    known = (
        config.mac_filtered_tag,
        "mac-filtered",
        config.ip_filtered_tag,
        config.ip_less_routed_tag,
        config.nfdhcpd_tag,
    )
    for tag in tags:
        for meant in known:
            if distance(tag.lower(), meant.lower()) <= min(SLIPS, len(meant) // 3):
                raise BadEnvironment(
                    f"tag {shown(tag)} is unknown, and would filter nothing", f"did you mean {meant}?"
                )


def distance(one: str, other: str) -> int:
    """How many letters must be added, removed or changed to make `other` of `one` (Levenshtein's distance);
    more than SLIPS where the lengths alone say so.
    """
    if abs(len(one) - len(other)) > SLIPS:
        return SLIPS + 1
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row[0] = row[0], number
        for place, wanted in enumerate(other, 1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (letter != wanted)),
            )
    return row[-1]
