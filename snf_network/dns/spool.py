"""STATE_DIR/dns/wanted/<instance>: the names that the NICs of an instance shall have, as the last script or hook said it.

One file an instance, replaced as a whole, so a newer state takes the place of an older one that was not sent yet. It is put in place by
rename and made durable by one fsync after that: ext4, XFS and btrfs then commit the name together with what is in it. Its lines are
tab-separated:

    wanted  instance, serial, time, whole or part
    nic     NIC, network, address ...
    had     NIC, network, address ...   what such a NIC had: taken back if it is ours, by owner mark or by being equal
    end                                 a file without it was cut off by a crash

`whole`: the instance has nothing but this, so whatever else the server has for it in our name goes. `part`: NICs may be missing here.
A file cut to nothing says that the instance shall have no name: what a full disk leaves of one.
"""

from __future__ import annotations

import posix
from time import time

from snf_network import kernel
from snf_network.dns.names import Names
from snf_network.errors import KernelError
from snf_network.lock import Held, Lock, make_directories
from snf_network.record import columns, row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from dataclasses import dataclass
else:
    from snf_network.lean import dataclass

SENDER = "snf-network-dnssend"


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
        rows: list[tuple[str, ...]] = [("wanted", self.instance, self.serial, str(self.since), "whole" if self.whole else "part")]
        rows += [(kind, names.nic, names.network, *names.addresses) for kind, group in (("nic", self.nics), ("had", self.had))
                 for names in group]
        return "".join(map(row, (*rows, ("end",))))


def parse(text: str, instance: str) -> Wanted | None:
    """What a file says; None if it was cut off."""
    if not text:
        return Wanted(instance, whole=True)
    rows = columns(text)
    if rows[-1] != ["end"] or rows[0][0] != "wanted" or len(rows[0]) != 5:
        return None
    _, _, serial, since, whole = rows[0]
    nics, had = ([Names(instance, words[1], words[2], tuple(words[3:])) for words in rows[1:-1] if words[0] == kind]
                 for kind in ("nic", "had"))
    return Wanted(instance, serial, float(since), whole == "whole", tuple(nics), tuple(had))


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
        try:
            names = sorted(posix.listdir(f"{self.directory}/wanted"))
        except OSError:
            return
        yield from filter(None, (self.load(name) for name in names if not name.startswith(".")))

    def path(self, instance: str) -> str:
        """The file of an instance."""
        return f"{self.directory}/wanted/{instance}"

    def up(self, names: Names) -> None:
        """A NIC is up and has these addresses now. Raises KernelError."""
        def change(old: Wanted) -> Wanted:
            same = [nic for nic in old.nics if nic.nic == names.nic]
            return Wanted(names.instance, whole=old.whole, nics=(*(nic for nic in old.nics if nic not in same), names),
                          had=_without((*old.had, *same), names))

        self._change(names.instance, change)

    def down(self, instance: str, nic: str) -> None:
        """A NIC is gone for good, or shall have no names any more. Raises KernelError."""
        def change(old: Wanted) -> Wanted:
            gone = tuple(names for names in old.nics if names.nic == nic)
            return Wanted(instance, whole=old.whole, nics=tuple(names for names in old.nics if names not in gone), had=(*old.had, *gone))

        wanted = self.load(instance)
        if wanted and any(names.nic == nic for names in wanted.nics):
            self._change(instance, change)

    def have(self, instance: str, nics: Iterable[Names], had: Iterable[Names] = ()) -> None:
        """An instance has these NICs and no others. `had`: what it may have had beside what is known here. Raises KernelError."""
        wanted = tuple(nics)

        def change(old: Wanted) -> Wanted:
            return Wanted(instance, whole=True, nics=wanted,
                          had=tuple(dict.fromkeys(names for names in (*old.had, *old.nics, *had) if names not in wanted)))

        self._change(instance, change)

    def has(self, instance: str) -> bool:
        """True if something was said of an instance, and it did not leave since."""
        return posix.access(self.path(instance), posix.F_OK)

    def forget(self, instance: str) -> None:
        """The instance lives on another node, which sees to its names. What was not sent from here never will be."""
        with self.lock():
            kernel.remove_file(f"{self.directory}/known/{instance}")
            kernel.remove_file(self.path(instance))

    def done(self, wanted: Wanted) -> bool:
        """Note that all of `wanted` is so; False if something else is wanted by now. To be called under the lock."""
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
        descriptor = -1
        with self.lock():
            new = change(self.load(instance) or Wanted(instance))
            new = Wanted(instance, posix.urandom(8).hex(), self.clock(), new.whole, new.nics, new.had)
            try:
                descriptor = put(self.path(instance), new.text())
            except OSError as error:
                if new.nics or not self.has(instance):
                    raise KernelError(f"{self.path(instance)}: {error.strerror}", "its names in DNS stay as they are") from error
                descriptor = posix.open(self.path(instance), posix.O_WRONLY | posix.O_TRUNC | posix.O_CLOEXEC)  # needs no space
        try:
            posix.fsync(descriptor)
        except OSError as error:
            raise KernelError(f"{self.path(instance)}: {error.strerror}") from error
        finally:
            posix.close(descriptor)


def _without(had: tuple[Names, ...], now: Names) -> tuple[Names, ...]:
    return tuple(dict.fromkeys(names for names in had if names != now))


def put(path: str, text: str) -> int:
    """Put a file in place by rename; give it open, for fsync. Raises OSError, and leaves nothing then."""
    directory = path.rpartition("/")[0]
    beside = f"{directory}/.new"  # one at a time: the lock is held
    make_directories(directory)
    descriptor = posix.open(beside, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o644)
    try:
        left = text.encode("utf-8", "surrogateescape")
        while left:  # a disk that is nearly full takes a part, and says no only to the rest
            left = left[posix.write(descriptor, left):]
        posix.rename(beside, path)
    except OSError:
        posix.close(descriptor)
        kernel.remove_file(beside)
        raise
    return descriptor
