"""Draw this node: its uplinks, its routing tables and bridges, and the NICs in them.

It shows NICs with their instance, addresses, VLAN, firewall profile and state, as in `status`. A tap in one
of these bridges that snf-network did not bring up has the state `no record`.

The tree fits the terminal; in a pipe each NIC has one line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time

from snf_network.host import kernel
from snf_network.model.config import Config
from snf_network.observe import devices
from snf_network.observe.facts import rt_tables

from . import chosen, status
from .draw import dot, svg, tree
from .draw.picture import OPENVSWITCH, TABLE, Nic, Picture, Place, nic, picture, place

SUMMARY = "draw this node: uplinks, tables, bridges, NICs"
UNLIMITED = 100_000
"""Width of a line that nobody's terminal limits."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to draw it as."""
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--svg", metavar="FILE", help="write an SVG picture; - is stdout")
    formats.add_argument("--dot", action="store_true", help="print a graph for Graphviz")
    formats.add_argument("--json", action="store_true", help="print JSON: an object")


def run(options: argparse.Namespace, config: Config) -> int:
    """Look, and draw."""
    found = look(config)
    if options.svg:
        _write(options.svg, svg.text(found, time.strftime("%Y-%m-%d %H:%M")))
    elif options.dot:
        _write("-", dot.text(found))
    elif options.json:
        _write("-", json.dumps(found, default=vars, indent=2) + "\n")
    else:
        _write("-", tree.text(found, shutil.get_terminal_size((UNLIMITED, 0)).columns, _is_fancy()))
    return 0


def look(config: Config) -> Picture:
    """The node as it is now. Raises KernelError."""
    nics: dict[Place, list[Nic]] = {}
    for record in chosen.records(config):
        nics.setdefault(place(record), []).append(nic(record, status.row(record, config)))
    gateways = {name: devices.gateways(name) for kind, name in nics if kind == TABLE}
    names = {str(number): name for name, number in rt_tables()}
    found = devices.devices(any(kind == OPENVSWITCH for kind, _ in nics))
    return picture(os.uname().nodename, nics, found, gateways, names)


def _is_fancy() -> bool:
    """True if stdout can be given the tree's lines."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _write(path: str, text: str) -> None:
    if path == "-":
        sys.stdout.write(text)
    else:
        kernel.write_file(path, text)
