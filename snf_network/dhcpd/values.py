"""Readers of the values in bindings and in nfdhcpd.conf: text in, a checked value or None out. Pure."""

from __future__ import annotations

from snf_network.addresses import is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TRUE = frozenset(("true", "yes", "1", "on"))
FALSE = frozenset(("false", "no", "0", "off"))
DOMAINS = "at most 8 domain names, 255 bytes in all"
"""What `domains` accepts, in words."""


def unquoted(text: str) -> str:
    """The text without the quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _words(text: str) -> list[str]:
    return [word for word in (unquoted(part.strip()) for part in text.split(",")) if word]


def flag(text: str) -> bool | None:
    """True or False for a word that means it; None for any other."""
    word = unquoted(text).lower()
    return word in TRUE if word in TRUE | FALSE else None


def number(low: int, high: int) -> Callable[[str], int | None]:
    """A reader of decimal numbers from `low` to `high`; it returns None for anything else."""

    def convert(text: str) -> int | None:
        text = unquoted(text)
        plain = text.isascii() and text.isdigit() and len(text) < 11
        return int(text) if plain and low <= int(text) <= high else None

    return convert


def several(check: Callable[[str], bool], most: int) -> Callable[[str], tuple[str, ...] | None]:
    """A reader of comma-separated lists of at most `most` words that all pass `check`; it returns None for
    anything else.
    """

    def convert(text: str) -> tuple[str, ...] | None:
        words = _words(text)
        return tuple(words) if len(words) <= most and all(map(check, words)) else None

    return convert


def one(check: Callable[[str], bool]) -> Callable[[str], str | None]:
    """A reader of one word that passes `check`; it returns None for anything else."""

    def convert(text: str) -> str | None:
        text = unquoted(text)
        return text if check(text) else None

    return convert


def is_domain(text: str) -> bool:
    """A domain name that DNS can carry: labels of 1 to 63 characters, 253 in all (RFC 1035, 2.3.4)."""
    return bool(text) and is_name(text) and all(0 < len(label) < 64 for label in text.split("."))


def domains(text: str) -> tuple[str, ...] | None:
    """A reader of as many domain names as one DHCPv4 option can hold (RFC 3397); None for anything else."""
    words = several(is_domain, 8)(text)
    return words if words is not None and sum(len(word) + 2 for word in words) < 256 else None
