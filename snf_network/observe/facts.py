"""The few facts that a plan needs from the kernel. Changes nothing."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from posix import F_OK, access, listdir

from snf_network.addresses import width
from snf_network.errors import BadEnvironment, NodesOwn
from snf_network.host.kernel import ifindex, ifname, read_file
from snf_network.host.netlink import Netlink
from snf_network.lean import replace
from snf_network.model.node import Node, overlay_of
from snf_network.model.resources import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic

RT_TABLES = ("/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2")
MAIN, DEFAULT, LOCAL = 254, 253, 255
EMULATED = "-emu"
"""Suffix of the tap that a Xen HVM guest has besides its vif, for the same NIC."""


def settled(nic: Nic) -> Nic:
    """The NIC with its mode resolved: ext, which leaves the choice to the scripts, becomes bridged if LINK is
    a bridge here, else routed.
    """
    if nic.mode != "ext":
        return nic
    with Netlink() as netlink:
        return _settled(nic, netlink)


def _settled(nic: Nic, netlink: Netlink) -> Nic:
    if nic.mode != "ext":
        return nic
    device = netlink.device(nic.link)
    return replace(nic, mode="bridged" if device and device.kind == "bridge" else "routed")


def node_for(nic: Nic, config: Config) -> Node:
    """The host's facts for `nic`. Raises BadEnvironment if its tap, bridge or table does not exist, or
    another tap has its address; KernelError.
    """
    facts = Facts(config)
    node = facts.of(nic)
    uplinks = (node.uplink, *node.more_uplinks, node.uplink6, *node.more_uplinks6)
    if nic.interface in ("lo", nic.link, *uplinks, node.wan):
        raise NodesOwn(f"INTERFACE={nic.interface} is the node's own device", "expected the guest's tap")
    facts.refuse_in_use(nic, node)
    if config.newest_route_wins and nic.mode == "routed":
        from snf_network.observe.newest import metric_of

        return replace(node, came=metric_of(nic, config))
    return node


class Facts:
    """Answers from the kernel, cached for any number of NICs."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.netlink = Netlink()
        self._known: dict[object, Node] = {}
        self._rules: set[Rule] | None = None

    def of(self, nic: Nic) -> Node:
        """The host's facts for `nic`. Raises BadEnvironment if its tap, bridge or table does not exist."""
        if not ifindex(nic.interface):
            hint = "Ganeti makes the tap before it calls; by hand: ip tuntap add"
            raise BadEnvironment(f"INTERFACE={nic.interface}: no such device", hint)
        nic = _settled(nic, self.netlink)
        ipv6 = has_ipv6(nic.interface)
        translated = bool(self.config.masq and nic.network.subnet)
        profiled = any(nic.customised(self.config.firewall_tag_prefix))
        key = (nic.mode, nic.link, bool(nic.vlan), ipv6, translated, profiled)
        if key not in self._known:
            self._known[key] = Node(**self._read(nic, ipv6, translated, profiled))
        return self._known[key]

    def _read(self, nic: Nic, ipv6: bool, translated: bool, profiled: bool) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if nic.mode == "routed":
            facts = self._routed(nic, ipv6)
        elif nic.mode == "bridged":
            facts = {**self._bridged(nic), "ipv6": ipv6}
        if translated:
            facts["wan"] = ifname(self.netlink.default(AF_INET, MAIN))
        if profiled:
            from snf_network.rules.ruleset import profiles

            facts["profiles"] = tuple(profiles())
        return facts

    def _routed(self, nic: Nic, ipv6: bool) -> dict[str, object]:
        table = table_number(nic.link, self.netlink)
        uplinks = []
        for family, wanted in ((AF_INET, True), (AF_INET6, ipv6)):
            uplinks.append(tuple(map(ifname, self.netlink.defaults(family, table))) if wanted else ())
        return {
            "table": table,
            "uplink": "".join(uplinks[0][:1]),
            "uplink6": "".join(uplinks[1][:1]),
            "more_uplinks": uplinks[0][1:],
            "more_uplinks6": uplinks[1][1:],
            "ipv6": ipv6,
            "ipv6_possible": ipv6 or kernel_has_ipv6(),
        }

    @property
    def rules(self) -> set[Rule]:
        """Our policy rules that are in the kernel now."""
        if self._rules is None:
            self._rules = self.netlink.rules()
        return self._rules

    def refuse_in_use(self, nic: Nic, node: Node) -> None:
        """Raise BadEnvironment if an address of this NIC has a route to another tap in its table."""
        if nic.mode != "routed":
            return
        for name, address in (("-4", nic.ip), ("-6", nic.ip6 if node.ipv6 else "")):
            if address and Rule(name, str(node.table), "lookup") in self.rules:
                holder = ifname(self.netlink.holder(f"{address}/{width(address)}", node.table))
                if holder.removesuffix(EMULATED) not in ("", nic.interface.removesuffix(EMULATED)):
                    hint = "two live NICs cannot have one: snf-network status"
                    raise BadEnvironment(f"IP={address} is in use on {holder}", hint)

    def _bridged(self, nic: Nic) -> dict[str, object]:
        bridge = self.netlink.device(nic.link)
        if not bridge or bridge.kind != "bridge":
            hint = f"ip link add {nic.link} type bridge"
            raise BadEnvironment(f"LINK={nic.link} is not a bridge of this node", hint)
        overlay, guest_mtu = overlay_of(bridge.alias)
        facts: dict[str, object] = {"mtu": bridge.mtu, "overlay": overlay, "guest_mtu": guest_mtu}
        if nic.vlan:
            ports = self.netlink.ports(ifindex(nic.link))
            uplinks = tuple(
                port.name for port in ports if not (port.kind == "tun" or port.name.startswith("vif"))
            )
            devices = tuple((vid, device) for device, vid, lower in _vlan_devices() if lower in uplinks)
            facts |= {"vlan_aware": bridge.vlan_aware, "default_pvid": bridge.default_pvid}
            facts |= {"vlan_uplinks": uplinks, "vlan_devices": devices}
        return facts


def is_tap(interface: str) -> bool:
    """True if a guest may be attached to it: a tap, or a Xen vif."""
    return access(f"/sys/class/net/{interface}/tun_flags", F_OK) or interface.startswith("vif")


def _vlan_devices() -> Iterator[list[str]]:
    """Name, VLAN and lower device of each 802.1Q device of this node; none if the kernel module is not
    loaded.
    """
    try:
        with open("/proc/net/vlan/config", encoding="utf-8", errors="replace") as file:
            rows = [[word.strip() for word in line.split("|")] for line in file]
    except OSError:
        return
    yield from (row for row in rows if len(row) == 3 and row[1].isdigit())


def kernel_has_ipv6() -> bool:
    """False if the kernel was built or booted without IPv6 (ipv6.disable=1)."""
    return access("/proc/sys/net/ipv6", F_OK)


def has_ipv6(interface: str) -> bool:
    """False if the kernel has no IPv6 or it is disabled on this device."""
    return read_file(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6") == "0\n"


def table_number(link: str, netlink: Netlink) -> int:
    """The number of the routing table that LINK names. Raises BadEnvironment if neither rt_tables nor the
    kernel knows it.
    """
    names = dict(rt_tables())
    number = int(link) if link.isascii() and link.isdigit() else names.get(link, 0)
    known = number in names.values() or number in (MAIN, DEFAULT)
    if not 0 < number < 2**32 or number == LOCAL or not (known or netlink.has_table(number)):
        raise BadEnvironment(
            f"LINK={link} is no routing table of this node",
            "name it in /etc/iproute2/rt_tables.d/snf.conf, give it a default route",
        )
    return number


def rt_tables() -> Iterator[tuple[str, int]]:
    """Names and numbers from rt_tables, as iproute2 reads them (ip-route(8), FILES); the administrator's
    directory comes last and overrides.
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
                        continue  # ip(8) reports the bad line; others may be valid


def _files(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in sorted(listdir(directory)) if name.endswith(".conf")]
    except OSError:
        return []
