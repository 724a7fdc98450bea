"""The served guests: bindings matched with interfaces. A guest is identified by the index of its tap, which
no two taps ever share.

A binding without a tap waits for it. A tap that is recreated with the same name has another index, and its
binding follows it.
"""

from __future__ import annotations

from collections import Counter

from snf_network.dhcpd.answers import Answerer
from snf_network.dhcpd.binding import TapBinding
from snf_network.dhcpd.conf import Conf
from snf_network.dhcpd.defaults import Defaults
from snf_network.dhcpd.guest import TapGuest
from snf_network.dhcpd.links import Interface, Links

Asked = tuple[bytes, bytes, float]
"""Transaction and MAC of a request, and when it was sent (time.monotonic)."""


class Served:
    """One binding file and its state."""

    __slots__ = (
        "answerer",
        "asked",
        "binding",
        "counts",
        "full",
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
        self.binding: TapBinding | None = None
        self.warnings: tuple[str, ...] = ()
        self.problem = ""
        """Why the file is invalid now; `binding` is then the last valid one."""
        self.odd = ""
        """How the binding and the interfaces contradict each other."""
        self.link: Interface | None = None
        self.answerer: Answerer | None = None
        """Made when first needed: most guests of a node send no request for hours."""
        self.counts: Counter[str] = Counter()
        self.heard = 0.0
        """When the guest last sent a request (time.monotonic); 0: never."""
        self.full = 0.0
        """When its bucket is full again (buckets.py). Kept here because, with thousands of guests, each
        lookup in another table is a cache miss.
        """
        self.asked: Asked | None = None
        """What was last relayed (relay.py)."""
        self.leased = ""
        """The last kind of lease that was logged: it is not logged again."""

    @property
    def state(self) -> str:
        """`served`; `pending` without a tap; `refused` if there never was a valid binding."""
        return "refused" if not self.binding else "served" if self.link else "pending"


class Guests:
    """All bindings by name, and those that have their tap by its index."""

    def __init__(self, links: Links, conf: Conf) -> None:
        self.links, self.conf = links, conf
        self.defaults = Defaults()
        self.by_name: dict[str, Served] = {}
        self.by_index: dict[int, Served] = {}

    def put(self, name: str, binding: TapBinding, warnings: tuple[str, ...]) -> bool:
        """Add a valid binding. True if it differs from the previous one."""
        served = self.by_name.setdefault(name, Served(name))
        new = served.binding != binding
        served.binding, served.warnings, served.problem = binding, warnings, ""
        if new:
            served.answerer, served.asked, served.leased = None, None, ""
        self._join(served, self.links.by_name.get(name))
        return new

    def refuse(self, name: str, problem: str) -> None:
        """Note an invalid binding file. The last valid binding stays."""
        self.by_name.setdefault(name, Served(name)).problem = problem

    def take_away(self, name: str) -> Served | None:
        """Forget a binding file that is gone. Returns its last state."""
        served = self.by_name.pop(name, None)
        if served and served.link:
            self.by_index.pop(served.link.index, None)
        return served

    def moved(self, old: Interface | None, new: Interface | None) -> Served | None:
        """Handle an interface that appeared, changed or disappeared. Returns the binding it newly serves."""
        if old and (not new or new.name != old.name):
            self._part(old)
        if old and new and (old.mac, old.name) != (new.mac, new.name):
            self._bridge_changed((old.name, new.name))
        served = self.by_name.get(new.name) if new else None
        if not served or not new:
            return None
        before = served.link
        self._join(served, new)
        comes = (
            not before
            or before.index != new.index
            or before.mtu != new.mtu
            or (new.running and not before.running)
        )
        return served if comes and served.binding else None

    def _join(self, served: Served, link: Interface | None) -> None:
        before = served.link
        if before and (not link or before.index != link.index):
            self._part(before)
        served.link = link if served.binding and link and len(link.mac) == 6 else None
        if served.link:
            self.by_index[served.link.index] = served
            if not before or _answers_differ(before, served.link):
                served.answerer = None

    def _part(self, link: Interface) -> None:
        served = self.by_index.pop(link.index, None)
        if served:
            served.link, served.answerer, served.leased, served.full = None, None, "", 0.0

    def _bridge_changed(self, names: tuple[str, str]) -> None:
        """A bridge has another MAC or name; its guests get answers from the new MAC."""
        for served in self.by_index.values():
            if served.binding and served.binding.indev in names:
                served.answerer = None

    def configure(self, conf: Conf, defaults: Defaults) -> None:
        """Use other settings and another dhcp.yaml for all answers from now on."""
        self.conf, self.defaults = conf, defaults
        for served in self.by_name.values():
            served.answerer = None

    def answerer(self, served: Served) -> Answerer:
        """The answerer of a guest. Only for a binding whose tap exists."""
        assert served.binding and served.link
        if not served.answerer:
            source = self._source(served)
            bound = self.defaults.filled(served.binding)
            guest = TapGuest(bound, served.link.mac, source, self.conf, served.link.mtu)
            served.answerer = Answerer(guest)
        return served.answerer

    def _source(self, served: Served) -> bytes:
        """The source MAC of answers to the guest: that of the tap, or of the bridge that INDEV names."""
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

    def _has_port(self, bridge: Interface, port: Interface) -> bool:
        """True if the bridge has this port. All ports of Open vSwitch have the same master, whatever their
        bridge, so for those only that is checked.
        """
        master = self.links.by_index.get(port.master)
        return master is bridge or bool(master and master.ovs and bridge.ovs)

    def problems(self) -> list[tuple[str, str, str]]:
        """Everything that an operator should look at: interface, `error` or `warning`, and description."""
        found = []
        for name, served in sorted(self.by_name.items()):
            if served.problem:
                found.append((name, "error", served.problem))
            if served.state == "served":
                self.answerer(served)
            found += [(name, "warning", text) for text in (*served.warnings, served.odd) if text]
            if served.state == "pending":
                found.append((name, "warning", f"there is no interface {name}"))
        return found + self._twins()

    def _twins(self) -> list[tuple[str, str, str]]:
        """Addresses that two bindings share: each guest gets its answers on its own tap, but their network
        will not work.
        """
        owners: dict[tuple[str, str], list[str]] = {}
        for name, served in sorted(self.by_name.items()):
            for kind in ("ip", "mac") if served.binding else ():
                value = getattr(served.binding, kind)
                owners.setdefault((kind.upper(), value), []).append(name)
        return [
            (names[0], "warning", f"{kind}={value} is also in {', '.join(names[1:])}")
            for (kind, value), names in owners.items()
            if value and len(names) > 1
        ]


def _answers_differ(old: Interface, new: Interface) -> bool:
    """True if a change of the tap changes the guest's answers."""
    return (old.index, old.mac, old.master, old.mtu) != (new.index, new.mac, new.master, new.mtu)
