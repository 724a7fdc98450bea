"""`snf-network status --network NAME`: one network of the node, with its peers and its NICs."""

from __future__ import annotations

import json
import sys
from typing import Any

from snf_network.apply.networks import records
from snf_network.errors import BadEnvironment, shown
from snf_network.host.record import Record
from snf_network.model.config import Config
from snf_network.networks import UNDERLAY
from snf_network.observe.overlays import bridges, peers

from . import table

FEW = 4
"""MACs that the table shows of each node; --json has all."""


def show(name: str, nics: list[dict[str, str]], as_json: bool, config: Config) -> int:
    """Print it; `nics` are the rows of all NICs. Raises BadEnvironment for a network that is not up."""
    record = records(config).load(name) if name != UNDERLAY else None
    if record is None:
        raise BadEnvironment(f"network {shown(name)} is not up", "snf-network net list")
    found = facts(record, nics)
    if not found["bridges"]:
        raise BadEnvironment(f"network {shown(name)} has no bridge", "snf-network status has routed NICs")
    sys.stdout.write(json.dumps(found, indent=2) + "\n" if as_json else text(found))
    return 0


def facts(record: Record, nics: list[dict[str, str]]) -> dict[str, Any]:
    """All of it as data."""
    made = bridges(record)
    names = {one["bridge"] for one in made}
    return {
        "network": record.interface,
        "bridges": made,
        "peers": peers(record),
        "nics": [row for row in nics if row["link"] in names],
    }


def text(found: dict[str, Any]) -> str:
    """The same for people: three tables."""
    parts = [
        table.text(
            ("BRIDGE", "STATE", "VNI", "MTU", "GUESTS", "GATEWAY"),
            [
                (
                    *(one["bridge"], one["state"], str(one["vni"] or ""), str(one["mtu"])),
                    *(str(one["guest_mtu"]), " ".join(one["gateway"])),
                )
                for one in found["bridges"]
            ],
        )
    ]
    if found["peers"]:
        rows = [(one["address"], _node(one), str(len(one["macs"])), _macs(one)) for one in found["peers"]]
        parts.append(table.text(("PEER", "NODE", "MACS", "SEEN BEHIND IT"), rows, (2,)))
    columns = ("interface", "state", "instance", "nic", "ip", "mac")
    rows_of = [[row[name] for name in columns] for row in found["nics"]]
    parts.append(table.text([name.upper() for name in columns], rows_of))
    return "\n".join(parts)


def _node(peer: dict[str, Any]) -> str:
    return str(peer["node"]) if peer["listed"] else "(in no list any more)"


def _macs(peer: dict[str, Any]) -> str:
    said = [one["mac"] for one in peer["macs"]]
    more = f" and {len(said) - FEW} more" if len(said) > FEW else ""
    return " ".join(said[:FEW]) + more
