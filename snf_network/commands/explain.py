"""Explain what happens to a frame from a NIC: whether it passes or drops, by which rule and which sets, and
how often that drop was counted.

The frame is sent in a namespace that has the rules of this node and the members of that NIC, and the kernel's
trace tells the result. The node itself is not touched. The result is only about leaving the guest, not about
what other NICs may receive.
"""

from __future__ import annotations

import argparse
import json
import sys

from snf_network.host.record import Record
from snf_network.model.config import Config
from snf_network.model.resources import Element, Hook, Link, OvsPort, Port
from snf_network.observe import readback
from snf_network.rules.reasons import REASONS
from snf_network.rules.ruleset import Ruleset
from snf_network.selftest import frames
from snf_network.selftest.explain import Answer, explain
from snf_network.selftest.pcap import frame_of

from . import chosen

SUMMARY = "explain what happens to a frame from a NIC, and why"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The NIC, the frame, and output options."""
    parser.add_argument("interface", metavar="IFACE", help="the tap or vif that the frame comes from")
    parser.add_argument(
        "frame", metavar="FRAME", help="in hexadecimal, or a pcap file, whose first frame is used"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: an object")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the answer. Exit status 0, whatever the verdict."""
    (record,) = chosen.records(config, [options.interface])
    frame = frame_of(options.frame)
    answer = _asked(record, config, frame)
    facts = _facts(record, frame, answer)
    if options.json:
        sys.stdout.write(json.dumps({**facts, "path": answer.path}, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{name:9} {value}\n" for name, value in facts.items() if value != ""))
    return 0


def _asked(record: Record, config: Config, frame: bytes) -> Answer:
    bridge = next((one.bridge for one in record.resources if isinstance(one, (Port, OvsPort))), "")
    mac = (
        next((resource.mac for resource in record.resources if isinstance(resource, Link)), "")
        or config.tap_constant_mac
    )
    pins = [one for one in record.resources if isinstance(one, Hook) and one.is_pin]
    lines = [one.add() for one in (*_members(record), *pins)]
    return explain(record.interface, bridge, mac, Ruleset(config).text(), lines, frame)


def _members(record: Record) -> list[Element]:
    return [
        resource for resource in record.resources if isinstance(resource, Element) and not resource.shared
    ]


def _facts(record: Record, frame: bytes, answer: Answer) -> dict[str, str]:
    family = answer.rule.partition(" ")[0]
    has = {
        name: [
            member.rest or "yes"
            for member in _members(record)
            if (member.family, member.set) == (family, name)
        ]
        for name in answer.asked
    }
    counted = readback.drops().get((record.interface, answer.reason), (0, 0))[0]
    return {
        "frame": frames.described(frame),
        "verdict": answer.verdict,
        "reason": f"{answer.reason}: {REASONS.get(answer.reason, '')}" if answer.reason else "",
        "rule": answer.rule,
        "sets": "; ".join(
            f"{name} has {', '.join(values) or 'nothing'} of {record.interface}"
            for name, values in has.items()
        ),
        "counter": f"{counted} frames so far" if answer.reason else "",
    }
