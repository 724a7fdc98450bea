"""The NICs that a subcommand is asked about."""

from __future__ import annotations

from collections.abc import Collection

from snf_network.config import Config
from snf_network.errors import BadEnvironment
from snf_network.record import Record, Records


def records(config: Config, interfaces: Collection[str] = ()) -> list[Record]:
    """Those of `interfaces`, or all, tap2 before tap10. Raises BadEnvironment for one that has none."""
    found = {record.interface: record for record in Records(config.state_dir)}
    for interface in interfaces:
        if interface not in found:
            raise BadEnvironment(f"{interface} has no record", "snf-network status lists those that have")
    return sorted((found[name] for name in interfaces or found), key=lambda record: counted(record.interface))


def counted(interface: str) -> tuple[str, int, str]:
    """By this, interfaces are in the order that people count in."""
    stem = interface.rstrip("0123456789")
    return stem, len(interface), interface
