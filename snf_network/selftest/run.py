"""Send every row from every column's guest, with and without our tables, see who receives it, and judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

from snf_network.selftest.matrix import (
    COLUMNS,
    FAR,
    MAC,
    QUEUED,
    SERVICE,
    UNCOUNTED,
    VRRP,
    Column,
    Guest,
    Row,
)
from snf_network.selftest.site import ROOM, ROWS, Heard, Site
from snf_network.selftest.world import drops

D, PASSES, UNTESTED, IMPOSSIBLE, WRONG = "D", "open", "untested", "-", "WRONG"
EARS = {
    "node",
    "program on the node",
    "guest",
    "peer",
    "bridge",
    "other bridge",
    "router",
    "VXLAN device",
    SERVICE,
    "forwarding table",
}
TO_GUESTS = ("mac-prefix", "foreign", "limit-in", "limit-pps-in")
"""The reasons for frames kept from a guest; those of the node itself are counted with it too."""
MORE = {*TO_GUESTS, "dst-mac", "isolated", "service", "neighbours", "arp-neighbours"}
"""Reasons that more frames are dropped for than rows: other rows' frames to the node, or
flooded to all guests, and those before a row.
"""


@dataclass(frozen=True)
class Trial:
    """The receivers of a frame, with and without our tables."""

    heard: frozenset[str]
    without: frozenset[str]


@dataclass(frozen=True)
class Cell:
    """One row in one column."""

    row: Row
    guest: Guest
    trials: tuple[Trial, ...]
    """One for each setting of bridge-nf-call-*."""

    @property
    def heard(self) -> frozenset[str]:
        """The receivers with our tables."""
        return frozenset().union(*(trial.heard for trial in self.trials))

    @property
    def without(self) -> frozenset[str]:
        """The receivers without our tables."""
        return frozenset().union(*(trial.without for trial in self.trials))

    @property
    def reason(self) -> str:
        """Why it must be dropped; empty if it must pass."""
        return self.row.reason(self.guest.column)

    @property
    def counted(self) -> str:
        """The device that its drop is counted for: where it comes from, or the NIC that it is kept from."""
        beyond = self.row.sender == "beyond" and self.reason not in ("foreign", "isolated")
        return FAR if beyond else self.guest.tap

    @property
    def shown(self) -> str:
        """The verdict as shown in the matrix: a frame that nfdhcpd answers shows as `answered`."""
        return self.reason if self.verdict == D and self.reason == "answered" else self.verdict

    @cached_property
    def verdicts(self) -> list[str]:
        """D, open, untested or WRONG for each trial."""
        return [self._verdict(trial) for trial in self.trials]

    @cached_property
    def verdict(self) -> str:
        """The worst verdict; untested only if all trials are."""
        return next(verdict for verdict in (WRONG, D, PASSES, UNTESTED) if verdict in self.verdicts)

    def _verdict(self, trial: Trial) -> str:
        if self.reason and not trial.without:
            return WRONG if trial.heard else UNTESTED
        if self.reason:
            return WRONG if trial.heard else D
        return PASSES if trial.heard and trial.heard >= trial.without else WRONG


@dataclass(frozen=True)
class Outcome:
    """The results of a run."""

    cells: tuple[Cell, ...]
    miscounted: tuple[str, ...]
    """Differences between counters and matrix, in words."""

    @cached_property
    def wrong(self) -> list[Cell]:
        """The cells whose result is wrong."""
        return [cell for cell in self.cells if cell.verdict == WRONG]


def run(say: Callable[[str], None] = lambda words: None) -> Outcome:
    """Build the site, send, look, and remove everything. Raises KernelError if the machine cannot do that."""
    with ExitStack() as stack:
        say("making a node, a guest, a peer and a router")
        return examine(Site(stack), say)


def examine(site: Site, say: Callable[[str], None] = lambda words: None) -> Outcome:
    """Send all frames with and without our tables, with each setting of bridge-nf-call-*, and judge. The site
    cannot be used afterwards.
    """
    site.make_trunks()
    before = drops(site.node)
    say(f"sending {len(ROWS)} frames in {len(COLUMNS)} ways")
    heard, learned = site.plays(1), site.taught
    counted = drops(site.node) - before
    site.without_rules()
    say("sending them without our tables")
    without, learned_without = site.plays(1 + ROOM * len(heard)), site.taught
    cells = tuple(_cells(site.guests, list(zip(heard, without, strict=True)), learned, learned_without))
    return Outcome(cells, tuple(_miscounted(cells, counted)))


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
                deaf = _deaf(row, guest.column)
                trials = (
                    Trial(
                        *(frozenset(one.get(place, set()) | more) - deaf for one, more in zip(pair, taught))
                    )
                    for pair in plays
                )
                yield Cell(row, guest, tuple(trials))


def _deaf(row: Row, column: Column) -> set[str]:
    """The receivers that do not count: all but the row's only one, if any; and the node, if br_netfilter
    shows it frames that are dropped only after the nfqueue engine of nfdhcpd.
    """
    if row.ear and (column.routed or row.inward):
        return EARS - {row.ear}
    return (
        {"node"}
        if QUEUED in column.pins and not column.routed and row.reason(column) == "answered"
        else set()
    )


def _miscounted(cells: tuple[Cell, ...], counted: Counter[tuple[str, str]]) -> Iterator[str]:
    """Where counters are wrong. The kernel may drop frames by itself before we count them, so fewer may be
    counted; and more may be, for some reasons.
    """
    wanted, most = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for cell in cells:
        if cell.reason and cell.reason not in UNCOUNTED and cell.verdict != WRONG:
            wanted[cell.counted, cell.reason] += cell.verdicts.count(D)
            most[cell.counted, cell.reason] += len(cell.trials)
    names = {cell.guest.tap: cell.guest.column.name for cell in cells}
    for key in sorted(wanted.keys() | counted.keys()):
        if counted[key] < wanted[key] or (key[1] not in MORE and counted[key] > most[key]):
            name = names.get(key[0], key[0])
            yield f"{name}: {counted[key]} frames counted as {key[1]}, {wanted[key]} expected"
