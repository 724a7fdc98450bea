"""Print metrics of this node's NICs, its names in DNS and its nfdhcpd for Prometheus.

With --textfile they are written, by rename, to a file for node_exporter's textfile collector.
snf-network-metrics.timer does that every minute. The label `guest` has the name of the instance: Prometheus
itself uses the label `instance`. Frames and bytes are counted from the guest's side.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator

from snf_network import __version__
from snf_network.dhcpd import liveness
from snf_network.dhcpd import metrics as of_daemon
from snf_network.dhcpd.control_client import Connection
from snf_network.errors import SnfNetworkError
from snf_network.host import kernel, latency
from snf_network.host.record import Record, Records, is_live
from snf_network.model.config import Config, dns_is_on
from snf_network.observe import readback
from snf_network.scripts.process import IFUPS
from snf_network.watch.state import state as watch_state

from . import chosen, prometheus, status
from .prometheus import Family, Histogram, by, one

SUMMARY = "print metrics for Prometheus"
TRAFFIC = {
    "sent_bytes": "Bytes that the guest sent.",
    "sent_packets": "Frames that the guest sent.",
    "received_bytes": "Bytes that went to the guest.",
    "received_packets": "Frames that went to the guest.",
}
"""Counters of a tap in the order of readback.traffic: what the node receives, the guest has sent."""
DIFFERENCES = {
    "rules": "rules",
    "profile": "profiles",
    "missing": "missing",
    "outdated": "outdated",
    "lacking": "lacking",
    "gone": "gone",
    "unreadable": "unreadable",
    "unrecorded": "unrecorded",
    "orphan": "orphans",
}
"""The kinds of difference, named as in `check`, and their fields in a Difference."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    parser.add_argument("--textfile", metavar="PATH", help="write this file instead of stdout")
    parser.add_argument(
        "--drift",
        action="store_true",
        help="also count the differences between node and records, which takes as long as `check`",
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Print or write all metrics."""
    records, unreadable = Records(config.state_dir).all()
    live = [record for record in records if is_live(record)]
    families = [
        by("version", "snf_network_build_info", "The version of snf-network.", {__version__: 1}),
        *_nics(records, config),
        one("snf_network_unreadable_records", "Records that cannot be read.", len(unreadable)),
        *_traffic(live),
        *_drops(live),
        *(_drift(config) if options.drift else ()),
        *(_names(config) if dns_is_on(config) else ()),
        *_answers(live, config),
        *_watch(),
        *_latency(),
    ]
    text = prometheus.text(families) + _daemon()
    if options.textfile:
        kernel.write_file(options.textfile, text)
    else:
        sys.stdout.buffer.write(text.encode())
    return 0


def _nics(records: list[Record], config: Config) -> Iterator[Family]:
    states = Counter((status.state(record), dict(record.variables).get("MODE", "")) for record in records)
    yield Family(
        "snf_network_nics",
        "NICs by state (as in snf-network status) and mode.",
        tuple(({"state": state, "mode": mode}, count) for (state, mode), count in sorted(states.items())),
    )
    tags = Counter(tag for record in records for tag in chosen.known_tags(record, config))
    yield by("tag", "snf_network_tagged_nics", "NICs by tag; unknown tags are left out.", tags)


def _labels(record: Record) -> dict[str, str]:
    return {
        "interface": record.interface,
        "guest": record.instance,
        "nic": chosen.nic_of(record),
        "network": dict(record.variables).get("NETWORK_NAME", ""),
    }


def _traffic(live: list[Record]) -> Iterator[Family]:
    counts = readback.traffic()
    known = [(_labels(record), counts[record.interface]) for record in live if record.interface in counts]
    for position, (name, about) in enumerate(TRAFFIC.items()):
        samples = tuple((labels, figures[position]) for labels, figures in known)
        yield Family(f"snf_network_nic_{name}_total", about, samples)


def _drops(live: list[Record]) -> Iterator[Family]:
    """Of NICs that exist: the counters of others have a number in the place of a name."""
    labels = {record.interface: _labels(record) for record in live}
    found = [
        ({**labels[interface], "reason": reason}, counts)
        for (interface, reason), counts in sorted(readback.drops().items())
        if interface in labels
    ]
    for position, (name, about) in enumerate((("packets", "Frames"), ("bytes", "Bytes"))):
        samples = tuple((labelled, counts[position]) for labelled, counts in found)
        yield Family(f"snf_network_nic_dropped_{name}_total", f"{about} that were dropped.", samples)


def _drift(config: Config) -> Iterator[Family]:
    from snf_network.observe.drift import compare

    difference = compare(config)
    counts = {kind: len(getattr(difference, field)) for kind, field in DIFFERENCES.items()}
    about = "Differences between the node and its records, by kind as in snf-network check."
    yield by("kind", "snf_network_differences", about, counts)


def _names(config: Config) -> Iterator[Family]:
    from snf_network.dns.figures import figures

    found = figures(config.state_dir)
    yield by(
        "state", "snf_network_dns_instances", "Instances by the state of their names in DNS.", found.states
    )
    about = "For how long the oldest change to a name has not reached DNS; 0 if none is open."
    yield one("snf_network_dns_oldest_pending_seconds", about, found.oldest)


def _latency() -> Iterator[Family | Histogram]:
    counts, total, failed = latency.figures(IFUPS)
    about = "How long it took to bring a NIC up, without the start of the interpreter."
    yield Histogram("snf_network_ifup_seconds", about, latency.BOUNDS, counts, total)
    yield one("snf_network_ifup_failures_total", "How often a NIC was not brought up.", failed)


def _answers(live: list[Record], config: Config) -> Iterator[Family]:
    silent = chosen.silent(live, config)
    yield one(
        "snf_network_unanswered_nics", "NICs that rely on nfdhcpd and get no answer from it.", len(silent)
    )


def _watch() -> Iterator[Family]:
    """What the watch has done since it started; without one, only that it does not run."""
    said = watch_state()
    yield one("snf_network_watch_up", "1 if snf-network watch runs.", int(said is not None))
    if said:
        about = (
            "How often the watch put back what was lost, took back what a gone NIC had left, and announced."
        )
        yield by("act", "snf_network_watch_acts_total", about, said["acts"])
        about = "How often the watch compared the whole node."
        yield one("snf_network_watch_comparisons_total", about, said["comparisons"])
        about = "What another program changes again and again, as in snf-network status --wide."
        yield one("snf_network_watch_fights", about, len(said["fights"]))


def _daemon() -> str:
    """The metrics of nfdhcpd; none on a node where it is not expected."""
    if not liveness.is_expected():
        return ""
    try:
        said = of_daemon.text(Connection(seconds=liveness.SECONDS).ask(command="stats"))
    except (SnfNetworkError, ValueError, LookupError, TypeError):
        said = ""
    up = one("nfdhcpd_up", "1 if nfdhcpd answers on its control socket.", int(bool(said)))
    return prometheus.text([up]) + said
