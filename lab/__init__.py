"""The lab: machines made of namespaces, for tests, benches and the demo.

`machine` is one machine, `network` connects several. `hearing` and `traces` look at what happens in them.
`overlay` is a cluster with private networks, `stream` counts frames that are lost there.
`cell` ends everything when the program that began it ends. `nodes` has nodes with many NICs, `nameserver` is
a BIND, `fabric` is a switch and nodes with BIRD or FRR, `package` builds ours, `kernel` unpacks Debian's
kernel, and `ganeti/` is a cluster of nodes that each have a system of their own. The base class of a machine
is that of the self-test, which is shipped and imports nothing from here (snf_network/selftest/world.py).
"""

from __future__ import annotations

from lab.hearing import Ear, Witness
from lab.machine import ENVIRONMENTS, ROOT, SCRIPTS, Machine, environment
from lab.network import Lab, laboratory
from lab.traces import lines, traces, without_rules
from snf_network.selftest.world import drops, members, send, settle, until

__all__ = ["ENVIRONMENTS", "ROOT", "SCRIPTS", "Ear", "Lab", "Machine", "Witness", "drops", "environment"]
__all__ += ["laboratory", "lines", "members", "send", "settle", "traces", "until", "without_rules"]
