"""dhcp.yaml as the daemon has it: read at the start, on SIGHUP and whenever it changes; a mistake leaves the
last valid one in place.
"""

from __future__ import annotations

import os

from snf_network.dhcpd.defaults import PATH, Defaults, parse
from snf_network.dhcpd.watch import UntrustedFile, Watch, trusted
from snf_network.document import LONGEST


def load(path: str = PATH) -> tuple[Defaults, list[str]]:
    """What the file says, and all that is wrong with it, a line each. Without a file, nothing, and no PyYAML
    is imported.
    """
    try:
        text = trusted(path, largest=LONGEST)
    except UntrustedFile as error:
        return Defaults(), [str(error)]
    return parse(text, path) if text else (Defaults(), [])


class Source:
    """The file, watched through its directory. Without the directory there is nothing to watch until `read`
    is called again.
    """

    def __init__(self, path: str = PATH) -> None:
        self.path = path
        self.current = Defaults()
        self.problems: list[str] = []
        self.watch: Watch | None = None
        self.read()

    def changed(self) -> bool:
        """True if the file may have changed since the last call."""
        names = self.watch.changed() if self.watch else set()
        return names is None or os.path.basename(self.path) in names

    def read(self) -> bool:
        """Read the file again. True if it says something else, or has other problems, than before."""
        before = (self.current, self.problems)
        self._follow()
        found, self.problems = load(self.path)
        self.current = self.current if self.problems else found
        return before != (self.current, self.problems)

    def _follow(self) -> None:
        """Watch the directory, also one that has replaced another."""
        directory = os.path.dirname(self.path)
        if not self.watch and os.path.isdir(directory):
            self.watch = Watch(directory)
        elif self.watch:
            self.watch.names()
