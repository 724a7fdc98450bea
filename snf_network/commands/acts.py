"""What a subcommand that changes the node has done, for people and as JSON.

JSON is an object of three lists: `done`, `failed`, and `left`, what is still not as recorded. Each entry has
the keys interface (`-` if it is about none), instance, nic (name or index, as in `status`), uuid and what.
"""

from __future__ import annotations

import argparse
import json
import sys
from types import TracebackType

from snf_network.errors import SnfNetworkError
from snf_network.host.record import Record
from snf_network.scripts.repair import Told

from . import chosen

LISTS = ("done", "failed", "left")


def arguments(parser: argparse._ActionsContainer) -> None:
    """The option --json."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON: an object with lists done, failed and left"
    )


class Acts(Told):
    """Collects acts. As a context, prints them at its end with --json, even if the subcommand fails."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.json: bool = options.json
        self._records: dict[str, Record] = {}
        self._found: dict[str, list[dict[str, str]]] = {name: [] for name in LISTS}

    @property
    def acted(self) -> bool:
        """True if something was done or failed."""
        return bool(self._found["done"] or self._found["failed"])

    def know(self, *records: Record) -> None:
        """The NICs that acts may be about."""
        self._records.update((record.interface, record) for record in records)

    def done(self, interface: str, what: str) -> None:
        """Something was done."""
        self._note("done", interface, what)

    def failed(self, interface: str, what: str) -> None:
        """Something could not be done, and why."""
        self._note("failed", interface, what)

    def left(self, interface: str, what: str) -> None:
        """Something is not as recorded."""
        self._note("left", interface, what)

    def say(self, words: str) -> None:
        """Print a line for people: nothing with --json."""
        if not self.json:
            sys.stdout.write(f"{words}\n")

    def __enter__(self) -> Acts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.json:
            return
        if isinstance(error, SnfNetworkError):
            self.failed("-", str(error))
        sys.stdout.write(json.dumps(self._found, indent=2) + "\n")
        sys.stdout.flush()  # main discards what is unwritten after a failure

    def _note(self, name: str, interface: str, what: str) -> None:
        record = self._records.get(interface)
        self._found[name].append(
            {
                "interface": interface or "-",
                "instance": record.instance if record else "",
                "nic": chosen.nic_of(record) if record else "",
                "uuid": record.uuid if record else "",
                "what": what,
            }
        )
