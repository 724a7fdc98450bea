"""Decides what an event means for the records, and puts back what they want. The engine does it, under its
own locks, so an ifup or ifdown that runs meanwhile always wins.

Whose change it was does not matter: after a moment of quiet, what the record wants is either in the kernel or
it is not.
"""

from __future__ import annotations

from posix import F_OK, access
from time import monotonic
from typing import TYPE_CHECKING

from snf_network.apply.engine import Engine
from snf_network.errors import SnfNetworkError
from snf_network.host import kernel
from snf_network.host.netlink import Netlink
from snf_network.host.record import is_live
from snf_network.model.nic import Nic
from snf_network.model.resources import Element, NeighProxy, Rule, Sysctl
from snf_network.observe.drift import compare, outdated, rules_changed
from snf_network.observe.facts import is_tap
from snf_network.scripts.bringup import announce_again, bring_up, keep_wanted
from snf_network.scripts.repair import Repair
from snf_network.watch.claims import Claims
from snf_network.watch.events import heard_before
from snf_network.watch.glimpse import Glimpse
from snf_network.watch.pace import LONGEST, Pace
from snf_network.watch.suspicion import Suspicion, lost_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from snf_network.host.record import Record
    from snf_network.model.config import Config
    from snf_network.model.resources import Resource
    from snf_network.scripts.process import Log
    from snf_network.watch.events import Event, LinkState

QUIET = 0.03
"""Seconds to wait after an event: most changes of ours are complete by then, and cause no work."""
FULL_PAUSE = 1.0
"""Seconds between two comparisons of the whole node."""
BUSY = 0.05
"""Seconds to wait for another call."""
MANY = 20
"""So many NICs at once are compared together, by one look at everything."""
DEADLINE = 60.0
ALL = "the whole node"
RULES = "the rules"
LONGEST_OPEN = 2.0
"""Seconds that a fight may leave all guests unfiltered: no longer pause is worth that."""
POLICY, UPLINKS = "policy rules", "uplinks"


class Keeper:
    """Collects events; `act` deals with them when `due` says so."""

    def __init__(
        self, config: Config, log: Log, links: dict[int, LinkState], clock: Callable[[], float] = monotonic
    ) -> None:
        self.config, self.log, self.links, self.clock = config, log, links, clock
        self.refresh: Callable[[], None] = lambda: None
        """Reads the events that wait."""
        self.engine = Engine(config)
        self.pace = Pace(clock)
        self.claims = Claims(self.engine, log, clock)
        self.suspects: dict[str, Suspicion] = {}
        self.gone: set[str] = set()
        self.carriers: set[str] = set()
        self.full = self.flushed = self.rules = self.policy = self.moved = False
        self.since = 0.0
        """When the oldest event came that is not dealt with; 0: there is none."""
        self.not_before: dict[str, float] = {}
        self.actor = ""

    # --- collect

    def note(self, event: Event) -> None:
        """Remember what an event may mean."""
        act = getattr(self, f"_on_{event.kind}", None)
        if act:
            act(event)
            if not self.since and self._waits():
                self.since = self.clock()

    def _suspect(self, event: Event) -> Suspicion | None:
        link = self.links.get(event.device)
        name = event.interface or (link.name if link else "")
        if not name or not access(f"{self.config.state_dir}/{name}", F_OK):
            if not is_tap(name):  # an uplink, a bridge, or a port of one
                self.moved = True
            return None
        return self.suspects.setdefault(name, Suspicion(self.clock()))

    def _on_lost(self, event: Event) -> None:
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

    def _on_heard(self, event: Event) -> None:
        link = self.links.get(event.device)
        if link:
            self.claims.note(link.name, event.what)

    def _on_link(self, event: Event) -> None:
        suspicion = self._suspect(event)
        if suspicion:
            suspicion.link = True
            link = self.links.get(event.device)
            suspicion.down |= link is not None and not link.up

    def _on_setting(self, event: Event) -> None:
        suspicion = self._suspect(event)
        if suspicion:
            suspicion.link = True

    def _on_gone(self, event: Event) -> None:
        if access(f"{self.config.state_dir}/{event.interface}", F_OK):
            self.gone.add(event.interface)
            self.suspects.pop(event.interface, None)
        else:
            self.moved = True

    def _on_default(self, event: Event) -> None:
        self.moved = True

    def _on_carrier(self, event: Event) -> None:
        self.carriers.add(event.interface)

    # --- act

    def due(self) -> float | None:
        """Seconds until `act` has something to do; None: nothing is waiting."""
        waiting = [0.0] * bool(self.gone or self.carriers)
        waiting += [*map(self._pause, self._keys()), *self.claims.pauses()]
        if not self.since or not waiting:
            return None
        return max(0.0, self.since + QUIET - self.clock(), min(waiting))

    def _waits(self) -> bool:
        return bool(self.gone or self.carriers or self.claims or any(True for _ in self._keys()))

    def _keys(self) -> Iterator[str]:
        """Whatever waits, by the keys of pauses."""
        flags = (
            (self.flushed or self.rules, RULES),
            (self.policy, POLICY),
            (self.full, ALL),
            (self.moved, UPLINKS),
        )
        yield from (key for flag, key in flags if flag)
        yield from self.suspects

    def _pause(self, key: str) -> float:
        return max(0.0, self.not_before.get(key, 0.0) - self.clock(), self.pace.wait(key))

    def act(self) -> None:
        """Deal with all that has waited long enough. Raises nothing: a failure is logged and tried again."""
        kernel.give_up_after(DEADLINE)
        self.since = 0.0
        for step in (
            self._rules,
            self._policy,
            self.claims.act,
            self._whole,
            self._departed,
            self._suspected,
            self._uplinks,
            self._announce,
        ):
            try:
                step()
            except SnfNetworkError as error:
                self.log.log(f"watch: {error}")
                self._look_again()
        if self._waits():
            self.since = self.clock()

    def _look_again(self) -> None:
        """Compare everything, a moment later."""
        self.full, self.not_before[ALL] = True, self.clock() + FULL_PAUSE

    def _live(self) -> list[Record]:
        return [record for record in self.engine.records if is_live(record)]

    def _ready(self, key: str) -> bool:
        return not self._pause(key)

    def _rules(self) -> None:
        """Rules and the members of all live NICs, in one transaction."""
        if not (self.flushed or self.rules) or not self._ready(RULES):
            return
        live = self._live()
        # after a flush an ifup may have loaded the rules already, with its own members
        lost = ["flushed"] if self.flushed else self._changed_rules(live)
        self.flushed = self.rules = False
        if live and lost:
            began = self.clock()
            self.engine.load(live)
            self.engine.forget_learned(live)
            words = f"loaded the rules with the members of {len(live)} NICs: {lost[0]}"
            self._tell(None, RULES, words, began)
            self.full = True  # whatever else went with them

    def _policy(self) -> None:
        """The policy rules of live NICs, which lead their packets to their table."""
        if not self.policy or not self._ready(POLICY):
            return
        self.policy, began = False, self.clock()
        with Netlink() as netlink:
            there = netlink.rules()
        wanted = {
            one: record.interface
            for record in self._live()
            for one in record.resources
            if isinstance(one, Rule) and one not in there
        }
        for interface in dict.fromkeys(wanted.values()):
            lost, _ = self.engine.mend_one(
                interface, lambda record: [one for one in record.resources if one in wanted]
            )
            if lost:
                self._tell(None, POLICY, f"put back {lost[0].command}", began)

    def _changed_rules(self, live: list[Record]) -> list[str]:
        """Lines that are not as loaded. None while whoever loads them has not written them down yet."""
        before = self.engine.ruleset.noted()
        found = rules_changed(self.engine.ruleset, live)
        return found if before and before == self.engine.ruleset.noted() else []

    def _whole(self) -> None:
        if len(self.suspects) > MANY:
            self.full = True
        if not self.full or not self._ready(ALL):
            return
        self.full, self.not_before[ALL] = False, self.clock() + FULL_PAUSE
        self.suspects.clear()
        for event in heard_before():
            self._on_heard(event)
        self.claims.act()  # a comparison takes its time
        found = compare(self.config)
        if found.gone:
            self._remove(found.gone)
        if found.missing or found.orphans or found.outdated or found.rules:
            began = self.clock()
            Repair(found, self.config, self.log).run()
            self._tell(
                None, ALL, f"compared: {len(found.missing)} missing, {len(found.orphans)} left over", began
            )

    def _departed(self) -> None:
        names, self.gone = self.gone, set()
        records = (self.engine.records.load(name) for name in names)
        gone = [record for record in records if record and not is_live(record)]
        if gone:
            self._remove(gone)

    def _remove(self, gone: Iterable[Record]) -> None:
        began = self.clock()
        done, failed = self.engine.remove_gone(gone)
        handed, self.engine.handed = self.engine.handed, []
        for record in done:
            self._say(record, f"{record.instance} is gone: taken back", began)
        for words in handed:
            self._say(None, words, began)
        if failed:
            self._look_again()

    def _suspected(self) -> None:
        for name, suspicion in [*self.suspects.items()]:
            if self._ready(name):
                self._restore(name, suspicion)

    def _restore(self, name: str, suspicion: Suspicion) -> None:
        lost, why = self.engine.mend_one(name, lambda record: self._sure(record, suspicion))
        if why or suspicion.again:  # another call is at work on it, something was refused, or it is not sure
            self.not_before[name] = self.clock() + (FULL_PAUSE if lost else BUSY)
            return
        self.suspects.pop(name, None)
        if lost:
            record = self.engine.records.load(name)
            if record and any(isinstance(one, Element) for one in lost):
                self.engine.forget_learned([record])
            self._tell(record, name, f"put back {len(lost)}: {lost[0].command}", suspicion.since)

    def _sure(self, record: Record, suspicion: Suspicion) -> list[Resource]:
        """What was lost, if two looks say so: an answer of nft's or of a link that has just come up may be of
        a moment that nobody meant.
        """
        self.refresh()  # no call is at work on it now, and what the last one has done may still be unread
        lost = lost_of(record, suspicion)
        suspicion.again = bool(lost) and suspicion.again is None
        return [] if suspicion.again else lost

    def _uplinks(self) -> None:
        """Plan again the NICs whose node is another by now."""
        if not self.moved or not self._ready(UPLINKS):
            return
        # a bridge takes the MTU of a tap that somebody has changed: first put that back
        self.refresh()
        if any(not self.pace.wait(name) for name in self.suspects):
            self.not_before[UPLINKS] = self.clock() + BUSY
            return
        self.moved, self.not_before[UPLINKS] = False, self.clock() + FULL_PAUSE
        live = self._live()
        for record, why in {one.interface: (one, why) for one, why in outdated(live, self.config)}.values():
            if self._ready(record.interface):
                self._plan_again(record, why)
            else:
                self.moved = True
        self._settings(live)

    def _plan_again(self, record: Record, why: str) -> None:
        began, log = self.clock(), self.log.about(record)
        try:
            bring_up(Nic.from_env(dict(record.variables)), self.config, log)
            self._tell(record, record.interface, f"planned again: {why}", began)
        except SnfNetworkError as error:
            log.log(f"watch: {error}")
            keep_wanted(record, self.config, str(error))
            self.pace.acted(record.interface)

    def _settings(self, live: Iterable[Record]) -> None:
        """Settings of uplinks, bridges and of the whole node, which NICs share."""
        wanted = {one: record for record in live for one in record.resources if isinstance(one, Sysctl)}
        glimpse = Glimpse("")  # settings need no device
        for setting, record in wanted.items():
            if not setting.is_in(glimpse) and self._ready(setting.key):
                failed = self.engine.mend({record.interface: (record, [setting])})
                if not failed:
                    self._tell(record, setting.key, f"put back {setting.command}", self.clock())

    def _announce(self) -> None:
        """Announce all guests behind devices that have a carrier again."""
        names, self.carriers = self.carriers, set()
        behind = {*names, *self._above(names)}
        told = [record for record in self._live() if behind & _uplinks_of(record)]
        if told:
            announce_again(told, self.config)
            self.log.log(f"watch: {', '.join(sorted(names))} has a carrier: announcing {len(told)} NICs")

    def _above(self, names: Iterable[str]) -> Iterator[str]:
        """The bridges, bonds and VLANs that stand on these devices."""
        for index, link in self.links.items():
            if link.name in names and link.master in self.links:
                yield self.links[link.master].name
            lower = self.links.get(link.lower)
            if lower and lower.name in names and index != link.lower:
                yield link.name

    def _log_of(self, record: Record | None) -> Log:
        return self.log.about(record) if record else self.log

    def _say(self, record: Record | None, words: str, since: float) -> None:
        self._log_of(record).log(f"watch: {words}, after {(self.clock() - since) * 1e3:.0f} ms")

    def _tell(self, record: Record | None, key: str, words: str, since: float) -> None:
        """Log what was put back, and slow down if that happens again and again."""
        self._say(record, words, since)
        if self.pace.acted(key, LONGEST_OPEN if key == RULES else LONGEST):
            by = f"; the last nft transaction was by {self.actor}" if self.actor else ""
            words = f"{key} is changed again and again: it is put back with growing pauses{by}"
            self._log_of(record).log(f"watch: {words}")


def _uplinks_of(record: Record) -> set[str]:
    """Devices on which the node answers for a NIC's addresses."""
    proxies = {one.interface for one in record.resources if isinstance(one, NeighProxy)}
    return proxies - {record.interface}
