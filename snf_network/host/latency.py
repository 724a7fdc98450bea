"""How long it took to bring NICs up: a histogram in a file of fixed size. A call that brings one up adds to
it, and `metrics` reads it.

The first `metrics` makes the file, so on a node that nobody measures a call pays for one look.
"""

from __future__ import annotations

import posix
from _struct import Struct
from _struct import error as struct_error  # type: ignore[attr-defined]
from fcntl import LOCK_EX, LOCK_NB, flock

from snf_network.host.kernel import make_directory

BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""The longest of each bucket, in seconds; a call is ended after 5."""
FORM = Struct(f"={len(BOUNDS) + 3}Q")
"""How many NICs came up within each bound, and later; all their microseconds; how many did not come up."""
FLAGS = posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOFOLLOW
TRIES = 10
"""How often to look if others that count are done: each takes 10 us."""


def note(path: str, seconds: float, is_up: bool) -> None:
    """Count a call. It does not wait, and raises nothing: no NIC depends on it."""
    try:
        file = posix.open(path, FLAGS)
    except OSError:
        return
    try:
        if _take(file):
            counts = list(FORM.unpack(posix.pread(file, FORM.size, 0)))
            if is_up:
                counts[sum(seconds > bound for bound in BOUNDS)] += 1
                counts[-2] += int(seconds * 1e6)
            else:
                counts[-1] += 1
            posix.pwrite(file, FORM.pack(*counts), 0)
    except (OSError, struct_error):
        pass  # another size: `_content` makes it anew
    finally:
        posix.close(file)


def _take(file: int) -> bool:
    for _ in range(TRIES):
        try:
            flock(file, LOCK_EX | LOCK_NB)
            return True
        except BlockingIOError:
            posix.sched_yield()
    return False


def figures(path: str) -> tuple[list[int], float, int]:
    """How many NICs came up within each of BOUNDS but not within the one before, and later; the seconds of
    all; and how many did not come up. Begins to count if nobody did yet and it can.
    """
    *counts, micro, failed = FORM.unpack(_content(path))
    return counts, micro / 1e6, failed


def _content(path: str) -> bytes:
    nothing = bytes(FORM.size)
    try:
        make_directory(path.rpartition("/")[0])
        file = posix.open(path, FLAGS | posix.O_CREAT, 0o600)  # nobody else can keep it locked
    except OSError:
        return nothing
    try:
        said = posix.pread(file, FORM.size + 1, 0)
        if len(said) == FORM.size:
            return said
        posix.ftruncate(file, 0)
        posix.pwrite(file, nothing, 0)
        return nothing
    finally:
        posix.close(file)
