"""What the running watch says of itself, for `status`, `check` and `metrics`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from snf_network.host.kernel import make_directory, process, read_file, write_file

PATH = "/run/snf-network/watch.json"
ACTS = ("restored", "removed", "announced")
"""What it counts: how often it put back something that was lost, took back what a gone NIC had left, and
announced the NICs behind a device that has a carrier again.
"""


def write_state(began: float, fights: Mapping[str, int], comparisons: int, acts: Mapping[str, int]) -> None:
    """Say that this process watches since `began` (seconds since the epoch), the pause in seconds of whatever
    it has to put back again and again, how often it has compared the whole node, and its ACTS. Raises
    KernelError.
    """
    who = {"pid": os.getpid(), "start": _start_of(os.getpid()), "since": int(began)}
    make_directory(os.path.dirname(PATH))
    write_file(PATH, json.dumps({**who, "fights": fights, "comparisons": comparisons, "acts": acts}))


def state() -> dict[str, Any] | None:
    """What the running watch says of itself: pid, since, fights, comparisons, acts. None if none runs.
    Anybody may ask.
    """
    try:
        found = json.loads(read_file(PATH) or "")
        pid = int(found["pid"])
        kept = {"pid": pid, "since": int(found["since"]), "fights": dict(found["fights"])}
        kept["comparisons"] = int(found["comparisons"])
        kept["acts"] = {name: int(found["acts"][name]) for name in ACTS}
        return kept if _start_of(pid) == found["start"] else None
    except (ValueError, KeyError, TypeError):
        return None


def _start_of(pid: int) -> str:
    """When a process began, in ticks after the boot (proc(5)): with its PID, its identity. Empty: it is no
    more.
    """
    return (process(pid) or [""] * 20)[19]
