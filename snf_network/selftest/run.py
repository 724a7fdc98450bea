"""Send every row from every column's guest, with our tables and without them, look who got it, and judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property

from snf_network.selftest import frames as f
from snf_network.selftest.controls import INWARD, LEGAL
from snf_network.selftest.matrix import (
    COLUMNS,
    GATEWAY,
    GATEWAY6,
    MAC,
    NODE,
    NODE6,
    TAP_MAC,
    UNDERLAY,
    UNDERLAY6,
    VRRP,
    Guest,
    Row,
)
from snf_network.selftest.rows import FORGED
from snf_network.selftest.world import (
    Ear,
    Machine,
    bridge_netfilter,
    drops,
    has_bridge_netfilter,
    send,
    settle,
    watch,
    witnessed,
)

ROWS = (*FORGED, *INWARD, *LEGAL)
ROOM = 16000
"""How far apart the numbers are that two plays count from: more than one play has frames."""
D, PASSES, UNTESTED, IMPOSSIBLE, WRONG = "D", "open", "untested", "-", "WRONG"
TABLES = ("bridge", "inet", "arp")
ROUTER_MAC = "02:00:00:00:00:fe"


@dataclass(frozen=True)
class Trial:
    """Who got a frame, with our tables and without them."""

    heard: frozenset[str]
    without: frozenset[str]


@dataclass(frozen=True)
class Cell:
    """One row in one column."""

    row: Row
    guest: Guest
    trials: tuple[Trial, ...]
    """One with each setting of bridge-nf-call-*."""

    @property
    def heard(self) -> frozenset[str]:
        """Who got the frame, with our tables."""
        return frozenset().union(*(trial.heard for trial in self.trials))

    @property
    def without(self) -> frozenset[str]:
        """Who gets it without them."""
        return frozenset().union(*(trial.without for trial in self.trials))

    @property
    def reason(self) -> str:
        """Why it must be dropped; empty where it must pass."""
        return self.row.reason(self.guest.column)

    @property
    def shown(self) -> str:
        """The verdict as the matrix has it: what nfdhcpd has answered is not lost."""
        return self.reason if self.verdict == D and self.reason == "answered" else self.verdict

    @cached_property
    def verdicts(self) -> list[str]:
        """D, open, untested or WRONG, of each trial."""
        return [self._verdict(trial) for trial in self.trials]

    @cached_property
    def verdict(self) -> str:
        """The worst of them; untested only if none shows anything."""
        return next(verdict for verdict in (WRONG, D, PASSES, UNTESTED) if verdict in self.verdicts)

    def _verdict(self, trial: Trial) -> str:
        if not trial.without:
            return WRONG if self.reason and trial.heard else UNTESTED
        if self.reason:
            return WRONG if trial.heard else D
        return PASSES if trial.heard >= trial.without else WRONG


@dataclass(frozen=True)
class Outcome:
    """What a run has found."""

    cells: tuple[Cell, ...]
    miscounted: tuple[str, ...]
    """Where the counters say otherwise than the matrix, in words."""

    @cached_property
    def wrong(self) -> list[Cell]:
        """The cells that are not as they must be."""
        return [cell for cell in self.cells if cell.verdict == WRONG]


class Site:
    """A node with a NIC for each column, and who can hear them: a peer on the bridge, a router, the node."""

    def __init__(self, stack: ExitStack) -> None:
        self.node, self.guest, self.peer, self.router = (
            stack.enter_context(closing(Machine(name))) for name in ("node", "guest", "peer", "router")
        )
        self.guests = [Guest(column, number) for number, column in enumerate(COLUMNS, 1)]
        for machine in (self.guest, self.peer, self.router):
            machine.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        self._cable("peer0", self.peer, "eth0")
        self._cable("up0", self.router, "eth0")
        self._cable("eth1", self.router, "eth1")
        for guest in self.guests:
            self._cable(guest.tap, self.guest, guest.tap)
        self._node()
        for guest in self.guests:
            self.node.script("kvm-ifup-custom", environment(guest))
        watch(self.node)
        settle(self.node)
        self.ears = {
            "peer": Ear(self.peer, "eth0"),
            "bridge": Ear(self.node, "br0"),
            "other bridge": Ear(self.router, "eth0"),
        }

    def _cable(self, device: str, machine: Machine, far: str) -> None:
        self.node.ip(f"link add {device} type veth peer name {far} netns {machine.holder.pid}")
        machine.ip(f"link set {far} arp off", f"link set {far} up")

    def _node(self) -> None:
        """Table 222 with a default route, a bridge with two ports, two addresses: and no packet of its
        own.
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
            "link set eth1 up",
            f"addr add {NODE}/32 dev lo",
            f"addr add {NODE6}/128 dev lo",
            f"route add default via {GATEWAY} dev eth1 table 222 onlink",
            f"route add default via {GATEWAY6} dev eth1 table 222 onlink",
            f"neigh replace {GATEWAY} lladdr {ROUTER_MAC} dev eth1 nud permanent",
            f"neigh replace {GATEWAY6} lladdr {ROUTER_MAC} dev eth1 nud permanent",
        )
        node.run(
            "sh",
            "-c",
            'echo "222 snf_selftest" > /etc/iproute2/rt_tables.d/snf.conf;'
            ' echo "$1" >> /etc/default/snf-network',
            "sh",
            f'UNDERLAY="{UNDERLAY} {UNDERLAY6}"',
        )

    def plays(self, start: int) -> list[dict[int, set[str]]]:
        """All that `play` tells, with bridge-nf-call-* off and on; once, without br_netfilter."""
        found: list[dict[int, set[str]]] = []
        for setting in (False, True) if has_bridge_netfilter(self.node) else (None,):
            if setting is not None:
                bridge_netfilter(self.node, setting)
            found.append(self.play(start + ROOM * len(found)))
        return found

    def play(self, start: int) -> dict[int, set[str]]:
        """Every row of every column once: who got which number, counted from `start`."""
        heard: dict[int, set[str]] = {}
        for guest in self.guests:
            first = start + len(ROWS) * (guest.number - 1)
            for number in self._receive(guest, first):
                heard.setdefault(number - start, set()).add("guest")
            self._send(guest, first)
        bridged = max(guest.number for guest in self.guests if not guest.column.routed)
        last = (
            start + len(ROWS) * bridged - 1
        )  # every NIC may send the last row: who has it has had all others, or never will
        for name, numbers in (
            *((name, ear.tokens(last)) for name, ear in self.ears.items()),
            ("node", witnessed(self.node)),
        ):
            for number in numbers:
                if start <= number < start + ROOM and not ROWS[(number - start) % len(ROWS)].inward:
                    heard.setdefault(number - start, set()).add(name)
        return heard

    def _send(self, guest: Guest, start: int) -> None:
        send(self.guest, guest.tap, *(frame for row, frame in _frames(guest, start) if not row.inward))

    def _receive(self, guest: Guest, start: int) -> set[int]:
        """What the peer sends to the guest, and which of it comes; the last of it always does."""
        frames = [frame for row, frame in _frames(guest, start) if row.inward]
        if not frames:
            return set()
        ear = Ear(self.guest, guest.tap)
        with closing(ear.socket):
            send(self.peer, "eth0", *frames)
            return ear.tokens(f.token(frames[-1])) & set(map(f.token, frames))

    def learned(self) -> set[tuple[str, str]]:
        """MAC address and port of all that the bridge has learned."""
        lines = [line.split() for line in self.node.out("bridge", "fdb", "show", "br", "br0").splitlines()]
        return {(words[0], words[2]) for words in lines if "permanent" not in words}

    def without_rules(self) -> None:
        """Take our tables away, as `nft flush ruleset` would, and let the bridge learn from any frame
        again.
        """
        for family in TABLES:
            self.node.run("nft", "delete", "table", family, "snf_network")
        self.node.ip("link set br0 type bridge no_linklocal_learn 0")


def _frames(guest: Guest, start: int) -> list[tuple[Row, bytes]]:
    """The rows that the guest's column has, each with its number in it."""
    return [
        (row, f.stamp(row.frame(guest), number))
        for number, row in enumerate(ROWS, start)
        if row.possible(guest.column)
    ]


TO_GUESTS = "mac-prefix"
"""The reason of what is kept from a guest: the node's own frames are counted with it, too."""


def environment(guest: Guest) -> dict[str, str]:
    """What Ganeti would say of the NIC."""
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
        "TAGS": " ".join(f"snf-network:0:{tag}" for tag in column.allows),
    }


def run(say: Callable[[str], None] = lambda words: None) -> Outcome:
    """Build, send, look, and take all away again. Raises KernelError where the machine cannot do that."""
    with ExitStack() as stack:
        say("making a node, a guest, a peer and a router")
        return examine(Site(stack), say)


def examine(site: Site, say: Callable[[str], None] = lambda words: None) -> Outcome:
    """Send all frames with our tables and without them, with each setting of bridge-nf-call-*, and judge. The
    site is of no use afterwards.
    """
    before = drops(site.node)
    say(f"sending {len(ROWS)} frames in {len(COLUMNS)} ways")
    heard, learned = site.plays(1), site.learned()
    counted = drops(site.node) - before
    site.without_rules()
    say("sending them without our tables")
    without, learned_without = site.plays(1 + ROOM * len(heard)), site.learned()
    cells = tuple(_cells(site.guests, list(zip(heard, without, strict=True)), learned, learned_without))
    return Outcome(cells, tuple(_miscounted(cells, counted)))


Heard = dict[int, set[str]]
"""Who got which frame, by its place among all frames of a play."""


def _cells(
    guests: list[Guest],
    plays: list[tuple[Heard, Heard]],
    learned: set[tuple[str, str]],
    learned_without: set[tuple[str, str]],
) -> Iterator[Cell]:
    own = {
        (mac, guest.tap) for guest in guests for mac in (guest.mac, *((VRRP,) if guest.column.allows else ()))
    }
    for guest in guests:
        for place, row in enumerate(ROWS, len(ROWS) * (guest.number - 1)):
            if row.possible(guest.column):
                source = row.frame(guest)[6:12].hex(":"), guest.tap
                forged = MAC in guest.column.pins and row.reason(guest.column)
                taught = [
                    {"forwarding table"} if forged and source in table - own else set()
                    for table in (learned, learned_without)
                ]
                yield Cell(
                    row,
                    guest,
                    tuple(
                        Trial(
                            frozenset(heard.get(place, set()) | taught[0]),
                            frozenset(without.get(place, set()) | taught[1]),
                        )
                        for heard, without in plays
                    ),
                )


def _miscounted(cells: tuple[Cell, ...], counted: Counter[tuple[str, str]]) -> Iterator[str]:
    """What the kernel drops by itself it may drop before we could count it."""
    wanted, most = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for cell in cells:
        if cell.reason and cell.verdict != WRONG:
            wanted[cell.guest.tap, cell.reason] += cell.verdicts.count(D)
            most[cell.guest.tap, cell.reason] += len(cell.trials)
    names = {cell.guest.tap: cell.guest.column.name for cell in cells}
    for key in sorted(wanted.keys() | counted.keys()):
        if key[1] != TO_GUESTS and not wanted[key] <= counted[key] <= most[key]:
            name = names.get(key[0], key[0])
            yield f"{name}: {counted[key]} frames counted as {key[1]}, {wanted[key]} expected"
