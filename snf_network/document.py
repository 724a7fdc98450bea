"""YAML with the line of every key and value, so that a mistake can be told by its place.

Text stays text: whether `0x10` or `1:20` is a number is for the one who reads it, not for YAML.
"""

from __future__ import annotations

from typing import Any

from snf_network.errors import BadConfig, shown

LONGEST = 1 << 20
"""Characters; 500 networks need a tenth."""
DEEPEST = 16
TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")


class Mistakes:
    """All that is wrong with a file, one line each."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines: dict[str, int] = {}

    def add(self, line: int, key: str, wrong: str, allowed: str) -> None:
        """Note one: what is wrong, and what is allowed."""
        # what all nodes have is read again for each node that differs
        self._lines[f"{self.path}:{line}: {key}: {wrong}; {allowed}"] = line

    @property
    def lines(self) -> list[str]:
        """Those, from the file's first line to its last."""
        return sorted(self._lines, key=self._lines.__getitem__)


class Value:
    """A part of the document: text, a list or a mapping, its path of keys, and its line."""

    def __init__(self, node: Any, key: str, mistakes: Mistakes, line: int = 0) -> None:
        self.node, self.key, self.mistakes = node, key, mistakes
        self.line: int = line or node.start_mark.line + 1

    def wrong(self, what: str, allowed: str) -> None:
        """Note that this value cannot be used."""
        self.mistakes.add(self.line, self.key, what, allowed)

    def text(self) -> str | None:
        """The value as it is written, if it is neither a list, a mapping nor nothing."""
        scalar = isinstance(self.node.value, str) and not self.node.tag.endswith(":null")
        return self.node.value if scalar else None

    def shown(self) -> str:
        """The value for one line of a message."""
        text = self.text()
        return shown(text) if text is not None else self.kind()

    def kind(self) -> str:
        """What the value is, in words."""
        kinds = {"mapping": "a mapping", "sequence": "a list", "scalar": "nothing"}
        return kinds[self.node.id] if self.text() is None else "a value"

    def items(self, allowed: str) -> list[Value]:
        """The members of a list. Notes a mistake if it is none."""
        if self.node.id != "sequence":
            self.wrong(f"{self.shown()} is not a list", allowed)
            return []
        return [Value(member, self.key, self.mistakes) for member in self.node.value]

    def entries(self, allowed: str) -> dict[str, Value]:
        """The values of a mapping, by key. Notes a mistake if it is none, and each key that is twice."""
        found: dict[str, Value] = {}
        if self.node.id != "mapping":
            self.wrong(f"{self.shown()} is not a mapping", allowed)
            return found
        for name, node in self.node.value:
            text = name.value if isinstance(name.value, str) else ""
            path = f"{self.key}.{text}" if self.key else text
            if not text.isprintable() or not text or len(text) > 64:
                self.mistakes.add(
                    name.start_mark.line + 1, self.key or "-", f"{shown(text)} is no key", allowed
                )
            elif text in found:
                self.mistakes.add(
                    name.start_mark.line + 1, path, f"is already in line {found[text].line}", "say it once"
                )
            else:
                found[text] = Value(node, path, self.mistakes, name.start_mark.line + 1)
        return found


def unknown(value: Value, name: str, known: list[str]) -> None:
    """Note that a key means nothing here, with the one that was probably meant."""
    from difflib import get_close_matches  # a daemon without mistakes in its files does not need it

    close = get_close_matches(name, known, 1)
    meant = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(known)}"
    value.wrong("is not known here", meant)


def compose(text: str, mistakes: Mistakes) -> Value | None:
    """The document, or None if it is empty. Raises BadConfig if the text is no YAML."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if len(text) > LONGEST:
        raise BadConfig(f"{mistakes.path}: is longer than {LONGEST} characters", "it is read at once")
    line = 1
    try:
        _refuse_depth(yaml, text, loader)
        node = yaml.compose(text, loader)
        return Value(node, "", mistakes) if node is not None else None
    except yaml.reader.ReaderError as error:
        line, words = text.count("\n", 0, error.position) + 1, f"character {error.character!a}"
    except yaml.YAMLError as error:
        mark, words = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or error)
        line = mark.line + 1 if mark else 1
    except ValueError as error:  # a surrogate
        words = str(error)
    raise BadConfig(f"{mistakes.path}:{line}: {words}", "this is no YAML")


def _refuse_depth(yaml: Any, text: str, loader: Any) -> None:
    """Raise MarkedYAMLError for lists within lists: composing them recurses, in libyaml past the end of the
    stack.
    """
    depth = 0
    for event in yaml.parse(text, loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            words = "brackets within brackets, or lists within lists, deeper than anything here"
            raise yaml.MarkedYAMLError(None, None, words, event.start_mark)
