"""Locks: one call at a time per interface, and for shared state; and the names in STATE_DIR that no interface
may have.
"""

from __future__ import annotations

import posix
from errno import ENOENT
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from time import monotonic, sleep

from snf_network.errors import KernelError
from snf_network.host.kernel import passed_on, patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

RESERVED = ("locks", "shared", "base", "dns", "networks")
"""Names in STATE_DIR that no interface may have."""
WAIT = 2.0
"""Seconds to wait for another call on the same interface."""
SUSPICIOUS = 0.1
"""Seconds after which a call that waits asks for the first time if the one that took the lock still lives:
nft needs far less.
"""
TRIES = 5
"""How often to look for the tools of a dead call: one may be a script, whose children hold the lock, too."""


class Held(KernelError):
    """Another call holds the lock and did not release it in time."""


class Lock:
    """Allows one call at a time on one interface. Only root can open the file, so nobody else can lock it.

    A call that is killed leaves its lock to the tool that it waits for: until that has ended, it may undo
    what the next call does. One that does not end is killed.
    """

    def __init__(self, directory: str, interface: str, wait: float = WAIT) -> None:
        refuse_reserved(directory, interface)
        self.wait = wait
        self.path = f"{directory}/locks/{interface}"

    def __enter__(self) -> Lock:
        until, pause = patience(self.wait), SUSPICIOUS
        suspicious = monotonic() + pause
        while not self.take():
            now = monotonic()
            if now > suspicious:
                if self.take_now():
                    break
                pause *= 4  # looking at all processes takes its time
                suspicious = monotonic() + pause
            if now > until:
                raise Held(
                    f"{self.path} is held by another call",
                    f"it should end within seconds: fuser -v {self.path}",
                )
            sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        passed_on.discard(self.descriptor)
        flock(self.descriptor, LOCK_UN)
        posix.close(self.descriptor)

    def take(self) -> bool:
        """Take the lock if it is free; True if taken. Raises KernelError if its file cannot be opened."""
        try:
            self.descriptor = posix.open(
                self.path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o600
            )
        except OSError as error:
            if error.errno != ENOENT or not make_directories(self.path.rpartition("/")[0]):
                raise KernelError(f"{self.path}: {error.strerror}") from error
            return self.take()
        try:
            flock(self.descriptor, LOCK_EX | LOCK_NB)
        except OSError:
            posix.close(self.descriptor)
            return False
        passed_on.add(self.descriptor)
        return True

    def take_now(self) -> bool:
        """Take the lock if it is free, or if only the tools of a call that was killed hold it; True if taken.
        Raises KernelError.

        Tried again also if no such tool is found: it may have just ended by itself.
        """
        if self.take():
            return True
        from snf_network.host.leftover import end_leftovers  # rarely needed

        for _ in range(TRIES):
            dead = end_leftovers(self.path)
            if self.take():
                return True
            if not dead:
                return False
            sleep(0.005)
        return False


class Locks:
    """Locks of many interfaces, without waiting. Yields the names that were locked; `failed` gets the reason
    for every other.
    """

    def __init__(self, directory: str, names: Iterable[str], failed: dict[str, str]) -> None:
        self.locks = {name: Lock(directory, name, 0) for name in names}
        self.failed = failed
        self.held: list[str] = []

    def __enter__(self) -> list[str]:
        for name, lock in self.locks.items():
            try:
                if lock.take_now():
                    self.held.append(name)
                else:
                    self.failed[name] = "another call is at work on it"
            except KernelError as error:
                self.failed[name] = str(error)
        return self.held

    def __exit__(self, *_: object) -> None:
        for name in self.held:
            self.locks[name].__exit__()


def refuse_reserved(directory: str, interface: str) -> None:
    """Raise KernelError for an interface with the name of one of our own files."""
    if interface in RESERVED:
        raise KernelError(
            f"{interface} cannot be the name of an interface here",
            f"{directory} has something else of that name",
        )


def make_directories(path: str) -> bool:
    """Like mkdir -p; only root may enter the locks' directory. True if the directory is usable now, even if
    another process made it.
    """
    parent = path.rpartition("/")[0]
    if parent and not posix.access(parent, posix.F_OK):
        make_directories(parent)
    try:
        posix.mkdir(path, 0o700 if path.endswith("/locks") else 0o755)
    except FileExistsError:
        return posix.access(path, posix.W_OK)
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}") from error
    return True
