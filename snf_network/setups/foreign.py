"""Setups that others wrote: an executable /etc/snf-network/setups/<tag>, or a Python entry point of group snf_network.setups.

They may yield only our kinds of Resource, so what they set up is shown, checked and taken back after they are gone.
"""

from __future__ import annotations

import sys
from posix import X_OK, access, listdir

from snf_network.errors import SnfNetworkError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from snf_network.config import Config
    from snf_network.nic import Nic
    from snf_network.node import Node
    from snf_network.resources import Resource
    from snf_network.setups import Setup

DIRECTORY = "/etc/snf-network/setups"
GROUP = "[snf_network.setups]"
SECONDS = 10
"""How long an executable may take to say what it wants."""


def find(tag: str) -> Optional[Setup]:
    """The setup somebody installed for `tag`, or None."""
    if not tag.replace("-", "").replace("_", "").replace(".", "").isalnum() or tag.startswith("."):
        return None
    path = f"{DIRECTORY}/{tag}"
    if access(path, X_OK):
        return _executable(path)
    for target in _entry_points(tag):
        module, _, name = target.partition(":")
        setup: Setup = getattr(__import__(module, fromlist=(name,)), name)
        return setup
    return None


def _entry_points(tag: str) -> Iterator[str]:
    """Read from the metadata files themselves: importlib.metadata costs 26 ms to import, for each tag that is nobody's."""
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
                if equals and name.strip() == tag:
                    yield target.strip()


def _executable(path: str) -> Setup:
    def setup(nic: Nic, node: Node, config: Config) -> Iterator[Resource]:
        import json
        import subprocess

        from snf_network.resources import kind_of

        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **dict(nic.values), "EUI64": nic.ip6, "UPLINK": node.uplink,
               "UPLINK6": node.uplink6, "TABLE": str(node.table)}
        try:
            run = subprocess.run([path], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True)
            for line in run.stdout.splitlines():
                fields = json.loads(line)
                kind = kind_of(fields.pop("kind"))
                if kind is None:
                    raise ValueError(f"no such kind: {line.decode(errors='replace')}")
                values = {name: str(value) for name, value in fields.items()}
                if not all(value.isprintable() for name, value in values.items() if name != "content"):
                    raise ValueError(f"a line break in a value: {line.decode(errors='replace')}")
                yield kind(**values)
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SnfNetworkError(f"{path}: {shown(str(error))}", "it must print one JSON Resource a line and exit 0") from error

    return setup
