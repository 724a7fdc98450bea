"""The way of a packet, tag by tag, as pictures. `python3 -m tests.ways` writes docs/ways/*.svg.

A picture has a column for each place that a packet may come by, and a row for each kind of packet: where it
begins, which way it goes, and where it arrives or is dropped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from snf_network.commands.draw.layout import EDGE, SMALL, length
from snf_network.commands.draw.svg import STYLE

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "ways"
MORE = """.go { stroke: #1a7f37; } .no { stroke: #cf222e; } .tell { stroke: #0550ae; }
.go, .no, .tell { fill: none; stroke-width: 2; } .rail { stroke: #d5dbe1; stroke-dasharray: 3 4; }
.gofill { fill: #1a7f37; } .nofill { fill: #cf222e; } .tellfill { fill: #0550ae; }
@media (prefers-color-scheme: dark) {
.go { stroke: #3fb950; } .no { stroke: #f85149; } .tell { stroke: #79c0ff; } .rail { stroke: #3d444d; }
.gofill { fill: #3fb950; } .nofill { fill: #f85149; } .tellfill { fill: #79c0ff; }
}
"""
WIDTH, TOP, HEAD, ROW = 880, 58, 40, 46
"""Of a picture; where its places begin, how high they are, and how high a row is."""
BOX = 132
"""Width of a place."""
GO, NO, TELL = "go", "no", "tell"
"""A packet arrives, or is dropped, or is no packet of a guest: what the node says or does."""


@dataclass(frozen=True)
class Row:
    """One kind of packet, from a place to another one, and what is said where it ends."""

    kind: str
    start: int
    end: int
    what: str
    why: str = ""


@dataclass(frozen=True)
class Way:
    """A picture."""

    title: str
    places: tuple[str, ...]
    rows: tuple[Row, ...]

    def x(self, place: int) -> float:
        """The middle of a place."""
        room = WIDTH - 2 * EDGE - BOX
        return EDGE + BOX / 2 + place * room / (len(self.places) - 1)


def go(start: int, end: int, what: str, why: str = "") -> Row:
    """A packet that arrives."""
    return Row(GO, start, end, what, why)


def no(start: int, end: int, what: str, why: str = "") -> Row:
    """A packet that is dropped."""
    return Row(NO, start, end, what, why)


def tell(start: int, end: int, what: str, why: str = "") -> Row:
    """What the node says of itself."""
    return Row(TELL, start, end, what, why)


ROUTED = ("guest|eth0", "tap0|pins", "table 222|of the network", "eth1|uplink", "router|and the world")
BRIDGED = ("guest|eth0", "tap1|pins", "bridge|prv0", "eth2|a port", "other guests|on all nodes")
WAYS = {
    "pair": Way(
        "Two nodes, before anything is installed",
        ("you", "node1|192.0.2.11", "node2|192.0.2.12", "router|198.51.100.1"),
        (
            tell(0, 2, "eth0: ssh and Ganeti"),
            tell(1, 2, "eth2: private networks"),
            tell(3, 1, "eth1: the public network, without an address on the nodes"),
        ),
    ),
    "flow": Way(
        "What happens on a node",
        ("Ganeti", "snf-network", "kernel", "tap", "guest"),
        (
            tell(0, 1, "NIC up: the script gets MAC, IP, network and tags"),
            tell(1, 2, "one transaction: set members, routes, proxies"),
            go(4, 2, "the guest's own frames: routed, or bridged", "to the world"),
            no(4, 3, "forged frames: MAC, IP, ARP, ND, DHCP server", "dropped and counted"),
            tell(3, 4, "nfdhcpd: DHCP, DHCPv6, RA"),
            tell(2, 1, "changes: the watch puts back what others took away"),
        ),
    ),
    "routed": Way(
        "routed: the NIC's packets take one table's routes",
        ROUTED,
        (
            go(0, 4, "from its own MAC and addresses: marked 222, looked up in that table alone"),
            no(0, 1, "another MAC or source", "src-mac, ip4-src, ip6-src"),
            no(0, 1, "ARP and ND for others", "arp-mac, arp-ip, na-target"),
            no(0, 1, "RA, redirects, DHCP server", "ra, redirect, dhcp-server"),
            go(4, 0, "to its addresses: a route to the tap, and a permanent neighbour entry"),
        ),
    ),
    "bridged": Way(
        "bridged: the tap is a port of a bridge",
        ("guest|eth0", "tap1|a port", *BRIDGED[2:]),
        (
            go(0, 4, "everything: without a tag that filters, a bridged NIC is not pinned"),
            go(4, 0, "all that the bridge sends to this port"),
            no(0, 1, "to the tap itself", "it has no address, so nobody talks to the node past its bridge"),
        ),
    ),
    "ext": Way(
        "ext: bridged if LINK is a bridge, else routed",
        ("Ganeti 3.2", "LINK", "bridge", "table", "guest"),
        (
            tell(0, 1, "network/ext/up", ""),
            go(4, 2, "LINK is a bridge of the node: as bridged"),
            go(4, 3, "else: as routed"),
            tell(0, 3, "MIGRATION_PHASE=pre: all but routes, proxies and announcements"),
        ),
    ),
    "openvswitch": Way(
        "openvswitch: a port of an Open vSwitch bridge",
        ("guest|eth0", "tap", "Open vSwitch|LINK", "a port", "other guests"),
        (
            go(0, 4, "in the port's VLAN or trunks, as stock Ganeti sets them"),
            tell(1, 0, "tags filter here as on a bridge, before and after Open vSwitch"),
            tell(1, 0, "nfdhcpd answers on the tap"),
        ),
    ),
    "ip-less-routed": Way(
        "ip-less-routed: the node answers for its guests",
        ROUTED,
        (
            tell(2, 4, "NIC up: gratuitous ARP and NA, from the node's own MAC"),
            go(4, 3, "who has the guest?", "the node's MAC: a proxy entry on eth1"),
            go(4, 0, "packets to the guest"),
            go(0, 1, "who has the gateway?", "the tap's MAC: no guest sees another"),
            go(0, 4, "packets by that gateway, out of eth1"),
            tell(1, 0, "the node asks for the guest in the gateway's name: it has no address here"),
        ),
    ),
    "gateway-on-tap": Way(
        "gateway-on-tap: the node is the guests' gateway",
        ("guest|eth0", "tap0|the gateway", *ROUTED[2:4], "switch|and the world"),
        (
            go(0, 1, "who has the gateway?", "the tap's MAC, which is the same on each node"),
            go(0, 4, "packets by that gateway, looked up in the network's table"),
            go(4, 0, "to its addresses: a route to the tap"),
            no(0, 1, "as the gateway", "ip4-src, ip6-src, arp-ip, na-target"),
            tell(2, 1, "an address that is deleted by hand is back within a minute"),
        ),
    ),
    "bgp": Way(
        "bgp: the guest announces what it may use",
        (
            "guest|and its daemon",
            "tap0|the gateway",
            "BIRD or FRR|on the node",
            *ROUTED[3:4],
            "switch|and the world",
        ),
        (
            go(0, 2, "its addresses, and what allow: names", "a route via the guest's own address"),
            no(0, 2, "another's address, a default route", "ignored: no route"),
            tell(2, 4, "what the guest announces, as long as it does"),
            go(4, 0, "packets to what is announced"),
            go(0, 4, "packets from its addresses, and from what allow: names"),
        ),
    ),
    "address6": Way(
        "v6-from-v4, address: another one than that of the MAC",
        ("guest|eth0", "tap|pinned or served", "node", "router|and the world"),
        (
            tell(2, 0, "nfdhcpd: 2001:db8:1:0:198:51:100:10, as IP is 198.51.100.10"),
            go(0, 3, "from that address"),
            no(0, 1, "from the EUI-64 address", "ip6-src: it is nobody's"),
            no(0, 1, "NA or DAD for that one", "na-target, dad-target"),
            go(3, 0, "to that address: routed NICs have a route and a permanent neighbour entry"),
        ),
    ),
    "private-filtered": Way(
        "private-filtered: many private networks on one bridge",
        BRIDGED,
        (
            go(0, 4, "from its own MAC, aa:55:60:...: to guests with the same prefix"),
            no(0, 1, "another MAC, in ARP too", "src-mac, arp-mac"),
            no(0, 1, "VLAN tags, 802.3, MVRP", "tagged, ethertype, ll-dst"),
            go(4, 0, "from MACs with the prefix aa:55:60: unicast, broadcast, multicast"),
            no(4, 1, "from another network's MACs, also broadcast", "mac-prefix"),
        ),
    ),
    "ip-filtered": Way(
        "ip-filtered: on a shared bridge, but with its own addresses only",
        BRIDGED,
        (
            go(0, 4, "its IP, the EUI-64 address of its MAC, its link-local address"),
            no(0, 1, "another MAC or source", "src-mac, ip4-src, ip6-src, ip6-ll-src"),
            no(0, 1, "ARP, NA, DAD for others", "arp-ip, na-target, dad-target"),
            no(0, 1, "other ethertypes, tags", "ethertype, tagged"),
            go(0, 4, "DHCP from 0.0.0.0, ARP probes, DAD, MLD: what every host needs"),
        ),
    ),
    "isolated": Way(
        "isolated: to the gateway, and not to each other",
        (
            "guests A, B|on this node",
            "their taps|isolated ports",
            "bridge|prv0",
            "eth2|uplink",
            "gateway|and other nodes",
        ),
        (
            go(0, 4, "to the gateway"),
            go(4, 0, "from the gateway: its MAC has another prefix than the guests'"),
            no(0, 2, "from A to B, whatever A sends", "the bridge keeps isolated ports apart"),
            no(4, 1, "from guests on other nodes, known by their MAC prefix", "isolated"),
            no(0, 1, "with another prefix", "src-mac: with ip-filtered, on every node"),
            go(2, 0, "from the node itself"),
        ),
    ),
    "nfdhcpd": Way(
        "nfdhcpd: the node answers on the guest's own tap",
        ("guest|eth0", "tap0", "nfdhcpd|on the node", "bridge or table", "other guests"),
        (
            go(0, 2, "DHCP, DHCPv6, router solicitation", "from the guest's binding"),
            no(0, 1, "the same request", "goes no further: answered"),
            tell(2, 0, "address, gateway, name servers, MTU, routes"),
            no(0, 1, "a guest as DHCP server", "dhcp-server"),
            no(0, 1, "a guest as router", "ra, redirect, querier"),
        ),
    ),
    "masq": Way(
        "masq: the node reaches the guests, and they reach the outside",
        ("guest|eth0", "tap1", "node|its bridge", "eth0|default route", "outside"),
        (
            go(2, 0, "the node itself, by its bridge"),
            go(0, 2, "the guest, to the node"),
            go(0, 4, "with MASQ=true: to the outside, from the node's own address"),
            no(0, 2, "to another network with masq", "masq"),
        ),
    ),
    "trunk": Way(
        "trunk: tagged frames, in the VLANs of the NIC",
        ("guest|eth0", "tap1|VLAN .5:6:7", "bridge|VLAN-aware", "eth3|a port", "switch"),
        (
            go(0, 4, "untagged: it is in VLAN 5, with all pins"),
            go(0, 4, "tagged 6 or 7, from the guest's MAC; addresses are not checked"),
            no(0, 1, "tagged 5, or any other", "tagged"),
            no(0, 1, "another MAC, in any VLAN", "src-mac"),
        ),
    ),
    "limit": Way(
        "limit: what is too much is dropped at the NIC's own device",
        ("guest|eth0", "tap|limits, then pins", "bridge or table", "others"),
        (
            go(0, 3, "what is within the limits, and as its tags allow"),
            no(0, 1, "too many octets or frames", "limit-out, limit-pps: dropped, not delayed"),
            no(0, 1, "too much broadcast, multicast", "limit-broadcast"),
            no(0, 1, "too many new TCP connections", "limit-new"),
            go(3, 0, "what is within the limits"),
            no(3, 1, "too many octets or frames, the node's own, too", "limit-in, limit-pps-in"),
            go(3, 0, "with shape:in, at that rate, out of a queue"),
        ),
    ),
    "allow": Way(
        "allow and mac: more addresses for one NIC",
        ROUTED,
        (
            go(0, 4, "from its own addresses, and from those that an instance tag allows"),
            no(0, 1, "from any other", "ip4-src, ip6-src"),
            no(0, 1, "from the gateway's", "also if an allowed prefix contains it"),
            go(4, 0, "to what is allowed: a route via the guest's own address"),
        ),
    ),
    "virtual": Way(
        "A virtual address for two guests",
        ("guest A", "guest B", "node", "eth1", "router"),
        (
            go(4, 0, "to the virtual address: the route leads to the holder, guest A"),
            go(1, 2, "gratuitous ARP or NA:", "B is the holder now, 40 ms later"),
            tell(3, 4, "announced again"),
            go(4, 1, "to the virtual address, from now on"),
            no(1, 2, "a guest that may not have it", "arp-ip, na-target"),
        ),
    ),
    "underlay": Way(
        "UNDERLAY: no tunnel from a guest to the nodes",
        ("guest", "tap|pinned or served", "node", "underlay", "other nodes"),
        (
            no(0, 1, "VXLAN, Geneve, GRE, IP in IP", "to an address of UNDERLAY: tunnel"),
            go(0, 4, "anything else, as its tags allow"),
            tell(2, 4, "the node's own tunnels"),
        ),
    ),
    "services": Way(
        "NODE_SERVICES: what a routed guest may ask of its node",
        ("guest|eth0", "tap0|pins", "node|all its addresses", "eth1|uplink", "router|and the world"),
        (
            go(0, 2, "ping, path MTU, neighbour discovery, traceroute"),
            no(0, 2, "new TCP connections, UDP: sshd, noded", "refused, and counted as service"),
            go(0, 2, "what NODE_SERVICES opens: 53/udp@192.0.2.53"),
            go(2, 0, "the node's own TCP connections, and their answers"),
            go(0, 4, "through the node, to others: not concerned"),
        ),
    ),
    "dns": Way(
        "dns: a name goes to a file, and from there to the server",
        ("Ganeti", "script or hook", "file", "sender", "name server"),
        (
            tell(0, 1, "NIC up, or stop"),
            tell(1, 2, "what is wanted", "nothing waits any longer"),
            tell(2, 3, "at once, and each minute"),
            tell(3, 4, "update, with conditions", ""),
            tell(4, 3, "asked again:", "only then `registered`"),
        ),
    ),
    "profiles": Way(
        "Firewall profiles: what is forwarded to a guest",
        ("the world|or other guests", "bridge or table", "tap0|profile", "guest|eth0"),
        (
            go(0, 3, "protected: answers of TCP, DNS, NTP, QUIC and DHCP; ICMP"),
            no(0, 2, "protected: new TCP connections, other UDP"),
            go(0, 3, "limited: the same, and new connections to 22 and 3389"),
            go(0, 3, "unprotected: everything"),
            go(3, 0, "what the guest sends: no profile looks at it"),
        ),
    ),
    "vlan": Way(
        "physical-vlan, public: bridged, or for people",
        ("guest|eth0", "tap", "bridge|over a VLAN", "eth1.100", "switch"),
        (go(0, 4, "everything: these tags filter nothing"), go(4, 0, "everything in that VLAN")),
    ),
    "third": Way(
        "Tags of third parties",
        ("Ganeti", "snf-network", "your program", "kernel"),
        (
            tell(0, 1, "NIC up, with your tag"),
            tell(1, 2, "the NIC, as variables"),
            tell(2, 1, "Resources, as JSON:", "checked, recorded"),
            tell(1, 3, "put in place with all others; shown, checked, removed like them"),
        ),
    ),
}


def text(way: Way) -> str:
    """A picture."""
    high = TOP + HEAD + ROW * len(way.rows) + 22
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" width="{WIDTH}" height="{high}" role="img">',
        f"<title>{escape(way.title)}</title>",
        f"<style>{STYLE}{MORE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{high}"/>',
        _words("h", EDGE, 34, way.title, 19.0),
    ]
    for number, place in enumerate(way.places):
        parts += _place(way.x(number), place, high)
    for number, row in enumerate(way.rows):
        parts += _row(way, row, TOP + HEAD + ROW * (number + 1) - 6)
    return "\n".join((*parts, "</svg>\n"))


def _place(x: float, words: str, high: int) -> Iterator[str]:
    name, _, more = words.partition("|")
    yield f'<path class="rail" d="M{x:g} {TOP + HEAD}V{high - 12}"/>'
    yield f'<rect class="panel" x="{x - BOX / 2:g}" y="{TOP}" width="{BOX}" height="{HEAD}" rx="6"/>'
    yield _words("b", x, TOP + (17 if more else 25), name, 12.0, "middle")
    if more:
        yield _words("s mute", x, TOP + 32, more, SMALL, "middle")


def _row(way: Way, row: Row, y: float) -> Iterator[str]:
    """The words stand above the line, and what is said of its end below or beside it."""
    start, end = way.x(row.start), way.x(row.end)
    ahead = 1 if end > start else -1
    anchor = "start" if ahead > 0 else "end"
    yield _what(row.what, min(start, end) + 8, max(start, end) - 8, y - 8, ahead)
    yield f'<path class="{row.kind}" d="M{start:g} {y:g}H{end - 6 * ahead:g}"/>'
    yield f'<circle class="{row.kind}fill" cx="{start:g}" cy="{y:g}" r="3.5"/>'
    for place in range(min(row.start, row.end) + 1, max(row.start, row.end)):
        yield f'<circle class="{row.kind}fill" cx="{way.x(place):g}" cy="{y:g}" r="2.5"/>'
    yield _cross(end, y) if row.kind == NO else _head(row.kind, end, y, ahead)
    if row.why:
        kind = {GO: "ok", NO: "bad", TELL: "pilltext"}[row.kind]
        yield _words(f"s {kind}", end + 12 * ahead, y + 4, row.why, SMALL, anchor)


def _what(words: str, left: float, right: float, y: float, ahead: int) -> str:
    """The words above a line: at its beginning, or, if they are longer, to the side that has room."""
    wide = length(words, SMALL)
    if (ahead < 0 and wide <= right - left) or left + wide > WIDTH - 4:
        return _words("s ink", right, y, words, SMALL, "end")
    return _words("s ink", left, y, words, SMALL)


def _head(kind: str, x: float, y: float, ahead: int) -> str:
    return f'<path class="{kind}fill" d="M{x:g} {y:g}l{-9 * ahead} -5v10z"/>'


def _cross(x: float, y: float) -> str:
    return f'<path class="no" d="M{x - 5:g} {y - 5:g}l10 10m0 -10l-10 10"/>'


def _words(kind: str, x: float, y: float, words: str, size: float, anchor: str = "start") -> str:
    """One line. Raises ValueError if it leaves the picture."""
    wide = length(words, size)
    left = {"start": x, "middle": x - wide / 2, "end": x - wide}[anchor]
    if left < 4 or left + wide > WIDTH - 4:
        raise ValueError(f"no room for {words!r}: {left:.0f} to {left + wide:.0f}")
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def main() -> int:
    """Write all."""
    FOLDER.mkdir(exist_ok=True)
    for name, way in WAYS.items():
        (FOLDER / f"{name}.svg").write_text(text(way))
    return 0


if __name__ == "__main__":
    sys.exit(main())
