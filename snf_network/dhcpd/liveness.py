"""Whether a daemon answers the guests that rely on it, checked from outside."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from glob import glob

from snf_network.dhcpd.control import PATH
from snf_network.dhcpd.control_client import Connection
from snf_network.errors import SnfNetworkError

SECONDS = 2.0
"""Time limit for the daemon's answer."""
QUEUES = "/proc/net/netfilter/nfnetlink_queue"
"""Has a line for each NFQUEUE number that a process uses."""
UNITS = "/etc/systemd/system/*.wants/nfdhcpd.service"
"""Exists if systemd should start the daemon."""
DEAD = "nfdhcpd does not run, or does not answer: systemctl status nfdhcpd"
OTHER_ENGINE = "nfdhcpd runs with --engine nfqueue, but NFDHCPD_ENGINE is packet"
UNKNOWN = "nfdhcpd has no binding for it: is datapath in nfdhcpd.conf NFDHCPD_STATE_DIR?"
REFUSED = "nfdhcpd refuses its binding: nfdhcpctl lint"


def unanswered(relying: Mapping[str, str], path: str = PATH) -> dict[str, str]:
    """The interfaces that get no answers, each with the reason. `relying` has the engine that each relies on.

    Empty if the caller may not query the daemon, and on a node where none is expected: it has not run since
    the boot, and systemd does not start it.
    """
    if not relying:
        return {}
    try:
        answer = Connection(path, SECONDS).ask(command="list")
        states = {guest["interface"]: guest["state"] for guest in answer["guests"]}
        engine = answer["engine"]
    except (SnfNetworkError, ValueError, LookupError, TypeError) as error:
        if isinstance(error.__cause__, PermissionError) or not is_expected(path):
            return {}
        return {name: DEAD for name, wanted in relying.items() if wanted != "nfqueue" or not _queues()}
    return dict(_silent(relying, states, engine))


def is_expected(path: str = PATH) -> bool:
    """True if a daemon has run since the boot, or systemd should start one."""
    return os.path.exists(path) or bool(glob(UNITS))


def _silent(relying: Mapping[str, str], states: Mapping[str, str], engine: str) -> Iterable[tuple[str, str]]:
    for name, wanted in relying.items():
        if wanted == "packet" and engine != "packet":
            yield name, OTHER_ENGINE
        elif name not in states:
            yield name, UNKNOWN
        elif states[name] == "refused":
            yield name, REFUSED


def _queues() -> bool:
    """True if any process has a queue: the old nfdhcpd has no control socket to query."""
    try:
        with open(QUEUES, encoding="ascii") as file:
            return bool(file.read(1))
    except OSError:
        return False
