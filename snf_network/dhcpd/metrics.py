"""The counters in Prometheus' text format 0.0.4: totals, without a line for each guest."""

from __future__ import annotations

from collections.abc import Mapping

HELP = {
    "guests": "Bindings by state.",
    "frames_total": "Frames from guests by result.",
    "unserved_frames_total": "Frames from interfaces without a binding.",
    "muted_total": "How often an interface was muted for asking too much.",
    "lost_frames_total": "Frames that found no room in the socket.",
    "unsent_frames_total": "Replies that a tap did not accept.",
    "advertisements_total": "Unsolicited router advertisements.",
    "errors_total": "Frames that met a defect of the daemon.",
    "start_time_seconds": "Start of the daemon in seconds since 1970.",
}


def text(figures: Mapping[str, object]) -> str:
    """The lines for the answer to `stats` of the control socket: numbers, or numbers by a label."""
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
