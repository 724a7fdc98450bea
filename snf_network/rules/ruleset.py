"""The loaded ruleset: base.nft with its definitions, the firewall profiles, source NAT if it is on, and
members.

Members change in one transaction, which loads the rules first where they are not there. STATE_DIR/base
notes how the kernel lists the rules that were loaded: `check` compares with it, and nothing else depends
on it.
"""

from __future__ import annotations

from posix import F_OK, access, listdir, stat

from snf_network.errors import KernelError
from snf_network.host import kernel
from snf_network.host.kernel import RULES
from snf_network.host.lock import Lock
from snf_network.model.resources.nft import FAMILIES, Element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from snf_network.host import Host
    from snf_network.model.config import Config

PROFILES = (f"{RULES}/profiles", "/etc/snf-network/profiles")
"""Where profiles are; a file in the second replaces one of that name in the first."""
CARRIERS = ("0x8847", "0x8848", "0x8863", "0x8864", "0x894f", "0x9100", "0x9200", "0x9300")
NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
CLOSED = "# closed profiles: "
"""How the note on the rules begins."""
LOCK = "="
"""The lock of the rules and of the note on them: of first NICs that come at once, one loads, and one
notes.
"""
LOADING_SECONDS = 60.0
"""How long to wait for another's loading, or as long as the call has: 50 first NICs at once need 3 seconds
on a busy machine.
"""


class Ruleset:
    """The rules and members of this node."""

    def __init__(self, config: Config, host: Host = kernel) -> None:
        self.config, self.host = config, host
        self.note = f"{config.state_dir}/base"

    def text(self, closed: Collection[str] = ()) -> str:
        """What `nft -I snf_network/rules -f -` loads: again and again, without a window, keeping all members.
        Profiles named in `closed` drop all.
        """
        return "\n".join(
            (
                f"define MAC_MASK = {self.config.mac_mask}",
                'include "base.nft"',
                *_profiles(closed, self._loaded()),
                *_no_tunnels(self.config),
                *(('include "masq.nft"',) if self.config.masq else ()),
                "",
            )
        )

    def load(self) -> list[str]:
        """Load the rules: new rules, old members, no window. Gives nft's words about each profile that it
        refused, which drops all from now on. Raises KernelError, with the rules as they were.
        """
        with self._alone():
            said = self._load()
        self._remember()
        return said

    def change(
        self, removed: Sequence[Element], replaced: Sequence[Element], wanted: Sequence[Element]
    ) -> None:
        """Take `removed` out of the sets and maps and put `wanted` in; `replaced` are values that they may
        have now. One transaction. Raises KernelError, with nothing changed.

        A set takes an add before a delete, so absent or present is all the same. A map does not: its keys
        are looked at, and the rules loaded, only if the transaction is refused, which a first NIC, a crash
        or somebody's flush can make it.
        """
        adds = [element.add() for element in wanted]
        lines = (*_deletes(removed), *(element.delete() for element in replaced), *adds)
        if not lines:
            return
        self._refuse_closed(wanted)
        before = self._noted_at()
        if self.host.nft(lines):
            with self._alone():
                loads = self._noted_at() == before
                if loads:  # of many first NICs at once, one loads the rules
                    self._load()
            self._refuse_closed(wanted)
            if self.host.nft(lines):
                with self._alone():
                    self._change_by_look(removed, wanted, adds)
            if loads:
                self._remember()
        elif wanted and not access(self.note, F_OK):
            self._remember()

    def add(self, elements: Iterable[Element]) -> str:
        """Put back many members in one transaction, or none. Gives nft's refusal, empty if it is done:
        loading what is missing, and keys with other values, are for `load` and `change`.
        """
        return self.host.nft([element.add() for element in elements])

    def remove(self, elements: Iterable[Element]) -> str:
        """Take away many members in one transaction, or none; likewise."""
        return self.host.nft(_deletes(elements))

    def noted(self) -> list[str]:
        """The lines of the rules as they were loaded."""
        return [
            line for line in (kernel.read_file(self.note) or "").splitlines() if not line.startswith(CLOSED)
        ]

    def refused_profiles(self) -> list[str]:
        """nft's words about each profile that does not load now: path, line and what is wrong."""
        status, said = self.host.run(("nft", "-c", "-I", RULES, "-f", "-"), self.text())
        paths = profiles().values()
        return [line for line in said.splitlines() if any(path in line for path in paths)] if status else []

    def listing(self) -> str:
        """Our rules as the kernel has them now, without members and counters."""
        tables = [
            self.host.run(("nft", "-s", "-t", "list", "table", family, "snf_network")) for family in FAMILIES
        ]
        return "".join(said for status, said in tables if not status)

    def _alone(self) -> Lock:
        return Lock(self.config.state_dir, LOCK, LOADING_SECONDS)

    def _refuse_closed(self, wanted: Sequence[Element]) -> None:
        """Raise KernelError for a NIC whose firewall profile nft refused: it would get nothing at all."""
        asked = {element.value.rpartition("profile_")[2] for element in wanted if "profile_" in element.value}
        for name in asked & self.closed() if asked else ():
            path = profiles().get(name, name)
            raise KernelError(f"firewall profile {path} does not load", "snf-network load says why")

    def _noted_at(self) -> int:
        """When the rules were noted last; 0 if they were not."""
        try:
            return stat(self.note).st_mtime_ns
        except OSError:
            return 0

    def closed(self) -> set[str]:
        """Names of the profiles that were closed when the rules were loaded."""
        first = (kernel.read_file(self.note) or "").partition("\n")[0]
        return set(first.removeprefix(CLOSED).split()) if first.startswith(CLOSED) else set()

    def _change_by_look(self, removed: Sequence[Element], wanted: Sequence[Element], adds: list[str]) -> None:
        """Change members by what the sets and maps have at this moment. Raises KernelError."""
        maps = {element.slot: element for element in (*removed, *wanted) if element.value}
        present = [element.delete() for element in maps.values() if self._has(element)]
        sets = [element for element in removed if not element.value]
        said = self.host.nft((*_deletes(sets), *present, *adds))
        if said and sets:  # it may be a set that an earlier version had
            left = [element.delete() for element in sets if self._has(element)]
            said = self.host.nft((*left, *present, *adds))
        if said:
            raise _refused(said)

    def _load(self) -> list[str]:
        """Load the rules, and note that; a profile that nft refuses drops all. How the kernel lists the rules
        is noted when nobody waits for it any more.
        """
        closed: dict[str, str] = {}
        while said := self.host.nft((self.text(closed),)):
            wrong = {name: said for name, path in profiles().items() if path in said and name not in closed}
            if not wrong:
                raise _refused(said)
            closed |= wrong
        self._note(f"{CLOSED}{' '.join(closed)}\n")
        return [str(_refused(said)) for said in dict.fromkeys(closed.values())]

    def _remember(self) -> None:
        """Note how the kernel lists the rules, below which profiles are closed in them."""
        self._note(f"{CLOSED}{' '.join(sorted(self.closed()))}\n{self.listing()}")

    def _note(self, text: str) -> None:
        try:
            kernel.write_file(self.note, text)
        except KernelError:
            pass  # `check` says that it is missing

    def _loaded(self) -> set[str]:
        """Names of the profiles that have chains in the kernel now."""
        said = self.host.run(("nft", "list", "chains", "bridge"))[1]
        ours = said.partition("table bridge snf_network {\n")[2].partition("\n}")[0].split()
        return {word.removeprefix("profile_") for word in ours if word.startswith("profile_")}

    def _has(self, element: Element) -> bool:
        return self.host.has_element(element.family, element.set, element.key)


def profiles() -> dict[str, str]:
    """The firewall profiles there are: name and path. A file whose name nft would not take as part of a
    chain's is none.
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


def _deletes(elements: Iterable[Element]) -> list[str]:
    """Deletes that do not mind an absent member: each is added first."""
    return [line for element in elements for line in (element.add(), element.delete())]


def _no_tunnels(config: Config) -> Iterator[str]:
    """Where tunnels out of a guest must not lead to: the addresses that the nodes speak to each other by."""
    rules = "".join(
        f"{'ip6' if ':' in prefix else 'ip'} daddr {prefix} goto no_tunnel\n"
        for prefix in config.underlay.split()
    )
    for family in ("bridge", "inet") if rules else ():
        yield f"table {family} snf_network {{\nchain tunnel {{\n{rules}}}\n}}"


def _profiles(closed: Collection[str], loaded: set[str]) -> Iterator[str]:
    known = profiles()
    for name, path in known.items():
        yield from _chains(name, "drop" if name in closed else f'include "{path}"')
    for name in loaded - known.keys():  # its file is gone, NICs may point at it: an empty chain would be open
        yield from _chains(name, "drop")


def _chains(name: str, body: str) -> Iterator[str]:
    """A profile in inet; in bridge, where ARP is not its business; and behind the check of the MAC prefix.

    `meta protocol` looks behind one VLAN tag, as the guest will; what has two, or is LLC (4, ETH_P_802_2), is
    nothing that a profile could judge. It is compared and not looked up: that is cheaper. What may have IP
    inside (MPLS, PPPoE, older tags, NSH) is judged as what it is: a profile that lets in everything takes it.
    """
    inside = ", ".join(f"{kind} : goto ip_profile_{name}" for kind in CARRIERS)
    yield f"table inet snf_network {{\nchain profile_{name} {{\n{body}\n}}\n}}"
    yield (
        f"table bridge snf_network {{\nchain profile_{name} {{\nmeta protocol ip goto ip_profile_{name}\n"
        f"meta protocol ip6 goto ip_profile_{name}\n"
        f"meta protocol vmap {{ 0x0004 : drop, 8021q : drop, 8021ad : drop, {inside} }}\naccept\n}}\n"
        f"chain ip_profile_{name} {{\n{body}\n}}\n"
        f"chain filtered_profile_{name} {{\n"
        f"oifname . ether saddr & $MAC_MASK @prefixes goto profile_{name}\ngoto no_mac_prefix\n}}\n}}"
    )


def _refused(said: str) -> KernelError:
    """nft's refusal as one line, with what to do."""
    line = next((line for line in said.splitlines() if "Error" in line), said.partition("\n")[0])
    hints = {
        "profiles/": "a firewall profile does not load",
        "overlaps": "two masq networks overlap: only one can be translated",
    }
    hint = next((hint for word, hint in hints.items() if word in said), "snf-network load shows more")
    return KernelError(f"nft: {line.strip()}", hint)
