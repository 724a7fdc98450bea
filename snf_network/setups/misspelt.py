"""Refuse misspelt filtering tags: without the intended tag, the guest would be unfiltered. Not a setup."""

from __future__ import annotations

from snf_network.errors import BadEnvironment, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from snf_network.model.config import Config

SLIPS = 2
"""How many letters may be wrong, missing or extra; in a short tag, one in three."""


def refuse_misspelt(tags: Iterable[str], config: Config) -> None:
    """Raise BadEnvironment for an unknown tag that resembles one that filters."""
    known = (
        config.mac_filtered_tag,
        "mac-filtered",
        config.ip_filtered_tag,
        config.isolated_tag,
        config.ip_less_routed_tag,
        config.nfdhcpd_tag,
    )
    for tag in tags:
        kind, colon, _ = tag.partition(":")
        for meant in ("limit", "shape") if colon else ():
            if distance(kind.lower(), meant) <= 1:
                raise BadEnvironment(
                    f"tag {shown(tag)} is unknown, and would {meant} nothing", f"did you mean {meant}:?"
                )
        for meant in known:
            if distance(tag.lower(), meant.lower()) <= min(SLIPS, len(meant) // 3):
                raise BadEnvironment(
                    f"tag {shown(tag)} is unknown, and would filter nothing", f"did you mean {meant}?"
                )


def distance(one: str, other: str) -> int:
    """The number of letters to add, remove or change to turn `one` into `other` (Levenshtein distance); more
    than SLIPS if their lengths alone differ by that.
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
