"""The NICs that rely on nfdhcpd, and on which of its engines: their guard drops what nfdhcpd answers."""

from __future__ import annotations

from snf_network.model.resources import Binding, Element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.host.record import Record
    from snf_network.model.config import Config

ENGINES = {"served": "packet", "queued": "nfqueue"}
"""The engine for each set of the guard that a NIC may be in."""


def engine_of(record: Record, config: Config) -> str:
    """The engine that a NIC relies on; empty if none."""
    has_binding = False
    for resource in record.resources:
        if isinstance(resource, Element) and resource.set in ENGINES:
            return ENGINES[resource.set]
        has_binding = has_binding or isinstance(resource, Binding)
    bound = has_binding and config.nfdhcpd_engine != "none"  # a port of Open vSwitch is in no set
    return config.nfdhcpd_engine if bound else ""
