"""Trace the frames of one NIC through nft: a separate table sets `meta nftrace`, and `nft monitor trace`
reports.

Tracing ends by itself, even if the process that started it dies: the NIC's member in the traced set times
out.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from select import poll

from snf_network.errors import KernelError
from snf_network.host.kernel import ENVIRONMENT

TABLE = "snf_trace"
RATE = 2000
"""Maximum number of traced frames per second, so that a flooding guest does not cost the node its CPU."""
HOOKS = {
    "bridge": (("prerouting", -310, "iifname"), ("forward", -210, "oifname")),
    "inet": (("prerouting", -460, "iifname"),),
    "arp": (("input", -20, "iifname"),),
    "netdev": (("ingress", -10, "iifname"), ("egress", -20, "oifname")),
}
"""Before ours in each: where frames from the NIC come in; in a bridge and at the device also where they go to
it.
"""
LINE = re.compile(
    r"trace id (\w+) (\w+) (\S+) (\S+) (packet:|rule|policy|return)\s?(.*?)\s*(?:\(verdict (.*)\))?\s*$"
)
NOISE = re.compile(
    r" (ip6? (dscp|ecn|flowlabel) \S+|icmpv6 (code|parameter-problem) \S+|@\S+ \S+|[io]if \S+)"
)
"""Parts of nft's output that nobody needs."""
COMMAND = ("setpriv", "--pdeathsig", "KILL", "nft", "monitor", "trace")
"""`nft monitor trace`, killed when this process ends, however it ends."""


@dataclass(frozen=True)
class Step:
    """One line of the trace: what a rule, or the end of a chain, did with a packet."""

    packet: str
    """The kernel's ID of the packet."""
    family: str
    table: str
    chain: str
    kind: str
    """packet: (the headers are in `text`), rule, policy or return."""
    text: str
    verdict: str

    @property
    def drops(self) -> bool:
        """True if the packet is dropped here."""
        return self.verdict == "drop" or (self.kind == "policy" and self.text.startswith("drop"))


def parse(line: str) -> Step | None:
    """Parse a line of `nft monitor trace`; None for any other line."""
    found = LINE.match(line)
    return Step(*(word or "" for word in found.groups())) if found else None


def start(interface: str, seconds: int) -> str:
    """Input for nft that traces the NIC for `seconds`."""
    tables, limit = [], f"limit rate {RATE}/second burst {RATE} packets"
    for family, hooks in HOOKS.items():
        device = f'device "{interface}" ' if family == "netdev" else ""
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} {device}priority {priority}; policy accept\n"
            f"{word} @traced {limit} meta nftrace set 1\n}}\n"
            for hook, priority, word in hooks
        )
        tables.append(
            f"table {family} {TABLE} {{\nset traced {{ type ifname; flags timeout; }}\n{chains}}}\n"
            f'add element {family} {TABLE} traced {{ "{interface}" timeout {seconds}s }}\n'
        )
    return stop() + "".join(tables)


def stop() -> str:
    """Input for nft that removes the tables, whether or not they exist."""
    return "".join(f"table {family} {TABLE} {{ }}\ndelete table {family} {TABLE}\n" for family in HOOKS)


class Monitor:
    """A running `nft monitor trace`; `prefix` is a command to run it elsewhere, such as in a namespace."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        try:
            self.process = subprocess.Popen(
                (*prefix, *COMMAND), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
            )
        except OSError as error:
            raise KernelError(f"nft monitor trace: {error.strerror}", "apt install nftables") from error

    def close(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()

    def steps(self, seconds: float) -> Iterator[Step]:
        """The steps traced within `seconds`. Raises KernelError if nft ends by itself."""
        out, rest, end = self.process.stdout, b"", time.monotonic() + seconds
        assert out
        waiting = poll()
        waiting.register(out)
        while (left := end - time.monotonic()) > 0 and waiting.poll(left * 1000):
            read = out.read1(1 << 16)  # type: ignore[attr-defined]
            if not read:
                raise KernelError(
                    "nft monitor trace has ended by itself", "does this kernel have nf_tables tracing?"
                )
            *lines, rest = (rest + read).split(b"\n")
            yield from filter(None, (parse(line.decode("utf-8", "replace")) for line in lines))


def reason(steps: Iterable[Step]) -> str:
    """The reason counted for a packet's drop; empty if the drop is not ours."""
    for step in steps:
        found = re.search(r'update @drops \{ [io]if \. "([a-z0-9-]+)"', step.text)
        if found:
            return found.group(1)
    return ""


def headers(text: str) -> str:
    """A packet's headers from the trace, without the parts that nobody needs."""
    return NOISE.sub("", f" {text}").strip()
