"""Files of the spool, put in place so that nobody ever sees half of one; for whoever holds its lock."""

from __future__ import annotations

import posix
from errno import EDQUOT, ENOSPC

from snf_network.host import kernel
from snf_network.host.lock import make_directories


def put(path: str, text: str) -> int:
    """Put a file in place by rename; give it open, for fsync. Raises OSError, and leaves nothing then."""
    directory = path.rpartition("/")[0]
    beside = f"{directory}/.new"  # one at a time: the lock is held
    make_directories(directory)
    descriptor = posix.open(
        beside, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o644
    )
    try:
        kernel.write_all(descriptor, text)
        posix.rename(beside, path)
    except OSError:
        posix.close(descriptor)
        kernel.remove_file(beside)
        raise
    return descriptor


def put_anyway(path: str, text: str) -> int:
    """As put; on a full disk over what is there, if that needs no space."""
    try:
        return put(path, text)
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        return _over(path, text, error)


def _over(path: str, text: str, full: OSError) -> int:
    """In one piece; gives it open. Raises `full` where it does not fit in the blocks that the file has."""
    if not posix.access(path, posix.F_OK):
        raise full
    descriptor = posix.open(path, posix.O_WRONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    status, data = posix.fstat(descriptor), text.encode("utf-8", "surrogateescape")
    data += b"\n" * (status.st_size - len(data))  # whoever reads it meanwhile finds no rest of the old lines
    try:
        if len(data) > status.st_blocks * 512:
            raise full
        posix.write(descriptor, data)
    except OSError:
        posix.close(descriptor)
        raise
    return descriptor
