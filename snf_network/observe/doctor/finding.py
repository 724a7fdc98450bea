"""One thing that will bite, or does already."""

from __future__ import annotations

from typing import NamedTuple

CRITICAL, WARNING, UNKNOWN = SEVERITIES = ("critical", "warning", "unknown")
"""critical: guests have no network, or a NIC will not come up or not be filtered. warning: one more event,
such as a reboot, makes it critical, or it is an annoyance. unknown: the check itself failed.
"""


class Finding(NamedTuple):
    """What is wrong with the node, and what an administrator does about it."""

    severity: str
    check: str
    """The name of the check, for those who filter: a few words with `-` between them."""
    what: str
    """What breaks, in one line."""
    mend: str
    """The line for a shell that mends it, maybe with a comment; words in capitals are to be filled in."""
