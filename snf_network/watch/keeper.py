"""Decides what an event means for the records, and puts back what they want. The engine does it, under its
own locks, so an ifup or ifdown that runs meanwhile always wins.

Whose change it was does not matter: after a moment of quiet, what the record wants is either in the kernel or
it is not.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from snf_network.apply.engine import Engine
from snf_network.errors import SnfNetworkError, shown
from snf_network.host import kernel
from snf_network.host.record import is_live
from snf_network.model.nic import Nic
from snf_network.model.resources import Element
from snf_network.observe.drift import compare, confirmed, outdated, rules_changed
from snf_network.scripts.bringup import announce_guests, bring_up, keep_wanted
from snf_network.scripts.repair import Repair, Told, refill
from snf_network.watch.claims import Claims
from snf_network.watch.listen import heard_before
from snf_network.watch.notes import Notes
from snf_network.watch.pace import LONGEST, Pace
from snf_network.watch.state import ACTS
from snf_network.watch.suspicion import lost_of
from snf_network.watch.uplinks import Announcer, Proxies, lost_rules, lost_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from snf_network.host.record import Record
    from snf_network.model.config import Config
    from snf_network.model.resources import Resource
    from snf_network.observe.drift import Difference
    from snf_network.scripts.process import Log
    from snf_network.watch.events import Event, LinkState
    from snf_network.watch.suspicion import Suspicion

QUIET = 0.03
"""Seconds to wait after an event: most changes of ours are complete by then, and cause no work."""
FULL_PAUSE = 1.0
"""Seconds between two comparisons of the whole node."""
BUSY = 0.05
"""Seconds to wait for another call."""
MANY, MOST = 20, 0.5
"""More NICs at once, and more of all NICs, are compared together: one look at everything costs as much for
each NIC as a look at one.
"""
DEADLINE = 60.0
ALL = "the whole node"
RULES = "the rules"
LONGEST_OPEN = 2.0
"""Seconds that a fight may leave all guests unfiltered: no longer pause is worth that."""
SHARE = 10.0
"""The longest pause over the time that the work itself takes: a tenth of one CPU goes into such a fight."""
POLICY, UPLINKS, CARRIERS, PROXIES = "policy rules", "uplinks", "carriers", "proxy entries"
KINDS = {
    RULES: ("flushed", "rules"),
    POLICY: ("policy",),
    ALL: ("lost", "shared"),
    UPLINKS: ("default", "link", "down", "gone", "setting"),
    CARRIERS: ("carrier",),
    PROXIES: ("proxy",),
}
"""The kinds of events that something waits for."""
BATCH = 2.0
"""Seconds for which NICs are planned again before anything else is looked at."""


class Keeper(Notes):
    """Deals with what is noted: `act`, when `due` says so."""

    def __init__(
        self, config: Config, log: Log, links: dict[int, LinkState], clock: Callable[[], float] = monotonic
    ) -> None:
        super().__init__(config, links, clock)
        self.log = log
        self.refresh: Callable[[], None] = lambda: None
        """Reads the events that wait."""
        self.relist: Callable[[], None] = lambda: None
        """Finds out what has become of devices, after events were lost."""
        self.engine, self.pace, self.announcer = Engine(config), Pace(clock), Announcer()
        self.claims = Claims(self.engine, log, clock)
        self.doubt: Difference | None = None
        """What the first of two comparisons has found."""
        self.entries = Proxies()
        self.hear_proxies: Callable[[], None] = lambda: None
        """Makes the next proxy entry that is deleted an event again."""
        self.compared = False
        """The whole node was looked at since this was reset."""
        self.comparisons = self.failures = 0
        """Of the whole node, so far; and how many of them in a row could not be dealt with."""
        self.acts = dict.fromkeys(ACTS, 0)
        self.not_before: dict[str, float] = {}
        self.actor = ""

    def _on_heard(self, event: Event) -> None:
        link = self.links.get(event.device)
        if link:
            self.claims.note(link.name, event.what)

    def due(self) -> float | None:
        """Seconds until `act` has something to do; None: nothing is waiting."""
        waiting = [0.0] * bool(self.gone)
        waiting += [*map(self._pause, self._keys()), *self.claims.pauses()]
        if not self.since or not waiting:
            return None
        return max(0.0, self.since + QUIET - self.clock(), min(waiting))

    def _keys(self) -> Iterator[str]:
        """Whatever waits, by the keys of pauses."""
        flags = (
            (self.flushed or self.rules, RULES),
            (self.policy, POLICY),
            (self.full, ALL),
            (self.moved, UPLINKS),
            (bool(self.carriers), CARRIERS),
            (self.proxies, PROXIES),
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
            self._announce,
            self._departed,
            self._whole,  # with thousands of NICs it takes seconds: nobody waits for it who need not
            self._suspected,
            self._uplinks,
            self._proxies,
        ):
            try:
                step()
            except (SnfNetworkError, OSError) as error:  # no reason to end: what is lost can come back later
                self.log.log(f"watch: {error}")
                self._look_again()
        now, waiting = self.clock(), {*self._keys()}
        self.since = now if waiting or self.claims else 0.0
        waiting = {kind for key in waiting for kind in KINDS.get(key, ())}
        self.first = {kind: then for kind, then in self.first.items() if kind in waiting}
        self.not_before = {key: then for key, then in self.not_before.items() if then > now}

    def _look_again(self) -> None:
        """Compare everything, a moment later, and later if that did not help: it must not spin."""
        self.full, self.doubt, self.failures = True, None, self.failures + 1
        self.not_before[ALL] = self.clock() + _pause_after(self.failures)

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
        came, began = self.came(*KINDS[RULES]), self.clock()
        if live and lost:
            words = f"{refill(self.engine, live)}: {lost[0]}"
            self._tell(None, RULES, words, came, min(LONGEST_OPEN, SHARE * (self.clock() - began)))
            self.full = True  # whatever else went with them

    def _policy(self) -> None:
        """The policy rules of live NICs, which lead their packets to their table."""
        if not self.policy or not self._ready(POLICY):
            return
        self.policy, began = False, self.came(*KINDS[POLICY])
        for interface in dict.fromkeys(lost_rules(self._live()).values()):
            # asked again under its lock: an up or a down may have been at work
            lost, _ = self.engine.mend_one(interface, lambda record: [*lost_rules([record])])
            if lost:
                self._tell(None, POLICY, f"put back {lost[0].command}", began)

    def _changed_rules(self, live: list[Record]) -> list[str]:
        """Lines that are not as loaded. None while whoever loads them has not written them down yet."""
        before = self.engine.ruleset.noted()
        found = rules_changed(self.engine.ruleset, live)
        return found if before and before == self.engine.ruleset.noted() else []

    def _whole(self) -> None:
        """Compare the whole node. Only what two looks find is put back: a call may be at work on a NIC."""
        count = len(self.suspects)
        if count > MANY and count > MOST * sum(1 for _ in self.engine.records.stamps()):
            self.full = True
        if not self.full or not self._ready(ALL):
            return
        if self.lost:
            self.log.log("watch: the kernel could not tell all that happened: comparing the whole node")
            self.lost = False
            self.relist()
        self.full, began = False, self.clock()
        self.refresh()  # what has happened by now will be seen
        came = min((self.came(*KINDS[ALL]), *(one.since for one in self.suspects.values())))
        self.suspects.clear()
        for event in heard_before():
            self._on_heard(event)
        self.claims.act()  # a comparison takes its time
        found, before, self.doubt = compare(self.config), self.doubt, None
        self.compared, self.comparisons = True, self.comparisons + (before is None)
        if before is None and _is_work(found):
            self.full, self.doubt, self.not_before[ALL] = True, found, self.clock() + BUSY
            self.first["lost"] = came
            return
        # with thousands of NICs one takes seconds, and something else may have its turn
        self.not_before[ALL] = self.clock() + max(FULL_PAUSE, self.clock() - began)
        failed = self._repair(confirmed(before, found), came) if before else False
        if failed:
            self._look_again()
        else:
            self.failures = 0

    def _repair(self, found: Difference, began: float) -> bool:
        """Do what two looks say; True if it has to be looked at again."""
        left = bool(found.gone) and self._remove(found.gone, began)
        if not (found.missing or found.orphans or found.outdated or found.rules):
            return left
        heard = Heard()
        Repair(found, self.config, self.log, heard).run()
        self._tell(
            None, ALL, f"compared: {len(found.missing)} missing, {len(found.orphans)} left over", began
        )
        return left or any(record.interface in heard.failures for record, _ in found.missing)

    def _departed(self) -> None:
        names, self.gone = self.gone, set()
        records = (self.engine.records.load(name) for name in names)
        gone = [record for record in records if record and not is_live(record)]
        if gone and self._remove(gone, self.came("gone")):
            self._look_again()

    def _remove(self, gone: Iterable[Record], began: float) -> bool:
        """Undo what gone NICs had; True if another call is at work on one."""
        done, failed = self.engine.remove_gone(gone)
        handed, self.engine.handed = self.engine.handed, []
        self.acts["removed"] += len(done)
        for record in done:
            self._say(record, f"{record.instance} is gone: taken back", began)
        for words in handed:
            self._say(None, words, began)
        return bool(failed)

    def _suspected(self) -> None:
        for name, suspicion in [*self.suspects.items()]:
            if self._ready(name):
                self._restore(name, suspicion)

    def _restore(self, name: str, suspicion: Suspicion) -> None:
        lost, why = self.engine.mend_one(name, lambda record: self._sure(record, suspicion))
        if why or suspicion.again:  # another call is at work on it, something was refused, or it is not sure
            suspicion.failures += bool(lost)
            self.not_before[name] = self.clock() + (_pause_after(suspicion.failures) if lost else BUSY)
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
        came, live = self.came(*KINDS[UPLINKS]), self._live()
        found = {one.interface: (one, why) for one, why in outdated(live, self.config)}
        until, pauses = self.clock() + BATCH, list[float]()
        for record, why in found.values():
            pauses.append(self._pause(record.interface))
            if self.clock() < until and not pauses[-1]:
                self._plan_again(record, why, came)
                pauses.pop()
        if pauses:
            self.moved, self.not_before[UPLINKS] = True, self.clock() + min(pauses)
        live = self._live() if found else live
        self._settings(live, came)
        self.proxies, self.first["proxy"] = True, came
        if self.moved:
            self.first["link"] = came

    def _plan_again(self, record: Record, why: str, began: float) -> None:
        log = self.log.about(record)
        try:
            bring_up(Nic.from_env(dict(record.variables)), self.config, log)
            self._tell(record, record.interface, f"planned again: {why}", began)
        except SnfNetworkError as error:
            log.log(f"watch: {error}")
            keep_wanted(record, self.config, str(error))
            self.pace.acted(record.interface)

    def _settings(self, live: Iterable[Record], began: float) -> None:
        for setting, record in lost_settings(live).items():
            if self._ready(setting.key) and not self.engine.mend({record.interface: (record, [setting])}):
                self._tell(record, setting.key, f"put back {setting.command}", began)

    def _proxies(self) -> None:
        """Put back what uplinks have lost; a look takes its share of one CPU, however often some are lost."""
        if not self.proxies or not self._ready(PROXIES):
            return
        self.proxies, came, began = False, self.came(*KINDS[PROXIES]), self.clock()
        self.hear_proxies()
        sure, again = self.entries.look(self._live(), self._ready)
        failed = self.engine.mend(sure)
        done = [one for name, one in sure.items() if name not in failed]
        for record, some in done:
            self._tell(record, record.interface, f"put back {len(some)}: {some[0].command}", came)
        announce_guests([record for record, _ in done], self.config)
        self.proxies, pause = bool(again), SHARE * (self.clock() - began)
        if again:
            self.first["proxy"], pause = came, max(BUSY, min(map(self._pause, again)))
        self.not_before[PROXIES] = self.clock() + pause

    def _announce(self) -> None:
        """Announce all guests behind devices that have a carrier again."""
        if not self.carriers or not self._ready(CARRIERS):
            return
        names, self.carriers = self.carriers, set()
        self.not_before[CARRIERS] = self.clock() + FULL_PAUSE
        # read while they are announced: the first does not wait for the records of all
        live, came = filter(is_live, self.engine.records), self.came(*KINDS[CARRIERS])
        if self.announcer.begin(names, live, self.links, self.config):
            self.acts["announced"] += 1
            on = shown(", ".join(sorted(names)))[1:-1]
            self._say(None, f"{on} has a carrier: announcing the NICs behind it", came)

    def _log_of(self, record: Record | None) -> Log:
        return self.log.about(record) if record else self.log

    def _say(self, record: Record | None, words: str, since: float) -> None:
        self._log_of(record).log(f"watch: {words}, after {(self.clock() - since) * 1e3:.0f} ms")

    def _tell(
        self, record: Record | None, key: str, words: str, since: float, longest: float = LONGEST
    ) -> None:
        """Log what was put back, and slow down if that happens again and again: to pauses of `longest`."""
        self._say(record, words, since)
        self.acts["restored"] += 1
        if self.pace.acted(key, longest):
            by = f"; the last nft transaction was by {self.actor}" if self.actor else ""
            words = f"{key} is changed again and again: it is put back with growing pauses{by}"
            self._log_of(record).log(f"watch: {words}")


class Heard(Told):
    """Remembers which NICs could not be repaired."""

    def __init__(self) -> None:
        self.failures: set[str] = set()

    def failed(self, interface: str, what: str) -> None:
        """What is at work on it, or refused it, will not be for ever."""
        self.failures.add(interface)


def _pause_after(failures: int) -> float:
    """Seconds until something is tried again that has failed so often: it must not spin."""
    return min(LONGEST, FULL_PAUSE * 2.0 ** min(failures - 1, 10))


def _is_work(found: Difference) -> bool:
    return bool(found.missing or found.orphans or found.outdated or found.rules or found.gone)
