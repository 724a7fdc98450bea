"""What the rules do with one frame: it is sent, in a namespace with the rules of this node and the members of
one NIC, and traced.

So the answer comes from the kernel itself. The node is only read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from snf_network.errors import KernelError
from snf_network.observe import trace
from snf_network.selftest import frames
from snf_network.selftest.world import Machine, send, settle

TRIES, SECONDS = 20, 0.2
"""How often to send a probe until the trace reports one, and then how long to wait for the frame's own trace.
"""
PROBE = "02:00:00:00:00:99"
"""Source MAC of the probe."""
SET = re.compile(r"@(?!nh|th|ll)([a-z0-9_]+)")


@dataclass(frozen=True)
class Answer:
    """What happens to a frame from the NIC."""

    verdict: str
    """drop, accept, or ignored: no rule has seen it."""
    reason: str
    rule: str
    """Family, table, chain and text of the rule that decides."""
    asked: tuple[str, ...]
    """The sets that this rule, or earlier ones in its chain, look up."""
    path: tuple[str, ...]
    """All rules that the frame matched."""


def explain(
    interface: str, bridge: str, mac: str, rules: str, members: Sequence[str], frame: bytes
) -> Answer:
    """Send `frame` from a NIC with these `members` and chains, as lines for nft; it is a port of `bridge`,
    which may be that of Open vSwitch, or routed with a tap of MAC address `mac`.

    Raises KernelError if no namespace can be made.
    """
    with ExitStack() as stack:
        node = stack.enter_context(closing(Machine("explain")))
        for key in ("all", "default"):
            node.sysctl(f"net/ipv6/conf/{key}/router_solicitations", "0")
        node.ip(
            f"link add {interface} type veth peer name guest0",
            f"link set {interface} address {mac} up",
            "link set guest0 arp off up",
        )
        if bridge:
            node.ip(
                f"link add {bridge} type bridge forward_delay 0 mcast_snooping 0 no_linklocal_learn 1",
                f"link set {bridge} up",
                f"link set {interface} master {bridge}",
            )
            settle(node)
        node.load(rules + "".join(f"{line}\n" for line in members))
        monitor = stack.enter_context(closing(trace.Monitor(node.enter)))
        node.load(trace.start(interface, 60))
        _listening(node, monitor, mac)
        send(node, "guest0", frame)
        steps = _seen(monitor, frame)
        return _answer(node, [step for step in steps if step.table == "snf_network"])


def _listening(node: Machine, monitor: trace.Monitor, mac: str) -> None:
    """Send probes, which every rule sees, until the monitor reports one. Raises KernelError if none is."""
    for _ in range(TRIES):
        send(node, "guest0", frames.ethernet(PROBE, mac, frames.udp("192.0.2.9", "192.0.2.1")))
        if any(PROBE in step.text for step in monitor.steps(SECONDS)):
            return
    raise KernelError("nft monitor trace tells nothing", "does this kernel have nf_tables tracing?")


def _seen(monitor: trace.Monitor, frame: bytes) -> list[trace.Step]:
    """The traced steps of the frame. ARP is traced without its Ethernet header, but nothing else sends ARP
    there.
    """
    told = list(monitor.steps(SECONDS))
    ends = f"ether saddr {frame[6:12].hex(':')} ether daddr {frame[:6].hex(':')}"
    ours = {
        step.packet for step in told if step.kind == "packet:" and (ends in step.text or step.family == "arp")
    }
    return [step for step in told if step.packet in ours]


def _answer(node: Machine, steps: list[trace.Step]) -> Answer:
    path = tuple(f"{step.family} {step.chain}: {step.text}" for step in steps if step.kind == "rule")
    if not steps:
        return Answer("ignored", "", "no rule has seen it", (), ())
    dropped = steps[-1].drops
    rules = [
        step for step in steps if step.kind == "rule" and not (dropped and step.chain == steps[-1].chain)
    ]
    if (
        not dropped
    ):  # what comes after the pins decides nothing: marks, and rules in the tables of other firewalls
        end = next(
            (
                number
                for number, step in enumerate(steps)
                if step.kind == "policy" or step.verdict == "accept"
            ),
            len(steps),
        )
        rules = [step for step in steps[: end + 1] if step.kind == "rule"]
        rules = [step for step in rules if SET.search(step.text)] or rules
    last = rules[-1] if rules else steps[-1]
    asked = tuple(dict.fromkeys(SET.findall(last.text))) or _before(node, last)
    rule = f"{last.family} {last.table} {last.chain}: {last.text or last.kind}"
    return Answer("drop" if dropped else "accept", trace.reason(steps), rule, asked, path)


def _before(node: Machine, last: trace.Step) -> tuple[str, ...]:
    """Sets in earlier rules of the chain: they decide, by not matching, if the last rule looks up none."""
    asked: list[str] = []
    for line in node.out("nft", "-s", "list", "chain", last.family, last.table, last.chain).splitlines():
        if line.strip() == last.text:
            break
        asked += SET.findall(line)
    return tuple(dict.fromkeys(asked))
