"""Read the kernel state back as Resources. Slow and thorough: never used while a NIC goes up or down.

Ours are all members of the tables snf_network, all rules, routes, neighbours and proxy entries with proto
148, and the bindings. Each kind has the code that recognizes it in the kernel's listing.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from snf_network.errors import KernelError
from snf_network.host.kernel import ask, read_file, run, setting
from snf_network.host.stored import Stored
from snf_network.model.resources import Binding, Element, File, Hook, OvsPort, Resource, Route, Rule
from snf_network.model.resources.base import PROTOCOL
from snf_network.model.resources.nft import COUNTERS, FAMILIES, SIDES, listed
from snf_network.model.resources.routes import listed_neighbours
from snf_network.model.resources.tunnel import Unreachable
from snf_network.observe.facts import kernel_has_ipv6

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What reading JSON of another shape raises."""


OURS = ("route", "show", "table", "all", "proto", str(PROTOCOL))
"""How ip(8) lists our routes: the kernel leaves others out."""
SETTINGS = ("/proc/sys/", "/sys/")
LISTS = f"{' '.join(OURS)}\nneigh show nud permanent\nneigh show proxy\n"


class OnDemand:
    """Kernel state that few NICs need, read only if one does."""

    @cached_property
    def _contents(self) -> dict[str, str | None]:
        return {}

    def content(self, path: str) -> str | None:
        """The content of a file; None if it cannot be read. Read once: many NICs want the node's settings."""
        if path not in self._contents:
            read = _read_setting if path.startswith(SETTINGS) else read_file
            self._contents[path] = read(path)
        return self._contents[path]

    @cached_property
    def vlans(self) -> dict[tuple[str, int], set[str]]:
        """The flags of a port's VLAN membership. Queried only if a NIC has a VLAN."""
        return port_vlans()

    @cached_property
    def addresses(self) -> set[tuple[str, str]]:
        """The addresses of each device. Read only if a NIC has the node's address on its tap."""
        return addresses()

    @cached_property
    def ovs_ports(self) -> set[Resource]:
        """Every port of Open vSwitch. Read only if a NIC is one."""
        return set(ovs_ports())

    @cached_property
    def qdiscs(self) -> dict[str, dict[str, Any]]:
        """The root queueing discipline of each device. Read only if a NIC is shaped."""
        with _readable("tc"):
            return {one["dev"]: one for one in _json("tc", "-j", "qdisc", "show") if one.get("root")}

    @property
    def tunnels(self) -> dict[str, Any]:
        """No NIC has a WireGuard device."""
        return {}


def _read_setting(path: str) -> str | None:
    """As read_file, but stripped, and in half the time: a node has tens of thousands."""
    try:
        return setting(path).decode("utf-8", "surrogateescape")
    except OSError:
        return None


class View(OnDemand):
    """A snapshot of all our Resources in the kernel."""

    def __init__(self) -> None:
        with _readable("ip"):
            self.links: dict[str, dict[str, Any]] = {
                link["ifname"]: link for link in _json("ip", "-j", "link", "show")
            }
        with _readable("ip"):
            rules = set(Rule.listed(policy_rules()))
        self.found: set[Resource] = {*rules, *_entries(), *members()}


def _entries() -> Iterator[Resource]:
    """Our routes, permanent neighbours and proxy entries. Each ip(8) first reads all devices, which takes as
    long as a list: so one of them lists all.
    """
    for family in ("-4", "-6"):
        said = ask(("ip", family, "-N", "-j", "-batch", "-"), LISTS)
        with _readable("ip"):
            found = [entry for line in said.splitlines() for entry in _parsed(line)]
            yield from listed_neighbours([entry for entry in found if "state" in entry], False)
            yield from listed_neighbours([entry for entry in found if "proxy" in entry], True)
            yield from Route.listed(
                [entry for entry in found if not {"state", "proxy"} & entry.keys()], family
            )


def members() -> Iterator[Element | Hook]:
    """Members of our sets and maps, and the chains of NICs at their devices. Raises KernelError."""
    for family in FAMILIES:
        stored = Stored(family)
        yield from stored.members
        if stored.others:  # not set by set: `tables` is a word of nft's own, and no name to it
            with _readable("nft"):
                found = listed(family, _nft("list", "table", family, "snf_network"))
                yield from (one for one in found if one.set in stored.others)
    with _readable("nft"):
        yield from Hook.listed(_nft("-t", "list", "table", "netdev", "snf_network"))


def hooks_of(interface: str) -> list[Hook]:
    """The chains of a NIC at its device. Raises KernelError."""
    found = [Hook(interface, side, "").chain for side in SIDES]
    with _readable("nft"):
        return [
            hook
            for chain in found
            for hook in Hook.listed(_nft("list", "chain", "netdev", "snf_network", chain))
        ]


def drops() -> dict[tuple[str, str], tuple[int, int]]:
    """Drops by interface and reason, in frames and bytes. An interface that is gone shows as a number."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for family in FAMILIES:
        with _readable("nft"):
            for entry in _nft("list", "set", family, "snf_network", COUNTERS):
                for member in entry.get("set", {}).get("elem", ()):
                    interface, reason = map(str, member["elem"]["val"]["concat"])
                    counter = member["elem"]["counter"]
                    frames, octets = found.get((interface, reason), (0, 0))
                    found[interface, reason] = frames + counter["packets"], octets + counter["bytes"]
    return found


def chains() -> Iterator[dict[str, Any]]:
    """Every chain, including foreign ones, as nft -j lists it."""
    with _readable("nft"):
        yield from (entry["chain"] for entry in _nft("list", "chains") if "chain" in entry)


def traffic() -> dict[str, tuple[int, int, int, int]]:
    """Bytes and packets that each device has received, then those that it has sent (proc_net_dev,
    /proc/net/dev). Raises KernelError.
    """
    try:
        with open("/proc/net/dev", encoding="utf-8", errors="replace") as file:
            rows = [line.partition(":") for line in file][2:]
    except OSError as error:
        raise KernelError(f"/proc/net/dev: {error.strerror}") from error
    found = {}
    for name, _, words in rows:
        figures = [int(word) for word in words.split()]
        found[name.strip()] = (figures[0], figures[1], figures[8], figures[9])
    return found


def base_chains() -> Iterator[dict[str, Any]]:
    """Those of them that the kernel calls at a hook."""
    yield from (chain for chain in chains() if "hook" in chain)


def rules_of(family: str, table: str) -> Iterator[dict[str, Any]]:
    """The rules of an nft table, as nft -j lists them."""
    with _readable("nft"):
        yield from (entry["rule"] for entry in _nft("list", "table", family, table) if "rule" in entry)


def addresses(*words: str) -> set[tuple[str, str]]:
    """Each device with each of its addresses; `words` select some, as ip-address(8) takes them. Raises
    KernelError.
    """
    return {
        (link["ifname"], f"{one['local']}/{one['prefixlen']}")
        for link in ip("address", "show", *words)
        for one in link.get("addr_info", ())
        if "local" in one
    }


def policy_rules() -> list[dict[str, Any]]:
    """Every policy rule, as `ip -N -j` lists it, with its `family`. Raises KernelError."""
    return [
        {**rule, "family": family}
        for family in (("-4", "-6") if kernel_has_ipv6() else ("-4",))  # else ip(8) fails
        for rule in _json("ip", "-N", "-j", family, "rule", "show")
    ]


def routes() -> Iterator[Route]:
    """Our routes in all tables. The kernel leaves others out, so 1000 NICs take 20 ms (pyroute2: 0.5 s).
    Raises KernelError.
    """
    for family in ("-4", "-6"):
        with _readable("ip"):
            yield from Route.listed(_routes(family), family)


def unreachable() -> Iterator[Unreachable]:
    """Our routes to nowhere, in the node's own table. Raises KernelError."""
    for family in ("-4", "-6"):
        with _readable("ip"):
            yield from Unreachable.listed(_routes(family), family)


def _routes(family: str) -> list[dict[str, Any]]:
    return _json("ip", "-N", "-j", family, *OURS)


def members_of(family: str, kind: str, name: str) -> Iterator[Element]:
    """The members of one `set` or `map`; none if it does not exist. Raises KernelError."""
    yield from listed(family, _nft("list", kind, family, "snf_network", name))


def ip(*words: str) -> list[Any]:
    """What `ip -j` lists. Raises KernelError."""
    return _json("ip", "-j", *words)


def bridge(*words: str) -> list[Any]:
    """What `bridge -j` lists. Raises KernelError."""
    return _json("bridge", "-j", *words)


def port_vlans() -> dict[tuple[str, int], set[str]]:
    """The flags of every port's VLAN memberships, by port and VLAN."""
    with _readable("bridge"):
        return {
            (port["ifname"], vlan["vlan"]): set(vlan.get("flags", ()))
            for port in _json("bridge", "-j", "vlan", "show")
            for vlan in port["vlans"]
        }


def ovs_ports() -> Iterator[OvsPort]:
    """Every port of Open vSwitch, with its VLANs; none if it is not installed or does not answer."""
    columns = (
        ("--columns=name,ports", "list", "Bridge"),
        ("--columns=_uuid,name,tag,trunks,protected", "list", "Port"),
    )
    try:
        status, said = run(
            ("ovs-vsctl", "--timeout=3", "--format=json", "--", *columns[0], "--", *columns[1])
        )
    except KernelError:
        return
    if not status:
        with _readable("ovs-vsctl"):
            bridges, ports = (_parsed(line)["data"] for line in said.splitlines())
            bridge_of = {uuid: name for name, members in bridges for uuid in _set(members)}
            for uuid, name, tag, trunks, protected in ports:
                untagged, tagged = (",".join(map(str, sorted(_set(value)))) for value in (tag, trunks))
                apart = "true" if protected else ""
                yield OvsPort(name, bridge_of.get(uuid[1], ""), untagged, tagged, apart)


def _set(value: Any) -> list[Any]:
    """The members of a column in the notation of RFC 7047, 5.1: a set of one is written as its member, and a
    UUID as a pair.
    """
    members = value[1] if isinstance(value, list) and value[0] == "set" else [value]
    return [member[1] if isinstance(member, list) else member for member in members]


def bindings(
    directory: str, kind: type[File] = Binding, read: Callable[[str], str | None] = read_file
) -> Iterator[File]:
    """The files of a kind in its directory: those that begin like ours, or like the bash package's. Any other
    file there is not ours.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        content = None if name.startswith(".") else read(f"{directory}/{name}")
        if content and content.startswith(kind.HEAD):
            yield kind(f"{directory}/{name}", content)


def _nft(*words: str) -> list[Any]:
    """The output of nft as a list; empty if the table or set does not exist. Raises KernelError for other
    errors.
    """
    status, said = run(("nft", "-j", *words))
    if status and "No such file" not in said:
        raise KernelError(f"nft {' '.join(words)}: {said.strip().partition(chr(10))[0]}")
    with _readable("nft"):
        return list(_parsed(said)["nftables"]) if not status else []


def _json(*argv: str) -> list[Any]:
    with _readable(argv[0]):
        return list(_parsed(ask(argv)))


def _parsed(said: str) -> Any:
    return json.loads(said or "[]", strict=False)  # ip(8) prints any octet of an alias as it is


@contextmanager
def _readable(tool: str) -> Iterator[None]:
    """Raise KernelError if an answer of a tool is not JSON, or not of the shape that is read."""
    try:
        yield
    except UNREADABLE as error:
        words = f"{type(error).__name__}: {error}"
        raise KernelError(
            f"{tool}: its answer cannot be read: {words}", "try again; else report it"
        ) from error
