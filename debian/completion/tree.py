"""A parser as a completion needs it: what can follow what, and where the values come from."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "man"))

from sources import PARSERS, subcommands  # noqa: E402

from snf_network.host.lock import RESERVED  # noqa: E402

FILES = "files"
NOTHING = ""
SOURCES = {
    "snf-network": {
        "IFACE": "taps",
        "TAP": "devices",
        "TABLE": "tables",
        "NAME": "instances",
        "FILE": FILES,
        "PATH": FILES,
        "FRAME": FILES,
    },
    "nfdhcpctl": {"IFACE": "bindings", "FILE": FILES, "PATH": FILES},
    "nfdhcpd": {"FILE": FILES, "PATH": FILES},
}
"""What a metavar stands for: files, or a function of PROGRAM.sh. For any other, nothing is offered."""


@dataclass(frozen=True)
class Argument:
    """An option or a positional argument."""

    names: tuple[str, ...]
    """Empty for a positional argument."""
    about: str
    value: str
    """Its metavar; empty if it takes no value."""
    source: str
    choices: tuple[str, ...]
    many: bool
    ends: bool
    """Nothing follows it: --help, --version."""
    excludes: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A program or one of its subcommands."""

    path: tuple[str, ...]
    about: str
    options: tuple[Argument, ...]
    positional: tuple[Argument, ...]
    below: tuple[Command, ...]

    def all(self) -> Iterator[Command]:
        """This one and all below it."""
        yield self
        for command in self.below:
            yield from command.all()


def tree(program: str) -> Command:
    """The commands of a program."""
    return command(PARSERS[program](), (program,), "")


def command(parser: argparse.ArgumentParser, path: tuple[str, ...], about: str) -> Command:
    """One parser."""
    found = [argument(action, parser, path[0]) for action in parser._actions if not subparsers(action)]
    helps = {
        choice.dest: choice.help or ""
        for action in filter(subparsers, parser._actions)
        for choice in action._get_subactions()
    }
    return Command(
        path,
        about,
        tuple(one for one in found if one.names),
        tuple(one for one in found if not one.names),
        tuple(command(inner, (*path, name), helps[name]) for name, inner in subcommands(parser).items()),
    )


def subparsers(action: argparse.Action) -> bool:
    """True for the argument that is a subcommand."""
    return isinstance(action, argparse._SubParsersAction)


def argument(action: argparse.Action, parser: argparse.ArgumentParser, program: str) -> Argument:
    """One argument."""
    groups = [group._group_actions for group in parser._mutually_exclusive_groups]
    others = [other for group in groups if action in group for other in group if other is not action]
    value = "" if action.nargs == 0 else str(action.metavar or action.dest)
    return Argument(
        tuple(action.option_strings),
        parser._get_formatter()._expand_help(action).replace("`", "") if action.help else value,
        value,
        NOTHING if action.choices else SOURCES[program].get(value, NOTHING),
        tuple(map(str, action.choices or ())),
        action.nargs in ("*", "+"),
        isinstance(action, (argparse._HelpAction, argparse._VersionAction)),
        tuple(name for other in others for name in other.option_strings),
    )


def functions(program: str) -> str:
    """The shell functions for the values of a program, for bash and zsh alike."""
    own = HERE / f"{program}.sh"
    text = f"{(HERE / 'names.sh').read_text()}\n{own.read_text()}" if own.exists() else ""
    return text.replace("__PROGRAM", f"_{function(program)}").replace("RESERVED", "|".join(RESERVED))


def function(program: str) -> str:
    """The name of a program's function."""
    return "_" + program.replace("-", "_")
