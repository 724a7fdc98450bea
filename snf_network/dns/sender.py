"""Works off what is wanted: one process at a time, started by whoever has something to send and by a timer.

It can be killed at any time. What was to be sent is remembered before it is, and what a server has is asked
again before deciding, so doing it again does no harm. It always takes what is wanted at that moment: a newer
state has replaced the older one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from time import sleep, time

from dns.exception import DNSException

from snf_network.dns.memory import NEVER, Known, Memory, Trouble
from snf_network.dns.registrar import Outcome, work
from snf_network.dns.send import NoAnswer, Refused
from snf_network.dns.settings import Settings
from snf_network.dns.spool import Spool, Wanted
from snf_network.dns.targets import Goal, Job
from snf_network.host.lock import Held
from snf_network.model.config import Config

AT_ONCE = 1000
"""Instances in one pass."""
PATIENCE = 5.0
"""Seconds that a sender waits for what is not due yet; after that the timer sees to it."""
STEP = 0.5
"""Seconds between looks at the spool while waiting."""


class Sender:
    """The sender of one node."""

    def __init__(
        self,
        config: Config,
        settings: Settings,
        say: Callable[[str], None],
        clock: Callable[[], float] = time,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self.settings, self.say, self.clock, self.pause = settings, say, clock, pause
        self.spool, self.memory = Spool(config.state_dir, clock), Memory(config.state_dir)

    def run(self, patience: float = PATIENCE) -> None:
        """Work until nothing is due within `patience` seconds, unless another sender does. Raises
        KernelError.
        """
        while self.due() - self.clock() <= patience:
            try:
                with self.spool.at_work():
                    self._work(patience)
            except Held:
                return  # whoever has it looks once more after letting go

    def due(self) -> float:
        """When there is something to do next."""
        return min((job.known.due(job.wanted.serial, self.clock()) for job in self.jobs()), default=NEVER)

    def jobs(self) -> list[Job]:
        """All that is wanted, with what is known of it."""
        return [Job(wanted, self.memory.load(wanted.instance)) for wanted in self.spool]

    def flush(self) -> None:
        """Do now all that is pending, but not what is parked. Raises KernelError if another sender is at
        work.
        """
        with self.spool.at_work(wait=30.0):
            self._tidy()
            self._pass([job for job in self.jobs() if job.known.due(job.wanted.serial, self.clock()) < NEVER])

    def is_at_work(self) -> bool:
        """True if another sender is."""
        try:
            with self.spool.at_work():
                return False
        except Held:
            return True

    def retry(self, job: Job) -> None:
        """Make an instance's names due, also those that are parked."""
        self._save(job.wanted, replace(job.known, tried=""))

    def _work(self, patience: float) -> None:
        until = self.clock() + patience
        self._tidy()
        while True:
            now = self.clock()
            until = min(until, now + patience)  # the clock may have been put back
            jobs = [(job.known.due(job.wanted.serial, now), job) for job in self.jobs()]
            ready = [job for due, job in jobs if due <= now]
            for start in range(0, len(ready), AT_ONCE):
                self._pass(ready[start : start + AT_ONCE])
            if ready:
                until = max(until, self.clock() + patience)
            elif min((due for due, _ in jobs), default=NEVER) > until:
                return
            else:
                self.pause(STEP)

    def _tidy(self) -> None:
        """Drop what is known of instances that have left while something was sent for them."""
        for known in self.memory:
            with self.spool.lock():
                if not self.spool.has(known.instance):
                    self.memory.forget(known.instance)

    def _pass(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return

        def remember(outcome: Outcome) -> None:
            names = outcome.names()
            for job in jobs:
                instance = job.wanted.instance
                maybe = outcome.records(instance, names.get(instance, ()), before=True)
                self._save(job.wanted, replace(job.known, records=job.known.records | maybe))

        try:
            outcome = work(jobs, self.settings, self.taken(), remember)
        except (
            DNSException,
            ValueError,
        ) as error:  # nobody has thought of this one; the others shall not wait for it
            easier = _easier(jobs)
            for job in easier:
                self._pass([job])
            if easier:
                return
            outcome = _hopeless(jobs[0], f"{type(error).__name__}: {error}", self.settings)
        names = outcome.names()
        for job in jobs:
            self._settle(job, outcome, names.get(job.wanted.instance, ()))
        for change in outcome.changes:
            name = change.target.name.to_text(omit_final_dot=True)
            if name not in outcome.failed:
                self.say(f"{name}: {told(change.deletes, '-')}{told(change.adds, '+')}".rstrip())

    def _settle(self, job: Job, outcome: Outcome, names: Iterable[str]) -> None:
        """Remember how it went."""
        wanted, instance, now = job.wanted, job.wanted.instance, self.clock()
        known = Known(instance, wanted.serial, outcome.records(instance, names))
        for name in names:
            error = outcome.why(name, instance)
            if error:
                before = replace(known, troubles={**known.troubles, **_one(job.known, name)})
                known = before.failed(name, str(error), now, parked=not isinstance(error, NoAnswer))
                if known.troubles[name].reason != getattr(job.known.troubles.get(name), "reason", ""):
                    self.say(f"{name}: {known.troubles[name].state}: {error}")
        if not known.troubles:
            self._finish(wanted, known)
        else:
            self._save(wanted, known)

    def _finish(self, wanted: Wanted, known: Known) -> None:
        with self.spool.lock():
            if self.spool.load(wanted.instance) == wanted:
                if wanted.nics:
                    self.memory.save(known)
                else:
                    self.memory.forget(wanted.instance)
                self.spool.done(wanted)

    def _save(self, wanted: Wanted, known: Known) -> None:
        """Remember, unless something else is wanted by now, or the instance has left: then nothing is ours to
        remember.
        """
        with self.spool.lock():
            now = self.spool.load(wanted.instance)
            if now:
                self.memory.save(known if now.serial == wanted.serial else replace(known, tried=""))

    def taken(self) -> dict[str, str]:
        """Reverse names that several instances of this node want, each with the one it is: the one that has
        it, else the first.
        """
        wanting: dict[str, list[Wanted]] = {}
        for wanted in self.spool:
            for address in {address for names in wanted.nics for address in names.addresses}:
                wanting.setdefault(self.settings.pointer(address), []).append(wanted)
        return {name: self._first(name, group) for name, group in wanting.items() if len(group) > 1}

    def _first(self, name: str, group: Iterable[Wanted]) -> str:
        has = {
            wanted.instance
            for wanted in group
            if any(record[0] == name for record in self.memory.load(wanted.instance).records)
        }
        return min(group, key=lambda wanted: (wanted.instance not in has, wanted.since)).instance


def _easier(jobs: Sequence[Job]) -> list[Job]:
    """What to try one by one instead: each for itself, then without its memory, which may be what nobody
    could have sent.
    """
    if len(jobs) > 1:
        return list(jobs)
    return [Job(job.wanted, Known(job.wanted.instance)) for job in jobs if job.known.records]


def _hopeless(job: Job, reason: str, settings: Settings) -> Outcome:
    """What is said of an instance whose names no message can have."""
    name, instance = settings.name(job.wanted.instance, ""), job.wanted.instance
    return Outcome(
        {name: Goal({instance: None})},
        {name: Refused(reason, "this is a defect of snf-network, please report it")},
    )


def _one(known: Known, name: str) -> dict[str, Trouble]:
    return {name: known.troubles[name]} if name in known.troubles else {}


def told(records: Iterable[object], sign: str) -> str:
    """Records in a line of the log."""
    return "".join(f"{sign}{record} " for record in sorted(map(str, records)))
