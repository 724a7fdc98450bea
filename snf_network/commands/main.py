"""The `snf-network` command: one module per subcommand, each with SUMMARY, `arguments(parser)` and
`run(options, config)`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from gc import disable as collect_no_garbage

from snf_network import __version__
from snf_network.errors import SnfNetworkError
from snf_network.host import kernel
from snf_network.model.config import Config
from snf_network.scripts.process import open_descriptors

from .paragraphs import Paragraphs

NAMES = (
    "plan",
    "status",
    "map",
    "check",
    "doctor",
    "repair",
    "gc",
    "remove",
    "load",
    "adopt",
    "drops",
    "top",
    "metrics",
    "explain",
    "trace",
    "selftest",
    "dns",
    "watch",
    "net",
    "frr",
)
EPILOG = """examples:
  snf-network status                     every NIC of this node, and how it is
  snf-network check || snf-network repair     after another program has changed rules or routes
  snf-network doctor                     what will bite, and what mends it
  snf-network plan --env nic.env         what ifup would do for the NIC in a file of KEY=VALUE lines
  snf-network net plan                   what `net up` would do for the networks of networks.yaml
  snf-network plan --record tap0         the same for the NIC that tap0 was brought up for
Settings are in /etc/default/snf-network. What to do when something is wrong: operators.md, in docs/ or
/usr/share/doc/snf-network/. Everything: man snf-network."""
EVERYBODY = ("plan", "status", "map")
"""Subcommands for every user: they read only public data; nft lists the rest to root alone."""
LENIENT = (
    "status",
    "map",
    "check",
    "doctor",
    "repair",
    "gc",
    "drops",
    "top",
    "metrics",
    "watch",
    "net",
    "frr",
)
"""Subcommands that tolerate a bad line in the settings: running guests depend on them."""
FAILED = {"doctor": 3}
"""Exit status of a subcommand that fails, if not 1: a monitor takes 1 for a warning."""
SECONDS = 60.0
PACKAGES = {"pyroute2": "python3-pyroute2", "dns": "python3-dnspython", "yaml": "python3-yaml"}
"""Third-party modules, and their Debian packages."""


def main(argv: Sequence[str]) -> int:
    """Run one subcommand. 0: success; 1: failure, as the subcommand reports; 2: wrong usage; 130:
    interrupted. Failure and wrong usage of `doctor` are 3.
    """
    _streams()
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        sys.stderr.write("snf-network: interrupted; what was begun is on record: snf-network repair\n")
        return 130
    except BrokenPipeError:  # `snf-network status | head`
        _hush()
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in PACKAGES:
            raise
        sys.stderr.write(f"snf-network: Python has no module {module} (apt install {PACKAGES[module]})\n")
        _hush()
    except SnfNetworkError as error:
        sys.stderr.write(f"snf-network: {error}\n")
        _hush()
    except OSError as error:
        sys.stderr.write(
            f"snf-network: {f'{error.filename}: ' * bool(error.filename)}{error.strerror or error}\n"
        )
        _hush()
    return _failed(argv, 1)


def _failed(argv: Sequence[str], status: int) -> int:
    return FAILED.get("".join(argv[1:2]), status)


def _run(argv: Sequence[str]) -> int:
    try:
        options = parser(*(name for name in argv[1:2] if name in NAMES)).parse_args(argv[1:])
    except SystemExit as ended:  # --help, or wrong usage, already reported
        return _failed(argv, int(ended.code)) if ended.code else 0
    if os.geteuid() and options.command not in EVERYBODY:
        raise SnfNetworkError(f"{options.command} is for root", f"sudo snf-network {options.command}")
    os.umask(0o022)
    collect_no_garbage()  # scanning 1000 NICs, which have no cycles, takes a third of `check`
    kernel.give_up_after(SECONDS)
    config = Config.load(lenient=options.command in LENIENT)
    for words in config.errors:
        sys.stderr.write(f"snf-network: {words}\n")
    return int(options.run(options, config)) or bool(config.errors)


def parser(*names: str) -> argparse.ArgumentParser:
    """A parser for the given subcommands, or all: each imports what it needs, which takes 0.2 s for DNS."""
    made = argparse.ArgumentParser(
        prog="snf-network",
        description="What snf-network has done for the NICs of this Ganeti node.",
        epilog=EPILOG,
        formatter_class=Paragraphs,
    )
    made.add_argument("--version", action="version", version=__version__)
    subparsers = made.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name in names or NAMES:
        module = importlib.import_module(f"snf_network.commands.{name}")
        subparser = subparsers.add_parser(
            name, help=module.SUMMARY, description=module.__doc__, formatter_class=Paragraphs
        )
        module.arguments(subparser)
        subparser.set_defaults(run=module.run)
    return made


def _streams() -> None:
    """Make stdout and stderr usable even if they were closed, and able to print bytes of any encoding, such
    as in tags.
    """
    open_descriptors()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8"))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _hush() -> None:
    """Discard unwritten output: nobody reads it, and the interpreter would retry at exit and report the
    failure.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
