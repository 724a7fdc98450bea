"""Watch nft at work on the frames of one NIC: `meta nftrace` set in a table of its own, and what `nft monitor
trace` then tells.

The tracing ends by itself: the NIC is in a set whose member times out, whatever becomes of the process that
put it there.
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
"""Frames a second that are looked at, so that a guest which floods does not cost the node its CPU."""
HOOKS = {
    "bridge": (("prerouting", -310, "iifname"), ("forward", -210, "oifname")),
    "inet": (("prerouting", -460, "iifname"),),
    "arp": (("input", -20, "iifname"),),
}
"""Before ours in each: where frames from the NIC come in; in a bridge, where they go to it, too."""
LINE = re.compile(
    r"trace id (\w+) (\w+) (\S+) (\S+) (packet:|rule|policy|return)\s?(.*?)\s*(?:\(verdict (.*)\))?\s*$"
)
NOISE = re.compile(
    r" (ip6? (dscp|ecn|flowlabel) \S+|icmpv6 (code|parameter-problem) \S+|@\S+ \S+|[io]if \S+)"
)
"""What nft tells of a packet, and nobody asks for."""
COMMAND = ("setpriv", "--pdeathsig", "KILL", "nft", "monitor", "trace")
"""It ends with us, whatever ends us."""


@dataclass(frozen=True)
class Step:
    """One line of the trace: what a rule, or the end of a chain, did with a packet."""

    packet: str
    """The kernel's number of the packet."""
    family: str
    table: str
    chain: str
    kind: str
    """packet: (the headers are in `text`), rule, policy or return."""
    text: str
    verdict: str

    @property
    def drops(self) -> bool:
        """True if the packet ends here."""
        return self.verdict == "drop" or (self.kind == "policy" and self.text.startswith("drop"))


def parse(line: str) -> Step | None:
    """A line of `nft monitor trace`; None for any other."""
    found = LINE.match(line)
    return Step(*(word or "" for word in found.groups())) if found else None


def start(interface: str, seconds: int) -> str:
    """What nft has to be given for tracing the NIC so many seconds."""
    tables, limit = [], f"limit rate {RATE}/second burst {RATE} packets"
    for family, hooks in HOOKS.items():
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} priority {priority}; policy accept\n"
            f"{word} @traced {limit} meta nftrace set 1\n}}\n"
            for hook, priority, word in hooks
        )
        tables.append(
            f"table {family} {TABLE} {{\nset traced {{ type ifname; flags timeout; }}\n{chains}}}\n"
            f'add element {family} {TABLE} traced {{ "{interface}" timeout {seconds}s }}\n'
        )
    return stop() + "".join(tables)


def stop() -> str:
    """What nft has to be given to take the tables away, whether or not they are there."""
    return "".join(f"table {family} {TABLE} {{ }}\ndelete table {family} {TABLE}\n" for family in HOOKS)


class Monitor:
    """`nft monitor trace`, run by `prefix` where that is somewhere else."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        try:
            self.process = subprocess.Popen(
                (*prefix, *COMMAND), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
            )
        except OSError as error:
            raise KernelError(f"nft monitor trace: {error.strerror}", "apt install nftables") from error

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()

    def steps(self, seconds: float) -> Iterator[Step]:
        """What it tells within so many seconds. Raises KernelError if it ends by itself."""
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
    """The reason that one packet's drop is counted with; empty where it is none of ours."""
    for step in steps:
        found = re.search(r'update @drops \{ [io]if \. "([a-z0-9-]+)"', step.text)
        if found:
            return found.group(1)
    return ""


def headers(text: str) -> str:
    """A packet's headers as the trace has them, without what nobody asks for."""
    return NOISE.sub("", f" {text}").strip()
