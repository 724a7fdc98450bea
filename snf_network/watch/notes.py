"""What events may mean for the records: it is noted here, and looked at later."""

from __future__ import annotations

from posix import F_OK, access
from typing import TYPE_CHECKING

from snf_network.observe.facts import is_tap
from snf_network.watch.events import ADDRESS
from snf_network.watch.suspicion import Suspicion

if TYPE_CHECKING:
    from collections.abc import Callable

    from snf_network.model.config import Config
    from snf_network.watch.events import Event, LinkState


class Notes:
    """What is to be looked at."""

    def __init__(self, config: Config, links: dict[int, LinkState], clock: Callable[[], float]) -> None:
        self.config, self.links, self.clock = config, links, clock
        self.suspects: dict[str, Suspicion] = {}
        self.gone: set[str] = set()
        self.guests: set[str] = set()
        """Devices that had a record when they were heard of, and are there still."""
        self.carriers: set[str] = set()
        self.full = self.lost = self.flushed = self.rules = self.policy = self.moved = self.proxies = False
        self.since = 0.0
        """When the oldest event came that is not dealt with; 0: there is none."""
        self.first: dict[str, float] = {}
        """The same by kind of event, for what is said of it."""

    def note(self, event: Event) -> None:
        """Remember what an event may mean."""
        act = getattr(self, f"_on_{event.kind}", None)
        if act:
            act(event)
            now = self.clock()
            self.first.setdefault(event.kind, now)
            self.since = self.since or now

    def came(self, *kinds: str) -> float:
        """When the first event of these kinds came that is not dealt with; now, if there is none."""
        now = self.clock()
        return min(self.first.pop(kind, now) for kind in kinds)

    def _has_record(self, name: str) -> bool:
        """True for a NIC of ours. The key of a member that somebody deletes may be anything."""
        return "/" not in name and bool(name.strip(".")) and access(f"{self.config.state_dir}/{name}", F_OK)

    def _suspect(self, event: Event) -> Suspicion | None:
        link = self.links.get(event.device)
        name = event.interface or (link.name if link else "")
        if self._has_record(name):
            self.guests.add(name)
            return self.suspects.setdefault(name, Suspicion(self.clock()))
        if event.device and name not in self.guests and not is_tap(name):  # an uplink, a bridge, or its port
            self.moved = True
        return None

    def _on_lost(self, event: Event) -> None:
        self.full = self.lost = True

    def _on_shared(self, event: Event) -> None:
        self.full = True

    def _on_policy(self, event: Event) -> None:
        self.policy = True

    def _on_flushed(self, event: Event) -> None:
        self.flushed = True

    def _on_rules(self, event: Event) -> None:
        self.rules = True

    def _on_member(self, event: Event) -> None:
        suspicion = self._suspect(event)
        if suspicion:
            suspicion.sets.add(event.what)

    def _on_route(self, event: Event) -> None:
        suspicion = self._suspect(event)
        if suspicion:
            change = suspicion.lost.discard if event.added else suspicion.lost.add
            change((event.kind, event.what))

    _on_neighbour = _on_route

    def _on_link(self, event: Event) -> None:
        if event.what == ADDRESS and not self._has_record(event.interface):
            return  # no plan depends on the address of an uplink or of a bridge
        suspicion = self._suspect(event)
        if suspicion:
            suspicion.link = True

    def _on_down(self, event: Event) -> None:
        suspicion = self._suspect(event)
        if suspicion:
            suspicion.down = True

    def _on_setting(self, event: Event) -> None:
        suspicion = self._suspect(event)
        if suspicion:
            suspicion.link = True

    def _on_gone(self, event: Event) -> None:
        if self._has_record(event.interface):
            self.gone.add(event.interface)
            self.suspects.pop(event.interface, None)
        elif event.interface not in self.guests:
            self.moved = True
        self.guests.discard(event.interface)

    def _on_proxy(self, event: Event) -> None:
        self.proxies = True

    def _on_default(self, event: Event) -> None:
        self.moved = True

    def _on_carrier(self, event: Event) -> None:
        name = event.interface
        if not (is_tap(name) or self._has_record(name)):  # nobody is behind a guest
            self.carriers.add(name)
