"""Changes to a file that is another program's."""

from __future__ import annotations

import posix

from snf_network.errors import KernelError
from snf_network.host.kernel import read_file, remove_file, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FLAGS = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC


def amend_file(path: str, change: Callable[[str], str]) -> None:
    """Replace a file's text by what `change` makes of it, at once: whoever reads it has the old or the new
    one, on disk too. Owner, group and mode stay. Raises KernelError, also if it is no regular file, or is
    written by somebody else meanwhile; then nothing has changed.
    """
    old = read_file(path)
    if old is None:
        raise KernelError(f"{path} is not there, or no regular file")
    new = change(old)
    if new == old:
        return
    beside = f"{path}.snf-network"
    remove_file(beside)
    try:
        _write_like(path, beside, new)
        if read_file(path) != old:
            raise KernelError(f"{path} was changed meanwhile", "try again")
        posix.rename(beside, path)
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}") from error
    finally:
        remove_file(beside)


def _write_like(path: str, beside: str, text: str) -> None:
    """Make a file with the owner and the mode of another. It is for root alone until it has them. Raises
    OSError.
    """
    status = posix.stat(path, follow_symlinks=False)
    descriptor = posix.open(beside, FLAGS, 0o600)
    try:
        write_all(descriptor, text)
        posix.fchmod(descriptor, status.st_mode & 0o777)  # before it has another owner: no CAP_FOWNER
        posix.fchown(descriptor, status.st_uid, status.st_gid)
        posix.fsync(descriptor)
    finally:
        posix.close(descriptor)
