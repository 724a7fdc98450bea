"""The metric of a guest's routes: of two nodes that both have one, the later has the lower.

A routing daemon tells it to its peers as MED (RFC 4271, 5.1.4), and they prefer the lowest: so traffic goes
to the node where the guest came last, however long another still has its route. There is no normal metric to
go back to: whatever comes next is lower still, but for the day when the numbers begin anew (docs/design.md).
"""

from __future__ import annotations

from time import time

from snf_network.host.record import Records, is_live
from snf_network.model.resources import Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.model.config import Config
    from snf_network.model.nic import Nic

LARGEST = 2**24 - 1
"""FRR takes the upper 8 bits of a kernel route's metric for its own distance, where 0 is best, and the rest
for the MED.
"""
STEP = 8
"""Seconds: with these, the numbers last for four years."""


def metric_of(nic: Nic, config: Config) -> str:
    """The metric that the NIC's routes have, or for one that has just come the steps from now to the end of
    these 24 bits: then they begin anew, for the first time on 18 July 2029.

    A NIC that is brought up once more keeps its own: the guest may be on its way to another node meanwhile.
    """
    record = Records(config.state_dir).load(nic.interface)
    if record and is_live(record) and (record.instance, record.uuid) == (nic.instance, nic.uuid):
        known = [one.metric for one in record.resources if isinstance(one, Route) and one.metric]
        if known:
            return known[0]
    return str(max(1, LARGEST - int(time()) // STEP % (LARGEST + 1)))
