"""Show what each NIC sends, receives and loses, again and again, the busiest first.

SENT and RCVD are seen from the guest, in bits and packets a second; SENT has what was then dropped, too.
DROPS/S and WHY are frames a second that our rules drop, as in `snf-network drops`. DHCP is how often nfdhcpd
answered since the table before: DHCP, DHCPv6, router and neighbour solicitations; it is `-` for a NIC that
nfdhcpd does not know. k, M and G are thousands of each other.

On a terminal, q or Ctrl-C ends it. Elsewhere, one table follows the other.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from snf_network.dhcpd import liveness
from snf_network.dhcpd.control_client import Connection
from snf_network.errors import SnfNetworkError
from snf_network.host import kernel
from snf_network.host.record import Records
from snf_network.model.config import Config
from snf_network.observe.rates import Moment, Nics, Rates, look, rates

from . import chosen, screen, table

SUMMARY = "show the traffic and the drops of each NIC, live"
HEADING = ("INTERFACE", "INSTANCE", "SENT BIT/S", "PKT/S", "RCVD BIT/S", "PKT/S", "DROPS/S", "DHCP", "WHY")
NUMBERS = range(2, 8)
"""Columns with numbers."""
ORDERS: dict[str, Callable[[Rates], float]] = {
    "traffic": lambda nic: nic.bits,
    "sent": lambda nic: nic.sent_bits,
    "received": lambda nic: nic.received_bits,
    "packets": lambda nic: nic.packets,
    "drops": lambda nic: nic.dropped,
    "dhcp": lambda nic: nic.answered or 0,
    "name": lambda nic: 0,
}
"""What --sort compares, the largest first; equal NICs are in the order of their names."""
SHORTEST, LONGEST = 0.1, 86400.0
"""Bounds of --interval in seconds."""
SECONDS = 20.0
"""How long the tools may take for one table."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Interfaces, order, times and output options."""
    parser.add_argument("interface", metavar="IFACE", nargs="*", help="only these")
    parser.add_argument(
        "--sort", choices=ORDERS, default="traffic", help="the order of the NICs (default: %(default)s)"
    )
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=2.0,
        metavar="SECONDS",
        help="time between two tables (default: %(default)g)",
    )
    parser.add_argument("--count", type=_number, default=0, metavar="N", help="end after that many tables")
    parser.add_argument(
        "--json", action="store_true", help="print JSON: a line with an object for each table"
    )


def _seconds(words: str) -> float:
    value = float(words)
    if not SHORTEST <= value <= LONGEST:
        raise argparse.ArgumentTypeError(f"{words} is not between {SHORTEST:g} and {LONGEST:g} seconds")
    return value


def _number(words: str) -> int:
    value = int(words)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{words} is not a number of tables")
    return value


def run(options: argparse.Namespace, config: Config) -> int:
    """Show tables until there are enough, or somebody ends it."""
    gc.enable()  # main turns it off for commands that end soon
    nics = Nics(Records(config.state_dir))
    chosen.refuse_unknown(options.interface, [record.interface for record in nics.live()])
    page = as_json if options.json else as_text
    pages = screen.Lines if options.json else screen.Screen if screen.is_terminal() else screen.Pages
    try:
        with pages() as output:
            if isinstance(output, screen.Screen):
                output.show("q ends; the first table comes after the first interval")
            for before, after in _moments(nics, options, output):
                output.show(page(_selected(rates(before, after), options), after.time - before.time))
    except KeyboardInterrupt:
        pass
    return 0


def _moments(
    nics: Nics, options: argparse.Namespace, output: screen.Pages
) -> Iterator[tuple[Moment, Moment]]:
    """Two moments for each table: each is the first of the next one."""
    before = _look(nics)
    for number in count(1):
        due = before.time + options.interval
        while (left := due - time.monotonic()) > 0:
            if output.wait(left):
                return
        after = _look(nics)
        yield before, after
        before = after
        if number == options.count:
            return


def _look(nics: Nics) -> Moment:
    kernel.give_up_after(SECONDS)
    return look(nics, _answered())


def _answered() -> dict[str, int]:
    """How often nfdhcpd has answered on each interface; empty if it does not run."""
    try:
        guests = Connection(seconds=liveness.SECONDS).ask(command="list")["guests"]
        return {str(guest["interface"]): int(guest["answered"]) for guest in guests}
    except (SnfNetworkError, ValueError, LookupError, TypeError):
        return {}


def _selected(found: list[Rates], options: argparse.Namespace) -> list[Rates]:
    wanted = [nic for nic in found if not options.interface or nic.record.interface in options.interface]
    order = ORDERS[options.sort]
    return sorted(wanted, key=lambda nic: (-order(nic), chosen.counted(nic.record.interface)))


def as_text(nics: Sequence[Rates], seconds: float) -> str:
    """A line with all NICs together, and the table."""
    sent, received, dropped = (
        scaled(sum(map(figure, nics))) for figure in (ORDERS["sent"], ORDERS["received"], ORDERS["drops"])
    )
    head = (
        f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {len(nics)} NIC{'s' * (len(nics) != 1)}: "
        f"sent {sent} bit/s, received {received} bit/s, dropped {dropped} frames/s in {seconds:.1f} s\n"
    )
    return head + table.text(HEADING, map(row, nics), NUMBERS)


def row(nic: Rates) -> tuple[str, ...]:
    """The cells of one NIC."""
    why = sorted(nic.drops.items(), key=lambda item: (-item[1], item[0]))
    return (
        nic.record.interface,
        nic.record.instance,
        *map(scaled, (nic.sent_bits, nic.sent_packets, nic.received_bits, nic.received_packets)),
        scaled(nic.dropped),
        "" if nic.answered is None else str(nic.answered),
        ", ".join(f"{reason} {scaled(rate)}" for reason, rate in why),
    )


def scaled(value: float) -> str:
    """A rate with about three digits: 0, 0.5, 42, 1.23k, 12.3M."""
    for unit in ("", "k", "M", "G", "T"):
        if value < 999.5 or unit == "T":
            break
        value /= 1000
    digits = 0 if value >= 99.5 else 1 if value >= 9.95 or not unit else 2
    return f"{value:.{digits}f}".removesuffix(".0") + unit


def as_json(nics: Sequence[Rates], seconds: float) -> str:
    """One line. `time` is in seconds since 1970, and rates are a second."""
    found = [
        {
            "interface": nic.record.interface,
            "instance": nic.record.instance,
            "nic": chosen.nic_of(nic.record),
            "network": dict(nic.record.variables).get("NETWORK_NAME", ""),
            **{name: round(getattr(nic, name), 3) for name in NAMED},
            "drops": {reason: round(rate, 3) for reason, rate in sorted(nic.drops.items())},
            "answered": nic.answered,
        }
        for nic in nics
    ]
    return json.dumps({"time": round(time.time(), 3), "seconds": round(seconds, 3), "nics": found}) + "\n"


NAMED = ("sent_bits", "sent_packets", "received_bits", "received_packets", "dropped")
