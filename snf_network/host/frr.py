"""The running FRR, by vtysh(1). No NIC waits for it."""

from __future__ import annotations

from snf_network.errors import Hung
from snf_network.host.kernel import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SECONDS = 1.0
"""For each daemon's answer: 30 ms, if it is well."""
MISSING, LATE = 127, (124, 137)
"""Exit statuses of timeout(1): the program is not there; it was ended."""
UNREACHED = "failed to connect"
"""What vtysh says if there is no such daemon."""


class Unanswered(Exception):
    """A daemon of FRR that has not answered, in words."""


class Refused(Unanswered):
    """A line that a daemon of FRR does not take, in its words."""


def vtysh(daemon: str, lines: Iterable[str], seconds: float = SECONDS) -> str:
    """What one daemon says to these lines; it is told no more of them after one that it refuses. Raises
    Unanswered.
    """
    words = [word for line in lines for word in ("-c", line)]
    try:
        status, said = run(("timeout", "-k", "0.2", str(seconds), "vtysh", "-d", daemon, *words))
    except Hung:
        status, said = LATE[0], ""
    if status == MISSING:
        raise Unanswered("FRR is not installed")
    if status in LATE:
        raise Unanswered(f"{daemon} has not answered within {seconds:.0f} s")
    if status and said and UNREACHED not in said:
        raise Refused(f"{daemon} says {said.splitlines()[-1].removeprefix('% ')[:100]!a}")
    if status:
        raise Unanswered(f"{daemon} does not run")
    return said
