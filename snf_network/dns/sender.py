"""Bring the zones to the state in the spool: one process at a time, started by scripts, by hooks and by a
timer.

It may be killed at any time. Changes are recorded before they are sent, and the server is queried before each
decision, so repeating them does no harm. It always uses the current desired state: a newer one has replaced
the older one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from time import sleep, time

import dns.name
from dns.exception import DNSException

from snf_network.dns import here
from snf_network.dns.changes import Change
from snf_network.dns.endpoints import Claim, Job
from snf_network.dns.plan import Failures, Pass, prepare
from snf_network.dns.provider import Provider
from snf_network.dns.registry import NEVER, Registered, Registry
from snf_network.dns.send import NoAnswer, Refused
from snf_network.dns.settings import Settings
from snf_network.dns.spool import Desired, Spool
from snf_network.host.lock import Held, Lock
from snf_network.model.config import Config
from snf_network.model.names import Names

AT_ONCE = 1000
"""Maximum number of instances in one pass."""
PATIENCE = 5.0
"""Seconds that a sender waits for names that are not due yet; later ones are left to the timer."""
SOON = 60.0
"""Seconds after which a NIC that was brought up, but not sent yet, may be gone."""
DAY = 86400.0
"""Seconds during which to check whether a NIC has not come up with the others of its instance."""
Running = Mapping[str, Collection[str]]
"""The NICs that are up on this node, by instance."""
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
        booted: float | None = None,
        running: Callable[[], Running] | None = None,
    ) -> None:
        self.settings, self.say, self.clock, self.pause = settings, say, clock, pause
        self.running = running or (lambda: here.running(config.state_dir))
        self.booted = here.booted() if booted is None else booted
        self.silent = False
        self.spool, self.registry = Spool(config.state_dir, clock), Registry(config.state_dir)

    def run(self, patience: float = PATIENCE) -> None:
        """Work until nothing is due within `patience` seconds; returns if another sender works. Raises
        KernelError.
        """
        looked = self.due() == NEVER and not self.registry.zones()  # DNS was never used
        while not looked or self.due() - self.clock() <= patience:
            try:
                with self.spool.at_work() as lock:
                    self._sign(lock)
                    self._work(patience)
                    looked = not self._recall()
            except Held:
                if not self._end_stopped():
                    return  # the other sender checks again after it has released the lock

    def _sign(self, lock: Lock) -> None:
        """Write our process ID into the lock file."""
        os.pwrite(lock.descriptor, f"{os.getpid():<10}\n".encode(), 0)

    def _end_stopped(self) -> bool:
        """Kill a stopped sender, which is safe at any time; True if there was one."""
        process = self.spool.sender()
        if not process or not here.is_stopped(process):
            return False
        self.say(f"the sender that was at work, process {process}, was stopped: it is ended")
        here.end(process)
        with self.spool.at_work(wait=5.0):
            return True

    def _recall(self) -> bool:
        """Check for zones whose serial has gone back, and make all their names due. True if there is one."""
        jobs = [] if self.silent else self.jobs()
        names = [{f".{name}." for name, _, _ in job.registered.records} for job in jobs]
        every = set[str]().union(*names)
        known = {
            zone: serial
            for zone, serial in self.registry.zones().items()
            if any(name.endswith(f".{zone}") for name in every)
        }
        serials = Provider(self.settings).serials(map(dns.name.from_text, known)) if known else {}
        now = {zone.to_text(): serial for zone, serial in serials.items()}
        older = [zone for zone in known if is_older(now.get(zone, known[zone]), known[zone])]
        for zone in older:
            self.say(
                f"{zone}: serial {now[zone]} after {known[zone]}, so it is an older zone: all is looked at"
            )
        for job, own in zip(jobs, names):
            if any(name.endswith(f".{zone}") for name in own for zone in older):
                self.retry(job)
        self._remember(serials)
        return bool(older)

    def _remember(self, serials: Mapping[dns.name.Name, int]) -> None:
        known = self.registry.zones()
        now = {**known, **{zone.to_text(): serial for zone, serial in serials.items()}}
        if now != known:
            with self.spool.lock():
                self.registry.save_zones(now)

    def due(self) -> float:
        """When the next job is due."""
        return min(map(self._due, self.jobs()), default=NEVER)

    def jobs(self) -> list[Job]:
        """All desired states, each with its registered records."""
        now = self.clock()
        return [Job(desired, self.registry.load(desired.instance), now) for desired in self.spool]

    def pending(self) -> list[Job]:
        """The jobs that are not done and not parked."""
        return [job for job in self.jobs() if self._due(job) < NEVER]

    def plan(self, jobs: Sequence[Job]) -> Pass:
        """The required changes for these instances; nothing is sent."""
        return prepare(jobs, self.settings, self._taken())

    def flush(self, instances: Iterable[str] | None = None) -> None:
        """Send everything pending now, or only for some instances. Raises KernelError if another sender is at
        work.
        """
        chosen = None if instances is None else set(instances)
        self._end_stopped()
        with self.spool.at_work(wait=30.0) as lock:
            self._sign(lock)
            self._tidy()
            self._pass([job for job in self.pending() if chosen is None or job.desired.instance in chosen])

    def sync(self, here: Iterable[Names], instances: Collection[str] | None = None) -> None:
        """Note the names of all NICs in `here` again, so that all of them are checked. `instances`: those
        that run here; the names of all others are removed. Raises KernelError.
        """
        for names in here:
            self.spool.up(names)
        for desired in list(self.spool) if instances is not None else ():
            if desired.instance not in (instances or ()):
                self.spool.have(desired.instance, ())

    def why_pending(self) -> str:
        """Why something has not been tried yet, in words."""
        process = self.spool.sender()
        if here.is_stopped(process):
            return f"the sender, process {process}, is stopped: snf-network dns flush ends it"
        if process:
            return f"the sender, process {process}, is at work"
        return "no sender is at work: snf-network-dns.timer or snf-network dns flush starts one"

    def is_at_work(self) -> bool:
        """True if another sender is at work."""
        try:
            with self.spool.at_work():
                return False
        except Held:
            return True

    def retry(self, job: Job) -> None:
        """Make an instance's names due, including parked ones."""
        self._save(job.desired, replace(job.registered, tried=""))

    def _due(self, job: Job) -> float:
        return job.registered.due(job.desired.serial, self.clock())

    def _work(self, patience: float) -> None:
        until = self.clock() + patience
        self._tidy()
        while True:
            self._lose_gone()
            now = self.clock()
            until = min(until, now + patience)  # the clock may have been set back
            jobs = [(job.registered.due(job.desired.serial, now), job) for job in self.jobs()]
            ready = [job for due, job in jobs if due <= now]
            for start in range(0, len(ready), AT_ONCE):
                self._pass(ready[start : start + AT_ONCE])
            if ready:
                until = max(until, self.clock() + patience)
            elif min((due for due, _ in jobs), default=NEVER) > until:
                return
            else:
                self.pause(STEP)

    def _lose_gone(self) -> None:
        """Register nothing for NICs that have gone without a script or hook reporting it.

        Unsent names are dropped if the instance does not run here: it may be on another node, with other
        names. If it runs, a NIC that has not come up with the others no longer belongs to it.
        """
        now = self.clock()
        jobs = [job for job in self.jobs() if job.desired.nics]
        late = [job.desired.instance for job in jobs if self._due(job) < NEVER and self._is_late(job)]
        recent = [job.desired for job in jobs if SOON < now - job.desired.since < DAY]
        running = self.running() if late or recent else {}
        for instance in late:
            if instance not in running:
                self.say(f"{instance} does not run here any more: what was not sent is not registered")
                self.spool.leave(instance)
        for desired in recent:
            if desired.instance in running:
                self._unplug(desired, running[desired.instance])
            elif desired.instance not in late and not desired.hook:
                self.spool.lose(desired.instance)

    def _unplug(self, desired: Desired, running: Collection[str]) -> None:
        for names in desired.nics:
            if names.nic not in running:
                self.say(
                    f"{desired.instance}: NIC {names.nic} is not here any more: its names are taken back"
                )
                self.spool.down(desired.instance, names.nic)

    def _is_late(self, job: Job) -> bool:
        """True if a NIC's request may be outdated: one that a script made when the NIC came up. A hook's
        request, which comes from Ganeti's configuration, is outdated only after a reboot.
        """
        desired = job.desired
        tried = job.registered.tried == desired.serial or desired.since < self.clock() - SOON
        return desired.since < self.booted or (tried and not desired.hook)

    def _tidy(self) -> None:
        """Delete registered records of instances that left while something was being sent for them."""
        for registered in self.registry:
            with self.spool.lock():
                if not self.spool.has(registered.instance):
                    self.registry.forget(registered.instance)

    def _pass(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        try:
            self._send(jobs)
        except (DNSException, ValueError) as error:  # unforeseen; the other instances should not wait for it
            easier = _easier(jobs)
            for job in easier:
                self._pass([job])
            if not easier:
                self._give_up(jobs[0], f"{type(error).__name__}: {error}")

    def _send(self, jobs: Sequence[Job]) -> None:
        planned = self.plan(jobs)
        self.silent = bool(planned.provider.silent)
        claims = planned.by_instance()
        for job in jobs:
            instance = job.desired.instance
            maybe = planned.registered(
                instance, claims.get(instance, {}), dict.fromkeys(claims.get(instance, ()), _UNSENT)
            )
            self._save(job.desired, replace(job.registered, records=job.registered.records | maybe))
        failures = planned.commit()
        for job in jobs:
            self._settle(job, planned, claims.get(job.desired.instance, {}), failures)
        for change in planned.made(failures):
            self.say(f"{change.endpoint.name.to_text(omit_final_dot=True)}: {told(change)}")
        zones = {place.zone for place in planned.provider.places.values()}
        self._remember(planned.provider.serials(zones))

    def _settle(self, job: Job, planned: Pass, claims: Mapping[str, Claim], failures: Failures) -> None:
        """Record the result."""
        desired, instance = job.desired, job.desired.instance
        records = planned.registered(instance, claims, failures)
        known = Registered(instance, desired.serial, records)
        for name in claims:
            error = planned.why(name, instance, failures)
            if error:
                known = self._failed(known, job.registered, name, error)
        self._keep(desired, known)

    def _failed(self, known: Registered, before: Registered, name: str, error: Exception) -> Registered:
        """`known` with one more failure of a name; a new reason is logged."""
        old = before.troubles.get(name)
        counted = replace(known, troubles={**known.troubles, **({name: old} if old else {})})
        parked = not isinstance(error, NoAnswer)
        failed = counted.failed(name, str(error), self.clock(), parked)
        if failed.troubles[name].reason != (old.reason if old else ""):
            self.say(f"{name}: {failed.troubles[name].state}: {error}")
        return failed

    def _give_up(self, job: Job, reason: str) -> None:
        """Park an instance whose names do not fit into a message."""
        instance = job.desired.instance
        error = Refused(reason, "this is a defect of snf-network, please report it")
        known = Registered(instance, job.desired.serial)
        self._keep(job.desired, self._failed(known, job.registered, self.settings.name(instance, ""), error))

    def _keep(self, desired: Desired, known: Registered) -> None:
        if known.troubles:
            self._save(desired, known)
        else:
            self._finish(desired, known)

    def _finish(self, desired: Desired, known: Registered) -> None:
        with self.spool.lock():
            if self.spool.load(desired.instance) == desired:
                if desired.stays:
                    self.registry.save(known)
                else:
                    self.registry.forget(desired.instance)
                self.spool.done(desired)

    def _save(self, desired: Desired, known: Registered) -> None:
        """Save `known`. If the desired state has changed meanwhile, it stays due; if the instance has left,
        nothing is saved.
        """
        with self.spool.lock():
            now = self.spool.load(desired.instance)
            if now:
                self.registry.save(known if now.serial == desired.serial else replace(known, tried=""))

    def _taken(self) -> dict[str, str]:
        """Reverse names that several instances of this node want, each with the instance that gets it: among
        those that run here, the one that has it, else the first.
        """
        wanting: dict[str, list[Desired]] = {}
        for desired in self.spool:
            for address in {address for names in desired.nics for address in names.addresses}:
                wanting.setdefault(self.settings.pointer(address), []).append(desired)
        contested = {name: group for name, group in wanting.items() if len(group) > 1}
        running = self.running() if contested else {}
        return {
            name: self._first(name, [one for one in group if one.instance in running] or group)
            for name, group in contested.items()
        }

    def _first(self, name: str, group: Iterable[Desired]) -> str:
        has = {
            desired.instance
            for desired in group
            if any(record[0] == name for record in self.registry.load(desired.instance).records)
        }
        return min(group, key=lambda desired: (desired.instance not in has, desired.since)).instance


_UNSENT = NoAnswer("not sent yet")


def _easier(jobs: Sequence[Job]) -> list[Job]:
    """Easier jobs to try instead: each instance alone, then without its registered records, which may not fit
    into a message.
    """
    if len(jobs) > 1:
        return list(jobs)
    return [
        replace(job, registered=Registered(job.desired.instance)) for job in jobs if job.registered.records
    ]


def told(change: Change) -> str:
    """A change as words for the log, without marks."""
    mark = change.endpoint.mark
    words = [
        f"{sign}{record}"
        for sign, records in (("-", change.deletes), ("+", change.adds))
        for record in sorted(map(str, (one for one in records if not mark or one.rdtype != mark.rdtype)))
    ]
    return " ".join(words) or "registered by this node now"


def is_older(serial: int, last: int) -> bool:
    """True if one SOA serial comes before another (RFC 1982)."""
    return 0 < (last - serial) % 2**32 < 2**31
