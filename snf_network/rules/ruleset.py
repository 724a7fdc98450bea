"""The loaded ruleset: base.nft with its definitions, the firewall profiles, source NAT if enabled, and
members.

Members change in one transaction; if the rules are missing, they are loaded first. STATE_DIR/base notes how
the kernel lists the rules right after loading: only `check` compares with it.
"""

from __future__ import annotations

from posix import listdir, stat

from snf_network.errors import KernelError
from snf_network.host import kernel
from snf_network.host.kernel import RULES
from snf_network.host.lock import Held, Lock
from snf_network.model.resources.nft import FAMILIES, LIMIT, Element, Hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import TypeVar

    from snf_network.host import Host
    from snf_network.host.nftables import Changes
    from snf_network.model.config import Config
    from snf_network.model.resources import Resource

    Seen = TypeVar("Seen")

PROFILES = (f"{RULES}/profiles", "/etc/snf-network/profiles")
"""Directories of profiles; a file in the second replaces one of the same name in the first."""
NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
CLOSED = "# closed profiles: "
"""Prefix of the note's first line."""
LOCK = "="
"""Name of the lock for the rules and their note: when many first NICs come at once, only one of them loads
the rules and writes the note. Whoever lists the rules, or has nft try them, takes it, too.
"""
SHORTEST_LISTING = 4096
"""Bytes: less than the kernel's listing of base.nft, more than the note's first line."""
LOADING_SECONDS = 60.0
"""How long to wait while another call loads the rules, at most until the call's deadline: 50 first NICs at
once need 3 seconds on a busy machine.
"""


class Ruleset:
    """The rules and members of this node."""

    def __init__(self, config: Config, host: Host = kernel) -> None:
        self.config, self.host = config, host
        self.note = f"{config.state_dir}/base"

    def text(self, closed: Collection[str] = (), gone: Collection[str] = ()) -> str:
        """The input of `nft -I snf_network/rules -f -`: it can be loaded repeatedly, without a window, and
        keeps all members. Profiles named in `closed` or `gone`, and unusable ones, drop everything.
        """
        from snf_network.rules import text  # not if they are loaded

        closed = {*closed, *unusable()}
        return "\n".join(
            (
                f"define MAC_MASK = {self.config.mac_mask}",
                'include "base.nft"',
                text.emptied(),
                'include "netdev.nft"',
                *text.text_of_profiles(profiles(), closed, {*self._loaded(), *gone}),
                *text.no_tunnels(self.config),
                *text.services(self.config),
                *(('include "masq.nft"',) if self.config.masq else ()),
                "",
            )
        )

    def load(self, wanted: Sequence[Resource] = ()) -> list[str]:
        """Load the rules: new rules, old members, no window. Returns the reason for each profile that does
        not load, and drops everything from now on. Raises KernelError, with the rules unchanged.

        After a flush, the members and the NICs' chains among `wanted` come in the same transaction: rules
        without them would let everything pass.
        """
        with self._alone():
            said = self._load(wanted)
            self._remember()
        return said

    def change(
        self, removed: Sequence[Element], replaced: Sequence[Element], wanted: Sequence[Element]
    ) -> None:
        """Remove `removed` from the sets and maps and add `wanted`; `replaced` are values that may be there
        now. One transaction. Raises KernelError, with nothing changed.

        In a set, an add before each delete makes it succeed either way; in a map it does not. So only if the
        transaction is refused, as on a first NIC, after a crash or a manual flush, the map keys are looked up
        and the rules loaded.
        """
        adds = _adds(wanted)
        gone = ((element, False) for element in replaced if not element.value.startswith(LIMIT))
        changes = (*_deletes(removed), *gone, *adds)
        if not changes:
            return
        self._refuse_closed(wanted)
        before = self._noted_at()
        if self.host.change_members(changes):
            with self._alone():
                loads = self._noted_at() == before
                if loads:  # when many first NICs come at once, only one loads the rules
                    self._load(gone=gone_profiles(wanted))
            self._refuse_closed(wanted)
            if self.host.change_members(changes):
                with self._alone():
                    self._change_by_look(removed, wanted, adds)
            if loads:
                self._complete_note(LOADING_SECONDS)
        elif wanted and not self._is_noted():
            self._complete_note(0)  # of many NICs at once, one does; nobody waits

    def _is_noted(self) -> bool:
        """True if the note lists the rules: they are far longer than the line of closed profiles before
        them.
        """
        try:
            return stat(self.note).st_size > SHORTEST_LISTING
        except OSError:
            return False

    def _complete_note(self, wait: float) -> None:
        """Add the kernel's listing to the note, which a killed call may not have done."""
        try:
            with Lock(self.config.state_dir, LOCK, wait):
                self._remember()
        except Held:
            pass  # whoever loads them, or the next NIC, writes it

    def add(self, elements: Iterable[Element]) -> str:
        """Restore many members in one transaction, or none. Returns the error, empty on success: loading
        missing rules is up to `load`, and keys with other values are up to `change`.
        """
        return self.host.change_members(_adds(elements))

    def remove(self, elements: Iterable[Element]) -> str:
        """Remove many members in one transaction, or none; returns the error, empty on success."""
        return self.host.change_members(_deletes(elements))

    def noted(self) -> list[str]:
        """The lines of the note: the rules as listed when they were loaded."""
        return [
            line for line in (kernel.read_file(self.note) or "").splitlines() if not line.startswith(CLOSED)
        ]

    def then_and_now(self) -> tuple[list[str], list[str]]:
        """The lines of the note, and those of the rules as the kernel lists them, both of one moment. Raises
        KernelError, also if another call keeps the rules' lock.
        """
        return self._undisturbed(lambda: (self.noted(), self.listing().splitlines()))

    def refused_profiles(self) -> tuple[dict[str, str], str]:
        """For each profile that does not load now, the reason, by name; then nft's error for the rules
        without these profiles, empty if it takes them. Loads nothing. Raises KernelError, also if another
        call keeps the rules' lock.
        """
        return self._undisturbed(self._refused_profiles)

    def _refused_profiles(self) -> tuple[dict[str, str], str]:
        closed = unusable()
        while (said := self._refusal(closed)) and (wrong := self._to_blame(said, closed)):
            closed |= wrong
        return closed, said

    def _undisturbed(self, look: Callable[[], Seen]) -> Seen:
        """What `look` sees while nobody else loads, tries or lists the rules.

        The kernel counts how many rules it has dumped, those of an unfinished transaction among them, and
        goes on there: if one begins or ends meanwhile, the rest comes twice or not at all, and as long as
        nothing is committed (`nft -c`) it tells nobody. Beside trials, a fifth of all listings were wrong.
        """
        alone = self._alone()
        try:
            alone.__enter__()
        except Held:
            raise
        except KernelError:  # a full disk, or one that cannot be written to: nobody can load rules either
            return look()
        try:
            return look()
        finally:
            alone.__exit__()

    def listing(self) -> str:
        """Our rules as the kernel lists them now, without members and counters; whoever compares them lists
        them undisturbed. nft reads all members for `list table` even if it does not print them: 0.5 s with
        those of 4000 NICs.
        """
        said = [self.host.run(("nft", "-s", "-t", "list", "ruleset", family)) for family in FAMILIES]
        return "".join(_ours(text, family) for family, (_, text) in zip(FAMILIES, said))

    def is_flushed(self) -> bool:
        """True if the rules were loaded here, and one of our tables is gone."""
        if not self._is_noted():
            return False
        there = self.host.run(("nft", "list", "tables"))[1].splitlines()
        return not {f"table {family} snf_network" for family in FAMILIES} <= {*there}

    def _alone(self) -> Lock:
        return Lock(self.config.state_dir, LOCK, LOADING_SECONDS)

    def _refuse_closed(self, wanted: Sequence[Element]) -> None:
        """Raise KernelError for a NIC whose firewall profile nft refused: it would receive nothing at all."""
        asked = {name for element in wanted if (name := _profile(element))}
        for name in asked & self.closed() if asked else ():
            path = profiles().get(name, name)
            raise KernelError(f"firewall profile {path} does not load", "snf-network load says why")

    def _noted_at(self) -> int:
        """When the note was last written (mtime in ns); 0 if there is none."""
        try:
            return stat(self.note).st_mtime_ns
        except OSError:
            return 0

    def closed(self) -> set[str]:
        """Names of the profiles that nft refused when the rules were loaded."""
        first = (kernel.read_file(self.note) or "").partition("\n")[0]
        return set(first.removeprefix(CLOSED).split()) if first.startswith(CLOSED) else set()

    def _change_by_look(self, removed: Sequence[Element], wanted: Sequence[Element], adds: Changes) -> None:
        """Change members according to what the sets and maps contain now. Raises KernelError."""
        maps = {element.slot: element for element in (*removed, *wanted) if element.value}
        present = [(element, False) for element in maps.values() if self.host.has_element(element)]
        sets = [element for element in removed if not element.value]
        said = self.host.change_members((*_deletes(sets), *present, *adds))
        if said and sets:  # it may be a set that only an earlier version had
            left = [(element, False) for element in sets if self.host.has_element(element)]
            said = self.host.change_members((*left, *present, *adds))
        if said:
            raise _refused(said)

    def _load(self, wanted: Sequence[Resource] = (), gone: Collection[str] = ()) -> list[str]:
        """Load the rules and note that; a profile that does not load drops everything. `_remember` adds the
        kernel's listing: an ifup has its members loaded first.
        """
        closed = unusable()
        members = [one for one in wanted if isinstance(one, Element)]
        gone = {*gone, *gone_profiles(members)}
        some = [[one.add() for one in members], [one.add() for one in wanted if isinstance(one, Hook)]]
        while said := self.host.nft((self.text(closed, gone), *(line for lines in some for line in lines))):
            wrong = self._to_blame(said, closed)
            if not wrong and not some:
                raise _refused(said)
            some = some if wrong else some[:-1]  # one refused, as of a device that is gone, must not cost all
            closed |= wrong
        self._note(f"{CLOSED}{' '.join(closed)}\n")
        return list(closed.values())

    def _to_blame(self, said: str, closed: Collection[str]) -> dict[str, str]:
        """The profiles because of which nft said that, each with the reason. Its error may be in a line
        after the profile, which does not name it (a brace too many): then each is tried without the others.
        """
        known = {name: path for name, path in profiles().items() if name not in closed}
        named = {name: str(_refused(said)) for name, path in known.items() if path in said}
        shut = {*closed, *known}
        if named or not self._refusal(closed) or self._refusal(shut):
            return named
        found = {}
        for name, path in known.items():
            shut.remove(name)
            if why := self._refusal(shut):
                shut.add(name)
                found[name] = f"{path} does not load (a brace?): {_refused(why).message}"
        return found

    def _refusal(self, closed: Collection[str]) -> str:
        """nft's error for the rules with these profiles closed; empty if it takes them. Loads nothing."""
        status, said = self.host.run(("nft", "-c", "-I", RULES, "-f", "-"), self.text(closed))
        return said if status else ""

    def _remember(self) -> None:
        """Write the note: the closed profiles, then the rules as the kernel lists them. The lock is held."""
        self._note(f"{CLOSED}{' '.join(sorted(self.closed()))}\n{self.listing()}")

    def _note(self, text: str) -> None:
        try:
            kernel.write_file(self.note, text)
        except KernelError:
            pass  # `check` reports the missing note

    def _loaded(self) -> set[str]:
        """Names of the profiles that have chains in the kernel now."""
        said = self.host.run(("nft", "list", "chains", "bridge"))[1]
        ours = _ours(said, "bridge").split()
        return {word.removeprefix("profile_") for word in ours if word.startswith("profile_")}


def _ours(listing: str, family: str) -> str:
    from snf_network.rules.text import our_table  # an ifup needs it only if it loads the rules

    return our_table(listing, family)


def profiles() -> dict[str, str]:
    """The available firewall profiles, name to path. Files are ignored if their name cannot be part of an nft
    chain's name.
    """
    found = {}
    for directory in PROFILES:
        try:
            names = sorted(listdir(directory))
        except OSError:
            continue
        for file in names:
            name, dot, ending = file.rpartition(".")
            if dot and ending == "nft" and 0 < len(name) <= 24 and NAME.issuperset(name):
                found[name] = f"{directory}/{file}"
    return found


def gone_profiles(members: Iterable[Element]) -> set[str]:
    """Profiles that these members lead to, but which have no file any more: after a flush, a NIC could not be
    filtered at all without their chains.
    """
    return {name for element in members if (name := _profile(element))} - profiles().keys()


def _profile(element: Element) -> str:
    """The firewall profile that a member leads to; empty if none."""
    return element.value.partition("profile_")[2]


def unusable() -> dict[str, str]:
    """The profiles that nft is not asked about, each with the reason: it would wait for a pipe, and what an
    empty file leaves open is more likely a slip, or a full disk, than meant.
    """
    found = {}
    for name, path in profiles().items():
        text = kernel.read_file(path, follow=True)
        if text is None:
            found[name] = f"{path} is not a file that can be read"
        elif not any(line.partition("#")[0].strip() for line in text.split("\n")):
            found[name] = f"{path} has no rule (to let everything pass: accept)"
    return found


def _adds(elements: Iterable[Element]) -> list[tuple[Element, bool]]:
    """Additions. Of a member that is there with another limit, the kernel would keep that one: so it goes
    first.
    """
    return [
        (element, add)
        for element in elements
        for add in ((True, False, True) if element.value.startswith(LIMIT) else (True,))
    ]


def _deletes(elements: Iterable[Element]) -> list[tuple[Element, bool]]:
    """Deletions that succeed for absent members too: each is added first."""
    return [(element, add) for element in elements for add in (True, False)]


def _refused(said: str) -> KernelError:
    """nft's error in one line, with a hint."""
    line = next((line for line in said.splitlines() if "Error" in line), said.partition("\n")[0])
    hints = {
        "profiles/": "a firewall profile does not load",
        "overlaps": "two masq networks overlap: only one can be translated",
    }
    hint = next((hint for word, hint in hints.items() if word in said), "snf-network load shows more")
    return KernelError(f"nft: {line.strip()}", hint)
