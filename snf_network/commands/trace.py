"""Show dropped frames of one NIC, live, with the reason or the rule: also those that a firewall profile or a
foreign table drops.

Tracing stops after the given time, even if this command is killed. At most 2000 frames per second are traced.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from snf_network.errors import BadEnvironment, KernelError
from snf_network.host import kernel
from snf_network.model.config import Config
from snf_network.observe import trace
from snf_network.rules.reasons import REASONS

SUMMARY = "show the dropped frames of a NIC, live"
LONGEST = 3600


def arguments(parser: argparse.ArgumentParser) -> None:
    """The NIC, the duration, and output options."""
    parser.add_argument("interface", metavar="IFACE", help="the tap or vif")
    parser.add_argument(
        "--seconds", type=int, default=30, metavar="N", help=f"duration in s, at most {LONGEST} (default 30)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: one object per line")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print each drop as it happens."""
    if not kernel.ifindex(options.interface):
        raise BadEnvironment(
            f"{options.interface}: no such device", "snf-network status lists those there are"
        )
    if not 0 < options.seconds <= LONGEST:
        raise BadEnvironment(f"--seconds {options.seconds} is not from 1 to {LONGEST}")
    kernel.give_up_after(options.seconds + 30)
    monitor = trace.Monitor()
    try:
        said = kernel.nft([trace.start(options.interface, options.seconds)])
        if said:
            raise KernelError(f"nft: {said.splitlines()[0]}", "no tracing on this kernel?")
        if not options.json:
            sys.stderr.write(f"looking at {options.interface} for {options.seconds} s ...\n")
        _follow(monitor, options)
    except KeyboardInterrupt:
        pass
    finally:
        monitor.close()
        kernel.nft([trace.stop()])
    return 0


def _follow(monitor: trace.Monitor, options: argparse.Namespace) -> None:
    """Collect the steps of each packet until it drops; the kernel interleaves packets of several CPUs."""
    known: dict[str, list[trace.Step]] = {}
    for step in monitor.steps(options.seconds):
        steps = known.setdefault(step.packet, [])
        steps.append(step)
        if step.drops:
            _print(known.pop(step.packet), options.json)
        elif len(known) > 1000:
            known.pop(next(iter(known)))


def _print(steps: list[trace.Step], machine: bool) -> None:
    last, why = steps[-1], trace.reason(steps)
    packet = next((trace.headers(step.text) for step in steps if step.kind == "packet:"), "")
    rule = f"{last.family} {last.table} {last.chain}: {last.text or last.kind}"
    facts = {
        "time": time.strftime("%H:%M:%S"),
        "reason": why,
        "meaning": REASONS.get(why, ""),
        "rule": rule,
        "packet": packet,
    }
    sys.stdout.write(json.dumps(facts) + "\n" if machine else f"{facts['time']}  {why or rule}  {packet}\n")
    sys.stdout.flush()
