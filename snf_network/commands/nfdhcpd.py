"""nfdhcpd: answer the guests' DHCP, DHCPv6, router and neighbour solicitations from their binding files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from snf_network import __version__
from snf_network.dhcpd import main as daemon
from snf_network.errors import SnfNetworkError

from .paragraphs import Paragraphs

EPILOG = """signals:
  TERM  end
  HUP   read nfdhcpd.conf, dhcp.yaml and all bindings again; an invalid file changes nothing
  USR1  log who is served
nfdhcpctl queries a running daemon. All keys of nfdhcpd.conf and of bindings: man nfdhcpd.conf, man
nfdhcpd.binding."""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    defaults = daemon.Options()
    made = argparse.ArgumentParser(
        prog="nfdhcpd", description=__doc__, epilog=EPILOG, formatter_class=Paragraphs
    )
    add = made.add_argument
    add("--version", action="version", version=__version__)
    add("-c", "--config", metavar="FILE", help="the configuration (default: %(default)s)")
    add("-f", "--foreground", action="store_true", help="stay in the foreground and log to stderr")
    add("-d", "--debug", action="store_true", help="log every answer")
    add("--check", action="store_true", help="check nfdhcpd.conf, dhcp.yaml and all bindings, and exit")
    add(
        "--engine",
        choices=daemon.ENGINES,
        help="where frames come from: a packet socket (default), or iptables rules with -j NFQUEUE",
    )
    add(
        "--rate",
        type=float,
        metavar="N",
        help="frames per second from one interface before it is muted (default: %(default)g)",
    )
    add("--socket", metavar="PATH", help="the control socket (default: %(default)s)")
    add("--json-log", action="store_true", help="log JSON objects, one per line")
    made.set_defaults(**vars(defaults))
    return made


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the daemon or the check. 0: ended by a signal, or nothing is wrong; 1: it could not start, or
    something is wrong.
    """
    options = vars(parser().parse_args(argv[1:]))
    checks = options.pop("check")
    os.umask(0o022)
    try:
        if checks:
            return check(options["config"])
        daemon.run(daemon.Options(**options), environ)
        return 0
    except SnfNetworkError as error:
        said = str(error)
    except OSError as error:
        said = (f"{error.filename}: " if error.filename else "") + (error.strerror or str(error))
    sys.stderr.write(f"nfdhcpd: {said}\n")
    return 1


def check(path: str) -> int:
    """Print the problems. 1 if any is worse than a warning."""
    found = list(daemon.check(path))
    sys.stdout.write("".join(f"{severity}: {text}\n" for severity, text in found))
    return int(any(severity == "error" for severity, _ in found))
