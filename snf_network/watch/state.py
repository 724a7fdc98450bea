"""What the running watch says of itself, for `status` and `check`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from snf_network.host.kernel import make_directory, process, read_file, write_file

PATH = "/run/snf-network/watch.json"


def write_state(began: float, fights: Mapping[str, int], comparisons: int) -> None:
    """Say that this process watches since `began` (seconds since the epoch), the pause in seconds of whatever
    it has to put back again and again, and how often it has compared the whole node. Raises KernelError.
    """
    who = {"pid": os.getpid(), "start": _start_of(os.getpid()), "since": int(began)}
    make_directory(os.path.dirname(PATH))
    write_file(PATH, json.dumps({**who, "fights": fights, "comparisons": comparisons}))


def state() -> dict[str, Any] | None:
    """What the running watch says of itself: pid, since, fights. None if none runs. Anybody may ask."""
    try:
        found = json.loads(read_file(PATH) or "")
        pid = int(found["pid"])
        kept = {"pid": pid, "since": int(found["since"]), "fights": dict(found["fights"])}
        return kept if _start_of(pid) == found["start"] else None
    except (ValueError, KeyError, TypeError):
        return None


def _start_of(pid: int) -> str:
    """When a process began, in ticks after the boot (proc(5)): with its PID, its identity. Empty: it is no
    more.
    """
    return (process(pid) or [""] * 20)[19]
