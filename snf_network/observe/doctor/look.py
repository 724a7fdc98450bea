"""What several checks need to know of the node. Each thing is read once, when a check first asks for it."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from snf_network.addresses import family_of, is_name
from snf_network.errors import SnfNetworkError
from snf_network.host.kernel import PATHS, ifindex, read_file, run
from snf_network.host.netlink import Netlink
from snf_network.host.record import Records, is_live
from snf_network.model.nic import Nic
from snf_network.model.resources import Port, Route
from snf_network.observe import ahead, readback
from snf_network.observe.facts import rt_tables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any

    from snf_network.host.netlink import Device
    from snf_network.host.record import Record
    from snf_network.model.config import Config

GUESTS = ("tap", "vif")
"""What the names of guests' interfaces begin with, by KVM and by Xen."""
Table = tuple[int, int]
"""An address family and the number of a routing table."""


class Look:
    """The node as the checks see it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.live = [record for record in Records(config.state_dir) if is_live(record)]
        self.netlink = Netlink()

    @cached_property
    def modes(self) -> Collection[str]:
        """The modes of the live NICs; on a node without any, both, as the next NIC may be of either."""
        return ahead.modes_of(self.live) or {"routed", "bridged"}

    @cached_property
    def nics(self) -> list[tuple[Record, Nic]]:
        """The live NICs as Ganeti described them; without those whose description is not valid."""
        return list(self._nics())

    def _nics(self) -> Iterator[tuple[Record, Nic]]:
        for record in self.live:
            try:
                yield record, Nic.from_env(dict(record.variables))
            except SnfNetworkError:
                continue

    @cached_property
    def tables(self) -> dict[Table, list[Record]]:
        """The routing tables in use, each with the NICs that have an address of that family."""
        found: dict[Table, list[Record]] = {}
        for record in self.live:
            for one in record.resources:
                if isinstance(one, Route) and one.interface == record.interface:
                    nics = found.setdefault((family_of(one.prefix), int(one.table)), [])
                    if not nics or nics[-1] is not record:
                        nics.append(record)
        return found

    @cached_property
    def uplinks(self) -> dict[Table, str]:
        """The device of the default route of each table in use; empty if it has none."""
        devices = {table: self.netlink.default(*table) for table in self.tables}
        return {table: self.names.get(index, "") for table, index in devices.items()}

    @cached_property
    def names(self) -> dict[int, str]:
        """The device of each ifindex."""
        return {ifindex(name): name for name in os.listdir("/sys/class/net")}

    @cached_property
    def table_names(self) -> dict[int, str]:
        """What rt_tables calls the tables."""
        return {number: name for name, number in rt_tables() if is_name(name)}

    @cached_property
    def bridges(self) -> dict[str, list[Nic]]:
        """The bridges that live NICs belong to, each with those NICs."""
        found: dict[str, list[Nic]] = {}
        for record, nic in self.nics:
            ports = (one.bridge for one in record.resources if isinstance(one, Port) and one.bridge)
            bridge = next(ports, nic.link if nic.mode == "bridged" else "")
            if bridge:
                found.setdefault(bridge, []).append(nic)
        return found

    @cached_property
    def ports(self) -> dict[str, tuple[Device, list[Device]]]:
        """Those of them that exist: the bridge itself, and its ports."""
        devices = {name: self.netlink.device(name) for name in self.bridges}
        return {
            name: (bridge, list(self.netlink.ports(ifindex(name))))
            for name, bridge in devices.items()
            if bridge and bridge.kind == "bridge"
        }

    @cached_property
    def chains(self) -> list[dict[str, Any]]:
        """Every chain of nftables; none without nft."""
        return list(readback.chains()) if installed("nft") else []

    @cached_property
    def rules(self) -> list[Any]:
        """Every policy rule."""
        return readback.policy_rules()

    @cached_property
    def systemd(self) -> bool:
        """True if the node was booted with systemd (sd_booted(3))."""
        return os.path.isdir("/run/systemd/system")


def setting(key: str) -> str:
    """The value of a kernel setting, whose name has slashes; empty if there is none."""
    return (read_file(f"/proc/sys/{key}") or "").strip()


def installed(tool: str) -> bool:
    """True if the tool is where tools are looked for."""
    return any(os.access(f"{directory}/{tool}", os.X_OK) for directory in PATHS.split(":"))


def said(*argv: str) -> str:
    """What a tool prints; empty if it is not installed or fails. Raises Hung."""
    status, text = run(argv) if installed(argv[0]) else (1, "")
    return "" if status else text


def several(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
