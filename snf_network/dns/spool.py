"""STATE_DIR/dns/wanted/<instance>: the desired names of an instance, as last requested by a script or hook.

There is one file per instance. It is replaced as a whole, so a newer state overrides an older one that was
not sent yet. The file is replaced by rename and made durable by one fsync after that: ext4, XFS and btrfs
then commit the name together with the content. Its lines are tab-separated:

    wanted  instance, serial, time, part, whole or hook
    nic     NIC, network, address ...   a name that the instance should have
    had     NIC, network, address ...   a name that it had: removed if it is ours, by its owner mark or
      by having the same records
    left    NIC, network, address ...   a name left to the node that the instance has moved to
    gone    NIC, network, address ...   a name that stays although its NIC is not here any more
    end                                 a file without this line was truncated by a crash

`whole`: the instance has no other NICs, so its other records with our mark are removed. `part`: the file may
not have all its NICs. `hook`: like whole, and a hook listed the NICs. A file with another format, or with a
name other than its instance's, is rejected: its names stay as they are. On a full disk a file is overwritten
in place, if the new content fits into its blocks.
"""

from __future__ import annotations

import posix
from errno import EDQUOT, ENOSPC
from time import time

from snf_network.addresses import is_address
from snf_network.errors import KernelError
from snf_network.host import kernel
from snf_network.host.lock import Held, Lock
from snf_network.host.record import columns, row
from snf_network.lean import dataclass
from snf_network.model.names import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SENDER = "snf-network-dnssend"
FOREVER = float("inf")
KINDS = ("nic", "had", "left", "gone")


@dataclass(frozen=True)
class Desired:
    """The names that one instance should have."""

    instance: str
    serial: str = ""
    """Changes with each request of a script or hook for the instance."""
    since: float = 0.0
    """The time of the request, in seconds since the epoch."""
    whole: bool = False
    nics: tuple[Names, ...] = ()
    had: tuple[Names, ...] = ()
    left: tuple[Names, ...] = ()
    gone: tuple[Names, ...] = ()
    hook: bool = False
    """True if the list of NICs comes from a hook, and not from the scripts that brought them up."""

    @property
    def stays(self) -> bool:
        """True if this node has names of the instance to look after, even when all are as desired."""
        return bool(self.nics or self.gone)

    def text(self) -> str:
        """The content of the file."""
        whole = "hook" if self.hook else "whole" if self.whole else "part"
        rows: list[tuple[str, ...]] = [("wanted", self.instance, self.serial, str(self.since), whole)]
        groups = (self.nics, self.had, self.left, self.gone)
        for kind, group in zip(KINDS, groups):
            rows += [(kind, names.nic, names.network, *names.addresses) for names in group]
        return "".join(map(row, (*rows, ("end",))))


def parse(text: str, instance: str) -> Desired | None:
    """Parse a file; None if it is truncated or not ours."""
    rows = columns(text)
    if not instance.isprintable() or len(rows) < 2 or rows[-1] != ["end"]:
        return None
    head, body = rows[0], rows[1:-1]
    if head[:2] != ["wanted", instance] or len(head) != 5 or not all(map(_is_nic, body)):
        return None
    try:
        since = float(head[3])
    except ValueError:
        return None
    nics, had, left, gone = (
        tuple(Names(instance, words[1], words[2], tuple(words[3:])) for words in body if words[0] == kind)
        for kind in KINDS
    )
    if not 0 <= since < FOREVER:
        return None
    return Desired(
        instance, head[2], since, head[4] in ("whole", "hook"), nics, had, left, gone, head[4] == "hook"
    )


def _is_nic(words: list[str]) -> bool:
    return words[0] in KINDS and len(words) > 2 and all(map(is_address, words[3:]))


class Spool:
    """The desired names of all instances of this node."""

    def __init__(self, state_dir: str, clock: Callable[[], float] = time) -> None:
        self.directory = f"{state_dir}/dns"
        self.clock = clock

    def path(self, instance: str) -> str:
        """The file of an instance."""
        return f"{self.directory}/wanted/{instance}"

    def has(self, instance: str) -> bool:
        """True if an instance has a file, readable or not."""
        return posix.access(self.path(instance), posix.F_OK)

    def load(self, instance: str) -> Desired | None:
        """The desired names of an instance; None if there was no request for it."""
        text = kernel.read_file(self.path(instance))
        return None if text is None else parse(text, instance)

    def __iter__(self) -> Iterator[Desired]:
        yield from filter(None, map(self.load, self._instances()))

    def unreadable(self) -> list[str]:
        """The names of files that are not valid."""
        return [name for name in self._instances() if not self.load(name) and self.has(name)]

    def _instances(self) -> list[str]:
        try:
            found = posix.listdir(f"{self.directory}/wanted")
        except OSError:
            return []
        return sorted(name for name in found if not name.startswith("."))

    def up(self, names: Names) -> None:
        """A NIC is up and has these addresses now. Raises KernelError."""

        def change(old: Desired) -> Desired:
            same = [nic for nic in old.nics if nic.nic == names.nic]
            return Desired(
                names.instance,
                whole=old.whole,
                nics=(*(nic for nic in old.nics if nic not in same), names),
                had=_unique((*old.had, *same), without=(names,)),
            )

        self._change(names.instance, change)

    def down(self, instance: str, nic: str) -> None:
        """A NIC is gone for good, or should have no names any more. Raises KernelError."""

        def change(old: Desired) -> Desired:
            gone = tuple(names for names in old.nics if names.nic == nic)
            nics = tuple(names for names in old.nics if names not in gone)
            return Desired(instance, whole=old.whole, nics=nics, had=(*old.had, *gone))

        desired = self.load(instance)
        if desired and any(names.nic == nic for names in desired.nics):
            self._change(instance, change)

    def have(self, instance: str, nics: Iterable[Names], had: Iterable[Names] = ()) -> None:
        """An instance has these NICs and no others. `had`: names that it may have had besides those in its
        file. Raises KernelError.
        """
        self._change(instance, _only(instance, tuple(nics), had))

    def move(self, old: str, new: str, nics: Iterable[Names], had: Iterable[Names] = ()) -> None:
        """An instance was renamed: remove what it had under its old name, and give these NICs to the new
        name. Raises KernelError.
        """
        changes = ((new, _only(new, tuple(nics), ())), (old, _only(old, (), had)))
        with self.lock():
            descriptors = [self._put(name, change) for name, change in changes if name == old or nics]
        self._commit(*descriptors)

    def leave(self, instance: str, now: Iterable[Names] = ()) -> None:
        """The instance runs on another node, which takes care of its names. `now`: its names there, if known.
        Raises KernelError.

        What should have been registered from here never will be. What should have been removed still is, with
        the time of the original request.
        """
        addresses = {address for names in now for address in names.addresses}
        with self.lock():
            old = self.load(instance)
            new = old and _left(old, addresses)
            if new and (new.had or new.whole):
                descriptor = self._put(instance, lambda _: new)
            else:
                kernel.remove_file(f"{self.directory}/known/{instance}")
                kernel.remove_file(self.path(instance))
                return
        self._commit(descriptor)

    def lose(self, instance: str) -> None:
        """The instance has no NIC here any more, for unknown reasons: its names stay, like those of a guest
        that was powered off from inside, but nothing is registered for it. Raises KernelError.
        """

        def change(old: Desired) -> Desired:
            gone = (*old.gone, *old.nics)
            return Desired(instance, "", old.since, old.whole, (), old.had, old.left, gone)

        self._change(instance, change)

    def done(self, desired: Desired) -> bool:
        """Note that the server has all of `desired`; False if the desired state has changed meanwhile. Call
        it under the lock.

        The note is not made durable: work that a crash brings back is repeated, and changes nothing.
        """
        if self.load(desired.instance) != desired:
            return False
        if not desired.stays:
            kernel.remove_file(self.path(desired.instance))
        elif desired.whole or desired.had:
            settled = Desired(
                desired.instance, desired.serial, desired.since, nics=desired.nics, gone=desired.gone
            )
            kernel.write_file(self.path(desired.instance), settled.text())
        return True

    def lock(self) -> Lock:
        """The lock for reading, changing and writing; never held while waiting for a server."""
        return Lock(self.directory, "spool")

    def at_work(self, wait: float = 0.0) -> Lock:
        """The lock of the running sender. Entering it raises Held if another sender keeps it for longer than
        `wait` seconds.
        """
        return Lock(self.directory, "sender", wait)

    def wake(self) -> None:
        """Start a sender, unless one is at work: that one checks the spool once more after it has released
        its lock. A stopped one never does; the new one kills it. Raises KernelError.
        """
        try:
            with self.at_work():
                pass
        except Held:
            from snf_network.dns import here  # few need it

            if not here.is_stopped(self.sender()):
                return
        kernel.detach(SENDER)

    def sender(self) -> int:
        """The process ID of the running sender; 0 if there is none, or if it cannot be determined."""
        from snf_network.dns import here

        return here.holder(self.at_work().path)

    def _change(self, instance: str, change: Callable[[Desired], Desired]) -> None:
        with self.lock():
            descriptor = self._put(instance, change)
        self._commit(descriptor)

    def _put(self, instance: str, change: Callable[[Desired], Desired]) -> int:
        """Replace a file, under the lock; returns it open, for `_commit`. Raises KernelError."""
        new = change(self.load(instance) or Desired(instance))
        since = new.since or self.clock()
        new = Desired(
            instance,
            posix.urandom(8).hex(),
            since,
            new.whole,
            new.nics,
            new.had,
            new.left,
            new.gone,
            new.hook,
        )
        path = self.path(instance)
        try:
            return _put_anyway(path, new.text())
        except OSError as error:
            raise KernelError(f"{path}: {error.strerror}", "its names in DNS stay as they are") from error

    def _commit(self, *descriptors: int) -> None:
        """Make files durable. The first fsync commits every earlier rename; the next ones have little left to
        do.
        """
        try:
            for descriptor in descriptors:
                posix.fsync(descriptor)
        except OSError as error:
            raise KernelError(f"{self.directory}: {error.strerror}") from error
        finally:
            for descriptor in descriptors:
                posix.close(descriptor)


def _left(old: Desired, addresses: set[str]) -> Desired:
    """The remaining work for a node that an instance has left. Without `addresses`, its last names here count
    as its names now.
    """
    last = (*old.nics, *old.gone)
    gone = [_of(one, lambda address: bool(addresses) and address not in addresses) for one in last]
    kept = [_of(one, lambda address: not addresses or address in addresses) for one in last]
    had = (*old.had, *(one for one in gone if one.addresses))
    return Desired(old.instance, "", old.since, old.whole, (), had, _unique((*old.left, *kept), ()))


def _of(names: Names, wanted: Callable[[str], bool]) -> Names:
    return Names(names.instance, names.nic, names.network, tuple(filter(wanted, names.addresses)))


def _only(instance: str, nics: tuple[Names, ...], had: Iterable[Names]) -> Callable[[Desired], Desired]:
    """A change to these NICs and no others."""

    def change(old: Desired) -> Desired:
        gone = _unique((*old.had, *old.nics, *old.gone, *had), without=nics)
        return Desired(instance, whole=True, nics=nics, had=gone, hook=bool(nics))

    return change


def _unique(names: Iterable[Names], without: Iterable[Names]) -> tuple[Names, ...]:
    excluded = tuple(without)
    return tuple(dict.fromkeys(one for one in names if one not in excluded))


def _put_anyway(path: str, text: str) -> int:
    """As kernel.put_file; on a full disk it overwrites the file if that needs no space. Raises OSError."""
    try:
        return kernel.put_file(path, text)
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        return _overwritten(path, text, error)


def _overwritten(path: str, text: str, full: OSError) -> int:
    """Overwrite a file with one write; returns it open. Raises `full` if the text does not fit into the
    blocks of the file.
    """
    if not posix.access(path, posix.F_OK):
        raise full
    descriptor = posix.open(path, posix.O_WRONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    status, data = posix.fstat(descriptor), text.encode("utf-8", "surrogateescape")
    data += b"\n" * (status.st_size - len(data))  # a reader must not find the rest of the old lines
    try:
        if len(data) > status.st_blocks * 512:
            raise full
        posix.write(descriptor, data)
    except OSError:
        posix.close(descriptor)
        raise
    return descriptor
