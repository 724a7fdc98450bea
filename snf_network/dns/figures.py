"""How many instances have names that are not in DNS yet, from the spool alone: without dnspython, YAML or a
name server.
"""

from __future__ import annotations

import time

from snf_network.dns.registry import Registered, Registry
from snf_network.dns.spool import Desired, Spool
from snf_network.lean import dataclass

STATES = ("registered", "pending", "waiting", "parked", "unreadable")


@dataclass(frozen=True)
class Figures:
    """The names of a node, by instance."""

    states: dict[str, int]
    """Instances by state; every state is there. An instance has the worst state of its names."""
    oldest: float
    """Seconds since the oldest request, or failure, that is still open."""


def figures(state_dir: str) -> Figures:
    """Read the spool and what is registered."""
    spool, registry = Spool(state_dir), Registry(state_dir)
    states, oldest, now = dict.fromkeys(STATES, 0), 0.0, time.time()
    for desired in spool:
        state, since = _state(desired, registry.load(desired.instance))
        states[state] += 1
        oldest = max(oldest, now - since) if state != "registered" else oldest
    states["unreadable"] = len(spool.unreadable())
    return Figures(states, round(oldest, 1))


def _state(desired: Desired, known: Registered) -> tuple[str, float]:
    """The state of an instance and the time since which it has it; as `snf-network dns list` tells it."""
    if known.tried != desired.serial:
        return "pending", desired.since
    since = min((trouble.since for trouble in known.troubles.values()), default=desired.since)
    states = {trouble.state for trouble in known.troubles.values()}
    return next((state for state in ("parked", "waiting") if state in states), "registered"), since
