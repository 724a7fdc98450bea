"""What each NIC sends, receives and loses a second: the counters of two moments, compared.

Each source is read once for all NICs: /proc/net/dev, the sets of drops, and the records that have changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic

from snf_network.host import kernel
from snf_network.host.record import Record, Records
from snf_network.lean import dataclass, replace
from snf_network.observe import readback


@dataclass(frozen=True)
class Counters:
    """The counters of one NIC at one moment."""

    record: Record
    """Without its Resources."""
    traffic: tuple[int, ...]
    """Bytes and packets that the guest sent, then those that went to it: readback.traffic."""
    drops: Mapping[str, int]
    """Frames by reason."""
    answered: int | None
    """Answers of nfdhcpd; None if it does not know the NIC."""


@dataclass(frozen=True)
class Moment:
    """The counters of all live NICs; time is that of monotonic(), in seconds."""

    time: float
    nics: Mapping[tuple[str, int], Counters]
    """By name and ifindex, as a name is used again."""


@dataclass(frozen=True)
class Rates:
    """What one NIC did between two moments. Bits, packets and frames are a second, seen from the guest."""

    record: Record
    sent_bits: float
    sent_packets: float
    received_bits: float
    received_packets: float
    drops: Mapping[str, float]
    """Frames by reason, without reasons that dropped nothing."""
    answered: int | None
    """Answers of nfdhcpd, not a second but in all; None if it does not know the NIC."""

    @property
    def bits(self) -> float:
        """Sent and received together."""
        return self.sent_bits + self.received_bits

    @property
    def packets(self) -> float:
        """Sent and received together."""
        return self.sent_packets + self.received_packets

    @property
    def dropped(self) -> float:
        """Frames for whatever reason."""
        return sum(self.drops.values())


class Nics:
    """The NICs that exist, by their records. A record is parsed again only if its file is another one:
    parsing takes longer than all else.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self._known: dict[str, tuple[tuple[int, int], Record | None]] = {}

    def live(self) -> Iterator[Record]:
        """As is_live says, for many records at once."""
        known, boot = self._known, kernel.boot()
        self._known = {
            name: known[name]
            if name in known and known[name][0] == stamp
            else (stamp, _short(self.records.load(name)))
            for name, stamp in self.records.stamps()
        }
        for name, (_, record) in self._known.items():
            if record and record.boot == boot and kernel.ifindex(name) == record.ifindex:
                yield record


def _short(record: Record | None) -> Record | None:
    return replace(record, resources=(), stale=()) if record else None


def look(nics: Nics, answered: Mapping[str, int]) -> Moment:
    """The counters now. Raises KernelError."""
    live = {(record.interface, record.ifindex): record for record in nics.live()}
    drops: dict[str, dict[str, int]] = {}
    for (interface, reason), (frames, _) in readback.drops().items():
        drops.setdefault(interface, {})[reason] = frames
    traffic = readback.traffic()
    return Moment(
        monotonic(),
        {
            key: Counters(record, traffic[name], drops.get(name, {}), answered.get(name))
            for key, record in live.items()
            if (name := key[0]) in traffic
        },
    )


def rates(before: Moment, after: Moment) -> list[Rates]:
    """What the NICs of `after` did since `before`; one that is new began with zero."""
    seconds = max(after.time - before.time, 1e-3)
    return [_rates(before.nics.get(key), counters, seconds) for key, counters in after.nics.items()]


def _rates(before: Counters | None, after: Counters, seconds: float) -> Rates:
    traffic, drops = (before.traffic, before.drops) if before else ((0,) * 4, {})
    octets, packets, octets_to, packets_to = (
        _grown(then, now) / seconds for then, now in zip(traffic, after.traffic, strict=True)
    )
    dropped = {
        reason: frames / seconds
        for reason, now in after.drops.items()
        if (frames := _grown(drops.get(reason, 0), now))
    }
    known = before.answered if before and before.answered is not None else after.answered
    answered = None if after.answered is None else _grown(known or 0, after.answered)
    return Rates(after.record, 8 * octets, packets, 8 * octets_to, packets_to, dropped, answered)


def _grown(before: int, after: int) -> int:
    """By how much a counter has grown; one that is smaller than it was began anew."""
    return after - before if after >= before else after
