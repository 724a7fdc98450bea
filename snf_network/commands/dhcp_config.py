"""`snf-network net dhcp-config NAME`: the configuration of a DHCP server for the guests of one network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snf_network.addresses import within
from snf_network.errors import BadEnvironment, shown
from snf_network.model.config import Config
from snf_network.model.networks import Bridge, Dhcp, Overlay
from snf_network.model.networks.file import PATH
from snf_network.networks.dhcp import FORMATS, DhcpHost, subnets
from snf_network.networks.gateway import network_of
from snf_network.networks.overlay import guest_mtu
from snf_network.observe.hosts import Found, nics

from .networks import load


def run(options: argparse.Namespace, config: Config) -> int:
    """Print it. Raises BadEnvironment for a network without a bridge, and without a NIC in a known subnet."""
    if len(options.name) != 1:
        raise BadEnvironment("net dhcp-config needs the name of one network", "snf-network net list")
    path, name = options.file or PATH, options.name[0]
    place = load(path, options.ssconf)[1]
    network = next((one for one in place.networks.networks if one.name == name), None)
    if not isinstance(network, (Bridge, Overlay)):
        raise BadEnvironment(f"{shown(name)} is no network of {path} with a bridge", "snf-network net list")
    overlay = network if isinstance(network, Overlay) else None
    links = [bridge for _, bridge in overlay.bridges()] if overlay else [network.bridge]
    found, where = nics(links, config, options.ssconf)
    gateways = [one for one in overlay.gateway if ":" not in one] if overlay else []
    hosts = _hosts(found, gateways)
    if not hosts:
        raise BadEnvironment(f"{shown(name)} has no NIC with an IPv4 address and its subnet", f"from {where}")
    told = guest_mtu(overlay, place.site) if overlay else network.mtu
    said = overlay.dhcp if overlay else Dhcp()
    text = FORMATS[options.format](subnets(hosts), said, told if told != 1500 else 0)
    remark = "" if options.format == "kea" else f"# snf-network net dhcp-config {name}: {where}\n"
    sys.stdout.write(remark + text)
    return 0


def _hosts(found: Sequence[Found], gateways: list[str]) -> list[DhcpHost]:
    """Those that a server can serve; tells of the others."""
    hosts: dict[str, DhcpHost] = {}
    for one in found:
        host = _host(one, gateways)
        if host is None or one.ip in hosts:
            why = "is in no subnet that is known" if host is None else f"is also that of {hosts[one.ip].name}"
            sys.stderr.write(f"snf-network: {one.instance}: {one.ip} {why}: left out\n")
        else:
            hosts[one.ip] = host
    return list(hosts.values())


def _host(found: Found, gateways: list[str]) -> DhcpHost | None:
    """With its subnet, which is Ganeti's, or else the gateway's; None if it is in neither."""
    mine = next((one for one in gateways if within(found.ip, network_of(one))), "")
    subnet = found.subnet or (network_of(mine) if mine else "")
    router = found.gateway or mine.partition("/")[0]
    if not subnet or not within(found.ip, subnet):
        return None
    return DhcpHost(found.mac, found.ip, found.instance, subnet, router)
