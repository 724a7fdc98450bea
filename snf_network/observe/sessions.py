"""FRR's sessions with guests (tag bgp): what the files of the taps say, and what the running FRR has of it.

Each session has a peer group and a prefix list of its own, of one name. Lines are compared, not what they do:
FRR writes them as we do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snf_network.host.frr import vtysh
from snf_network.lean import dataclass
from snf_network.model.resources import FrrFile
from snf_network.observe.readback import bindings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from snf_network.model.config import Config

    Lines = Mapping[str, set[str]]
    """The lines about each peer group, its members and its prefix list, by its name."""

SECONDS = 10.0
"""For the whole configuration: it takes FRR 50 ms."""
NEEDED = {
    "no bgp default ipv4-unicast": "line `no bgp default ipv4-unicast`",
    f"neighbor {FrrFile.TEMPLATE} peer-group": f"peer group {FrrFile.TEMPLATE}",
    f"route-map {FrrFile.TEMPLATE} permit 10": f"route map {FrrFile.TEMPLATE}",
}
"""Lines without which there is no session, and what each is."""
OWN = ("disable-connected-check", "update-source")
"""What every session has of us, and a later FRR may write otherwise."""


@dataclass(frozen=True)
class Session:
    """What the running FRR has to be told of the sessions of one tap."""

    tap: str
    undo: tuple[str, ...]
    """Lines that take away what it has of them."""
    do: tuple[str, ...]
    """Lines that make them; none if the tap is gone. The neighbours come once FRR has all the rest."""


@dataclass(frozen=True)
class Sessions:
    """What of the sessions of all taps is not as it should be."""

    different: tuple[Session, ...] = ()
    refused: str = ""
    """Why none can be made, in words; empty if they can."""


def look(config: Config) -> Sessions:
    """Compare the files of the taps with the running FRR. Raises Unanswered."""
    said = vtysh("bgpd", ("show running-config",), SECONDS)
    files = {one.device: one.content for one in bindings(config.frr_dir, FrrFile)}
    return compare(files, said)


def compare(files: Mapping[str, str], running: str) -> Sessions:
    """The same for a text of `show running-config`."""
    running = _without_vrfs(running)
    router, refused = _router(running), ""
    has = _about(running)
    there = {line.strip() for line in running.splitlines()}
    if files:
        missing = [f"no {words}" for line, words in NEEDED.items() if line not in there]
        open_to_all = [
            f"line `{line}`" for line in there if line.startswith(("bgp default ip", "bgp default l2"))
        ]
        refused = next(iter((*(() if router else ("no router bgp",)), *missing, *open_to_all)), "")
    shared = _settings(has.pop(FrrFile.TEMPLATE, ()))
    found = []
    for tap in sorted({*files, *map(_tap, has)}):
        if tap in files and refused:
            continue
        lines = tuple(_filled(files.get(tap, ""), router, shared))
        known = {name: some for name, some in has.items() if _tap(name) == tap}
        members = tuple(line for line in lines if _is_member(line))
        rest = tuple(line for line in lines if line not in members)
        if known == _about("\n".join(lines)):
            continue
        if members and known == _about("\n".join(rest)):
            found.append(Session(tap, (), (router, *members, "exit")))
        else:
            found.append(Session(tap, tuple(_removal(known, router)), rest))
    return Sessions(tuple(found), f"FRR has {refused} (docs/fabric.md)" if refused else "")


def _without_vrfs(running: str) -> str:
    """The text without the BGP routers of other VRFs and views."""
    kept, other = [], False
    for line in running.splitlines():
        if not line.startswith(" "):
            other = line.startswith("router bgp ") and len(line.split()) > 3
        if not other:
            kept.append(line)
    return "\n".join(kept)


def _router(running: str) -> str:
    """The line of the BGP router; empty if there is none."""
    return next((line for line in running.splitlines() if line.startswith("router bgp ")), "")


def _about(text: str) -> dict[str, set[str]]:
    """The lines about each of our peer groups, and the administrator's, by its name. Of what stands below an
    address family only the filters: another FRR may write the rest otherwise.
    """
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        words, name = line.split(), ""
        if words[1:2] == ["prefix-list"] and len(words) > 2:
            name = words[2]
        elif words[:1] == ["neighbor"] and len(words) > 2:
            below = line.startswith("  ") and words[2] != "prefix-list"
            name = words[3] if _is_member(line) else "" if below or words[2] in OWN else words[1]
        if name.startswith(FrrFile.GROUP) or name == FrrFile.TEMPLATE:
            found.setdefault(name, set()).add(" ".join(words))
    return found


def _is_member(line: str) -> bool:
    """True if it makes a neighbour a member of a peer group, which is when it becomes one."""
    words = line.split()
    return words[:1] == ["neighbor"] and words[2:3] == ["peer-group"] and len(words) == 4


def _settings(lines: Iterable[str]) -> list[str]:
    """What is said of a whole peer group, to be said of another."""
    words = (line.split(None, 2) for line in lines if line.startswith("neighbor "))
    others = ("peer-group", "remote-as", "description", "prefix-list")
    return sorted(rest for _, _, rest in words if not rest.startswith(others))


def _tap(name: str) -> str:
    """The tap that a peer group or a prefix list is named after."""
    return name.removeprefix(FrrFile.GROUP).rpartition("-")[0]


def _filled(content: str, router: str, shared: list[str]) -> Iterator[str]:
    """The lines of a file, with the AS and what the administrator's peer group says."""
    for line in content.splitlines():
        words = line.split()
        yield router if line == "router bgp" else line
        if words[:1] == ["neighbor"] and words[2:] == ["peer-group"]:
            yield from (f" neighbor {words[1]} {setting}" for setting in shared)


def _removal(has: Lines, router: str) -> Iterator[str]:
    """First the sessions, then what they may announce."""
    groups = [name for name, lines in has.items() if f"neighbor {name} peer-group" in lines]
    if groups:
        yield router
        yield from (f" no neighbor {name} peer-group" for name in groups)
        yield "exit"
    for name, lines in has.items():
        lists = {line.split()[0] for line in lines if line.split()[1] == "prefix-list"}
        yield from (f"no {version} prefix-list {name}" for version in sorted(lists))
