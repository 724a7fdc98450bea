"""The NICs of a network, for a DHCP server: from Ganeti's own data, which master candidates have, and from
the records of this node.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from snf_network.addresses import is_domain, is_ip4, is_mac, is_prefix4
from snf_network.errors import KernelError, SnfNetworkError
from snf_network.host.kernel import read_file
from snf_network.host.record import Records, is_live
from snf_network.lean import dataclass
from snf_network.model.nic import Nic
from snf_network.observe.readback import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from snf_network.model.config import Config

CONFIG = "config.data"
"""Ganeti's configuration (lib/objects.py, ConfigData): all instances of the cluster, with their NICs."""


@dataclass(frozen=True)
class Found:
    """A NIC with an IPv4 address."""

    mac: str
    ip: str
    instance: str
    subnet: str
    gateway: str

    def sound(self) -> bool:
        """True if every value is what it should be, and nothing else."""
        network = not self.subnet or is_prefix4(self.subnet)
        gateway = not self.gateway or is_ip4(self.gateway)
        return is_mac(self.mac) and is_ip4(self.ip) and is_domain(self.instance) and network and gateway


def nics(links: Collection[str], config: Config, directory: str) -> tuple[list[Found], str]:
    """The NICs whose LINK is one of these bridges, by MAC, and where they are from. Raises KernelError if
    Ganeti's data is there and cannot be read.
    """
    text = read_file(f"{directory}/{CONFIG}")
    said = list(_recorded(links, config))
    if text is not None:
        try:
            said += _configured(json.loads(text), links)
        except UNREADABLE as error:
            raise KernelError(f"{directory}/{CONFIG}: {type(error).__name__}: {error}", "no JSON?") from error
    found = {one.mac: one for one in said if one.sound()}
    where = "the NICs of this node"
    return [found[mac] for mac in sorted(found)], f"Ganeti's configuration and {where}" if text else where


def _recorded(links: Collection[str], config: Config) -> Iterator[Found]:
    for record in Records(config.state_dir):
        try:
            nic = Nic.from_env(dict(record.variables))
        except SnfNetworkError:
            continue
        if nic.mode == "bridged" and nic.link in links and nic.ip and is_live(record):
            yield Found(nic.mac, nic.ip, nic.instance, nic.network.subnet, nic.network.gateway)


def _configured(data: Any, links: Collection[str]) -> Iterator[Found]:
    """Raises what JSON of another shape raises."""
    default = data["cluster"].get("nicparams", {}).get("default", {})
    known = data.get("networks") or {}
    for instance in data["instances"].values():
        for nic in instance.get("nics") or ():
            how = {**default, **(nic.get("nicparams") or {})}
            if how.get("mode") == "bridged" and how.get("link") in links and nic.get("ip"):
                network = known.get(nic.get("network")) or {}
                yield Found(
                    str(nic["mac"]).lower(),
                    str(nic["ip"]),
                    str(instance["name"]),
                    str(network.get("network") or ""),
                    str(network.get("gateway") or ""),
                )
