"""Completion for zsh, by its function _arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree import FILES, Argument, Command, function, functions

OFFER = """\
_FUNCTION_offer() {
	local -a names=(${(f)"$(_FUNCTION_$1)"}) given=(${words[1,CURRENT-1]})
	local expl
	_wanted names expl "$1" compadd -F given -a names
}
"""
LEAF = """\
NAME() {
	_arguments -s SPECS
}
"""
BRANCH = """\
NAME() {
	local curcontext=$curcontext state line ret=1
	typeset -A opt_args
	_arguments -C SPECS \\
		'1: :->command' \\
		'*:: :->argument' && ret=0
	case $state in
	command)
		local -a commands=(
COMMANDS
		)
		_describe -t commands command commands && ret=0
		;;
	argument)
		curcontext=${curcontext%:*:*}:TITLE-$line[1]:
		case $line[1] in
CASES
		esac
		;;
	esac
	return ret
}
"""


def script(root: Command) -> str:
    """The file for one program."""
    (program,) = root.path
    shared = functions(program)
    parts = [f"#compdef {program}\n# made by debian/completion\n", *([shared, OFFER] if shared else ())]
    parts += [one(command) for command in root.all()]
    parts += [f'{name(root)} "$@"\n']
    return "\n".join(parts).replace("FUNCTION", function(program))


def one(command: Command) -> str:
    """The function of a command."""
    specs = [spec for option in command.options for spec in options(option, command.path[0])]
    specs += positional(command)
    text = BRANCH if command.below else LEAF
    below = [f"\t\t\t{quoted(f'{escaped(one.path[-1])}:{one.about}')}" for one in command.below]
    cases = [f"\t\t{one.path[-1]}) {name(one)} && ret=0 ;;" for one in command.below]
    for place, part in (
        ("NAME", name(command)),
        ("TITLE", "-".join(command.path)),
        ("SPECS", " \\\n\t\t".join(specs)),
        ("COMMANDS", "\n".join(below)),
        ("CASES", "\n".join(cases)),
    ):
        text = text.replace(place, part)
    return text


def name(command: Command) -> str:
    """The name of its function."""
    return function("-".join(command.path))


def options(option: Argument, program: str) -> Iterator[str]:
    """An option, once for each of its names: each excludes the others."""
    excluded = "- *" if option.ends else " ".join((*option.names, *option.excludes))
    value = f":{escaped(option.value)}:{source(option, program)}" if option.value else ""
    for word in option.names:
        joined = "=" if option.value and word.startswith("--") else ""
        yield quoted(f"({excluded}){word}{joined}[{escaped(option.about)}]{value}")


def positional(command: Command) -> list[str]:
    """The other arguments."""
    return [
        quoted(f"{'*' if one.many else number}:{escaped(one.value)}:{source(one, command.path[0])}")
        for number, one in enumerate(command.positional, 1)
    ]


def source(argument: Argument, program: str) -> str:
    """What an argument can be."""
    if argument.choices:
        return f"({' '.join(argument.choices)})"
    if argument.source == FILES:
        return "_files"
    return f" _{function(program)}_offer {argument.source}" if argument.source else " "


def escaped(text: str) -> str:
    """A text within a specification."""
    return re.sub(r"([\\:\[\]])", r"\\\1", text)


def quoted(text: str) -> str:
    """A word of the shell."""
    return "'" + text.replace("'", "'\\''") + "'"
