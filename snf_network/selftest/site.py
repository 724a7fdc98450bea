"""A node with a NIC for each column, and the receivers of its frames; and one play of all rows."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import product

from snf_network.selftest import frames as f
from snf_network.selftest.beyond import FROM_BEYOND, HEARD
from snf_network.selftest.controls import LEGAL
from snf_network.selftest.inward import PASSING, STOPPED, unknown
from snf_network.selftest.limits import LIMITED, lifted, primer, used_up
from snf_network.selftest.matrix import (
    COLUMNS,
    FAR,
    GATEWAY,
    GATEWAY6,
    GATEWAY_LOCAL,
    NODE,
    NODE6,
    OPEN_PORT,
    QUEUED,
    ROUTER_MAC,
    SERVICE,
    SISTER,
    TAP_MAC,
    TRUNK,
    UNDERLAY,
    UNDERLAY6,
    UPLINK_MAC,
    VTEP,
    VTEP6,
    Guest,
    Row,
)
from snf_network.selftest.rows import FORGED
from snf_network.selftest.world import (
    Ear,
    Machine,
    bridge_netfilter,
    delivered,
    encapsulated,
    has_bridge_netfilter,
    settle,
    speak,
    watch,
    witnessed,
)

ROWS = (*FORGED, *LEGAL, *STOPPED, *FROM_BEYOND, *PASSING, *HEARD, *LIMITED)
ROOM = 16000
"""Distance between the first numbers of two plays: more than the number of frames in a play."""
UNCOUNTED = 64999
"""The number of frames that only go before a row's."""
OURS = 0x534E4644
"""The mark of what nfdhcpd sends (rules/netdev.nft)."""
MARKS = 65000
"""First number of the frames that mark the end of a play; they pass every filter."""
TABLES = ("bridge", "inet", "arp", "netdev")
VTEP_SETS = ("vteps", "vteps6", "vtep_self", "vtep_self6")
GATEWAY_MEMBERS = (
    ("bridge", "overlays", f'"{FAR}"'),
    ("bridge", "ingress", f'"{FAR}" : goto beyond'),
    ("bridge", "prefixed", f'"{FAR}"'),
    ("bridge", "router_ips", f'"{FAR}" . {GATEWAY}'),
    *(("bridge", "routers", f'"{FAR}" . {address}') for address in (GATEWAY6, GATEWAY_LOCAL)),
    *(
        ("bridge", "router_targets", f'"{FAR}" . 0x{f.octets(address).hex()}')
        for address in (GATEWAY6, GATEWAY_LOCAL)
    ),
)
"""Those of networks/gateway.py."""
UNROUTED_NETS = ("203.0.113.128/25", "2001:db8:fffd::/48")
OPEN_VSWITCH = """
mkdir /mnt/bin /mnt/bin.work
mount -t overlay overlay -o lowerdir=/usr/bin,upperdir=/mnt/bin,workdir=/mnt/bin.work /usr/bin
cat > /usr/bin/ovs-vsctl <<'END'
#!/bin/sh
case "$*" in *" list "*) exit 1;; esac
while [ $# -gt 0 ] && [ "$1" != add-port ]; do shift; done
[ $# -eq 0 ] || exec ip link set "$3" master "$2"
END
chmod 755 /usr/bin/ovs-vsctl
"""
"""Shell lines that let a bridge stand for that of Open vSwitch: pins are at the tap, before and after either.
"""
Heard = dict[int, set[str]]
"""The receivers of each frame, by its index among all frames of a play."""


class Site:
    """A node with a NIC for each column, and receivers: a peer on the bridge, a router, the node."""

    def __init__(self, stack: ExitStack) -> None:
        self.node, self.guest, self.peer, self.router = (
            stack.enter_context(closing(Machine(name))) for name in ("node", "guest", "peer", "router")
        )
        self.guests = [Guest(column, number) for number, column in enumerate(COLUMNS, 1)]
        self.taught: set[tuple[str, str]] = set()
        self.mark, self.ruled = 0, True
        self.stack, self.speakers = stack, dict[tuple[str, str], socket.socket]()
        for machine in (self.guest, self.peer, self.router):
            machine.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        self._cable("peer0", self.peer, "eth0")
        self._cable("up0", self.router, "eth0")
        self._cable(FAR, self.peer, "eth2")
        self._cable("eth1", self.router, "eth1")
        for guest in self.guests:
            self._cable(guest.tap, self.guest, guest.tap)
            self.node.ip(f"link set {guest.tap} address fe{guest.mac[2:]}")
        self._node()
        for guest in self.guests:
            self._up(guest)
        watch(self.node)
        settle(self.node)
        for guest in self.guests:
            if used_up(guest):
                self._use_up(guest)
        self.ears = {
            "peer": (Ear(self.peer, "eth0"), self.node, "peer0"),
            "bridge": (Ear(self.node, "br0"), self.peer, "eth0"),
            "other bridge": (Ear(self.router, "eth0"), self.node, "up0"),
            "program on the node": (Ear(self.node, "", f.LOCAL), self.peer, "eth0"),
            "router": (Ear(self.router, "eth1"), self.node, "eth1"),
        }

    def _cable(self, device: str, machine: Machine, far: str) -> None:
        self.node.ip(f"link add {device} type veth peer name {far} netns {machine.holder.pid}")
        machine.ip(f"link set {far} arp off", f"link set {far} up")

    def _node(self) -> None:
        """Set up table 222 with a default route, a bridge with two ports, and two addresses; nothing that
        sends packets by itself. Networks missing in table 222 are in table main.
        """
        node = self.node
        self.router.ip(f"link set eth1 address {ROUTER_MAC}")
        for key in ("all", "default"):
            node.sysctl(f"net/ipv4/conf/{key}/rp_filter", "0")
        node.ip(
            "link add br0 type bridge forward_delay 0 mcast_snooping 0",
            f"link set br0 address {TAP_MAC} up",
            "link set peer0 master br0 up",
            "link set up0 master br0 up",
            f"link set {FAR} master br0 up",
            'link set br0 alias "snf-network overlay selftest"',
            f"link set eth1 address {UPLINK_MAC} up",
            f"addr add {NODE}/32 dev lo",
            f"addr add {NODE6}/128 dev lo",
            *(
                line
                for gateway, unrouted in zip((GATEWAY, GATEWAY6), UNROUTED_NETS, strict=True)
                for line in (
                    f"route add default via {gateway} dev eth1 table 222 onlink",
                    f"route add {unrouted} via {gateway} dev eth1 onlink",
                    f"route add throw {unrouted} table 222",
                    f"neigh replace {gateway} lladdr {ROUTER_MAC} dev eth1 nud permanent",
                )
            ),
        )
        for family in ("-4", "-6"):
            node.run("ip", family, "rule", "add", "iif", "eth1", "lookup", "222")
        node.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_selftest\n")
        node.run("sh", "-ec", OPEN_VSWITCH)
        self.settings = node.read("/etc/default/snf-network") + f'UNDERLAY="{UNDERLAY} {UNDERLAY6}"\n'
        self.settings += f'NODE_SERVICES="{OPEN_PORT}/tcp"\n'

    def _up(self, guest: Guest) -> None:
        """Bring its NIC up as its column says."""
        queued = "NFDHCPD_ENGINE=nfqueue\n" if QUEUED in guest.column.pins else ""
        self.node.write("/etc/default/snf-network", self.settings + queued)
        self.node.script("kvm-ifup-custom", environment(guest))
        if guest.column.routed:
            self.node.ip(f"route add {unknown(guest)}/32 dev {guest.tap}")

    def _use_up(self, guest: Guest, *places: str) -> None:
        """Bring a NIC to its limits, by default to all."""
        limits = used_up(guest)
        self.node.load("".join(limits[place] for place in places or limits))
        if not places:
            self._speak(self.guest, guest.tap, primer(guest))
        self._speak(self.peer, "eth0", f.ethernet(SISTER, f.BROADCAST, (f.LOCAL, bytes(46))))

    def make_trunks(self) -> None:
        """Add the members that tag trunk would yield: some kernels' bridges cannot filter VLANs, so the NICs
        are brought up without VLAN. And those of an overlay, whose other node is VTEP.
        """
        for name, member in (("vxlan_ports", 4789), *zip(VTEP_SETS, (VTEP, VTEP6, NODE, NODE6), strict=True)):
            self.node.load(f"add element inet snf_network {name} {{ {member} }}\n")
        for family, name, member in GATEWAY_MEMBERS:
            self.node.load(f"add element {family} snf_network {name} {{ {member} }}\n")
        for guest in self.guests:
            if guest.column.trunk:
                family = "netdev" if guest.column.switched else "bridge"
                self.node.load(f'add element {family} snf_network trunks {{ "{guest.tap}" . {TRUNK} }}\n')

    def plays(self, start: int) -> list[Heard]:
        """The results of `play` with bridge-nf-call-* off and on; without br_netfilter, one."""
        found: list[Heard] = []
        for setting in (False, True) if has_bridge_netfilter(self.node) else (None,):
            if setting is not None:
                bridge_netfilter(self.node, setting)
            found.append(self.play(start + ROOM * len(found)))
        return found

    def play(self, start: int) -> Heard:
        """Send every row of every column once, numbered from `start`; returns the receivers of each."""
        heard: Heard = {}
        self._forget()
        for guest in self.guests:
            first = start + len(ROWS) * (guest.number - 1)
            for number in self._exchange(guest, first):
                heard.setdefault(number - start, set()).add("guest")
        self.taught |= self.learned()
        with self._outside():
            for guest in self.guests:
                told = _frames(guest, start + len(ROWS) * (guest.number - 1))
                self._speak(self.guest, guest.tap, *(frame for row, frame in told if row.outside))
        stack = (
            ("node", witnessed(self.node)),
            ("VXLAN device", encapsulated(self.node)),
            (SERVICE, delivered(self.node)),
        )
        for name, numbers in (*self._listen(), *stack):
            for number in numbers:
                if start <= number < start + ROOM and _counts(ROWS[(number - start) % len(ROWS)], name):
                    heard.setdefault(number - start, set()).add(name)
        return heard

    def _forget(self) -> None:
        """Let each NIC use other link-local addresses than those of the last play."""
        for family, name in product(("inet", "arp", "bridge"), ("noted", "noted4", "noting")):
            self.node.run("nft", "flush", "set", family, "snf_network", name, check=False)

    def _listen(self) -> Iterator[tuple[str, set[int]]]:
        """The numbers that each ear has received."""
        for name, (ear, machine, device) in self.ears.items():
            yield name, set(map(f.token, self._all(ear, machine, device)))

    def _all(self, ear: Ear, machine: Machine, device: str) -> list[bytes]:
        """Everything an ear received before a marker frame that is sent to it now."""
        self.mark = MARKS + (self.mark + 1) % 500
        end = f.ethernet("02:00:00:00:00:01", f.BROADCAST, (f.LOCAL, bytes(46)))
        self._speak(machine, device, f.stamp(end, self.mark))
        return ear.up_to(self.mark)

    def _exchange(self, guest: Guest, start: int) -> set[int]:
        """Send frames from and to the guest; returns the numbers that it received, or got an answer to."""
        told = _frames(guest, start)
        ear = Ear(self.guest, guest.tap)
        with closing(ear.socket):
            if guest.column.routed:
                self._ask(guest)
            for sender, machine, device in (
                ("peer", *((self.router, "eth1") if guest.column.routed else (self.peer, "eth0"))),
                ("beyond", self.peer, "eth2"),
                ("node", self.node, "br0"),
                ("guest", self.guest, guest.tap),
            ):
                rows = ((row, frame) for row, frame in told if row.sender == sender and not row.outside)
                self._speak(machine, device, *_in_order(guest, rows))
            inward = self.ruled and "in" in used_up(guest)
            if inward:  # the marks that end a play must come through
                self.node.load(lifted(guest))
            try:
                heard = self._all(ear, self.node, guest.tap)
                # answers to what was queued before the first marker
                heard += self._all(ear, self.node, guest.tap)
            finally:
                if inward:
                    self._use_up(guest, "in")
        found = set(map(f.token, heard)) & {f.token(frame) for row, frame in told if row.inward}
        return found | {
            f.token(sent)
            for row, sent in told
            if row.answer and any(row.answer(guest, frame) for frame in heard)
        }

    def _speak(self, machine: Machine, device: str, *frames: bytes) -> None:
        """Send frames from a socket that stays open: closing one takes the kernel 10 ms. What the node sends
        to a tap are marks, which no pin keeps from the guest.
        """
        key = machine.name, device
        if key not in self.speakers:
            made = self.stack.enter_context(closing(machine.packet_socket(device, 0)))
            if machine is self.node and device.startswith("tap"):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, OURS)
            self.speakers[key] = made
        speak(self.speakers[key], frames)

    def _ask(self, guest: Guest) -> None:
        """Make the node resolve an address on the guest's tap."""
        self.node.ip(f"neigh flush dev {guest.tap}")
        with self.node.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.sendto(b"", (unknown(guest), 9))

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """A context in which the bridged taps are in no bridge, as after it was deleted and made again."""
        taps = [guest.tap for guest in self.guests if not guest.column.routed]
        self.node.ip(*(f"link set {tap} nomaster" for tap in taps))
        yield
        self.node.ip(*(f"link set {tap} master br0" for tap in taps))
        settle(self.node)

    def learned(self) -> set[tuple[str, str]]:
        """MAC address and port of each entry that the bridge has learned."""
        lines = [line.split() for line in self.node.out("bridge", "fdb", "show", "br", "br0").splitlines()]
        return {(words[0], words[2]) for words in lines if "permanent" not in words}

    def without_rules(self) -> None:
        """Remove our tables, as `nft flush ruleset` would, and permanent neighbour entries of guests that
        answer for themselves; and let the bridge learn from any frame again.
        """
        for guest in self.guests:
            if guest.column.routed and not guest.column.inward:
                self.node.ip(f"neigh flush dev {guest.tap} nud permanent")
        for family in TABLES:
            self.node.run("nft", "delete", "table", family, "snf_network")
        self.node.ip("link set br0 type bridge no_linklocal_learn 0")
        self.taught, self.ruled = set(), False


def _counts(row: Row, name: str) -> bool:
    """For frames to a guest, only the guest counts as receiver, or the row's only receiver."""
    return row.ear == name or not (row.inward or name == SERVICE)


def _frames(guest: Guest, start: int) -> list[tuple[Row, bytes]]:
    """The rows of the guest's column as frames, each stamped with its number."""
    return [
        (row, f.stamp(row.frame(guest), number))
        for number, row in enumerate(ROWS, start)
        if row.possible(guest.column)
    ]


def _in_order(guest: Guest, rows: Iterable[tuple[Row, bytes]]) -> Iterator[bytes]:
    """The frames, each after those that go before it."""
    for row, frame in rows:
        yield from (f.stamp(one, UNCOUNTED) for one in row.first(guest))
        yield frame


def environment(guest: Guest) -> dict[str, str]:
    """The variables that Ganeti would set for the NIC."""
    column = guest.column
    return {
        "INTERFACE": guest.tap,
        "INSTANCE": f"guest{guest.number}",
        "INTERFACE_UUID": f"nic-{guest.number}",
        "INTERFACE_INDEX": "0",
        "MAC": guest.mac,
        "IP": guest.ip,
        "MODE": column.mode,
        "LINK": "snf_selftest" if column.routed else "br0",
        "NETWORK_SUBNET": "198.51.100.0/24",
        "NETWORK_GATEWAY": GATEWAY,
        "NETWORK_SUBNET6": "2001:db8:1::/64",
        "NETWORK_GATEWAY6": GATEWAY6,
        "NETWORK_TAGS": column.tags,
        "TAGS": " ".join(
            (
                *(f"snf-network:0:{tag}" for tag in column.allows),
                *((f"synnefo:network:0:{column.profile}",) if column.profile else ()),
            )
        ),
    }
