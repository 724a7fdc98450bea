"""The few things asked of the kernel before deciding what a NIC shall have. Nothing is changed."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, if_indextoname
from posix import F_OK, access, listdir

from snf_network.errors import BadEnvironment, NodesOwn
from snf_network.host.kernel import ifindex
from snf_network.host.netlink import Netlink
from snf_network.lean import replace
from snf_network.model.node import Node
from snf_network.model.resources import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic

RT_TABLES = ("/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2")
MAIN, DEFAULT, LOCAL = 254, 253, 255
EMULATED = "-emu"
"""Ends the name of the tap that an HVM guest of Xen has beside its vif, for the same NIC."""


def settled(nic: Nic) -> Nic:
    """The NIC with its mode decided: ext, which leaves that to the scripts, is bridged if LINK is a bridge
    here, else routed.
    """
    if nic.mode != "ext":
        return nic
    with Netlink() as netlink:
        device = netlink.device(nic.link)
    return replace(nic, mode="bridged" if device and device.kind == "bridge" else "routed")


def node_for(nic: Nic, config: Config) -> Node:
    """The host as `nic` meets it. Raises BadEnvironment if its tap, bridge or table is not there, or another
    tap has its address.
    """
    if not ifindex(nic.interface):
        raise BadEnvironment(
            f"INTERFACE={nic.interface}: no such device",
            "Ganeti makes the tap before it calls; by hand: ip tuntap add",
        )
    with Netlink() as netlink:
        facts = (
            _routed(nic, netlink)
            if nic.mode == "routed"
            else _bridged(nic, netlink)
            if nic.mode == "bridged"
            else {}
        )
        if config.masq and nic.network.subnet:
            facts["wan"] = _name(netlink.default(AF_INET, MAIN, False))
    if nic.interface in ("lo", nic.link, *(facts.get(name) for name in ("uplink", "uplink6", "wan"))):
        raise NodesOwn(f"INTERFACE={nic.interface} is the node's own device", "it is to be the guest's tap")
    if any(nic.customised(config.firewall_tag_prefix)):
        from snf_network.rules.ruleset import profiles

        facts["profiles"] = tuple(profiles())
    return Node(**facts)  # type: ignore[arg-type]


def _routed(nic: Nic, netlink: Netlink) -> dict[str, object]:
    table, ipv6 = table_number(nic.link, netlink), has_ipv6(nic.interface)
    rules = netlink.rules()
    uplinks = []
    for family, name, wanted, address in ((AF_INET, "-4", True, nic.ip), (AF_INET6, "-6", ipv6, nic.ip6)):
        ruled = Rule(name, str(table), "lookup") in rules
        uplinks.append(_name(netlink.default(family, table, ruled)) if wanted else "")
        found = netlink.route(family, table, address) if ruled and wanted and address else None
        holder = _name(found.device) if found and found.table == table and found.length in (32, 128) else ""
        if holder.removesuffix(EMULATED) not in ("", nic.interface.removesuffix(EMULATED)):
            raise BadEnvironment(
                f"IP={address} is in use on {holder}", "two live NICs cannot have one: snf-network status"
            )
    return {
        "table": table,
        "uplink": uplinks[0],
        "uplink6": uplinks[1],
        "ipv6": ipv6,
        "ipv6_possible": ipv6 or kernel_has_ipv6(),
    }


def _bridged(nic: Nic, netlink: Netlink) -> dict[str, object]:
    bridge = netlink.device(nic.link)
    if not bridge or bridge.kind != "bridge":
        raise BadEnvironment(
            f"LINK={nic.link} is not a bridge of this node", f"ip link add {nic.link} type bridge"
        )
    facts: dict[str, object] = {"mtu": bridge.mtu, "ipv6": has_ipv6(nic.interface)}
    if nic.vlan:
        uplinks = tuple(
            port.name
            for port in netlink.ports(ifindex(nic.link))
            if port.kind != "tun" and not port.name.startswith("vif")
        )
        facts |= {
            "vlan_aware": bridge.vlan_aware,
            "default_pvid": bridge.default_pvid,
            "vlan_uplinks": uplinks,
            "vlan_devices": tuple(
                (vid, device) for device, vid, lower in _vlan_devices() if lower in uplinks
            ),
        }
    return facts


def _vlan_devices() -> Iterator[list[str]]:
    """Name, VLAN and lower device of each 802.1Q device of this node; none where the kernel has no such thing
    loaded.
    """
    try:
        with open("/proc/net/vlan/config", encoding="utf-8", errors="replace") as file:
            rows = [[word.strip() for word in line.split("|")] for line in file]
    except OSError:
        return
    yield from (row for row in rows if len(row) == 3 and row[1].isdigit())


def _name(device: int) -> str:
    try:
        return if_indextoname(device) if device else ""
    except OSError:
        return ""


def kernel_has_ipv6() -> bool:
    """False where the kernel was built or booted (ipv6.disable=1) without."""
    return access("/proc/sys/net/ipv6", F_OK)


def has_ipv6(interface: str) -> bool:
    """False where the kernel has no IPv6, or this device has it switched off."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6", encoding="utf-8") as file:
            return file.read().strip() == "0"
    except OSError:
        return False


def table_number(link: str, netlink: Netlink) -> int:
    """The routing table that a name or number of LINK means. Raises BadEnvironment if neither rt_tables nor
    the kernel knows it.
    """
    names = dict(_rt_tables())
    number = int(link) if link.isascii() and link.isdigit() else names.get(link, 0)
    known = number in names.values() or number in (MAIN, DEFAULT)
    if not 0 < number < 2**32 or number == LOCAL or not (known or netlink.has_table(number)):
        raise BadEnvironment(
            f"LINK={link} is no routing table of this node",
            "name it in /etc/iproute2/rt_tables, give it a default route",
        )
    return number


def _rt_tables() -> Iterator[tuple[str, int]]:
    """Names and numbers, as iproute2 reads them (ip-route(8), FILES); the administrator's directory comes
    last and wins.
    """
    for directory in reversed(RT_TABLES):
        for path in (f"{directory}/rt_tables", *_files(f"{directory}/rt_tables.d")):
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    lines = file.read().splitlines()
            except OSError:
                continue
            for words in (line.partition("#")[0].split() for line in lines):
                if len(words) == 2:
                    try:
                        yield words[1], int(words[0], 16 if words[0].startswith("0x") else 10)
                    except ValueError:
                        continue  # ip(8) says so; another line may be right


def _files(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in sorted(listdir(directory)) if name.endswith(".conf")]
    except OSError:
        return []
