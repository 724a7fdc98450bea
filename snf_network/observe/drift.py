"""What the records say against what the kernel has: set arithmetic, so it finds what is missing and what is
left over.
"""

from __future__ import annotations

import difflib

from snf_network.host.kernel import ifindex
from snf_network.host.record import Records, is_live
from snf_network.model.resources import Element
from snf_network.observe import readback
from snf_network.rules import ruleset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass

    from snf_network.host.record import Record
    from snf_network.model.config import Config
    from snf_network.model.resources import Resource
else:
    from snf_network.lean import dataclass


@dataclass(frozen=True)
class Difference:
    """How a node differs from its records."""

    missing: tuple[tuple[Record, Resource], ...]
    """What live NICs should have and have not."""
    orphans: tuple[Resource, ...]
    """What is ours, and no live NIC's."""
    gone: tuple[Record, ...]
    """Records of NICs that are no more."""
    lacking: tuple[tuple[Record, str], ...]
    """What could not be done when the NIC came up."""
    rules: tuple[str, ...]
    """Lines of the ruleset that are not as they were loaded."""

    def __bool__(self) -> bool:
        """True if there is any."""
        return any((self.missing, self.orphans, self.gone, self.lacking, self.rules))


def compare(config: Config) -> Difference:
    """Read the records and the kernel, and tell how they differ."""
    kernel = (
        readback.Kernel()
    )  # before the records: a NIC that comes up between the two has a record, so nothing of it is an orphan
    records = Records(config.state_dir)
    known = list(records)
    live = [record for record in known if is_live(record)]
    wanted = {
        readback.as_listed(resource) for record in known for resource in record.resources
    }  # what a gone NIC left is told with it
    missing = [
        (record, resource) for record in live for resource in record.resources if not kernel.has(resource)
    ]
    orphans = [
        resource
        for resource in kernel.found
        if resource not in wanted and not (resource.shared and records.held(resource))
    ]
    return Difference(
        tuple(missing),
        (*sorted(orphans, key=repr), *_bindings(config, wanted)),
        tuple(record for record in known if record not in live),
        tuple((record, words) for record in live for words in record.lacking),
        tuple(_rules(config, live)),
    )


def _bindings(config: Config, wanted: set[Resource]) -> list[Resource]:
    """Binding files of taps that are gone; another's file for a tap that lives is not ours to judge."""
    ours = {resource.slot for resource in wanted}
    return [
        binding
        for binding in readback.bindings(config.nfdhcpd_state_dir)
        if binding.slot not in ours and not ifindex(binding.path.rpartition("/")[2])
    ]


def _rules(config: Config, live: list[Record]) -> list[str]:
    """Lines that the loaded ruleset has no more, or has besides."""
    if not any(isinstance(resource, Element) for record in live for resource in record.resources):
        return []
    try:
        with open(f"{config.state_dir}/base", encoding="utf-8") as file:
            then = file.read().splitlines()
    except OSError:
        then = []
    now = ruleset.listing().splitlines()
    if then == now:
        return []
    lost = [line.split()[1:3] for line in then if line.startswith("table ") and line not in now]
    if lost:
        return [f"missing: table {' '.join(words)}" for words in lost]
    words = {"-": "missing: ", "+": "not ours: "}
    changes = list(difflib.unified_diff(then, now, n=0, lineterm=""))[2:]
    return [words[line[0]] + line[1:].strip() for line in changes if line[0] in words]
