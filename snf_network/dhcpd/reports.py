"""The daemon's answers on its control socket. A request is an object with a `command`; an answer is an
object, with `error` if the request was bad.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping

from snf_network import __version__
from snf_network.dhcpd import answers, relay
from snf_network.dhcpd.guests import Served
from snf_network.dhcpd.responder import Responder

Object = dict[str, object]


def answer(responder: Responder, request: Mapping[str, object]) -> Object:
    """The answer to one request."""
    command = COMMANDS.get(str(request.get("command")))
    if not command:
        return {"error": f"no such command; the commands are {', '.join(COMMANDS)}"}
    return command(responder, str(request.get("interface", "")))


def listed(responder: Responder, _: str) -> Object:
    """The engine, and a row for each binding."""
    return {
        "engine": responder.engine.name,
        "guests": [_row(served) for _, served in sorted(responder.guests.by_name.items())],
    }


def _row(served: Served) -> Object:
    bound, counts = served.binding, served.counts
    return {
        "interface": served.name,
        "state": served.state,
        "hostname": bound.hostname if bound else "",
        "ip": bound.ip if bound else "",
        "ip6": bound.ip6 if bound else "",
        "mac": bound.mac if bound else "",
        "answered": sum(counts[word] for word in (*answers.REPLIES, "returned")),
        "dropped": sum(counts[word] for word in (*answers.DROPS, "muted")),
        "idle": round(time.monotonic() - served.heard) if served.heard else None,
    }


def shown(responder: Responder, interface: str) -> Object:
    """Everything that is known about one binding."""
    served = responder.guests.by_name.get(interface)
    if not served:
        return {"error": f"there is no binding for {interface!r}"}
    if served.state == "served":
        responder.guests.answerer(served)
    bound = (
        {name: getattr(served.binding, name) for name in served.binding.__slots__} if served.binding else {}
    )
    link = served.link
    return {
        **_row(served),
        "binding": bound,
        "dhcp_yaml": [
            {"key": one.key, "value": one.text, "where": one.where, "line": one.line}
            for one in (responder.guests.defaults.added(served.binding).values() if served.binding else ())
        ],
        "counts": dict(served.counts),
        "problems": [text for text in (served.problem, *served.warnings, served.odd) if text],
        "ifindex": link.index if link else 0,
        "tap_mac": link.mac.hex(":") if link else "",
        "tap_mtu": link.mtu if link else 0,
        "running": bool(link and link.running),
    }


def figures(responder: Responder, _: str = "") -> Object:
    """The counters since the start."""
    states = Counter(served.state for served in responder.guests.by_name.values())
    results = responder.results.copy()
    for served in responder.guests.by_name.values():
        results.update(served.counts)
    responder.totals["lost"] += responder.engine.lost()
    totals = {f"{name}_total": responder.totals[key] for name, key in TOTALS.items()}
    return {
        "version": __version__,
        "engine": responder.engine.name,
        "pid": os.getpid(),
        "start_time_seconds": round(responder.started, 3),
        "guests": {state: states[state] for state in ("served", "pending", "refused")},
        "frames_total": {
            word: results[word] for word in (*answers.WORDS, *relay.WORDS, "muted") if results[word]
        },
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


def lint(responder: Responder, _: str) -> Object:
    """Everything that an operator should look at."""
    return {
        "problems": [
            {"interface": name, "severity": severity, "message": text}
            for name, severity, text in (
                *(("dhcp.yaml", "error", text) for text in responder.source.problems),
                *responder.guests.problems(),
            )
        ]
    }


def capture(responder: Responder, interface: str) -> Object:
    """Accept a capture: frames follow this answer as a capture file."""
    return (
        {"capturing": interface}
        if interface in responder.guests.by_name
        else {"error": f"there is no binding for {interface!r}"}
    )


COMMANDS: dict[str, Callable[[Responder, str], Object]] = {
    "list": listed,
    "show": shown,
    "stats": figures,
    "lint": lint,
    "capture": capture,
}
