"""STATE_DIR/dns/wanted/<instance>: the names that the NICs of an instance shall have, as the last script or
hook said it.

One file an instance, replaced as a whole, so a newer state takes the place of an older one that was not sent
yet. It is put in place by rename and made durable by one fsync after that: ext4, XFS and btrfs then commit
the name together with what is in it. Its lines are tab-separated:

    wanted  instance, serial, time, whole or part
    nic     NIC, network, address ...
    had     NIC, network, address ...   what such a NIC had: taken back if it is ours, by owner mark or by
      being equal
    end                                 a file without it was cut off by a crash

`whole`: the instance has nothing but this, so whatever else the server has for it in our name goes. `part`:
NICs may be missing here. A file that is not like this is not believed, nor one that is called otherwise than
its instance: names stay as they are. On a full disk a file is written anew in its place, where it is longer
than what is to be said or has room left in its last block.
"""

from __future__ import annotations

import posix
from time import time

from snf_network.addresses import is_address
from snf_network.dns.files import put, put_anyway
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


@dataclass(frozen=True)
class Wanted:
    """What one instance shall have."""

    instance: str
    serial: str = ""
    """Another one each time that something was said of the instance."""
    since: float = 0.0
    """When it was said, in seconds since the epoch."""
    whole: bool = False
    nics: tuple[Names, ...] = ()
    had: tuple[Names, ...] = ()

    def text(self) -> str:
        """As it stands in the file."""
        rows: list[tuple[str, ...]] = [
            ("wanted", self.instance, self.serial, str(self.since), "whole" if self.whole else "part")
        ]
        rows += [
            (kind, names.nic, names.network, *names.addresses)
            for kind, group in (("nic", self.nics), ("had", self.had))
            for names in group
        ]
        return "".join(map(row, (*rows, ("end",))))


def parse(text: str, instance: str) -> Wanted | None:
    """What a file says; None if it was cut off, or is not one of ours."""
    rows = columns(text)
    if (
        not instance.isprintable()
        or not rows
        or rows[-1] != ["end"]
        or rows[0][:2] != ["wanted", instance]
        or len(rows[0]) != 5
    ):
        return None
    _, _, serial, since, whole = rows[0]
    if not all(
        words[0] in ("nic", "had") and len(words) > 2 and all(map(is_address, words[3:]))
        for words in rows[1:-1]
    ):
        return None
    nics, had = (
        [Names(instance, words[1], words[2], tuple(words[3:])) for words in rows[1:-1] if words[0] == kind]
        for kind in ("nic", "had")
    )
    try:
        time = float(since)
    except ValueError:
        return None
    return (
        Wanted(instance, serial, time, whole == "whole", tuple(nics), tuple(had))
        if 0 <= time < FOREVER
        else None
    )


class Spool:
    """All that is wanted of DNS by the instances of this node."""

    def __init__(self, state_dir: str, clock: Callable[[], float] = time) -> None:
        self.directory = f"{state_dir}/dns"
        self.clock = clock

    def load(self, instance: str) -> Wanted | None:
        """What an instance wants; None if nothing was said of it."""
        text = kernel.read_file(self.path(instance))
        return None if text is None else parse(text, instance)

    def __iter__(self) -> Iterator[Wanted]:
        yield from filter(None, map(self.load, self._names()))

    def unreadable(self) -> list[str]:
        """Files that say nothing which could be believed, by name."""
        return [name for name in self._names() if not self.load(name) and self.has(name)]

    def _names(self) -> list[str]:
        try:
            return sorted(
                name for name in posix.listdir(f"{self.directory}/wanted") if not name.startswith(".")
            )
        except OSError:
            return []

    def path(self, instance: str) -> str:
        """The file of an instance."""
        return f"{self.directory}/wanted/{instance}"

    def up(self, names: Names) -> None:
        """A NIC is up and has these addresses now. Raises KernelError."""

        def change(old: Wanted) -> Wanted:
            same = [nic for nic in old.nics if nic.nic == names.nic]
            return Wanted(
                names.instance,
                whole=old.whole,
                nics=(*(nic for nic in old.nics if nic not in same), names),
                had=_without((*old.had, *same), names),
            )

        self._change(names.instance, change)

    def down(self, instance: str, nic: str) -> None:
        """A NIC is gone for good, or shall have no names any more. Raises KernelError."""

        def change(old: Wanted) -> Wanted:
            gone = tuple(names for names in old.nics if names.nic == nic)
            return Wanted(
                instance,
                whole=old.whole,
                nics=tuple(names for names in old.nics if names not in gone),
                had=(*old.had, *gone),
            )

        wanted = self.load(instance)
        if wanted and any(names.nic == nic for names in wanted.nics):
            self._change(instance, change)

    def have(self, instance: str, nics: Iterable[Names], had: Iterable[Names] = ()) -> None:
        """An instance has these NICs and no others. `had`: what it may have had beside what is known here.
        Raises KernelError.
        """
        self._change(instance, _only(instance, tuple(nics), had))

    def move(self, old: str, new: str, nics: Iterable[Names], had: Iterable[Names] = ()) -> None:
        """An instance is called otherwise: what it had under the old name goes, and the new one has these
        NICs. Raises KernelError.
        """
        with self.lock():
            descriptors = [
                self._put(name, change)
                for name, change in ((new, _only(new, tuple(nics), ())), (old, _only(old, (), had)))
                if name == old or nics
            ]
        self._commit(*descriptors)

    def has(self, instance: str) -> bool:
        """True if something was said of an instance, and it did not leave since."""
        return posix.access(self.path(instance), posix.F_OK)

    def forget(self, instance: str) -> None:
        """The instance lives on another node, which sees to its names. What was not sent from here never will
        be.
        """
        with self.lock():
            kernel.remove_file(f"{self.directory}/known/{instance}")
            kernel.remove_file(self.path(instance))

    def done(self, wanted: Wanted) -> bool:
        """Note that all of `wanted` is so; False if something else is wanted by now. To be called under the
        lock.

        Not made durable: what a crash brings back is done again, and changes nothing.
        """
        now = self.load(wanted.instance)
        if now != wanted:
            return False
        if not wanted.nics:
            kernel.remove_file(self.path(wanted.instance))
        elif wanted.whole or wanted.had:
            settled = Wanted(wanted.instance, wanted.serial, wanted.since, False, wanted.nics)
            posix.close(put(self.path(wanted.instance), settled.text()))
        return True

    def lock(self) -> Lock:
        """For reading, changing and writing; never held while anybody waits for a server."""
        return Lock(self.directory, "spool")

    def at_work(self, wait: float = 0.0) -> Lock:
        """Who holds it is the sender. Entering raises Held if there is one for longer than `wait` seconds."""
        return Lock(self.directory, "sender", wait)

    def wake(self) -> None:
        """Start a sender, unless one is at work: it looks here once more after it has let go of its lock."""
        try:
            with self.at_work():
                pass
        except Held:
            return
        kernel.detach(SENDER)

    def _change(self, instance: str, change: Callable[[Wanted], Wanted]) -> None:
        with self.lock():
            descriptor = self._put(instance, change)
        self._commit(descriptor)

    def _put(self, instance: str, change: Callable[[Wanted], Wanted]) -> int:
        """Under the lock; gives the file open, for `_commit`. Raises KernelError."""
        new = change(self.load(instance) or Wanted(instance))
        new = Wanted(instance, posix.urandom(8).hex(), self.clock(), new.whole, new.nics, new.had)
        path = self.path(instance)
        try:
            return put_anyway(path, new.text())
        except OSError as error:
            raise KernelError(f"{path}: {error.strerror}", "its names in DNS stay as they are") from error

    def _commit(self, *descriptors: int) -> None:
        """Make files durable. The first fsync commits every rename before it; one after that has little left
        to do.
        """
        try:
            for descriptor in descriptors:
                posix.fsync(descriptor)
        except OSError as error:
            raise KernelError(f"{self.directory}: {error.strerror}") from error
        finally:
            for descriptor in descriptors:
                posix.close(descriptor)


def _only(instance: str, nics: tuple[Names, ...], had: Iterable[Names]) -> Callable[[Wanted], Wanted]:
    """The change to these NICs and no others."""

    def change(old: Wanted) -> Wanted:
        return Wanted(
            instance,
            whole=True,
            nics=nics,
            had=tuple(dict.fromkeys(names for names in (*old.had, *old.nics, *had) if names not in nics)),
        )

    return change


def _without(had: tuple[Names, ...], now: Names) -> tuple[Names, ...]:
    return tuple(dict.fromkeys(names for names in had if names != now))
