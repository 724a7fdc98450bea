"""Completion for bash, by nothing but what bash itself has."""

from __future__ import annotations

from collections.abc import Iterator

from tree import FILES, Argument, Command, function, functions

SCRIPT = """\
# bash completion for PROGRAM; made by debian/completion

FUNCTIONSOFFER() {
	local word
	while IFS= read -r word; do
		if [[ $word == "$current"* && " ${COMP_WORDS[*]:1:COMP_CWORD-1} " != *" $word "* ]]; then
			COMPREPLY+=("$word")
		fi
	done
}

FUNCTION() {
	local current=${COMP_WORDS[COMP_CWORD]} command=PROGRAM option='' given=0 word
	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $option:$command:$word in
		[!:]*:=) ;;
		[!:]*) option='' ;;
VALUED		:*:-*) ;;
COMMANDS		*) given=$((given + 1)) ;;
		esac
	done
	case $current in
	=) current='' ;;
	-*) given=options ;;
	esac
	case $option:$command:$given in
BRANCHES	esac
}

complete -F FUNCTION PROGRAM
"""


def script(root: Command) -> str:
    """The file for one program."""
    (program,) = root.path
    shared, commands = functions(program), [*root.all()]
    valued = (f":{spaced(one)}:{name}" for one in commands for name in names(one.options))
    below = (f":{spaced(one)}:{inner.path[-1]}" for one in commands for inner in one.below)
    text = SCRIPT
    for place, part in (
        ("FUNCTIONS", f"{shared}\n" if shared else ""),
        ("VALUED", many(valued, "option=$word")),
        ("COMMANDS", many(below, 'command+=" $word" given=0')),
        ("BRANCHES", "".join(branch for one in commands for branch in branches(one))),
        ("OFFER", f"_{function(program)}_offer"),
        ("FUNCTION", function(program)),
        ("PROGRAM", program),
    ):
        text = text.replace(place, part)
    return text


def spaced(command: Command) -> str:
    """The path of a command as a pattern."""
    return "\\ ".join(command.path)


def names(options: tuple[Argument, ...]) -> Iterator[str]:
    """The options that take a value, by all their names."""
    return (name for option in options if option.value for name in option.names)


def many(patterns: Iterator[str], act: str) -> str:
    """One branch for many patterns."""
    listed = " | ".join(patterns)
    return f"\t\t{listed}) {act} ;;\n" if listed else ""


def branches(command: Command) -> Iterator[str]:
    """What a command offers: for a value, for a positional argument, and else its options."""
    path, program = spaced(command), command.path[0]
    for option in filter(lambda option: option.value, command.options):
        yield branch(" | ".join(f"{name}:{path}:*" for name in option.names), source(option, program))
    options = words(option.names[-1] for option in command.options)
    if any(argument.many for argument in command.positional):
        yield branch(f":{path}:options", options)
    for number, argument in enumerate(command.positional):
        yield branch(f":{path}:{'*' if argument.many else number}", source(argument, program))
    if command.below:
        yield branch(f":{path}:0", words(below.path[-1] for below in command.below))
    if not any(argument.many for argument in command.positional):
        yield branch(f":{path}:*", options)


def branch(pattern: str, act: str) -> str:
    """A branch of a case."""
    return f"\t{pattern}) {act} ;;\n" if act else f"\t{pattern}) ;;\n"


def words(offered: Iterator[str]) -> str:
    """Offer these."""
    return f"OFFER < <(printf '%s\\n' {' '.join(offered)})"


def source(argument: Argument, program: str) -> str:
    """Offer what an argument can be."""
    if argument.choices:
        return words(iter(argument.choices))
    if argument.source == FILES:
        return (
            'compopt -o filenames -o default 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current")'
        )
    return f"OFFER < <(_{function(program)}_{argument.source})" if argument.source else ""
