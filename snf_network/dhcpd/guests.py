"""Who is served: bindings and interfaces, brought together. A guest is known by the index of its tap, which
no two taps ever share.

A binding without a tap waits for it; a tap that is made anew under its old name has another index, and its
binding goes with it.
"""

from __future__ import annotations

from collections import Counter

from snf_network.dhcpd.binding import Binding
from snf_network.dhcpd.conf import Settings
from snf_network.dhcpd.guest import Guest
from snf_network.dhcpd.links import Link, Links


class Served:
    """One binding file, and what has come of it."""

    __slots__ = (
        "binding",
        "counts",
        "full",
        "guest",
        "heard",
        "leased",
        "link",
        "name",
        "odd",
        "problem",
        "warnings",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.binding: Binding | None = None
        self.warnings: tuple[str, ...] = ()
        self.problem = ""
        """Why the file as it is now is not taken; `binding` is the last one that was."""
        self.odd = ""
        """What is wrong between the binding and the interfaces."""
        self.link: Link | None = None
        self.guest: Guest | None = None
        """Made when it is first needed: most of a node's guests ask for nothing for hours."""
        self.counts: Counter[str] = Counter()
        self.heard = 0.0
        """When it last asked for something (time.monotonic); 0: never."""
        self.full = 0.0
        """When its bucket is full again (buckets.py): here, for with thousands of guests a look into another
        table is cache misses.
        """
        self.leased = ""
        """The last kind of lease that was told: again, it is no news."""

    @property
    def state(self) -> str:
        """`served`; `pending` without a tap; `refused` if there was never a good binding."""
        return "refused" if not self.binding else "served" if self.link else "pending"


class Guests:
    """All bindings, by name and, where there is a tap, by its index."""

    def __init__(self, links: Links, settings: Settings) -> None:
        self.links, self.settings = links, settings
        self.by_name: dict[str, Served] = {}
        self.by_index: dict[int, Served] = {}

    def put(self, name: str, binding: Binding, warnings: tuple[str, ...]) -> bool:
        """A good binding; True if it says something else than before."""
        served = self.by_name.setdefault(name, Served(name))
        new = served.binding != binding
        served.binding, served.warnings, served.problem = binding, warnings, ""
        if new:
            served.guest, served.leased = None, ""
        self._join(served, self.links.by_name.get(name))
        return new

    def refuse(self, name: str, problem: str) -> None:
        """A binding file that is not taken: the last good one stays."""
        self.by_name.setdefault(name, Served(name)).problem = problem

    def take_away(self, name: str) -> Served | None:
        """A binding file that is gone; what it was."""
        served = self.by_name.pop(name, None)
        if served and served.link:
            self.by_index.pop(served.link.index, None)
        return served

    def moved(self, old: Link | None, new: Link | None) -> Served | None:
        """An interface has come, changed or gone; the binding that is served by it only from now on."""
        if old and (not new or new.name != old.name):
            self._part(old)
        if old and new and (old.mac, old.name) != (new.mac, new.name):
            self._bridge_changed((old.name, new.name))
        served = self.by_name.get(new.name) if new else None
        if not served or not new:
            return None
        before = served.link
        self._join(served, new)
        comes = not before or before.index != new.index or (new.running and not before.running)
        return served if comes and served.binding else None

    def _join(self, served: Served, link: Link | None) -> None:
        before = served.link
        if before and (not link or before.index != link.index):
            self._part(before)
        served.link = link if served.binding and link and len(link.mac) == 6 else None
        if served.link:
            self.by_index[served.link.index] = served
            if not before or (before.index, before.mac, before.master) != (
                served.link.index,
                served.link.mac,
                served.link.master,
            ):
                served.guest = None

    def _part(self, link: Link) -> None:
        served = self.by_index.pop(link.index, None)
        if served:
            served.link, served.guest, served.leased, served.full = None, None, "", 0.0

    def _bridge_changed(self, names: tuple[str, str]) -> None:
        """A bridge has another MAC or name, which its guests are answered from."""
        for served in self.by_index.values():
            if served.binding and served.binding.indev in names:
                served.guest = None

    def configure(self, settings: Settings) -> None:
        """Answer everybody by other settings from now on."""
        self.settings = settings
        for served in self.by_name.values():
            served.guest = None

    def guest(self, served: Served) -> Guest:
        """Whom to answer. Only for a binding that has its tap."""
        assert served.binding and served.link
        if not served.guest:
            served.guest = Guest(served.binding, served.link.mac, self._source(served), self.settings)
        return served.guest

    def _source(self, served: Served) -> bytes:
        """The MAC that the guest is answered from: the tap's, or the bridge's that INDEV names."""
        assert served.binding and served.link
        indev, link = served.binding.indev or served.name, served.link
        served.odd = ""
        if indev == served.name:
            return link.mac
        bridge = self.links.by_name.get(indev)
        if not bridge or not self._has_port(bridge, link):
            served.odd = (
                f"INDEV={indev} is not the bridge of {served.name}: answered from the tap's own address"
            )
            return link.mac
        return bridge.mac

    def _has_port(self, bridge: Link, port: Link) -> bool:
        """Of Open vSwitch's ports the kernel tells only that they are its own: all have one master, whatever
        their bridge.
        """
        master = self.links.by_index.get(port.master)
        return master is bridge or bool(master and master.ovs and bridge.ovs)

    def problems(self) -> list[tuple[str, str, str]]:
        """All that an operator should look at: interface, error or warning, and what it is."""
        found = []
        for name, served in sorted(self.by_name.items()):
            if served.problem:
                found.append((name, "error", served.problem))
            if served.state == "served":
                self.guest(served)
            found += [(name, "warning", text) for text in (*served.warnings, served.odd) if text]
            if served.state == "pending":
                found.append((name, "warning", f"there is no interface {name}"))
        return found + self._twins()

    def _twins(self) -> list[tuple[str, str, str]]:
        """Addresses that two bindings have: each guest is answered on its own tap, but their network will not
        work.
        """
        owners: dict[tuple[str, str], list[str]] = {}
        for name, served in sorted(self.by_name.items()):
            for kind in ("ip", "mac") if served.binding else ():
                value = getattr(served.binding, kind)
                owners.setdefault((kind.upper(), value), []).append(name)
        return [
            (names[0], "warning", f"{kind}={value} is in {', '.join(names[1:])}, too")
            for (kind, value), names in owners.items()
            if value and len(names) > 1
        ]
