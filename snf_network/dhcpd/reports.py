"""What the daemon answers on its control socket: requests are objects with a `command`, answers are objects
too, `error` in a bad one's.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping

from snf_network import __version__
from snf_network.dhcpd import frames
from snf_network.dhcpd.guests import Served
from snf_network.dhcpd.serve import Server

Object = dict[str, object]


def answer(server: Server, request: Mapping[str, object]) -> Object:
    """The answer to one request."""
    command = COMMANDS.get(str(request.get("command")))
    if not command:
        return {"error": f"no such command; there are {', '.join(COMMANDS)}"}
    return command(server, str(request.get("interface", "")))


def listed(server: Server, _: str) -> Object:
    """A row for each binding."""
    return {"guests": [_row(served) for _, served in sorted(server.guests.by_name.items())]}


def _row(served: Served) -> Object:
    bound, counts = served.binding, served.counts
    return {
        "interface": served.name,
        "state": served.state,
        "hostname": bound.hostname if bound else "",
        "ip": bound.ip if bound else "",
        "ip6": bound.ip6 if bound else "",
        "mac": bound.mac if bound else "",
        "answered": sum(counts[word] for word in frames.REPLIES),
        "dropped": sum(counts[word] for word in (*frames.DROPS, "muted")),
        "idle": round(time.monotonic() - served.heard) if served.heard else None,
    }


def shown(server: Server, interface: str) -> Object:
    """All that is known of one binding."""
    served = server.guests.by_name.get(interface)
    if not served:
        return {"error": f"there is no binding for {interface!r}"}
    if served.state == "served":
        server.guests.guest(served)
    bound = (
        {name: getattr(served.binding, name) for name in served.binding.__slots__} if served.binding else {}
    )
    link = served.link
    return {
        **_row(served),
        "binding": bound,
        "counts": dict(served.counts),
        "problems": [text for text in (served.problem, *served.warnings, served.odd) if text],
        "ifindex": link.index if link else 0,
        "tap_mac": link.mac.hex(":") if link else "",
        "running": bool(link and link.running),
    }


def figures(server: Server, _: str = "") -> Object:
    """Counters since the start."""
    states = Counter(served.state for served in server.guests.by_name.values())
    results = server.results.copy()
    for served in server.guests.by_name.values():
        results.update(served.counts)
    server.totals["lost"] += server.engine.lost()
    totals = {f"{name}_total": server.totals[key] for name, key in TOTALS.items()}
    return {
        "version": __version__,
        "engine": server.engine.name,
        "pid": os.getpid(),
        "start_time_seconds": round(server.started, 3),
        "guests": {state: states[state] for state in ("served", "pending", "refused")},
        "frames_total": {word: results[word] for word in (*frames.WORDS, "muted") if results[word]},
        **totals,
    }


TOTALS = {
    "unserved_frames": "unserved",
    "muted": "muted",
    "lost_frames": "lost",
    "unsent_frames": "unsent",
    "advertisements": "advertisements",
    "errors": "errors",
}


def lint(server: Server, _: str) -> Object:
    """All that an operator should look at."""
    return {
        "problems": [
            {"interface": name, "severity": severity, "message": text}
            for name, severity, text in server.guests.problems()
        ]
    }


def capture(server: Server, interface: str) -> Object:
    """After this answer, frames follow as a capture file."""
    return (
        {"capturing": interface}
        if interface in server.guests.by_name
        else {"error": f"there is no binding for {interface!r}"}
    )


COMMANDS: dict[str, Callable[[Server, str], Object]] = {
    "list": listed,
    "show": shown,
    "stats": figures,
    "lint": lint,
    "capture": capture,
}
