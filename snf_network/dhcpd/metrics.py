"""Counters as Prometheus reads them (text format 0.0.4): totals, not a line for each guest."""

from __future__ import annotations

from collections.abc import Mapping

HELP = {
    "guests": "Bindings by state.",
    "frames_total": "Frames from guests, by what became of them.",
    "unserved_frames_total": "Frames from interfaces that have no binding.",
    "muted_total": "Times that an interface was muted for asking too much.",
    "lost_frames_total": "Frames that found no room in the socket.",
    "unsent_frames_total": "Replies that a tap would not take.",
    "advertisements_total": "Router advertisements that nobody asked for.",
    "errors_total": "Frames that met a defect of the daemon.",
    "start_time_seconds": "When the daemon started, since 1970.",
}


def text(figures: Mapping[str, object]) -> str:
    """The lines for what `stats` of the control socket gives: numbers, or numbers by a label."""
    lines = []
    for name, about in HELP.items():
        value = figures[name]
        lines += [
            f"# HELP nfdhcpd_{name} {about}",
            f"# TYPE nfdhcpd_{name} {'counter' if name.endswith('_total') else 'gauge'}",
        ]
        if isinstance(value, Mapping):
            label = "state" if name == "guests" else "result"
            lines += [f'nfdhcpd_{name}{{{label}="{key}"}} {count}' for key, count in sorted(value.items())]
        else:
            lines.append(f"nfdhcpd_{name} {value}")
    return "\n".join(lines) + "\n"
