"""Remove everything that IFACE has, by hand: its link goes down first, its filters go last. Neither the tap
nor a record need exist.
"""

from __future__ import annotations

import argparse

from snf_network.addresses import is_interface
from snf_network.apply.engine import Engine
from snf_network.errors import BadEnvironment, shown
from snf_network.model.config import Config
from snf_network.observe.drift import compare
from snf_network.scripts.process import Log

from . import acts
from .acts import Acts

SUMMARY = "remove everything that an interface has"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The interfaces, and output options."""
    acts.arguments(parser)
    parser.add_argument("interface", metavar="IFACE", nargs="+", help="the interfaces")


def run(options: argparse.Namespace, config: Config) -> int:
    """Remove each; returns 1 if one of them had nothing."""
    with Acts(options) as told:
        return max([_remove(interface, config, told) for interface in options.interface])


def _remove(interface: str, config: Config, told: Acts) -> int:
    if not is_interface(interface):
        raise BadEnvironment(f"{shown(interface)} is no interface name")
    record = Engine(config).remove(interface)
    if record:
        told.know(record)
    done = f"{record.instance} taken back" if record else _taken_down(interface, config)
    words = done or "has no record"
    Log("snf-network", path=config.logfile).of(interface).log(f"remove: {words}")
    told.say(f"{interface}: {words}")
    if done:
        told.done(interface, done)
    else:
        told.failed(interface, words)
    return int(not done)


def _taken_down(interface: str, config: Config) -> str:
    """Take down a tap without a readable record; returns what was done, empty if there was nothing."""
    found = compare(config)
    resources = dict(found.unrecorded).get(interface)
    if resources is None and interface not in found.unreadable:
        return ""
    Engine(config).take_down(interface, resources or ())
    return f"taken down; {len(resources or ())} things without a record taken away"
