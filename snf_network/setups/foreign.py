"""Setups by third parties: an executable /etc/snf-network/setups/<tag>, or a Python entry point of group
snf_network.setups.

They may yield only our kinds of Resource, so whatever they set up can be shown, checked and removed, even
after they are uninstalled.
"""

from __future__ import annotations

import sys
from posix import F_OK, access, listdir

from snf_network.errors import SnfNetworkError, shown
from snf_network.model.resources import KINDS, Alias, Element, Link, Port, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Optional

    from snf_network.model.config import Config
    from snf_network.model.nic import Nic
    from snf_network.model.node import Node

    Setup = Callable[[Nic, Node, Config], Iterator[Resource]]

DIRECTORY = "/etc/snf-network/setups"
GROUP = "[snf_network.setups]"
SECONDS = 2
"""Time limit in seconds for an executable; the whole call has 4."""
HINT = "docs/tags.md, Tags of third parties"


_known: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}
"""Entry points by the search path that they were found on."""


def find(tag: str) -> Optional[Setup]:
    """The setup installed for `tag`, or None."""
    if not tag.replace("-", "").replace("_", "").replace(".", "").isalnum() or tag.startswith("."):
        return None
    path = f"{DIRECTORY}/{tag}"
    if access(path, F_OK):  # without its x bit it must fail: what it filters must not go unfiltered
        return _guarded(path, lambda nic, node, config: _printed(path, nic, node))
    return next((_guarded(target, _imported(target)) for target in _entry_points(tag)), None)


def _guarded(name: str, setup: Setup) -> Setup:
    """Wrap `setup`: it yields only valid Resources, and any failure is a one-line SnfNetworkError."""

    def guarded(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
        try:
            for resource in setup(nic, node, config):
                _check(resource, nic)
                yield resource
        except Exception as error:
            raise SnfNetworkError(f"{name}: {shown(str(error) or type(error).__name__)}", HINT) from error

    return guarded


def _check(resource: Resource, nic: Nic) -> None:
    """Raise ValueError for anything but a Resource, for a field that no tool would accept, and for another
    NIC's Resource.
    """
    if not isinstance(resource, Resource):
        raise ValueError(f"{resource!r} is no Resource")
    if wrong := resource.unsound():
        raise ValueError(f"{wrong} in {type(resource).__name__}")
    if isinstance(resource, (Alias, Link, Port)):
        foreign = resource.interface != nic.interface
    else:
        foreign = type(resource) is Element and resource.key.split('"')[1:2] != [nic.interface]
    if foreign:
        raise ValueError(f"another NIC's: {resource.add()}")


def _entry_points(tag: str) -> Iterator[str]:
    """Targets for `tag`, read once and from the metadata files: importlib.metadata takes 26 ms to import."""
    path = tuple(sys.path)
    if path not in _known:
        _known[path] = tuple(_installed())
    return (target for name, target in _known[path] if name == tag)


def _installed() -> Iterator[tuple[str, str]]:
    """Tag and target of every entry point in the group."""
    for directory in sys.path:
        try:
            packages = [name for name in listdir(directory) if name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for package in packages:
            try:
                with open(f"{directory}/{package}/entry_points.txt", encoding="utf-8") as file:
                    text = file.read()
            except OSError:
                continue
            for line in text.partition(GROUP)[2].partition("\n[")[0].splitlines():
                name, equals, target = line.partition("=")
                if equals:
                    yield name.strip(), target.strip()


def _imported(target: str) -> Setup:
    """An entry point, imported only when called, so that a failing import is guarded too."""

    def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
        module, _, name = target.partition(":")
        theirs: Setup = getattr(__import__(module, fromlist=(name,)), name)
        return theirs(nic, node, config)

    return setup


def _printed(path: str, nic: Nic, node: Node) -> Iterator[Resource]:
    """The Resources that an executable prints, one JSON object per line."""
    import json
    import subprocess

    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        **dict(nic.values),
        "EUI64": nic.ip6,
        "UPLINK": node.uplink,
        "UPLINK6": node.uplink6,
        "TABLE": str(node.table),
    }
    run = subprocess.run(
        [path], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True
    )
    for line in run.stdout.splitlines():
        fields = json.loads(line)
        kind = KINDS.get(fields.pop("kind"))
        if kind is None:
            raise ValueError(f"no such kind: {line.decode(errors='replace')}")
        yield kind(**{name: str(value) for name, value in fields.items()})
