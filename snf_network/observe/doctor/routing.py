"""Routes, and the kernel settings that a routed guest's packets depend on."""

from __future__ import annotations

from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING

from snf_network.addresses import is_address, is_interface
from snf_network.host.kernel import ifindex
from snf_network.host.netlink import ANYWHERE
from snf_network.model.resources import NeighProxy
from snf_network.observe import readback
from snf_network.observe.doctor.finding import CRITICAL, WARNING, Finding
from snf_network.observe.doctor.look import Look, setting, several
from snf_network.observe.facts import is_tap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.host.record import Record

WORDS: dict[int, tuple[str, str, str, str]] = {
    AF_INET: ("IPv4", "-4", "NETWORK_GATEWAY", "uplink"),
    AF_INET6: ("IPv6", "-6", "NETWORK_GATEWAY6", "uplink6"),
}
"""Of each address family: its name, ip(8)'s option, Ganeti's variable, and the fact of a record."""
OFF, STRICT, LOOSE = "0", 1, 2
MAIN, FEW = 254, 9
"""The node's own table; and the bits of 512 addresses, half of gc_thresh3."""
FROM_ROUTER = "ra"
"""What ip(8) calls the protocol of a route from a router advertisement."""


def default_routes(look: Look) -> Iterator[Finding]:
    """Tables without a default route, although the network of their NICs has a gateway."""
    for (family, table), records in look.tables.items():
        routed = [record for record in records if _gateway(record, family)]
        if routed and not look.uplinks[family, table]:
            name = look.table_names.get(table, str(table))
            nics = several([record.interface for record in routed])
            what = f"table {name} has no {WORDS[family][0]} default route: no way out for {nics}"
            yield Finding(CRITICAL, "default-route", what, _default(family, name, routed[0]))


def _gateway(record: Record, family: int) -> str:
    """The gateway of a NIC's network; empty if it has none."""
    gateway = dict(record.variables).get(WORDS[family][2], "")
    return gateway if is_address(gateway) else ""


def _default(family: int, table: str, record: Record) -> str:
    """The line that adds the route; the device is that of the time when the NIC came up."""
    _, option, _, fact = WORDS[family]
    device = dict(record.node).get(fact, "")
    uplink = device if is_interface(device) else "UPLINK"
    return f"ip {option} route add default via {_gateway(record, family)} dev {uplink} onlink table {table}"


def neighbours(look: Look) -> Iterator[Finding]:
    """Prefixes that a guest's table has on a link, with more addresses than the neighbour tables of the node
    have room for: each that a guest sends to takes an entry, whoever has it (RFC 6583). In table main that
    is the node's own network.
    """
    for family, table in sorted(look.tables):
        label, option, *_ = WORDS[family]
        name = look.table_names.get(table, str(table))
        for route in readback.ip(option, "route", "show", "table", str(table)) if table != MAIN else ():
            prefix, device = str(route.get("dst", "")), str(route.get("dev", ""))
            length = prefix.partition("/")[2]
            if "gateway" in route or "type" in route or not length or is_tap(device):
                continue
            if (32 if family == AF_INET else 128) - int(length) > FEW:
                what = (
                    f"table {name} has {prefix} on {device}: a guest that tries its addresses "
                    f"fills the node's {label} neighbour table"
                )
                mend = f"ip {option} route del {prefix} dev {device} table {name}  # the router has it"
                yield Finding(WARNING, "on-link", what, mend)


def forwarding(look: Look) -> Iterator[Finding]:
    """Devices in a routed guest's path that do not forward. IPv6 has one switch for all devices, too."""
    for family, folder in ((AF_INET, "ipv4"), (AF_INET6, "ipv6")):
        used = {table: records for table, records in look.tables.items() if table[0] == family}
        uplinks = {look.uplinks[table] for table in used} - {""}
        taps = [record.interface for records in used.values() for record in records]
        everything = ("all",) if used and family == AF_INET6 else ()
        off = [
            device
            for device in (*everything, *sorted(uplinks), *taps)
            if setting(f"net/{folder}/conf/{device}/forwarding") == OFF
        ]
        if off:
            what = f"{WORDS[family][0]} forwarding is off on {several(off)}: routed guests are cut off"
            lines = [f"sysctl -w net/{folder}/conf/{one}/forwarding=1" for one in off if one not in taps]
            repair = ["snf-network repair"] if set(off) & set(taps) else []
            yield Finding(CRITICAL, "forwarding", what, "; ".join(lines + repair))


def reverse_path(look: Look) -> Iterator[Finding]:
    """rp_filter drops what comes from the world if the node itself would not answer by the same device; the
    larger of the values for `all` and the device counts (ip-sysctl).
    """
    back = look.netlink.route(AF_INET, 0, ANYWHERE[AF_INET])
    for uplink in sorted({name for (family, _), name in look.uplinks.items() if name and family == AF_INET}):
        mode = max(int(setting(f"net/ipv4/conf/{name}/rp_filter") or OFF) for name in ("all", uplink))
        there = back.device if back else 0
        if (mode == STRICT and there != ifindex(uplink)) or (mode == LOOSE and not there):
            what = (
                f"rp_filter is {mode} on {uplink}, and the node's own routes to the world are not there: "
                "packets for guests are dropped"
            )
            keys = (uplink,) if there else ("all", uplink)
            words = " ".join(f"net/ipv4/conf/{name}/rp_filter={LOOSE if there else OFF}" for name in keys)
            yield Finding(CRITICAL, "rp-filter", what, f"sysctl -w {words}")


def router_advertisements(look: Look) -> Iterator[Finding]:
    """A node that forwards ignores router advertisements unless accept_ra is 2 (ip-sysctl): the default route
    that it has from them goes when the first routed NIC turns forwarding on, or is gone.
    """
    if "routed" not in look.modes:
        return
    defaults = readback.ip("-6", "route", "show", "default", "table", "main")
    if setting("net/ipv6/conf/all/forwarding") == "1" and not defaults:
        addresses = readback.ip("-6", "addr", "show", "scope", "global", "dynamic")
        told = {link["ifname"] for link in addresses if link.get("addr_info")}
        words = "was told by routers, and no longer listens to them: the node has no IPv6 default route"
    else:
        told = {str(route.get("dev", "")) for route in defaults if route.get("protocol") == FROM_ROUTER}
        words = "has the node's IPv6 default route from a router, and loses it once the node forwards"
    for device in sorted(told):
        if device and setting(f"net/ipv6/conf/{device}/accept_ra") == "1":
            mend = f"sysctl -w net/ipv6/conf/{device}/accept_ra=2"
            yield Finding(WARNING, "accept-ra", f"accept_ra is 1 on {device}, which {words}", mend)


def proxies(look: Look) -> Iterator[Finding]:
    """Devices on which the node should answer neighbour solicitations for guests, and does not: proxy_ndp is
    off, or it has no entry.
    """
    wanted = {
        one.interface
        for record in look.live
        for one in record.resources
        if isinstance(one, NeighProxy) and ":" in one.address
    }
    if not wanted:
        return
    answering = {entry["dev"] for entry in readback.ip("-6", "neigh", "show", "proxy")}
    everywhere = setting("net/ipv6/conf/all/proxy_ndp") == "1"
    for device in sorted(name for name in wanted if not is_tap(name) and ifindex(name)):
        if not everywhere and setting(f"net/ipv6/conf/{device}/proxy_ndp") == OFF:
            what = f"proxy_ndp is off on {device}: nobody there finds the guests' IPv6 addresses"
            mend = f"sysctl -w net/ipv6/conf/{device}/proxy_ndp=1  # networkd: IPv6ProxyNDP=yes"
            yield Finding(CRITICAL, "proxy-ndp", what, mend)
        elif device not in answering:
            what = f"proxy_ndp has no entry on {device}: nobody there finds the guests' IPv6 addresses"
            yield Finding(CRITICAL, "proxy-ndp", what, "snf-network repair")
