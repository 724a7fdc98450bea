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


class Absent(Unanswered):
    """There is no such daemon now."""


def vtysh(daemon: str, questions: Iterable[str], seconds: float = SECONDS) -> str:
    """What one daemon says to these questions. Raises Unanswered."""
    words = [word for question in questions for word in ("-c", question)]
    status, said = _run(daemon, words, "", seconds)
    if status:
        raise Absent(f"{daemon} does not run")
    return said


def configure(daemon: str, text: str, seconds: float) -> list[str]:
    """Lines for the running configuration of one daemon, by stdin, as everybody sees the arguments of a
    process and there may be passwords. Returns what vtysh says of those that are refused; the rest counts.
    Raises Unanswered.
    """
    status, said = _run(daemon, ["-f", "/dev/stdin"], text, seconds)
    if status and UNREACHED in said:
        raise Absent(f"{daemon} does not run")
    refused = (line.partition(" password ")[0] for line in said.splitlines() if line.startswith("line "))
    return list(refused) if status else []


def _run(daemon: str, words: list[str], text: str, seconds: float) -> tuple[int, str]:
    try:
        argv = ("timeout", "-k", "0.2", str(seconds), "vtysh", "-d", daemon, *words)
        status, said = run(argv, text)
    except Hung:
        status, said = LATE[0], ""
    if status == MISSING:
        raise Absent("FRR is not installed")
    if status in LATE:
        raise Unanswered(f"{daemon} has not answered within {seconds:.0f} s")
    return status, said
