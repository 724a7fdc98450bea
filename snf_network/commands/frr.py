"""Tell the running FRR of its BGP sessions with guests (tag bgp, BGP_DAEMON=frr): make those that it lacks,
and take away those of NICs that are gone.

snf-network-frr.path runs this whenever such a NIC comes or goes, or FRR has started. A session whose lines
FRR refuses is not made. Exit status 0: FRR has them all, or does not run.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from snf_network.errors import KernelError
from snf_network.host.frr import Absent, Unanswered, configure
from snf_network.host.lock import Lock
from snf_network.model.config import Config
from snf_network.model.resources import FrrFile
from snf_network.observe.readback import bindings
from snf_network.observe.sessions import SECONDS, look
from snf_network.scripts.process import Log

from . import acts
from .acts import Acts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from snf_network.observe.sessions import Session

SUMMARY = "tell the running FRR of its BGP sessions with guests"
SOCKET = "/run/frr/bgpd.vty"
LOCK = "+frr"
"""One call at a time: no interface has this name."""
ROUNDS = 3
"""First all but the neighbours, then these; and once more."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    acts.arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="print failures only")


def run(options: argparse.Namespace, config: Config) -> int:
    """Tell it, then look again. 1 if a session is not as it should be."""
    with Acts(options) as told:
        failed = tell(config, told, options.quiet)
        if not options.quiet and not told.acted:
            told.say("clean: FRR has them all" if is_here() else "FRR's bgpd does not run here")
    return int(failed)


def is_here() -> bool:
    """True if there is a bgpd that this process may speak with. snf-network-repair.service may not."""
    return os.access(SOCKET, os.W_OK)


def is_due(config: Config) -> bool:
    """True if a NIC has a session. What nobody has any longer is for snf-network-frr.path."""
    return any(bindings(config.frr_dir, FrrFile))


def tell(config: Config, told: Acts, quiet: bool) -> bool:
    """Tell FRR what it lacks, and log it. True if something failed."""
    if not is_here():
        return False
    log = Log("snf-network", path=config.logfile)
    try:
        with Lock(config.state_dir, LOCK, SECONDS):
            done, failures = _told(config)
    except Absent:  # what it has when it is back is for snf-network-frr.path
        return False
    except (Unanswered, KernelError) as error:
        done, failures = (), {"-": f"FRR: {error}"}
    for one in done:
        words = f"BGP session {'made' if one.do else 'taken away'} in FRR"
        log.of(one.tap).log(words)
        told.done(one.tap, words)
        if not quiet:
            told.say(f"{one.tap}: {words}")
    for tap, why in failures.items():
        log.of(tap).say(f"{tap}: {why}")
        told.failed(tap, why)
    return bool(failures)


def _told(config: Config) -> tuple[Sequence[Session], dict[str, str]]:
    """What was done, and what failed, by tap. Raises Unanswered."""
    before = left = look(config)
    refused: list[str] = []
    for _ in range(ROUNDS if before.different else 0):
        refused = configure("bgpd", "\n".join(_lines(left.different)), SECONDS)
        left = look(config)
        if not left.different:
            break
    still = {one.tap: _why(one.tap, refused) for one in left.different}
    done = [one for one in before.different if one.tap not in still]
    return done, still | ({"-": left.refused} if left.refused else {})


def _lines(sessions: Sequence[Session]) -> Iterator[str]:
    """What is to be taken away comes first."""
    for one in sessions:
        yield from one.undo
    for one in sessions:
        yield from one.do


def _why(tap: str, refused: Sequence[str]) -> str:
    """What FRR says of the lines of a tap."""
    said = (words for words in refused if f"{FrrFile.GROUP}{tap}-" in words)
    return f"FRR refuses {next(said, 'its BGP session')[:150]!a}"
