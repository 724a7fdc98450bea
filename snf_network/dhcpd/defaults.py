"""dhcp.yaml: what nfdhcpd tells the guests of a Ganeti network, below their tags and above nfdhcpd.conf.

The daemon reads it, so no NIC waits for it: a binding only names its network. Every value passes the parser
that a binding's value passes. docs/dhcp.schema.json says the same for editors; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from snf_network.addresses import is_name
from snf_network.document import FALSE, TRUE, Mistakes, compose, unknown
from snf_network.errors import BadConfig, shown
from snf_network.values import BINDING_KEYS, CLIENTS, WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from snf_network.dhcpd.binding import TapBinding
    from snf_network.document import Value

PATH = "/etc/snf-network/dhcp.yaml"
TOP = ("defaults", "networks")
KNOWN = [word for word in WORDS if word != "relay"]
"""A relay is chosen NIC by NIC, by tag: the plan must say which addresses its server may lease."""
LISTS = ("ns", "ntp", "search", "route")
FLAGS = ("private", "nodhcp6", "slaac")


@dataclass(frozen=True)
class Said:
    """One value of the file."""

    key: str
    """As in a binding."""
    text: str
    value: Any
    """As TapBinding has it."""
    where: str
    """The path of keys in the file, such as networks.guests.ns."""
    line: int


@dataclass(frozen=True)
class Defaults:
    """All that the file says, by field of TapBinding."""

    common: dict[str, Said] = field(default_factory=dict)
    networks: dict[str, dict[str, Said]] = field(default_factory=dict)

    def added(self, binding: TapBinding) -> dict[str, Said]:
        """What a binding does not say and the file does; a network's value comes before that of all."""
        said = self.common | self.networks.get(binding.network, {})
        return {name: one for name, one in said.items() if _is_unset(getattr(binding, name))}

    def filled(self, binding: TapBinding) -> TapBinding:
        """A binding with these values; the same object if there are none."""
        added = self.added(binding)
        return replace(binding, **{name: one.value for name, one in added.items()}) if added else binding


def _is_unset(value: object) -> bool:
    return value is None or (value is not False and not value)


def parse(text: str, path: str = PATH) -> tuple[Defaults, list[str]]:
    """What the file says, and all that is wrong with it, a line each; then nothing of it is to be used."""
    noted = Mistakes(path)
    try:
        document = compose(text, noted)
    except BadConfig as error:
        return Defaults(), [str(error)]
    except ModuleNotFoundError:
        return Defaults(), [f"{path} cannot be read without PyYAML: apt install python3-yaml"]
    if document is None:
        return Defaults(), []
    said = document.entries("a mapping with the keys " + ", ".join(TOP))
    for name, value in said.items():
        if name not in TOP:
            unknown(value, name, list(TOP))
    common = _words(said["defaults"]) if "defaults" in said else {}
    networks = said["networks"].entries("networks by name") if "networks" in said else {}
    for name, value in networks.items():
        if not is_name(name):
            value.wrong("is no network's name", "letters, digits, '.', '_' and '-'")
    found = {name: _words(value) for name, value in networks.items()}
    return (Defaults(), noted.lines) if noted.lines else (Defaults(common, found), [])


def _words(value: Value) -> dict[str, Said]:
    """The values of one mapping, by field."""
    found = {}
    for word, one in value.entries("the keys " + ", ".join(KNOWN)).items():
        if word not in KNOWN:
            unknown(one, word, KNOWN)
            continue
        for key, text in _texts(word, one):
            name, read, allowed = BINDING_KEYS[key]
            read_value = read(text)
            if read_value is None:
                one.wrong(f"{shown(text)} cannot be used", allowed)
            else:
                found[name] = Said(key, text, read_value, one.key, one.line)
    return found


def _texts(word: str, value: Value) -> Iterator[tuple[str, str]]:
    """The keys that a word means, each with its text; nothing after a mistake, which is noted."""
    keys = WORDS[word]
    if word in FLAGS and value.text() not in TRUE + FALSE:
        value.wrong(f"{value.shown()} cannot be used", "yes or no")
    elif value.node.id == "mapping" and word in ("boot", "boot6"):
        files = value.entries("files, by client: " + ", ".join(CLIENTS))
        yield keys[0], ", ".join(f"{name} {text}" for name, text in zip(files, _plain(files.values(), keys)))
    else:
        listed = value.items("a list") if word in LISTS and value.node.id == "sequence" else [value]
        texts = [text for text in _plain(listed or [value], keys) if text]
        for key in keys:
            mine = [text for text in texts if len(keys) == 1 or (":" in text) is (key == keys[-1])]
            if mine:
                yield key, ", ".join(mine)


def _plain(values: Iterable[Value], keys: tuple[str, ...]) -> Iterator[str]:
    """The text of each value: one word, or a route, without anything that a binding would read otherwise."""
    for value in values:
        text = value.text() or ""
        if not text or set(text) & set(",\"'\\") or not text.isprintable():
            value.wrong(f"{value.shown()} cannot be used", BINDING_KEYS[keys[0]][2])
        yield text
