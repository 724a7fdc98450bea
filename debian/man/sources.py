"""What the man pages take from the program: its parsers, the scripts' usage, the settings, the documents.

Each function gives Markdown, for one `{{function argument}}` in a page.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from snf_network.commands import main, nfdhcpctl, nfdhcpd
from snf_network.scripts.usage import USAGES

ROOT = Path(__file__).resolve().parents[2]
PARSERS = {"snf-network": main.parser, "nfdhcpd": nfdhcpd.parser, "nfdhcpctl": nfdhcpctl.parser}
FAR = 20
"""Columns that no text of a docstring is indented by, but for the meaning of a long line."""


def parsers(action: argparse.Action) -> dict[str, argparse.ArgumentParser]:
    """The subcommands that an argument chooses from."""
    return action.choices if isinstance(action, argparse._SubParsersAction) else {}  # type: ignore[return-value]


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """All subcommands of a parser, by name."""
    return {name: inner for action in parser._actions for name, inner in parsers(action).items()}


# --- parsers


def synopsis(program: str) -> str:
    """How a program is called."""
    parser = PARSERS[program]()
    words = usage(parser) if not subcommands(parser) else f"{usage(parser)} *COMMAND* [*ARGUMENT* ...]"
    return f"**{program}** {words}"


def usage(parser: argparse.ArgumentParser) -> str:
    """The arguments in one line; exclusive ones with a bar between them. --help goes without saying."""
    groups = [group._group_actions for group in parser._mutually_exclusive_groups]
    words: list[str] = []
    for action in sorted(parser._actions, key=lambda action: not action.option_strings):
        group = next((group for group in groups if action in group), [action])
        if action is not group[0] or isinstance(action, argparse._HelpAction) or parsers(action):
            continue
        one = " | ".join(spelled(member, short=True) for member in group)
        words.append(f"[{one}]" if action.option_strings else one)
    return " ".join(words)


def spelled(action: argparse.Action, short: bool = False) -> str:
    """An argument with its value; `short`: by the first of its names."""
    value = f"*{action.metavar or action.dest.upper()}*"
    if action.choices:
        value = " | ".join(f"**{choice}**" for choice in action.choices)
    if action.option_strings:
        names = action.option_strings[: 1 if short else None]
        return ", ".join(f"**{name}**" for name in names) + f" {value}" * (action.nargs != 0)
    return {None: value, "?": f"[{value}]", "*": f"[{value} ...]"}.get(action.nargs, f"{value} ...")


def options(program: str) -> str:
    """What each option of a program does."""
    return "\n\n".join(arguments([PARSERS[program]()]))


def arguments(sources: Iterable[argparse.ArgumentParser]) -> Iterator[str]:
    """Each argument of these parsers, once."""
    seen = set[str]()
    for parser in sources:
        for action in parser._actions:
            if parsers(action) or spelled(action) in seen:
                continue
            seen.add(spelled(action))
            about = parser._get_formatter()._expand_help(action) if action.help else ""
            yield f"{spelled(action).strip('[]')}\n:   {sentence(about)}"


def commands(program: str) -> str:
    """Every subcommand: how it is called, what it does, its arguments."""
    return "\n\n".join(
        part for name, parser in subcommands(PARSERS[program]()).items() for part in command(name, parser)
    )


def command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """One subcommand, with those below it."""
    inner = subcommands(parser)
    yield f"### {name}"
    yield f"**{name}** {usage(parser)}{'*ACTION*' if inner else ''}".rstrip()
    yield sentence(prose(parser.description or ""))
    for action in parser._actions:
        for choice in action._get_subactions() if parsers(action) else ():
            yield f"**{name} {choice.dest}** {usage(inner[choice.dest])}\n:   {sentence(choice.help or '')}"
    yield from (part for part in arguments([parser, *inner.values()]) if not part.startswith("**-h**"))


def epilog(program: str) -> str:
    """The lists at the end of --help, each as a section. What else is said there, a page says better."""
    parts = re.findall(r"^(\w+):\n((?:  .*\n?)+)", PARSERS[program]().epilog or "", re.MULTILINE)
    return "\n\n".join(f"## {name.upper()}\n\n{prose(lines)}" for name, lines in parts)


def sentence(text: str) -> str:
    """A text of --help, which has neither a capital nor a full stop, as a sentence."""
    text = text.rstrip()
    return f"{text[:1].upper()}{text[1:]}" + "." * (not text.endswith((".", ":")))


def prose(text: str) -> str:
    """A docstring: of indented lines, those with a gap are a term and its meaning, others are code; a line
    that is indented by far is the meaning of the one before.
    """
    parts: list[str] = []
    for line in text.strip("\n").split("\n"):
        term, _, meaning = line.strip().rpartition("  ")
        if line.startswith(" " * FAR):
            term, meaning = parts.pop().strip(), line.strip()
        if not line.startswith("  "):
            parts.append(line)
        elif term:
            parts.append(f"\n`{' '.join(term.split())}`\n:   {sentence(meaning)}\n")
        else:
            parts.append(f"  {line}")
    return "\n".join(parts)


# --- scripts


def script(name: str) -> str:
    """All that a script says to --help, with the headings of a man page."""
    told = USAGES[name]
    parts = [f"# {name}(8) - {told.summary}", "## SYNOPSIS", f"**{name}** {told.arguments}".rstrip()]
    parts += ["## DESCRIPTION", *told.about]
    for field, title in (("callers", "CALLED AS"), ("variables", "ENVIRONMENT"), ("status", "EXIT STATUS")):
        pairs = getattr(told, field)
        parts += [f"## {title}"] * bool(pairs)
        parts += [f"`{term}`\n:   {meaning}" for term, meaning in pairs]
    return "\n\n".join(parts)


def comment(name: str) -> str:
    """What a shell script says to --help, which is the comment that it begins with."""
    text = (ROOT / name).read_text().partition("\n")[2].partition("\nset -u")[0]
    line, *paragraphs = re.sub(r"^# ?", "", text, flags=re.MULTILINE).split("\n\n")
    calls = "\n\n".join(f"**{call}**" for call in line.removeprefix("usage: ").split(" | "))
    return "\n\n".join(("## SYNOPSIS", calls, "## DESCRIPTION", *paragraphs))


# --- files


def settings(what: str) -> str:
    """The settings of /etc/default/snf-network (`keys`), or their syntax (`syntax`)."""
    made = load(ROOT / "debian" / "settings")
    if what == "syntax":
        return made.HEAD.replace("# ", "").replace("#\n", "\n").strip()
    parts = []
    for group in made.GROUPS:
        parts.append(f"### {group['title'][:1].upper()}{group['title'][1:]}")
        for name, said in made.settings(group):
            default = made.default(name, said)
            about = f"{said.get('text', '')} {f'Default: `{default}`.' if default else ''}".strip()
            parts.append(f"`{name}`\n:   {about or 'Empty by default.'}")
    return "\n\n".join(parts)


def load(path: Path) -> ModuleType:
    """A script without an ending, as a module."""
    loader = importlib.machinery.SourceFileLoader(f"debian_{path.name}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def document(argument: str) -> str:
    """A section of a document: `FILE HEADING`."""
    name, _, title = argument.partition(" ")
    text = (ROOT / "docs" / name).read_text()
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section {title}"
    return textwrap.dedent(found[1]) if not found[1].strip().startswith("#") else found[1]
