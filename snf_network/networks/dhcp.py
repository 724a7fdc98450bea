"""The configuration of a DHCP server other than nfdhcpd, for the guests of one network: ISC dhcpd, Kea or
dnsmasq. Text out of checked values; DHCPv4 only.
"""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from snf_network.lean import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from snf_network.model.networks import Dhcp

EFI = 7
"""x86-64 UEFI, as its firmware says in option 93 (RFC 4578, 2.1)."""


@dataclass(frozen=True)
class DhcpHost:
    """A NIC, and what it is to be told."""

    mac: str
    ip: str
    name: str
    """The instance's."""
    subnet: str
    """The IPv4 prefix of its network."""
    router: str = ""


@dataclass(frozen=True)
class Subnet:
    """A prefix with the NICs in it."""

    prefix: str
    router: str
    hosts: tuple[DhcpHost, ...]


def subnets(hosts: Sequence[DhcpHost]) -> list[Subnet]:
    """The NICs by their prefix; in each by address. The router is the first that any of them has."""
    found: dict[str, list[DhcpHost]] = {}
    for host in hosts:
        found.setdefault(host.subnet, []).append(host)
    made = []
    for prefix in sorted(found, key=ip_network):
        inside = sorted(found[prefix], key=lambda host: tuple(map(int, host.ip.split("."))))
        made.append(Subnet(prefix, next((one.router for one in inside if one.router), ""), tuple(inside)))
    return made


def isc(nets: Sequence[Subnet], said: Dhcp, mtu: int) -> str:
    """For dhcpd.conf(5)."""
    lines = [f"default-lease-time {said.lease};", f"max-lease-time {said.lease};"]
    if said.nameservers:
        lines.append(f"option domain-name-servers {', '.join(said.nameservers)};")
    if said.domain:
        lines.append(f'option domain-name "{said.domain}";')
    if mtu:
        lines.append(f"option interface-mtu {mtu};")
    lines += [f"next-server {said.next_server};"] if said.next_server else []
    if said.uefi_filename:
        lines.append("option client-arch code 93 = array of unsigned integer 16;")
        lines.append(f'if option client-arch = 00:{EFI:02x} {{ filename "{said.uefi_filename}"; }}')
        lines.append(f'else {{ filename "{said.filename}"; }}' if said.filename else "")
    elif said.filename:
        lines.append(f'filename "{said.filename}";')
    for net in nets:
        network = ip_network(net.prefix)
        lines.append(f"\nsubnet {network.network_address} netmask {network.netmask} {{")
        lines += [f"  option routers {net.router};"] if net.router else []
        for host in net.hosts:
            words = f"hardware ethernet {host.mac}; fixed-address {host.ip};"
            lines.append(
                f'  host nic-{host.mac.replace(":", "")} {{ {words} option host-name "{host.name}"; }}'
            )
        lines.append("}")
    return "".join(f"{line}\n" for line in lines if line)


def kea(nets: Sequence[Subnet], said: Dhcp, mtu: int) -> str:
    """For kea-dhcp4. JSON has no place for a remark."""
    options = [("domain-name-servers", ", ".join(said.nameservers)), ("domain-name", said.domain)]
    options += [("interface-mtu", str(mtu) if mtu else "")]
    served: dict[str, Any] = {
        "interfaces-config": {"interfaces": ["*"]},
        "valid-lifetime": said.lease,
        "option-data": _options(options),
        "subnet4": [_subnet(number, net) for number, net in enumerate(nets, 1)],
    }
    served |= {"next-server": said.next_server} if said.next_server else {}
    if said.uefi_filename:
        test = f"option[93].hex == 0x{EFI:04x}"
        served["client-classes"] = [{"name": "uefi", "test": test, "boot-file-name": said.uefi_filename}]
    served |= {"boot-file-name": said.filename} if said.filename else {}
    return json.dumps({"Dhcp4": served}, indent=2) + "\n"


def _subnet(number: int, net: Subnet) -> dict[str, Any]:
    return {
        "id": number,
        "subnet": net.prefix,
        "option-data": _options([("routers", net.router)]),
        "reservations": [
            {"hw-address": host.mac, "ip-address": host.ip, "hostname": host.name} for host in net.hosts
        ],
    }


def _options(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "data": value} for name, value in pairs if value]


def dnsmasq(nets: Sequence[Subnet], said: Dhcp, mtu: int) -> str:
    """For dnsmasq(8), as a DHCP server alone."""
    lines = ["port=0", *_told("", [("dns-server", ",".join(said.nameservers)), ("mtu", str(mtu or ""))])]
    lines += [f"domain={said.domain}"] if said.domain else []
    server = f",,{said.next_server}" if said.next_server else ""
    if said.uefi_filename:
        lines += [f"dhcp-match=set:uefi,option:client-arch,{EFI}"]
        lines += [f"dhcp-boot=tag:uefi,{said.uefi_filename}{server}"]
    tag = "tag:!uefi," if said.uefi_filename else ""
    lines += [f"dhcp-boot={tag}{said.filename}{server}"] if said.filename else []
    for number, net in enumerate(nets, 1):
        network = ip_network(net.prefix)
        lines.append(
            f"dhcp-range=set:net{number},{network.network_address},static,{network.netmask},{said.lease}"
        )
        lines += _told(f"tag:net{number},", [("router", net.router)])
        lines += [f"dhcp-host={host.mac},{host.ip},{host.name}" for host in net.hosts]
    return "".join(f"{line}\n" for line in lines)


def _told(tag: str, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    return (f"dhcp-option={tag}option:{name},{value}" for name, value in pairs if value)


FORMATS: dict[str, Callable[[Sequence[Subnet], Dhcp, int], str]] = {
    "isc": isc,
    "kea": kea,
    "dnsmasq": dnsmasq,
}
